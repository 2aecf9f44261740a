//! How a session goes from one device to another: by offers to one or several, by asking, by what devices have; and how that ends.

use crate::attacks::Rig;
use crate::support::Server;
use baton::demo::{claims, enrol_here};
use baton_protocol::enrolment::{DeviceClaims, Kind};
use baton_protocol::handoff::machine::{Declining, Reason, Target};
use baton_protocol::needs::Needs;
use baton_sdk::keystore::Keystore;
use baton_sdk::{Asked, Device, Session, Taker, Waiting};
use baton_service::testing::{ManualClock, On};
use serde_json::json;

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
        enrol_here(&mut person, server.http(), Keystore::memory(), server.kept(), &claims).await.unwrap()
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
