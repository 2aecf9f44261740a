//! Replacing the root, for approving clients: what identity asks to be signed is checked under the root so far, and the new one signs.

use crate::error::Error;
use crate::keys::SoftKey;
use crate::root::{Root, sign_credential, sign_entry};
use baton_protocol::Refusal;
use baton_protocol::credential::{MAX_LIFETIME_SECS, VCT};
use baton_protocol::device_log::{DeviceLog, Entry, Member, Op};
use baton_protocol::enrolment::{Anew, AppChange, AppSigned, RootStatement};
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::key::{Did, PublicKey, hash};
use baton_protocol::ports::Entropy;
use baton_protocol::refusal::Enrol;
use baton_protocol::sd_jwt::{Compact, reveal};
use baton_protocol::signer::Signer as _;
use std::collections::BTreeSet;

impl Root {
    /// "That root replaces mine": for the switch, and not before everybody agreed.
    pub fn replaced_by(&self, next: &Self) -> String {
        self.names(next, Typ::RootStatement)
    }

    /// "I want that root in the place of mine."
    pub fn request_for(&self, next: &Self) -> String {
        self.names(next, Typ::RootRequest)
    }

    fn names(&self, next: &Self, typ: Typ) -> String {
        let statement = RootStatement { v: 1, from: self.fingerprint(), to: next.fingerprint() };
        let draft = statement.draft(typ, self.account().key());
        let signature = self.account().sign_now(draft.signing_input());
        draft.signed(&signature)
    }

    /// Signs the switch of one app to `next`: its log is handed over with a full device's consent, and every device that was not revoked gets the
    /// credential it has, signed by the new issuer key. `log` is the app's whole log.
    pub fn hand_over(&self, next: &Self, change: &AppChange, log: &DeviceLog, entropy: &Entropy) -> Result<AppSigned, Error> {
        let (before, issuer) = (self.issuer(&change.app), next.issuer(&change.app));
        let devices = check(change, log, &before, &issuer)?;
        let mut credentials = Vec::new();
        for (anew, device) in change.devices.iter().zip(&devices) {
            credentials.push(sign_credential(&anew.template, device, &issuer, entropy)?);
        }
        let entries = change.entries.iter().enumerate().map(|(i, text)| sign_entry(text, if i == 0 { &before } else { &issuer })).collect();
        Ok(AppSigned { app: change.app.clone(), entries, credentials, issuer_statement: next.issuer_statement(&change.app) })
    }
}

/// Gives the devices' keys, in order.
fn check(change: &AppChange, log: &DeviceLog, before: &SoftKey, issuer: &SoftKey) -> Result<Vec<PublicKey>, Error> {
    let changed = || Error::from(Refusal::from(Enrol::Changed));
    let to = issuer.key().did();
    if *log.issuer() != before.key().did() || log.app() != change.app {
        return Err(changed());
    }
    let mut place = log.head();
    let mut ops = Vec::new();
    for text in &change.entries {
        let entry: Entry = serde_json::from_str(text).map_err(|_| changed())?;
        // Letter for letter what this version would write, at the log's very end.
        let right = entry.v == 1 && entry.n == place.n + 1 && entry.prev.as_deref() == Some(place.hash.as_str());
        if !right || serde_json::to_string(&entry).map_err(|_| changed())? != *text {
            return Err(changed());
        }
        (place.n, place.hash) = (entry.n, hash(text.as_bytes()));
        ops.push(entry.op);
    }
    let mut ops = ops.into_iter();
    let agreed = match ops.next() {
        Some(Op::ReplaceRoot { to: named, consent }) if named == to => log.check_consent(&to, &consent)?,
        _ => return Err(changed()),
    };
    // Everybody who is in the log is named once: taken out, or renewed.
    let (mut left, mut renewed): (BTreeSet<Did>, Vec<Did>) = (log.members().map(|(did, _)| did.clone()).collect(), Vec::new());
    for op in ops {
        let known = match &op {
            Op::Revoke { device } | Op::Renew { device } => left.remove(device),
            _ => false,
        };
        match op {
            Op::Revoke { .. } if known && renewed.is_empty() => {}
            Op::Renew { device } if known => renewed.push(device),
            _ => return Err(changed()),
        }
    }
    // Whoever agreed stays.
    if !left.is_empty() || !renewed.contains(&agreed) || renewed.len() != change.devices.len() {
        return Err(changed());
    }
    renewed.iter().zip(&change.devices).map(|(did, anew)| check_device(did, anew, log, before, &to).ok_or_else(changed)).collect()
}

/// What is to be signed for a device is what the root so far signed for it, and what the log says of it.
fn check_device(did: &Did, anew: &Anew, log: &DeviceLog, before: &SoftKey, to: &Did) -> Option<PublicKey> {
    let Member { agreement, tier, client_id, .. } = log.member(did).ok()?;
    let compact = Compact::parse(&anew.before).ok()?;
    let jwt = Unverified::parse(compact.jwt, Typ::Credential).ok()?.verify(before.key()).ok()?;
    let claims = jwt.members();
    let had = reveal(&claims, &compact.disclosures, &[]).ok()?.to_map();
    let device = PublicKey::from_jwk(&serde_json::to_value(&anew.device_jwk).ok()?).ok()?;
    let (visible, disclosable) = (&anew.template.visible, &anew.template.disclosable);
    let status = serde_json::to_value(&visible.status).ok()?;
    let same_place = status.pointer("/status_list/uri") == had.get("status")?.pointer("/status_list/uri");
    let sealed_to = PublicKey::from_jwk(disclosable.get("agreement_jwk")?).ok()?;
    let lives = visible.exp.checked_sub(visible.iat).is_some_and(|secs| (1..=MAX_LIFETIME_SECS).contains(&secs));
    let right = device.did() == *did
        && visible.sub == *did
        && had.get("sub")?.as_str() == Some(did.as_str())
        && visible.iss == *to
        && visible.vct == VCT
        && visible.log == log.subject()
        && visible.client_id == *client_id
        && visible.tier == *tier
        && sealed_to == *agreement
        && same_place
        && had.get("status_issuer")?.as_str() == Some(visible.status_issuer.as_str())
        && compact.disclosures.len() == disclosable.len()
        && disclosable.iter().all(|(name, value)| had.get(name) == Some(value))
        && lives;
    right.then_some(device)
}
