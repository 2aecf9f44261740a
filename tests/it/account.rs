//! A person looks after their account: passkeys, recovery code, names, leaving. Each on both databases, and each refusal beside what passes.

use crate::support::Server;
use baton::person::{Person, code};
use baton_protocol::handoff::machine::Target;
use baton_sdk::{Session, system_entropy};
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

async fn passkeys(person: &Person) -> Vec<Value> {
    person.get("/v1/passkeys").await.unwrap()["passkeys"].as_array().unwrap().clone()
}

async fn remove(person: &Person, id: &Value) -> anyhow::Result<Value> {
    person.post(&format!("/v1/passkeys/{}/remove", id.as_str().unwrap()), &json!({})).await
}

/// WAN-12: a second passkey opens the same root; the last that opens it stays; adding and removing want the person there.
async fn a_second_passkey(on: On) {
    let clock = ManualClock::start();
    let server = Server::start_at(on, clock.clock()).await;
    let mut person = server.person().await;
    let first = passkeys(&person).await.remove(0);
    assert_eq!(first["opens"], true);
    let last = remove(&person, &first["credential_id"]).await.unwrap_err();
    assert_eq!(code(&last), Some("wrap.last"));

    let second = person.add_passkey().await.unwrap();
    assert_eq!(passkeys(&person).await.len(), 2);
    clock.advance_secs(301);
    server.running.identity.pump().await.unwrap();
    assert_eq!(code(&remove(&person, &first["credential_id"]).await.unwrap_err()), Some("webauthn.reauth"));
    assert_eq!(code(&person.post("/v1/passkeys/start", &json!({})).await.unwrap_err()), Some("webauthn.reauth"));
    person.unlock().await.unwrap();
    let elsewhere = Person::with(&server.public_url, system_entropy(), person.save().unwrap()).unwrap();
    elsewhere.take_cookie_of(&person);
    person.unlock().await.unwrap();
    elsewhere.get("/v1/account").await.unwrap();
    remove(&person, &first["credential_id"]).await.unwrap();
    assert_eq!(code(&elsewhere.get("/v1/account").await.unwrap_err()), Some("invalid_token"), "signed out with it");
    assert_eq!(code(&remove(&person, &first["credential_id"]).await.unwrap_err()), Some("not_found"));
    let left = passkeys(&person).await;
    assert_eq!((left.len(), &left[0]["credential_id"]), (1, &json!(second)));
    // Only the second is there to sign in with: it opens the root and signs.
    person.forget_passkey(first["credential_id"].as_str().unwrap()).unwrap();
    let root = person.unlock().await.unwrap();
    assert_eq!(root.fingerprint(), person.root());
    server.full(&mut person, "Laptop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_passkey_on_sqlite() {
    a_second_passkey(On::Sqlite).await;
}
#[tokio::test(flavor = "multi_thread")]
async fn a_second_passkey_on_postgres() {
    a_second_passkey(On::Postgres).await;
}

/// Two who each remove another one of the last two passkeys: one of them is told that it is the last.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_two_passkeys_are_not_both_removed() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        person.add_passkey().await.unwrap();
        let both = passkeys(&person).await;
        let (one, two) = tokio::join!(remove(&person, &both[0]["credential_id"]), remove(&person, &both[1]["credential_id"]));
        let refused: Vec<_> = [&one, &two].into_iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(code(refused[0]), Some("wrap.last"));
        assert_eq!(passkeys(&person).await.len(), 1);
    }
}

/// A sign-in that waits for its account while its passkey is removed, as it is now, is nobody's. SQLite has one writer: nobody waits with what was read before.
#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_removed_while_a_sign_in_with_it_waits() {
    use sqlx::Connection as _;
    let server = Server::start(On::Postgres).await;
    for remove in [true, false] {
        let mut person = server.person().await;
        let account = person.get("/v1/account").await.unwrap()["account"].as_str().unwrap().to_owned();
        let mut db = sqlx::AnyConnection::connect(&server.database("identity")).await.unwrap();
        let mut watch = sqlx::AnyConnection::connect(&server.database("identity")).await.unwrap();
        let mut held = db.begin().await.unwrap();
        sqlx::query("SELECT account_id FROM identity.accounts WHERE account_id = $1 FOR UPDATE").bind(&account).execute(&mut *held).await.unwrap();
        let decide = async move {
            let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM accounts%FOR UPDATE%'
                AND datname = current_database()";
            while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watch).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            if remove {
                sqlx::query("DELETE FROM identity.passkeys WHERE account_id = $1").bind(&account).execute(&mut *held).await.unwrap();
            }
            held.commit().await.unwrap();
        };
        let (signed_in, ()) = tokio::join!(person.unlock(), decide);
        assert_eq!(signed_in.err().as_ref().and_then(code), remove.then_some("webauthn.invalid"));
    }
}

/// A copy that the holder of the root did not vouch for, or of another root, is not taken; nothing changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_another_root_is_not_taken() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let stranger = baton_sdk::root::Root::generate(&system_entropy());
    assert_eq!(code(&person.add_passkey_for(&stranger).await.unwrap_err()), Some("wrap.proof"));
    assert_eq!(passkeys(&person).await.len(), 1);
    person.add_passkey().await.unwrap();
}

/// A recovery that was begun with the code before ends with that code; whoever was signed in elsewhere is out.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_begun_before_the_code_was_replaced() {
    let server = Server::start(On::Sqlite).await;
    let mut person = Person::new(&server.public_url, system_entropy()).unwrap();
    let old = person.sign_up().await.unwrap();
    let mut thief = Person::new(&server.public_url, system_entropy()).unwrap();
    let begun = thief.begin_recovery(&old).await.unwrap();
    person.replace_recovery().await.unwrap();
    assert_eq!(code(&thief.finish_recovery(&old, begun).await.unwrap_err()), Some("webauthn.invalid"));
    let begun = thief.begin_recovery(&old).await.unwrap_err();
    assert_eq!(code(&begun), Some("not_found"));
    assert_eq!(passkeys(&person).await.len(), 1);
}

/// A page that was loaded for one person does nothing for another who has signed in since.
#[tokio::test(flavor = "multi_thread")]
async fn another_account_than_the_page_was_loaded_for() {
    let server = Server::start(On::Sqlite).await;
    let (mine, theirs) = (server.person().await, server.person().await);
    let account = mine.get("/v1/account").await.unwrap()["account"].as_str().unwrap().to_owned();
    let refused = theirs.post_meant_for(&account, "/v1/account/delete", &json!({})).await.unwrap_err();
    assert_eq!(code(&refused), Some("invalid_token"));
    theirs.get("/v1/account").await.unwrap();
    mine.post_meant_for(&account, "/v1/account/delete", &json!({})).await.unwrap();
}

/// Another recovery code takes the place of the one before, which opens nothing from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_recovery_code() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = Person::new(&server.public_url, system_entropy()).unwrap();
        let old = person.sign_up().await.unwrap();
        let new = person.replace_recovery().await.unwrap();
        let mut again = Person::new(&server.public_url, system_entropy()).unwrap();
        assert_eq!(code(&again.recover(&old).await.unwrap_err()), Some("not_found"));
        again.recover(&new).await.unwrap();
        assert_eq!(again.root(), person.root());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_one_session_or_all() {
    let server = Server::start(On::Sqlite).await;
    let here = server.person().await;
    let mut there = Person::with(&server.public_url, system_entropy(), here.save().unwrap()).unwrap();
    there.unlock().await.unwrap();
    here.post("/v1/account/sign-out", &json!({"everywhere": false})).await.unwrap();
    assert_eq!(code(&here.get("/v1/account").await.unwrap_err()), Some("invalid_token"));
    there.get("/v1/account").await.unwrap();
    // The same passkey, which has been used there meanwhile.
    let mut here = Person::with(&server.public_url, system_entropy(), there.save().unwrap()).unwrap();
    here.unlock().await.unwrap();
    here.post("/v1/account/sign-out", &json!({"everywhere": true, "but_here": true})).await.unwrap();
    here.get("/v1/account").await.unwrap();
    assert_eq!(code(&there.get("/v1/account").await.unwrap_err()), Some("invalid_token"));
    let mut there = Person::with(&server.public_url, system_entropy(), here.save().unwrap()).unwrap();
    there.unlock().await.unwrap();
    let mut here = Person::with(&server.public_url, system_entropy(), there.save().unwrap()).unwrap();
    here.unlock().await.unwrap();
    here.post("/v1/account/sign-out", &json!({"everywhere": true})).await.unwrap();
    assert_eq!(code(&there.get("/v1/account").await.unwrap_err()), Some("invalid_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_renamed_for_people_alone() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let path = format!("/v1/devices/{}/rename", laptop.enrolled().device_id);
    for bad in ["", "a\u{202e}b", "line\nbreak", &"x".repeat(500)] {
        assert_eq!(code(&person.post(&path, &json!({"name": bad})).await.unwrap_err()), Some("input.name"), "{bad:?}");
    }
    // Said again after a lost reply, it is still one event.
    for _ in 0..2 {
        person.post(&path, &json!({"name": "Kitchen"})).await.unwrap();
    }
    let events = person.get("/v1/activity").await.unwrap()["events"].as_array().unwrap().clone();
    assert_eq!(events.iter().filter(|event| event["kind"] == "device.renamed").count(), 1);
    assert_eq!(laptop.members().await.unwrap().name_of(laptop.did()), Some("Kitchen"));
    let stranger = server.person().await;
    assert_eq!(code(&stranger.post(&path, &json!({"name": "Mine"})).await.unwrap_err()), Some("not_found"));
}

/// Leaving: every device is out at once, nothing of the person is left at identity and the broker but what refuses their devices, and nobody signs in
/// any more. What there was can be taken along before.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_deleted() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "A name nobody else has").await;
        let mut session = Session::open(&laptop, b"00:43").await.unwrap();
        person.post("/v1/credential-offers", &json!({"client_id": "baton-cli"})).await.unwrap();
        let everything = person.get("/v1/account/export").await.unwrap();
        assert_eq!((&everything["offers"][0]["client_id"], &everything["offers"][0]["taken_at"]), (&json!("baton-cli"), &json!(null)));
        assert_eq!(everything["root_change"]["asked"], json!(null));
        assert_eq!(everything["devices"][0]["name"], "A name nobody else has");
        assert_eq!(everything["activity"].as_array().unwrap().len(), 3);
        assert_eq!((everything["requests"].as_array().unwrap().len(), everything["browsers"].as_array().unwrap().len()), (1, 2));
        let tv = server.limited(&mut person, "Television").await;
        // More than one piece of it.
        for _ in 0..120 {
            session.write(b"00:44").await.unwrap();
        }
        session.offer(Target::Device(tv.did().clone())).await.unwrap();
        let (log, id) = (laptop.subject().to_owned(), session.id().to_string());
        let kept = crate::manage::page(&server, &log).ask("GET", "/v1/manage/export").await.unwrap();
        assert_eq!((&kept["sessions"][0]["session"], &kept["sessions"][0]["updates"]), (&json!(id), &json!(22)));
        assert_eq!((&kept["handoffs"][0]["state"], &kept["handoffs"][0]["to"]), (&json!("offered"), &json!(tv.did())));
        assert!(kept["events"].as_array().unwrap().len() > 3, "{kept}");
        let stranger = server.person().await;
        let theirs = server.full(&mut { stranger }, "Another's").await;
        let beside = Session::open(&theirs, b"00:01").await.unwrap();

        person.post("/v1/account/delete", &json!({})).await.unwrap();
        laptop.forget_tokens();
        assert!(Session::load(&laptop, session.id()).await.unwrap_err().is("status.revoked"));
        assert_eq!(code(&person.unlock().await.err().unwrap()), Some("webauthn.invalid"));
        let left = crate::support::dump(&server.database("identity"), "identity", &["outbox"]).await.unwrap();
        let late = crate::manage::page(&server, &log);
        let late = late.tell(&format!("/v1/manage/devices/{}/switches", laptop.did()), &json!({"visible": false})).await;
        assert!(late.unwrap_err().is("not_found"), "nothing is written of somebody who has left");
        while server.running.broker.forget_some().await.unwrap() {}
        let at_broker = crate::support::dump(&server.database("broker"), "broker", &["standing"]).await.unwrap();
        for trace in [log.as_str(), &id, laptop.did().as_str(), tv.did().as_str()] {
            assert!(!at_broker.contains(trace), "{trace} is still at the broker: {at_broker}");
        }
        assert!(at_broker.contains(&beside.id().to_string()), "another's stays");
        for trace in ["A name nobody else has", everything["account"].as_str().unwrap(), person.root(), laptop.did().as_str()] {
            assert!(!left.contains(trace), "{trace} is still there");
        }
        // Restarted: the ledgers that are left still hold.
        server.restart().await;
    }
}
