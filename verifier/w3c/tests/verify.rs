//! What holds, and what is refused beside it with the attacked bit alone changed. Issued here by ssi; by libraries nobody here wrote in tests/clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use baton_w3c::{Occasion, Policy, Report, Trusted, verify_credential, verify_presentation};
use serde_json::{Value, json};
use ssi::JWK;
use ssi::claims::data_integrity::{AnySuite, CryptographicSuite as _, ProofOptions};
use ssi::claims::jws::JwsPayload as _;
use ssi::claims::vc::{AnyJsonCredential, AnyJsonPresentation};
use ssi::dids::{DIDJWK, DIDKey, DIDResolver as _};
use ssi::verification_methods::{ProofPurpose, SingleSecretSigner};
use std::pin::Pin;

const NOW: i64 = 1_800_000_000;

struct Party {
    key: JWK,
    did: String,
    url: String,
}

fn by_key(key: JWK) -> Party {
    let did = DIDKey::generate(&key).unwrap().to_string();
    let url = DIDKey::generate_url(&key).unwrap().to_string();
    let mut key = key;
    key.key_id = Some(url.clone());
    Party { key, did, url }
}

fn by_jwk(key: JWK) -> Party {
    let url = DIDJWK::generate_url(&key.to_public()).to_string();
    let mut key = key;
    key.key_id = Some(url.clone());
    Party { did: url.split('#').next().unwrap().into(), url, key }
}

fn parties() -> [Party; 4] {
    let (p256, ed) = (JWK::generate_p256, || JWK::generate_ed25519().unwrap());
    [by_key(p256()), by_key(ed()), by_jwk(p256()), by_jwk(ed())]
}

fn trusting(issuer: &Party) -> Policy {
    let algorithms = ["ES256", "EdDSA", "ecdsa-rdfc-2019", "eddsa-rdfc-2022"].map(str::to_owned).to_vec();
    let contexts = vec!["https://www.w3.org/ns/credentials/examples/v2".into()];
    Policy { issuer: vec![Trusted { id: issuer.did.clone(), types: vec!["ExampleAlumniCredential".into()], algorithms, contexts }] }
}

fn content(issuer: &Party, subject: &str) -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"],
        "id": "urn:uuid:36245ee9-9074-4b05-a777-febff2e69757",
        "type": ["VerifiableCredential", "ExampleAlumniCredential"],
        "issuer": issuer.did,
        "validFrom": "2020-01-01T00:00:00Z",
        "validUntil": "2040-01-01T00:00:00Z",
        "credentialSubject": {"id": subject, "alumniOf": {"id": "did:example:c276e12ec21ebfeb1f712ebc6f1", "name": "Example University"}},
    })
}

struct Text {
    typ: Option<&'static str>,
    content: Value,
}

impl ssi::claims::jws::JwsPayload for Text {
    fn typ(&self) -> Option<&str> {
        self.typ
    }
    fn payload_bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        self.content.to_string().into_bytes().into()
    }
}

async fn jwt(by: &Party, typ: Option<&'static str>, content: Value) -> String {
    Text { typ, content }.sign(&by.key).await.unwrap().into_string()
}

fn with_proof(by: &Party, content: Value) -> Pin<Box<impl Future<Output = Value> + '_>> {
    Box::pin(proven(by, content))
}

async fn proven(by: &Party, content: Value) -> Value {
    let credential: AnyJsonCredential = serde_json::from_value(content).unwrap();
    let resolver = ssi::dids::AnyDidMethod::default().into_vm_resolver();
    let signer = SingleSecretSigner::new(by.key.clone()).into_local();
    let suite = suite_of(&by.key);
    let options = ProofOptions::from_method(ssi::json_ld::iref::IriBuf::new(by.url.clone()).unwrap().into());
    serde_json::to_value(suite.sign(credential, &resolver, &signer, options).await.unwrap()).unwrap()
}

fn suite_of(key: &JWK) -> AnySuite {
    if key.algorithm == Some(ssi::jwk::Algorithm::EdDSA) || matches!(key.params, ssi::jwk::Params::OKP(_)) {
        AnySuite::EdDsaRdfc2022
    } else {
        AnySuite::EcdsaRdfc2019
    }
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}

type Change = Box<dyn Fn(&mut Value)>;

fn failed(report: &Report) -> (&'static str, &'static str) {
    assert!(!report.verified && report.subject.is_none());
    let last = report.checks.last().unwrap();
    assert!(!last.ok);
    (last.check, last.reason.unwrap())
}

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
        (Some("vc+jwt"), with(&|c| c["nbf"] = json!(NOW + 1)), ("dates", "it is not valid yet")),
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
        ("x5c", json!([]), "the header has a parameter that is not allowed"),
        ("crit", json!(["b64"]), "the header has a parameter that is not allowed"),
        ("b64", json!(false), "the header has a parameter that is not allowed"),
    ] {
        let mut header = json!({"alg": "ES256", "typ": "vc+jwt", "kid": issuer.url});
        header[name] = value;
        assert_eq!(failed(&verify_credential(&headed(header), &policy, NOW).await), ("form", why), "{name}");
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
            (with("nbf", json!(NOW + 1)), ("dates", "it is not valid yet")),
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
