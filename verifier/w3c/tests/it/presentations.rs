//! Presentations: by their holder, for this occasion.

use crate::support::*;
use baton_w3c::Occasion;
use serde_json::{Value, json};
use ssi::claims::data_integrity::{CryptographicSuite as _, ProofOptions};
use ssi::claims::vc::AnyJsonPresentation;
use ssi::dids::DIDResolver as _;
use ssi::verification_methods::{ProofPurpose, SingleSecretSigner};

#[tokio::test]
async fn a_presentation_is_by_the_holder_for_this_occasion() {
    let [issuer, holder, ..] = parties();
    let policy = trusting(&issuer);
    let credential = jwt(&issuer, Some("vc+jwt"), content(&issuer, &holder.did)).await;
    let envelope = |text: &str| json!({"@context": ["https://www.w3.org/ns/credentials/v2"], "type": "EnvelopedVerifiableCredential", "id": format!("data:application/vc+jwt,{text}")});
    let shown = |text: &str| {
        json!({"@context": ["https://www.w3.org/ns/credentials/v2"], "type": ["VerifiablePresentation"], "holder": holder.did, "nonce": "n-1", "aud": "https://shop.example",
            "verifiableCredential": [envelope(text)]})
    };
    let here = Occasion { challenge: "n-1", domain: "https://shop.example" };
    let good = jwt(&holder, Some("vp+jwt"), shown(&credential)).await;
    let report = verify_presentation(&json!(good), &policy, &here, NOW).await;
    assert!(report.verified, "{:?} {:?}", report.checks, report.credentials);
    assert_eq!((report.by.as_deref(), report.credentials.len()), (Some(holder.did.as_str()), 1));
    for (occasion, why) in [
        (Occasion { challenge: "n-2", ..here }, "it was made for another occasion"),
        (Occasion { domain: "https://other.example", ..here }, "it was made for somebody else"),
    ] {
        assert_eq!(failed(&verify_presentation(&json!(good), &policy, &occasion, NOW).await), ("occasion", why));
    }
    // Somebody else's credential; nobody's; one that does not hold.
    let about_other = jwt(&issuer, Some("vc+jwt"), content(&issuer, "did:example:other")).await;
    let text = jwt(&holder, Some("vp+jwt"), shown(&about_other)).await;
    assert_eq!(failed(&verify_presentation(&json!(text), &policy, &here, NOW).await), ("holder", "one of them is not about whoever shows it"));
    // One that names nobody is nobody's to show.
    let mut nobody = content(&issuer, &holder.did);
    nobody["credentialSubject"].as_object_mut().unwrap().remove("id");
    let about_nobody = jwt(&issuer, Some("vc+jwt"), nobody).await;
    assert!(verify_credential(&json!(about_nobody), &policy, NOW).await.verified);
    let text = jwt(&holder, Some("vp+jwt"), shown(&about_nobody)).await;
    assert_eq!(failed(&verify_presentation(&json!(text), &policy, &here, NOW).await), ("holder", "one of them is not about whoever shows it"));
    let text = jwt(&holder, Some("vp+jwt"), shown(&credential[..credential.len() - 4])).await;
    assert_eq!(failed(&verify_presentation(&json!(text), &policy, &here, NOW).await), ("credentials", "one of them does not hold"));
    let mut none = shown(&credential);
    none["verifiableCredential"] = json!([]);
    let text = jwt(&holder, Some("vp+jwt"), none).await;
    assert_eq!(failed(&verify_presentation(&json!(text), &policy, &here, NOW).await), ("credentials", "none, or too many"));
    let mut another = shown(&credential);
    another["holder"] = json!(issuer.did);
    let text = jwt(&holder, Some("vp+jwt"), another).await;
    assert_eq!(failed(&verify_presentation(&json!(text), &policy, &here, NOW).await), ("form", "two holders"));

    // The same with a proof inside, around a credential with a proof inside.
    let inner = with_proof(&issuer, content(&issuer, &holder.did)).await;
    let outer: AnyJsonPresentation = serde_json::from_value(json!({"@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiablePresentation"], "holder": holder.did, "verifiableCredential": [inner]}))
    .unwrap();
    let resolver = ssi::dids::AnyDidMethod::default().into_vm_resolver();
    let mut options = ProofOptions::from_method(ssi::json_ld::iref::IriBuf::new(holder.url.clone()).unwrap().into());
    options.proof_purpose = ProofPurpose::Authentication;
    options.challenge = Some("n-1".into());
    options.domains = vec!["https://shop.example".into()];
    let signer = SingleSecretSigner::new(holder.key.clone()).into_local();
    let signed = suite_of(&holder.key).sign(outer, &resolver, &signer, options).await.unwrap();
    let signed = serde_json::to_value(signed).unwrap();
    let report = verify_presentation(&signed, &policy, &here, NOW).await;
    assert!(report.verified, "{signed} {:?} {:?}", report.checks, report.credentials);
    // Said in another way, inside or outside; and several, whose graphs would look alike.
    for change in [
        (|vp| push(&mut vp["verifiableCredential"]["@context"], json!({"admin": null}))) as fn(&mut Value),
        |vp| push(&mut vp["@context"], json!({"admin": null})),
        |vp| vp["@admin"] = json!(true),
        |vp| vp["verifiableCredential"]["proof"]["domain"] = json!([{"type": "x"}, {"type": "x"}]),
        |vp| vp["verifiableCredential"]["credentialSubject"]["@admin"] = json!(true),
        |vp| vp["verifiableCredential"] = json!([vp["verifiableCredential"], vp["verifiableCredential"]]),
    ] {
        let mut changed = signed.clone();
        if let Value::Array(all) = &changed["verifiableCredential"] {
            changed["verifiableCredential"] = all[0].clone();
        }
        assert!(verify_presentation(&changed, &policy, &here, NOW).await.verified);
        change(&mut changed);
        assert_eq!(failed(&verify_presentation(&changed, &policy, &here, NOW).await).0, "proof");
    }
    let mut moved = signed;
    moved["proof"]["challenge"] = json!("n-2");
    let there = Occasion { challenge: "n-2", ..here };
    assert_eq!(failed(&verify_presentation(&moved, &policy, &there, NOW).await).0, "proof");
}
