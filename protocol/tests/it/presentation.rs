//! attacks.md, section D: key binding.

use crate::support::{Holder, Key, NOW, with, without};
use baton_protocol::Refusal;
use baton_protocol::presentation::{self, Expected, KeyBinding, TransactionData};
use baton_protocol::refusal::{Jose, Kb, Status as StatusRefusal, Vc};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::status_list::Status;
use baton_protocol::time::Millis;
use serde_json::{Value, json};

const AUD: &str = "https://verifier.example";
const NONCE: &str = "a nonce that was given";

fn shown(holder: &Holder) -> String {
    Compact::parse(&holder.credential()).unwrap().select(|name| name == "name")
}

fn claims(shown: &str) -> Value {
    json!({"aud": AUD, "nonce": NONCE, "iat": NOW.secs(), "sd_hash": baton_protocol::key::hash(shown.as_bytes())})
}

fn header() -> Value {
    json!({"alg": "ES256", "typ": "kb+jwt"})
}

fn verify_at(text: &str, data: &[TransactionData], required: &[&str], now: Millis) -> Result<(), Refusal> {
    let expected = Expected { audience: AUD, nonce: &|nonce, _| nonce == NONCE, transaction_data: data, required_claims: required };
    let verdict = presentation::check(text, &expected, &(), |_| Ok(Status::Valid), now)?;
    assert_eq!((verdict.nonce.as_str(), verdict.claims.len()), (NONCE, 1));
    Ok(())
}

fn verify(text: &str) -> Result<(), Refusal> {
    verify_at(text, &[], &["name"], NOW)
}

fn kb(why: Kb) -> Result<(), Refusal> {
    Err(why.into())
}

#[test]
fn control_and_each_claim_of_the_kb_jwt() {
    let holder = Holder::new();
    let shown = shown(&holder);
    let with_claims = |change: &dyn Fn(&Value) -> Value| verify(&format!("{shown}{}", holder.device.jws(&header(), &change(&claims(&shown)))));
    assert_eq!(with_claims(&Clone::clone), Ok(()));

    assert_eq!(verify(&shown), kb(Kb::Missing), "KB-01");
    for aud in [json!("https://other.example"), json!("verifier.example"), json!(format!("{AUD}/")), json!(AUD.to_uppercase())] {
        assert_eq!(with_claims(&|c| with(c, "aud", aud.clone())), kb(Kb::Aud), "KB-08");
    }
    assert_eq!(with_claims(&|c| with(c, "aud", json!([AUD, "x"]))), kb(Kb::Jose(Jose::ClaimType)), "KB-08");
    for nonce in ["another", &NONCE[1..], &format!("{NONCE} "), ""] {
        assert_eq!(with_claims(&|c| with(c, "nonce", nonce.into())), kb(Kb::Nonce), "KB-07");
    }
    assert_eq!(with_claims(&|c| with(c, "iat", (NOW.secs() - 61).into())), kb(Kb::Iat), "KB-09");
    assert_eq!(with_claims(&|c| with(c, "iat", (NOW.secs() + 6).into())), kb(Kb::Iat), "KB-09");
    assert_eq!(with_claims(&|c| with(c, "iat", (NOW.secs() - 60).into())), Ok(()));
    for odd in ["aud", "nonce", "iat", "sd_hash"] {
        assert_eq!(with_claims(&|c| without(c, odd)), kb(Kb::Jose(Jose::ClaimType)));
        assert_eq!(with_claims(&|c| with(c, odd, json!([1]))), kb(Kb::Jose(Jose::ClaimType)));
    }
    assert_eq!(with_claims(&|c| with(c, "sd_hash", "x".into())), kb(Kb::SdHash));
    assert_eq!(with_claims(&|c| with(c, "unknown", json!(1))), Ok(()), "unknown members are ignored in standard tokens");
}

#[test]
fn kb_02_03_10_keys_and_kind() {
    let (holder, other) = (Holder::new(), Key::new());
    let shown = shown(&holder);
    assert_eq!(verify(&format!("{shown}{}", other.jws(&header(), &claims(&shown)))), kb(Kb::Key));
    for head in [json!({"alg": "ES256"}), json!({"alg": "ES256", "typ": "JWT"})] {
        assert_eq!(verify(&format!("{shown}{}", holder.device.jws(&head, &claims(&shown)))), kb(Kb::Typ));
    }
    let head = json!({"alg": "ES256", "typ": "kb+jwt", "jwk": other.public.jwk_value()});
    assert_eq!(verify(&format!("{shown}{}", other.jws(&head, &claims(&shown)))), kb(Kb::Jose(Jose::HeaderJwk)));
}

#[test]
fn the_binding_covers_what_is_shown() {
    let holder = Holder::new();
    let (less, more) = (shown(&holder), holder.credential());
    let over = |bound: &str| holder.device.jws(&header(), &claims(bound));
    assert_eq!(verify(&format!("{less}{}", over(&less))), Ok(()));
    let expected = Expected { audience: AUD, nonce: &|_, _| true, transaction_data: &[], required_claims: &[] };
    let swapped = presentation::verify(&format!("{more}{}", over(&less)), &expected, &(), NOW).map(|_| ());
    assert_eq!(swapped, Err(Kb::SdHash.into()), "a disclosure added on the way");
}

#[test]
fn sdj_19_required_claims_are_asked_of_what_came() {
    let holder = Holder::new();
    let shown = shown(&holder);
    let text = format!("{shown}{}", holder.device.jws(&header(), &claims(&shown)));
    assert_eq!(verify_at(&text, &[], &["name", "platform"], NOW), Err(Vc::ClaimsMissing.into()));
}

#[test]
fn kb_16_exactly_what_was_agreed_to() {
    let holder = Holder::new();
    let shown = shown(&holder);
    let (this, that) = (TransactionData::new(&json!({"handoff": "X"})), TransactionData::new(&json!({"handoff": "Y"})));
    let agreed = |data: &[TransactionData]| format!("{shown}{}", holder.device.sign(presentation::draft(&shown, AUD, NONCE, data, NOW)));
    let wanted = std::slice::from_ref(&this);
    assert_eq!(verify_at(&agreed(wanted), wanted, &[], NOW), Ok(()));
    for data in [&[][..], std::slice::from_ref(&that), &[this.clone(), that.clone()], &[this.clone(), this.clone()]] {
        assert_eq!(verify_at(&agreed(data), wanted, &[], NOW), kb(Kb::TransactionData));
    }
    assert_eq!(verify_at(&agreed(wanted), &[], &[], NOW), kb(Kb::TransactionData), "more than was asked");
    let claims = KeyBinding {
        aud: AUD.into(),
        iat: NOW.secs(),
        nonce: NONCE.into(),
        sd_hash: baton_protocol::key::hash(shown.as_bytes()),
        transaction_data_hashes: Some(vec![this.hash()]),
        transaction_data_hashes_alg: Some("sha-512".into()),
    };
    let other_alg = format!("{shown}{}", holder.device.jws(&header(), &serde_json::to_value(&claims).unwrap()));
    assert_eq!(verify_at(&other_alg, wanted, &[], NOW), kb(Kb::TransactionData));
}

#[test]
fn sts_01_only_valid_is_valid() {
    let holder = Holder::new();
    let shown = shown(&holder);
    let text = format!("{shown}{}", holder.device.jws(&header(), &claims(&shown)));
    let with_status = |status: Status| {
        let expected = Expected { audience: AUD, nonce: &|_, _| true, transaction_data: &[], required_claims: &[] };
        presentation::check(&text, &expected, &(), |_| Ok(status), NOW).map(|_| ())
    };
    assert_eq!(with_status(Status::Valid), Ok(()));
    assert_eq!(with_status(Status::Invalid), Err(StatusRefusal::Revoked.into()));
    assert_eq!(with_status(Status::Suspended), Err(StatusRefusal::Suspended.into()));
    assert_eq!(with_status(Status::Other), Err(StatusRefusal::Unknown.into()));
}
