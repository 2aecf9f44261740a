//! What a device wrote into a shared session that is out by the time it is read.

use crate::merging::{text, write};
use crate::support::Server;
use baton::person::Person;
use baton_protocol::id::SessionId;
use baton_sdk::document::{Changes, Late, Outcome};
use baton_sdk::{Device, Document, Session, Written};
use baton_service::testing::On;
use std::sync::Arc;

/// A shared document of a laptop that says "bread", and two more devices of its person.
struct Bread {
    server: Server,
    person: Person,
    laptop: Arc<Device>,
    phone: Arc<Device>,
    other: Arc<Device>,
    here: Document,
    id: SessionId,
}

impl Bread {
    async fn shared() -> Self {
        let server = Server::start(On::Sqlite).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        let other = server.full(&mut person, "Other").await;
        let mut here = Document::open_shared(&laptop).await.unwrap();
        let id = here.session().id().clone();
        write(&here, 0, "bread");
        here.save().await.unwrap();
        Self { server, person, laptop, phone, other, here, id }
    }
}

/// What a device that is out wrote last into a shared session, and nobody had seen, may have been written just now with the key it had: it stands beside.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_out_wrote_nothing_new() {
    let Bread { server, mut person, laptop, phone, other, mut here, id } = Bread::shared().await;
    let mut seen = Document::of(Session::load(&phone, &id).await.unwrap()).await.unwrap().0;
    let mut out = Document::of(Session::load(&other, &id).await.unwrap()).await.unwrap().0;
    write(&out, 0, "butter, ");
    out.save().await.unwrap();
    // The laptop reads it in good time, the phone does not.
    here.follow().await.unwrap();
    person.revoke(&other.enrolled().device_id).await.unwrap();
    let changes = seen.follow().await.unwrap();
    assert!(matches!(&changes.late[..], [Late { outcome: Outcome::Beside(_), .. }]), "{changes:?}");
    assert_eq!((text(&seen).as_str(), text(&here).as_str()), ("bread", "butter, bread"));
    // However often it looks, and after it was started again.
    seen.follow().await.unwrap();
    assert_eq!(text(&seen), "bread");
    assert_eq!(text(&Document::of(Session::load(&phone, &id).await.unwrap()).await.unwrap().0), "bread");
    // The laptop, which holds it, brings in a new key though it has nothing to save; then the phone writes, and has what the laptop wrote on.
    here.follow().await.unwrap();
    assert_eq!(here.save().await.unwrap(), None);
    // Whoever is enrolled now has the new key alone, and reads from where it begins.
    let newcomer = server.full(&mut person, "Newcomer").await;
    write(&here, 0, "milk, ");
    here.save().await.unwrap();
    write(&seen, 5, "!");
    assert!(matches!(seen.save().await.unwrap(), Some(Written::Session(_))));
    here.follow().await.unwrap();
    assert_eq!((text(&seen), text(&here).as_str()), (text(&here), "milk, butter, bread!"));
    laptop.members().await.unwrap();
    write(&here, 0, "eggs, ");
    here.save().await.unwrap();
    assert_eq!(text(&Document::of(Session::load(&newcomer, &id).await.unwrap()).await.unwrap().0), text(&here));
}

/// And what nobody had seen in time is written over by nobody: whoever reads on finds it beside the session.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_wrote_that_is_out_stays() {
    let Bread { server: _server, person, laptop, phone, other, mut here, id } = Bread::shared().await;
    let mut out = Document::of(Session::load(&other, &id).await.unwrap()).await.unwrap().0;
    write(&out, 0, "butter, ");
    out.save().await.unwrap();
    person.revoke(&other.enrolled().device_id).await.unwrap();
    let beside = |changes: &Changes| -> Vec<Vec<u8>> {
        let content = |late: &Late| if let Outcome::Beside(content) = &late.outcome { Some(content.clone()) } else { None };
        changes.late.iter().filter_map(content).collect()
    };
    let told = beside(&here.follow().await.unwrap());
    assert_eq!(told.len(), 1);
    write(&here, 0, "milk, ");
    here.save().await.unwrap();
    for device in [&laptop, &phone] {
        let (mut document, changes) = Document::of(Session::load(device, &id).await.unwrap()).await.unwrap();
        assert_eq!((text(&document).as_str(), beside(&changes)), ("milk, bread", told.clone()));
        document.merge(&told[0]).unwrap();
        assert!(text(&document).contains("butter, "), "if the person says so");
    }
    // Once it is in, nobody is asked any more.
    here.merge(&told[0]).unwrap();
    here.save().await.unwrap();
    for device in [&laptop, &phone] {
        let (document, changes) = Document::of(Session::load(device, &id).await.unwrap()).await.unwrap();
        assert!(text(&document).contains("butter, ") && beside(&changes).is_empty());
    }
}
