//! SD-JWT VCs of other issuers.

use crate::support::*;
use baton_w3c::Occasion;
use serde_json::{Value, json};
use ssi::JWK;
use ssi::claims::jws::JwsPayload as _;

#[tokio::test]
async fn an_sd_jwt_vc_of_another_issuer_holds_with_what_was_disclosed() {
    use baton_protocol::sd_jwt::Disclosure;
    for issuer in parties() {
        let mut policy = trusting(&issuer);
        policy.issuer[0].types = vec!["https://x.example/alumni".into()];
        let (key, other) = (JWK::generate_p256(), JWK::generate_p256());
        let degree = Disclosure::member([7; 16], "degree", &json!("x"));
        let hidden = Disclosure::member([8; 16], "grade", &json!(1));
        let claims = json!({"iss": issuer.did, "vct": "https://x.example/alumni", "iat": NOW - 10, "exp": NOW + 10, "cnf": {"jwk": key.to_public()},
            "_sd": [degree.digest(), hidden.digest()], "_sd_alg": "sha-256", "score": 1.5});
        let signed = async |claims: &Value| format!("{}~{}~", jwt(&issuer, Some("dc+sd-jwt"), claims.clone()).await, degree.as_str());
        let good = signed(&claims).await;
        let report = verify_credential(&json!(good), &policy, NOW).await;
        assert!(report.verified, "{:?}", report.checks);
        let subject = report.subject.unwrap();
        assert_eq!((&subject["degree"], subject["score"].as_f64(), subject.get("grade")), (&json!("x"), Some(1.5), None));

        let bound = async |by: &JWK, shown: &str, nonce: &str, aud: &str, iat: i64| {
            let kb = json!({"nonce": nonce, "aud": aud, "iat": iat, "sd_hash": baton_protocol::key::hash(shown.as_bytes())});
            let mut by = by.clone();
            by.key_id = None;
            format!("{good}{}", Text { typ: Some("kb+jwt"), content: kb }.sign(&by).await.unwrap())
        };
        let here = Occasion { challenge: "a nonce", domain: "https://shop.example" };
        let shown = bound(&key, &good, here.challenge, here.domain, NOW).await;
        assert!(verify_presentation(&json!(shown), &policy, &here, NOW).await.verified);
        for (text, why) in [
            (good.clone(), "nobody shows that they hold it"),
            (bound(&other, &good, here.challenge, here.domain, NOW).await, "somebody else shows it"),
            (bound(&key, &format!("{good}x"), here.challenge, here.domain, NOW).await, "something else was shown"),
            (bound(&key, &good, "another", here.domain, NOW).await, "it was made for another occasion"),
            (bound(&key, &good, here.challenge, "https://other.example", NOW).await, "it was made for somebody else"),
            (bound(&key, &good, here.challenge, here.domain, NOW - 365 * 24 * 3600).await, "it was made at another time"),
        ] {
            assert_eq!(failed(&verify_presentation(&json!(text), &policy, &here, NOW).await), ("holder", why));
        }
        assert_eq!(failed(&verify_credential(&json!(shown), &policy, NOW).await).0, "holder", "an occasion that nobody names");
        let with = |name: &str, value: Value| {
            let mut other = claims.clone();
            other[name] = value;
            other
        };
        for (claims, expected) in [
            (with("exp", json!(NOW)), ("dates", "it has expired")),
            (with("nbf", json!(NOW + 61)), ("dates", "it is not valid yet")),
            (with("status", json!({"status_list": {"idx": 1, "uri": "https://x.example"}})), ("status", "its status cannot be looked up")),
            (with("vct", json!("https://x.example/other")), ("policy", "the issuer is not trusted for this type")),
            (with("_sd", json!([hidden.digest()])), ("disclosures", "a disclosure does not belong where it would go")),
            (with("_sd_alg", json!("md5")), ("disclosures", "a disclosure does not belong where it would go")),
        ] {
            assert_eq!(failed(&verify_credential(&json!(signed(&claims).await), &policy, NOW).await), expected);
        }
        let typed = format!("{}~", jwt(&issuer, Some("vc+jwt"), claims.clone()).await);
        assert_eq!(failed(&verify_credential(&json!(typed), &policy, NOW).await), ("form", "the token is of another type"));
    }
}
