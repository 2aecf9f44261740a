//! attacks.md, section F, as far as a proof by itself can show it. RFC 9449.

use crate::support::{Key, NOW, with, without};
use baton_protocol::dpop::{Expected, check, token_hash};
use baton_protocol::refusal::{Dpop, Jose};
use serde_json::{Value, json};

const URL: &str = "https://broker.example/v1/sessions";

fn claims() -> Value {
    json!({"jti": "0123456789", "htm": "POST", "htu": URL, "iat": NOW.secs(), "ath": token_hash("token"), "nonce": "n"})
}

fn header(key: &Key) -> Value {
    json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": key.public.jwk_value()})
}

fn outcome(text: &str) -> Result<(), Dpop> {
    check(text, Expected { method: "POST", url: URL, access_token: Some("token") }, NOW).map(|_| ())
}

#[test]
fn each_claim() {
    let key = Key::new();
    let made = |change: &dyn Fn(&Value) -> Value| outcome(&key.jws(&header(&key), &change(&claims())));
    assert_eq!(made(&Clone::clone), Ok(()));
    for method in ["GET", "post", "Post", ""] {
        assert_eq!(made(&|c| with(c, "htm", method.into())), Err(Dpop::Htm), "DPO-02");
    }
    for url in [
        "http://broker.example/v1/sessions",
        "https://broker.example:8443/v1/sessions",
        "https://user@broker.example/v1/sessions",
        "https://broker.example/v1%2Fsessions",
        "https://broker.example/v1/x/../sessions",
        "https://evil.example/v1/sessions",
        "https://broker.example/v1/sessions/",
        "",
    ] {
        assert_eq!(made(&|c| with(c, "htu", url.into())), Err(Dpop::Htu), "DPO-03 {url}");
    }
    for url in [format!("{URL}?a=b"), format!("{URL}#f")] {
        assert_eq!(made(&|c| with(c, "htu", url.clone().into())), Ok(()), "query and fragment do not count");
    }
    assert_eq!(made(&|c| without(c, "ath")), Err(Dpop::Ath), "DPO-04");
    for token in ["other", "token=", "Token"] {
        assert_eq!(made(&|c| with(c, "ath", token_hash(token).into())), Err(Dpop::Ath), "DPO-04");
    }
    for (iat, expected) in [(-60, Ok(())), (-61, Err(Dpop::Iat)), (5, Ok(())), (6, Err(Dpop::Iat))] {
        assert_eq!(made(&|c| with(c, "iat", (NOW.secs() + iat).into())), expected, "DPO-10");
    }
    for odd in [json!("1"), json!(1e308), json!(1.5), json!(null)] {
        assert_eq!(made(&|c| with(c, "iat", odd.clone())), Err(Dpop::Jose(Jose::ClaimType)), "DPO-10");
    }
    for jti in ["", "short", &"j".repeat(129)] {
        assert_eq!(made(&|c| with(c, "jti", jti.into())), Err(Dpop::Jti), "DPO-12");
    }
    assert_eq!(made(&|c| without(c, "jti")), Err(Dpop::Jose(Jose::ClaimType)), "DPO-12");
}

#[test]
fn dpo_09_12_jos_19_keys_and_kinds() {
    let key = Key::new();
    let made = |head: &Value| outcome(&key.jws(head, &claims()));
    assert_eq!(made(&header(&key)), Ok(()));
    let jwk = key.public.jwk_value();
    assert_eq!(made(&with(&header(&key), "jwk", with(&jwk, "d", "AA".into()))), Err(Dpop::Jwk));
    assert_eq!(made(&with(&header(&key), "jwk", json!({"kty": "oct", "k": "AA"}))), Err(Dpop::Jwk));
    assert_eq!(made(&with(&header(&key), "jwk", with(&jwk, "x", jwk["y"].clone()))), Err(Dpop::Jwk));
    assert_eq!(made(&with(&header(&key), "jwk", Key::new().public.jwk_value())), Err(Dpop::Jose(Jose::Sig)), "another key's signature");
    for alg in ["HS256", "none", "RS256"] {
        assert_eq!(made(&with(&header(&key), "alg", alg.into())), Err(Dpop::Jose(Jose::Alg)));
    }
    for typ in ["JWT", "at+jwt", "DPOP+JWT"] {
        assert_eq!(made(&with(&header(&key), "typ", typ.into())), Err(Dpop::Jose(Jose::Typ)));
    }
    assert_eq!(made(&without(&header(&key), "jwk")), Err(Dpop::Jwk));
}
