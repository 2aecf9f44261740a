//! Services' keys change: what was signed before goes on, also on devices that keep the public keys, until an operator drops the key.

use crate::attacks::{Ask, Rig};
use crate::support::Server;
use baton_protocol::handoff::machine::Target;
use baton_sdk::{Session, Waiting};
use baton_service::key_ring::KeyRing;
use baton_service::testing::{ManualClock, On};
use serde_json::Value;

const SERVICES: [&str; 3] = ["identity", "verifier", "broker"];

fn kids(jwks: &Value) -> Vec<String> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn published(rig: &Rig, path: &str) -> Value {
    rig.allow(&Ask::new("GET", format!("{}{path}", rig.server.public_url))).await
}

async fn listing(rig: &Rig) -> Ask {
    rig.to_broker(&rig.laptop, "GET", "/v1/sessions", "session:read", None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_under_running_devices() {
    let mut rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    for turn in 0..2 {
        let before = kids(&published(&rig, "/verifier/jwks").await);
        let ask = listing(&rig).await;
        for service in SERVICES {
            KeyRing::rotate(&rig.server.key_file(service)).unwrap();
        }
        rig = Rig { server: rig.server.restart().await, ..rig };
        let after = kids(&published(&rig, "/verifier/jwks").await);
        assert_eq!((&after[0], after.contains(&before[0]), after.len()), (&before[1], true, 3 + turn), "what was published signs");
        let did = published(&rig, "/verifier/did.json").await;
        assert_eq!(did["assertionMethod"].as_array().unwrap().len(), after.len());
        let issuer = published(&rig, "/.well-known/jwt-vc-issuer/identity").await;
        assert_eq!(kids(&issuer["jwks"]).len(), after.len());
        // A token of before counts.
        rig.allow(&ask).await;
        // A session whose statements older keys accepted moves on, though both devices read the public keys long ago.
        let title = format!("The General, turn {turn}");
        session.write(title.as_bytes()).await.unwrap();
        let offered = session.offer(Target::Device(rig.tv.did().clone())).await.unwrap();
        let waiting = Waiting::list(&rig.tv).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        let theirs = waiting.complete().await.unwrap();
        assert_eq!(theirs.content(), title.as_bytes());
        session = Session::open(&rig.laptop, b"another").await.unwrap();
    }

    // Somebody has read the file: nothing that was made with what is in it counts, though nobody had seen the keys that replace it.
    rig.laptop.forget_tokens();
    let ask = listing(&rig).await;
    let stolen = kids(&published(&rig, "/verifier/jwks").await);
    KeyRing::replace(&rig.server.key_file("verifier")).unwrap();
    rig = Rig { server: rig.server.restart().await, ..rig };
    rig.refuse(&ask, 401, "invalid_token", "key").await;
    let now = kids(&published(&rig, "/verifier/jwks").await);
    assert!(!now.contains(&stolen[0]) && !now.contains(&stolen[1]));
    assert_eq!(now[2..], stolen[2..], "those that signed before and were not in it");
    rig.laptop.forget_tokens();
    rig.allow(&listing(&rig).await).await;
}

/// A device that keeps running finds out: it believes a key that the service does not publish any more for an hour at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_is_forgotten_within_an_hour() {
    let clock = ManualClock::start();
    let mut rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let before = rig.session().await;
    Session::load(&rig.laptop, before.id()).await.unwrap();
    KeyRing::replace(&rig.server.key_file("broker")).unwrap();
    rig = Rig { server: rig.server.restart().await, ..rig };
    clock.advance_secs(3590);
    rig.server.running.identity.pump().await.unwrap();
    Session::load(&rig.laptop, before.id()).await.unwrap();
    clock.advance_secs(10);
    rig.server.running.identity.pump().await.unwrap();
    let refused = Session::load(&rig.laptop, before.id()).await.map(|_| ()).unwrap_err();
    assert!(refused.is("handoff.statement"), "the broker accepted it with a key that is nobody's: {refused}");
    let since = rig.session().await;
    Session::load(&rig.laptop, since.id()).await.unwrap();
}
