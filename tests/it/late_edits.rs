//! Edits that come when their session has gone on: they are merged, or kept beside it, and hold up nobody.

use crate::merging::{hand_over, kept_in_a_file, started, text, write};
use crate::support::Server;
use baton_sdk::document::{Late, Outcome, Outdone, Replica};
use baton_sdk::yrs::{Text as _, Transact as _};
use baton_sdk::{Document, Session, Written, system_entropy};
use baton_service::testing::On;
use serde_json::json;

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
        assert_eq!(stale.save().await.unwrap(), None, "it lies beside");

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

/// What the laptop wrote without a network while it held the session, and only says after another start, when the phone has it: it goes beside, as of then.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_through_a_start_comes_late() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let dir = tempfile::tempdir().unwrap();
        let path = kept_in_a_file(&laptop, dir.path());
        let laptop = started(&server, &path);
        let mut here = Document::open(&laptop).await.unwrap();
        let id = here.session().id().clone();
        write(&here, 0, "bread");
        here.save().await.unwrap();
        let mut replica = Replica::load(&laptop, &id).unwrap().unwrap();
        let doc = replica.state().doc();
        doc.get_or_insert_text("notes").insert(&mut doc.transact_mut(), 0, "butter, ");
        replica.set("position", &json!(50)).unwrap();
        replica.keep().unwrap();
        let mut there = hand_over(&mut here, &phone).await;
        there.set("position", &json!(60)).unwrap();
        there.save().await.unwrap();

        let again = started(&server, &path);
        let (mut late, changes) = Document::of(Session::load(&again, &id).await.unwrap()).await.unwrap();
        let outdone = vec![Outdone { name: "position".into(), by: laptop.did().to_string(), value: json!(50) }];
        assert_eq!((changes.outdone, text(&late).as_str()), (outdone, "butter, bread"));
        assert_eq!(late.save().await.unwrap(), Some(Written::Branch { epoch: 2 }));
        assert_eq!(late.save().await.unwrap(), None, "it lies beside");
        let changes = there.follow().await.unwrap();
        assert_eq!(changes.late, [Late { device: laptop.did().clone(), epoch: 1, outcome: Outcome::Merged(Vec::new()) }]);
        assert_eq!((text(&there).as_str(), there.state().get("position")), ("butter, bread", Some(json!(60))));
        late.follow().await.unwrap();
        assert_eq!(late.save().await.unwrap(), None, "still");
        // What it sets now is of a time when it does not hold the session, and goes nowhere; what it writes goes beside, once.
        late.set("position", &json!(70)).unwrap();
        assert_eq!(late.save().await.unwrap(), None);
        write(&late, 0, "eggs, ");
        assert_eq!(late.save().await.unwrap(), Some(Written::Branch { epoch: 2 }));
        for _ in 0..2 {
            late.follow().await.unwrap();
            late.set("position", &json!(71)).unwrap();
            assert_eq!(late.save().await.unwrap(), None);
        }
    }
}

/// Nothing new is sealed under a key that somebody has who is out: a late edit waits until the session's holder has kept them out of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_is_not_for_who_is_out() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let [laptop, phone, lost] =
            [server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await, server.full(&mut person, "Lost").await];
        let mut here = Document::open(&laptop).await.unwrap();
        let mut stale = Document::of(Session::load(&laptop, here.session().id()).await.unwrap()).await.unwrap().0;
        let mut there = hand_over(&mut here, &phone).await;
        person.revoke(&lost.enrolled().device_id).await.unwrap();
        server.running.identity.pump().await.unwrap();
        laptop.members().await.unwrap();
        write(&stale, 0, "after that");
        assert!(stale.save().await.unwrap_err().is("state.rekey_required"));
        assert!(there.session().branches().await.unwrap().is_empty());
        phone.members().await.unwrap();
        write(&there, 0, "milk ");
        there.save().await.unwrap();
        stale.follow().await.unwrap();
        assert_eq!(stale.save().await.unwrap(), Some(Written::Branch { epoch: 2 }));
        there.follow().await.unwrap();
        assert!(text(&there).contains("after that") && text(&there).contains("milk"));
    }
}

/// F32: two devices that had the session write while a third has it.
#[tokio::test(flavor = "multi_thread")]
async fn two_who_were_away_are_both_merged() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let devices = [server.full(&mut person, "One").await, server.full(&mut person, "Two").await, server.full(&mut person, "Three").await];
    let mut document = Document::open(&devices[0]).await.unwrap();
    let id = document.session().id().clone();
    let mut away = Vec::new();
    for two in devices.windows(2) {
        away.push(Document::of(Session::load(&two[0], &id).await.unwrap()).await.unwrap().0);
        document = hand_over(&mut document, &two[1]).await;
    }
    for (n, late) in away.iter_mut().enumerate() {
        write(late, 0, &format!("{n} "));
        late.set("position", &json!(n)).unwrap();
        assert!(matches!(late.save().await.unwrap(), Some(Written::Branch { .. })));
    }
    let late = document.follow().await.unwrap().late;
    assert!(late.iter().all(|one| matches!(one.outcome, Outcome::Merged(_))) && late.len() == 2);
    assert!(text(&document).contains("0 ") && text(&document).contains("1 "));
    assert_eq!(document.state().get("position"), Some(json!(1)), "the later epoch's");
    document.save().await.unwrap();
    for one in &mut away {
        one.follow().await.unwrap();
        assert_eq!(text(one), text(&document));
    }
}

/// What lies beside a session keeps nobody from its document: what cannot be read, what is of a device that is out, and what would be too much for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_edit_holds_up_nobody() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
    let mut here = Document::open(&laptop).await.unwrap();
    let id = here.session().id().clone();
    write(&here, 0, "bread");
    here.save().await.unwrap();
    let stale = async || Document::of(Session::load(&laptop, &id).await.unwrap()).await.unwrap().0;
    let (mut one, mut two, mut three) = (stale().await, stale().await, stale().await);
    let mut there = hand_over(&mut here, &phone).await;

    // Too much: what it would bring the document to could not be written any more.
    let noise: String = system_entropy().bytes::<32768>().map(|byte| char::from(b'a' + byte % 26)).iter().collect();
    for _ in 0..5 {
        write(&one, 0, &noise);
    }
    assert!(matches!(one.save().await.unwrap(), Some(Written::Branch { .. })));
    for _ in 0..5 {
        write(&one, 0, &noise);
    }
    assert_eq!(one.save().await.unwrap_err().code(), Some("state.size"));
    let changes = there.follow().await.unwrap();
    assert!(matches!(&changes.late[..], [Late { outcome: Outcome::Beside(_), .. }]));

    // By a device that is out: the person looks at it, and takes it in or does not.
    write(&two, 0, "butter, ");
    two.save().await.unwrap();
    let last = server.full(&mut person, "Last").await;
    person.revoke(&laptop.enrolled().device_id).await.unwrap();
    let mut fresh = Document::of(Session::load(&phone, &id).await.unwrap()).await.unwrap().0;
    assert_eq!(text(&fresh), "bread");
    let changes = fresh.follow().await.unwrap();
    let [Late { outcome: Outcome::Beside(_), .. }, Late { outcome: Outcome::Beside(content), .. }] = &changes.late[..] else {
        panic!("{changes:?}");
    };
    assert!(fresh.merge(content).unwrap().changed);
    assert_eq!(text(&fresh), "butter, bread");
    assert!(matches!(fresh.save().await.unwrap(), Some(Written::Session(_))));
    write(&three, 0, "no");
    assert!(three.save().await.is_err());

    // A device that came after the key they are under.
    write(&fresh, 0, "milk, ");
    fresh.save().await.unwrap();
    let (document, changes) = Document::of(Session::load(&last, &id).await.unwrap()).await.unwrap();
    assert_eq!(text(&document), "milk, butter, bread");
    assert!(changes.late.iter().all(|late| late.outcome == Outcome::Unreadable) && changes.late.len() == 2);
}
