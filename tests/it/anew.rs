//! Devices that die in the midst of a handoff and are started from their files: it goes on from where it was, whichever dies and whenever.

use crate::manage::page;
use crate::merging::{kept_in_a_file, started};
use crate::middle::Deed;
use crate::support::Server;
use baton_protocol::handoff::machine::Target;
use baton_sdk::{Asked, Device, Session, Waiting, Written};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A device with its file, and whether it dies after each step.
struct Mortal {
    dir: tempfile::TempDir,
    file: PathBuf,
    device: Arc<Device>,
    dies: bool,
}

impl Mortal {
    fn new(server: &Server, device: &Device, dies: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = kept_in_a_file(device, dir.path());
        let device = started(server, &file);
        Self { dir, file, device, dies }
    }

    fn step(&mut self, server: &Server) {
        if self.dies {
            self.device = started(server, &self.file);
        }
        assert!(self.dir.path().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handoff_outlives_either_device_at_every_step() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    for (source_dies, target_dies) in [(true, false), (false, true), (true, true)] {
        let (mut source, mut target) = (Mortal::new(&server, &laptop, source_dies), Mortal::new(&server, &tablet, target_dies));
        let after = |source: &mut Mortal, target: &mut Mortal| {
            source.step(&server);
            target.step(&server);
        };
        let id = Session::open(&source.device, b"00:43").await.unwrap().id().clone();
        after(&mut source, &mut target);
        Session::load(&source.device, &id).await.unwrap().offer(Target::Device(tablet.did().clone())).await.unwrap();
        after(&mut source, &mut target);
        Waiting::list(&target.device).await.unwrap().pop().unwrap().accept().await.unwrap();
        after(&mut source, &mut target);
        let mut session = Session::load(&source.device, &id).await.unwrap();
        assert!(session.is_held(), "until it is sealed");
        let offered = session.standing().await.unwrap().unwrap();
        session.seal(&offered).await.unwrap();
        after(&mut source, &mut target);
        let left = Session::load(&source.device, &id).await.unwrap();
        assert!(!left.is_held() && left.standing().await.unwrap().is_some());
        Waiting::list(&target.device).await.unwrap().pop().unwrap().complete().await.unwrap();
        after(&mut source, &mut target);
        let mut there = Session::load(&target.device, &id).await.unwrap();
        assert_eq!((there.is_held(), there.content()), (true, &b"00:43"[..]));
        assert!(matches!(there.write(b"00:44").await.unwrap(), Written::Session(_)));
        let left = Session::load(&source.device, &id).await.unwrap();
        assert_eq!((left.is_held(), left.content(), left.standing().await.unwrap().is_none()), (false, &b"00:44"[..], true));
    }
}

/// Sealed, and then both die: whoever comes back first after a minute is the source, and takes it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_died_takes_back_what_nobody_took() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, tv) = (server.full(&mut person, "Laptop").await, server.limited(&mut person, "Television").await);
    let mut source = Mortal::new(&server, &laptop, true);
    let id = {
        let mut session = Session::open(&source.device, b"00:43").await.unwrap();
        let offered = session.offer(Target::Device(tv.did().clone())).await.unwrap();
        Waiting::list(&tv).await.unwrap().pop().unwrap().accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        session.id().clone()
    };
    source.step(&server);
    let mut session = Session::load(&source.device, &id).await.unwrap();
    let offered = session.standing().await.unwrap().unwrap();
    assert!(session.reclaim(&offered).await.unwrap_err().is("handoff.too_early"));
    for _ in 0..15 {
        clock.advance_secs(4);
        server.running.identity.pump().await.unwrap();
    }
    session.reclaim(&offered).await.unwrap();
    assert!(matches!(session.write(b"00:44").await.unwrap(), Written::Session(_)));
}

/// Who named the target is known after a start as well: a device that the person chose is handed the session, one that named itself and may not ask any more is
/// not, whatever the broker shows.
#[tokio::test(flavor = "multi_thread")]
async fn who_named_the_target_is_known_after_a_start() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    for asked_for in [false, true] {
        let tablet = server.full(&mut person, "Tablet").await;
        let mut source = Mortal::new(&server, &laptop, true);
        let session = Session::open(&source.device, b"00:43").await.unwrap();
        if asked_for {
            Session::load(&tablet, session.id()).await.unwrap().request().await.unwrap();
            let asked = Asked::list(&source.device).await.unwrap().pop().unwrap();
            session.agree(&asked).await.unwrap();
        } else {
            session.offer(Target::Device(tablet.did().clone())).await.unwrap();
        }
        let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        source.step(&server);

        // The tablet is not to have the sessions of the others any more. The broker shows the handoff as it was.
        let latest = Arc::new(Mutex::new(None::<Value>));
        let note = latest.clone();
        middle.meddle(move |seen| {
            let shown: Value = serde_json::from_slice(&seen.answer).unwrap_or_default();
            if let Some(shown) = shown["handoffs"].get(0) {
                *note.lock().unwrap() = Some(shown.clone());
            }
            Deed::Pass
        });
        Waiting::list(&tablet).await.unwrap();
        let shown = latest.lock().unwrap().clone().unwrap();
        let page = page(&server, laptop.subject());
        page.tell(&format!("/v1/manage/devices/{}/switches", tablet.did()), &json!({"sync": false})).await.unwrap();
        let (list, one) = (json!({"handoffs": [shown]}).to_string(), shown.to_string());
        middle.meddle(move |seen| match &seen.path {
            path if path.ends_with("/v1/handoffs") => Deed::Replace(list.clone().into_bytes()),
            path if path.contains("/v1/handoffs/hof_") && seen.body.is_empty() => Deed::Replace(one.clone().into_bytes()),
            _ => Deed::Pass,
        });
        let mut session = Session::load(&source.device, session.id()).await.unwrap();
        let standing = session.standing().await.unwrap().unwrap();
        let sealed = session.seal(&standing).await;
        middle.meddle(|_| Deed::Pass);
        if asked_for {
            assert!(sealed.unwrap_err().is("log.not_member"));
            assert!(session.is_held());
        } else {
            sealed.unwrap();
            assert_eq!(waiting.complete().await.unwrap().content(), b"00:43");
        }
    }
}
