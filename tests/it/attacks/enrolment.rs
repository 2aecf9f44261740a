//! Sections H and I: device authorization, proof, issue. What the person decides is in `approvals`.

use super::{Ask, Proof, Rig};
use crate::support::http;
use baton::demo::{SCOPES, claims};
use baton::person::code;
use baton_protocol::enrolment::{DETAILS_TYPE, Kind};
use baton_protocol::signer::Signer as _;
use baton_sdk::enroll::Enrolling;
use baton_sdk::keys::SoftKey;
use baton_sdk::keystore::Keystore;
use baton_sdk::system_entropy;
use baton_service::base::system_clock;
use baton_service::testing::On;
use futures_util::future::join_all;
use serde_json::{Value, json};

fn details(agreement: &SoftKey, name: &str) -> String {
    json!([{"type": DETAILS_TYPE, "agreement_jwk": agreement.key().jwk(), "claims": {"name": name, "kind": "tv"}}]).to_string()
}

pub async fn device_authorization(rig: &Rig, key: &SoftKey, name: &str) -> Ask {
    let agreement = SoftKey::generate(&system_entropy());
    let url = rig.identity("/device_authorization");
    let ask = Ask::new("POST", url.clone()).form(&[
        ("client_id", "baton-cli"),
        ("scope", "session:read"),
        ("authorization_details", &details(&agreement, name)),
    ]);
    let nonce = rig.dpop_nonce(key, &url, "POST", &ask, None).await;
    ask.header("dpop", Proof::new(rig, key, "POST", &url, None, &nonce).text())
}

pub async fn poll(rig: &Rig, key: &SoftKey, device_code: &str) -> Ask {
    let url = rig.identity("/token");
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let ask = Ask::new("POST", url.clone()).form(&[("grant_type", grant), ("client_id", "baton-cli"), ("device_code", device_code)]);
    let nonce = rig.dpop_nonce(key, &url, "POST", &ask, None).await;
    ask.header("dpop", Proof::new(rig, key, "POST", &url, None, &nonce).text())
}

fn is<T: std::fmt::Debug>(outcome: anyhow::Result<T>, wanted: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(code(&error), Some(wanted), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asking() {
    let rig = Rig::new(On::Sqlite).await;
    let key = SoftKey::generate(&system_entropy());
    for name in ["i\u{202e}Phone", "a\u{200b}b", "a\nb", " a", &"x".repeat(65), ""] {
        rig.refuse(&device_authorization(&rig, &key, name).await, 422, "input.name", "name").await;
    }
    // ENR-01, ENR-02: the proof of possession is the DPoP proof.
    let good = device_authorization(&rig, &key, "Television").await;
    rig.allow(&good).await;
    rig.refuse(&good, 400, "invalid_dpop_proof", "replay").await;
    // ENR-04: a key that is somebody's.
    rig.refuse(&device_authorization(&rig, rig.tv.signer(), "Television").await, 409, "enrol.key_in_use", "key in use").await;
    // ENR-13: a key that was revoked.
    rig.person.revoke(&rig.tv.enrolled().device_id).await.unwrap();
    rig.refuse(&device_authorization(&rig, rig.tv.signer(), "Television").await, 403, "enrol.key_revoked", "key revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling() {
    let mut rig = Rig::new(On::Sqlite).await;
    let key = SoftKey::generate(&system_entropy());
    let started = rig.allow(&device_authorization(&rig, &key, "Tablet").await).await;
    let device_code = started["device_code"].as_str().unwrap();
    rig.refuse(&poll(&rig, &key, "guess").await, 400, "invalid_grant", "grant").await;
    // DEV-02: another's code under one's own key.
    rig.refuse(&poll(&rig, &SoftKey::generate(&system_entropy()), device_code).await, 400, "invalid_grant", "grant").await;
    let counted = &["requests", "used_once"];
    rig.refuse_but(&poll(&rig, &key, device_code).await, 400, "authorization_pending", "pending", counted).await;
    // DEV-03: the interval grows and stays grown.
    rig.refuse_but(&poll(&rig, &key, device_code).await, 400, "slow_down", "slow down", counted).await;
    let rig2 = Rig { server: rig.server.restart().await, ..rig };
    rig = rig2;
    rig.refuse_but(&poll(&rig, &key, device_code).await, 400, "slow_down", "slow down", counted).await;

    let shown = rig.person.open_elsewhere(started["user_code"].as_str().unwrap()).await.unwrap();
    rig.person.approve(&shown, started["check_code"].as_str()).await.unwrap();
    rig.allow(&poll(&rig, &key, device_code).await).await;
    // DEV-04: after success.
    rig.refuse_but(&poll(&rig, &key, device_code).await, 400, "invalid_grant", "grant", counted).await;

    // DEV-04: after denial.
    let key = SoftKey::generate(&system_entropy());
    let started = rig.allow(&device_authorization(&rig, &key, "Watch").await).await;
    let shown = rig.person.open_elsewhere(started["user_code"].as_str().unwrap()).await.unwrap();
    rig.person.post(&format!("/v1/requests/{}/deny", shown.request), &json!({})).await.unwrap();
    rig.refuse_but(&poll(&rig, &key, started["device_code"].as_str().unwrap()).await, 400, "access_denied", "denied", counted).await;
    is(rig.person.approve(&shown, started["check_code"].as_str()).await, "enrol.not_approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn approving() {
    let mut rig = Rig::new(On::Sqlite).await;
    let (mut asking, screen) =
        Enrolling::elsewhere(http(), Keystore::memory(), rig.server.kept(), &claims("Tablet", Kind::Tablet), SCOPES).await.unwrap();
    let shown = rig.person.open_elsewhere(&screen.user_code).await.unwrap();
    let root = rig.person.unlock().await.unwrap();
    let mut other = shown.clone();
    other.claims.name = "Somebody else's".into();
    let offer = rig.person.offer(&root, &shown, Some(&screen.check_code)).await.unwrap();
    assert!(root.approve(&other, &offer, &system_entropy()).is_err(), "a client signs only what it showed");
    let approval = root.approve(&shown, &offer, &system_entropy()).unwrap();
    // ENR-06, ENR-09, ENR-10: another holder, another index, more claims.
    let tampered = |change: &dyn Fn(&mut baton_protocol::enrolment::Offer)| {
        let mut offer = offer.clone();
        change(&mut offer);
        let issuer = root.issuer(&shown.app);
        let device = baton_protocol::key::PublicKey::from_jwk(&serde_json::to_value(&offer.device_jwk).unwrap()).unwrap();
        let mut approval = approval.clone();
        approval.credential = baton_sdk::root::sign_credential(&offer.template, &device, &issuer, &system_entropy()).unwrap();
        approval
    };
    let before = rig.server.dump(&[]).await;
    is(rig.person.post_approval(&shown, &tampered(&|o| o.template.visible.exp += 1)).await, "vc.invalid");
    is(rig.person.post_approval(&shown, &tampered(&|o| o.template.visible.status.status_list.idx ^= 1)).await, "vc.invalid");
    is(rig.person.post_approval(&shown, &tampered(&|o| drop(o.template.disclosable.insert("trust".into(), "high".into())))).await, "vc.invalid");
    is(rig.person.post_approval(&shown, &tampered(&|o| o.device_jwk = SoftKey::generate(&system_entropy()).key().jwk())).await, "vc.invalid");
    let mut other_entry = approval.clone();
    other_entry.entries.clear();
    is(rig.person.post_approval(&shown, &other_entry).await, "enrol.changed");
    assert_eq!(before, rig.server.dump(&[]).await, "nothing was changed by any of it");
    rig.person.post_approval(&shown, &approval).await.unwrap();
    // ENR-08: a repeat of the very approval is answered; another one is not taken.
    rig.person.post_approval(&shown, &approval).await.unwrap();
    is(rig.person.post_approval(&shown, &tampered(&|_| ())).await, "enrol.state");
    asking.redeem(None).await.unwrap();
}

/// ENR-12 [R]: approvals of one account at once, each signed over the log as it stands after the ones before; the limit holds.
async fn the_limit_of_devices_holds(on: On) {
    let server = crate::support::Server::start_with(on, system_clock(), |config| config.max_devices = 3).await;
    let mut rig = Rig::at(server).await;
    let mut asked = Vec::new();
    for n in 0..3 {
        let (_, screen) =
            Enrolling::elsewhere(rig.server.http(), Keystore::memory(), rig.server.kept(), &claims(&format!("Tablet {n}"), Kind::Tablet), SCOPES)
                .await
                .unwrap();
        asked.push((rig.person.open_elsewhere(&screen.user_code).await.unwrap(), screen.check_code));
    }
    // Two of three places are taken; whoever finds the log moved signs again, as the page does.
    let root = rig.person.unlock().await.unwrap();
    let person = &rig.person;
    let approve = async |(shown, check_code): &(baton_protocol::enrolment::Shown, String)| {
        loop {
            let offer = person.offer(&root, shown, Some(check_code)).await?;
            let approval = root.approve(shown, &offer, &system_entropy())?;
            match person.post_approval(shown, &approval).await {
                Err(moved) if code(&moved) == Some("log.moved") => {}
                other => return other,
            }
        }
    };
    let outcomes = join_all(asked.iter().map(approve)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for refused in outcomes.into_iter().filter(Result::is_err) {
        is(refused, "limit.devices");
    }
    assert_eq!(rig.laptop.members().await.unwrap().live.len(), 2, "the third has not redeemed yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_devices_holds_on_sqlite() {
    the_limit_of_devices_holds(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_devices_holds_on_postgres() {
    the_limit_of_devices_holds(On::Postgres).await;
}

/// A link to lane 1 that somebody else started: the victim's approval must not hand the attacker anything (DEV-07 for lane 1).
#[tokio::test(flavor = "multi_thread")]
async fn a_phished_authorization_request_gives_nothing_without_its_redirect() {
    let mut rig = Rig::new(On::Sqlite).await;
    let kept = rig.server.kept();
    let attacker = kept.signing().unwrap();
    let (_, authorization) =
        Enrolling::here(http(), Keystore::memory(), kept, &claims("Laptop 2", Kind::Laptop), SCOPES, "http://127.0.0.1:1/callback").await.unwrap();
    let shown = rig.person.open_here(&authorization.request_uri).await.unwrap();
    let redirect = rig.person.approve(&shown, None).await.unwrap();
    assert!(redirect.is_some(), "the code goes to the victim's own machine");
    let url = rig.identity("/v1/credential");
    let ask = Ask::new("POST", url.clone());
    let nonce = rig.dpop_nonce(&attacker, &url, "POST", &ask, None).await;
    let ask = ask.header("dpop", Proof::new(&rig, &attacker, "POST", &url, None, &nonce).text());
    rig.refuse_but(&ask, 403, "enrol.not_approved", "not approved", &["used_once"]).await;
    let members = rig.laptop.members().await.unwrap();
    assert!(!members.live.contains(&attacker.key().did()), "and nobody is told to seal to it");
}

/// PRV-01, PRV-02: a stolen database of identity holds hashes, wrapped copies and public keys.
#[tokio::test(flavor = "multi_thread")]
async fn what_identity_stores_opens_nothing() {
    let rig = Rig::new(On::Sqlite).await;
    let key = SoftKey::generate(&system_entropy());
    let started = rig.allow(&device_authorization(&rig, &key, "Tablet").await).await;
    let stored = rig.server.dump(&[]).await;
    let logged = crate::support::logs();
    let logged = String::from_utf8_lossy(&logged.lock().unwrap()).into_owned();
    for secret in ["device_code", "check_code"] {
        let secret = started[secret].as_str().unwrap();
        assert!(
            !stored.contains(&format!("|{secret}|")) && !stored.contains(&format!("\"{secret}\"")) && (secret.len() < 16 || !logged.contains(secret))
        );
    }
    assert!(stored.contains("Television"), "the search would find something");
    let seed_like: Vec<Value> = stored.lines().filter(|line| line.contains("identity.wraps")).map(|line| json!(line)).collect();
    assert_eq!(seed_like.len(), 2, "one copy for the passkey, one for the code");
}

/// A person leaves while devices they have approved fetch what was signed: neither waits for the other for ever, and nobody is told that the service is not
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn devices_redeem_while_their_account_is_deleted() {
    let mut rig = Rig::new(On::Postgres).await;
    for _ in 0..4 {
        rig.person = rig.server.person().await;
        let mut asked = Vec::new();
        for name in ["One", "Two", "Three"] {
            let key = SoftKey::generate(&system_entropy());
            let started = rig.allow(&device_authorization(&rig, &key, name).await).await;
            let shown = rig.person.open_elsewhere(started["user_code"].as_str().unwrap()).await.unwrap();
            rig.person.approve(&shown, started["check_code"].as_str()).await.unwrap();
            asked.push(poll(&rig, &key, started["device_code"].as_str().unwrap()).await);
        }
        let nothing = json!({});
        let (polls, left) = tokio::join!(join_all(asked.iter().map(Ask::send)), rig.person.post("/v1/account/delete", &nothing));
        left.unwrap();
        for answer in polls {
            assert!([200, 400].contains(&answer.status), "{} {}", answer.status, answer.body);
        }
    }
}
