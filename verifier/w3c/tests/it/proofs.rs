//! Data Integrity proofs: what they cover, and documents that say the same in JSON as in RDF.

use crate::support::*;
use serde_json::{Value, json};
use ssi::JWK;

#[tokio::test]
async fn a_proof_covers_everything_and_is_for_this_alone() {
    for issuer in parties().into_iter().take(2) {
        let policy = trusting(&issuer);
        let good = with_proof(&issuer, content(&issuer, "did:example:me")).await;
        assert!(verify_credential(&good, &policy, NOW).await.verified);
        let other = by_key(JWK::generate_p256());
        let changes: [(&str, Change, &str); 40] = [
            ("another subject", Box::new(|c| c["credentialSubject"]["id"] = json!("did:example:other")), "proof"),
            ("another claim", Box::new(|c| c["credentialSubject"]["alumniOf"]["name"] = json!("Other")), "proof"),
            ("a claim more", Box::new(|c| c["credentialSubject"]["degree"] = json!("x")), "proof"),
            ("a term nobody defines", Box::new(|c| c["credentialSubject"]["role_of_nobody"] = json!("admin")), "proof"),
            ("a member at the top that nobody defines", Box::new(|c| c["admin"] = json!(true)), "proof"),
            ("another date", Box::new(|c| c["validUntil"] = json!("2050-01-01T00:00:00Z")), "proof"),
            ("a context that nobody carries", Box::new(|c| c["@context"][1] = json!("https://x.example/context")), "proof"),
            ("a context of its own", Box::new(|c| c["@context"][1] = json!({"alumniOf": "https://x.example/other"})), "proof"),
            ("no date", Box::new(|c| drop(c.as_object_mut().unwrap().remove("validUntil"))), "proof"),
            ("another purpose", Box::new(|c| c["proof"]["proofPurpose"] = json!("authentication")), "form"),
            ("another suite", Box::new(|c| c["proof"]["cryptosuite"] = json!("bbs-2023")), "form"),
            ("another type of proof", Box::new(|c| c["proof"]["type"] = json!("Ed25519Signature2020")), "form"),
            ("two proofs", Box::new(|c| c["proof"] = json!([c["proof"], c["proof"]])), "form"),
            ("a proof that has ended", Box::new(|c| c["proof"]["expires"] = json!("2021-01-01T00:00:00Z")), "proof"),
            ("a proof from the future", Box::new(|c| c["proof"]["created"] = json!("2039-01-01T00:00:00Z")), "proof"),
            ("no proof", Box::new(|c| drop(c.as_object_mut().unwrap().remove("proof"))), "form"),
            // What JSON-LD leaves out of what is signed, or reads in another way than JSON does.
            (
                "a context that makes a term nothing",
                Box::new(|c| {
                    push(&mut c["@context"], json!({"admin": null}));
                    c["credentialSubject"]["admin"] = json!(true);
                }),
                "proof",
            ),
            ("a context inside", Box::new(|c| c["credentialSubject"]["@context"] = json!({"admin": null})), "proof"),
            (
                "a context that swaps two terms",
                Box::new(|c| push(&mut c["@context"], json!({"name": null, "called": "https://schema.org/name"}))),
                "proof",
            ),
            ("a context more", Box::new(|c| push(&mut c["@context"], json!("https://w3id.org/security/data-integrity/v2"))), "proof"),
            ("a context less", Box::new(|c| drop(c["@context"].as_array_mut().unwrap().pop())), "proof"),
            ("contexts in another order", Box::new(|c| c["@context"].as_array_mut().unwrap().reverse()), "form"),
            ("a keyword of nobody", Box::new(|c| c["credentialSubject"]["@admin"] = json!(true)), "proof"),
            ("an index", Box::new(|c| c["credentialSubject"]["@index"] = json!("admin")), "proof"),
            ("nothing", Box::new(|c| c["credentialSubject"]["admin"] = json!(null)), "proof"),
            ("an empty list", Box::new(|c| c["credentialSubject"]["admin"] = json!([])), "proof"),
            ("an empty list where something stands", Box::new(|c| c["evidence"] = json!([])), "proof"),
            (
                "an end by its long name",
                Box::new(|c| {
                    let end = c.as_object_mut().unwrap().remove("validUntil").unwrap();
                    c["https://www.w3.org/2018/credentials#validUntil"] =
                        json!({"@type": "http://www.w3.org/2001/XMLSchema#dateTime", "@value": end});
                }),
                "proof",
            ),
            (
                "a status by its long name",
                Box::new(|c| c["https://www.w3.org/2018/credentials#credentialStatus"] = json!({"id": "https://x.example/1"})),
                "proof",
            ),
            ("a type by its long name", Box::new(|c| c["@type"] = json!(["Other"])), "proof"),
            (
                "a subject by its long name",
                Box::new(|c| {
                    let id = c["credentialSubject"].as_object_mut().unwrap().remove("id").unwrap();
                    c["credentialSubject"]["@id"] = id;
                }),
                "proof",
            ),
            ("an id that is no IRI", Box::new(|c| c["credentialSubject"]["id"] = json!("alice")), "proof"),
            ("an id that is no text", Box::new(|c| c["credentialSubject"]["id"] = json!(5)), "form"),
            ("no id", Box::new(|c| drop(c["credentialSubject"].as_object_mut().unwrap().remove("id"))), "proof"),
            ("a relative reference", Box::new(|c| c["termsOfUse"] = json!("terms")), "proof"),
            ("a proof inside", Box::new(|c| c["credentialSubject"]["proof"] = json!({"id": "urn:x:y", "type": "DataIntegrityProof"})), "proof"),
            ("a list in a list", Box::new(|c| c["credentialSubject"]["name"] = json!([["x"]])), "proof"),
            ("a proof with a node inside", Box::new(|c| c["proof"]["domain"] = json!({"type": "x"})), "form"),
            ("a proof with a context", Box::new(|c| c["proof"]["@context"] = json!({"admin": null})), "form"),
            ("a proof that is long", Box::new(|c| c["proof"]["proofValue"] = json!(format!("z{}", "1".repeat(60_000)))), "form"),
        ];
        for (why, change, check) in changes {
            let mut changed = good.clone();
            change(&mut changed);
            assert_eq!(failed(&verify_credential(&changed, &policy, NOW).await).0, check, "{why}");
        }
        let mut changed = good.clone();
        changed["proof"]["verificationMethod"] = json!(other.url);
        assert_eq!(failed(&verify_credential(&changed, &policy, NOW).await), ("key", "the key is not the issuer's"));
        // What would take for ever is not begun.
        let mut many = good.clone();
        many["credentialSubject"] = (0..10).map(|_| json!({"alumniOf": {"name": "x"}})).collect();
        assert_eq!(failed(&verify_credential(&many, &policy, NOW).await), ("proof", "a node has no id"));
        let mut named = good;
        named["credentialSubject"]["id"] = json!("_:b0");
        assert_eq!(failed(&verify_credential(&named, &policy, NOW).await), ("proof", "an id is no absolute IRI"));
        let terms: serde_json::Map<_, _> = (0..1500).map(|n| (format!("a{n}"), json!(format!("a{}:x", n + 1)))).collect();
        named["credentialSubject"]["id"] = json!("did:example:me");
        push(&mut named["@context"], Value::Object(terms));
        assert_eq!(failed(&verify_credential(&named, &policy, NOW).await), ("proof", "the contexts are not those of the policy"));
    }
}

/// RDF knows a node by its id: what was signed of it in one place could be said in another.
#[tokio::test]
async fn a_node_is_described_once() {
    let [issuer, ..] = parties();
    let policy = trusting(&issuer);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = content(&issuer, "did:example:me");
        changed["id"] = json!("urn:uuid:c1");
        changed["credentialSubject"]["provenBy"] = json!({"id": "urn:uuid:c1"});
        change(&mut changed);
        changed
    };
    let plain = with_proof(&issuer, with(&|_| {})).await;
    assert!(verify_credential(&plain, &policy, NOW).await.verified, "named again, and not described");
    for (signed, moved, why) in [
        (
            with(&|c| c["validUntil"] = json!("2021-01-01T00:00:00Z")),
            (|c| {
                let end = c.as_object_mut().unwrap().remove("validUntil").unwrap();
                c["credentialSubject"]["provenBy"] = json!({"id": "urn:uuid:c1", "type": ["VerifiableCredential"], "validUntil": end});
            }) as fn(&mut Value),
            "a node is described twice",
        ),
        (
            with(&|c| c["credentialSubject"]["alumniOf"]["knows"] = json!({"id": "did:example:other"})),
            |c| c["credentialSubject"]["knows"] = json!({"id": "did:example:c276e12ec21ebfeb1f712ebc6f1", "name": "Example University"}),
            "a node is described twice",
        ),
        (
            with(&|_| {}),
            |c| c["credentialSubject"]["alumniOf"]["credentialStatus"] = json!({"id": "urn:x:y"}),
            "a node says what only the credential itself may say",
        ),
        (with(&|_| {}), |c| c["credentialSubject"]["n"] = json!(0.5), "a number is not whole, or too large"),
        (with(&|_| {}), |c| c["credentialSubject"]["n"] = json!(9_007_199_254_740_992_i64), "a number is not whole, or too large"),
    ] {
        let mut given = with_proof(&issuer, signed).await;
        moved(&mut given);
        assert_eq!(failed(&verify_credential(&given, &policy, NOW).await), ("proof", why), "{given}");
    }
    let five: Value = serde_json::from_str(r#"{"n": 5e0}"#).unwrap();
    let mut given = plain;
    given["credentialSubject"]["n"] = five["n"].clone();
    assert_eq!(failed(&verify_credential(&given, &policy, NOW).await), ("proof", "a number is not whole, or too large"));
    // The same beside `vc` of a JWT.
    let first = |name: &str, value: Value| {
        let mut claims = json!({"iss": issuer.did, "sub": "did:example:me", "nbf": NOW - 10, "vc": {"@context": ["https://www.w3.org/2018/credentials/v1"],
            "type": ["VerifiableCredential", "ExampleAlumniCredential"], "credentialSubject": {"alumniOf": "x"}}});
        claims[name] = value;
        claims
    };
    assert!(verify_credential(&json!(jwt(&issuer, Some("JWT"), first("nonce", json!("n"))).await), &policy, NOW).await.verified);
    for name in ["status", "credentialStatus", "expirationDate", "validUntil"] {
        let text = jwt(&issuer, Some("JWT"), first(name, json!({"id": "urn:x:y"}))).await;
        assert_eq!(
            failed(&verify_credential(&json!(text), &policy, NOW).await),
            ("form", "something is said beside vc that belongs inside"),
            "{name}"
        );
    }
}
