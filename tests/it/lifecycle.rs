//! What a device, a person and an operator live through: renewal, lapses, reclaim, keystores, restarts, staleness.

use crate::attacks::Rig;
use crate::support::{Server, http};
use baton::demo::{SCOPES, claims, enrol_here};
use baton_protocol::credential::Tier;
use baton_protocol::enrolment::{DeviceClaims, Kind};
use baton_protocol::handoff::machine::{Declining, Reason, Target};
use baton_protocol::needs::Needs;
use baton_sdk::enroll::Enrolling;
use baton_sdk::keystore::Keystore;
use baton_sdk::{Asked, Device, Session, Taker, Waiting, system_entropy};
use baton_service::testing::{ManualClock, On};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;

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

/// Sealed and never completed: after a minute the source takes it back, and the target's late receipt is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn reclaim() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, tv) = (server.full(&mut person, "Laptop").await, server.limited(&mut person, "Television").await);
    let mut session = Session::open(&laptop, b"00:43").await.unwrap();
    let offered = session.offer(Target::Device(tv.did().clone())).await.unwrap();
    let waiting = Waiting::list(&tv).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    assert!(session.reclaim(&offered).await.unwrap_err().is("handoff.too_early"));
    clock.advance_secs(60);
    server.running.identity.pump().await.unwrap();
    session.reclaim(&offered).await.unwrap();
    assert_eq!(session.stands(&offered).await.unwrap(), ("reclaimed".into(), Some(Reason::NotTaken)));
    assert_eq!(session.epoch(), 2);
    assert!(waiting.complete().await.is_err());
    session.write(b"00:44").await.unwrap();
}

/// An offer nobody answers is over after two minutes, and the session may be offered again.
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_lapses() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    let session = Session::open(&laptop, b"x").await.unwrap();
    assert!(session.offer(Target::Device(laptop.did().clone())).await.is_err_and(|refused| refused.is("handoff.target")), "to itself");
    let offered = session.offer(Target::AnyFull).await.unwrap();
    let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
    assert!(session.offer(Target::Device(tablet.did().clone())).await.is_err_and(|refused| refused.is("handoff.state")), "one at a time");
    assert_eq!(session.offer(Target::AnyFull).await.unwrap().id(), offered.id(), "offering the same again is the same offer");
    clock.advance_secs(120);
    server.running.identity.pump().await.unwrap();
    assert!(waiting.accept().await.unwrap_err().is("handoff.expired"));
    session.offer(Target::AnyFull).await.unwrap();
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

/// From one limited device to another: only the target needs the key that the source has.
#[tokio::test(flavor = "multi_thread")]
async fn from_one_limited_device_to_another() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let (tv, projector) = (server.limited(&mut person, "Television").await, server.limited(&mut person, "Projector").await);
    let mut session = Session::open(&laptop, b"00:43").await.unwrap();
    for to in [&tv, &projector] {
        let offered = session.offer(Target::Device(to.did().clone())).await.unwrap();
        let waiting = Waiting::list(to).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        session = waiting.complete().await.unwrap();
    }
    session.write(b"00:44").await.unwrap();
    assert_eq!(session.epoch(), 3);
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

/// Of several that are asked, the first to accept has it; who was not asked is not the first of them.
#[tokio::test(flavor = "multi_thread")]
async fn several_are_asked_and_one_has_it() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let phone = server.full(&mut person, "Phone").await;
        let tablet = server.full(&mut person, "Tablet").await;
        let tv = server.limited(&mut person, "Television").await;
        let mut session = Session::open(&laptop, b"00:43").await.unwrap();
        let stranger = server.full(&mut server.person().await, "Theirs").await;
        let asked = |devices: &[&Device]| Target::AnyOf(devices.iter().map(|device| device.did().clone()).collect());
        assert!(session.offer(asked(&[&phone, &stranger])).await.err().unwrap().is("handoff.target"), "another person's device");
        assert!(session.offer(asked(&[&phone])).await.err().unwrap().is("handoff.statement"), "one is named as one");

        let mut told = tv.events(None).await.unwrap();
        let offered = session.offer(asked(&[&phone, &tv])).await.unwrap();
        assert_eq!(told.next().await.unwrap().kind, "handoff.offered");
        let of = async |device: &std::sync::Arc<Device>| Waiting::list(device).await.unwrap().pop();
        assert!(of(&tablet).await.is_none());
        let (slow, quick) = (of(&phone).await.unwrap(), of(&tv).await.unwrap());
        quick.accept().await.unwrap();
        assert!(slow.accept().await.unwrap_err().is("handoff.taken"));
        session.seal(&offered).await.unwrap();
        assert_eq!(quick.complete().await.unwrap().content(), b"00:43");
        // One of them revoked, the others may still come.
        let mut on_laptop = Session::open(&laptop, b"00:44").await.unwrap();
        let offered = on_laptop.offer(asked(&[&phone, &tablet])).await.unwrap();
        person.revoke(&phone.enrolled().device_id).await.unwrap();
        let waiting = of(&tablet).await.unwrap();
        waiting.accept().await.unwrap();
        on_laptop.write(b"00:45").await.unwrap();
        on_laptop.seal(&offered).await.unwrap();
        assert_eq!(waiting.complete().await.unwrap().content(), b"00:45");
    }
}

/// A full device asks whoever holds the session, who agrees; or does not, or offers it elsewhere, or never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_pulled() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let server = Server::start_at(on, clock.clock()).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let (tablet, tv) = (server.full(&mut person, "Tablet").await, server.limited(&mut person, "Television").await);
        let mut session = Session::open(&laptop, b"00:43").await.unwrap();
        let on_phone = Session::load(&phone, session.id()).await.unwrap();
        let asked = async || Asked::list(&laptop).await.unwrap().pop().unwrap();
        let is = |state: &str, reason: Reason| (state.to_owned(), Some(reason));

        let mut told = laptop.events(None).await.unwrap();
        let requested = on_phone.request().await.unwrap();
        assert_eq!(on_phone.request().await.unwrap().id(), requested.id(), "twice is once");
        assert_eq!(told.next().await.unwrap().kind, "handoff.requested");
        assert!(requested.offered().await.unwrap().is_none());
        assert!(session.request().await.err().unwrap().is("handoff.state"), "the holder itself");
        assert!(Asked::list(&tablet).await.unwrap().is_empty() && Waiting::list(&tablet).await.unwrap().is_empty());
        let asks = asked().await;
        assert_eq!((asks.session(), asks.by()), (session.id(), phone.did()));
        // Asked for is not given: the holder writes on, and who asked has nothing.
        session.write(b"00:44").await.unwrap();
        let offered = session.agree(&asks).await.unwrap();
        assert_eq!(session.agree(&asks).await.unwrap().id(), offered.id(), "twice is once");
        let waiting = requested.offered().await.unwrap().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        let mut on_phone = waiting.complete().await.unwrap();
        assert_eq!((on_phone.content(), on_phone.is_held()), (&b"00:44"[..], true));
        on_phone.write(b"00:45").await.unwrap();

        // Back again: the same way from the other side.
        session.follow().await.unwrap();
        let back = session.request().await.unwrap();
        let asks = Asked::list(&phone).await.unwrap().pop().unwrap();
        asks.decline(Declining::Busy).await.unwrap();
        asks.decline(Declining::Busy).await.unwrap();
        assert_eq!(back.stands().await.unwrap(), is("declined", Reason::Busy));
        let back = session.request().await.unwrap();
        back.cancel().await.unwrap();
        back.cancel().await.unwrap();
        assert_eq!(back.stands().await.unwrap(), ("cancelled".into(), None));
        // Withdrawn when it had just been offered.
        let back = session.request().await.unwrap();
        on_phone.agree(&Asked::list(&phone).await.unwrap().pop().unwrap()).await.unwrap();
        assert_eq!(session.request().await.unwrap().id(), back.id(), "what is offered already is what is asked for");
        back.cancel().await.unwrap();
        assert_eq!(back.stands().await.unwrap(), is("declined", Reason::Unwanted));
        let back = session.request().await.unwrap();
        let later = async |secs| {
            clock.advance_secs(secs);
            server.running.identity.pump().await.unwrap();
        };
        later(40).await;
        on_phone.heartbeat().await.unwrap();
        later(35).await;
        on_phone.heartbeat().await.unwrap();
        later(45).await;
        assert_eq!(back.stands().await.unwrap(), is("expired", Reason::Unanswered));
        assert!(session.request().await.err().unwrap().is("handoff.state"), "of a silent device it is claimed");
        on_phone.heartbeat().await.unwrap();
        let back = session.request().await.unwrap();
        on_phone.offer(Target::Device(tv.did().clone())).await.unwrap();
        assert_eq!(back.stands().await.unwrap(), is("void", Reason::Elsewhere));
        let on_tv = Waiting::list(&tv).await.unwrap().pop().unwrap();
        on_tv.decline(Declining::Unwanted).await.unwrap();
        // The session ends, or is claimed of a holder that went silent.
        let ending = Session::open(&phone, b"00:01").await.unwrap();
        let asked = Session::load(&laptop, ending.id()).await.unwrap().request().await.unwrap();
        let page = crate::manage::page(&server, laptop.subject());
        page.tell(&format!("/v1/manage/sessions/{}/end", ending.id()), &json!({})).await.unwrap();
        assert_eq!(asked.stands().await.unwrap(), is("void", Reason::Ended));
        let silent = Session::open(&phone, b"00:02").await.unwrap();
        let asked = Session::load(&laptop, silent.id()).await.unwrap().request().await.unwrap();
        later(46).await;
        Session::load(&tablet, silent.id()).await.unwrap().claim().await.unwrap();
        assert_eq!(asked.stands().await.unwrap(), is("void", Reason::Claimed));
        on_phone.heartbeat().await.unwrap();
        let back = session.request().await.unwrap();
        person.unlock().await.unwrap();
        person.revoke(&phone.enrolled().device_id).await.unwrap();
        assert_eq!(back.stands().await.unwrap(), is("void", Reason::Revoked));
    }
}

/// Whatever ends a handoff, its source can say why.
#[tokio::test(flavor = "multi_thread")]
async fn a_handoff_that_is_over_says_why() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let rig = Rig::at(Server::start_at(on, clock.clock()).await).await;
        let mut person = rig.person;
        let (laptop, tv) = (&rig.laptop, &rig.tv);
        let session = Session::open(laptop, b"00:43").await.unwrap();
        let to_tv = || session.offer(Target::Device(tv.did().clone()));
        let waiting = async || Waiting::list(tv).await.unwrap().pop().unwrap();
        let over = async |offered| session.stands(&offered).await.unwrap();
        let is = |state: &str, reason: Reason| (state.to_owned(), Some(reason));

        let offered = to_tv().await.unwrap();
        assert_eq!(session.stands(&offered).await.unwrap(), ("offered".into(), None), "not over yet");
        waiting().await.decline(Declining::Busy).await.unwrap();
        assert_eq!(over(offered).await, is("declined", Reason::Busy));
        let offered = to_tv().await.unwrap();
        let accepted = waiting().await;
        accepted.accept().await.unwrap();
        accepted.decline(Declining::Unable).await.unwrap();
        // The first word stands.
        accepted.decline(Declining::Unwanted).await.unwrap();
        assert_eq!(over(offered).await, is("declined", Reason::Unable));
        let offered = to_tv().await.unwrap();
        session.cancel(&offered).await.unwrap();
        assert_eq!(over(offered).await, ("cancelled".into(), None));
        let offered = to_tv().await.unwrap();
        clock.advance_secs(120);
        rig.server.running.identity.pump().await.unwrap();
        assert_eq!(over(offered).await, is("expired", Reason::NobodyCame));
        let offered = to_tv().await.unwrap();
        waiting().await.accept().await.unwrap();
        clock.advance_secs(30);
        rig.server.running.identity.pump().await.unwrap();
        assert_eq!(over(offered).await, is("expired", Reason::NotSealed));
        let offered = to_tv().await.unwrap();
        person.unlock().await.unwrap();
        person.revoke(&tv.enrolled().device_id).await.unwrap();
        assert_eq!(over(offered).await, is("void", Reason::Revoked));
        // What had lapsed before is not void because of what came later.
        let lapsed = session.offer(Target::AnyFull).await.unwrap();
        clock.advance_secs(121);
        rig.server.running.identity.pump().await.unwrap();
        person.unlock().await.unwrap();
        let tablet = rig.server.full(&mut person, "Tablet").await;
        let claimed = Session::open(laptop, b"00:01").await.unwrap();
        let taken = claimed.offer(Target::AnyFull).await.unwrap();
        clock.advance_secs(60);
        rig.server.running.identity.pump().await.unwrap();
        Session::load(&tablet, claimed.id()).await.unwrap().claim().await.unwrap();
        assert_eq!(claimed.stands(&taken).await.unwrap(), is("void", Reason::Claimed));
        // The person sees the same in what happened, before anybody looks.
        let handed = crate::manage::page(&rig.server, laptop.subject()).ask("GET", "/v1/manage/handoffs").await.unwrap();
        let reasons: Vec<_> = handed["handoffs"].as_array().unwrap().iter().map(|row| row["reason"].clone()).collect();
        assert_eq!(handed["handoffs"].as_array().unwrap().iter().filter(|row| row["state"] == "offered").count(), 0, "{handed}");
        for said in ["claimed", "revoked", "not_sealed", "nobody_came", "unable", "busy"] {
            assert!(reasons.contains(&json!(said)), "{said}: {handed}");
        }
        assert!(reasons.contains(&serde_json::Value::Null), "{handed}");
        assert_eq!(over(lapsed).await, is("expired", Reason::NobodyCame));
    }
}

/// What a session needs is sealed with it, and matched by devices alone: whoever offers sees who can take it, and whoever takes it what to adapt to.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_where_its_needs_are_met() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let mut able = async |name: &str, words: &[&str]| {
        let capabilities = words.iter().map(|&word| word.to_owned()).collect();
        let claims = DeviceClaims { capabilities, ..claims(name, Kind::Laptop) };
        enrol_here(&mut person, server.http(), Keystore::Memory, server.kept(), &claims).await.unwrap()
    };
    let laptop = able("Laptop", &["codec:canary-av1", "screen:large"]).await;
    let wall = able("Wall", &["codec:h264", "screen:large"]).await;
    let phone = able("Phone", &["codec:h264"]).await;
    let speaker = able("Speaker", &[]).await;
    assert_eq!((laptop.capabilities().len(), speaker.capabilities().len()), (2, 0));
    let mut session = Session::open(&laptop, b"00:43").await.unwrap();
    let names = |takers: Vec<Taker>| takers.into_iter().map(|taker| (taker.name, taker.adapt)).collect::<Vec<_>>();
    assert_eq!(names(session.takers().await.unwrap()).len(), 3, "it needs nothing");
    let needs = Needs { needs: vec![vec!["codec:canary-av1".into(), "codec:h264".into()]], adapts: vec!["screen:large".into()] };
    session.require(needs.clone()).unwrap();
    session.write(b"00:44").await.unwrap();
    let takers = names(session.takers().await.unwrap());
    assert_eq!(takers, [("Wall".to_owned(), vec![]), ("Phone".to_owned(), vec!["screen:large".to_owned()])]);
    let offered = session.offer(Target::Device(phone.did().clone())).await.unwrap();
    let waiting = Waiting::list(&phone).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    let mut theirs = waiting.complete().await.unwrap();
    assert_eq!((theirs.needs(), theirs.adapt()), (&needs, vec!["screen:large".to_owned()]));
    // It stays so until its holder says otherwise.
    theirs.write(b"00:45").await.unwrap();
    assert_eq!(Session::load(&wall, theirs.id()).await.unwrap().needs(), &needs);
    theirs.require(Needs::default()).unwrap();
    theirs.write(b"00:46").await.unwrap();
    assert!(Session::load(&wall, theirs.id()).await.unwrap().needs().is_empty());
    assert!(theirs.require(Needs { needs: vec![vec![]], adapts: vec![] }).unwrap_err().is("input.invalid"));
    assert!(!dump_of(&server).await.contains("canary-av1"), "the broker knows what a session needs");
}

async fn dump_of(server: &Server) -> String {
    crate::support::dump(&server.database("broker"), "broker", &[]).await.unwrap()
}
