//! attacks.md, section E, as far as a list by itself can show it. Token Status List.

use crate::support::{Key, NOW, with, without};
use baton_protocol::b64;
use baton_protocol::refusal::Status as Refused;
use baton_protocol::status_list::{Bits, Status, check, draft};
use serde_json::{Value, json};

const URI: &str = "https://id.example/v1/status-lists/1";

#[test]
fn a_signed_list_says_what_was_set() {
    let key = Key::new();
    let mut bits = Bits::all_valid();
    bits.revoke(77).unwrap();
    let token = key.sign(draft("k", URI, &bits, 60, NOW));
    let list = check(&token, URI, &key.public, 0, NOW).unwrap();
    assert_eq!((list.status(77), list.status(78), list.status(1 << 17)), (Ok(Status::Invalid), Ok(Status::Valid), Err(Refused::Index)));
    // 131,072 entries of which few are set travel in a few hundred bytes.
    assert!(token.len() < 2000, "{}", token.len());
}

#[test]
fn each_claim() {
    let (key, other) = (Key::new(), Key::new());
    let token = key.sign(draft("k", URI, &Bits::all_valid(), 60, NOW));
    let payload: Value = serde_json::from_slice(&b64::decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    let head = json!({"alg": "ES256", "typ": "statuslist+jwt", "kid": "k"});
    let made = |change: &dyn Fn(&Value) -> Value| check(&key.jws(&head, &change(&payload)), URI, &key.public, 0, NOW).map(|_| ());
    assert_eq!(made(&Clone::clone), Ok(()));
    assert_eq!(check(&token, URI, &other.public, 0, NOW).map(|_| ()), Err(Refused::Token), "STS-04");
    assert_eq!(check(&key.jws(&with(&head, "typ", "JWT".into()), &payload), URI, &key.public, 0, NOW).map(|_| ()), Err(Refused::Token), "STS-03");
    assert_eq!(made(&|c| with(c, "sub", "https://id.example/v1/status-lists/2".into())), Err(Refused::Token), "STS-03");
    assert_eq!(made(&|c| with(c, "exp", NOW.secs().into())), Err(Refused::Stale));
    assert_eq!(made(&|c| with(c, "iat", (NOW.secs() - 60).into())), Err(Refused::Stale), "ttl passed");
    assert_eq!(made(&|c| with(c, "iat", (NOW.secs() + 6).into())), Err(Refused::Token));
    for name in ["sub", "iat", "exp", "ttl", "status_list"] {
        assert_eq!(made(&|c| without(c, name)), Err(Refused::Token), "{name}");
    }
    assert_eq!(made(&|c| with(c, "status_list", json!({"bits": 1, "lst": payload["status_list"]["lst"]}))), Err(Refused::Token));
    assert_eq!(check(&token, URI, &key.public, NOW.secs() + 1, NOW).map(|_| ()), Err(Refused::Stale), "STS-07: older than one seen before");
}

#[test]
fn a_list_that_inflates_without_end_is_cut_off() {
    use std::io::Write as _;
    let key = Key::new();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 8 << 20]).unwrap();
    let lst = b64::encode(encoder.finish().unwrap());
    let claims = json!({"sub": URI, "iat": NOW.secs(), "exp": NOW.secs() + 60, "ttl": 60, "status_list": {"bits": 2, "lst": lst}});
    let token = key.jws(&json!({"alg": "ES256", "typ": "statuslist+jwt"}), &claims);
    assert_eq!(check(&token, URI, &key.public, 0, NOW).map(|_| ()), Err(Refused::Token));
}
