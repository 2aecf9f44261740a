//! The root is replaced: agreed to by a full device of each app, switched to at once, and refused in every other way.

use crate::support::Server;
use baton::person::{Person, code};
use baton_protocol::device_log::{Entry, Op, RootConsent};
use baton_protocol::handoff::machine::Target;
use baton_protocol::jose::{Draft, Typ};
use baton_protocol::signer::Signer;
use baton_sdk::http::Request;
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
    let asked = tablet.members().await.unwrap().replace_root.clone().unwrap();
    for _ in 0..2 {
        tablet.agree(&asked).await.unwrap();
    }
    person.switch_root(&next).await.unwrap();
    let body = person.post("/v1/account/root/approve", &json!({"root": next.fingerprint(), "statement": "", "apps": []})).await.unwrap();
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
    assert_eq!(*members.log.issuer(), Signer::key(&next.issuer("baton")).did());
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
    assert_eq!((known.as_array().unwrap().len(), &known[0]["opens"]), (1, &json!(true)), "a passkey without a copy of the new root is gone");
    let head = members.log.head();
    let renew = Op::Renew { device: laptop.did().clone() };
    let draft = Entry { v: 1, n: head.n + 1, prev: Some(head.hash), op: renew };
    let draft = draft.draft(&Signer::key(&issuer).did());
    let signed = issuer.sign_now(draft.signing_input());
    assert_eq!(members.log.clone().append(&draft.clone().signed(&signed)).unwrap_err().code(), "log.invalid");
    let by_next = next.issuer("baton");
    let now_draft = Draft::exact(Typ::LogEntry, &issuer_url(&next), &payload(&draft));
    let signed = by_next.sign_now(now_draft.signing_input());
    assert_eq!(members.log.clone().append(&now_draft.signed(&signed)).map(|_| ()), Ok(()), "the new one does");
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
    let left: Vec<_> = left.lines().filter(|line| line.starts_with("identity.log_entries") || line.starts_with("identity.root_")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
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
            (with("request", json!(other.request_for(&next))), "wrap.proof", "by another root"),
            (with("request", json!(old.request_for(&other))), "wrap.proof", "of another root"),
            (with("request", json!(old.replaced_by(&next))), "wrap.proof", "a statement, which leads somewhere"),
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
        for path in ["start", "ask", "offer", "approve", "cancel"] {
            let body = if path == "approve" { json!({"root": next.fingerprint(), "statement": "", "apps": []}) } else { right.clone() };
            assert_eq!(code(&person.post(&format!("/v1/account/root/{path}"), &body).await.unwrap_err()), Some("wrap.reauth"), "{path}");
        }
        person.unlock().await.unwrap();
        let fresh = person.root_request(&old, &next, &recovery).await.unwrap();
        let asked = person.post("/v1/account/root/ask", &fresh).await.unwrap();
        assert_eq!(person.post("/v1/account/root/ask", &fresh).await.unwrap(), asked, "twice is once");
        assert_eq!(person.get("/v1/account/export").await.unwrap()["root_change"], asked, "and can be taken along");
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

fn issuer_url(root: &Root) -> String {
    Signer::key(&root.issuer("baton")).did().url()
}

fn payload(draft: &Draft) -> String {
    let input = String::from_utf8(draft.signing_input().to_vec()).unwrap();
    String::from_utf8(baton_protocol::b64::decode(input.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn issuer_of(root: &Root) -> String {
    Signer::key(&root.issuer("baton")).did().to_string()
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
    // Another's device, straight to the server.
    let consent = RootConsent { v: 1, log: laptop.subject().into(), from: asked.from.clone(), to: asked.to.clone() };
    let post = async |by: &Device, consent: RootConsent, in_name_of: &Device| {
        let draft = consent.draft(in_name_of.did());
        let signed = in_name_of.signer().sign_now(draft.signing_input());
        let identity = by.servers().identity.clone();
        let token = by.token(&identity, "log:read", None).await.unwrap();
        let body = json!({"consent": draft.signed(&signed)}).to_string().into_bytes();
        let request = Request {
            method: "POST",
            url: format!("{identity}/v1/log/consent"),
            service: &identity,
            token: Some(token),
            body: Some(("application/json", body)),
        };
        by.http().proven(&request, by.signer()).await
    };
    assert!(post(&theirs, consent.clone(), &theirs).await.unwrap_err().is("root.not_asked"), "another's device, of whom nothing is asked");
    assert!(post(&laptop, consent.clone(), &tablet).await.unwrap_err().is("log.consent"), "another's consent");
    let elsewhere = RootConsent { log: theirs.subject().into(), ..consent.clone() };
    assert!(post(&laptop, elsewhere, &laptop).await.unwrap_err().is("log.consent"), "for another log");
    let backwards = RootConsent { from: asked.to.clone(), ..consent };
    assert!(post(&laptop, backwards, &laptop).await.unwrap_err().is("log.consent"), "from another root");
    laptop.agree(&asked).await.unwrap();
    // Who agreed is revoked: it takes another.
    assert!(laptop.members().await.unwrap().replace_root.is_none(), "who has agreed is not asked again");
    person.revoke(&laptop.enrolled().device_id).await.unwrap();
    let shown = person.get("/v1/account/root").await.unwrap()["asked"]["apps"][0].clone();
    assert_eq!((&shown["agreed"], &shown["possible"], &shown["devices"]), (&Value::Null, &json!(true), &json!(["Tablet", "Television"])));
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
        (change(&|body| body["statement"] = json!(old.request_for(&next))), "wrap.proof", "no statement by the root before"),
        (change(&|body| body["statement"] = json!(next.replaced_by(&old))), "wrap.proof", "the other way round"),
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

/// What has lapsed is not brought back: the device stays out, and its next request is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_device_stays_out() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let old = server.full(&mut person, "Old").await;
    clock.advance_secs(300 * 24 * 3600);
    server.running.identity.pump().await.unwrap();
    person.unlock().await.unwrap();
    let young = server.full(&mut person, "Young").await;
    clock.advance_secs(100 * 24 * 3600);
    server.running.identity.pump().await.unwrap();
    person.unlock().await.unwrap();
    // Nobody seals to it, and nobody is held up by it.
    Session::open(&young, b"00:42").await.unwrap();
    let (next, _) = person.ask_for_root().await.unwrap();
    agree(&young).await.unwrap();
    person.switch_root(&next).await.unwrap();
    Session::open(&young, b"00:43").await.unwrap();
    let members = young.members().await.unwrap();
    assert_eq!((members.log.members().count(), members.log.member(old.did()).is_err()), (1, true));
    assert!(Session::open(&old, b"00:43").await.is_err());
}
