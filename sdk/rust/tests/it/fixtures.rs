//! Golden forms: everything that must open for ever, and vectors that another implementation reads. `make schemas` writes them; this test
//! fails when what the code makes differs from what stands there, and opens each from its text alone.

use crate::golden::{file, golden};
use baton_protocol::b64;
use baton_protocol::credential::{self, StatusEntry, Template, Tier, VCT, Visible};
use baton_protocol::device_log::{DeviceLog, Entry, Head as LogHead, Op};
use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::handoff::machine::Target;
use baton_protocol::handoff::wire::{Offer, accept_data};
use baton_protocol::id::{HandoffId, SessionId};
use baton_protocol::jose::Draft;
use baton_protocol::key::hash;
use baton_protocol::needs::Needs;
use baton_protocol::ports::Entropy;
use baton_protocol::presentation::{self, Expected};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::secret::Secret;
use baton_protocol::session::{Head, Kind, Mode, Opened, Place, SealedUpdate, SessionKey, draft_update};
use baton_protocol::signer::Signer as _;
use baton_protocol::status_list::{Status, StatusRef};
use baton_protocol::time::Millis;
use baton_protocol::view::SealedView;
use baton_sdk::keys::SoftKey;
use baton_sdk::root::{RecoveryCode, Root, sign_credential};
use baton_sdk::seal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

const NOW: Millis = Millis(1_790_000_000_000);
const BROKER: &str = "https://baton.example/broker";

/// Bytes that are the same each time: for vectors alone.
fn entropy() -> Entropy {
    let counter = AtomicU64::new(0);
    Entropy::new(move |bytes| {
        for chunk in bytes.chunks_mut(32) {
            let n = counter.fetch_add(1, Ordering::SeqCst);
            let block = baton_protocol::key::sha256(format!("baton fixture {n}").as_bytes());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    })
}

pub fn sign(key: &SoftKey, draft: Draft) -> String {
    let signature = key.sign_now(draft.signing_input());
    draft.signed(&signature)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub struct Cast {
    pub entropy: Entropy,
    pub root: Root,
    pub issuer: SoftKey,
    pub laptop: SoftKey,
    pub tv: SoftKey,
    tv_agreement: SoftKey,
}

pub fn cast() -> Cast {
    let entropy = entropy();
    let root = Root::from_seed(Secret::new([42; 32]));
    let issuer = root.issuer("player");
    let key = || SoftKey::generate(&entropy);
    let (laptop, tv, tv_agreement) = (key(), key(), key());
    Cast { entropy, root, issuer, laptop, tv, tv_agreement }
}

#[test]
fn drift_of_root_and_wraps() {
    let Cast { entropy, root, issuer, .. } = cast();
    let prf = Secret::new(vec![7; 32]);
    let code = RecoveryCode::generate(&entropy);
    let made = json!({
        "seed": b64::encode([42; 32]),
        "account_jwk": root.account().key().jwk(),
        "fingerprint": root.fingerprint(),
        "issuer": {"app": "player", "did": issuer.key().did(), "d": b64::encode(issuer.scalar().expose())},
        "prf": b64::encode(prf.expose()),
        "wrapped_for_passkey": root.wrap_for_passkey(&prf, "Y3JlZA", "localhost", &entropy).unwrap(),
        "recovery_code": code.words().expose(),
        "recovery_id": code.id(),
        "wrapped_for_recovery": root.wrap_for_recovery(&code, &entropy).unwrap(),
    });
    let stands = golden("fixtures/wrap-v1.json", &made);
    let prf = Secret::new(b64::decode(text(&stands["prf"])).unwrap());
    let wrapped = serde_json::from_value(stands["wrapped_for_passkey"].clone()).unwrap();
    let fingerprint = text(&stands["fingerprint"]);
    assert_eq!(
        Root::unwrap(&wrapped, &prf, "Y3JlZA", "localhost", fingerprint).unwrap().issuer("player").key().did().as_str(),
        text(&stands["issuer"]["did"])
    );
    // WRP-03: another credential, another relying party, another root.
    assert!(Root::unwrap(&wrapped, &prf, "b3RoZXI", "localhost", fingerprint).is_err());
    assert!(Root::unwrap(&wrapped, &prf, "Y3JlZA", "evil.example", fingerprint).is_err());
    assert!(Root::unwrap(&wrapped, &prf, "Y3JlZA", "localhost", &hash(b"other")).is_err());
    let code = RecoveryCode::parse(text(&stands["recovery_code"])).unwrap();
    let wrapped = serde_json::from_value(stands["wrapped_for_recovery"].clone()).unwrap();
    assert_eq!(Root::recover(&wrapped, &code).unwrap().fingerprint(), fingerprint);
}

pub fn log(cast: &Cast) -> Vec<String> {
    let iss = cast.issuer.key().did();
    let mut entries: Vec<String> = Vec::new();
    let ops = [
        Op::Open { iss: iss.clone(), app: "player".into(), salt: b64::encode([1; 16]) },
        Op::Enrol { device: cast.laptop.key().did(), agreement_jwk: cast.laptop.key().jwk(), tier: Tier::Full, client_id: "player-web".into() },
        Op::Enrol { device: cast.tv.key().did(), agreement_jwk: cast.tv_agreement.key().jwk(), tier: Tier::Limited, client_id: "player-tv".into() },
    ];
    for (n, op) in ops.into_iter().enumerate() {
        let prev = entries.last().map(|last| hash(&b64::decode(last.split('.').nth(1).unwrap()).unwrap()));
        entries.push(sign(&cast.issuer, Entry { v: 1, n: n as u64, prev, op }.draft(&iss)));
    }
    entries
}

/// What the root signs for the laptop or the television.
pub fn template(cast: &Cast, device: &SoftKey) -> Template {
    let tv = device.key() == cast.tv.key();
    let agreement = if tv { cast.tv_agreement.key() } else { cast.laptop.key() };
    let (name, kind, client, tier) =
        if tv { ("Television", "tv", "player-tv", Tier::Limited) } else { ("Laptop", "laptop", "player-web", Tier::Full) };
    let visible = Visible {
        iss: cast.issuer.key().did(),
        sub: device.key().did(),
        vct: VCT.into(),
        iat: NOW.secs(),
        exp: NOW.secs() + 365 * 24 * 3600,
        client_id: client.into(),
        tier,
        log: DeviceLog::replay(&log(cast)).unwrap().subject().into(),
        status: StatusEntry { status_list: StatusRef { idx: 4711, uri: "https://baton.example/identity/v1/status-lists/1".into() } },
        status_issuer: "did:web:baton.example:identity".into(),
    };
    let disclosable = json!({"name": name, "kind": kind, "agreement_jwk": agreement.jwk_value()}).as_object().unwrap().clone();
    Template { visible, disclosable }
}

#[test]
fn drift_of_log_credential_and_presentation() {
    let cast = cast();
    let entries = log(&cast);
    let replayed = DeviceLog::replay(&entries).unwrap();
    let template = template(&cast, &cast.tv);
    let credential = sign_credential(&template, cast.tv.key(), &cast.issuer, &cast.entropy).unwrap();

    let offer = offer(&cast);
    let offer_text = sign(&cast.laptop, offer.draft());
    let (_, offer_hash) = Offer::read(&offer_text).unwrap();
    let data = accept_data(&offer, &offer_hash, &cast.tv.key().did(), &cast.tv.key().thumbprint());
    let shown = Compact::parse(&credential).unwrap().select(|name| name == "name");
    let kb = sign(&cast.tv, presentation::draft(&shown, BROKER, &offer.challenge, std::slice::from_ref(&data), NOW));
    let made = json!({"now": NOW.secs(), "device_log": entries, "subject": replayed.subject(), "credential": credential, "credential_hash":
        credential::check(&Compact::parse(&credential).unwrap(), &(), NOW).unwrap().hash, "offer": offer_text, "offer_hash": offer_hash,
        "transaction_data": data.as_str(), "presentation": format!("{shown}{kb}"), "audience": BROKER});
    let stands = golden("fixtures/presentation-v1.json", &made);

    let challenge = offer.challenge.clone();
    let data = [data];
    let expected =
        Expected { audience: text(&stands["audience"]), nonce: &|nonce, _| nonce == challenge, transaction_data: &data, required_claims: &["name"] };
    let verdict = presentation::check(text(&stands["presentation"]), &expected, &(), |_| Ok(Status::Valid), NOW).unwrap();
    assert_eq!((verdict.claims["name"].as_str(), verdict.log.as_str()), (Some("Television"), text(&stands["subject"])));
}

fn session() -> SessionId {
    SessionId::new(NOW, [3; 10])
}

fn offer(cast: &Cast) -> Offer {
    let to = Target::Device(cast.tv.key().did());
    Offer {
        v: 1,
        handoff: HandoffId::new(NOW, [4; 10]),
        session: session(),
        epoch: 1,
        from: cast.laptop.key().did(),
        to,
        challenge: b64::encode([5; 16]),
    }
}

/// A whole handoff as it crosses the wire, byte for byte.
#[test]
fn drift_of_a_recorded_handoff() {
    let cast = cast();
    let (laptop, tv) = (cast.laptop.key().did(), cast.tv.key().did());
    let key = SessionKey { version: 1, key: Secret::new([6; 32]) };
    let head = DeviceLog::replay(&log(&cast)).unwrap().head();
    let key_statement = sign(&cast.laptop, key.draft(&session(), LogHead { n: head.n, hash: head.hash }, &laptop));
    let envelope = envelope(&key_statement, &cast);

    let say = |by: &SoftKey, epoch: i64, prev: Option<&String>, act: Act| {
        let statement = Statement { v: 1, session: session(), epoch, prev: prev.cloned(), device: by.key().did(), act };
        let text = sign(by, statement.draft());
        let (_, digest) = Statement::read(&text).unwrap();
        (text, digest)
    };
    let subject = DeviceLog::replay(&log(&cast)).unwrap().subject().to_owned();
    let (open, open_hash) =
        say(&cast.laptop, 1, None, Act::Open { app: "player".into(), subject, mode: Mode::Exclusive, envelope: hash(envelope.as_bytes()) });
    let place = Place { session: session(), epoch: 1, seq: 1, prev: open_hash.clone(), key_version: 1, kind: Kind::Snapshot };
    let content = b"The General, 00:43";
    let needs = Needs { needs: vec![vec!["codec:av1".into(), "codec:h264".into()]], adapts: vec!["screen:large".into()] };
    let jws = sign(&cast.laptop, draft_update(&place, content, &needs, &laptop));
    let update = SealedUpdate::seal(place, content, &jws, &key, [8; 12]).unwrap();
    let at = Head { epoch: 1, seq: 1, hash: update.hash() };
    let handoff = offer(&cast).handoff;
    let release = Act::Release { handoff: handoff.clone(), head: at, key_version: 1, envelope: Some(hash(envelope.as_bytes())), to: tv };
    let (release, release_hash) = say(&cast.laptop, 1, Some(&open_hash), release);
    let proof = key.receipt_proof(&release_hash, content);
    let (receipt, _) = say(&cast.tv, 2, Some(&release_hash), Act::Receipt { handoff: handoff.clone(), proof });
    let (reclaim, _) = say(&cast.laptop, 2, Some(&release_hash), Act::Reclaim { handoff });
    let view = SealedView::seal(&session(), &laptop, &key, [9; 12], b"00:43").unwrap();
    let made = json!({"tv": {"did": cast.tv.key().did(), "agreement_d": b64::encode(cast.tv_agreement.scalar().expose())}, "key_statement": key_statement, "envelope": envelope,
        "open": open, "update": update, "needs": needs, "content": String::from_utf8_lossy(content), "release": release, "release_hash": release_hash, "receipt": receipt, "reclaim": reclaim, "view": view});
    let stands = golden("fixtures/handoff-v1.json", &made);

    // A target reads it all from the texts.
    let agreement = SoftKey::from_scalar(&Secret::new(b64::decode_array(text(&stands["tv"]["agreement_d"])).unwrap())).unwrap();
    let opened = seal::open(text(&stands["envelope"]), &cast.tv.key().did(), &agreement).unwrap();
    let (key, ..) = SessionKey::read(&opened, &session(), 1, |by| *by == laptop).unwrap();
    let update: SealedUpdate = serde_json::from_value(stands["update"].clone()).unwrap();
    let Opened { content, needs, .. } = update.open(&key, |by| *by == laptop).unwrap();
    assert_eq!(serde_json::to_value(needs).unwrap(), stands["needs"]);
    assert_eq!(content, text(&stands["content"]).as_bytes());
    let view: SealedView = serde_json::from_value(stands["view"].clone()).unwrap();
    assert_eq!(view.open(&session(), &laptop, &key).unwrap(), b"00:43");
    let chain = Chain::replay(["open", "release", "receipt"].map(|name| text(&stands[name]))).unwrap();
    assert_eq!((chain.epoch(), chain.holder()), (2, &cast.tv.key().did()));
    let back = Chain::replay(["open", "release", "reclaim"].map(|name| text(&stands[name]))).unwrap();
    assert_eq!((back.epoch(), back.holder()), (2, &laptop));
}

/// The one form that is random each time: the one that stands is kept while it still opens.
fn envelope(key_statement: &str, cast: &Cast) -> String {
    let stands: Value =
        std::fs::read_to_string(file("fixtures/handoff-v1.json")).ok().and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
    let known =
        stands["envelope"].as_str().filter(|e| seal::open(e, &cast.tv.key().did(), &cast.tv_agreement).is_ok_and(|plain| plain == key_statement));
    let recipients = [(cast.laptop.key().did(), cast.laptop.key().clone()), (cast.tv.key().did(), cast.tv_agreement.key().clone())];
    known.map_or_else(|| seal::seal(key_statement, &recipients).unwrap(), str::to_owned)
}

/// attacks.md ECC-06 to ECC-10: what josekit would let through, the module before it does not.
#[test]
fn an_envelope_of_another_profile_is_refused() {
    let cast = cast();
    let (did, key) = (cast.tv.key().did(), &cast.tv_agreement);
    let good = seal::seal("plain", &[(did.clone(), key.key().clone())]).unwrap();
    assert_eq!(seal::open(&good, &did, key).unwrap(), "plain");
    let parsed: Value = serde_json::from_str(&good).unwrap();
    let code = |changed: &Value| seal::open(&changed.to_string(), &did, key).unwrap_err().code();
    let protected = |change: &dyn Fn(&mut Value)| {
        let mut header: Value = serde_json::from_slice(&b64::decode(text(&parsed["protected"])).unwrap()).unwrap();
        change(&mut header);
        let mut out = parsed.clone();
        out["protected"] = b64::encode(header.to_string()).into();
        out
    };
    for alg in ["dir", "RSA1_5", "A256KW", "PBES2-HS256+A128KW", "ECDH-ES"] {
        assert_eq!(code(&protected(&|h| h["alg"] = alg.into())), "state.alg", "ECC-06 {alg}");
    }
    assert_eq!(code(&protected(&|h| h["p2c"] = (1u64 << 31).into())), "state.alg", "ECC-07");
    assert_eq!(code(&protected(&|h| h["zip"] = "DEF".into())), "state.alg", "ECC-08");
    assert_eq!(code(&protected(&|h| h["enc"] = "A128CBC-HS256".into())), "state.alg", "ECC-09");
    let with = |name: &str, value: Value| {
        let mut out = parsed.clone();
        out[name] = value;
        out
    };
    let tag = b64::decode(text(&parsed["tag"])).unwrap();
    for length in [1, 4, 12, 15] {
        assert_eq!(code(&with("tag", b64::encode(&tag[..length]).into())), "state.undecryptable", "ECC-09 {length}");
    }
    assert_eq!(code(&with("iv", b64::encode([0; 16]).into())), "state.undecryptable", "ECC-09");
    for wrapped in [0, 4, 16, 39, 41] {
        let mut out = parsed.clone();
        out["recipients"][0]["encrypted_key"] = b64::encode(vec![0; wrapped]).into();
        assert_eq!(code(&out), "state.undecryptable", "ECC-10 {wrapped}");
    }
    let mut off_curve = parsed.clone();
    off_curve["recipients"][0]["header"]["epk"]["y"] = off_curve["recipients"][0]["header"]["epk"]["x"].clone();
    assert_eq!(code(&off_curve), "state.undecryptable", "ECC-04");
    assert_eq!(code(&with("crit", json!(["x"]))), "state.undecryptable");
    assert_eq!(seal::open(&good, &cast.laptop.key().did(), key).unwrap_err().code(), "state.recipient");
}
