//! SD-JWTs of random claims: what either library issues we reveal, what we make either reads, to the same claims.

use crate::generate::{claims, conceal, pointers, text};
use crate::support::{Key, Says, join, now, ours, payload, rng, rs, texts};
use baton_protocol::key::hash;
use baton_protocol::sd_jwt::{Compact, Disclosure};
use rand::{Rng, rngs::StdRng};
use sd_jwt_payload::{Hasher, JsonObject, JwsSigner, SdJwtBuilder, Sha256Hasher};
use sd_jwt_rs::{ClaimsForSelectiveDisclosureStrategy as Strategy, SDJWTIssuer, SDJWTSerializationFormat};
use serde_json::{Map, Value, json};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const ROUNDS: usize = 2000;

/// sd-jwt-payload asks for its signatures asynchronously; ours are at hand.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing to wait for"),
    }
}

#[async_trait::async_trait]
impl JwsSigner for Key {
    type Error = String;
    async fn sign(&self, header: &JsonObject, payload: &JsonObject) -> Result<Vec<u8>, String> {
        Ok(self.jws(&Value::Object(header.clone()).to_string(), &Value::Object(payload.clone()).to_string()).into_bytes())
    }
}

/// Random claims with the two that sd-jwt-rs asks for.
fn dated(rng: &mut StdRng, empty: bool) -> Map<String, Value> {
    let count = rng.random_range(1..7);
    let mut claims = claims(rng, count, 3, empty);
    claims.insert("iss".into(), "https://issuer.example".into());
    claims.insert("exp".into(), (now() + 1000).into());
    claims
}

fn same_digests(compact: &Compact<'_>) {
    for disclosure in &compact.disclosures {
        let text = disclosure.as_str();
        assert_eq!(disclosure.digest(), sd_jwt_rs::utils::base64_hash(text.as_bytes()));
        assert_eq!(disclosure.digest(), Sha256Hasher::new().encoded_digest(text));
    }
}

/// Asks all three of the same SD-JWT and expects the same claims. sd-jwt-payload leaves digests in place of a container whose members
/// are all undisclosed; such answers are not compared. Says whether it was.
fn agree(text: &str, key: &Key, expected: Option<&Map<String, Value>>) -> bool {
    let our = ours(text, &key.public, &[]).unwrap();
    if let Some(expected) = expected {
        assert_eq!(&our, expected);
    }
    assert_eq!(Says::Yes(our.clone()), rs(text, key));
    let their = payload(text).yes().unwrap();
    if has_digests(&Value::Object(their.clone())) {
        return false;
    }
    assert_eq!(our, their);
    true
}

fn has_digests(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| name == "_sd" || name == "..." || has_digests(value)),
        Value::Array(items) => items.iter().any(has_digests),
        _ => false,
    }
}

/// Leaves some disclosures out. Where a parent went and its child stayed, we say so and sd-jwt-rs does not.
fn some(rng: &mut StdRng, text: &str, key: &Key, compared: &mut usize) {
    let compact = Compact::parse(text).unwrap();
    let kept = compact.disclosures.iter().map(Disclosure::as_str).filter(|_| rng.random_ratio(2, 3));
    let text = join(compact.jwt, kept.collect::<Vec<_>>());
    match ours(&text, &key.public, &[]) {
        Err(why) => {
            assert_eq!(why, "Unused");
            assert_eq!((rs(&text, key).word(), payload(&text).word()), ("accepts", "refuses"));
        }
        Ok(_) => *compared += usize::from(agree(&text, key, None)),
    }
}

#[test]
fn what_sd_jwt_rs_issues() {
    let (rng, mut compared) = (&mut rng(), 0);
    let key = Key::new(rng);
    let mut issuer = SDJWTIssuer::new(key.encoding(), None);
    for round in 0..ROUNDS {
        let empty = round % 4 == 0;
        let claims = dated(rng, empty);
        let strategy = [Strategy::TopLevel, Strategy::AllLevels, Strategy::NoSDClaims].into_iter().nth(rng.random_range(0..3)).unwrap();
        let format = SDJWTSerializationFormat::Compact;
        let text = issuer.issue_sd_jwt(Value::Object(claims.clone()), strategy, None, rng.random(), format).unwrap();
        let Ok(compact) = Compact::parse(&text) else {
            assert!(text.matches('~').count() > 65, "{text}");
            continue;
        };
        same_digests(&compact);
        if empty {
            assert_eq!(ours(&text, &key.public, &[]).unwrap(), claims);
        } else {
            agree(&text, &key, Some(&claims));
            some(rng, &text, &key, &mut compared);
        }
    }
    assert!(compared > ROUNDS / 8, "{compared}");
}

#[test]
fn what_sd_jwt_payload_issues() {
    let (rng, mut compared) = (&mut rng(), 0);
    let key = Key::new(rng);
    for round in 0..ROUNDS {
        let empty = round % 4 == 0;
        let claims = dated(rng, empty);
        let mut paths = Vec::new();
        pointers(rng, &Value::Object(claims.clone()), "", &mut paths);
        let mut builder = SdJwtBuilder::new(&claims).unwrap();
        for path in paths.iter().filter(|path| !["/iss", "/exp"].contains(&path.as_str())) {
            builder = builder.make_concealable(path).unwrap();
        }
        let text = wait(builder.add_decoys("", rng.random_range(0..3)).unwrap().finish(&key, "ES256")).unwrap().presentation();
        let Ok(compact) = Compact::parse(&text) else {
            assert!(text.matches('~').count() > 65, "{text}");
            continue;
        };
        same_digests(&compact);
        if empty {
            assert_eq!(ours(&text, &key.public, &[]).unwrap(), claims);
        } else {
            agree(&text, &key, Some(&claims));
            some(rng, &text, &key, &mut compared);
        }
    }
    assert!(compared > ROUNDS / 8, "{compared}");
}

#[test]
fn what_our_disclosures_make() {
    let (rng, mut compared) = (&mut rng(), 0);
    let key = Key::new(rng);
    for _ in 0..ROUNDS {
        let mut claims = dated(rng, false);
        let expected = claims.clone();
        let (iss, exp) = (claims.remove("iss").unwrap(), claims.remove("exp").unwrap());
        let mut disclosures = Vec::new();
        let mut concealed = conceal(rng, Value::Object(claims), &mut disclosures);
        concealed["iss"] = iss;
        concealed["exp"] = exp;
        concealed["_sd_alg"] = "sha-256".into();
        let text = join(&key.jws(r#"{"alg":"ES256"}"#, &concealed.to_string()), texts(&disclosures));
        let Ok(compact) = Compact::parse(&text) else {
            assert!(disclosures.len() > 64);
            continue;
        };
        assert_eq!(compact.disclosures, disclosures);
        same_digests(&compact);
        compared += usize::from(agree(&text, &key, Some(&expected)));
        some(rng, &text, &key, &mut compared);
    }
    assert!(compared > ROUNDS, "{compared}");
}

#[test]
fn digests_of_any_text() {
    let rng = &mut rng();
    for _ in 0..ROUNDS {
        let text = text(rng);
        assert_eq!(hash(text.as_bytes()), sd_jwt_rs::utils::base64_hash(text.as_bytes()));
        assert_eq!(hash(text.as_bytes()), Sha256Hasher::new().encoded_digest(&text));
    }
}

/// Why the generator stays below U+FFFF: sd-jwt-rs cannot issue an emoji. It reads ours.
#[test]
fn characters_beyond_the_first_plane() {
    let rng = &mut rng();
    let key = Key::new(rng);
    let claims = json!({"iss": "i", "exp": now() + 1000, "name": "📺"});
    let issue =
        || SDJWTIssuer::new(key.encoding(), None).issue_sd_jwt(claims.clone(), Strategy::TopLevel, None, false, SDJWTSerializationFormat::Compact);
    assert_eq!(Says::ask(issue), Says::Panics);
    let disclosure = Disclosure::member([1; 16], "name", &claims["name"]);
    let concealed = json!({"iss": "i", "exp": claims["exp"], "_sd": [disclosure.digest()]});
    let text = join(&key.jws(r#"{"alg":"ES256"}"#, &concealed.to_string()), [disclosure.as_str()]);
    assert!(agree(&text, &key, claims.as_object()));
}
