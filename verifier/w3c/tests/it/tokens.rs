//! Credentials as tokens, and in each form there is.

use crate::support::*;
use baton_w3c::Policy;
use serde_json::{Value, json};
use ssi::JWK;

#[tokio::test]
async fn a_credential_holds_in_each_form_and_with_each_key() {
    for issuer in parties() {
        let policy = trusting(&issuer);
        let text = jwt(&issuer, Some("vc+jwt"), content(&issuer, "did:example:me")).await;
        let enveloped = json!({"@context": ["https://www.w3.org/ns/credentials/v2"], "type": "EnvelopedVerifiableCredential", "id": format!("data:application/vc+jwt,{text}")});
        let first = json!({"iss": issuer.did, "sub": "did:example:me", "nbf": NOW - 10, "exp": NOW + 10, "vc": {
            "@context": ["https://www.w3.org/2018/credentials/v1"], "type": ["VerifiableCredential", "ExampleAlumniCredential"], "credentialSubject": {"alumniOf": "x"}}});
        let first = jwt(&issuer, Some("JWT"), first).await;
        let proven = with_proof(&issuer, content(&issuer, "did:example:me")).await;
        for (form, given) in [("vc+jwt", json!(text)), ("enveloped", enveloped), ("jwt_vc_json", json!(first)), ("proof", proven)] {
            let report = verify_credential(&given, &policy, NOW).await;
            assert!(report.verified, "{form} by {}: {:?}", issuer.did, report.checks);
            assert_eq!(report.subject.unwrap()["id"], "did:example:me");
            assert_eq!(failed(&verify_credential(&given, &Policy::default(), NOW).await), ("policy", "the issuer is not trusted"));
        }
    }
}

#[tokio::test]
async fn a_token_is_refused_for_each_thing_that_is_wrong_with_it() {
    let [issuer, other, ..] = parties();
    let policy = trusting(&issuer);
    let good = content(&issuer, "did:example:me");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    for (typ, content, expected) in [
        (Some("vc+jwt"), with(&|c| c["issuer"] = json!(other.did)), ("policy", "the issuer is not trusted")),
        (Some("vc+jwt"), with(&|c| c["type"] = json!(["VerifiableCredential", "Other"])), ("policy", "the issuer is not trusted for this type")),
        (Some("vc+jwt"), with(&|c| c["type"] = json!(["ExampleAlumniCredential"])), ("form", "it is no credential")),
        (Some("vc+jwt"), with(&|c| c["validFrom"] = json!("2039-01-01T00:00:00Z")), ("dates", "it is not valid yet")),
        (Some("vc+jwt"), with(&|c| c["validUntil"] = json!("2021-01-01T00:00:00Z")), ("dates", "it has expired")),
        (Some("vc+jwt"), with(&|c| c["validUntil"] = json!("soon")), ("dates", "a date does not parse")),
        (Some("vc+jwt"), with(&|c| c["credentialStatus"] = json!({"id": "https://x.example/1#5"})), ("status", "its status cannot be looked up")),
        (Some("vc+jwt"), with(&|c| c["@context"] = json!(["https://x.example/"])), ("form", "the token is of another type")),
        (Some("vc+jwt"), with(&|c| c["status"] = json!({"status_list": {"idx": 1}})), ("status", "its status cannot be looked up")),
        (Some("vc+jwt"), with(&|c| c["exp"] = json!(NOW)), ("dates", "it has expired")),
        (Some("vc+jwt"), with(&|c| c["nbf"] = json!(NOW + 61)), ("dates", "it is not valid yet")),
        (Some("vc+jwt"), with(&|c| c["iss"] = json!(other.did)), ("form", "two issuers")),
        (Some("vc+jwt"), with(&|c| c["sub"] = json!("did:example:other")), ("form", "two subjects")),
        (Some("vc+jwt"), with(&|c| c["jti"] = json!("urn:uuid:other")), ("form", "two ids")),
        (Some("vc+jwt"), with(&|c| c["credentialSubject"] = json!([])), ("form", "it has no subject")),
        (Some("vc+jwt"), with(&|c| c["credentialSubject"]["id"] = json!(5)), ("form", "it has no subject")),
        (Some("JWT"), good.clone(), ("form", "the token is of another type")),
        (None, good.clone(), ("form", "the token is of another type")),
    ] {
        let text = jwt(&issuer, typ, content.clone()).await;
        assert_eq!(failed(&verify_credential(&json!(text), &policy, NOW).await), expected, "{content}");
    }
    // Signed by another, who says that it is the issuer's key; and in the issuer's name by another's.
    let mut pretends = by_key(JWK::generate_p256());
    pretends.key.key_id = Some(issuer.url.clone());
    let text = jwt(&pretends, Some("vc+jwt"), good.clone()).await;
    assert_eq!(failed(&verify_credential(&json!(text), &policy, NOW).await), ("proof", "the signature does not hold"));
    let text = jwt(&by_key(JWK::generate_p256()), Some("vc+jwt"), good.clone()).await;
    assert_eq!(failed(&verify_credential(&json!(text), &policy, NOW).await), ("key", "the key is not the issuer's"));
    // Heads that would have somebody else decide.
    let text = jwt(&issuer, Some("vc+jwt"), good.clone()).await;
    let rest = text.split_once('.').unwrap().1.to_owned();
    let headed = |header: Value| json!(format!("{}.{rest}", baton_protocol::b64::encode(header.to_string())));
    for (name, value, why) in [
        ("alg", json!("none"), "the algorithm is not allowed"),
        ("alg", json!("HS256"), "the algorithm is not allowed"),
        ("jwk", json!({}), "the header has a parameter that is not allowed"),
        ("jku", json!("https://x.example"), "the header has a parameter that is not allowed"),
        ("x5c", json!([]), "the certificates do not parse"),
        ("crit", json!(["b64"]), "the header has a parameter that is not allowed"),
        ("b64", json!(false), "the header has a parameter that is not allowed"),
    ] {
        let mut header = json!({"alg": "ES256", "typ": "vc+jwt", "kid": issuer.url});
        header[name] = value;
        assert_eq!(failed(&verify_credential(&headed(header), &policy, NOW).await), ("form", why), "{name}");
    }
    // An Ed25519 key signs as itself alone, whatever the policy allows.
    let [_, ed, ..] = parties();
    let policy_of_ed = trusting(&ed);
    for (alg, expected) in [("EdDSA", None), ("ES256", Some("proof"))] {
        let part = |value: &Value| baton_protocol::b64::encode(value.to_string());
        let input = format!("{}.{}", part(&json!({"alg": alg, "typ": "vc+jwt", "kid": ed.url})), part(&content(&ed, "did:example:me")));
        let signature = ssi::claims::jws::sign_bytes_b64(ssi::jwk::Algorithm::EdDSA, input.as_bytes(), &ed.key).unwrap();
        let report = verify_credential(&json!(format!("{input}.{signature}")), &policy_of_ed, NOW).await;
        assert_eq!(report.checks.iter().find(|check| !check.ok).map(|check| check.check), expected, "{alg}");
    }
    for kid in ["did:web:localhost#0", "https://x.example/key", "did:key:zDnaeX", &format!("did:key:z{}#x", "1".repeat(40_000))] {
        let header = json!({"alg": "ES256", "typ": "vc+jwt", "kid": kid});
        assert_eq!(failed(&verify_credential(&headed(header), &policy, NOW).await).0, "key", "{kid}");
    }
    for text in ["", "a.b.c", "a.b", &text[..text.len() - 4], &format!("{text}A"), &format!("{text}.x")] {
        let (check, _) = failed(&verify_credential(&json!(text), &policy, NOW).await);
        assert!(["form", "proof"].contains(&check), "{text}");
    }
    let mut narrow = trusting(&issuer);
    narrow.issuer[0].algorithms = vec!["EdDSA".into()];
    assert_eq!(failed(&verify_credential(&json!(text), &narrow, NOW).await), ("policy", "the issuer is not trusted to sign like this"));
}
