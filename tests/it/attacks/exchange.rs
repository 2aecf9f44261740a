//! Sections D and G over HTTP: presentations become tokens.

use super::{Rig, race};
use baton_sdk::Session;
use baton_service::testing::On;

#[tokio::test(flavor = "multi_thread")]
async fn token_exchange() {
    let rig = Rig::new(On::Sqlite).await;
    let (laptop, tv) = (&rig.laptop, &rig.tv);
    let key = laptop.signer();

    let ask = rig.exchange(laptop, key, &[]).await;
    rig.allow(&ask).await;
    rig.refuse(&ask, 400, "invalid_dpop_proof", "replay").await;
    for scope in ["admin", "session:read admin", "session:read session:read", "log:read", "session:manage"] {
        rig.refuse(&rig.exchange(laptop, key, &[("scope", scope)]).await, 400, "invalid_scope", "scope").await;
    }
    rig.refuse(&rig.exchange(laptop, key, &[("audience", "https://other.example")]).await, 400, "invalid_target", "target").await;
    rig.refuse(&rig.exchange(laptop, key, &[("resource", "https://other.example")]).await, 400, "invalid_target", "target").await;
    let token = laptop.token(&laptop.servers().broker, "session:read", None).await.unwrap();
    let access = "urn:ietf:params:oauth:token-type:access_token";
    rig.refuse(&rig.exchange(laptop, key, &[("subject_token", &token), ("subject_token_type", access)]).await, 400, "invalid_request", "request")
        .await;
    rig.refuse(&rig.exchange(laptop, key, &[("actor_token", &token), ("actor_token_type", access)]).await, 400, "invalid_request", "request").await;
    rig.refuse(&rig.exchange(laptop, key, &[("grant_type", "password")]).await, 400, "unsupported_grant_type", "grant type").await;
    // DPO-14: somebody else's key.
    rig.refuse(&rig.exchange(laptop, tv.signer(), &[]).await, 400, "invalid_grant", "device key").await;
    // RFR-08: never by query.
    let mut query = rig.exchange(laptop, key, &[]).await;
    query.url += "?scope=session:read";
    rig.refuse(&query, 400, "invalid_request", "request").await;
    rig.allow(&rig.exchange(laptop, key, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presentations_at_the_verifier() {
    let rig = Rig::new(On::Sqlite).await;
    let (laptop, tv) = (&rig.laptop, &rig.tv);
    let (verifier, broker) = (laptop.servers().verifier.clone(), laptop.servers().broker.clone());
    let present = async |audience: &str, nonce: &str| laptop.present(audience, nonce, &[], &[]).await.unwrap();
    let nonce = laptop.nonce(&verifier).await.unwrap();

    let good = present(&verifier, &nonce).await;
    let without_kb = &good[..=good.rfind('~').unwrap()];
    rig.refuse(&rig.exchange_of(laptop.signer(), without_kb, &broker, &[]).await, 400, "kb.missing", "missing").await;
    for audience in [broker.as_str(), &format!("{verifier}/"), &verifier.to_uppercase()] {
        let shown = present(audience, &nonce).await;
        rig.refuse(&rig.exchange_of(laptop.signer(), &shown, &broker, &[]).await, 400, "kb.invalid", "aud").await;
    }
    // KB-07: of the broker, of another device, cut short, lengthened, made up.
    let of_broker = laptop.nonce(&broker).await.unwrap();
    let of_tv = tv.nonce(&verifier).await.unwrap();
    for wrong in [of_broker.as_str(), &of_tv, &nonce[1..], &format!("{nonce}A"), "made up"] {
        let shown = present(&verifier, wrong).await;
        rig.refuse(&rig.exchange_of(laptop.signer(), &shown, &broker, &[]).await, 400, "kb.invalid", "nonce").await;
    }
    // KB-06: the same presentation under a fresh proof.
    rig.allow(&rig.exchange_of(laptop.signer(), &good, &broker, &[]).await).await;
    rig.refuse(&rig.exchange_of(laptop.signer(), &good, &broker, &[]).await, 400, "kb.replay", "replay").await;
    // And after a restart [X].
    let rig = Rig { server: rig.server.restart().await, ..rig };
    rig.refuse(&rig.exchange_of(rig.laptop.signer(), &good, &broker, &[]).await, 400, "kb.replay", "replay").await;
}

/// KB-06 [R]: one presentation, 32 fresh proofs, one token.
async fn one_token(on: On) {
    let rig = Rig::new(on).await;
    let (laptop, broker) = (&rig.laptop, rig.laptop.servers().broker.clone());
    let nonce = laptop.nonce(&laptop.servers().verifier).await.unwrap();
    let shown = laptop.present(&laptop.servers().verifier, &nonce, &[], &[]).await.unwrap();
    let mut copies = Vec::new();
    for _ in 0..32 {
        copies.push(rig.exchange_of(laptop.signer(), &shown, &broker, &[]).await);
    }
    let answers = race(copies).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code == "kb.replay"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_on_sqlite() {
    one_token(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_on_postgres() {
    one_token(On::Postgres).await;
}

/// STS-01, TEX-08, TEX-09, PRV-04: of the two levels, device and grant, either ends it. After a revocation or a withdrawal nothing opens, though the token lives; before it, everything did.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_opens_nothing() {
    for withdraw in [false, true] {
        let rig = Rig::new(On::Sqlite).await;
        let before = rig.to_broker(&rig.tv, "GET", "/v1/sessions", "session:read", None).await;
        let after = rig.to_broker(&rig.tv, "GET", "/v1/sessions", "session:read", None).await;
        let exchange = rig.exchange(&rig.tv, rig.tv.signer(), &[]).await;
        rig.allow(&before).await;
        if withdraw {
            let grants = rig.person.get("/v1/devices").await.unwrap();
            let tv = grants["devices"].as_array().unwrap().iter().find(|d| d["name"] == "Television").unwrap();
            assert!(rig.person.withdraw(tv["grant"].as_str().unwrap()).await.unwrap());
        } else {
            assert!(rig.person.revoke(&rig.tv.enrolled().device_id).await.unwrap());
        }
        rig.refuse(&after, 401, "invalid_token", "standing").await;
        rig.refuse(&exchange, 403, "status.revoked", "revoked").await;
        assert!(rig.laptop.members().await.unwrap().live.iter().all(|live| live != rig.tv.did()), "nobody seals to it");
        rig.allow(&rig.to_broker(&rig.laptop, "GET", "/v1/sessions", "session:read", None).await).await;
    }
}

/// STS-08 [R]: of a revocation and 16 exchanges at once, no token that was minted opens anything afterwards.
async fn revocation_wins(on: On) {
    let rig = Rig::new(on).await;
    let mut copies = Vec::new();
    for _ in 0..16 {
        copies.push(rig.exchange(&rig.tv, rig.tv.signer(), &[]).await);
    }
    let device_id = rig.tv.enrolled().device_id;
    let (answers, revoked) = tokio::join!(race(copies), rig.person.revoke(&device_id));
    assert!(revoked.unwrap());
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code == "status.revoked"));
    assert!(Session::open(&rig.tv, b"x").await.is_err());
    for answer in answers.iter().filter(|answer| answer.status == 200) {
        let token = answer.body["access_token"].as_str().unwrap();
        let url = rig.broker("/v1/sessions");
        let ask = super::Ask::new("GET", url.clone()).header("authorization", format!("DPoP {token}"));
        let nonce = rig.dpop_nonce(rig.tv.signer(), &url, "GET", &ask, Some(token)).await;
        let ask = ask.header("dpop", super::Proof::new(&rig, rig.tv.signer(), "GET", &url, Some(token), &nonce).text());
        rig.refuse(&ask, 401, "invalid_token", "standing").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_wins_on_sqlite() {
    revocation_wins(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_wins_on_postgres() {
    revocation_wins(On::Postgres).await;
}
