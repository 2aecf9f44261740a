//! Whole credentials and presentations across libraries, and where we ask for more than they do.

use crate::generate::claims;
use crate::sd_jwt::wait;
use crate::support::{Key, Says, name, now, payload, rng, rs, rs_bound};
use baton_protocol::b64;
use baton_protocol::credential::{self, FIXED, StatusEntry, Template, Tier, VCT, Visible};
use baton_protocol::presentation::{self, Expected};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::status_list::StatusRef;
use baton_protocol::time::Millis;
use rand::{Rng, rngs::StdRng};
use sd_jwt_payload::{KeyBindingJwt, RequiredKeyBinding, SdJwt, SdJwtBuilder, Sha256Hasher};
use sd_jwt_rs::{SDJWTHolder, SDJWTSerializationFormat};
use serde_json::{Map, Value, json};

const AUD: &str = "https://verifier.example";
const NONCE: &str = "a nonce that was given";

struct Holder {
    issuer: Key,
    device: Key,
    template: Template,
}

impl Holder {
    fn new(rng: &mut StdRng) -> Self {
        let (issuer, device) = (Key::new(rng), Key::new(rng));
        let visible = Visible {
            iss: issuer.public.did(),
            sub: device.public.did(),
            vct: VCT.into(),
            iat: now(),
            exp: now() + 1000,
            client_id: "player".into(),
            tier: Tier::Full,
            log: b64::encode([7; 32]),
            status: StatusEntry { status_list: StatusRef { idx: 5, uri: "https://id.example/v1/status-lists/1".into() } },
            status_issuer: "did:web:id.example".into(),
        };
        let count = rng.random_range(0..9);
        Self { issuer, device, template: Template { visible, disclosable: claims(rng, count, 3, false) } }
    }
    fn credential(&self, rng: &mut StdRng) -> String {
        let salts: Vec<[u8; 16]> = self.template.disclosable.iter().map(|_| rng.random()).collect();
        let (draft, disclosures) = self.template.draft(&self.device.public, &salts).unwrap();
        let signature = self.issuer.raw(draft.signing_input());
        disclosures.iter().fold(draft.signed(&signature) + "~", |out, disclosure| out + disclosure.as_str() + "~")
    }
    /// Everything in it, in clear.
    fn clear(&self) -> Map<String, Value> {
        let mut clear = serde_json::to_value(&self.template.visible).unwrap().as_object().unwrap().clone();
        clear.insert("cnf".into(), json!({"jwk": self.device.public.jwk_value()}));
        clear.extend(self.template.disclosable.clone());
        clear
    }
    fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "dc+sd-jwt", "kid": self.issuer.public.did().url()})
    }
}

fn check(text: &str) -> Result<Map<String, Value>, String> {
    let compact = Compact::parse(text).map_err(|why| name(&why, 1))?;
    credential::check(&compact, &(), Millis::from_secs(now())).map(|credential| credential.claims).map_err(|why| name(&why, 1))
}

fn verify(text: &str) -> Result<(), String> {
    let expected = Expected { audience: AUD, nonce: &|nonce, _| nonce == NONCE, transaction_data: &[], required_claims: &[] };
    presentation::verify(text, &expected, &(), Millis::from_secs(now())).map(|_| ()).map_err(|why| name(&why, 2))
}

#[test]
fn our_templates_are_credentials_to_them() {
    let rng = &mut rng();
    for _ in 0..700 {
        let holder = Holder::new(rng);
        let text = holder.credential(rng);
        assert_eq!(check(&text).unwrap(), holder.template.disclosable);
        holder.template.check_signed(&text, &holder.device.public).unwrap();
        assert_eq!(rs(&text, &holder.issuer), Says::Yes(holder.clear()));
        assert_eq!(payload(&text), Says::Yes(holder.clear()));
    }
}

/// sd-jwt-payload makes the very credential; we take it, and the template's own check takes it too.
#[test]
fn their_credentials_are_templates_to_us() {
    let rng = &mut rng();
    for _ in 0..700 {
        let holder = Holder::new(rng);
        let mut claims = holder.clear();
        claims.remove("cnf");
        let mut builder = SdJwtBuilder::new(&claims).unwrap().headers(holder.header().as_object().unwrap().clone());
        for name in holder.template.disclosable.keys() {
            builder = builder.make_concealable(&format!("/{}", name.replace('~', "~0").replace('/', "~1"))).unwrap();
        }
        let jwk = holder.device.public.jwk_value().as_object().unwrap().clone();
        let text = wait(builder.require_key_binding(RequiredKeyBinding::Jwk(jwk)).finish(&holder.issuer, "ES256")).unwrap().presentation();
        assert_eq!(check(&text).unwrap(), holder.template.disclosable);
        // A template without disclosable claims has an empty `_sd`, theirs none: both the same credential.
        holder.template.check_signed(&text, &holder.device.public).unwrap();
    }
}

#[test]
fn presentations_cross_over_both_ways() {
    let rng = &mut rng();
    for _ in 0..500 {
        let holder = Holder::new(rng);
        let text = holder.credential(rng);
        let shown = Compact::parse(&text).unwrap().select(|name| name.len() % 2 == 0);
        // Ours to sd-jwt-rs.
        let draft = presentation::draft(&shown, AUD, NONCE, &[], Millis::from_secs(now()));
        let signature = holder.device.raw(draft.signing_input());
        let bound = shown.clone() + &draft.signed(&signature);
        assert_eq!(verify(&bound), Ok(()));
        assert_eq!(rs_bound(&bound, &holder.issuer, Some((AUD, NONCE))).word(), "accepts");
        assert_eq!(rs_bound(&bound, &holder.issuer, Some((AUD, "another"))).word(), "refuses");
        assert!(SdJwt::parse(&bound).unwrap().key_binding_jwt().is_some());
        // sd-jwt-rs's to us.
        let mut they = SDJWTHolder::new(text, SDJWTSerializationFormat::Compact).unwrap();
        let chosen = holder.template.disclosable.keys().filter(|_| rng.random()).map(|name| (name.clone(), Value::Bool(true))).collect();
        let bound = they.create_presentation(chosen, Some(NONCE.into()), Some(AUD.into()), Some(holder.device.encoding()), None).unwrap();
        assert_eq!(verify(&bound), Ok(()));
        // sd-jwt-payload's to us.
        let mut they = SdJwt::parse(&shown).unwrap();
        let kb = KeyBindingJwt::builder().iat(now()).aud(AUD).nonce(NONCE);
        let kb = wait(kb.finish(&they, &Sha256Hasher::new(), "ES256", &holder.device)).unwrap();
        they.attach_key_binding_jwt(kb);
        assert_eq!(verify(&they.presentation()), Ok(()));
    }
}

/// A change to one part of a good credential.
type Change = fn(&mut Value, &mut Value);

/// Sound SD-JWTs that are no credentials of ours: what we say, and what sd-jwt-rs and sd-jwt-payload do.
#[test]
fn sd_jwts_that_are_no_credentials() {
    let rng = &mut rng();
    let table: &[(&str, Change, &str, &str, &str)] = &[
        ("control", |_, _| (), "accepts", "accepts", "accepts"),
        ("no kind named", |h, _| drop(h.as_object_mut().unwrap().remove("typ")), "Jose", "accepts", "accepts"),
        ("another kind", |h, _| h["typ"] = "kb+jwt".into(), "Jose", "accepts", "accepts"),
        ("an extension we must understand", |h, _| h["crit"] = json!(["x"]), "Jose", "accepts", "accepts"),
        ("an unencoded payload's flag", |h, _| h["b64"] = false.into(), "Jose", "accepts", "accepts"),
        ("a key from the header", |h, _| h["jku"] = "https://attacker.example".into(), "Jose", "accepts", "accepts"),
        ("no algorithm", |h, _| h["alg"] = "none".into(), "Jose", "refuses", "accepts"),
        ("another algorithm", |h, _| h["alg"] = "HS256".into(), "Jose", "refuses", "accepts"),
        ("no key named", |h, _| drop(h.as_object_mut().unwrap().remove("kid")), "Did", "accepts", "accepts"),
        ("another key named", |h, _| h["kid"] = "k".into(), "Did", "accepts", "accepts"),
        ("a name that must be looked up", |_, p| p["iss"] = "did:web:attacker.example".into(), "DidMethod", "accepts", "accepts"),
        ("another type of credential", |_, p| p["vct"] = "x".into(), "Vct", "accepts", "accepts"),
        ("no status", |_, p| drop(p.as_object_mut().unwrap().remove("status")), "StatusRef", "accepts", "accepts"),
        ("not yet", |_, p| p["nbf"] = (now() + 600).into(), "Time", "accepts", "accepts"),
        ("made in the future", |_, p| p["iat"] = (now() + 600).into(), "Time", "accepts", "accepts"),
        ("just ended", |_, p| p["exp"] = (now() - 5).into(), "Expired", "accepts", "accepts"),
        ("ended", |_, p| p["exp"] = (now() - 600).into(), "Expired", "refuses", "accepts"),
        ("an end in quotes", |_, p| p["exp"] = (now() + 600).to_string().into(), "Time", "refuses", "accepts"),
        ("half a second", |_, p| p["exp"] = (now() as f64 + 600.5).into(), "Time", "accepts", "accepts"),
        ("for ever", |_, p| p["exp"] = (now() + 400 * 86400).into(), "Time", "accepts", "accepts"),
        ("no device key", |_, p| drop(p.as_object_mut().unwrap().remove("cnf")), "Cnf", "accepts", "accepts"),
        ("two device keys", |_, p| p["cnf"]["kid"] = "k".into(), "Cnf", "accepts", "accepts"),
        ("a private device key", |_, p| p["cnf"]["jwk"]["d"] = "AA".into(), "Cnf", "accepts", "accepts"),
        ("another subject", |_, p| p["sub"] = p["iss"].clone(), "Cnf", "accepts", "accepts"),
        ("no such tier", |_, p| p["tier"] = "root".into(), "Claim", "accepts", "accepts"),
    ];
    let holder = Holder::new(rng);
    let mut wrong = Vec::new();
    for (what, change, our, rs_says, payload_says) in table {
        let (mut header, mut payload_) = (holder.header(), Value::Object(holder.clear()));
        change(&mut header, &mut payload_);
        let text = holder.issuer.jws(&header.to_string(), &payload_.to_string()) + "~";
        let got = (check(&text).err().unwrap_or("accepts".into()), rs(&text, &holder.issuer).word(), payload(&text).word());
        if (got.0.as_str(), got.1, got.2) != (*our, *rs_says, *payload_says) {
            wrong.push((*what, got));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(FIXED.contains(&"nbf"));
}

/// A change to a key binding's header and claims.
#[test]
fn key_bindings_that_bind_nothing() {
    let rng = &mut rng();
    let table: &[(&str, Change, &str, &str)] = &[
        ("control", |_, _| (), "accepts", "accepts"),
        ("a key from the header", |h, _| h["jwk"] = json!({}), "Kb Jose", "refuses"),
        ("a URL of a key in the header", |h, _| h["jku"] = "https://attacker.example".into(), "Kb Jose", "accepts"),
        ("an extension we must understand", |h, _| h["crit"] = json!(["x"]), "Kb Jose", "accepts"),
        ("another kind", |h, _| h["typ"] = "JWT".into(), "Kb Typ", "refuses"),
        ("another audience", |_, c| c["aud"] = "x".into(), "Kb Aud", "refuses"),
        ("two audiences", |_, c| c["aud"] = json!([AUD, "x"]), "Kb Jose", "accepts"),
        ("another nonce", |_, c| c["nonce"] = "x".into(), "Kb Nonce", "refuses"),
        ("another SD-JWT", |_, c| c["sd_hash"] = "x".into(), "Kb SdHash", "refuses"),
        ("no time", |_, c| drop(c.as_object_mut().unwrap().remove("iat")), "Kb Jose", "accepts"),
        ("long ago", |_, c| c["iat"] = (now() - 3600).into(), "Kb Iat", "accepts"),
        ("in the future", |_, c| c["iat"] = (now() + 3600).into(), "Kb Iat", "accepts"),
        ("agreed to what nobody asked", |_, c| c["transaction_data_hashes"] = json!(["x"]), "Kb TransactionData", "accepts"),
    ];
    let holder = Holder::new(rng);
    let shown = holder.credential(rng);
    let mut wrong = Vec::new();
    let mut ask = |what: &'static str, text: &str, our: &str, rs_says: &str| {
        let got = (verify(text).err().unwrap_or("accepts".into()), rs_bound(text, &holder.issuer, Some((AUD, NONCE))).word());
        if (got.0.as_str(), got.1) != (our, rs_says) {
            wrong.push((what, got));
        }
    };
    for (what, change, our, rs_says) in table {
        let mut header = json!({"alg": "ES256", "typ": "kb+jwt"});
        let mut claims = json!({"aud": AUD, "nonce": NONCE, "iat": now(), "sd_hash": baton_protocol::key::hash(shown.as_bytes())});
        change(&mut header, &mut claims);
        ask(what, &format!("{shown}{}", holder.device.jws(&header.to_string(), &claims.to_string())), our, rs_says);
    }
    ask("no key binding, and one was asked for", &shown, "Kb Missing", "refuses");
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Key binding is the caller's choice with them: without an audience and a nonce, anything may stand at its place.
    assert_eq!(rs(&shown, &holder.issuer).word(), "accepts");
    assert_eq!(rs(&(shown.clone() + "rubbish"), &holder.issuer).word(), "accepts");
    assert_eq!(payload(&shown).word(), "accepts");
    assert_eq!(verify(&shown), Err("Kb Missing".into()));
    assert_eq!(verify(&(shown.clone() + "rubbish")), Err("Kb Jose".into()));
}
