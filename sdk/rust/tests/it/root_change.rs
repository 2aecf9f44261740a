//! The root's replacement as it is signed: golden forms written here and by the TypeScript SDK, each read by the other; and what is not signed.

use crate::fixtures::{cast, log, sign, template};
use crate::golden::{golden, read_golden};
use baton_protocol::b64;
use baton_protocol::device_log::{DeviceLog, Entry, Op, RootConsent};
use baton_protocol::enrolment::{Anew, AppChange, AppSigned, IssuerStatement, continues};
use baton_protocol::key::{PublicKey, hash};
use baton_protocol::secret::Secret;
use baton_protocol::signer::Signer as _;
use baton_sdk::enroll::issuer_fingerprint;
use baton_sdk::keys::SoftKey;
use baton_sdk::root::{Root, sign_credential};
use serde_json::json;

/// What an attacker does to a change that is to be signed.
type Spoil = Box<dyn Fn(&mut AppChange)>;

fn next() -> Root {
    Root::from_seed(Secret::new([43; 32]))
}

/// The log before, and what is to be signed: the laptop agreed, the television was revoked or not.
fn asked(revoked: bool) -> (Vec<String>, AppChange) {
    let cast = cast();
    let entries = log(&cast);
    let before = DeviceLog::replay(&entries).unwrap();
    let to = next().issuer("player").key().did();
    let (laptop, tv) = (cast.laptop.key().did(), cast.tv.key().did());
    let consent = RootConsent { v: 1, log: before.subject().into(), from: before.issuer().clone(), to: to.clone() };
    let consent = sign(&cast.laptop, consent.draft(&laptop));
    let of_tv = if revoked { Op::Revoke { device: tv.clone() } } else { Op::Renew { device: tv.clone() } };
    let mut ops = vec![Op::ReplaceRoot { to: to.clone(), consent }, of_tv];
    ops.insert(if revoked { 2 } else { 1 }, Op::Renew { device: laptop });
    let mut texts: Vec<String> = Vec::new();
    for op in ops {
        let n = (entries.len() + texts.len()) as u64;
        let prev = texts.last().map_or_else(|| before.head().hash, |text| hash(text.as_bytes()));
        texts.push(serde_json::to_string(&Entry { v: 1, n, prev: Some(prev), op }).unwrap());
    }
    let anew = |key: &SoftKey, template: baton_protocol::credential::Template| {
        let signed = sign_credential(&template, key.key(), &cast.issuer, &cast.entropy).unwrap();
        let mut template = template;
        template.visible.iss = to.clone();
        template.visible.status.status_list.idx += 1;
        Anew { before: signed, template, device_jwk: key.key().jwk() }
    };
    let (of_laptop, of_tv) = (template(&cast, &cast.laptop), template(&cast, &cast.tv));
    let mut devices = vec![anew(&cast.laptop, of_laptop)];
    if !revoked {
        devices.push(anew(&cast.tv, of_tv));
    }
    (entries, AppChange { app: "player".into(), entries: texts, devices })
}

fn holds(entries: &[String], change: &AppChange, signed: &AppSigned) {
    let mut log = DeviceLog::replay(entries).unwrap();
    let (pinned, subject) = (log.head(), log.subject().to_owned());
    for entry in &signed.entries {
        log.append(entry).unwrap();
    }
    assert_eq!((log.continues(&pinned), log.subject()), (Ok(()), subject.as_str()));
    assert_eq!(*log.issuer(), next().issuer("player").key().did());
    for (anew, credential) in change.devices.iter().zip(&signed.credentials) {
        let key = PublicKey::from_jwk(&serde_json::to_value(&anew.device_jwk).unwrap()).unwrap();
        anew.template.check_signed(credential, &key).unwrap();
    }
    assert_eq!(change.devices.len(), signed.credentials.len());
    IssuerStatement::check(&signed.issuer_statement, next().account().key(), "player", log.issuer()).unwrap();
}

#[test]
fn drift_of_a_root_change() {
    let (entries, change) = asked(false);
    let (old, to) = (cast().root, next());
    let signed = old.hand_over(&to, &change, &DeviceLog::replay(&entries).unwrap(), &cast().entropy).unwrap();
    let made = json!({"from_seed": b64::encode([42; 32]), "to_seed": b64::encode([43; 32]), "from": old.fingerprint(), "to": to.fingerprint(),
        "statement": old.replaced_by(&to), "issuer_fingerprint": issuer_fingerprint(&to.issuer("player").key().did()), "before": entries, "change": change,
        "signed": signed});
    let stands = golden("fixtures/root-change-v1.json", &made);
    let statement = stands["statement"].as_str().unwrap().to_owned();
    assert!(continues(&[statement], &old.fingerprint(), &to.fingerprint()));
    holds(&entries, &serde_json::from_value(stands["change"].clone()).unwrap(), &serde_json::from_value(stands["signed"].clone()).unwrap());
}

#[test]
fn what_typescript_signed_is_what_identity_takes() {
    let (entries, change) = asked(false);
    let stands = read_golden("fixtures/typescript-root-change-v1.json");
    holds(&entries, &change, &serde_json::from_value(stands["signed"].clone()).unwrap());
    assert!(continues(&[stands["statement"].as_str().unwrap().to_owned()], &cast().root.fingerprint(), &next().fingerprint()));
}

#[test]
fn nothing_but_the_change_is_signed() {
    let (old, to, entropy) = (cast().root, next(), cast().entropy);
    for revoked in [false, true] {
        let (entries, change) = asked(revoked);
        let log = DeviceLog::replay(&entries).unwrap();
        let signed = old.hand_over(&to, &change, &log, &entropy).unwrap();
        holds(&entries, &change, &signed);
        assert!(to.hand_over(&old, &change, &log, &entropy).is_err(), "by the wrong root");
        let other = DeviceLog::replay(&entries[..2]).unwrap();
        assert!(old.hand_over(&to, &change, &other, &entropy).is_err(), "for another state of the log");
    }
    let (entries, change) = asked(false);
    let log = DeviceLog::replay(&entries).unwrap();
    let stranger = SoftKey::generate(&entropy).key().jwk();
    let attacks: Vec<(&str, Spoil)> = vec![
        ("another app", Box::new(|change| change.app = "shop".into())),
        ("nothing", Box::new(|change| change.entries.clear())),
        ("no consent", Box::new(|change| change.entries[0] = change.entries[0].replace("\"consent\":\"ey", "\"consent\":\"x"))),
        ("a device left out", Box::new(|change| drop((change.entries.pop(), change.devices.pop())))),
        ("a device without its entry", Box::new(|change| drop(change.entries.pop()))),
        ("an entry without its device", Box::new(|change| drop(change.devices.pop()))),
        ("another order", Box::new(|change| change.devices.reverse())),
        ("a member more", Box::new(|change| change.entries[2] = change.entries[2].replace("{\"v\"", "{\"x\":1,\"v\""))),
        ("an issuer of somebody else", Box::new(|change| change.devices[0].template.visible.iss = change.devices[0].template.visible.sub.clone())),
        ("raised by the way", Box::new(|change| change.devices[1].template.visible.tier = baton_protocol::credential::Tier::Full)),
        ("another client", Box::new(|change| change.devices[1].template.visible.client_id = "shop".into())),
        ("another log", Box::new(|change| change.devices[1].template.visible.log = hash(b"x"))),
        ("another list", Box::new(|change| change.devices[1].template.visible.status.status_list.uri = "https://evil.example/1".into())),
        ("another status issuer", Box::new(|change| change.devices[1].template.visible.status_issuer = "did:web:evil.example".into())),
        ("a life of decades", Box::new(|change| change.devices[1].template.visible.exp += 3_000_000_000)),
        ("another name", Box::new(|change| drop(change.devices[1].template.disclosable.insert("name".into(), "Somebody's".into())))),
        ("a claim more", Box::new(|change| drop(change.devices[1].template.disclosable.insert("x".into(), 1.into())))),
        ("another agreement key", {
            let jwk = serde_json::to_value(&stranger).unwrap();
            Box::new(move |change| drop(change.devices[1].template.disclosable.insert("agreement_jwk".into(), jwk.clone())))
        }),
        ("another key", Box::new(move |change| change.devices[1].device_jwk = stranger.clone())),
        ("another device's credential", Box::new(|change| change.devices[1].before = change.devices[0].before.clone())),
    ];
    for (name, attack) in attacks {
        let mut changed = change.clone();
        attack(&mut changed);
        assert!(old.hand_over(&to, &changed, &log, &entropy).is_err(), "{name}");
    }
}
