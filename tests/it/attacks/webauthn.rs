//! WAN-01 to WAN-12, WRP-01 and WRP-02: what a passkey answers, with one thing in it changed. At sign-in the signature over it is then wrong as
//! well, so it is the precise reason that tells which check refused it; the same ceremony with nothing changed passes.

use super::{Ask, Rig, race};
use crate::support::{Server, logs};
use baton::person::Person;
use baton_protocol::b64;
use baton_sdk::system_entropy;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

/// What may change when a ceremony is refused: that it was begun, and is used up.
const SPENT: &[&str] = &["ceremonies", "counters"];

struct Ceremony {
    id: Value,
    credential: Value,
}

impl Rig {
    /// A sign-in begun, with what the person's own passkey answers.
    async fn ceremony(&mut self) -> Ceremony {
        let started = self.allow(&self.page("/v1/sign-in/start", &json!({}))).await;
        Ceremony { id: started["ceremony"].clone(), credential: self.person.assertion(&started["options"]).await.unwrap() }
    }

    fn finish(&self, id: &Value, credential: &Value) -> Ask {
        self.page("/v1/sign-in/finish", &json!({"ceremony": id, "credential": credential}))
    }

    /// A sign-in whose answer was changed like this is refused for this reason; unchanged, another one passes.
    async fn refuses(&mut self, what: &str, reason: &str, change: impl FnOnce(&mut Value)) {
        let Ceremony { id, mut credential } = self.ceremony().await;
        change(&mut credential);
        println!("{what}");
        let ask = self.finish(&id, &credential);
        self.refuse_but(&ask, 400, "webauthn.invalid", reason, SPENT).await;
    }
}

impl Rig {
    /// A sign-up whose answer was changed like this is refused.
    async fn refuses_sign_up(&self, what: &str, (status, code, reason): (u16, &str, &str), change: impl FnOnce(&mut Value)) {
        println!("{what}");
        let ask = self.sign_up(change).await;
        self.refuse_but(&ask, status, code, reason, SPENT).await;
    }

    async fn sign_up(&self, change: impl FnOnce(&mut Value)) -> Ask {
        let mut new = Person::new(&self.server.public_url, system_entropy()).unwrap();
        let started = self.allow(&self.page("/v1/sign-up/start", &json!({}))).await;
        let (body, _) = new.sign_up_answer(&started, change).await.unwrap();
        self.page("/v1/sign-up/finish", &body)
    }
}

/// Changes the authenticator data of an attestation, which nobody signs.
fn attested(change: impl FnOnce(&mut Vec<u8>)) -> impl FnOnce(&mut Value) {
    |credential| {
        let text = &mut credential["response"]["attestationObject"];
        let object = b64::decode(text.as_str().unwrap()).unwrap();
        let name = object.windows(8).position(|name| name == b"authData").unwrap() + 8;
        // A byte string of less than 256 bytes: its mark, its length, itself.
        assert_eq!(object[name], 0x58);
        let (from, until) = (name + 2, name + 2 + usize::from(object[name + 1]));
        let mut data = object[from..until].to_vec();
        change(&mut data);
        let length = u8::try_from(data.len()).unwrap();
        *text = b64::encode([&object[..name], &[0x58, length], &data, &object[until..]].concat()).into();
    }
}

/// The extension results `{"prf": {"results": {"first": h'..'}}}` as CBOR, at the end of authenticator data.
fn with_plain_prf(data: &mut Vec<u8>) {
    data[32] |= 0x80;
    data.extend(b"\xa1\x63prf\xa1\x67results\xa1\x65first\x58\x20");
    data.extend(CANARY);
}
const CANARY: &[u8] = b"canary: the PRF output of a test";

/// Changes the client data.
fn client(change: impl FnOnce(&mut Value)) -> impl FnOnce(&mut Value) {
    |credential| {
        let text = &mut credential["response"]["clientDataJSON"];
        let mut data: Value = serde_json::from_slice(&b64::decode(text.as_str().unwrap()).unwrap()).unwrap();
        change(&mut data);
        *text = b64::encode(data.to_string()).into();
    }
}

/// Changes the authenticator data: 32 bytes of rp id hash, one of flags, four of counter.
fn authenticator(change: impl FnOnce(&mut Vec<u8>)) -> impl FnOnce(&mut Value) {
    |credential| {
        let text = &mut credential["response"]["authenticatorData"];
        let mut data = b64::decode(text.as_str().unwrap()).unwrap();
        change(&mut data);
        *text = b64::encode(data).into();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_for_this_origin_this_person_and_verified() {
    let mut rig = Rig::new(On::Sqlite).await;
    let own = rig.server.public_url.clone();
    let (port, evil) = ("http://localhost:1".to_owned(), own.replace("localhost", "localhost.evil.example"));
    for origin in ["https://evil-example.com", &port, &evil, &own.replace("localhost", "sub.localhost"), &own.replace("http:", "https:")] {
        rig.refuses("WAN-01", "origin", client(|data| data["origin"] = origin.into())).await;
    }
    rig.refuses("WAN-02", "rpid", authenticator(|data| data[0] ^= 1)).await;
    rig.refuses("WAN-04: not verified", "uv", authenticator(|data| data[32] &= !0x04)).await;
    rig.refuses("WAN-04: not present", "uv", authenticator(|data| data[32] &= !0x01)).await;
    rig.refuses("WAN-08: in a frame", "cross-origin", client(|data| data["crossOrigin"] = true.into())).await;
    rig.refuses("WAN-08: below another page", "cross-origin", client(|data| data["topOrigin"] = "https://evil.example".into())).await;
    rig.refuses("WAN-09: made, not used", "other", client(|data| data["type"] = "webauthn.create".into())).await;
    rig.refuses("WAN-09: cut short", "other", authenticator(|data| data.truncate(20))).await;
    rig.refuses("WAN-10: backed up and not to be", "flags", authenticator(|data| data[32] = (data[32] | 0x10) & !0x08)).await;
    rig.refuses("WAN-10: not to be backed up, or now to be", "flags", authenticator(|data| data[32] ^= 0x08)).await;
    let mut stranger = rig.server.person().await;
    let started = rig.allow(&rig.page("/v1/sign-in/start", &json!({}))).await;
    let theirs = stranger.assertion(&started["options"]).await.unwrap();
    let handle = theirs["response"]["userHandle"].clone();
    rig.refuses("WAN-06: another user's handle", "credential", |credential| credential["response"]["userHandle"] = handle).await;
    rig.refuses("WAN-06: an unknown passkey", "credential", |credential| {
        (credential["id"], credential["rawId"]) = (b64::encode([7; 32]).into(), b64::encode([7; 32]).into());
    })
    .await;
    let (id, raw) = (theirs["id"].clone(), theirs["rawId"].clone());
    rig.refuses("WAN-06: another user's passkey", "credential", |credential| (credential["id"], credential["rawId"]) = (id, raw)).await;
    rig.refuses("a signature over something else", "credential", |credential| {
        let text = &mut credential["response"]["signature"];
        let mut bytes = b64::decode(text.as_str().unwrap()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        *text = b64::encode(bytes).into();
    })
    .await;
    // In the page of somebody else who is signed in there.
    let Ceremony { id, credential } = rig.ceremony().await;
    let theirs = stranger.get("/v1/account").await.unwrap()["account"].as_str().unwrap().to_owned();
    let ask = rig.finish(&id, &credential).header("baton-account", theirs);
    rig.refuse_but(&ask, 400, "webauthn.invalid", "credential", SPENT).await;
    let Ceremony { id, credential } = rig.ceremony().await;
    rig.allow(&rig.finish(&id, &credential)).await;
}

/// WAN-03: a challenge is ours, for this ceremony, for its time, and counts once: whatever came of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_counts_once() {
    let clock = ManualClock::start();
    let mut rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let Ceremony { id, credential } = rig.ceremony().await;
    let right = rig.finish(&id, &credential);
    rig.allow(&right).await;
    rig.refuse_but(&right, 400, "webauthn.invalid", "challenge", SPENT).await;
    // Spent by a refusal as well: a second try on the same challenge is none.
    let Ceremony { id, credential } = rig.ceremony().await;
    let mut wrong = credential.clone();
    authenticator(|data| data[32] &= !0x04)(&mut wrong);
    rig.refuse_but(&rig.finish(&id, &wrong), 400, "webauthn.invalid", "uv", SPENT).await;
    rig.refuse_but(&rig.finish(&id, &credential), 400, "webauthn.invalid", "challenge", SPENT).await;
    // Of another ceremony, of another kind, and one that the client made up.
    let (one, other) = (rig.ceremony().await, rig.ceremony().await);
    rig.refuse_but(&rig.finish(&one.id, &other.credential), 400, "webauthn.invalid", "challenge", SPENT).await;
    let registration = rig.allow(&rig.page("/v1/sign-up/start", &json!({}))).await;
    rig.refuse_but(&rig.finish(&registration["ceremony"], &other.credential), 400, "webauthn.invalid", "challenge", SPENT).await;
    let (kept, last) = registration["ceremony"].as_str().unwrap().split_at(registration["ceremony"].as_str().unwrap().len() - 1);
    let made_up = json!(format!("{kept}{}", if last == "0" { "1" } else { "0" }));
    rig.refuse_but(&rig.finish(&made_up, &other.credential), 400, "webauthn.invalid", "challenge", SPENT).await;
    rig.allow(&rig.finish(&other.id, &other.credential)).await;
    // And past its time.
    let late = rig.ceremony().await;
    clock.advance_secs(601);
    rig.server.running.identity.pump().await.unwrap();
    rig.refuse_but(&rig.finish(&late.id, &late.credential), 400, "webauthn.invalid", "challenge", SPENT).await;
}

/// The same of a new passkey. Nothing signs an attestation of format `none`: here each change stands alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_passkey_is_of_this_origin_and_verified() {
    let mut rig = Rig::new(On::Sqlite).await;
    let invalid = |reason| (400, "webauthn.invalid", reason);
    rig.refuses_sign_up("WAN-01", invalid("origin"), client(|data| data["origin"] = "https://evil-example.com".into())).await;
    rig.refuses_sign_up("WAN-02", invalid("rpid"), attested(|data| data[0] ^= 1)).await;
    rig.refuses_sign_up("WAN-03", invalid("challenge"), client(|data| data["challenge"] = b64::encode([7; 32]).into())).await;
    rig.refuses_sign_up("WAN-04: not verified", invalid("uv"), attested(|data| data[32] &= !0x04)).await;
    rig.refuses_sign_up("WAN-04: not present", invalid("uv"), attested(|data| data[32] &= !0x01)).await;
    rig.refuses_sign_up("WAN-08: in a frame", invalid("cross-origin"), client(|data| data["crossOrigin"] = true.into())).await;
    rig.refuses_sign_up("WAN-08: below another page", invalid("cross-origin"), client(|data| data["topOrigin"] = "https://evil.example".into()))
        .await;
    rig.refuses_sign_up("WAN-09: used, not made", invalid("other"), client(|data| data["type"] = "webauthn.get".into())).await;
    rig.refuses_sign_up("WAN-10: backed up and not to be", invalid("other"), attested(|data| data[32] = (data[32] | 0x10) & !0x08)).await;
    // WAN-07: under the id of somebody's passkey. Nothing says whose.
    let theirs = rig.ceremony().await.credential["id"].clone();
    let taken = b64::decode(theirs.as_str().unwrap()).unwrap();
    let named = |credential: &mut Value| {
        let own = b64::decode(credential["id"].as_str().unwrap()).unwrap();
        attested(|data| {
            let at = data.windows(own.len()).position(|id| id == own).unwrap();
            data[at..at + own.len()].copy_from_slice(&taken);
        })(credential);
        (credential["id"], credential["rawId"]) = (theirs.clone(), theirs.clone());
    };
    rig.refuses_sign_up("WAN-07", (409, "webauthn.exists", "exists"), named).await;
    rig.allow(&rig.sign_up(|_| ()).await).await;
}

/// WRP-01, WRP-02: what opens the root is not taken in, wherever it stands, and is written down nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_prf_result_is_not_taken() {
    let mut rig = Rig::new(On::Sqlite).await;
    let leak = (400, "wrap.prf_leak", "prf result sent");
    let beside = |credential: &mut Value| credential["clientExtensionResults"]["prf"] = json!({"results": {"first": b64::encode(CANARY)}});
    rig.refuses_sign_up("WRP-01: at sign-up", leak, beside).await;
    rig.refuses_sign_up("WRP-02: at sign-up", leak, attested(with_plain_prf)).await;
    for (what, change) in [("WRP-01", &beside as &dyn Fn(&mut Value)), ("WRP-02", &|credential| authenticator(with_plain_prf)(credential))] {
        println!("{what}: at sign-in");
        let Ceremony { id, mut credential } = rig.ceremony().await;
        change(&mut credential);
        rig.refuse_but(&rig.finish(&id, &credential), leak.0, leak.1, leak.2, SPENT).await;
    }
    let stored = rig.server.dump(&[]).await;
    let seen = String::from_utf8_lossy(&logs().lock().unwrap()).into_owned() + &stored;
    for spelled in [String::from_utf8(CANARY.to_vec()).unwrap(), b64::encode(CANARY), format!("{CANARY:?}")] {
        assert!(!seen.contains(&spelled), "{spelled}");
    }
    // That the extension is there and says nothing is how browsers answer.
    let enabled = |credential: &mut Value| credential["clientExtensionResults"]["prf"] = json!({"enabled": true});
    rig.allow(&rig.sign_up(enabled).await).await;
    let Ceremony { id, credential } = rig.ceremony().await;
    rig.allow(&rig.finish(&id, &credential)).await;
}

/// WAN-03: of many who answer the same challenge at once one is let in, and after a restart it is still spent.
#[tokio::test(flavor = "multi_thread")]
async fn one_challenge_lets_one_in() {
    for on in [On::Sqlite, On::Postgres] {
        let mut rig = Rig::new(on).await;
        let Ceremony { id, credential } = rig.ceremony().await;
        let right = rig.finish(&id, &credential);
        let answers = race(vec![right.clone(); 32]).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(answers.iter().all(|answer| answer.status == 200 || answer.code == "webauthn.invalid"));
        let waiting = rig.ceremony().await;
        rig = Rig { server: rig.server.restart().await, ..rig };
        rig.refuse_but(&right, 400, "webauthn.invalid", "challenge", SPENT).await;
        rig.allow(&rig.finish(&waiting.id, &waiting.credential)).await;
    }
}

/// WAN-09: what is no attestation, or one of another algorithm than was asked for, makes no account and ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_attestation_makes_no_account() {
    let rig = Rig::new(On::Sqlite).await;
    let invalid = (400, "webauthn.invalid", "other");
    for object in [vec![0x81; 10_000], vec![0xa1; 10_000], vec![0x9f; 10_000], vec![0xc0; 10_000], vec![0xbf, 0x9f], Vec::new(), b"{}".to_vec()] {
        let with = |credential: &mut Value| credential["response"]["attestationObject"] = b64::encode(&object).into();
        rig.refuses_sign_up("WAN-09: no attestation", invalid, with).await;
    }
    let eddsa = attested(|data| {
        let alg = data.windows(2).position(|pair| pair == [0x03, 0x26]).unwrap();
        data[alg + 1] = 0x27;
    });
    rig.refuses_sign_up("WAN-09: an algorithm nobody asked for", invalid, eddsa).await;
    rig.refuses_sign_up("spelled in another way", invalid, |credential| {
        let text = &mut credential["response"]["attestationObject"];
        *text = format!("{}=", text.as_str().unwrap()).into();
    })
    .await;
    rig.allow(&rig.sign_up(|_| ()).await).await;
}

/// WAN-12: passkeys are added and removed by somebody who is there, and never the last that opens the root.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_passkey_stays_and_the_others_take_the_person() {
    let clock = ManualClock::start();
    let mut rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let listed = rig.person.get("/v1/passkeys").await.unwrap();
    let first = listed["passkeys"][0]["credential_id"].as_str().unwrap().to_owned();
    let remove = |rig: &Rig| rig.signed_in(&format!("/v1/passkeys/{first}/remove"), &json!({}));
    rig.refuse(&remove(&rig), 409, "wrap.last", "last opening copy").await;
    rig.person.add_passkey().await.unwrap();
    clock.advance_secs(301);
    rig.server.running.identity.pump().await.unwrap();
    rig.refuse(&remove(&rig), 403, "webauthn.reauth", "reauth").await;
    rig.refuse(&rig.signed_in("/v1/passkeys/start", &json!({})), 403, "webauthn.reauth", "reauth").await;
    rig.person.unlock().await.unwrap();
    rig.allow(&rig.signed_in("/v1/passkeys/start", &json!({}))).await;
    rig.allow(&remove(&rig)).await;
}
