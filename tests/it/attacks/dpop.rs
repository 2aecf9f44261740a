//! Section F over HTTP.

use super::{Ask, Proof, Rig, race};
use baton_sdk::keys::SoftKey;
use baton_sdk::system_entropy;
use baton_service::testing::On;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn proofs_at_the_broker() {
    let rig = Rig::new(On::Sqlite).await;
    let url = rig.broker("/v1/sessions");
    let token = rig.laptop.token(&rig.laptop.servers().broker, "session:read", None).await.unwrap();
    let key = rig.laptop.signer();
    let bare = Ask::new("GET", url.clone()).header("authorization", format!("DPoP {token}"));
    let nonce = rig.dpop_nonce(key, &url, "GET", &bare, Some(&token)).await;
    let proof = || Proof::new(&rig, key, "GET", &url, Some(&token), &nonce);
    let with = |proof: Proof<'_>| bare.clone().header("dpop", proof.text());

    let good = with(proof());
    rig.allow(&good).await;
    rig.refuse(&good, 401, "invalid_dpop_proof", "replay").await;
    rig.refuse(&bare, 401, "invalid_dpop_proof", "missing").await;
    rig.refuse(&with(proof().claim("htm", json!("POST"))), 401, "invalid_dpop_proof", "htm").await;
    let evil = "http://evil.example/broker/v1/sessions";
    rig.refuse(&with(proof().claim("htu", json!(evil))).header("x-forwarded-host", "evil.example"), 401, "invalid_dpop_proof", "htu").await;
    rig.refuse(&with(proof().claim("ath", json!("x"))), 401, "invalid_dpop_proof", "ath").await;
    rig.refuse(&with(proof().claim("iat", json!(0))), 401, "invalid_dpop_proof", "iat").await;
    rig.refuse(&with(proof().claim("nonce", json!("AAAA"))), 401, "use_dpop_nonce", "nonce").await;

    // JOS-01 to JOS-20 at an endpoint: one code outside, the precise reason in the event.
    for (name, value, reason) in [
        ("alg", json!("none"), "alg"),
        ("alg", json!("HS256"), "alg"),
        ("typ", json!("JWT"), "typ"),
        ("crit", json!(["x"]), "crit"),
        ("b64", json!(false), "b64"),
        ("jku", json!("https://evil.example"), "header jku"),
        ("x5c", json!([]), "header x5c"),
        ("zip", json!("DEF"), "header zip"),
        ("kid", json!("../x"), "kid"),
    ] {
        let mut wrong = proof();
        wrong.header[name] = value;
        rig.refuse(&with(wrong), 401, "invalid_dpop_proof", reason).await;
    }

    // DPO-08: a nonce of another server, and of another key.
    let exchange = rig.exchange(&rig.laptop, key, &[]).await;
    let other_server = rig.dpop_nonce(key, &rig.verifier("/token"), "POST", &exchange, None).await;
    rig.refuse(&with(proof().claim("nonce", json!(other_server))), 401, "use_dpop_nonce", "nonce").await;
    let tv_token = rig.tv.token(&rig.tv.servers().broker, "session:read", None).await.unwrap();
    let tv_ask = Ask::new("GET", url.clone()).header("authorization", format!("DPoP {tv_token}"));
    let other_key = rig.dpop_nonce(rig.tv.signer(), &url, "GET", &tv_ask, Some(&tv_token)).await;
    rig.refuse(&with(proof().claim("nonce", json!(other_key))), 401, "use_dpop_nonce", "nonce").await;

    // DPO-06: the scheme is not negotiable.
    for scheme in ["Bearer", "BeArEr", "Token"] {
        rig.refuse(&with(proof()).header("authorization", format!("{scheme} {token}")), 401, "invalid_token", "scheme").await;
    }
    // A stolen token under the thief's own key.
    let thief = SoftKey::generate(&system_entropy());
    let thief_nonce = rig.dpop_nonce(&thief, &url, "GET", &bare, Some(&token)).await;
    let stolen = bare.clone().header("dpop", Proof::new(&rig, &thief, "GET", &url, Some(&token), &thief_nonce).text());
    rig.refuse(&stolen, 401, "invalid_token", "binding").await;
    // EVT-04, RFC 9700 §4.3.
    let mut in_url = with(proof());
    in_url.url = format!("{url}?access_token={token}");
    rig.refuse(&in_url, 400, "input.token_in_url", "token in url").await;
    rig.allow(&with(proof())).await;
}

/// DPO-01 [R], DPO-18: of 32 copies of one proof exactly one is taken, on either database.
async fn one_of_many(on: On) {
    let rig = Rig::new(on).await;
    let ask = rig.to_broker(&rig.laptop, "GET", "/v1/sessions", "session:read", None).await;
    let answers = race(vec![ask; 32]).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code == "invalid_dpop_proof"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_on_sqlite() {
    one_of_many(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_on_postgres() {
    one_of_many(On::Postgres).await;
}

/// DPO-15 [X]: what was consumed before a restart stays consumed.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_proof() {
    let rig = Rig::new(On::Sqlite).await;
    let used = rig.to_broker(&rig.laptop, "GET", "/v1/sessions", "session:read", None).await;
    let fresh = rig.to_broker(&rig.laptop, "GET", "/v1/sessions", "session:read", None).await;
    rig.allow(&used).await;
    let rig = Rig { server: rig.server.restart().await, ..rig };
    rig.refuse(&used, 401, "invalid_dpop_proof", "replay").await;
    rig.allow(&fresh).await;
}
