//! F11: the holder's process is stopped past its lease, another device claims, and the first goes on as if nothing had happened.

use crate::support::{Server, program};
use baton::demo::{claims, enrol_here};
use baton_protocol::enrolment::Kind;
use baton_sdk::keystore::Keystore;
use baton_sdk::{Session, system_entropy};
use baton_service::testing::{ManualClock, On};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

struct Holder(Child);

impl Holder {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_stopped_past_its_lease_is_fenced() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("laptop.key");
    let kept = server.kept();
    let keystore = Keystore::create(&file, "a passphrase", &kept, &system_entropy()).unwrap();
    let laptop = enrol_here(&mut person, server.http(), keystore, kept, &claims("Laptop", Kind::Laptop)).await.unwrap();
    let tablet = server.full(&mut person, "Tablet").await;
    let session = Session::open(&laptop, b"00:43").await.unwrap();

    let mut command = Command::new(program());
    command.args(["device", "--keystore"]).arg(&file).args(["write", session.id().as_str()]).env("BATON_PASSPHRASE", "a passphrase");
    let mut holder = Holder(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let (mut says, mut told) = (holder.0.stdin.take().unwrap(), BufReader::new(holder.0.stdout.take().unwrap()));
    let mut write = |text: &str| {
        writeln!(says, "{text}").unwrap();
        let mut answer = String::new();
        told.read_line(&mut answer).unwrap();
        answer
    };
    assert!(tokio::task::block_in_place(|| write("00:44")).starts_with("written"), "it holds the session");

    holder.signal("-STOP");
    clock.advance_secs(46);
    server.running.identity.pump().await.unwrap();
    let mut theirs = Session::load(&tablet, session.id()).await.unwrap();
    theirs.claim().await.unwrap();
    holder.signal("-CONT");

    let answer = tokio::task::block_in_place(|| write("00:45"));
    assert!(answer.starts_with("handoff.fenced"), "{answer}");
    theirs.follow().await.unwrap();
    assert_eq!((theirs.epoch(), theirs.content(), theirs.is_held()), (2, &b"00:44"[..], true), "I1");
    assert_eq!(theirs.branches().await.unwrap()[0].content.as_deref(), Some(&b"00:45"[..]), "I2: kept beside it");
}
