//! attacks.md, section C: the device credential. Each row differs from the control in the attacked bit alone.

use crate::support::{Holder, Key, Memory, NOW, with, without};
use baton_protocol::b64;
use baton_protocol::credential::{self, Template};
use baton_protocol::refusal::{Jose, Vc};
use baton_protocol::sd_jwt::{Compact, Disclosure};
use baton_protocol::time::Millis;
use serde_json::{Value, json};

fn check(text: &str) -> Result<(), Vc> {
    credential::check(&Compact::parse(text)?, &(), NOW).map(|_| ())
}

/// The credential's payload, changed, signed again by its issuer, without disclosures.
fn changed(holder: &Holder, change: impl Fn(&Value) -> Value) -> String {
    let (header, payload) = holder.parts();
    holder.issuer.jws(&header, &change(&payload)) + "~"
}

#[test]
fn control() {
    let holder = Holder::new();
    assert_eq!(check(&holder.credential()), Ok(()));
    assert_eq!(check(&changed(&holder, Clone::clone)), Ok(()));
}

#[test]
fn sdj_03_04_claims_that_must_stand_in_clear() {
    let holder = Holder::new();
    for name in ["sub", "cnf", "iss", "status", "exp", "vct", "tier", "log"] {
        let disclosure = Disclosure::member([9; 16], name, &json!("x"));
        let over = changed(&holder, |p| with(p, "_sd", json!([disclosure.digest()]))) + disclosure.as_str() + "~";
        assert_eq!(check(&over), Err(Vc::Collision), "{name}");
    }
    let disclosure = Disclosure::member([9; 16], "nbf", &json!(0));
    let hidden = changed(&holder, |p| with(p, "_sd", json!([disclosure.digest()]))) + disclosure.as_str() + "~";
    assert_eq!(check(&hidden), Err(Vc::NonSdClaim));
}

#[test]
fn sdj_09_bounded() {
    let holder = Holder::new();
    let many = holder.credential() + &"WyJhIl0~".repeat(100);
    assert_eq!(check(&many), Err(Vc::Limit));
    assert_eq!(check(&"~".repeat(50_000)), Err(Vc::Limit));
}

#[test]
fn sdj_10_a_tampered_disclosure_belongs_to_nothing() {
    let holder = Holder::new();
    let foreign = Disclosure::member([9; 16], "name", &json!("Admin"));
    assert_eq!(check(&(holder.credential() + foreign.as_str() + "~")), Err(Vc::Unused));
}

#[test]
fn sdj_12_signed_by_the_device_itself() {
    let holder = Holder::new();
    let (header, payload) = holder.parts();
    assert_eq!(check(&(holder.device.jws(&header, &payload) + "~")), Err(Vc::Sig));
}

#[test]
fn sdj_13_14_other_issuers() {
    let holder = Holder::new();
    let (header, payload) = holder.parts();
    let by = |iss: &str, kid: &str| holder.issuer.jws(&with(&header, "kid", kid.into()), &with(&payload, "iss", iss.into())) + "~";
    for iss in ["did:web:attacker", "did:web:169.254.169.254", "did:jwk:e30", "https://attacker.example", "did:key:m123"] {
        assert_eq!(check(&by(iss, "k")), Err(Vc::DidMethod), "{iss}");
    }
    let ed25519 = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    assert_eq!(check(&by(ed25519, &format!("{ed25519}#{}", &ed25519[8..]))), Err(Vc::DidMethod));
    let other = Key::new().public.did();
    let own = holder.issuer.public.did();
    assert_eq!(check(&by(own.as_str(), &other.url())), Err(Vc::Did), "another key's name");
    assert_eq!(check(&by(other.as_str(), &other.url())), Err(Vc::Sig), "another root");
    assert_eq!(check(&by(own.as_str(), &own.url())), Ok(()));
}

#[test]
fn sdj_15_16_type_and_times() {
    let holder = Holder::new();
    for vct in ["urn:baton:vct:other:1", "URN:baton:vct:device-binding:1", "urn:baton:vct:device-binding:1#"] {
        assert_eq!(check(&changed(&holder, |p| with(p, "vct", vct.into()))), Err(Vc::Vct));
    }
    let now = NOW.secs();
    assert_eq!(check(&changed(&holder, |p| with(p, "exp", now.into()))), Err(Vc::Expired));
    assert_eq!(check(&changed(&holder, |p| with(p, "nbf", (now + 6).into()))), Err(Vc::Time));
    assert_eq!(check(&changed(&holder, |p| with(p, "nbf", (now + 5).into()))), Ok(()));
    assert_eq!(check(&changed(&holder, |p| with(p, "iat", (now + 6).into()))), Err(Vc::Time));
    assert_eq!(check(&changed(&holder, |p| without(p, "exp"))), Err(Vc::Time));
    assert_eq!(check(&changed(&holder, |p| with(p, "exp", (now + 367 * 24 * 3600).into()))), Err(Vc::Time));
    for odd in [json!("1"), json!(1.5), json!(1e308), json!(-1), json!(u64::MAX), json!([1]), Value::Null] {
        assert_eq!(check(&changed(&holder, |p| with(p, "iat", odd.clone()))), Err(Vc::Time), "{odd}");
        assert!(check(&changed(&holder, |p| with(p, "exp", odd.clone()))).is_err(), "{odd}");
    }
}

#[test]
fn kb_04_one_cnf_that_is_the_subject() {
    let holder = Holder::new();
    let other = Key::new().public;
    let own = holder.device.public.jwk_value();
    for cnf in [
        json!({"jwk": other.jwk_value()}),
        json!({"jwk": own, "jkt": other.thumbprint()}),
        json!({"kid": "k"}),
        json!({}),
        json!([]),
        json!({"jwk": with(&own, "d", "AA".into())}),
        json!({"jwk": with(&own, "y", own["x"].clone())}),
    ] {
        assert_eq!(check(&changed(&holder, |p| with(p, "cnf", cnf.clone()))), Err(Vc::Cnf), "{cnf}");
    }
    let (header, payload) = holder.parts();
    let text = payload.to_string();
    let twice = format!("{},\"cnf\":{}}}", &text[..text.len() - 1], json!({"jwk": other.jwk_value()}));
    assert_eq!(check(&(holder.issuer.jws_text(&header.to_string(), &twice) + "~")), Err(Vc::Jose(Jose::Json)));
}

#[test]
fn sts_02_a_credential_without_status_is_none() {
    let holder = Holder::new();
    assert_eq!(check(&changed(&holder, |p| without(p, "status"))), Err(Vc::StatusRef));
    for idx in [json!(-1), json!(1.5), json!(1u64 << 63), json!("5")] {
        let status = json!({"status_list": {"idx": idx, "uri": "u"}});
        assert_eq!(check(&changed(&holder, |p| with(p, "status", status.clone()))), Err(Vc::Claim));
    }
}

/// ENR-09, ENR-10: what comes back signed must be what was offered, nothing less and nothing hidden.
#[test]
fn the_template_and_nothing_else() {
    let holder = Holder::new();
    let device = &holder.device.public;
    assert!(holder.template.check_signed(&holder.credential(), device).is_ok());
    let refused = |text: &str| holder.template.check_signed(text, device).map(|_| ()).unwrap_err();

    let mut other = Holder::new();
    other.template = holder.template.clone();
    other.issuer = Key::new();
    assert!(matches!(refused(&other.credential()), Vc::Sig), "another issuer");

    let resign = |change: &dyn Fn(&mut Template)| {
        let mut template = holder.template.clone();
        change(&mut template);
        let salts: Vec<[u8; 16]> = (0..template.disclosable.len()).map(|i| [i as u8 + 1; 16]).collect();
        let (draft, disclosures) = template.draft(device, &salts).unwrap();
        disclosures.iter().fold(holder.issuer.sign(draft) + "~", |out, d| out + d.as_str() + "~")
    };
    assert_eq!(refused(&resign(&|t| t.visible.exp += 100 * 365 * 24 * 3600)), Vc::Policy);
    assert_eq!(refused(&resign(&|t| t.visible.status.status_list.idx += 1)), Vc::StatusRef);
    assert_eq!(refused(&resign(&|t| t.visible.status.status_list.uri.push('2'))), Vc::StatusRef);
    assert_eq!(refused(&resign(&|t| drop(t.disclosable.insert("trust".into(), "high".into())))), Vc::Policy);
    assert_eq!(refused(&resign(&|t| drop(t.disclosable.insert("name".into(), "Other".into())))), Vc::Policy);
    assert_eq!(refused(&resign(&|t| drop(t.disclosable.remove("model")))), Vc::Policy);
    let (header, payload) = holder.parts();
    let rest: String = holder.credential().split_once('~').unwrap().1.into();
    assert_eq!(refused(&(holder.issuer.jws(&header, &with(&payload, "trust", "high".into())) + "~" + &rest)), Vc::Policy);

    // A digest hidden inside a disclosed claim would let the holder show later what was never offered.
    let hidden = Disclosure::member([77; 16], "trust", &json!("high"));
    for inside in [json!(["screen", {"...": hidden.digest()}]), json!({"_sd": [hidden.digest()]})] {
        assert_eq!(refused(&resign(&|t| drop(t.disclosable.insert("capabilities".into(), inside.clone())))), Vc::Policy, "{inside}");
    }
}

#[test]
fn a_remembered_signature_is_this_very_token_s_and_dates_are_checked_all_the_same() {
    let (holder, memory) = (Holder::new(), Memory::default());
    let credential = holder.credential();
    let at = |text: &str, now: Millis| credential::check(&Compact::parse(text).unwrap(), &memory, now).map(|_| ());
    assert_eq!(at(&credential, NOW), Ok(()));
    assert_eq!(memory.seen().len(), 1);
    assert_eq!(at(&credential, NOW), Ok(()), "remembered");
    assert_eq!(at(&credential, NOW.plus_secs(1001)), Err(Vc::Expired));
    let (jwt, rest) = credential.split_once('~').unwrap();
    let (input, _) = jwt.rsplit_once('.').unwrap();
    let forged = format!("{input}.{}~{rest}", b64::encode([1; 64]));
    assert_eq!(at(&forged, NOW), Err(Vc::Sig), "another signature over the same content");
    assert_eq!(memory.seen().len(), 1, "what failed is not remembered");
}
