//! Status lists of other issuers: a credential counts while its list says so, and not when nobody can tell.

use crate::support::*;
use baton_protocol::b64;
use baton_w3c::{Host, Policy};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use ssi::JWK;
use std::io::Write as _;

const LIST: &str = "https://status.example/lists/1";

fn looking(issuer: &Party) -> Policy {
    let mut policy = trusting(issuer);
    policy.issuer[0].status = vec!["https://status.example/lists/".into()];
    policy.issuer[0].types.push("https://x.example/alumni".into());
    policy.host = vec![Host { name: "status.example".into(), ..Host::default() }];
    policy.check().unwrap();
    policy
}

fn zlib(bytes: &[u8]) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    b64::encode(encoder.finish().unwrap())
}

fn gzip(bytes: &[u8]) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    format!("u{}", b64::encode(encoder.finish().unwrap()))
}

/// Two bits each: 0 valid, 1 invalid, 2 suspended, 3 nobody knows.
fn token_list() -> Value {
    json!({"sub": LIST, "iat": NOW - 10, "exp": NOW + 10, "ttl": 5, "status_list": {"bits": 2, "lst": zlib(&[0b1110_0100, 0])}})
}

async fn with_index(issuer: &Party, index: Value) -> Value {
    let claims = json!({"iss": issuer.did, "vct": "https://x.example/alumni", "iat": NOW - 10, "degree": "x", "status": {"status_list": {"idx": index, "uri": LIST}}});
    json!(format!("{}~", jwt(issuer, Some("dc+sd-jwt"), claims).await))
}

const UNKNOWN: &str = "its status cannot be looked up";
const NO_LIST: &str = "where its status list should be is something else";

#[tokio::test]
async fn a_token_status_list() {
    for issuer in parties() {
        let policy = looking(&issuer);
        let shelf = Shelf::with(LIST, &jwt(&issuer, Some("statuslist+jwt"), token_list()).await);
        for (index, expected) in [
            (json!(0), None),
            (json!(7), None),
            (json!(1), Some("it was revoked")),
            (json!(2), Some("it is suspended")),
            (json!(3), Some("its status is one that is not known here")),
            (json!(8), Some("its status list has no such entry")),
            (json!(u64::MAX), Some("its status list has no such entry")),
            (json!("0"), Some(UNKNOWN)),
            (json!(-1), Some(UNKNOWN)),
        ] {
            let report = verify_with(&with_index(&issuer, index.clone()).await, &policy, &shelf, NOW).await;
            assert_eq!(report.checks.iter().find(|check| !check.ok).and_then(|check| check.reason), expected, "{index} {:?}", report.checks);
        }
        let good = with_index(&issuer, json!(0)).await;
        let mut unlisted = looking(&issuer);
        unlisted.issuer[0].status.clear();
        assert_eq!(failed(&verify_credential(&good, &policy, NOW).await), ("status", UNKNOWN), "its host does not answer");
        assert_eq!(failed(&verify_with(&good, &unlisted, &shelf, NOW).await), ("status", UNKNOWN), "its host is not one of the policy");
        let mut elsewhere = looking(&issuer);
        elsewhere.issuer[0].status = vec!["https://status.example/other/".into()];
        assert_eq!(failed(&verify_with(&good, &elsewhere, &shelf, NOW).await), ("status", UNKNOWN));

        let with = |name: &str, value: Value| {
            let mut changed = token_list();
            changed[name] = value;
            changed
        };
        let bits = |bits: u8, lst: String| with("status_list", json!({"bits": bits, "lst": lst}));
        let other = by_key(JWK::generate_p256());
        let mut pretends = parties().into_iter().find(|party| suite_of(&party.key) == suite_of(&issuer.key)).unwrap();
        pretends.key.key_id = Some(issuer.url.clone());
        for (by, typ, list, expected) in [
            (&issuer, "statuslist+jwt", with("sub", json!("https://status.example/lists/2")), NO_LIST),
            (&issuer, "JWT", token_list(), NO_LIST),
            (&issuer, "statuslist+jwt", with("exp", json!(NOW)), "its status list is of another time"),
            (&issuer, "statuslist+jwt", with("iat", json!(NOW + 61)), "its status list is of another time"),
            (&issuer, "statuslist+jwt", bits(3, zlib(&[0, 0])), NO_LIST),
            (&issuer, "statuslist+jwt", bits(2, b64::encode([0, 0])), NO_LIST),
            (&issuer, "statuslist+jwt", bits(2, zlib(&vec![0; (1 << 20) + 1])), NO_LIST),
            (&other, "statuslist+jwt", token_list(), "the key is not the issuer's"),
            (&pretends, "statuslist+jwt", token_list(), "its status list is not the issuer's"),
        ] {
            let shelf = Shelf::with(LIST, &jwt(by, Some(typ), list).await);
            assert_eq!(failed(&verify_with(&good, &policy, &shelf, NOW).await).1, expected);
        }
        let shelf = Shelf::with(LIST, &jwt(&issuer, Some("statuslist+jwt"), bits(2, zlib(&vec![0; 1 << 20]))).await);
        assert!(verify_with(&good, &policy, &shelf, NOW).await.verified, "the longest");
        assert_eq!(failed(&verify_with(&good, &policy, &Shelf::with(LIST, "<html>"), NOW).await), ("status", NO_LIST));
    }
}

fn bitstring(issuer: &Party, bytes: &[u8]) -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": LIST,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": issuer.did,
        "validFrom": "2020-01-01T00:00:00Z",
        "credentialSubject": {"id": format!("{LIST}#list"), "type": "BitstringStatusList", "statusPurpose": "revocation", "encodedList": gzip(bytes)},
    })
}

fn entry(index: &str) -> Value {
    json!({"id": format!("{LIST}#{index}"), "type": "BitstringStatusListEntry", "statusPurpose": "revocation", "statusListIndex": index,
        "statusListCredential": LIST})
}

/// The first of each eight is set in the second byte alone.
fn bytes() -> Vec<u8> {
    let mut bytes = vec![0; 131_072 / 8];
    bytes[1] = 0b1000_0000;
    bytes
}

#[tokio::test]
async fn a_bitstring_status_list() {
    for issuer in parties() {
        let policy = looking(&issuer);
        let list = bitstring(&issuer, &bytes());
        let as_token = Shelf::with(LIST, &jwt(&issuer, Some("vc+jwt"), list.clone()).await);
        let as_document = Shelf::with(LIST, &with_proof(&issuer, list.clone()).await);
        let with = |status: Value| {
            let mut changed = content(&issuer, "did:example:me");
            changed["credentialStatus"] = status;
            changed
        };
        for (status, expected) in [
            (entry("0"), None),
            (json!([entry("0"), entry("9")]), None),
            (entry("8"), Some("it was revoked")),
            (json!([entry("0"), entry("8")]), Some("it was revoked")),
            (entry("131072"), Some("its status list has no such entry")),
            (entry("-1"), Some(UNKNOWN)),
        ] {
            let token = json!(jwt(&issuer, Some("vc+jwt"), with(status.clone())).await);
            let document = with_proof(&issuer, with(status.clone())).await;
            for (given, shelf) in [(&token, &as_token), (&token, &as_document), (&document, &as_token), (&document, &as_document)] {
                let report = verify_with(given, &policy, shelf, NOW).await;
                assert_eq!(report.checks.iter().find(|check| !check.ok).and_then(|check| check.reason), expected, "{status} {:?}", report.checks);
            }
        }
        let altered = |name: &str, value: Value| {
            let mut changed = entry("0");
            changed[name] = value;
            changed
        };
        for status in [
            altered("type", json!("StatusList2021Entry")),
            altered("statusPurpose", json!("message")),
            altered("statusSize", json!(2)),
            altered("statusListCredential", json!("https://other.example/lists/1")),
            altered("statusListCredential", json!("https://status.example/lists/../private")),
            altered("statusListCredential", json!("https://status.example/lists/1?n=5")),
            json!([]),
        ] {
            let token = json!(jwt(&issuer, Some("vc+jwt"), with(status.clone())).await);
            assert_eq!(failed(&verify_with(&token, &policy, &as_token, NOW).await), ("status", UNKNOWN), "{status}");
        }
        let good = json!(jwt(&issuer, Some("vc+jwt"), with(entry("0"))).await);
        let other = by_key(JWK::generate_p256());
        let changed = |at: &str, value: Value| {
            let mut changed = list.clone();
            *changed.pointer_mut(at).unwrap() = value;
            changed
        };
        let mut nameless = list.clone();
        nameless.as_object_mut().unwrap().remove("id");
        let not_theirs = "its status list is not the issuer's";
        for (by, list, expected) in [
            (&issuer, changed("/id", json!("https://status.example/lists/2")), NO_LIST),
            (&issuer, nameless.clone(), NO_LIST),
            (&issuer, changed("/credentialSubject/statusPurpose", json!("suspension")), NO_LIST),
            (&issuer, changed("/credentialSubject/type", json!("Other")), NO_LIST),
            (&issuer, changed("/credentialSubject/encodedList", json!(gzip(&[0; 16]))), NO_LIST),
            (&issuer, changed("/credentialSubject/encodedList", json!(gzip(&vec![0; (1 << 20) + 1]))), NO_LIST),
            (&issuer, changed("/type", json!(["VerifiableCredential", "ExampleAlumniCredential"])), not_theirs),
            (&issuer, changed("/validFrom", json!("2039-01-01T00:00:00Z")), not_theirs),
            (&issuer, changed("/issuer", json!(other.did)), not_theirs),
            (&other, changed("/issuer", json!(other.did)), not_theirs),
            (&other, list.clone(), not_theirs),
        ] {
            let shelf = Shelf::with(LIST, &jwt(by, Some("vc+jwt"), list).await);
            assert_eq!(failed(&verify_with(&good, &policy, &shelf, NOW).await), ("status", expected));
        }
        assert_eq!(failed(&verify_with(&good, &policy, &Shelf::with(LIST, "{}"), NOW).await), ("status", not_theirs));
    }
}
