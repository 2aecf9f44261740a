//! What a snapshot covers is forgotten once every member has it, and no sooner; whoever was away for longer loses nothing.

use crate::attacks::Rig;
use crate::support::Server;
use baton_sdk::document::Outcome;
use baton_sdk::yrs::{GetString as _, Text as _, Transact as _};
use baton_sdk::{Document, Session, Written};
use baton_service::testing::{ManualClock, On};
use serde_json::json;
use sqlx::Connection as _;

/// The numbers of the updates that are kept.
async fn kept(server: &Server, session: &Session) -> Vec<i64> {
    let mut db = sqlx::AnyConnection::connect(&server.database("broker")).await.unwrap();
    let table = if server.database("broker").starts_with("sqlite") { "updates" } else { "broker.updates" };
    let sql = sqlx::AssertSqlSafe(format!("SELECT seq FROM {table} WHERE session_id = $1 ORDER BY seq"));
    let rows: Vec<(i64,)> = sqlx::query_as(sql).bind(session.id().as_str()).fetch_all(&mut db).await.unwrap();
    db.close().await.unwrap();
    rows.into_iter().map(|(seq,)| seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_covers_goes_once_every_member_has_it() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
        // A limited device is no member: nobody waits for it.
        let _tv = server.limited(&mut person, "Television").await;
        let mut session = Session::open(&laptop, b"0").await.unwrap();
        let mut behind = Session::load(&phone, session.id()).await.unwrap();
        for n in 1..=40 {
            session.write(n.to_string().as_bytes()).await.unwrap();
        }
        // The thirty-third after the first is all of it anew, and the phone has not seen it.
        assert_eq!(kept(&server, &session).await, (1..=41).collect::<Vec<_>>());
        behind.follow().await.unwrap();
        assert_eq!(behind.content(), b"40");
        // It has read it: what it makes of it is said when it reads on.
        assert_eq!(kept(&server, &session).await.len(), 41);
        behind.follow().await.unwrap();
        assert_eq!(kept(&server, &session).await, (34..=41).collect::<Vec<_>>());
        // Both read on from there, whoever saw what before; one that comes new as well.
        session.write(b"41").await.unwrap();
        behind.follow().await.unwrap();
        let other = server.full(&mut person, "Other").await;
        let fresh = Session::open(&other, b"its own").await.unwrap();
        session.follow().await.unwrap();
        assert_eq!((behind.content(), session.content(), fresh.content()), (&b"41"[..], &b"41"[..], &b"its own"[..]));
        // The other is a member, and has not said that it has anything.
        for n in 1..=40 {
            session.write(n.to_string().as_bytes()).await.unwrap();
        }
        for _ in 0..2 {
            behind.follow().await.unwrap();
        }
        assert_eq!(kept(&server, &session).await[0], 34);
        person.revoke(&other.enrolled().device_id).await.unwrap();
        for n in 1..=40 {
            session.write(n.to_string().as_bytes()).await.unwrap();
        }
        for _ in 0..2 {
            behind.follow().await.unwrap();
        }
        assert!(kept(&server, &session).await[0] > 70, "nobody waits for who is out");
    }
}

/// A member that stays away holds nothing up for ever, and what it writes after that is kept beside the session.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_for_longer_loses_nothing() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, phone) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Phone").await);
    let mut document = Document::open(&phone).await.unwrap();
    let note = |document: &Document, text: &str| {
        let doc = document.state().doc();
        doc.get_or_insert_text("notes").insert(&mut doc.transact_mut(), 0, text);
    };
    note(&document, "written at sea. ");
    document.keep().unwrap();
    let pass = async |days: i64| {
        clock.advance_secs(days * 24 * 3600);
        server.running.identity.pump().await.unwrap();
    };
    pass(1).await;
    let mut session = Session::load(&laptop, document.session().id()).await.unwrap();
    session.claim().await.unwrap();
    let mut there = Document::of(session).await.unwrap().0;
    for n in 0..70 {
        note(&there, &format!("{n} "));
        there.save().await.unwrap();
    }
    assert_eq!(kept(&server, there.session()).await[0], 1);
    pass(31).await;
    for n in 0..40 {
        note(&there, &format!("{n} "));
        there.save().await.unwrap();
    }
    assert!(kept(&server, there.session()).await[0] > 60);
    assert!(matches!(document.save().await.unwrap(), Some(Written::Branch { .. })));
    let late = there.follow().await.unwrap().late;
    assert!(matches!(late[0].outcome, Outcome::Merged(_)), "{late:?}");
    let doc = there.state().doc();
    assert!(doc.get_or_insert_text("notes").get_string(&doc.transact()).contains("written at sea. "));
}

/// Nobody says it for an update that is not there, or of somebody else's session.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_acknowledged() {
    let rig = Rig::new(On::Sqlite).await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{}/acknowledge", session.id());
    let head = json!({"seq": session.head().seq, "hash": session.head().hash});
    let ask = async |body: &serde_json::Value| rig.to_broker(&rig.laptop, "POST", &path, "session:read", Some(body)).await;
    for wrong in
        [json!({"seq": 1, "hash": "another"}), json!({"seq": 2, "hash": session.head().hash}), json!({"seq": 0, "hash": session.head().hash})]
    {
        rig.refuse(&ask(&wrong).await, 409, "state.conflict", "conflict").await;
    }
    let theirs = rig.server.full(&mut rig.server.person().await, "Theirs").await;
    rig.refuse(&rig.to_broker(&theirs, "POST", &path, "session:read", Some(&head)).await, 404, "not_found", "not found").await;
    assert_eq!(rig.allow(&ask(&head).await).await, json!({"seq": 1}));
    assert_eq!(rig.allow(&ask(&head).await).await, json!({"seq": 1}), "twice is once");
}
