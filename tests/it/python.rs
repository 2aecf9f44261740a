//! PyPI's `sd-jwt`, which nobody here wrote: it reads what our devices show, and we read what it issues and shows.

use crate::support::Server;
use baton_protocol::credential::{StatusEntry, Tier, VCT, Visible};
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::key::{PublicKey, resolve};
use baton_protocol::presentation::{self, Expected};
use baton_protocol::refusal::Kb;
use baton_protocol::signer::Signer as _;
use baton_protocol::status_list::{Status, StatusRef};
use baton_service::testing::On;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;

const AUD: &str = "https://shop.example";

/// Asks it; a refusal of its own comes back as its last line.
async fn peer(what: &str, asked: &Value) -> Result<Value, String> {
    let python = std::env::var("BATON_PYTHON").expect("tests/with-python names it: run the tests with `make test`");
    let mut child = tokio::process::Command::new(python)
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/sd_jwt_peer.py"), what])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).await.unwrap();
    let said = child.wait_with_output().await.unwrap();
    if said.status.success() {
        return Ok(serde_json::from_slice(&said.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&said.stderr).lines().last().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_what_our_devices_show() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let shown = laptop.present(AUD, "a nonce of the shop", &[], &["name", "kind"]).await.unwrap();
    let jwt = Unverified::parse(shown.split('~').next().unwrap(), Typ::Credential).unwrap();
    let issuer = resolve(jwt.unverified_claims().text("iss").unwrap()).unwrap().jwk_value();
    let asked = json!({"presentation": shown, "issuer": issuer, "audience": AUD, "nonce": "a nonce of the shop"});
    let claims = peer("read", &asked).await.unwrap();
    assert_eq!((&claims["name"], &claims["kind"]), (&json!("Laptop"), &json!("laptop")));
    assert_eq!(claims["sub"], laptop.did().as_str());
    assert!(claims.get("platform").is_none(), "not disclosed: {claims}");

    for (member, other) in
        [("nonce", json!("another nonce")), ("audience", json!("https://other.example")), ("issuer", laptop.signer().key().jwk_value())]
    {
        let mut wrong = asked.clone();
        wrong[member] = other;
        assert!(peer("read", &wrong).await.is_err(), "{member}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_it_issues_and_shows() {
    let keys = peer("keys", &json!({})).await.unwrap();
    let public = |n: usize| {
        let mut jwk = keys[n].clone();
        jwk.as_object_mut().unwrap().remove("d");
        PublicKey::from_jwk(&jwk).unwrap()
    };
    let (issuer, device) = (public(0), public(1));
    let now = baton_sdk::system_clock().now();
    let visible = Visible {
        iss: issuer.did(),
        sub: device.did(),
        vct: VCT.into(),
        iat: now.secs(),
        exp: now.secs() + 1000,
        client_id: "player".into(),
        tier: Tier::Full,
        log: "log".into(),
        status: StatusEntry { status_list: StatusRef { idx: 5, uri: "https://id.example/v1/status-lists/1".into() } },
        status_issuer: "did:web:id.example".into(),
    };
    let asked = json!({"visible": visible, "disclosable": {"name": "Fernseher \u{1f4fa}", "kind": "tv", "model": {"of": ["nested", 1]}},
        "disclosed": ["name", "model"], "issuer": keys[0], "holder": keys[1], "kid": issuer.did().url(), "audience": AUD, "nonce": "a nonce"});
    let shown = peer("issue", &asked).await.unwrap();
    let expected = |audience| Expected { audience, nonce: &|nonce, _| nonce == "a nonce", transaction_data: &[], required_claims: &["name"] };
    let verdict = presentation::check(shown.as_str().unwrap(), &expected(AUD), &(), |_| Ok(Status::Valid), now).unwrap();
    assert_eq!(json!(verdict.claims), json!({"name": "Fernseher \u{1f4fa}", "model": {"of": ["nested", 1]}}));
    assert_eq!(verdict.device, device.did());
    let refused = presentation::check(shown.as_str().unwrap(), &expected("https://other.example"), &(), |_| Ok(Status::Valid), now);
    assert_eq!(refused.unwrap_err(), Kb::Aud.into());
}
