//! Event streams: EVT-01 to EVT-04, EVT-06, EVT-07, EVT-09.

use super::{Ask, Rig, race};
use crate::support::Server;
use baton_sdk::{Ended, Session};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

fn upgrade(ask: Ask) -> Ask {
    ask.header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test(flavor = "multi_thread")]
async fn opening() {
    let rig = Rig::new(On::Sqlite).await;
    let events = async || rig.to_broker(&rig.laptop, "GET", "/v1/events", "session:read", None).await;
    for origin in ["http://evil.example", "null", &rig.server.public_url] {
        rig.refuse(&upgrade(events().await).header("origin", origin), 403, "stream.origin", "origin").await;
    }
    rig.refuse(&upgrade(Ask::new("GET", rig.broker("/v1/events")).header("cookie", "baton=x")), 401, "invalid_token", "missing").await;
    for elsewhere in ["99999", "-5", "9223372036854775807"] {
        let mut future = upgrade(events().await);
        future.url = format!("{}?cursor={elsewhere}", future.url);
        rig.refuse_but(&future, 409, "stream.gap", "gap", &["used_once"]).await;
    }
    // EVT-04: a token stands in no URL, beside a proof or instead of one.
    let mut in_url = upgrade(events().await);
    in_url.url += "?access_token=secret";
    rig.refuse(&in_url, 400, "input.token_in_url", "token in url").await;
    rig.refuse(&upgrade(Ask::new("GET", rig.broker("/v1/events?ticket=x&access_token=secret"))), 400, "input.token_in_url", "token in url").await;

    // A ticket counts once, and only from where it was fetched.
    let ticket =
        rig.to_broker(&rig.laptop, "POST", "/v1/events/tickets", "session:read", Some(&json!({}))).await.header("origin", "https://app.example");
    let ticket = rig.allow(&ticket).await["ticket"].as_str().unwrap().to_owned();
    let with_ticket = |origin: &str| upgrade(Ask::new("GET", rig.broker(&format!("/v1/events?ticket={ticket}"))).header("origin", origin));
    rig.refuse(&with_ticket("https://evil.example"), 403, "stream.origin", "origin").await;
    rig.refuse(&with_ticket("null"), 403, "stream.origin", "origin").await;
    let mut from_nowhere = with_ticket("x");
    from_nowhere.headers.retain(|(name, _)| *name != "origin");
    rig.refuse(&from_nowhere, 403, "stream.origin", "origin").await;
    let mut request = rig.broker(&format!("/v1/events?ticket={ticket}")).replacen("http", "ws", 1).into_client_request().unwrap();
    request.headers_mut().insert("origin", "https://app.example".parse().unwrap());
    let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    drop(socket);
    rig.refuse(&with_ticket("https://app.example"), 401, "stream.ticket", "ticket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_misses_nothing() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let mut stream = rig.laptop.events(Some(0)).await.unwrap();
    // DEV-08: every device of the person is announced to the others, for them to say so.
    for seq in [1, 2] {
        let event = stream.next().await.unwrap();
        assert_eq!((event.seq, event.kind.as_str(), event.session), (seq, "device.enrolled", None));
    }
    let opened = stream.next().await.unwrap();
    assert_eq!((opened.seq, opened.kind.as_str()), (3, "session.opened"));
    drop(stream);
    session.write(b"1").await.unwrap();
    session.write(b"2").await.unwrap();
    let mut stream = rig.laptop.events(Some(3)).await.unwrap();
    for seq in 4..=6 {
        assert_eq!(stream.next().await.unwrap().seq, seq);
    }
    // A limited device learns that something happened, and not what.
    let mut stream = rig.tv.events(Some(0)).await.unwrap();
    let event = stream.next().await.unwrap();
    assert_eq!((event.seq, event.kind.as_str(), event.session), (1, "other", None));
}

/// EVT-03: a ticket is good for half a minute, and of many who show it at once one is let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once_and_not_for_long() {
    let clock = ManualClock::start();
    let rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let ticket = async || {
        let ask = rig.to_broker(&rig.laptop, "POST", "/v1/events/tickets", "session:read", Some(&json!({}))).await;
        let ticket = rig.allow(&ask).await["ticket"].as_str().unwrap().to_owned();
        upgrade(Ask::new("GET", rig.broker(&format!("/v1/events?ticket={ticket}"))))
    };
    let (late, in_time) = (ticket().await, ticket().await);
    clock.advance_secs(29);
    rig.server.running.identity.pump().await.unwrap();
    let answers = race(vec![in_time; 8]).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 101).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 101 || answer.code == "stream.ticket"));
    clock.advance_secs(1);
    rig.refuse(&late, 401, "stream.ticket", "ticket").await;
}

/// EVT-01: a stream does not outlive its token, and tells nothing of what happens after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
    let mut stream = laptop.events(None).await.unwrap();
    Session::open(&laptop, b"x").await.unwrap();
    for kind in ["session.opened", "session.updated"] {
        assert_eq!(stream.next().await.unwrap().kind, kind);
    }
    clock.advance_secs(301);
    server.running.identity.pump().await.unwrap();
    Session::open(&phone, b"x").await.unwrap();
    assert_eq!(stream.next().await.unwrap_err(), Ended::Closed(4401));
}

/// EVT-02: nor its device, nor the consent it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_device_and_with_its_consent() {
    for withdraw in [false, true] {
        let mut rig = Rig::new(On::Sqlite).await;
        let phone = rig.server.full(&mut rig.person, "Phone").await;
        let mut stream = rig.laptop.events(None).await.unwrap();
        Session::open(&phone, b"x").await.unwrap();
        for kind in ["session.opened", "session.updated"] {
            assert_eq!(stream.next().await.unwrap().kind, kind);
        }
        let id = rig.laptop.enrolled().device_id;
        if withdraw {
            let devices = rig.person.get("/v1/devices").await.unwrap();
            let laptop = devices["devices"].as_array().unwrap().iter().find(|device| device["device_id"] == id.as_str()).unwrap().clone();
            assert!(rig.person.withdraw(laptop["grant"].as_str().unwrap()).await.unwrap());
        } else {
            assert!(rig.person.revoke(&id).await.unwrap());
        }
        let ended = loop {
            match stream.next().await {
                Err(ended) => break ended,
                Ok(event) => assert_ne!(event.kind, "session.opened", "of what came after"),
            }
        };
        assert_eq!(ended, Ended::Closed(4403));
    }
}

/// EVT-09: one device has so many streams and no more, until one of them ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_so_many_streams() {
    let rig = Rig::new(On::Sqlite).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(rig.laptop.events(None).await.unwrap());
    }
    for _ in 0..2 {
        let one_more = upgrade(rig.to_broker(&rig.laptop, "GET", "/v1/events", "session:read", None).await);
        rig.refuse_but(&one_more, 429, "limit.streams", "streams", &["used_once"]).await;
    }
    // Another device's are not counted.
    rig.tv.events(None).await.unwrap();
    streams.pop().unwrap().close().await;
    while let Err(full) = rig.laptop.events(None).await {
        assert!(full.is("limit.streams"), "{full:?}");
    }
}

/// A client has nothing to say on the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_talking_client_is_shown_out() {
    use futures_util::SinkExt as _;
    use tokio_tungstenite::tungstenite::Message;
    let rig = Rig::new(On::Sqlite).await;
    let ask = rig.to_broker(&rig.laptop, "GET", "/v1/events", "session:read", None).await;
    let mut request = ask.url.replacen("http", "ws", 1).into_client_request().unwrap();
    for (name, value) in &ask.headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let closed = loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => break frame,
            Some(Ok(_)) => {}
            _ => break None,
        }
    };
    assert_eq!(u16::from(closed.unwrap().code), 1008);
}

/// EVT-07: what is told twice is heard once; what is told out of order, or left out, is a gap that is said, and nothing after it is believed.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_heard_once_and_in_order() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let laptop = server.full(&mut server.person().await, "Laptop").await;
    let mut session = Session::open(&laptop, b"0").await.unwrap();
    // As many come after it as are read: none is on its way when the next is meddled with.
    let mut events = laptop.events(Some(0)).await.unwrap();
    let begins = loop {
        let event = events.next().await.unwrap();
        if event.kind == "session.updated" {
            break event.seq;
        }
    };
    drop(events);
    for n in 0..4 {
        session.write(&[n]).await.unwrap();
    }
    let heard = async |cursor: i64| {
        let mut events = laptop.events(Some(cursor)).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            match events.next().await {
                Ok(event) => seen.push(event.seq - cursor),
                Err(ended) => return (seen, Some(ended)),
            }
        }
        (seen, None)
    };
    middle.meddle_with_frames(|frame| vec![frame.to_owned(), frame.to_owned()]);
    assert_eq!(heard(begins).await, (vec![1, 2, 3, 4], None));
    let mut held: Option<String> = None;
    middle.meddle_with_frames(move |frame| match held.take() {
        None => {
            held = Some(frame.to_owned());
            Vec::new()
        }
        Some(first) => vec![frame.to_owned(), first],
    });
    assert_eq!(heard(begins).await, (Vec::new(), Some(Ended::Gap)));
    let third = format!("\"seq\":{},", begins + 3);
    middle.meddle_with_frames(move |frame| if frame.contains(&third) { Vec::new() } else { vec![frame.to_owned()] });
    assert_eq!(heard(begins).await, (vec![1, 2], Some(Ended::Gap)));
    middle.meddle_with_frames(|frame| vec![frame.to_owned()]);
    assert_eq!(heard(begins).await, (vec![1, 2, 3, 4], None));
}
