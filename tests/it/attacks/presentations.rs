//! `presentations/verify`: what a relying service learns, and what it may not do.

use super::{Ask, Rig};
use crate::support::RELYING_KEY;
use baton_service::testing::On;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_relying_service_asks() {
    let rig = Rig::new(On::Sqlite).await;
    let (audience, nonce) = ("https://shop.example", "a nonce the shop made");
    let shown = rig.laptop.present(audience, nonce, &[], &["name", "kind"]).await.unwrap();
    let body = |nonce: &str, required: &[&str]| json!({"presentation": shown, "audience": audience, "nonce": nonce, "required_claims": required});
    let ask = |body: &serde_json::Value| {
        Ask::new("POST", rig.verifier("/v1/presentations/verify")).header("authorization", format!("Bearer {RELYING_KEY}")).json(body)
    };

    rig.refuse(&ask(&body("another nonce than that", &[])), 400, "kb.invalid", "nonce").await;
    rig.refuse(&ask(&body(nonce, &["platform"])), 400, "vc.claims_missing", "claims missing").await;
    rig.refuse(&ask(&body(nonce, &[])).header("authorization", "Bearer somebody else's key"), 401, "invalid_client", "client").await;
    rig.refuse(&ask(&json!({"presentation": shown, "audience": "https://other.example", "nonce": nonce})), 400, "kb.invalid", "aud").await;
    let verdict = rig.allow(&ask(&body(nonce, &["name"]))).await;
    assert_eq!(
        (&verdict["claims"], &verdict["tier"], &verdict["status"]["value"]),
        (&json!({"name": "Laptop", "kind": "laptop"}), &json!("full"), &json!("valid"))
    );
    rig.refuse(&ask(&body(nonce, &["name"])), 400, "kb.replay", "replay").await;

    assert!(rig.person.revoke(&rig.laptop.enrolled().device_id).await.unwrap());
    let again = "another nonce the shop made";
    let shown = rig.laptop.present(audience, again, &[], &[]).await.unwrap();
    rig.refuse(&ask(&json!({"presentation": shown, "audience": audience, "nonce": again})), 403, "status.revoked", "revoked").await;
}
