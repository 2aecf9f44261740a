//! Who is there, and what a person's switches keep from whom: by the broker and by sealing.

use crate::manage::page;
use crate::middle::Deed;
use crate::support::{Server, posts};
use baton_protocol::event::{Present, Status};
use baton_protocol::handoff::machine::{Reason, Target};
use baton_sdk::{Device, Error, Session, Told, Unasked, Waiting};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

/// The next that a stream tells of who is there.
async fn told(events: &mut baton_sdk::Events) -> Vec<Present> {
    loop {
        if let Told::Present(devices) = events.told().await.unwrap() {
            return devices;
        }
    }
}

async fn sees(device: &Device) -> Vec<(String, Status, Option<String>)> {
    device.present_devices().await.unwrap().into_iter().map(|one| (one.device, one.status, one.session)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_see_who_is_there_and_with_what() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let phone = server.full(&mut person, "Phone").await;
    let tv = server.limited(&mut person, "Television").await;
    let theirs = server.full(&mut server.person().await, "Theirs").await;
    let session = Session::open(&laptop, b"The General").await.unwrap();
    let id = session.id().to_string();

    let mut events = phone.events_and_presence(None).await.unwrap();
    assert_eq!(told(&mut events).await, []);
    laptop.say_present(Status::Online, Some((&session, Some(b"The General, 00:43")))).await.unwrap();
    let there = told(&mut events).await;
    assert_eq!((there[0].device.as_str(), there[0].status), (laptop.did().as_str(), Status::Online));
    // The broker has it sealed; who has the session opens it.
    assert!(!serde_json::to_string(&there).unwrap().contains("General"));
    let followed = Session::load(&phone, session.id()).await.unwrap();
    assert_eq!(followed.view_on(&there[0]).unwrap().unwrap(), b"The General, 00:43");
    // A view of one device is not another's.
    let moved = Present { device: phone.did().to_string(), ..there[0].clone() };
    assert!(followed.view_on(&moved).is_err());

    laptop.say_present(Status::Away, None).await.unwrap();
    assert_eq!(told(&mut events).await, [Present { device: laptop.did().to_string(), status: Status::Away, session: None, view: None }]);
    // Limited devices and other people see nobody; nobody sees itself.
    assert_eq!(sees(&tv).await, []);
    assert_eq!(sees(&theirs).await, []);
    assert_eq!(sees(&laptop).await, [(phone.did().to_string(), Status::Online, None)]);
    // A session of somebody else is not there to be shown.
    let other = Session::open(&theirs, b"theirs").await.unwrap();
    assert!(laptop.say_present(Status::Online, Some((&other, None))).await.unwrap_err().is("not_found"));
    laptop.say_present(Status::Online, Some((&session, None))).await.unwrap();
    assert_eq!(sees(&phone).await, [(laptop.did().to_string(), Status::Online, Some(id))]);
    laptop.say_present(Status::Offline, None).await.unwrap();
    assert_eq!(sees(&phone).await, []);
}

/// No ghosts: a clean exit is seen at once, one whose connection broke within seconds, one that fell silent within 45.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_seen_to_be() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let phone = server.full(&mut person, "Phone").await;
    let mut events = laptop.events_and_presence(None).await.unwrap();
    assert_eq!(told(&mut events).await, []);

    let stream = phone.events(None).await.unwrap();
    assert_eq!(told(&mut events).await.len(), 1);
    stream.close().await;
    assert_eq!(told(&mut events).await, [], "by the broker's clock no time has passed");

    let stream = phone.events(None).await.unwrap();
    assert_eq!(told(&mut events).await.len(), 1);
    drop(stream);
    phone.say_present(Status::Online, None).await.unwrap();
    // In steps: the feed of news must not go stale.
    for _ in 0..22 {
        clock.advance_secs(2);
        server.running.identity.pump().await.unwrap();
    }
    assert_eq!(sees(&laptop).await.len(), 1);
    clock.advance_secs(1);
    assert_eq!(told(&mut events).await, [], "nothing was heard of it for 45 s");
}

/// Nor of one whose network went without a word, though its connection stands: it is asked, and does not answer. By the broker's clock no time has passed, so
/// that nothing but its silence ends it; that is 40 ticks, of a second each but here.
#[tokio::test(flavor = "multi_thread")]
async fn who_falls_silent_is_seen_to_be_gone() {
    let clock = ManualClock::start();
    let server = Server::start_with(On::Sqlite, clock.clock(), |config| config.stream_tick /= 20).await;
    let mut person = server.person().await;
    let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
    // This one answers whenever it is asked.
    let mut events = laptop.events_and_presence(None).await.unwrap();
    assert_eq!(told(&mut events).await, []);
    // And nobody reads what this one is asked.
    let _silent = phone.events(None).await.unwrap();
    assert_eq!(told(&mut events).await.len(), 1);
    assert_eq!(told(&mut events).await, []);
    assert_eq!(baton_broker::TICK * 40, Duration::from_secs(40));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_who_is_seen_and_what_is_mirrored() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let phone = server.full(&mut person, "Phone").await;
        let session = Session::open(&laptop, b"The General").await.unwrap();
        let page = page(&server, laptop.subject());
        let switches = format!("/v1/manage/devices/{}/switches", laptop.did());
        laptop.say_present(Status::Online, Some((&session, Some(b"00:43")))).await.unwrap();
        let mut events = phone.events_and_presence(None).await.unwrap();
        assert!(told(&mut events).await[0].view.is_some());

        let off = page.tell(&switches, &json!({"mirroring": false})).await.unwrap();
        assert_eq!(off["switches"], json!({"visible": true, "mirroring": false, "sync": true, "gives": false, "takes": false}));
        let there = told(&mut events).await;
        assert_eq!((there.len(), &there[0].session, &there[0].view), (1, &None, &None));
        page.tell(&switches, &json!({"visible": false})).await.unwrap();
        assert_eq!(told(&mut events).await, []);
        // The person's own page sees it all the same, and what is switched off.
        let there = page.ask("GET", "/v1/manage/sessions").await.unwrap()["there"].clone();
        let shown = there.as_array().unwrap().iter().find(|one| one["device"] == laptop.did().as_str()).unwrap();
        assert_eq!(shown["session"], session.id().as_str());
        let known = page.ask("GET", "/v1/manage/devices").await.unwrap();
        assert_eq!(
            known["devices"],
            json!([{"device": laptop.did(), "switches": {"visible": false, "mirroring": false, "sync": true, "gives": false, "takes": false}}])
        );
        page.tell(&switches, &json!({"visible": true, "mirroring": true})).await.unwrap();
        assert!(told(&mut events).await[0].view.is_some());

        let theirs = server.full(&mut server.person().await, "Theirs").await;
        let path = format!("/v1/manage/devices/{}/switches", theirs.did());
        assert!(page.tell(&path, &json!({"visible": false})).await.unwrap_err().is("not_found"), "another person's device");
        assert!(page.tell(&switches, &json!({"visible": false, "more": 1})).await.unwrap_err().is("input.invalid"));
        assert!(page.tell("/v1/manage/devices/nobody/switches", &json!({})).await.unwrap_err().is("input.id"));
    }
}

/// What a person lets nobody see is sealed to nobody: a broker that would show it all the same has nothing to show.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_is_to_see_is_not_sealed_to_anybody() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let session = Session::open(&laptop, b"The General").await.unwrap();
    let page = page(&server, laptop.subject());
    let switches = format!("/v1/manage/devices/{}/switches", laptop.did());
    let (said, mut sent) = mpsc::unbounded_channel();
    middle.meddle(move |seen| {
        if seen.path == "/broker/v1/presence" {
            said.send(serde_json::from_slice::<Value>(&seen.body).unwrap()).unwrap();
        }
        Deed::Pass
    });
    for (off, views) in
        [(json!({}), true), (json!({"mirroring": false}), false), (json!({"mirroring": true}), true), (json!({"visible": false}), false)]
    {
        page.tell(&switches, &off).await.unwrap();
        laptop.members().await.unwrap();
        laptop.say_present(Status::Online, Some((&session, Some(b"00:43")))).await.unwrap();
        let said = sent.recv().await.unwrap();
        assert_eq!((said["session"].as_str(), said["view"].is_object()), (Some(session.id().as_str()), views), "{off}");
    }
}

/// Without sync a device has what it holds and what is handed to it by name, and nothing else: not even by a key it was given before.
#[tokio::test(flavor = "multi_thread")]
async fn without_sync_the_sessions_of_the_others_stay_away() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let phone = server.full(&mut person, "Phone").await;
        let mut session = Session::open(&laptop, b"first").await.unwrap();
        let mut own = Session::open(&phone, b"the phone's").await.unwrap();
        Session::load(&phone, session.id()).await.unwrap();
        let page = page(&server, laptop.subject());
        let switches = format!("/v1/manage/devices/{}/switches", phone.did());
        page.tell(&switches, &json!({"sync": false})).await.unwrap();

        assert_eq!(listed(&phone).await, [own.id().to_string()]);
        assert!(Session::load(&phone, session.id()).await.err().unwrap().is("not_found"));
        own.write(b"still its own").await.unwrap();
        Session::open(&phone, b"and new ones").await.unwrap();
        // What is written from now on is under a key that it is not given.
        session.write(b"second").await.unwrap();
        let refused = wrapped_for(&laptop, &session, &phone).await;
        assert!(refused.is("state.recipient"), "{refused:?}");
        // Any full device is not this one any more; by name it is.
        let offered = session.offer(Target::AnyFull).await.unwrap();
        assert!(Waiting::list(&phone).await.unwrap().is_empty());
        assert!(accepted_all_the_same(&phone, offered.id().as_str()).await.is("not_found"));
        session.cancel(&offered).await.unwrap();
        let offered = session.offer(Target::Device(phone.did().clone())).await.unwrap();
        let waiting = Waiting::list(&phone).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        let mut held = waiting.complete().await.unwrap();
        assert_eq!(held.content(), b"second");
        held.write(b"third").await.unwrap();

        page.tell(&switches, &json!({"sync": true})).await.unwrap();
        assert_eq!(listed(&phone).await.len(), 3);
    }
}

/// What somebody meets who accepts what they were not shown.
async fn accepted_all_the_same(device: &Device, handoff: &str) -> Error {
    posts(device, &format!("/v1/handoffs/{handoff}/accept"), "handoff:accept", &json!({})).await.unwrap_err()
}

/// Whoever held a session once has no part in it either: neither to end nor to claim it, nor to let others in.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_holder_without_sync_is_a_stranger() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let phone = server.full(&mut person, "Phone").await;
    let mut session = Session::open(&phone, b"first").await.unwrap();
    let offered = session.offer(Target::Device(laptop.did().clone())).await.unwrap();
    let waiting = Waiting::list(&laptop).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    let mut held = waiting.complete().await.unwrap();
    let page = page(&server, laptop.subject());
    page.tell(&format!("/v1/manage/devices/{}/switches", phone.did()), &json!({"sync": false})).await.unwrap();

    let path = |verb: &str| format!("/v1/sessions/{}/{verb}", held.id());
    assert!(posts(&phone, &path("end"), "session:write", &json!({})).await.unwrap_err().is("not_found"));
    let envelope = json!({"key_version": 1, "envelope": "e"});
    assert!(posts(&phone, &path("envelopes"), "session:write", &envelope).await.unwrap_err().is("not_found"));
    person.revoke(&laptop.enrolled().device_id).await.unwrap();
    assert!(session.claim().await.unwrap_err().is("not_found"));
    // Its twin: with sync it may.
    page.tell(&format!("/v1/manage/devices/{}/switches", phone.did()), &json!({"sync": true})).await.unwrap();
    let mut back = Session::load(&phone, held.id()).await.unwrap();
    back.claim().await.unwrap();
    assert!(held.write(b"late").await.is_err());
}

/// What was taken as one of the full devices is void once it is none; what is sealed goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_it_took_as_a_full_device_is_void() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let phone = server.full(&mut person, "Phone").await;
        let mut session = Session::open(&laptop, b"first").await.unwrap();
        let page = page(&server, laptop.subject());
        let switches = format!("/v1/manage/devices/{}/switches", phone.did());
        let offered = session.offer(Target::AnyFull).await.unwrap();
        Waiting::list(&phone).await.unwrap().pop().unwrap().accept().await.unwrap();
        page.tell(&switches, &json!({"sync": false})).await.unwrap();
        let refused = session.seal(&offered).await.unwrap_err();
        assert!(refused.is("handoff.state") || refused.is("handoff.offer_void"), "{refused:?}");
        assert_eq!(session.stands(&offered).await.unwrap(), ("void".into(), Some(Reason::NotSynced)));
        session.write(b"second").await.unwrap();

        page.tell(&switches, &json!({"sync": true})).await.unwrap();
        let offered = session.offer(Target::AnyFull).await.unwrap();
        let waiting = Waiting::list(&phone).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        page.tell(&switches, &json!({"sync": false})).await.unwrap();
        assert_eq!(waiting.complete().await.unwrap().content(), b"second", "it was sealed to it before");
    }
}

/// A person who is not there gives nothing back, and the same again changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn switching_is_done_once_and_back_only_by_the_person() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let phone = server.full(&mut person, "Phone").await;
    let mut session = Session::open(&laptop, b"first").await.unwrap();
    let mut page = page(&server, laptop.subject());
    let switches = format!("/v1/manage/devices/{}/switches", phone.did());
    page.tell(&switches, &json!({"sync": false})).await.unwrap();
    session.write(b"second").await.unwrap();
    let before = server.dump(&["nonces", "counters", "used_once", "proofs"]).await;
    for change in [json!({"sync": false}), json!({})] {
        page.tell(&switches, &change).await.unwrap();
    }
    assert_eq!(before, server.dump(&["nonces", "counters", "used_once", "proofs"]).await);
    page.token.ends = false;
    assert!(page.tell(&switches, &json!({"sync": true})).await.unwrap_err().is("insufficient_scope"));
    page.tell(&switches, &json!({"visible": false})).await.unwrap();
    page.token.ends = true;
    page.tell(&switches, &json!({"sync": true})).await.unwrap();
}

/// Revoked is gone, and says nothing any more; what is said is under the key that is good now.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_not_seen() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let phone = server.full(&mut person, "Phone").await;
    let mut session = Session::open(&laptop, b"first").await.unwrap();
    let mut events = laptop.events_and_presence(None).await.unwrap();
    let stream = phone.events(None).await.unwrap();
    let following = Session::load(&phone, session.id()).await.unwrap();
    phone.say_present(Status::Online, Some((&following, Some(b"00:43")))).await.unwrap();
    while told(&mut events).await.iter().all(|one| one.session.is_none()) {}
    person.revoke(&phone.enrolled().device_id).await.unwrap();
    while !told(&mut events).await.is_empty() {}
    assert!(phone.say_present(Status::Online, None).await.is_err());
    assert_eq!(sees(&laptop).await, []);
    drop(stream);
    // Under the key that is refused for updates no view is shown either; that it is there is.
    let tablet = server.full(&mut person, "Tablet").await;
    laptop.say_present(Status::Online, Some((&session, Some(b"00:44")))).await.unwrap();
    let shown = async || tablet.present_devices().await.unwrap().remove(0);
    assert_eq!((shown().await.session.as_deref(), shown().await.view), (Some(session.id().as_str()), None));
    session.write(b"second").await.unwrap();
    laptop.say_present(Status::Online, Some((&session, Some(b"00:44")))).await.unwrap();
    assert!(shown().await.view.is_some());
}

async fn listed(device: &Device) -> Vec<String> {
    device.sessions().await.unwrap().into_iter().map(|one| one.session).collect()
}

/// What a holder meets that seals the key to a device all the same.
async fn wrapped_for(holder: &Device, session: &Session, to: &Device) -> Error {
    let members = holder.members().await.unwrap();
    let key = members.log.members().find(|(device, _)| *device == to.did()).unwrap().1.agreement.clone();
    let envelope = baton_sdk::seal::seal("a key statement", &[(to.did().clone(), key)]).unwrap();
    let body = json!({"key_version": 1, "envelope": envelope});
    posts(holder, &format!("/v1/sessions/{}/envelopes", session.id()), "session:write", &body).await.unwrap_err()
}

/// The person's page sends a device away from another's session: its app is told, and the others do not see it there.
#[tokio::test(flavor = "multi_thread")]
async fn following_is_stopped_from_the_page() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let phone = server.full(&mut person, "Phone").await;
    let session = Session::open(&laptop, b"The General").await.unwrap();
    let following = Session::load(&phone, session.id()).await.unwrap();
    let mut events = phone.events_and_presence(None).await.unwrap();
    phone.say_present(Status::Online, Some((&following, None))).await.unwrap();
    let page = page(&server, laptop.subject());
    let unfollow = format!("/v1/manage/sessions/{}/unfollow", session.id());
    assert!(page.tell(&unfollow, &json!({"device": laptop.did()})).await.unwrap_err().is("handoff.state"), "its holder does not follow it");
    page.tell(&unfollow, &json!({"device": phone.did()})).await.unwrap();
    let event = events.next().await.unwrap();
    assert_eq!((event.kind.as_str(), event.session.as_deref()), ("session.unfollow", Some(session.id().as_str())));
    assert_eq!(event.device.as_deref(), Some(phone.did().as_str()));
    let mut others = laptop.events(event.seq.checked_sub(1)).await.unwrap();
    assert_eq!(others.next().await.unwrap().kind, "other", "what somebody has in front concerns nobody else");
    page.tell(&unfollow, &json!({"device": phone.did()})).await.unwrap();
    assert!(laptop.events(Some(event.seq + 1)).await.is_err(), "asked twice, it is told once");
    assert_eq!(sees(&laptop).await, [(phone.did().to_string(), Status::Online, None)]);
}

/// Consent by a policy: what the person lets a device do unasked is told to that device, and switched on only by somebody who is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_lets_a_device_give_and_take_unasked() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let unasked = async |device: &Device| device.members().await.unwrap().unasked;
        assert_eq!(unasked(&laptop).await, Unasked::default());
        let (page, mut gone) = (page(&server, laptop.subject()), page(&server, laptop.subject()));
        gone.token.ends = false;
        let switches = format!("/v1/manage/devices/{}/switches", laptop.did());
        for allow in [json!({"gives": true}), json!({"takes": true})] {
            assert!(gone.tell(&switches, &allow).await.unwrap_err().is("insufficient_scope"), "who has not shown a passkey lately: {allow}");
            assert_eq!(unasked(&laptop).await, Unasked::default());
        }
        page.tell(&switches, &json!({"gives": true})).await.unwrap();
        assert_eq!(unasked(&laptop).await, Unasked { gives: true, takes: false });
        page.tell(&switches, &json!({"takes": true})).await.unwrap();
        assert_eq!(unasked(&laptop).await, Unasked { gives: true, takes: true });
        assert_eq!(unasked(&phone).await, Unasked::default(), "another device");
        // To take it back, nobody need be there.
        gone.tell(&switches, &json!({"gives": false, "takes": false})).await.unwrap();
        assert_eq!(unasked(&laptop).await, Unasked::default());
    }
}

/// What streams tell from memory is for whom it was for when they last looked: a device that is switched off hears no more of what is written, however busy it is.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_switched_off_is_told_nothing_from_memory() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let mut session = Session::open(&laptop, b"0").await.unwrap();
        let _live = laptop.live(None).await.unwrap();
        let mut events = phone.events(None).await.unwrap();
        for n in 0..10 {
            session.write(&[n]).await.unwrap();
            let event = events.next().await.unwrap();
            assert_eq!((event.kind.as_str(), event.session.as_deref()), ("session.updated", Some(session.id().as_str())));
        }
        let page = page(&server, laptop.subject());
        page.tell(&format!("/v1/manage/devices/{}/switches", phone.did()), &json!({"sync": false})).await.unwrap();
        for n in 0..10 {
            session.write(&[n]).await.unwrap();
        }
        while events.next().await.unwrap().kind != "device.switched" {}
        // With a new key, for the phone has the old one.
        for _ in 0..10 {
            let event = events.next().await.unwrap();
            assert_eq!((event.kind.as_str(), event.session), ("other", None));
        }
    }
}
