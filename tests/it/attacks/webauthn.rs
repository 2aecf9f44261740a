//! WAN-01 to WAN-04, WAN-06, WAN-08 to WAN-10 (signing in): what a passkey answers, with one thing in it changed. The signature over it is then wrong as well, so it
//! is the precise reason that tells which check refused it; the same ceremony with nothing changed passes.

use super::{Ask, Rig};
use crate::support::Server;
use baton_protocol::b64;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

/// What may change when a ceremony is refused: that it was begun, and is used up.
const SPENT: &[&str] = &["ceremonies", "counters"];

struct Ceremony {
    id: Value,
    credential: Value,
}

impl Rig {
    fn page(&self, path: &str, body: &Value) -> Ask {
        Ask::new("POST", self.identity(path)).header("origin", self.server.public_url.clone()).json(body)
    }

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
    rig.refuses("WAN-08: in a frame", "origin", client(|data| data["crossOrigin"] = true.into())).await;
    rig.refuses("WAN-08: below another page", "origin", client(|data| data["topOrigin"] = "https://evil.example".into())).await;
    rig.refuses("WAN-09: made, not used", "other", client(|data| data["type"] = "webauthn.create".into())).await;
    rig.refuses("WAN-09: cut short", "other", authenticator(|data| data.truncate(20))).await;
    rig.refuses("WAN-10: backed up and not to be", "other", authenticator(|data| data[32] = (data[32] | 0x10) & !0x08)).await;
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

/// WAN-09: what is no attestation makes no account, and ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_attestation_makes_no_account() {
    let rig = Rig::new(On::Sqlite).await;
    for attestation in [vec![0x81; 10_000], vec![0xa1; 10_000], vec![0x9f; 10_000], Vec::new(), b"{}".to_vec()] {
        let started = rig.allow(&rig.page("/v1/sign-up/start", &json!({}))).await;
        let credential = json!({"id": b64::encode([1; 16]), "rawId": b64::encode([1; 16]), "type": "public-key", "extensions": {},
            "response": {"attestationObject": b64::encode(&attestation), "clientDataJSON": b64::encode(b"{}")}});
        let body = json!({"ceremony": started["ceremony"], "credential": credential, "account_jwk": {}, "proof": "", "recovery_id": "", "wraps": []});
        let before = rig.server.dump(SPENT).await;
        let answer = rig.page("/v1/sign-up/finish", &body).send().await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(before, rig.server.dump(SPENT).await);
    }
}
