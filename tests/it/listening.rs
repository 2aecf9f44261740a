//! Listening for as long as it takes: connections that are lost, servers that were away, devices that wake.

use crate::attacks::Rig;
use crate::support::Server;
use baton_protocol::ports::Entropy;
use baton_sdk::http::Http;
use baton_sdk::keystore::Keystore;
use baton_sdk::wire::{Came, Carrying, Sent, Wire};
use baton_sdk::{Device, Error, Heard, Session, Told, system_clock, system_entropy};
use baton_service::testing::On;
use futures_util::FutureExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server that is away until then, in milliseconds of a time that pauses alone let pass; what comes after it waits.
struct Away {
    until: u64,
    now: AtomicU64,
    tries: AtomicU64,
    came: Mutex<Option<u64>>,
    /// Nobody's pause ends.
    stands_still: bool,
}

impl Away {
    fn until(until: u64) -> Self {
        Self { until, now: AtomicU64::new(0), tries: AtomicU64::new(0), came: Mutex::new(None), stands_still: false }
    }
}

impl Wire for Away {
    fn carry(&self, _: Sent) -> Carrying<'_, Result<Came, Error>> {
        Box::pin(async {
            self.tries.fetch_add(1, Ordering::Relaxed);
            let now = self.now.load(Ordering::Relaxed);
            if now < self.until {
                return Err(Error::Transport("nobody there".into()));
            }
            *self.came.lock().unwrap() = Some(now);
            std::future::pending().await
        })
    }

    fn pause(&self, time: Duration) -> Carrying<'_, ()> {
        if self.stands_still {
            return Box::pin(std::future::pending());
        }
        self.now.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

fn over(device: &Device, wire: &Arc<Away>, entropy: Entropy) -> Arc<Device> {
    let http = Http::over(wire.clone(), system_clock(), entropy);
    Arc::new(Device::from_kept(Keystore::memory(), device.kept(), http).unwrap().unwrap())
}

/// F12: a thousand devices lose one server at the same moment. When it is back, after ten seconds, they do not come as one, and nobody takes long.
#[tokio::test]
async fn a_thousand_do_not_come_back_as_one() {
    const MANY: usize = 1000;
    let rig = Rig::new(On::Sqlite).await;
    let mut came = Vec::new();
    for _ in 0..MANY {
        let wire = Arc::new(Away::until(10_000));
        assert!(over(&rig.laptop, &wire, system_entropy()).listen(None).next().now_or_never().is_none());
        came.push(wire.came.lock().unwrap().unwrap());
    }
    came.sort_unstable();
    let busiest = came.iter().map(|at| came.iter().filter(|other| (*at..at + 100).contains(*other)).count()).max().unwrap();
    assert!(busiest < MANY / 10, "{busiest} of {MANY} within 100 ms");
    assert!(came[MANY - 1] < 10_000 + 30_000, "the last came after {} ms", came[MANY - 1]);
    assert!(came[MANY * 9 / 10] - came[MANY / 10] > 2000, "most between {} and {} ms", came[MANY / 10], came[MANY * 9 / 10]);
}

/// A device that woke, or is on another network, waits for no pause.
#[tokio::test]
async fn a_device_that_is_back_tries_at_once() {
    let rig = Rig::new(On::Sqlite).await;
    let wire = Arc::new(Away { stands_still: true, ..Away::until(u64::MAX) });
    let mut listening = over(&rig.laptop, &wire, system_entropy()).listen(None);
    let back = listening.back();
    let mut next = std::pin::pin!(listening.next());
    let mut tries = 0;
    for _ in 0..3 {
        assert!((&mut next).now_or_never().is_none());
        let tried = wire.tries.load(Ordering::Relaxed);
        assert!(tried > tries);
        tries = tried;
        assert!((&mut next).now_or_never().is_none());
        assert_eq!(wire.tries.load(Ordering::Relaxed), tries, "else it waits");
        back.is_back();
    }
}

/// And it makes another connection, for the one it has may be dead; nothing is missed between.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_back_makes_another_connection() {
    let server = Server::start(On::Sqlite).await;
    let laptop = server.full(&mut server.person().await, "Laptop").await;
    let mut listening = laptop.listen(None);
    assert_eq!(listening.next().await.unwrap(), Heard::Open);
    let back = listening.back();
    let mut last = 0;
    for _ in 0..3 {
        Session::open(&laptop, b"0").await.unwrap();
        // `session.opened` and `session.updated`.
        for _ in 0..2 {
            let event = loop {
                match listening.next().await.unwrap() {
                    Heard::Told(Told::Event(event)) => break event,
                    Heard::Told(Told::Present(_)) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert!(last == 0 || event.seq == last + 1);
            last = event.seq;
        }
        back.is_back();
        while !matches!(listening.next().await.unwrap(), Heard::Open) {}
    }
}

/// Of what changes many times a second the newest is said, of each session.
#[tokio::test(flavor = "multi_thread")]
async fn of_what_changes_often_the_newest_is_said() {
    let mut rig = Rig::new(On::Sqlite).await;
    let phone = rig.server.full(&mut rig.person, "Phone").await;
    let (mut film, mut song) = (rig.session().await, rig.session().await);
    let mut shown = [Session::load(&phone, film.id()).await.unwrap(), Session::load(&phone, song.id()).await.unwrap()];
    let mut hears = phone.live(None).await.unwrap();
    while !matches!(hears.told().await.unwrap(), Told::Present(_)) {}
    let mut listening = rig.laptop.listen(None);
    assert_eq!(listening.next().await.unwrap(), Heard::Open);
    // More than a device may say at once, several times over.
    for n in 0..200_u8 {
        listening.say(film.volatile(&[n]).await.unwrap());
        listening.say(song.volatile(&[n, n]).await.unwrap());
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        tokio::select! {
            here = listening.next() => assert!(matches!(here.unwrap(), Heard::Told(_)), "it is not shown out"),
            there = hears.told() => if let Told::Volatile(update) = there.unwrap() {
                let session = shown.iter_mut().find(|session| *session.id() == update.place.session).unwrap();
                heard.push(session.hear(&update).unwrap().unwrap());
            },
        }
    }
    assert_eq!(heard, [vec![199], vec![199, 199]]);
}
