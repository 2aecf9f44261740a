//! attacks.md TEX-07 and JOS-15: access tokens by themselves.

use crate::support::{Key, Memory, NOW, with, without};
use baton_protocol::access_token::{check, check_once};
use baton_protocol::b64;
use baton_protocol::refusal::{Jose, Token};
use serde_json::{Value, json};

fn claims(device: &Key) -> Value {
    json!({"iss": "https://v.example", "aud": "https://b.example", "sub": "log", "iat": NOW.secs(), "exp": NOW.secs() + 300, "jti": "j", "client_id": "c",
        "scope": "session:read", "cnf": {"jkt": device.public.thumbprint()}, "device": device.public.did(), "tier": "full", "grant": "g", "dev_epoch": 1})
}

#[test]
fn each_claim() {
    let (key, device, other) = (Key::new(), Key::new(), Key::new());
    let head = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"});
    let outcome = |signer: &Key, head: &Value, claims: &Value| {
        let keys = |kid: &str| (kid == "k1").then(|| key.public.clone());
        check(&signer.jws(head, claims), "https://v.example", "https://b.example", keys, NOW).map(|_| ())
    };
    let good = claims(&device);
    let made = |change: &dyn Fn(&Value) -> Value| outcome(&key, &head, &change(&good));
    assert_eq!(made(&Clone::clone), Ok(()));
    assert_eq!(outcome(&other, &head, &good), Err(Token::Jose(Jose::Sig)), "another signer");
    assert_eq!(outcome(&key, &with(&head, "kid", "retired".into()), &good), Err(Token::Key), "OPS-04");
    assert_eq!(outcome(&key, &without(&head, "kid"), &good), Err(Token::Key));
    assert_eq!(made(&|c| with(c, "iss", "https://other".into())), Err(Token::Issuer));
    assert_eq!(made(&|c| with(c, "aud", "https://other".into())), Err(Token::Audience));
    assert_eq!(made(&|c| with(c, "exp", NOW.secs().into())), Err(Token::Expired));
    assert_eq!(made(&|c| with(c, "exp", (NOW.secs() + 301).into())), Err(Token::Claims), "longer than any of ours lives");
    assert_eq!(made(&|c| with(c, "nbf", (NOW.secs() + 6).into())), Err(Token::Claims));
    assert_eq!(made(&|c| with(c, "nbf", NOW.secs().into())), Ok(()));
    assert_eq!(made(&|c| with(c, "iat", (NOW.secs() + 6).into())), Err(Token::Claims));
    for name in ["exp", "iat", "dev_epoch"] {
        for odd in [json!("1"), json!(1e308), json!(1u64 << 63), json!([1]), Value::Null] {
            assert_eq!(made(&|c| with(c, name, odd.clone())), Err(Token::Claims), "JOS-15 {name} {odd}");
        }
    }
    for name in ["iss", "aud", "sub", "exp", "cnf", "device", "tier", "grant", "dev_epoch", "scope"] {
        assert_eq!(made(&|c| without(c, name)), Err(Token::Claims), "{name}");
    }
    assert_eq!(made(&|c| with(c, "aud", json!(["https://b.example", "x"]))), Err(Token::Claims), "two audiences");
    assert_eq!(made(&|c| with(c, "cnf", json!({}))), Err(Token::Claims), "DPO-07");
    assert_eq!(
        made(&|c| with(c, "authorization_details", json!([{"type": "baton_session", "session": 5}]))),
        Err(Token::Claims),
        "narrowed to nothing"
    );
    assert_eq!(made(&|c| with(c, "authorization_details", json!([{"type": "baton_session", "session": "ses_1"}]))), Ok(()));
}

#[test]
fn a_remembered_signature_is_this_very_token_s_and_its_key_s_and_everything_else_is_checked_all_the_same() {
    let (key, device, other, memory) = (Key::new(), Key::new(), Key::new(), Memory::default());
    let token = key.jws(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}), &claims(&device));
    let at = |text: &str, audience: &str, by: &Key, secs: i64| {
        let keys = |kid: &str| (kid == "k1").then(|| by.public.clone());
        check_once(text, ("https://v.example", audience), keys, &memory, NOW.plus_secs(secs)).map(|_| ())
    };
    let here = "https://b.example";
    assert_eq!(at(&token, here, &key, 0), Ok(()));
    assert_eq!(memory.seen().len(), 1);
    assert_eq!(at(&token, here, &key, 299), Ok(()), "remembered");
    assert_eq!(memory.seen().len(), 1);
    assert_eq!(at(&token, here, &key, 300), Err(Token::Expired));
    assert_eq!(at(&token, "https://other", &key, 0), Err(Token::Audience));
    assert_eq!(at(&token, here, &other, 0), Err(Token::Jose(Jose::Sig)), "another key of that name");
    let (input, _) = token.rsplit_once('.').unwrap();
    assert_eq!(
        at(&format!("{input}.{}", b64::encode([1; 64])), here, &key, 0),
        Err(Token::Jose(Jose::Sig)),
        "another signature over the same content"
    );
    assert_eq!(memory.seen().len(), 1, "what failed is not remembered");
}
