//! The device log: only its issuer adds to it, nothing is ever taken out of its past.

use crate::support::Key;
use baton_protocol::b64;
use baton_protocol::credential::Tier;
use baton_protocol::device_log::{DeviceLog, Entry, Op, RootConsent};
use baton_protocol::enrolment::{RootStatement, continues};
use baton_protocol::jose::Typ;
use baton_protocol::key::hash;
use baton_protocol::refusal::Log;
use baton_protocol::root::fingerprint;
use serde_json::json;

fn payload_hash(jws: &str) -> String {
    hash(&b64::decode(jws.split('.').nth(1).unwrap()).unwrap())
}

struct Writer {
    issuer: Key,
    entries: Vec<String>,
}

impl Writer {
    fn open() -> Self {
        let issuer = Key::new();
        let mut writer = Self { issuer, entries: Vec::new() };
        let iss = writer.issuer.public.did();
        writer.push(Op::Open { iss, app: "player".into(), salt: b64::encode([1; 16]) });
        writer
    }
    fn entry(&self, op: Op) -> Entry {
        Entry { v: 1, n: self.entries.len() as u64, prev: self.entries.last().map(|last| payload_hash(last)), op }
    }
    fn push(&mut self, op: Op) {
        let entry = self.entry(op);
        self.entries.push(self.issuer.sign(entry.draft(&self.issuer.public.did())));
    }
    fn enrol(device: &Key) -> Op {
        Op::Enrol { device: device.public.did(), agreement_jwk: Key::new().public.jwk(), tier: Tier::Full, client_id: "c".into() }
    }
}

#[test]
fn members_come_change_and_go() {
    let (mut writer, device) = (Writer::open(), Key::new());
    writer.push(Writer::enrol(&device));
    let did = device.public.did();
    let pinned = DeviceLog::replay(&writer.entries).unwrap().head();
    writer.push(Op::Tier { device: did.clone(), tier: Tier::Limited });
    let log = DeviceLog::replay(&writer.entries).unwrap();
    assert_eq!((log.subject(), log.app(), log.member(&did).unwrap().tier), (payload_hash(&writer.entries[0]).as_str(), "player", Tier::Limited));
    assert_eq!(log.continues(&pinned), Ok(()));
    writer.push(Op::Revoke { device: did.clone() });
    let log = DeviceLog::replay(&writer.entries).unwrap();
    assert_eq!(log.member(&did).map(|_| ()), Err(Log::NotMember));
    assert!(log.knows(&did));
    writer.push(Writer::enrol(&device));
    assert_eq!(DeviceLog::replay(&writer.entries).map(|_| ()), Err(Log::Invalid), "a revoked key does not come back");
}

#[test]
fn nobody_else_adds_and_the_past_stays() {
    let (mut writer, device) = (Writer::open(), Key::new());
    writer.push(Writer::enrol(&device));
    let log = DeviceLog::replay(&writer.entries).unwrap();
    let try_append = |jws: &str| log.clone().append(jws).map(|_| ()).unwrap_err();

    let attacker = Key::new();
    let entry = writer.entry(Writer::enrol(&attacker));
    assert_eq!(try_append(&attacker.sign(entry.draft(&writer.issuer.public.did()))), Log::Invalid, "another's signature");
    assert_eq!(try_append(&attacker.sign(entry.draft(&attacker.public.did()))), Log::Invalid, "another's name");
    let good = writer.issuer.sign(entry.draft(&writer.issuer.public.did()));
    assert!(log.clone().append(&good).is_ok(), "control");
    let skip = Entry { n: entry.n + 1, ..entry.clone() };
    assert_eq!(try_append(&writer.issuer.sign(skip.draft(&writer.issuer.public.did()))), Log::Moved);
    let other_past = Entry { prev: Some(hash(b"x")), ..entry.clone() };
    assert_eq!(try_append(&writer.issuer.sign(other_past.draft(&writer.issuer.public.did()))), Log::Moved);
    let second_open = writer.entry(Op::Open { iss: writer.issuer.public.did(), app: "player".into(), salt: b64::encode([2; 16]) });
    assert_eq!(try_append(&writer.issuer.sign(second_open.draft(&writer.issuer.public.did()))), Log::Invalid);
    let mut payload = serde_json::to_value(&entry).unwrap();
    payload["extra"] = 1.into();
    let kid = writer.issuer.public.did().url();
    let extra = writer.issuer.jws(&serde_json::json!({"alg": "ES256", "typ": "baton-log+jwt", "kid": kid}), &payload);
    assert_eq!(try_append(&extra), Log::Invalid, "unknown members of our own are refused");

    let pinned = {
        let mut longer = log.clone();
        longer.append(&good).unwrap();
        longer.head()
    };
    assert_eq!(log.continues(&pinned), Err(Log::Rollback));
    let mut fork = log.clone();
    let other = writer.entry(Writer::enrol(&Key::new()));
    fork.append(&writer.issuer.sign(other.draft(&writer.issuer.public.did()))).unwrap();
    assert_eq!(fork.continues(&pinned), Err(Log::Fork));
}

#[test]
fn another_root_goes_on_with_a_full_device_s_consent_and_never_without() {
    let (mut writer, full, limited, gone) = (Writer::open(), Key::new(), Key::new(), Key::new());
    for device in [&full, &limited, &gone] {
        writer.push(Writer::enrol(device));
    }
    writer.push(Op::Tier { device: limited.public.did(), tier: Tier::Limited });
    writer.push(Op::Revoke { device: gone.public.did() });
    let log = DeviceLog::replay(&writer.entries).unwrap();
    let (before, next) = (writer.issuer.public.did(), Key::new());
    let right = RootConsent { v: 1, log: log.subject().into(), from: before.clone(), to: next.public.did() };
    let consent = |by: &Key, change: &dyn Fn(&mut RootConsent)| {
        let mut consent = right.clone();
        change(&mut consent);
        by.sign(consent.draft(&by.public.did()))
    };
    let good = consent(&full, &|_| {});
    let other = Key::new().public.did();
    for (bad, why) in [
        (consent(&limited, &|_| {}), "a limited device"),
        (consent(&gone, &|_| {}), "a revoked device"),
        (consent(&Key::new(), &|_| {}), "a stranger"),
        (consent(&writer.issuer, &|_| {}), "the root itself"),
        (consent(&full, &|consent| consent.v = 2), "another version"),
        (consent(&full, &|consent| consent.log = "another".into()), "another log"),
        (consent(&full, &|consent| consent.from = other.clone()), "another root before"),
        (consent(&full, &|consent| consent.to = other.clone()), "another root after"),
        (Key::new().sign(right.draft(&full.public.did())), "in another's name"),
        (good.replacen('.', "..", 1), "no JWS"),
        (in_another_spelling(&full, &right), "another spelling of the same"),
    ] {
        assert_eq!(log.check_consent(&next.public.did(), &bad), Err(Log::Consent), "{why}");
    }
    assert_eq!(log.check_consent(&before, &consent(&full, &|consent| consent.to = before.clone())), Err(Log::Consent), "the same root");
    assert_eq!(log.check_consent(&next.public.did(), &good), Ok(full.public.did()));

    let pinned = log.head();
    let to = next.public.did();
    let replace = |consent: &str| Op::ReplaceRoot { to: to.clone(), consent: consent.into() };
    writer.push(replace(&consent(&limited, &|_| {})));
    assert_eq!(DeviceLog::replay(&writer.entries).map(|_| ()), Err(Log::Consent));
    writer.entries.pop();
    writer.push(replace(&good));
    let replaced = DeviceLog::replay(&writer.entries).unwrap();
    assert_eq!((replaced.subject(), replaced.issuer(), replaced.continues(&pinned)), (log.subject(), &to, Ok(())));
    assert!(replaced.member(&limited.public.did()).is_ok(), "who was in stays in");

    let old = std::mem::replace(&mut writer.issuer, next);
    let renew = writer.entry(Op::Renew { device: full.public.did() });
    assert_eq!(replaced.clone().append(&old.sign(renew.draft(&before))), Err(Log::Invalid), "the root before signs nothing more");
    assert_eq!(replaced.clone().append(&writer.issuer.sign(renew.draft(&writer.issuer.public.did()))), Ok(renew));
    writer.push(replace(&good));
    assert_eq!(DeviceLog::replay(&writer.entries).map(|_| ()), Err(Log::Consent), "a consent is good for one change");
    writer.entries.pop();
    let back = RootConsent { v: 1, log: log.subject().into(), from: to.clone(), to: before.clone() };
    let back = full.sign(back.draft(&full.public.did()));
    assert_eq!(DeviceLog::replay(&writer.entries).unwrap().check_consent(&before, &back), Err(Log::Consent), "no root comes back");
}

fn in_another_spelling(key: &Key, consent: &RootConsent) -> String {
    let header = json!({"alg": "ES256", "typ": Typ::RootConsent.as_str(), "kid": key.public.did().url()});
    key.jws_text(&header.to_string(), &serde_json::to_string_pretty(consent).unwrap())
}

#[test]
fn a_browser_follows_statements_from_the_root_it_knew() {
    let roots = [Key::new(), Key::new(), Key::new()];
    let names: Vec<_> = roots.iter().map(|key| fingerprint(&key.public)).collect();
    let state = |by: usize, from: usize, to: usize| {
        roots[by].sign(RootStatement { v: 1, from: names[from].clone(), to: names[to].clone() }.draft(Typ::RootStatement, &roots[by].public))
    };
    let led = |statements: &[String], known: usize, now: usize| continues(statements, &names[known], &names[now]);
    let both = [state(0, 0, 1), state(1, 1, 2)];
    assert!(led(&both, 0, 2) && led(&both, 1, 2) && led(&both[..1], 0, 1) && led(&[], 2, 2));
    assert!(!led(&both, 0, 1), "an older root is not what it is now");
    assert!(!led(&both[1..], 0, 2) && !led(&[], 0, 2), "a gap");
    assert!(!led(&[state(1, 0, 1)], 0, 1), "by the new root alone");
    assert!(!led(&[state(0, 0, 0)], 0, 0), "by itself");
    assert!(!led(&["x".into()], 0, 0), "no statement");
    let asked = roots[0].sign(RootStatement { v: 1, from: names[0].clone(), to: names[1].clone() }.draft(Typ::RootRequest, &roots[0].public));
    assert!(!led(&[asked], 0, 1), "what was only asked for");
}
