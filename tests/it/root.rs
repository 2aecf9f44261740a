//! The root is replaced: agreed to by a full device of each app, switched to at once, and refused in every other way.

use crate::support::Server;
use baton::person::{Person, code};
use baton_protocol::handoff::machine::Target;
use baton_sdk::root::Root;
use baton_sdk::{Device, Session, Waiting, system_entropy};
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

async fn agree(device: &Device) -> Result<(), baton_sdk::Error> {
    let asked = device.members().await?.replace_root.clone().expect("something is asked");
    device.agree(&asked).await
}

async fn kinds(person: &Person) -> Vec<String> {
    let events = person.get("/v1/activity").await.unwrap()["events"].clone();
    events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// All of it: sessions go on, the log goes on, the old root signs nothing more, and the missing `revoke` is signed with it.
async fn a_root_is_replaced(on: On) {
    let server = Server::start(on).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    let (tv, lost) = (server.limited(&mut person, "Television").await, server.full(&mut person, "Lost").await);
    person.revoke(&lost.enrolled().device_id).await.unwrap();
    let mut session = Session::open(&laptop, b"00:43").await.unwrap();
    let (old, subject, head) = (person.unlock().await.unwrap(), laptop.subject().to_owned(), laptop.enrolled().log_head);
    let issuer = old.issuer("baton");
    assert!(laptop.members().await.unwrap().replace_root.is_none(), "nothing is asked yet");
    person.add_passkey().await.unwrap();

    let (next, recovery) = person.ask_for_root().await.unwrap();
    assert_eq!(person.get("/v1/account").await.unwrap()["root"], json!(old.fingerprint()), "nothing has changed yet");
    assert_eq!(code(&person.switch_root(&next).await.unwrap_err()), Some("root.not_agreed"));
    assert!(tv.members().await.unwrap().replace_root.is_none(), "a limited device is not asked");
    agree(&tablet).await.unwrap();
    agree(&tablet).await.unwrap();
    person.switch_root(&next).await.unwrap();
    let body = person.post("/v1/account/root/approve", &json!({"root": next.fingerprint(), "apps": []})).await.unwrap();
    assert_eq!(body["state"], "issued", "a repeat after a lost answer finds it done");

    let taken = server.dump(&["events"]).await;
    let standing = |service: &str| {
        taken.lines().filter(|line| line.starts_with(&format!("{service}.standing")) && line.contains(laptop.did().as_str())).collect::<String>()
    };
    for service in ["verifier", "broker"] {
        assert!(standing(service).contains(&issuer_of(&next)), "{service} knows who signs now");
    }

    // Each device finds out by itself, and what was going on goes on.
    session.write(b"00:44").await.unwrap();
    let members = laptop.members().await.unwrap();
    assert_eq!((members.log.subject(), members.log.continues(&head)), (subject.as_str(), Ok(())));
    assert_eq!(*members.log.issuer(), baton_sdk::protocol::signer::Signer::key(&next.issuer("baton")).did());
    assert!(members.log.member(lost.did()).is_err(), "the log says now what the server has said");
    assert_eq!(members.log.members().count(), 3);
    let offered = session.offer(Target::Device(tv.did().clone())).await.unwrap();
    let waiting = Waiting::list(&tv).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    assert_eq!(waiting.complete().await.unwrap().content(), b"00:44");
    assert_eq!(server.limited(&mut person, "Another").await.subject(), subject);

    // What belonged to the root before opens nothing, signs nothing, and recovers nothing.
    let known = person.get("/v1/passkeys").await.unwrap()["passkeys"].clone();
    assert_eq!(known.as_array().unwrap().iter().filter(|passkey| passkey["opens"] == true).count(), 1);
    let draft =
        baton_protocol::device_log::Entry { v: 1, n: 0, prev: None, op: baton_protocol::device_log::Op::Renew { device: laptop.did().clone() } };
    let draft = draft.draft(&baton_sdk::protocol::signer::Signer::key(&issuer).did());
    let signed = issuer.sign_now(draft.signing_input());
    assert!(members.log.clone().append(&draft.signed(&signed)).is_err());
    let mut elsewhere = Person::new(&server.public_url, system_entropy()).unwrap();
    elsewhere.recover(&recovery).await.unwrap();
    assert_eq!(elsewhere.root(), next.fingerprint());
    let statements: Vec<String> = serde_json::from_value(person.get("/v1/account/export").await.unwrap()["root_statements"].clone()).unwrap();
    assert!(baton_protocol::enrolment::continues(&statements, &old.fingerprint(), &next.fingerprint()), "how another browser learns of it");
    let events = kinds(&person).await;
    for kind in ["root.asked", "root.agreed", "root.replaced"] {
        assert_eq!(events.iter().filter(|other| *other == kind).count(), 1, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_replaced_on_sqlite() {
    a_root_is_replaced(On::Sqlite).await;
}
#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_replaced_on_postgres() {
    a_root_is_replaced(On::Postgres).await;
}

/// Nobody's devices, nobody to ask: the root is replaced at once, and the next device opens a log under the new one.
#[tokio::test(flavor = "multi_thread")]
async fn without_devices_nobody_is_asked() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let gone = server.full(&mut person, "Laptop").await;
    person.revoke(&gone.enrolled().device_id).await.unwrap();
    let (next, _) = person.ask_for_root().await.unwrap();
    person.switch_root(&next).await.unwrap();
    let laptop = server.full(&mut person, "Laptop").await;
    assert_ne!(laptop.subject(), gone.subject());
    Session::open(&laptop, b"00:43").await.unwrap();
    person.post("/v1/account/delete", &json!({})).await.unwrap();
    let left = server.dump(&[]).await;
    for line in left.lines().filter(|line| line.starts_with("identity.log_entries") || line.starts_with("identity.root_")) {
        panic!("left behind: {line}");
    }
}

/// Each request that is not right is refused and changes nothing; the right one passes beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_right_changes_nothing() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let server = Server::start_at(on, clock.clock()).await;
        let mut person = server.person().await;
        let tv = server.limited(&mut person, "Television").await;
        let entropy = system_entropy();
        let (old, next, other) = (person.unlock().await.unwrap(), Root::generate(&entropy), Root::generate(&entropy));
        let recovery = baton_sdk::root::RecoveryCode::generate(&entropy);
        let right = person.root_request(&old, &next, &recovery).await.unwrap();
        let none = person.post("/v1/account/root/ask", &right).await.unwrap_err();
        assert_eq!(code(&none), Some("root.no_full_device"), "an app whose only device is limited");
        server.full(&mut person, "Laptop").await;

        let but = ["passkeys", "ceremonies", "page_sessions", "nonces", "counters"];
        let with = |name: &str, value: Value| {
            let mut body = right.clone();
            body[name] = value;
            body
        };
        let of_other = person.root_request(&old, &other, &recovery).await.unwrap();
        let before = server.dump(&but).await;
        for (body, expected, why) in [
            (with("statement", json!(other.replaced_by(&next))), "wrap.proof", "by another root"),
            (with("statement", json!(old.replaced_by(&other))), "wrap.proof", "of another root"),
            (with("proof", of_other["proof"].clone()), "wrap.proof", "another's proof"),
            (with("account_jwk", of_other["account_jwk"].clone()), "wrap.proof", "another account key"),
            (with("wraps", of_other["wraps"].clone()), "wrap.invalid", "copies of another root"),
            (with("wraps", json!([right["wraps"][0]])), "wrap.invalid", "no recovery copy"),
            (with("recovery_id", json!("short")), "wrap.invalid", "no recovery id"),
            (with("issuers", json!({})), "enrol.changed", "no issuer for an app"),
            (with("issuers", json!({"baton": issuer_of(&old)})), "log.consent", "the issuer it has"),
            (with("issuers", json!({"baton": "did:key:zDnx"})), "input.invalid", "no DID"),
            (with("ceremony", of_other["ceremony"].clone()), "wrap.proof", "another ceremony"),
        ] {
            assert_eq!(code(&person.post("/v1/account/root/ask", &body).await.unwrap_err()), Some(expected), "{why}");
        }
        assert_eq!(server.dump(&but).await, before);
        clock.advance_secs(301);
        server.running.identity.pump().await.unwrap();
        for path in ["start", "ask", "offer", "approve"] {
            let body = if path == "approve" { json!({"root": next.fingerprint(), "apps": []}) } else { right.clone() };
            assert_eq!(code(&person.post(&format!("/v1/account/root/{path}"), &body).await.unwrap_err()), Some("wrap.reauth"), "{path}");
        }
        person.unlock().await.unwrap();
        let fresh = person.root_request(&old, &next, &recovery).await.unwrap();
        let asked = person.post("/v1/account/root/ask", &fresh).await.unwrap();
        assert_eq!(person.post("/v1/account/root/ask", &fresh).await.unwrap(), asked, "twice is once");
        assert!(tv.members().await.unwrap().replace_root.is_none());
        person.post("/v1/account/root/cancel", &json!({})).await.unwrap();
        person.post("/v1/account/root/cancel", &json!({})).await.unwrap();
        assert_eq!(code(&person.post("/v1/account/root/offer", &json!({})).await.unwrap_err()), Some("root.not_asked"));
        assert_eq!(kinds(&person).await.iter().filter(|kind| *kind == "root.cancelled").count(), 1);
        // A day later nobody can agree any more.
        let fresh = person.root_request(&old, &next, &recovery).await.unwrap();
        person.post("/v1/account/root/ask", &fresh).await.unwrap();
        clock.advance_secs(24 * 3600 + 1);
        server.running.identity.pump().await.unwrap();
        person.unlock().await.unwrap();
        assert_eq!(code(&person.post("/v1/account/root/offer", &json!({})).await.unwrap_err()), Some("root.not_asked"));
    }
}

fn issuer_of(root: &Root) -> String {
    baton_sdk::protocol::signer::Signer::key(&root.issuer("baton")).did().to_string()
}

/// Agreement is a full device's, to this very change, and only while it is live; the switch is what was offered, letter for letter.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_what_was_agreed_to_is_switched_to() {
    let server = Server::start(On::Sqlite).await;
    let (mut person, mut stranger) = (server.person().await, server.person().await);
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    let (tv, theirs) = (server.limited(&mut person, "Television").await, server.full(&mut stranger, "Theirs").await);
    let old = person.unlock().await.unwrap();
    let (next, _) = person.ask_for_root().await.unwrap();
    let asked = laptop.members().await.unwrap().replace_root.clone().unwrap();

    let mut other = asked.clone();
    other.to = theirs.did().clone();
    assert!(laptop.agree(&other).await.unwrap_err().is("log.consent"), "to another root");
    assert!(tv.agree(&asked).await.unwrap_err().is("insufficient_scope"), "a limited device");
    assert!(theirs.agree(&asked).await.unwrap_err().is("log.consent"), "another's device");
    laptop.agree(&asked).await.unwrap();
    // Who agreed is revoked: it takes another.
    person.revoke(&laptop.enrolled().device_id).await.unwrap();
    assert_eq!(code(&person.switch_root(&next).await.unwrap_err()), Some("root.not_agreed"));
    agree(&tablet).await.unwrap();

    let right = person.sign_switch(&old, &next).await.unwrap();
    let before = server.dump(&["page_sessions", "ceremonies", "nonces"]).await;
    let change = |f: &dyn Fn(&mut Value)| {
        let mut body = right.clone();
        f(&mut body);
        body
    };
    let credential = right["apps"][0]["credentials"][0].clone();
    for (body, expected, why) in [
        (change(&|body| body["apps"] = json!([])), "enrol.changed", "nothing signed"),
        (change(&|body| body["root"] = json!(issuer_of(&old))), "root.not_asked", "another root"),
        (change(&|body| body["apps"][0]["credentials"] = json!([])), "log.moved", "a device without its credential"),
        (change(&|body| body["apps"][0]["credentials"][1] = credential.clone()), "vc.invalid", "another device's credential"),
        (change(&|body| body["apps"][0]["entries"][0] = right["apps"][0]["entries"][1].clone()), "enrol.changed", "another entry"),
        (change(&|body| body["apps"][0]["issuer_statement"] = body["apps"][0]["entries"][0].clone()), "enrol.pop", "no statement"),
    ] {
        assert_eq!(code(&person.post("/v1/account/root/approve", &body).await.unwrap_err()), Some(expected), "{why}");
        assert_eq!(server.dump(&["page_sessions", "ceremonies", "nonces"]).await, before, "{why}");
    }
    // A device that came meanwhile moved the log: what was signed is too old, and is signed again.
    server.limited(&mut person, "Another").await;
    assert_eq!(code(&person.post("/v1/account/root/approve", &right).await.unwrap_err()), Some("log.moved"));
    person.switch_root(&next).await.unwrap();
    Session::open(&tablet, b"00:43").await.unwrap();
}

/// Two switches at once: one is the change, the other finds it done or too old; nothing is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_switches_at_once_are_one() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let old = person.unlock().await.unwrap();
        let (next, _) = person.ask_for_root().await.unwrap();
        agree(&laptop).await.unwrap();
        let body = person.sign_switch(&old, &next).await.unwrap();
        let (one, two) = tokio::join!(person.post("/v1/account/root/approve", &body), person.post("/v1/account/root/approve", &body));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(kinds(&person).await.iter().filter(|kind| *kind == "root.replaced").count(), 1);
        let entries = person.get("/v1/logs/baton").await.unwrap()["entries"].as_array().unwrap().len();
        assert_eq!(entries, 4, "open, enrol, replace_root, renew");
    }
}
