//! What a device, a person and an operator live through: renewal, lapses, reclaim, keystores, restarts, staleness.

use crate::attacks::Rig;
use crate::middle::Deed;
use crate::support::{Server, http};
use baton::demo::{SCOPES, claims};
use baton_protocol::credential::Tier;
use baton_protocol::enrolment::Kind;
use baton_protocol::handoff::machine::Target;
use baton_sdk::enroll::Enrolling;
use baton_sdk::keystore::Keystore;
use baton_sdk::{Device, Session, Waiting, system_entropy};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A credential near its end is signed anew; the old one is dead, the device goes on.
#[tokio::test(flavor = "multi_thread")]
async fn renewal() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let device_id = laptop.enrolled().device_id;
    let early = person.renew("baton", &device_id, laptop.did()).await.unwrap_err();
    assert_eq!(baton::person::code(&early), Some("enrol.state"));
    clock.advance_secs(320 * 24 * 3600);
    server.running.identity.pump().await.unwrap();
    person.unlock().await.unwrap();
    person.renew("baton", &device_id, laptop.did()).await.unwrap();
    // The device finds out by itself and goes on.
    laptop.forget_tokens();
    Session::open(&laptop, b"00:43").await.unwrap();
    let listed = person.get("/v1/devices").await.unwrap();
    let expires = listed["devices"][0]["expires_at"].as_i64().unwrap();
    assert!(expires > clock.clock().now().0 + 360 * 24 * 3600 * 1000);
    let kinds: Vec<_> =
        person.get("/v1/activity").await.unwrap()["events"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["device.renewed", "device.enrolled", "recovery.confirmed", "account.created"]);
}

/// A silent holder loses nothing but its place: a full device claims after the lease, not before.
#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_lease_can_be_claimed() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    let mut session = Session::open(&laptop, b"00:43").await.unwrap();
    let mut theirs = Session::load(&tablet, session.id()).await.unwrap();
    assert_eq!(theirs.content(), b"00:43");
    assert!(theirs.claim().await.unwrap_err().is("handoff.taken"));
    clock.advance_secs(44);
    server.running.identity.pump().await.unwrap();
    assert!(theirs.claim().await.unwrap_err().is("handoff.taken"));
    clock.advance_secs(1);
    server.running.identity.pump().await.unwrap();
    theirs.claim().await.unwrap();
    assert_eq!((theirs.epoch(), theirs.content()), (2, &b"00:43"[..]));
    assert_eq!(session.write(b"late").await.unwrap(), baton_sdk::Written::Branch { epoch: 2 });
    theirs.follow().await.unwrap();
    assert_eq!(theirs.branches().await.unwrap()[0].content.as_deref(), Some(&b"late"[..]));
}

/// What lapses ends though nobody looks, so that nobody is shown what does not come.
#[tokio::test(flavor = "multi_thread")]
async fn what_lapses_ends_though_nobody_looks() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let server = Server::start_at(on, clock.clock()).await;
        let mut person = server.person().await;
        let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
        let session = Session::open(&laptop, b"x").await.unwrap();
        session.offer(Target::AnyFull).await.unwrap();
        let accepted = Session::open(&laptop, b"y").await.unwrap();
        accepted.offer(Target::AnyFull).await.unwrap();
        let ended = async || {
            server.running.broker.sweep().await.unwrap();
            server.dump(&[]).await.matches("handoff.expired").count()
        };
        clock.advance_secs(119);
        server.running.identity.pump().await.unwrap();
        // It has thirty seconds more.
        for waiting in Waiting::list(&tablet).await.unwrap() {
            if waiting.offer().session == *accepted.id() {
                waiting.accept().await.unwrap();
            }
        }
        assert_eq!(ended().await, 0);
        clock.advance_secs(1);
        server.running.identity.pump().await.unwrap();
        assert_eq!((ended().await, ended().await), (1, 1), "the one, once");
        clock.advance_secs(29);
        server.running.identity.pump().await.unwrap();
        assert_eq!((ended().await, ended().await), (2, 2));
        session.offer(Target::AnyFull).await.unwrap();
    }
}

/// I10: without news for five seconds, nothing opens; with news, everything does again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_feed_fails_closed() {
    let clock = ManualClock::start();
    let rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let ask = async || rig.to_broker(&rig.laptop, "GET", "/v1/sessions", "session:read", None).await;
    rig.allow(&ask().await).await;
    // The pump brings news once a second of real time; ten chances to be quicker than it.
    let mut answers = Vec::new();
    for _ in 0..10 {
        let ask = ask().await;
        clock.advance_secs(6);
        answers.push(ask.send().await);
        rig.server.running.identity.pump().await.unwrap();
    }
    assert!(answers.iter().any(|answer| (answer.status, answer.code.as_str()) == (503, "unavailable")));
    assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
    rig.allow(&ask().await).await;
}

/// A write whose reply never came does not strand its writer: the next one goes on from where the session really is (F26).
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_strands_nobody() {
    let rig = Rig::at(Server::start(On::Sqlite).await).await;
    let mut session = Session::open(&rig.laptop, b"0").await.unwrap();
    let lost = serde_json::to_value(session.draft_write(b"1").await.unwrap()).unwrap();
    let path = format!("/v1/sessions/{}/updates", session.id());
    rig.allow(&rig.to_broker(&rig.laptop, "POST", &path, "session:write", Some(&lost)).await).await;
    assert!(matches!(session.write(b"2").await.unwrap(), baton_sdk::Written::Session(head) if head.seq == 3));
    let read = Session::load(&rig.laptop, session.id()).await.unwrap();
    assert_eq!((read.content(), read.head().seq), (&b"2"[..], 3));
}

/// A device in a file: sealed under its passphrase, mode 0600, whole after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_keystore_file() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device.key");
    let kept = server.kept();
    let keystore = Keystore::create(&path, "correct horse", &kept, &system_entropy()).unwrap();
    let (mut asking, screen) = Enrolling::elsewhere(http(), keystore, kept, &claims("Terminal", Kind::Other), SCOPES).await.unwrap();
    let shown = person.open_elsewhere(&screen.user_code).await.unwrap();
    person.approve(&shown, Some(&screen.check_code)).await.unwrap();
    asking.redeem(None).await.unwrap();
    let did = asking.into_device().unwrap().did().clone();

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stored = std::fs::read_to_string(&path).unwrap();
    assert!(!stored.contains(did.as_str()) && !stored.contains("credential"), "nothing of it can be read");
    assert!(Keystore::open(&path, "wrong", &system_entropy()).is_err());
    assert!(Keystore::create(&path, "x", &server.kept(), &system_entropy()).is_err(), "never over an existing one");
    let (keystore, kept) = Keystore::open(&path, "correct horse", &system_entropy()).unwrap();
    let device = Device::from_kept(keystore, kept, http()).unwrap().unwrap();
    assert_eq!(device.did(), &did);
    device.members().await.unwrap();
}

/// PRV-05: a ledger somebody wrote in keeps identity from serving.
#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_ledger_is_noticed() {
    use sqlx::Connection as _;
    let server = Server::start(On::Sqlite).await;
    server.person().await;
    let url = server.database("identity");
    for (sql, whole) in [("SELECT 1", true), ("UPDATE ledger SET kind = 'device.enrolled' WHERE n = 1", false)] {
        let mut db = sqlx::AnyConnection::connect(&url).await.unwrap();
        sqlx::query(sql).execute(&mut db).await.unwrap();
        assert_eq!(baton_identity::verify_ledger(&mut db).await.unwrap().is_ok(), whole, "{sql}");
        db.close().await.unwrap();
    }
}

/// A limited device that its person raises may do what a full one may, by itself; nothing else of it changes.
#[tokio::test(flavor = "multi_thread")]
async fn raised_to_full() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let (laptop, tv) = (server.full(&mut person, "Laptop").await, server.limited(&mut person, "Television").await);
    let again = person.raise("baton", &laptop.enrolled().device_id, laptop.did()).await.unwrap_err();
    assert_eq!(baton::person::code(&again), Some("enrol.state"), "it is full already");
    assert!(Session::open(&tv, b"00:43").await.unwrap_err().is("insufficient_scope"), "a limited device opens none");
    let before = tv.did().clone();
    person.raise("baton", &tv.enrolled().device_id, tv.did()).await.unwrap();
    tv.forget_tokens();
    let session = Session::open(&tv, b"00:43").await.unwrap();
    assert_eq!((tv.tier(), tv.did()), (Tier::Full, &before));
    // Every other device reads it from the log.
    let members = laptop.members().await.unwrap();
    assert_eq!(members.log.member(tv.did()).unwrap().tier, Tier::Full);
    assert_eq!(Session::load(&laptop, session.id()).await.unwrap().content(), b"00:43");
    // The credential it had before is dead.
    let old = person.get("/v1/activity").await.unwrap();
    assert_eq!(old["events"][0]["kind"], "device.raised");
}

/// A device that is new has no session's key until somebody who has it writes; then it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_let_in_and_told() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let mut session = Session::open(&laptop, b"00:43").await.unwrap();
        let phone = server.full(&mut person, "Phone").await;
        assert!(Session::load(&phone, session.id()).await.unwrap_err().is("handoff.no_key"));
        let mut events = phone.events(None).await.unwrap();
        laptop.members().await.unwrap();
        session.write(b"00:44").await.unwrap();
        let told = events.next().await.unwrap();
        assert_eq!((told.kind.as_str(), told.session.as_deref()), ("session.let_in", Some(session.id().as_str())));
        assert_eq!(Session::load(&phone, session.id()).await.unwrap().content(), b"00:44");
        // Nobody is let in twice.
        session.write(b"00:45").await.unwrap();
        assert_eq!(events.next().await.unwrap().kind, "session.updated");
        assert_eq!(events.next().await.unwrap().kind, "session.updated");
    }
}

/// Whoever lets a newcomer in and is not answered does it again, and the others hear of it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_let_in_once() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let mut session = Session::open(&laptop, b"00:43").await.unwrap();
    let phone = server.full(&mut person, "Phone").await;
    let mut events = phone.events(None).await.unwrap();
    laptop.members().await.unwrap();
    let posts = Arc::new(AtomicUsize::new(0));
    let counts = posts.clone();
    middle.meddle(move |seen| {
        let is_first = seen.path.ends_with("/envelopes") && counts.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { Deed::LoseAnswer } else { Deed::Pass }
    });
    session.write(b"00:44").await.unwrap();
    assert_eq!(posts.load(Ordering::Relaxed), 2);
    assert_eq!(events.next().await.unwrap().kind, "session.let_in");
    assert_eq!(events.next().await.unwrap().kind, "session.updated");
}
