//! F12: the server is killed under open streams. Everybody comes back to the event they had seen, and hears each that they missed once. (How long ten thousand
//! take is measured: `live.return` of `make bench`.)

use super::process::{Process, device};
use baton::person::Person;
use baton_sdk::{Device, Ended, Events, Session, system_entropy};
use std::sync::Arc;

const DEVICES: usize = 5;
const STREAMS: usize = 16;

/// Comes back, as often as it takes.
async fn back(device: &Arc<Device>, cursor: Option<i64>) -> Events {
    for _ in 0..100 {
        match device.events(cursor).await {
            Ok(events) => return events,
            Err(why) => assert!(why.code().is_none_or(|code| ["limit.streams", "limit.rate"].contains(&code)), "{why}"),
        }
    }
    panic!("it does not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_comes_back_and_misses_nothing() {
    let mut server = Process::start().await;
    let mut person = Person::new(&server.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        devices.push(device(&server, &mut person, &format!("Device {n}")).await);
    }
    let mut session = Session::open(&devices[0], b"0").await.unwrap();
    let mut streams = Vec::new();
    for device in &devices {
        for _ in 0..STREAMS {
            streams.push((device.clone(), device.events(None).await.unwrap()));
        }
    }
    session.write(b"1").await.unwrap();
    for (_, events) in &mut streams {
        assert_eq!(events.next().await.unwrap().kind, "session.updated");
    }
    // What happens while nobody listens.
    server.again().await;
    for n in 2..5 {
        session.write(n.to_string().as_bytes()).await.unwrap();
    }
    let mut coming = tokio::task::JoinSet::new();
    for (device, mut events) in streams {
        coming.spawn(async move {
            let seen = events.cursor().unwrap();
            assert_eq!(events.next().await, Err(Ended::Broken));
            let mut events = back(&device, Some(seen)).await;
            // I8: contiguous, each once.
            for n in 1..=3 {
                let event = events.next().await.unwrap();
                assert_eq!((event.seq, event.kind.as_str()), (seen + n, "session.updated"));
            }
        });
    }
    assert_eq!(coming.join_all().await.len(), DEVICES * STREAMS);
    server.checked().await;
}
