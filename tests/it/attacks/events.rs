//! Event streams: EVT-01 to EVT-04, EVT-06, EVT-09.

use super::{Ask, Rig};
use crate::support::Server;
use baton_sdk::{Ended, Session};
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
    let mut future = upgrade(events().await);
    future.url += "?cursor=99999";
    rig.refuse_but(&future, 409, "stream.gap", "gap", &["used_once"]).await;

    // A ticket counts once, and only from where it was fetched.
    let ticket =
        rig.to_broker(&rig.laptop, "POST", "/v1/events/tickets", "session:read", Some(&json!({}))).await.header("origin", "https://app.example");
    let ticket = rig.allow(&ticket).await["ticket"].as_str().unwrap().to_owned();
    let with_ticket = |origin: &str| upgrade(Ask::new("GET", rig.broker(&format!("/v1/events?ticket={ticket}"))).header("origin", origin));
    rig.refuse(&with_ticket("https://evil.example"), 403, "stream.origin", "origin").await;
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

/// EVT-01: a stream does not outlive its token.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let mut stream = laptop.events(None).await.unwrap();
    Session::open(&laptop, b"x").await.unwrap();
    assert_eq!(stream.next().await.unwrap().kind, "session.opened");
    clock.advance_secs(301);
    server.running.identity.pump().await.unwrap();
    let ended = loop {
        if let Err(ended) = stream.next().await {
            break ended;
        }
    };
    assert_eq!(ended, Ended::Closed(4401));
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
