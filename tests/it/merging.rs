//! Sessions that hold documents: what two devices wrote is all there in the end, whoever was first, and whoever was away.

use crate::middle::{Deed, Middle};
use crate::support::Server;
use baton_protocol::handoff::machine::Target;
use baton_sdk::document::{Late, Outcome, Outdone};
use baton_sdk::yrs::{GetString as _, Text as _, Transact as _};
use baton_sdk::{Device, Document, Session, Waiting, Written};
use baton_service::base::system_clock;
use baton_service::testing::On;
use serde_json::json;
use std::sync::Arc;

fn write(document: &Document, at: u32, text: &str) {
    let doc = document.state().doc();
    doc.get_or_insert_text("notes").insert(&mut doc.transact_mut(), at, text);
}

fn text(document: &Document) -> String {
    let doc = document.state().doc();
    doc.get_or_insert_text("notes").get_string(&doc.transact())
}

async fn hand_over(document: &mut Document, to: &Arc<Device>) -> Document {
    let offered = document.session().offer(Target::Device(to.did().clone())).await.unwrap();
    let waiting = Waiting::list(to).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    document.session_mut().seal(&offered).await.unwrap();
    let (document, changes) = Document::of(waiting.complete().await.unwrap()).await.unwrap();
    assert!(changes.late.is_empty());
    document
}

/// The laptop goes on writing while the phone has the session: offline, or because nobody told it. What it wrote is in the document in the end, and the
/// phone's person is told which position it had.
#[tokio::test(flavor = "multi_thread")]
async fn who_writes_too_late_is_merged() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let mut here = Document::open(&laptop).await.unwrap();
        write(&here, 0, "bread");
        here.set("position", &json!(43)).unwrap();
        assert!(matches!(here.save().await.unwrap(), Some(Written::Session(_))));
        assert_eq!(here.save().await.unwrap(), None, "it is there");
        let mut stale = Document::of(Session::load(&laptop, here.session().id()).await.unwrap()).await.unwrap().0;

        let mut there = hand_over(&mut here, &phone).await;
        assert_eq!((text(&there).as_str(), there.state().get("position")), ("bread", Some(json!(43))));
        write(&there, 5, ", milk");
        there.set("position", &json!(60)).unwrap();
        there.save().await.unwrap();

        write(&stale, 0, "butter, ");
        stale.set("position", &json!(50)).unwrap();
        assert_eq!(stale.save().await.unwrap(), Some(Written::Branch { epoch: 2 }));

        let changes = there.follow().await.unwrap();
        let outdone = vec![Outdone { name: "position".into(), by: laptop.did().to_string(), value: json!(50) }];
        assert!(changes.changed);
        assert_eq!(changes.late, [Late { device: laptop.did().clone(), epoch: 1, outcome: Outcome::Merged(outdone) }]);
        assert_eq!((text(&there).as_str(), there.state().get("position")), ("butter, bread, milk", Some(json!(60))));
        assert!(matches!(there.save().await.unwrap(), Some(Written::Session(_))));

        // The same on the laptop, which does not hold it.
        stale.follow().await.unwrap();
        assert_eq!((text(&stale), stale.state().get("position")), (text(&there), Some(json!(60))));
        assert!(!stale.follow().await.unwrap().changed);
        assert_eq!(stale.save().await.unwrap(), None);
    }
}

/// Two windows of one device: the second to save takes in what the first has written.
#[tokio::test(flavor = "multi_thread")]
async fn two_windows_write_into_one_document() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let mut one = Document::open(&laptop).await.unwrap();
    let mut two = Document::of(Session::load(&laptop, one.session().id()).await.unwrap()).await.unwrap().0;
    write(&one, 0, "one ");
    write(&two, 0, "two ");
    one.save().await.unwrap();
    assert!(matches!(two.save().await.unwrap(), Some(Written::Session(_))));
    assert!(text(&two).contains("one ") && text(&two).contains("two "));
    one.follow().await.unwrap();
    assert_eq!(text(&one), text(&two));
}

/// Away from the network everything stays where it was written, and is saved once there is one, also when the server had it already and only its answer was lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_offline_is_saved_later() {
    let middle = Middle::listen().await;
    let url = middle.url.clone();
    let server = Server::start_with(On::Sqlite, system_clock(), |config| config.public_url = url).await;
    middle.before(server.direct());
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let mut document = Document::open(&laptop).await.unwrap();
    for word in ["one ", "two "] {
        middle.meddle(|seen| if seen.path.ends_with("/updates") { Deed::LoseAnswer } else { Deed::Pass });
        write(&document, 0, word);
        assert!(document.save().await.is_err());
        middle.meddle(|_| Deed::Pass);
        write(&document, 0, "then ");
        assert!(matches!(document.save().await.unwrap(), Some(Written::Session(_))));
    }
    let read = Document::of(Session::load(&laptop, document.session().id()).await.unwrap()).await.unwrap().0;
    assert_eq!((text(&read).as_str(), text(&document).as_str()), ("then two then one ", "then two then one "));
}

/// Content that is no document is an app's own matter: said so, and kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_document_stays_what_it_is() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let bytes = Session::open(&laptop, b"00:43").await.unwrap();
    let refused = Document::of(Session::load(&laptop, bytes.id()).await.unwrap()).await.err().unwrap();
    assert_eq!(refused.code(), Some("state.form"));
    let phone = server.full(&mut person, "Phone").await;
    let mut document = Document::open(&laptop).await.unwrap();
    let mut stale = Session::load(&laptop, document.session().id()).await.unwrap();
    let mut there = hand_over(&mut document, &phone).await;
    stale.write(b"00:44").await.unwrap();
    let changes = there.follow().await.unwrap();
    assert_eq!((changes.changed, &changes.late[0].outcome), (false, &Outcome::Beside(b"00:44".to_vec())));
}
