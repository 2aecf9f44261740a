//! Two histories of one session, each accepted by the broker: it was set up again from an older copy, or it lies. Whoever sees both writes into neither, and
//! loses nothing.

use crate::merging::{hand_over, text, write};
use crate::middle::Deed;
use crate::support::Server;
use baton_protocol::handoff::machine::Target;
use baton_sdk::{Document, Session, Written};
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// So long that a lease lapses; in steps, for the feed of news must not go stale.
async fn lapse(clock: &ManualClock, server: &Server) {
    for _ in 0..12 {
        clock.advance_secs(4);
        server.running.identity.pump().await.unwrap();
    }
}

async fn fork(is_revoked: bool) {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let (phone, tablet) = (server.full(&mut person, "Phone").await, server.full(&mut person, "Tablet").await);
    let id = Session::open(&laptop, b"0").await.unwrap().id().clone();

    // A copy of the broker is kept; then the phone goes on, and the laptop reads that.
    let stopped = server.stop().await;
    let (file, copy) = (stopped.file("broker.db"), stopped.file("copy.db"));
    std::fs::copy(&file, &copy).unwrap();
    let server = stopped.start(clock.clock(), false).await.unwrap();
    lapse(&clock, &server).await;
    let mut of_phone = Session::load(&phone, &id).await.unwrap();
    of_phone.claim().await.unwrap();
    // Longer than the other will be.
    for content in [&b"1"[..], b"2", b"3", b"phone"] {
        of_phone.rekey().await.unwrap();
        assert!(matches!(of_phone.write(content).await.unwrap(), Written::Session(_)));
    }
    let mut of_laptop = Session::load(&laptop, &id).await.unwrap();

    // The copy is put back, and the tablet, which saw nothing of it, goes on there.
    let stopped = server.stop().await;
    std::fs::copy(&copy, &file).unwrap();
    let server = stopped.start(clock.clock(), false).await.unwrap();
    lapse(&clock, &server).await;
    let mut of_tablet = Session::load(&tablet, &id).await.unwrap();
    of_tablet.claim().await.unwrap();
    of_tablet.write(b"tablet").await.unwrap();

    for session in [&mut of_phone, &mut of_laptop] {
        assert!(session.follow().await.unwrap_err().is("handoff.forked"));
        assert!(session.is_forked() && !session.is_held());
        assert_eq!(session.content(), b"phone", "nothing of it is lost");
        let before = server.dump(&["used_once"]).await;
        assert!(session.write(b"on").await.unwrap_err().is("handoff.forked"));
        assert!(session.volatile(b"on").await.unwrap_err().is("handoff.forked"));
        assert!(session.offer(Target::Device(tablet.did().clone())).await.err().unwrap().is("handoff.forked"));
        assert!(session.rekey().await.unwrap_err().is("handoff.forked"));
        assert!(session.claim().await.unwrap_err().is("handoff.forked"));
        assert!(session.request().await.err().unwrap().is("handoff.forked"));
        assert_eq!(server.dump(&["used_once"]).await, before);
    }
    // Nor after a start: what was seen is kept.
    assert!(Session::load(&phone, &id).await.err().unwrap().is("handoff.forked"));
    // Who saw one alone goes on.
    of_tablet.write(b"tablet, later").await.unwrap();

    let mut other = Session::load_other(&phone, &id).await.unwrap();
    assert_eq!((other.content(), other.is_forked(), other.is_held()), (&b"tablet, later"[..], true, false));
    assert!(other.write(b"on").await.unwrap_err().is("handoff.forked"));
    assert!(other.claim().await.unwrap_err().is("handoff.taken"), "somebody holds it");
    lapse(&clock, &server).await;
    other.claim().await.unwrap();
    assert!(!other.is_forked());
    other.write(b"tablet and phone").await.unwrap();

    if is_revoked {
        // Its word counts no more, and neither does what it says of a history: the other device ends the fork itself.
        assert!(person.revoke(&phone.enrolled().device_id).await.unwrap());
        assert!(of_laptop.follow().await.unwrap_err().is("handoff.forked"));
        let mut other = Session::load_other(&laptop, &id).await.unwrap();
        lapse(&clock, &server).await;
        other.claim().await.unwrap();
        other.write(b"tablet and phone").await.unwrap();
    }
    // Both are named: everybody goes on, whichever they knew, and has beside it what it knew of the other.
    of_laptop.follow().await.unwrap();
    let beside: Vec<_> = of_laptop.beside().iter().filter_map(|branch| branch.content.as_deref()).collect();
    assert_eq!(beside, [b"phone"]);
    of_tablet.follow().await.unwrap();
    assert!(of_tablet.beside().is_empty());
    for session in [&of_laptop, &of_tablet] {
        assert_eq!((session.content(), session.is_forked()), (&b"tablet and phone"[..], false));
    }
    assert!(is_revoked || Session::load(&phone, &id).await.unwrap().content() == b"tablet and phone");
    lapse(&clock, &server).await;
    of_tablet.follow().await.unwrap();
    of_tablet.claim().await.unwrap();
    of_tablet.write(b"on").await.unwrap();
    of_laptop.follow().await.unwrap();
    assert_eq!(of_laptop.content(), b"on");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_two_histories_writes_into_neither_until_a_claim_names_both() {
    Box::pin(fork(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_out_ends_no_fork() {
    Box::pin(fork(true)).await;
}

/// A claim ends a fork once the broker's acceptance of it was seen: with another in its place nothing is written, though the session is shared.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_acceptance_is_forged_ends_no_fork() {
    let clock = ManualClock::start();
    let (server, middle) = Server::behind(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    let id = Session::open_shared(&laptop, b"0").await.unwrap().id().clone();
    let stopped = server.stop().await;
    let (file, copy) = (stopped.file("broker.db"), stopped.file("copy.db"));
    std::fs::copy(&file, &copy).unwrap();
    let server = stopped.start(clock.clock(), false).await.unwrap();
    Session::load(&laptop, &id).await.unwrap().rekey().await.unwrap();
    let stopped = server.stop().await;
    std::fs::copy(&copy, &file).unwrap();
    let server = stopped.start(clock.clock(), false).await.unwrap();
    lapse(&clock, &server).await;
    Session::load(&tablet, &id).await.unwrap().claim().await.unwrap();
    lapse(&clock, &server).await;

    let mut other = Session::load_other(&laptop, &id).await.unwrap();
    let another = Arc::new(Mutex::new(None));
    let seen = another.clone();
    middle.meddle(move |asked| {
        let mut seen = seen.lock().unwrap();
        let mut answer: Value = serde_json::from_slice(&asked.answer).unwrap_or_default();
        match &*seen {
            None if asked.path.ends_with("/statements") => *seen = Some(answer["statements"][0]["accepted"].clone()),
            Some(another) if asked.path.ends_with("/claim") => {
                answer["accepted"] = another.clone();
                return Deed::Replace(answer.to_string().into_bytes());
            }
            _ => {}
        }
        Deed::Pass
    });
    Session::load_other(&laptop, &id).await.unwrap();
    assert!(another.lock().unwrap().is_some());
    assert!(other.claim().await.is_err());
    assert!(other.is_forked() && !other.is_held());
    let before = server.dump(&["used_once"]).await;
    assert!(other.write(b"on").await.unwrap_err().is("handoff.forked"));
    assert!(other.volatile(b"on").await.unwrap_err().is("handoff.forked"));
    assert_eq!(server.dump(&["used_once"]).await, before);
    // The broker had taken it all the same, and shows that it did: then it is over.
    let mut session = Session::load(&laptop, &id).await.unwrap();
    assert!(session.is_held() && !session.is_forked());
    assert!(matches!(session.write(b"on").await.unwrap(), Written::Session(_)));
}

/// A document's text comes together, whichever history it was written in; of a register the value in the history that goes on counts, however far the other
/// had come, and who had set another is told.
#[tokio::test(flavor = "multi_thread")]
async fn documents_come_together_after_a_fork() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let (phone, tablet) = (server.full(&mut person, "Phone").await, server.full(&mut person, "Tablet").await);
    let mut here = Document::open(&laptop).await.unwrap();
    write(&here, 0, "common ");
    here.save().await.unwrap();
    let id = here.session().id().clone();

    let stopped = server.stop().await;
    let (file, copy) = (stopped.file("broker.db"), stopped.file("copy.db"));
    std::fs::copy(&file, &copy).unwrap();
    let server = stopped.start(clock.clock(), false).await.unwrap();
    // To and fro, so that this history comes further than the other will.
    let (mut from, mut to) = (&laptop, &phone);
    for _ in 0..4 {
        here = hand_over(&mut here, to).await;
        std::mem::swap(&mut from, &mut to);
    }
    assert_eq!(here.session().epoch(), 5);
    write(&here, 0, "there ");
    here.set("position", &json!(1)).unwrap();
    here.save().await.unwrap();

    let stopped = server.stop().await;
    std::fs::copy(&copy, &file).unwrap();
    let server = stopped.start(clock.clock(), false).await.unwrap();
    lapse(&clock, &server).await;
    let mut theirs = Document::of(Session::load(&tablet, &id).await.unwrap()).await.unwrap().0;
    theirs.session_mut().claim().await.unwrap();
    write(&theirs, 0, "here ");
    theirs.set("position", &json!(2)).unwrap();
    theirs.save().await.unwrap();

    assert!(here.follow().await.unwrap_err().is("handoff.forked"));
    assert!(here.save().await.is_err_and(|why| why.is("handoff.forked")) || !here.session().is_held());
    lapse(&clock, &server).await;
    Session::load_other(&laptop, &id).await.unwrap().claim().await.unwrap();
    // And once more as after a start, from what it has kept: told anew, for nobody has been told in that run.
    for _ in 0..2 {
        let (document, changes) = Document::of(Session::load(&laptop, &id).await.unwrap()).await.unwrap();
        let outdone: Vec<_> = changes.outdone.iter().map(|one| (one.name.as_str(), one.value.clone())).collect();
        assert_eq!(outdone, [("position", json!(1))]);
        here = document;
        assert_eq!(here.state().get("position"), Some(json!(2)));
        assert!(["common ", "there ", "here "].iter().all(|word| text(&here).contains(word)), "{}", text(&here));
    }
    here.set("position", &json!(3)).unwrap();
    here.save().await.unwrap();
    theirs.follow().await.unwrap();
    assert_eq!(theirs.state().get("position"), Some(json!(3)));
    assert_eq!(text(&theirs), text(&here));
}
