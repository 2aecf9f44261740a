//! Sessions that hold documents: what two devices wrote is all there in the end, whoever was first, and whoever was away.

use crate::middle::Deed;
use crate::support::Server;
use baton_protocol::handoff::machine::Target;
use baton_sdk::document::{Changes, Late, Outcome, Outdone, Replica, State};
use baton_sdk::keystore::Keystore;
use baton_sdk::yrs::{GetString as _, Text as _, Transact as _};
use baton_sdk::{Device, Document, Session, Waiting, Written, system_entropy};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub fn write(document: &Document, at: u32, text: &str) {
    let doc = document.state().doc();
    doc.get_or_insert_text("notes").insert(&mut doc.transact_mut(), at, text);
}

pub fn notes(state: &State) -> String {
    let doc = state.doc();
    doc.get_or_insert_text("notes").get_string(&doc.transact())
}

pub fn text(document: &Document) -> String {
    notes(document.state())
}

/// A device's keystore, in a file of this folder.
pub fn kept_in_a_file(device: &Device, dir: &Path) -> PathBuf {
    let path = dir.join("device.key");
    drop(Keystore::create(&path, "a passphrase", &device.kept(), &system_entropy()).unwrap());
    path
}

/// The device as it starts from that file.
pub fn started(server: &Server, path: &Path) -> Arc<Device> {
    let (keystore, kept) = Keystore::open(path, "a passphrase", &system_entropy()).unwrap();
    Arc::new(Device::from_kept(keystore, kept, server.http()).unwrap().unwrap())
}

pub async fn hand_over(document: &mut Document, to: &Arc<Device>) -> Document {
    let offered = document.session().offer(Target::Device(to.did().clone())).await.unwrap();
    let waiting = Waiting::list(to).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    document.session_mut().seal(&offered).await.unwrap();
    let (document, changes) = Document::of(waiting.complete().await.unwrap()).await.unwrap();
    assert!(changes.late.is_empty());
    document
}

/// What a session is read on to behind its document's back is in what the document writes.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_over_what_was_read() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
    let mut here = Document::open_shared(&laptop).await.unwrap();
    let mut there = Document::of(Session::load(&phone, here.session().id()).await.unwrap()).await.unwrap().0;
    write(&there, 0, "milk ");
    there.save().await.unwrap();
    here.session_mut().follow().await.unwrap();
    write(&here, 0, "bread ");
    here.save().await.unwrap();
    let read = Document::of(Session::load(&phone, here.session().id()).await.unwrap()).await.unwrap().0;
    assert!(text(&read).contains("milk ") && text(&read).contains("bread "), "{}", text(&read));
    assert_eq!(here.follow().await.unwrap().by, [phone.did().clone()], "and who wrote it is told");
    // A race that is lost is told as well.
    there.follow().await.unwrap();
    write(&there, 0, "eggs ");
    there.save().await.unwrap();
    write(&here, 0, "butter ");
    here.save().await.unwrap();
    let changes = here.follow().await.unwrap();
    assert_eq!((changes.changed, changes.by), (true, vec![phone.did().clone()]));
}

/// A value that was set here and never reached the session, in whose place another's stands, is told once, also after another start. One that reached it is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_here_and_overtaken_is_told() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let dir = tempfile::tempdir().unwrap();
        let path = kept_in_a_file(&laptop, dir.path());
        let laptop = started(&server, &path);
        let mut here = Document::open_shared(&laptop).await.unwrap();
        let id = here.session().id().clone();
        let mut there = Document::of(Session::load(&phone, &id).await.unwrap()).await.unwrap().0;
        let mut set_there = async |positions: &[i64]| {
            there.follow().await.unwrap();
            for position in positions {
                there.set("position", &json!(position)).unwrap();
            }
            there.save().await.unwrap();
        };
        let overtaken = |position: i64| vec![Outdone { name: "position".into(), by: laptop.did().to_string(), value: json!(position) }];

        here.set("position", &json!(43)).unwrap();
        here.save().await.unwrap();
        set_there(&[60]).await;
        assert_eq!(here.follow().await.unwrap().outdone, [], "it had reached the session");
        here.set("position", &json!(50)).unwrap();
        set_there(&[61, 62]).await;
        assert_eq!(here.follow().await.unwrap().outdone, overtaken(50));
        assert_eq!(here.follow().await.unwrap().outdone, [], "told once");
        assert_eq!(here.state().get("position"), Some(json!(62)));

        // Kept by one run, told by the next.
        here.set("position", &json!(51)).unwrap();
        here.keep().unwrap();
        set_there(&[63, 64]).await;
        drop(here);
        let again = async |laptop: Arc<Device>| Document::of(Session::load(&laptop, &id).await.unwrap()).await.unwrap();
        let (mut here, changes) = again(started(&server, &path)).await;
        assert_eq!(changes.outdone, overtaken(51));
        here.set("position", &json!(52)).unwrap();
        here.save().await.unwrap();
        set_there(&[65]).await;
        drop(here);
        let mut here = again(started(&server, &path)).await;
        assert_eq!(here.1.outdone, [], "that one had reached the session");

        // One window sets and keeps; another, which has the other device's value already, keeps as well: it is not forgotten.
        let mut other = again(started(&server, &path)).await.0;
        other.set("position", &json!(53)).unwrap();
        other.keep().unwrap();
        set_there(&[66, 67]).await;
        drop(other);
        here.0.follow().await.unwrap();
        assert_eq!(again(started(&server, &path)).await.1.outdone, overtaken(53));
        // And what its own other window sets takes nothing from anybody.
        let (mut one, mut two) = (again(laptop.clone()).await.0, again(laptop.clone()).await.0);
        one.set("position", &json!(54)).unwrap();
        for position in [55, 56] {
            two.set("position", &json!(position)).unwrap();
        }
        two.save().await.unwrap();
        assert_eq!(one.follow().await.unwrap().outdone, []);
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
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
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

/// A device that is started without a network has its documents as it left them, and its person goes on writing; sealed, to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn documents_are_there_without_a_network() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let memory = server.full(&mut person, "Laptop").await;
    let dir = tempfile::tempdir().unwrap();
    let path = kept_in_a_file(&memory, dir.path());
    let start = || started(&server, &path);
    let laptop = start();
    assert!(Replica::list(&laptop).unwrap().is_empty());
    let mut document = Document::open(&laptop).await.unwrap();
    write(&document, 0, "bread");
    document.set("position", &json!(43)).unwrap();
    document.save().await.unwrap();
    write(&document, 5, ", milk");
    document.keep().unwrap();
    let id = document.session().id().clone();
    drop(document);

    // Another run, which asks nobody anything.
    let laptop = start();
    assert_eq!(Replica::list(&laptop).unwrap(), std::slice::from_ref(&id));
    let mut replica = Replica::load(&laptop, &id).unwrap().unwrap();
    assert_eq!((notes(replica.state()).as_str(), replica.state().get("position")), ("bread, milk", Some(json!(43))));
    let doc = replica.state().doc();
    doc.get_or_insert_text("notes").insert(&mut doc.transact_mut(), 0, "butter, ");
    replica.set("position", &json!(50)).unwrap();
    replica.keep().unwrap();
    let file = std::fs::read(path.with_extension("key.documents").join(id.as_str())).unwrap();
    assert!(!file.windows(5).any(|window| window == b"bread"));
    let theirs = server.full(&mut person, "Another").await;
    assert!(Replica::load(&theirs, &id).unwrap().is_none());

    // And one with a network.
    let laptop = start();
    let mut document = Document::of(Session::load(&laptop, &id).await.unwrap()).await.unwrap().0;
    assert_eq!((text(&document).as_str(), document.state().get("position")), ("butter, bread, milk", Some(json!(50))));
    assert!(matches!(document.save().await.unwrap(), Some(Written::Session(_))));
    let mut there = Document::of(Session::load(&theirs, &id).await.unwrap()).await.unwrap().0;
    assert_eq!(text(&there), "butter, bread, milk");
    assert_eq!(there.save().await.unwrap(), None);

    // What is damaged is said to be, and what is forgotten is gone.
    let damaged = path.with_extension("key.documents").join(id.as_str());
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    assert!(Replica::load(&laptop, &id).is_err());
    // It holds up nobody: it is set aside, and the document is what the session has.
    let (document, changes) = Document::of(Session::load(&laptop, &id).await.unwrap()).await.unwrap();
    assert!(changes.set_aside && Replica::load(&laptop, &id).unwrap().is_none());
    assert_eq!(text(&document), "butter, bread, milk");
    assert_eq!(std::fs::read(damaged.with_file_name(format!("damaged-{id}"))).unwrap(), bytes);
    document.keep().unwrap();
    assert!(!Document::of(Session::load(&laptop, &id).await.unwrap()).await.unwrap().1.set_aside);
    std::fs::write(&damaged, &bytes).unwrap();
    Replica::forget(&laptop, &id).unwrap();
    assert!(Replica::load(&laptop, &id).unwrap().is_none() && Replica::list(&laptop).unwrap().is_empty());
}

/// F31: a device that is revoked while it is away is refused when it comes back, and its person still has what they wrote there.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_while_away_keeps_what_they_wrote() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (memory, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
    let dir = tempfile::tempdir().unwrap();
    let path = kept_in_a_file(&memory, dir.path());
    let start = || started(&server, &path);
    let laptop = start();
    let mut document = Document::open(&laptop).await.unwrap();
    let id = document.session().id().clone();
    let shared = Document::open(&phone).await.unwrap();
    write(&document, 0, " and on deck");
    document.keep().unwrap();
    // Started anew on a boat.
    let replica = Replica::load(&start(), &id).unwrap().unwrap();
    let doc = replica.state().doc();
    doc.get_or_insert_text("notes").insert(&mut doc.transact_mut(), 0, "written on a boat");
    replica.keep().unwrap();
    clock.advance_secs(30 * 24 * 3600);
    person.unlock().await.unwrap();
    person.revoke(&laptop.enrolled().device_id).await.unwrap();
    server.running.identity.pump().await.unwrap();
    // Neither the run from before nor another gets it in, and both leave it where it is.
    assert_eq!(document.save().await.unwrap_err().code(), Some("status.revoked"));
    assert_eq!(Session::load(&start(), &id).await.err().unwrap().code(), Some("status.revoked"));
    assert_eq!(notes(Replica::load(&start(), &id).unwrap().unwrap().state()), "written on a boat and on deck");
    // The other device's is not harmed, and it claims what the one that is out had held.
    assert_eq!(text(&shared), "");
    let mut session = Session::load(&phone, &id).await.unwrap();
    session.claim().await.unwrap();
    let mut there = Document::of(session).await.unwrap().0;
    write(&there, 0, "goes on");
    assert!(matches!(there.save().await.unwrap(), Some(Written::Session(_))));
}

/// What a device sets of a session that another holds reaches nobody: it sees what all others see, and its person is told what it had set.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_without_holding_it_gives_way() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let memory = server.full(&mut person, "Laptop").await;
    let (dir, phone) = (tempfile::tempdir().unwrap(), server.full(&mut person, "Phone").await);
    let path = kept_in_a_file(&memory, dir.path());
    let laptop = started(&server, &path);
    let mut here = Document::open(&laptop).await.unwrap();
    let id = here.session().id().clone();
    here.set("position", &json!(43)).unwrap();
    here.save().await.unwrap();
    let mut there = hand_over(&mut here, &phone).await;
    there.set("position", &json!(60)).unwrap();
    there.save().await.unwrap();
    here.follow().await.unwrap();
    here.set("position", &json!(50)).unwrap();
    assert_eq!(here.save().await.unwrap(), None, "there is nothing that anybody would take");
    // Offline it had set another as well.
    let mut replica = Replica::load(&laptop, &id).unwrap().unwrap();
    assert_eq!(replica.state().get("position"), Some(json!(60)));
    replica.set("rate", &json!(2)).unwrap();
    replica.keep().unwrap();
    let told = |changes: &Changes| changes.outdone.iter().map(|one| (one.name.clone(), one.value.clone())).collect::<Vec<_>>();
    let both = [("position".to_owned(), json!(50)), ("rate".to_owned(), json!(2))];
    // In this run or in another, once.
    let (mut another, changes) = Document::of(Session::load(&started(&server, &path), &id).await.unwrap()).await.unwrap();
    assert_eq!((&told(&changes)[..], changes.changed), (&both[..], true));
    let changes = here.follow().await.unwrap();
    assert_eq!((&told(&changes)[..], changes.changed), (&both[..], true));
    for document in [&mut here, &mut another] {
        let changes = document.follow().await.unwrap();
        assert_eq!((told(&changes), changes.changed), (vec![], false));
        assert_eq!((document.state().get("position"), document.state().get("rate")), (Some(json!(60)), None));
    }
    here.keep().unwrap();
    assert_eq!(told(&Document::of(Session::load(&started(&server, &path), &id).await.unwrap()).await.unwrap().1), []);
    // Who holds it sets it.
    there.follow().await.unwrap();
    there.set("position", &json!(61)).unwrap();
    there.save().await.unwrap();
    assert_eq!(here.follow().await.unwrap().outdone, []);
    assert_eq!(here.state().get("position"), Some(json!(61)));
}

/// Two runs that keep the same document at the same time: both are kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_runs_keep_is_all_kept() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let memory = server.full(&mut person, "Laptop").await;
    let dir = tempfile::tempdir().unwrap();
    let path = kept_in_a_file(&memory, dir.path());
    let id = Document::open(&memory).await.unwrap().session().id().clone();
    let mut runs = Vec::new();
    for n in 0..8 {
        let device = started(&server, &path);
        let document = Document::of(Session::load(&device, &id).await.unwrap()).await.unwrap().0;
        write(&document, 0, &format!("<{n}>"));
        runs.push(tokio::task::spawn_blocking(move || document.keep()));
    }
    for run in runs {
        run.await.unwrap().unwrap();
    }
    let device = started(&server, &path);
    let all = notes(Replica::load(&device, &id).unwrap().unwrap().state());
    assert!((0..8).all(|n| all.contains(&format!("<{n}>"))), "{all}");
}

/// A document that every full device writes into, whoever holds it; the twin that is exclusive refuses the second writer.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_document_is_written_by_all() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let tv = server.limited(&mut person, "Television").await;
        let mut here = Document::open_shared(&laptop).await.unwrap();
        let id = here.session().id().clone();
        let mut there = Document::of(Session::load(&phone, &id).await.unwrap()).await.unwrap().0;
        for n in 0..3 {
            write(&here, 0, &format!("here {n}. "));
            write(&there, 0, &format!("there {n}. "));
            let (one, two) = tokio::join!(here.save(), there.save());
            assert!(matches!((one.unwrap(), two.unwrap()), (Some(Written::Session(_)), Some(Written::Session(_)))));
        }
        let changes = here.follow().await.unwrap();
        assert!(changes.by.is_empty() || changes.by == [phone.did().clone()]);
        there.follow().await.unwrap();
        assert_eq!(text(&here), text(&there));
        assert!((0..3).all(|n| text(&here).contains(&format!("here {n}. ")) && text(&here).contains(&format!("there {n}. "))));
        assert!(Session::load(&tv, &id).await.unwrap_err().is("not_found"));
        assert_eq!((here.session().epoch(), here.session().is_held(), there.session().is_held()), (1, true, false));

        // It is handed over like any other, and who had it goes on writing.
        let mut held = hand_over(&mut here, &phone).await;
        write(&here, 0, "after. ");
        assert!(matches!(here.save().await.unwrap(), Some(Written::Session(_))));
        let changes = held.follow().await.unwrap();
        assert_eq!((changes.changed, changes.by), (true, vec![laptop.did().clone()]));
        assert!(text(&held).starts_with("after. "));

        // A device that is out is not written to by anybody, and the holder brings in a new key.
        person.revoke(&laptop.enrolled().device_id).await.unwrap();
        write(&here, 0, "out. ");
        assert!(here.save().await.is_err());
        write(&held, 0, "on. ");
        held.save().await.unwrap();
        held.follow().await.unwrap();
        assert!(!text(&held).contains("out. ") && text(&held).starts_with("on. "));

        let other = server.full(&mut person, "Other").await;
        let one = Document::open(&phone).await.unwrap();
        let mut other = Session::load(&other, one.session().id()).await.unwrap();
        assert!(other.write(b"x").await.unwrap_err().is("handoff.not_holder"));
    }
}

/// A holder that writes what is no document over it locks nobody out: the others go on with what they have.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_over_a_document_locks_nobody_out() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
    let mut here = Document::open_shared(&laptop).await.unwrap();
    write(&here, 0, "bread");
    here.save().await.unwrap();
    let mut there = Document::of(Session::load(&phone, here.session().id()).await.unwrap()).await.unwrap().0;
    here.session_mut().write(b"\0").await.unwrap();
    let changes = there.follow().await.unwrap();
    let beside = Late { device: laptop.did().clone(), epoch: 1, outcome: Outcome::Beside(b"\0".to_vec()) };
    assert_eq!((changes.changed, changes.late), (false, vec![beside]));
    write(&there, 5, ", milk");
    there.keep().unwrap();
    drop(there);
    // Started again, it has what it kept.
    let (mut there, changes) = Document::of(Session::load(&phone, here.session().id()).await.unwrap()).await.unwrap();
    assert_eq!((text(&there).as_str(), changes.late.len()), ("bread, milk", 1));
    assert!(matches!(there.save().await.unwrap(), Some(Written::Session(_))));
    let (read, changes) = Document::of(Session::load(&laptop, here.session().id()).await.unwrap()).await.unwrap();
    assert_eq!((text(&read).as_str(), changes.late.len()), ("bread, milk", 0));
    here.follow().await.unwrap();
    assert_eq!(text(&here), "bread, milk");
}
