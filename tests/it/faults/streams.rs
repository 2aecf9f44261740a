//! F12: the server is killed under open streams. Everybody comes back to the event they had seen, and hears each that they missed once. (How long ten thousand
//! take is measured: `live.return` of `make bench`.)

use super::process::{Process, device};
use baton::person::Person;
use baton_protocol::event::Event;
use baton_sdk::{Heard, Listening, Session, Told, system_entropy};

const DEVICES: usize = 5;
const STREAMS: usize = 16;

/// The next event; that it opens, once and again, is told as well.
async fn event(listening: &mut Listening, opened: &mut usize) -> Event {
    loop {
        match listening.next().await.unwrap() {
            Heard::Told(Told::Event(event)) => return event,
            Heard::Told(_) => {}
            Heard::Open => *opened += 1,
            Heard::Gap => panic!("something is left out"),
        }
    }
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
            let mut listening = device.listen(None);
            assert_eq!(listening.next().await.unwrap(), Heard::Open);
            streams.push(listening);
        }
    }
    session.write(b"1").await.unwrap();
    for listening in &mut streams {
        assert_eq!(event(listening, &mut 0).await.kind, "session.updated");
    }
    // What happens while nobody listens.
    server.again().await;
    for n in 2..5 {
        session.write(n.to_string().as_bytes()).await.unwrap();
    }
    let mut coming = tokio::task::JoinSet::new();
    for mut listening in streams {
        coming.spawn(async move {
            let (seen, mut opened) = (listening.cursor().unwrap(), 0);
            // I8: contiguous, each once.
            for n in 1..=3 {
                let event = event(&mut listening, &mut opened).await;
                assert_eq!((event.seq, event.kind.as_str()), (seen + n, "session.updated"));
            }
            assert_eq!(opened, 1);
        });
    }
    assert_eq!(coming.join_all().await.len(), DEVICES * STREAMS);
    server.checked().await;
}
