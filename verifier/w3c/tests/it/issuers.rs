//! Issuers whose keys are elsewhere: on a host of theirs, or in a certificate.

use crate::support::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use baton_w3c::{Host, Policy, Trusted};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use serde_json::{Value, json};
use ssi::JWK;
use std::collections::HashMap;

const WEB: &str = "did:web:uni.example";
const HTTPS: &str = "https://uni.example/tenant";
const DOCUMENT: &str = "https://uni.example/.well-known/did.json";
const METADATA: &str = "https://uni.example/.well-known/jwt-vc-issuer/tenant";

/// The same key under another name.
fn named(key: &JWK, issuer: &str, url: &str) -> Party {
    let mut key = key.clone();
    key.key_id = Some(url.into());
    Party { key, did: issuer.into(), url: url.into() }
}

fn document(key: &JWK) -> Value {
    let method = json!({"id": "#one", "type": "JsonWebKey", "controller": WEB, "publicKeyJwk": key.to_public()});
    json!({"id": WEB, "verificationMethod": [method], "assertionMethod": ["#one"]})
}

fn multikey(key: &JWK) -> Value {
    let did = ssi::dids::DIDKey::generate(key).unwrap().to_string();
    json!({"id": format!("{WEB}#one"), "type": "Multikey", "controller": WEB, "publicKeyMultibase": did.trim_start_matches("did:key:")})
}

#[tokio::test]
async fn did_web_with_a_token_and_with_a_proof() {
    for [key, other] in [[JWK::generate_p256(), JWK::generate_p256()], [(); 2].map(|()| JWK::generate_ed25519().unwrap())] {
        let issuer = named(&key, WEB, "did:web:uni.example#one");
        let policy = trusting(&issuer);
        let token = json!(jwt(&issuer, Some("vc+jwt"), content(&issuer, "did:example:me")).await);
        let proof = with_proof(&issuer, content(&issuer, "did:example:me")).await;
        let good = document(&key);
        let with = |change: &dyn Fn(&mut Value)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed
        };
        for (found, expected) in [
            (good.clone(), None),
            (json!({"id": WEB, "assertionMethod": [multikey(&key)], "more": 1}), None),
            (json!({"id": WEB, "assertionMethod": [multikey(&other)]}), Some("proof")),
            (document(&other), Some("proof")),
            (with(&|d| d["id"] = json!("did:web:other.example")), Some("key")),
            (with(&|d| d["assertionMethod"] = json!([])), Some("key")),
            (with(&|d| d["assertionMethod"] = json!(["#two"])), Some("key")),
            (with(&|d| d["verificationMethod"][0]["controller"] = json!("did:web:other.example")), Some("key")),
            (with(&|d| d["verificationMethod"][0]["revoked"] = json!("2020-01-01T00:00:00Z")), Some("key")),
            (with(&|d| d["verificationMethod"][0]["publicKeyJwk"] = json!({"kty": "oct", "k": "AAAA"})), Some("key")),
            (with(&|d| d["verificationMethod"][0]["publicKeyMultibase"] = multikey(&key)["publicKeyMultibase"].clone()), Some("key")),
            (json!([]), Some("key")),
        ] {
            let shelf = Shelf::with(DOCUMENT, &found);
            for given in [&token, &proof] {
                let report = verify_with(given, &policy, &shelf, NOW).await;
                assert_eq!(report.checks.iter().find(|check| !check.ok).map(|check| check.check), expected, "{found} {given} {:?}", report.checks);
            }
        }
        let short = json!(jwt(&named(&key, WEB, "#one"), Some("vc+jwt"), content(&issuer, "did:example:me")).await);
        assert!(verify_with(&short, &policy, &Shelf::with(DOCUMENT, &good), NOW).await.verified, "a key named beside its DID");
        let away = verify_with(&token, &policy, &Shelf::default(), NOW).await;
        assert_eq!(failed(&away), ("key", "its key could not be fetched"));
        // The key of one did:web is none of another's, and of nobody who carries theirs.
        for url in ["did:web:other.example#one", &by_key(key.clone()).url] {
            let other = named(&key, WEB, url);
            let token = json!(jwt(&other, Some("vc+jwt"), content(&issuer, "did:example:me")).await);
            assert_eq!(failed(&verify_with(&token, &policy, &Shelf::with(DOCUMENT, &good), NOW).await).0, "key");
        }
    }
}

fn sd_jwt_policy(roots: &str) -> Policy {
    let id = HTTPS.into();
    let trusted =
        Trusted { id, types: vec!["https://uni.example/alumni".into()], algorithms: vec!["ES256".into(), "EdDSA".into()], ..Trusted::default() };
    let host = Host { name: "uni.example".into(), ..Host::default() };
    let policy = Policy { issuer: vec![Trusted { roots: roots.into(), ..trusted }], host: vec![host], ..Policy::default() };
    policy.check().unwrap();
    policy
}

fn claims() -> Value {
    json!({"iss": HTTPS, "vct": "https://uni.example/alumni", "iat": NOW - 10, "exp": NOW + 10, "degree": "x"})
}

#[tokio::test]
async fn the_issuer_s_metadata_for_sd_jwt_vcs() {
    for (key, other) in [(JWK::generate_p256(), JWK::generate_p256()), (JWK::generate_ed25519().unwrap(), JWK::generate_ed25519().unwrap())] {
        let issuer = named(&key, HTTPS, "one");
        let policy = sd_jwt_policy("");
        let text = json!(format!("{}~", jwt(&issuer, Some("dc+sd-jwt"), claims()).await));
        let keyed = |key: &JWK, kid: &str| {
            let mut jwk = serde_json::to_value(key.to_public()).unwrap();
            jwk["kid"] = kid.into();
            jwk
        };
        let set = |keys: Value| json!({"issuer": HTTPS, "jwks": {"keys": keys}, "more": 1});
        for (found, expected) in [
            (set(json!([keyed(&other, "two"), keyed(&key, "one")])), None),
            (set(json!([keyed(&other, "one")])), Some("proof")),
            (set(json!([keyed(&key, "two")])), Some("key")),
            (set(json!([keyed(&key, "one"), keyed(&other, "one")])), Some("key")),
            (json!({"issuer": "https://uni.example", "jwks": {"keys": [keyed(&key, "one")]}}), Some("key")),
            (json!({"issuer": HTTPS, "jwks_uri": "https://uni.example/elsewhere"}), Some("key")),
            (json!({"issuer": HTTPS, "jwks_uri": METADATA, "keys": [keyed(&key, "one")]}), None),
            (json!({"issuer": HTTPS, "jwks_uri": "https://other.example/jwks"}), Some("key")),
            (json!({"issuer": HTTPS}), Some("key")),
        ] {
            let report = verify_with(&text, &policy, &Shelf::with(METADATA, &found), NOW).await;
            assert_eq!(report.checks.iter().find(|check| !check.ok).map(|check| check.check), expected, "{found} {:?}", report.checks);
        }
        let bytes = |value: Value| value.to_string().into_bytes();
        let shelf = Shelf(HashMap::from([
            (METADATA.into(), bytes(json!({"issuer": HTTPS, "jwks_uri": "https://uni.example/jwks"}))),
            ("https://uni.example/jwks".into(), bytes(json!({"keys": [keyed(&key, "one")]}))),
        ]));
        assert!(verify_with(&text, &policy, &shelf, NOW).await.verified);
    }
}

type Alter = fn(&mut CertificateParams);

/// A chain for one key: `change` alters its certificate. With the root that vouches for it, as PEM.
fn certified(key: &JWK, change: impl Fn(&mut CertificateParams)) -> (String, Vec<Vec<u8>>) {
    let params = |ca: IsCa| {
        let mut params = CertificateParams::default();
        params.is_ca = ca;
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2040, 1, 1));
        params
    };
    let authority = |name: &str| {
        let mut params = params(IsCa::Ca(BasicConstraints::Unconstrained));
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let root = CertifiedIssuer::self_signed(authority("root"), KeyPair::generate().unwrap()).unwrap();
    let between = CertifiedIssuer::signed_by(authority("between"), KeyPair::generate().unwrap(), &root).unwrap();
    let mut leaf = params(IsCa::NoCa);
    leaf.subject_alt_names = vec![SanType::URI(HTTPS.try_into().unwrap())];
    change(&mut leaf);
    let leaf = leaf.signed_by(&KeyPair::try_from(pkcs8(key)).unwrap(), &between).unwrap();
    (root.pem(), vec![leaf.der().to_vec(), between.der().to_vec()])
}

/// RFC 5958, of a P-256 key.
fn pkcs8(key: &JWK) -> Vec<u8> {
    let jwk = serde_json::to_value(key).unwrap();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let algorithm = b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    [&algorithm[..], b"\x04\x6d\x30\x6b\x02\x01\x01\x04\x20", &part("d"), b"\xa1\x44\x03\x42\x00\x04", &part("x"), &part("y")].concat()
}

fn with_chain(key: &JWK, chain: &[Vec<u8>], claims: &Value) -> Value {
    let chain: Vec<_> = chain.iter().map(|der| STANDARD.encode(der)).collect();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(json!({"alg": "ES256", "typ": "dc+sd-jwt", "x5c": chain})), part(claims.clone()));
    let signature = ssi::claims::jws::sign_bytes_b64(ssi::jwk::Algorithm::ES256, input.as_bytes(), key).unwrap();
    json!(format!("{input}.{signature}~"))
}

#[tokio::test]
async fn a_certificate_that_the_policy_s_roots_vouch_for() {
    let (key, other) = (JWK::generate_p256(), JWK::generate_p256());
    let (root, chain) = certified(&key, |_| ());
    let policy = sd_jwt_policy(&root);
    let good = with_chain(&key, &chain, &claims());
    let report = verify_credential(&good, &policy, NOW).await;
    assert!(report.verified, "{:?}", report.checks);
    assert_eq!(report.subject.unwrap(), json!({"degree": "x"}));

    let untrusted = ("key", "the certificate is not one the policy trusts");
    assert_eq!(failed(&verify_credential(&with_chain(&other, &chain, &claims()), &policy, NOW).await), ("proof", "the signature does not hold"));
    assert_eq!(failed(&verify_credential(&with_chain(&key, &chain[..1], &claims()), &policy, NOW).await), untrusted);
    assert_eq!(failed(&verify_credential(&good, &sd_jwt_policy(&certified(&key, |_| ()).0), NOW).await), untrusted, "another root");
    let late = 2_300_000_000;
    let mut lasting = claims();
    lasting["exp"] = json!(late + 10);
    assert_eq!(failed(&verify_credential(&with_chain(&key, &chain, &lasting), &policy, late).await), untrusted);
    // Where the issuer is known by its metadata, a certificate is nobody's word.
    assert_eq!(failed(&verify_credential(&good, &sd_jwt_policy(""), NOW).await), ("key", "its key could not be fetched"));
    let bare = named(&key, HTTPS, "one");
    let bare = json!(format!("{}~", jwt(&bare, Some("dc+sd-jwt"), claims()).await));
    assert_eq!(failed(&verify_credential(&bare, &policy, NOW).await), untrusted, "no certificate at all");

    let uri = |text: &str| vec![SanType::URI(text.try_into().unwrap())];
    let alterations: [(Alter, Option<&str>); 6] = [
        // A host does not speak for each issuer beneath it.
        (|leaf| leaf.subject_alt_names = vec![SanType::DnsName("uni.example".try_into().unwrap())], Some("the certificate is somebody else's")),
        (|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36])], None),
        (|leaf| leaf.subject_alt_names = vec![SanType::DnsName("other.example".try_into().unwrap())], Some("the certificate is somebody else's")),
        (|leaf| leaf.subject_alt_names = vec![], Some("the certificate is somebody else's")),
        (|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], Some(untrusted.1)),
        (|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), Some(untrusted.1)),
    ];
    for (n, (alter, why)) in alterations.into_iter().enumerate() {
        let (root, chain) = certified(&key, alter);
        let report = verify_credential(&with_chain(&key, &chain, &claims()), &sd_jwt_policy(&root), NOW).await;
        assert_eq!(report.checks.iter().find(|check| !check.ok).and_then(|check| check.reason), why, "{n}");
    }
    let (root, chain) = certified(&key, |leaf| leaf.subject_alt_names = vec![SanType::DnsName("uni.example".try_into().unwrap())]);
    let (mut whole, mut by_host) = (sd_jwt_policy(&root), claims());
    (whole.issuer[0].id, by_host["iss"]) = ("https://uni.example".into(), json!("https://uni.example"));
    assert!(verify_credential(&with_chain(&key, &chain, &by_host), &whole, NOW).await.verified);
    let (root, chain) = certified(&key, |leaf| leaf.subject_alt_names = uri("https://uni.example/other"));
    assert_eq!(
        failed(&verify_credential(&with_chain(&key, &chain, &claims()), &sd_jwt_policy(&root), NOW).await).1,
        "the certificate is somebody else's"
    );
}

/// Under whom the issuer is, the path that holds says: a certificate that was only put beside it vouches for nobody.
#[tokio::test]
async fn an_issuer_is_under_the_authorities_of_its_path() {
    let key = JWK::generate_p256();
    let named = |leaf: &mut CertificateParams| leaf.use_authority_key_identifier_extension = true;
    let (root, chain) = certified(&key, named);
    let under = async |chain: &[Vec<u8>]| {
        let report = verify_credential(&with_chain(&key, chain, &claims()), &sd_jwt_policy(&root), NOW).await;
        assert!(report.verified, "{:?}", report.checks);
        report.authorities
    };
    let own = under(&chain).await;
    assert_eq!((own.len(), own[0].len() > 16), (1, true), "{own:?}");
    let (_, other) = certified(&key, named);
    let with_others = [chain, other].concat();
    assert_eq!(under(&with_others).await, own);
    // One that names another authority than it is under, or none, is under nobody that counts.
    let foreign: fn(&mut CertificateParams) = |leaf| {
        let mut named = vec![0x30, 22, 0x80, 20];
        named.extend([7; 20]);
        leaf.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 35], named)];
    };
    for change in [foreign, |_| ()] {
        let (root, chain) = certified(&key, change);
        let report = verify_credential(&with_chain(&key, &chain, &claims()), &sd_jwt_policy(&root), NOW).await;
        assert_eq!((report.verified, report.authorities), (true, Vec::new()));
    }
}
