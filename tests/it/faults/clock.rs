//! F29: the server's clock is set back, set forward, or stands still. What has expired stays so, and what lives on does not end with it.

use crate::support::Server;
use baton::demo::{claims, enrol_here};
use baton::person::Person;
use baton_protocol::enrolment::Kind;
use baton_protocol::handoff::machine::Target;
use baton_protocol::ports::Clock;
use baton_protocol::time::Millis;
use baton_sdk::keystore::Keystore;
use baton_sdk::{Device, Error, Http, Session, Waiting, Written, system_entropy};
use baton_service::clock::Steady;
use baton_service::testing::On;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's clock, which is set by hand, and what passes.
struct Hands {
    wall: Arc<AtomicI64>,
    passed: Arc<AtomicI64>,
}

impl Hands {
    fn now() -> Self {
        let now = baton_service::base::system_clock().now().0;
        Self { wall: Arc::new(AtomicI64::new(now)), passed: Arc::default() }
    }

    /// What a service that starts now makes of it.
    fn clock(&self) -> Clock {
        let (wall, passed) = (self.wall.clone(), self.passed.clone());
        Clock::telling(Steady::over(Clock::new(move || Millis(wall.load(Ordering::SeqCst))), move || passed.load(Ordering::SeqCst)))
    }

    /// A full device, which goes by the system's clock as anybody does, and learns the server's from its answers.
    async fn full(&self, server: &Server, person: &mut Person, name: &str) -> Arc<Device> {
        let wall = self.wall.clone();
        let http = Http::new(Clock::new(move || Millis(wall.load(Ordering::SeqCst))), system_entropy()).unwrap();
        enrol_here(person, http, Keystore::memory(), server.kept(), &claims(name, Kind::Laptop)).await.unwrap()
    }

    /// Time passes.
    async fn pass(&self, secs: i64, server: &Server) {
        self.passed.fetch_add(secs * 1000, Ordering::SeqCst);
        self.set(secs, server).await;
    }

    /// Somebody sets it.
    async fn set(&self, secs: i64, server: &Server) {
        self.wall.fetch_add(secs * 1000, Ordering::SeqCst);
        server.running.identity.pump().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn set_back_it_revives_nothing() {
    for on in [On::Sqlite, On::Postgres] {
        let hands = Hands::now();
        let server = Server::start_at(on, hands.clock()).await;
        let mut person = server.person().await;
        let (laptop, tablet) = (hands.full(&server, &mut person, "Laptop").await, hands.full(&server, &mut person, "Tablet").await);
        let mut session = Session::open(&laptop, b"00:43").await.unwrap();
        session.offer(Target::AnyFull).await.unwrap();
        let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
        hands.pass(60, &server).await;
        assert!(matches!(session.write(b"00:44").await.unwrap(), Written::Session(_)));
        hands.pass(60, &server).await;
        hands.set(-600, &server).await;
        assert!(waiting.accept().await.unwrap_err().is("handoff.expired"), "it had lapsed");
        // Everything else goes on, and time with it.
        assert!(matches!(session.write(b"00:45").await.unwrap(), Written::Session(_)));
        session.offer(Target::AnyFull).await.unwrap();
        let again = Waiting::list(&tablet).await.unwrap().pop().unwrap();
        hands.pass(120, &server).await;
        again.accept().await.unwrap();
    }
}

/// A day forward: tokens have ended and are made anew; no lease has lapsed of somebody who had no time to say anything.
#[tokio::test(flavor = "multi_thread")]
async fn set_forward_it_takes_no_session_away() {
    for on in [On::Sqlite, On::Postgres] {
        let hands = Hands::now();
        let server = Server::start_at(on, hands.clock()).await;
        let mut person = server.person().await;
        let (laptop, tablet) = (hands.full(&server, &mut person, "Laptop").await, hands.full(&server, &mut person, "Tablet").await);
        let mut session = Session::open(&laptop, b"00:43").await.unwrap();
        let silent = Session::open(&laptop, b"01:00").await.unwrap();
        // Past the grace of a start.
        hands.pass(44, &server).await;
        session.heartbeat().await.unwrap();
        silent.heartbeat().await.unwrap();
        hands.set(86_400, &server).await;
        let claim = async |session: &Session| -> Result<(), Error> { Session::load(&tablet, session.id()).await?.claim().await };
        for one in [&session, &silent] {
            assert!(claim(one).await.unwrap_err().is("handoff.taken"));
        }
        assert!(matches!(session.write(b"00:44").await.unwrap(), Written::Session(_)));
        hands.pass(44, &server).await;
        session.heartbeat().await.unwrap();
        hands.pass(1, &server).await;
        assert!(claim(&session).await.unwrap_err().is("handoff.taken"), "it said that it is there");
        claim(&silent).await.unwrap();
    }
}

/// A server that was away takes no session from whoever could not reach it.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_no_session_away() {
    let hands = Hands::now();
    let server = Server::start_at(On::Sqlite, hands.clock()).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (hands.full(&server, &mut person, "Laptop").await, hands.full(&server, &mut person, "Tablet").await);
    let session = Session::open(&laptop, b"00:43").await.unwrap();
    let mut theirs = Session::load(&tablet, session.id()).await.unwrap();
    let stopped = server.stop().await;
    hands.passed.fetch_add(300_000, Ordering::SeqCst);
    hands.wall.fetch_add(300_000, Ordering::SeqCst);
    let server = stopped.start(hands.clock(), false).await.unwrap();
    assert!(theirs.claim().await.unwrap_err().is("handoff.taken"));
    hands.pass(45, &server).await;
    theirs.claim().await.unwrap();
}

/// What a service has seen it knows after a start: a little behind it goes on from there, far behind it does not start, unless its operator says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_not_before_what_was() {
    for on in [On::Sqlite, On::Postgres] {
        let hands = Hands::now();
        let server = Server::start_at(on, hands.clock()).await;
        let mut person = server.person().await;
        Session::open(&hands.full(&server, &mut person, "Laptop").await, b"00:43").await.unwrap();
        let before = server.running.broker.base().now();
        let stopped = server.stop().await;
        let start = hands.wall.load(Ordering::SeqCst);
        hands.wall.store(start - 600_000, Ordering::SeqCst);
        let server = stopped.start(hands.clock(), false).await.unwrap();
        assert_eq!(server.running.broker.base().now(), before);
        let stopped = server.stop().await;
        hands.wall.store(start - 7_200_000, Ordering::SeqCst);
        let refused = stopped.try_start(&hands.clock(), false).await.err().unwrap();
        assert!(format!("{refused:#}").contains("--trust-clock"), "{refused:#}");
        let server = stopped.start(hands.clock(), true).await.unwrap();
        assert_eq!(server.running.broker.base().now().0, start - 7_200_000);
        // Nor does a session wait for a lease of that time.
        hands.pass(45, &server).await;
        let mut db = server.running.broker.base().db.reader().acquire().await.unwrap();
        let until: i64 = sqlx::query_scalar("SELECT lease_until FROM sessions").fetch_one(&mut *db).await.unwrap();
        assert!(until <= server.running.broker.base().now().0);
    }
}
