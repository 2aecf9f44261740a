//! What devices say to each other just now: at once to whoever listens, sealed, and kept by nobody.

use crate::attacks::Rig;
use crate::middle::Deed;
use crate::support::Server;
use baton_protocol::handoff::machine::Target;
use baton_protocol::key::hash;
use baton_protocol::refusal::State;
use baton_protocol::session::{Kind, Place, SealedUpdate};
use baton_sdk::{Device, Document, Ended, Error, Events, Heard, Session, Told, Waiting, Written};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// The next that is said on a stream.
async fn said(events: &mut Events) -> SealedUpdate {
    loop {
        match events.told().await.unwrap() {
            Told::Volatile(update) => return update,
            Told::Refused { code, .. } => panic!("{code}"),
            Told::Event(_) | Told::Present(_) => {}
        }
    }
}

async fn refused(events: &mut Events) -> String {
    loop {
        match events.told().await.unwrap() {
            Told::Refused { code, .. } => return code,
            Told::Volatile(_) => panic!("passed on"),
            Told::Event(_) | Told::Present(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_reaches_whoever_looks_on_and_is_kept_by_nobody() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let mut film = Document::open(&laptop).await.unwrap();
        let mut shown = Document::of(Session::load(&phone, film.session().id()).await.unwrap()).await.unwrap().0;
        let (mut speaks, mut hears) = (laptop.live(None).await.unwrap(), phone.live(None).await.unwrap());
        // From then on it hears.
        while !matches!(hears.told().await.unwrap(), Told::Present(_)) {}
        let before = server.dump(&[]).await;
        for minute in 43..46 {
            film.set("position", &json!({"at": minute, "rate": 1})).unwrap();
            speaks.say(film.volatile().await.unwrap()).await.unwrap();
            let update = said(&mut hears).await;
            assert!(!serde_json::to_string(&update).unwrap().contains("position"));
            assert!(shown.hear(&update).unwrap());
            assert_eq!(shown.state().get("position").unwrap()["at"], minute);
            assert!(!shown.hear(&update).unwrap(), "told twice");
        }
        assert_eq!(server.dump(&[]).await, before, "nothing of it is kept");
        assert_eq!(film.state().get("position").unwrap()["at"], 45);
        // Whoever comes later has it from the next save.
        film.save().await.unwrap();
        let late = Document::of(Session::load(&phone, film.session().id()).await.unwrap()).await.unwrap().0;
        assert_eq!(late.state().get("position").unwrap()["at"], 45);
    }
}

/// Only who may write says anything, only members hear it, and a broker that replays, moves or makes something up is found out.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_is_not_heard() {
    let rig = Rig::new(On::Sqlite).await;
    let Rig { server, laptop, tv, .. } = &rig;
    let mut person = server.person().await;
    let theirs = server.full(&mut person, "Theirs").await;
    let mut session = rig.session().await;
    let other = Session::open(laptop, b"another").await.unwrap();
    let said_of = |device: &Arc<Device>| {
        let device = device.clone();
        async move { device.live(None).await.unwrap() }
    };
    let mut speaks = said_of(laptop).await;
    let update = session.volatile(b"00:43").await.unwrap();

    // By others: what the laptop sealed is not theirs to say.
    for (device, code) in [(tv, "not_found"), (&theirs, "not_found")] {
        let mut events = said_of(device).await;
        events.say(update.clone()).await.unwrap();
        assert_eq!(refused(&mut events).await, code);
    }
    let moved = |change: &dyn Fn(&mut Place)| {
        let mut update = update.clone();
        change(&mut update.place);
        update
    };
    for (update, code) in [(moved(&|place| place.epoch = 2), "handoff.epoch"), (moved(&|place| place.key_version = 2), "state.rekey_required")] {
        speaks.say(update).await.unwrap();
        assert_eq!(refused(&mut speaks).await, code);
    }

    // Whoever hears it does not believe the broker.
    let mut heard = Session::load(laptop, session.id()).await.unwrap();
    let check = |outcome: Result<Option<Vec<u8>>, Error>| match outcome {
        Err(Error::Check(why)) => why.code(),
        other => panic!("{other:?}"),
    };
    for (update, code) in [
        (moved(&|place| place.session = other.id().clone()), State::Undecryptable.code()),
        (moved(&|place| place.kind = Kind::Update), State::Undecryptable.code()),
        (moved(&|place| place.epoch = 2), State::Rollback.code()),
        (moved(&|place| place.seq += 1), State::Undecryptable.code()),
        (moved(&|place| place.prev = hash(b"elsewhere")), State::Undecryptable.code()),
    ] {
        assert_eq!(check(heard.hear(&update)), code);
    }
    assert_eq!(heard.hear(&update).unwrap().unwrap(), b"00:43");
    assert_eq!(heard.hear(&update).unwrap(), None, "replayed");
    // It is no update either.
    let body = serde_json::to_value(&update).unwrap();
    for path in ["updates", "branches"] {
        let ask = rig.to_broker(laptop, "POST", &format!("/v1/sessions/{}/{path}", session.id()), "session:write", Some(&body)).await;
        rig.refuse(&ask, 422, "state.not_encrypted", "not encrypted").await;
    }
    session.write(b"00:44").await.unwrap();
}

/// EVT-08: a device that shouts, or says what is no frame, is shown out; one that says as much as it may is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_shouts_is_shown_out() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let frame = json!({"type": "volatile", "update": session.volatile(b"00:43").await.unwrap()});
    let ended = async |frames: Vec<Message>| {
        let ask = rig.to_broker(&rig.laptop, "GET", "/v1/events", "session:read session:write", None).await;
        let mut request = ask.url.replacen("http", "ws", 1).into_client_request().unwrap();
        for (name, value) in &ask.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        for frame in frames {
            // It may be shown out before it has said all of it.
            let _ = socket.send(frame).await;
        }
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| u16::from(frame.code)),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    };
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut frame = frame.clone();
        change(&mut frame);
        vec![Message::text(frame.to_string())]
    };
    let frames = vec![Message::text(frame.to_string()), Message::text("and now out")];
    assert_eq!(ended(frames).await, Some(1008), "the first was heard");
    for (frames, code) in [
        (vec![Message::text("hello")], 1008),
        (vec![Message::binary(vec![1])], 1003),
        (changed(&|frame| frame["type"] = json!("update")), 1008),
        (changed(&|frame| frame["more"] = json!(1)), 1008),
        (changed(&|frame| frame["update"]["kind"] = json!("update")), 1008),
        (changed(&|frame| frame["update"]["ct"] = json!("00:43")), 1008),
        (vec![Message::text(frame.to_string()); 80], 4429),
    ] {
        assert_eq!(ended(frames.clone()).await, Some(code), "{:?}", frames[0]);
    }
}

/// EVT-08: what is no WebSocket to speak of ends with the code of RFC 6455, and nothing is agreed to beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_speaks_no_websocket_is_shown_out() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let said = json!({"type": "volatile", "update": session.volatile(b"00:43").await.unwrap()}).to_string();
    let frame = |bytes: &[u8], code, last| {
        let mut all = Vec::new();
        let mut frame = Frame::message(bytes.to_vec(), OpCode::Data(code), last);
        frame.header_mut().mask = Some([0; 4]);
        frame.format(&mut all).unwrap();
        all
    };
    let (start, end) = said.as_bytes().split_at(9);
    let whole = [frame(start, Data::Text, false), frame(b"", Data::Continue, false), frame(end, Data::Continue, true)].concat();
    let mut deflated = frame(said.as_bytes(), Data::Text, true);
    deflated[0] |= 0x40;
    // That is the header alone: nobody waits for the rest.
    let mut long = frame(&vec![b'x'; 1 << 20], Data::Text, true);
    long.truncate(14);
    // As many as are over the bound by less than is read at once.
    let fragments = [frame(b"", Data::Text, false), frame(b"", Data::Continue, false).repeat(64 * 1024 / 6)].concat();
    for (bytes, code) in [
        // Its twin: in three pieces, one of which is empty.
        ([whole, frame(b"out", Data::Text, true)].concat(), 1008),
        (frame(&[0xff], Data::Text, true), 1007),
        (frame(b"more", Data::Continue, true), 1002),
        (deflated, 1002),
        (long, 1009),
        (fragments, 1009),
    ] {
        let ask = rig.to_broker(&rig.laptop, "GET", "/v1/events", "session:read session:write", None).await;
        let mut request = ask.url.replacen("http", "ws", 1).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-extensions", "permessage-deflate; client_max_window_bits".parse().unwrap());
        for (name, value) in &ask.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (mut socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(answer.headers().get("sec-websocket-extensions"), None);
        socket.get_mut().write_all(&bytes).await.unwrap();
        let ended = loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ended, Some(code), "{} bytes", bytes.len());
    }
}

/// A token for reading hears and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn saying_wants_the_scope_of_writing() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let mut events = rig.laptop.events(None).await.unwrap();
    events.say(session.volatile(b"00:43").await.unwrap()).await.unwrap();
    assert_eq!(refused(&mut events).await, "insufficient_scope");
    let mut events = rig.laptop.live(None).await.unwrap();
    events.say(session.volatile(b"00:44").await.unwrap()).await.unwrap();
    // Nobody says that it was passed on: what is refused after it is the first that is.
    let fenced = Place { epoch: 2, ..session.volatile(b"00:45").await.unwrap().place };
    events.say(SealedUpdate { place: fenced, ..session.volatile(b"00:45").await.unwrap() }).await.unwrap();
    assert_eq!(refused(&mut events).await, "handoff.epoch");
}

/// A revoked device's stream ends, and it is heard no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_says_nothing() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let mut events = rig.laptop.live(None).await.unwrap();
    events.say(session.volatile(b"00:43").await.unwrap()).await.unwrap();
    rig.person.revoke(&rig.laptop.enrolled().device_id).await.unwrap();
    let ended = loop {
        if let Err(ended) = events.told().await {
            break ended;
        }
    };
    assert_eq!(ended, Ended::Closed(4403));
}

/// What a session needs takes no room in what is said of it, and what was released is not spoken of.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_needs_takes_no_room() {
    let rig = Rig::new(On::Sqlite).await;
    let words: Vec<_> = (0..16).map(|n| vec![format!("a-rather-long-word-for-what-this-session-needs-{n}")]).collect();
    let needs = serde_json::from_value(json!({"needs": words, "adapts": []})).unwrap();
    let mut session = Session::open_needing(&rig.laptop, b"00:43", needs).await.unwrap();
    session.volatile(&[b'x'; 3072]).await.unwrap().check_form().unwrap();
    assert!(session.volatile(&[b'x'; 3073]).await.is_err());
    let offered = session.offer(Target::Device(rig.tv.did().clone())).await.unwrap();
    Waiting::list(&rig.tv).await.unwrap().pop().unwrap().accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    assert!(session.volatile(b"00:44").await.is_err());
}

/// What is written while a stream is there goes over it, without a proof for each; what can't, is posted, and counts once all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_goes_over_the_stream() {
    for on in [On::Sqlite, On::Postgres] {
        let (server, middle) = Server::behind(on, system_clock()).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let posts = Arc::new(AtomicUsize::new(0));
        let counts = posts.clone();
        middle.meddle(move |seen| {
            counts.fetch_add(usize::from(seen.path.ends_with("/updates") && !seen.body.is_empty()), Ordering::Relaxed);
            Deed::Pass
        });
        let posted = || posts.swap(0, Ordering::Relaxed);
        let mut session = Session::open(&laptop, b"0").await.unwrap();
        assert_eq!(posted(), 1);
        let mut events = laptop.live(None).await.unwrap();
        let used = async || server.dump(&[]).await.lines().filter(|line| line.starts_with("broker.used_once")).count();
        let before = used().await;
        for n in 1..=5 {
            session.write(format!("{n}").as_bytes()).await.unwrap();
        }
        assert_eq!((posted(), used().await), (0, before));
        // What came meanwhile is there for who listens, in order.
        for _ in 0..5 {
            assert_eq!(events.next().await.unwrap().kind, "session.updated");
        }
        assert_eq!(Session::load(&phone, session.id()).await.unwrap().content(), b"5");

        // More than a stream takes.
        session.write(&[b'x'; 16 * 1024]).await.unwrap();
        assert_eq!(posted(), 1);
        // An answer that is lost: posted, it is found to stand, once.
        middle.meddle_with_frames(|frame| if frame.contains("\"written\"") { Vec::new() } else { vec![frame.to_owned()] });
        let head = session.head().seq;
        session.write(b"7").await.unwrap();
        assert_eq!((posted(), session.head().seq), (1, head + 1));
        middle.meddle_with_frames(|frame| vec![frame.to_owned()]);
        // Who waited once does not again, until something is heard: here the events of these three.
        session.write(b"8").await.unwrap();
        assert_eq!(posted(), 1);
        for _ in 0..3 {
            events.next().await.unwrap();
        }
        session.write(b"8").await.unwrap();
        assert_eq!(posted(), 0);
        // No stream any more.
        drop(events);
        session.write(b"9").await.unwrap();
        assert_eq!(posted(), 1);
        assert_eq!(Session::load(&phone, session.id()).await.unwrap().content(), b"9");

        // Whoever has lost the session is told by the post where it is, and the edit goes beside.
        let _events = laptop.live(None).await.unwrap();
        let mut stale = Session::load(&laptop, session.id()).await.unwrap();
        let offered = session.offer(Target::Device(phone.did().clone())).await.unwrap();
        let waiting = Waiting::list(&phone).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        waiting.complete().await.unwrap();
        assert!(matches!(stale.write(b"late").await.unwrap(), Written::Branch { .. }));
    }
}

/// A stream goes on with another token for as long as somebody listens.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_its_token() {
    let clock = ManualClock::start();
    let (server, middle) = Server::behind(On::Sqlite, clock.clock()).await;
    let (renewed, mut renewals) = watch::channel(0);
    middle.meddle_with_frames(move |frame| {
        renewed.send_modify(|count| *count += i32::from(frame.contains(r#""type":"renewed""#)));
        vec![frame.to_owned()]
    });
    let laptop = server.full(&mut server.person().await, "Laptop").await;
    let opened = Arc::new(AtomicUsize::new(0));
    let (tells, mut told) = mpsc::unbounded_channel();
    let mut listening = laptop.listen(None);
    let opens = opened.clone();
    let listens = tokio::spawn(async move {
        loop {
            match listening.next().await.unwrap() {
                Heard::Open => {
                    opens.fetch_add(1, Ordering::Relaxed);
                    tells.send(None).unwrap();
                }
                Heard::Told(Told::Event(event)) => tells.send(event.session).unwrap(),
                _ => {}
            }
        }
    });
    assert_eq!(told.recv().await, Some(None), "it is open");
    // A quarter of an hour, of tokens that live five minutes.
    for round in 1..=3 {
        for _ in 0..72 {
            clock.advance_secs(4);
            server.running.identity.pump().await.unwrap();
        }
        // By a clock that is not the machine's it is looked at with what comes next.
        Session::open(&laptop, b"0").await.unwrap();
        renewals.wait_for(|count| *count >= round).await.unwrap();
        // And what is told after the answer is heard after it: from here on time may pass again.
        let after = Session::open(&laptop, b"0").await.unwrap().id().to_string();
        while told.recv().await.unwrap().as_ref() != Some(&after) {}
    }
    listens.abort();
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

/// A device has one mouth, however many streams it opens.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_opens_more_streams_says_no_more() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let update = session.volatile(b"00:43").await.unwrap();
    let (mut one, mut two) = (rig.laptop.live(None).await.unwrap(), rig.laptop.live(None).await.unwrap());
    for _ in 0..45 {
        one.say(update.clone()).await.unwrap();
        let _ = two.say(update.clone()).await;
    }
    let ended = async |events: &mut Events| loop {
        if let Err(ended) = events.told().await {
            return ended;
        }
    };
    let (one, two) =
        tokio::join!(tokio::time::timeout(Duration::from_secs(3), ended(&mut one)), tokio::time::timeout(Duration::from_secs(3), ended(&mut two)));
    assert!([one, two].contains(&Ok(Ended::Closed(4429))));
}
