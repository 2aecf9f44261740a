//! attacks.md, section A: every kind of token is parsed by the same strict reader. RFC 7515, RFC 8725.

use crate::support::{Key, with, without};
use baton_protocol::b64;
use baton_protocol::jose::{MAX_TOKEN, Typ, Unverified};
use baton_protocol::refusal::Jose;
use proptest::prelude::*;
use serde_json::{Value, json};

const PLAIN: &[Typ] = &[Typ::Credential, Typ::KeyBinding, Typ::AccessToken, Typ::StatusList, Typ::LogEntry, Typ::Statement, Typ::Offer, Typ::Update];

fn header(typ: Typ) -> Value {
    json!({"alg": "ES256", "typ": typ.as_str(), "kid": "k"})
}

fn refusal(text: &str, typ: Typ) -> Jose {
    Unverified::parse(text, typ).unwrap_err()
}

fn each(change: impl Fn(&Value) -> Value, wanted: Jose) {
    let key = Key::new();
    for typ in PLAIN {
        let payload = json!({"a": 1});
        assert!(Unverified::parse(&key.jws(&header(*typ), &payload), *typ).unwrap().verify(&key.public).is_ok(), "control");
        assert_eq!(refusal(&key.jws(&change(&header(*typ)), &payload), *typ), wanted, "{typ:?}");
    }
}

#[test]
fn jos_01_to_03_no_algorithm_but_es256() {
    for alg in ["none", "None", "nOnE", "HS256", "ES384", "EdDSA", "ES256K", "RS256", "PS256", "es256"] {
        each(|h| with(h, "alg", alg.into()), Jose::Alg);
    }
    each(|h| with(h, "alg", Value::Null), Jose::Alg);
    each(|h| without(h, "alg"), Jose::Alg);
}

#[test]
fn jos_04_to_06_no_keys_or_urls_from_headers() {
    let attacker = Key::new();
    each(|h| with(h, "jwk", attacker.public.jwk_value()), Jose::HeaderJwk);
    each(|h| with(h, "jku", "https://attacker.example/jwks".into()), Jose::HeaderJku);
    each(|h| with(h, "x5u", "https://attacker.example/x5u".into()), Jose::HeaderJku);
    each(|h| with(h, "x5c", json!(["MIIB"])), Jose::HeaderX5c);
}

#[test]
fn jos_07_kid_is_short_and_plain() {
    for kid in ["../../etc/passwd", "' OR 1=1--", "a\0b", "", &"k".repeat(1 << 10)] {
        each(|h| with(h, "kid", kid.into()), Jose::Kid);
    }
    each(|h| with(h, "kid", 5.into()), Jose::Kid);
    let huge = Key::new().jws(&with(&header(Typ::AccessToken), "kid", "k".repeat(1 << 20).into()), &json!({}));
    assert_eq!(refusal(&huge, Typ::AccessToken), Jose::Limit);
}

#[test]
fn jos_08_another_key_of_the_same_name() {
    let (key, other) = (Key::new(), Key::new());
    let token = key.jws(&header(Typ::AccessToken), &json!({}));
    assert!(Unverified::parse(&token, Typ::AccessToken).unwrap().verify(&key.public).is_ok());
    assert_eq!(Unverified::parse(&token, Typ::AccessToken).unwrap().verify(&other.public).unwrap_err(), Jose::Sig);
}

#[test]
fn jos_09_10_20_crit_b64_zip() {
    for crit in [json!(["x"]), json!([]), json!(["alg"]), json!(["exp"])] {
        each(|h| with(h, "crit", crit.clone()), Jose::Crit);
    }
    each(|h| with(h, "b64", false.into()), Jose::B64);
    each(|h| with(h, "zip", "DEF".into()), Jose::HeaderZip);
    let key = Key::new();
    let token = key.jws(&header(Typ::Statement), &json!({}));
    let detached = format!("{}..{}", token.split('.').next().unwrap(), token.split('.').next_back().unwrap());
    assert_eq!(refusal(&detached, Typ::Statement), Jose::Json);
}

#[test]
fn jos_12_no_kind_passes_for_another() {
    let key = Key::new();
    for made in Typ::ALL {
        let mut head = header(*made);
        if *made == Typ::Dpop {
            head["jwk"] = key.public.jwk_value();
        }
        let token = key.jws(&head, &json!({}));
        for wanted in Typ::ALL {
            let parsed = Unverified::parse(&token, *wanted).map(|_| ());
            match (made == wanted, parsed) {
                (true, outcome) => assert_eq!(outcome, Ok(()), "{made:?}"),
                (false, outcome) => assert!(matches!(outcome, Err(Jose::Typ | Jose::HeaderJwk)), "{made:?} as {wanted:?}"),
            }
        }
    }
    each(|h| without(h, "typ"), Jose::Typ);
    each(|h| with(h, "typ", "JWT".into()), Jose::Typ);
}

#[test]
fn jos_13_18_json_serialisations_and_unprotected_headers() {
    let key = Key::new();
    let token = key.jws(&header(Typ::AccessToken), &json!({}));
    let parts: Vec<_> = token.split('.').collect();
    let flat = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2], "header": {"alg": "ES256", "kid": "k"}});
    let general =
        json!({"payload": parts[1], "signatures": [{"protected": parts[0], "signature": parts[2]}, {"protected": parts[0], "signature": parts[2]}]});
    for form in [flat.to_string(), general.to_string(), String::new(), "a.b".into(), format!("{token}.x"), format!(".{token}")] {
        assert!(matches!(refusal(&form, Typ::AccessToken), Jose::Form | Jose::Encoding), "{form}");
    }
}

#[test]
fn jos_14_one_value_has_one_spelling() {
    let key = Key::new();
    let token = key.jws(&header(Typ::AccessToken), &json!({"a": "??>>"}));
    assert!(Unverified::parse(&token, Typ::AccessToken).is_ok());
    for alias in [format!("{token}="), format!("{token}\n"), format!(" {token}"), token.replace('.', " .")] {
        assert!(matches!(refusal(&alias, Typ::AccessToken), Jose::Encoding | Jose::Sig), "{alias}");
    }
    // Sixty-four bytes leave four unused bits in the last letter: all but one setting of them is an alias.
    let (last, rest) = (token.chars().next_back().unwrap(), &token[..token.len() - 1]);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    let alias = alphabet.chars().nth(at ^ 1).unwrap();
    assert_eq!(refusal(&format!("{rest}{alias}"), Typ::AccessToken), Jose::Encoding);
}

#[test]
fn jos_16_bounded_before_it_is_read() {
    let key = Key::new();
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(refusal(&key.jws_text(&header(Typ::Statement).to_string(), &format!("{{\"a\":{deep}}}")), Typ::Statement), Jose::Json);
    let many: String = (0..3000).fold(String::new(), |all, i| all + &format!("\"m{i}\":1,"));
    assert_eq!(refusal(&key.jws_text(&format!("{{{many}\"alg\":\"ES256\"}}"), "{}"), Typ::Statement), Jose::Limit);
    assert_eq!(refusal(&"a".repeat(MAX_TOKEN + 1), Typ::Statement), Jose::Limit);
    let digits = format!("{{\"n\":{}}}", "9".repeat(40_000));
    assert!(Unverified::parse(&key.jws_text(&header(Typ::Statement).to_string(), &digits), Typ::Statement).is_err());
}

#[test]
fn a_member_named_twice_is_refused_wherever_it_stands() {
    let key = Key::new();
    let twice = key.jws_text(r#"{"alg":"ES256","typ":"at+jwt","kid":"k","alg":"ES256"}"#, "{}");
    assert_eq!(refusal(&twice, Typ::AccessToken), Jose::Json);
    let twice = key.jws_text(&header(Typ::AccessToken).to_string(), r#"{"sub":"a","sub":"b"}"#);
    assert_eq!(refusal(&twice, Typ::AccessToken), Jose::Json);
}

#[test]
fn ecc_01_to_03_signatures() {
    let key = Key::new();
    let token = key.jws(&header(Typ::Statement), &json!({}));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let good = b64::decode_array::<64>(signature).unwrap();
    let n: [u8; 32] = std::array::from_fn(|i| {
        u8::from_str_radix(&"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"[2 * i..2 * i + 2], 16).unwrap()
    });
    let verify = |signature: &[u8]| {
        Unverified::parse(&format!("{input}.{}", b64::encode(signature)), Typ::Statement).and_then(|jws| jws.verify(&key.public)).map(|_| ())
    };
    assert_eq!(verify(&good), Ok(()));
    let join = |r: &[u8], s: &[u8]| [r, s].concat();
    for bad in [
        join(&[0; 32], &good[32..]),
        join(&good[..32], &[0; 32]),
        vec![0; 64],
        join(&n, &good[32..]),
        join(&good[..32], &n),
        vec![0xff; 64],
        good[..63].to_vec(),
        [&good[..], &[0]].concat(),
        Vec::new(),
    ] {
        assert_eq!(verify(&bad), Err(Jose::Sig));
    }
    // The malleated twin verifies; it has the same content, and content is what replay stores go by.
    let twin = join(&good[..32], &subtract(&n, &good[32..]));
    assert_eq!(verify(&twin), Ok(()));
    let content = |signature: &[u8]| {
        Unverified::parse(&format!("{input}.{}", b64::encode(signature)), Typ::Statement).unwrap().verify(&key.public).unwrap().payload_hash()
    };
    assert_eq!(content(&twin), content(&good));
}

fn subtract(a: &[u8; 32], b: &[u8]) -> [u8; 32] {
    let (mut out, mut borrow) = ([0; 32], 0i16);
    for i in (0..32).rev() {
        let d = i16::from(a[i]) - i16::from(b[i]) - borrow;
        out[i] = d.rem_euclid(256) as u8;
        borrow = i16::from(d < 0);
    }
    out
}

/// RFC 7515 appendix A.3: the RFC's own ES256 key and signature verify; the token itself has no `typ` and is therefore none of ours.
#[test]
fn rfc_7515_a_3() {
    let key = baton_protocol::key::PublicKey::from_jwk(
        &json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
    )
    .unwrap();
    let input = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    key.verify(input.as_bytes(), &b64::decode_array(signature).unwrap()).unwrap();
    assert_eq!(refusal(&format!("{input}.{signature}"), Typ::AccessToken), Jose::Typ);
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[A-Za-z0-9_.~-]{0,200}") {
        for typ in Typ::ALL { let _ = Unverified::parse(&text, *typ); }
    }
    #[test]
    fn one_flipped_letter_never_verifies(at in 0usize..200, letter in "[A-Za-z0-9_-]") {
        let key = Key::new();
        let token = key.jws(&header(Typ::Statement), &json!({"some": "claims", "of": 3}));
        let at = at % token.len();
        let flipped = format!("{}{letter}{}", &token[..at], &token[at + 1..]);
        if flipped != token {
            let outcome = Unverified::parse(&flipped, Typ::Statement).and_then(|jws| jws.verify(&key.public));
            prop_assert!(outcome.is_err());
        }
    }
}
