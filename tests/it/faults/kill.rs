//! `kill -9` of the server while devices write and hand over (F10, F26). After each, what was acknowledged is there, one device holds the
//! session, and the same step repeated gives the same result (I1, I2, I11).

use crate::support::{http, program};
use baton::demo::{claims, enrol_here};
use baton::person::Person;
use baton_protocol::enrolment::Kind;
use baton_protocol::handoff::machine::Target;
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Device, Servers, Session, Waiting, Written, system_entropy};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

struct Process {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Process {
    fn spawn(dir: &std::path::Path, port: u16) -> Child {
        Command::new(program())
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--admin-listen", "127.0.0.1:0"])
            .args(["--public-url", &format!("http://localhost:{port}"), "--data-dir"])
            .arg(dir)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let child = Self::spawn(dir.path(), port);
        let this = Self { child, dir, port };
        this.ready().await;
        this
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Answers requests: asked again until it does, bounded.
    async fn ready(&self) {
        for _ in 0..300 {
            if reqwest::get(format!("{}/broker/jwks", self.url())).await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not come up");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn again(&mut self) {
        self.child = Self::spawn(self.dir.path(), self.port);
        self.ready().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn device(process: &Process, person: &mut Person, name: &str) -> Arc<Device> {
    let kept = Kept::fresh(Servers::at(&process.url()), "baton-cli", &system_entropy());
    enrol_here(person, http(), Keystore::Memory, kept, &claims(name, Kind::Laptop)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_a_handoff() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let (laptop, tablet) = (device(&process, &mut person, "Laptop").await, device(&process, &mut person, "Tablet").await);

    let mut session = Session::open(&laptop, b"0").await.unwrap();
    for n in 1..=3u8 {
        assert!(matches!(session.write(&[n]).await.unwrap(), Written::Session(_)));
        process.kill();
        process.again().await;
        let read = Session::load(&tablet, session.id()).await.unwrap();
        assert_eq!(read.content(), [n], "I2: what was acknowledged is there");
    }
    let offered = session.offer(Target::Device(tablet.did().clone())).await.unwrap();
    process.kill();
    process.again().await;
    let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    process.kill();
    process.again().await;
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    process.kill();
    process.again().await;
    let mut on_tablet = waiting.complete().await.unwrap();
    process.kill();
    process.again().await;
    assert_eq!((on_tablet.epoch(), on_tablet.content()), (2, &[3u8][..]));
    assert!(matches!(on_tablet.write(b"on").await.unwrap(), Written::Session(_)));
    let seen = Session::load(&laptop, session.id()).await.unwrap();
    assert!(!seen.is_held() && seen.content() == b"on", "I1: one holder");
}

/// Killed in the midst of writes: everything acknowledged is there, in order, and at most the one under way besides.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_writing() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let laptop = device(&process, &mut person, "Laptop").await;
    let mut session = Session::open(&laptop, b"0").await.unwrap();
    let id = session.id().clone();
    let (told, mut acknowledged) = tokio::sync::watch::channel(0u32);
    let writing = tokio::spawn(async move {
        for n in 1..=1000u32 {
            if session.write(n.to_string().as_bytes()).await.is_err() {
                return;
            }
            told.send_replace(n);
        }
    });
    acknowledged.wait_for(|n| *n >= 20).await.unwrap();
    process.kill();
    let known = *acknowledged.borrow();
    writing.abort();
    process.again().await;
    let read = Session::load(&laptop, &id).await.unwrap();
    let last: u32 = String::from_utf8(read.content().to_vec()).unwrap().parse().unwrap();
    assert!(last == known || last == known + 1, "acknowledged {known}, stored {last}");
    assert_eq!(read.head().seq, i64::from(last) + 1);
}
