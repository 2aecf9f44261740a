//! The device log: per account and app, an append-only chain signed by the issuer key. It alone says who may receive keys.
//!
//! A server can withhold entries (then a device is missing) but never add one. SDKs pin the highest head they saw.

use crate::credential::Tier;
use crate::jose::{Draft, Typ, Unverified, Verified};
use crate::key::{Did, Jwk, PublicKey, hash};
use crate::refusal::Log;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Begins the log. The hash of this entry's payload is the subject.
    Open {
        /// The issuer key's DID.
        iss: Did,
        /// The app.
        app: String,
        /// 128 random bits: two logs of one issuer key would still be two subjects.
        salt: String,
    },
    /// Lets a device in.
    Enrol {
        /// Its DID.
        device: Did,
        /// Where keys for it are sealed to; wins over the credential's.
        agreement_jwk: Jwk,
        /// What it may do.
        tier: Tier,
        /// The client it runs.
        client_id: String,
    },
    /// Changes what a device may do.
    Tier {
        /// Its DID.
        device: Did,
        /// From now on.
        tier: Tier,
    },
    /// Takes a device out, for good.
    Revoke {
        /// Its DID.
        device: Did,
    },
    /// Notes that a device's credential was signed anew.
    Renew {
        /// Its DID.
        device: Did,
    },
    /// Hands the log over to another root's issuer key, which signs every entry from the next on. Signed by the one before.
    ReplaceRoot {
        /// The new issuer key's DID.
        to: Did,
        /// A full device's [`RootConsent`]: a root alone, without any of the person's devices, cannot be replaced.
        consent: String,
    },
}

/// A full device's agreement that its log goes on under another root's issuer key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RootConsent {
    /// Version: 1.
    pub v: u8,
    /// The subject.
    pub log: String,
    /// The issuer key's DID so far.
    pub from: Did,
    /// The new one.
    pub to: Did,
}

impl RootConsent {
    /// The agreement to sign, by the device's key.
    pub fn draft(&self, device: &Did) -> Draft {
        Draft::new(Typ::RootConsent, &device.url(), self)
    }

    /// Reads one, and gives whose it is.
    pub fn check(jws: &str) -> Result<(Self, Did), Log> {
        let jws = Unverified::parse(jws, Typ::RootConsent).map_err(|_| Log::Consent)?;
        let device = jws.unverified_header().kid.as_deref().and_then(|kid| Did::from_url(kid).ok()).ok_or(Log::Consent)?;
        let verified = jws.verify(&device.key().map_err(|_| Log::Consent)?).map_err(|_| Log::Consent)?;
        let consent: Self = verified.exact().map_err(|_| Log::Consent)?;
        if consent.v == 1 && is_as_written(&verified, &consent) { Ok((consent, device)) } else { Err(Log::Consent) }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// Version: 1.
    pub v: u8,
    /// Its number, from 0.
    pub n: u64,
    /// Hash of the entry before; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<String>,
    /// What it does.
    #[serde(flatten)]
    pub op: Op,
}

impl Entry {
    /// The entry to sign, by the issuer key.
    pub fn draft(&self, issuer: &Did) -> Draft {
        Draft::new(Typ::LogEntry, &issuer.url(), self)
    }
}

/// Letter for letter what this version would write: every reader of a log takes exactly the same logs.
fn is_as_written(read: &Verified, value: &impl Serialize) -> bool {
    serde_json::to_vec(value).is_ok_and(|written| hash(&written) == read.payload_hash())
}

/// A device as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where keys for it are sealed to.
    pub agreement: PublicKey,
    /// What it may do.
    pub tier: Tier,
    /// The client it runs.
    pub client_id: String,
    /// Whether the log has taken it out.
    pub revoked: bool,
}

/// Where a log stood: enough to notice a fork or a rollback later.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of the last entry.
    pub n: u64,
    /// Its hash.
    pub hash: String,
}

/// A log whose every entry was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLog {
    issuer: Did,
    /// Whose it was before: none of them gets it back.
    issuers_before: Vec<Did>,
    app: String,
    hashes: Vec<String>,
    members: BTreeMap<Did, Member>,
}

impl DeviceLog {
    /// Replays a log from its first entry; every signature, number and link is checked.
    pub fn replay<S: AsRef<str>>(entries: &[S]) -> Result<Self, Log> {
        let (first, rest) = entries.split_first().ok_or(Log::Invalid)?;
        let first = Unverified::parse(first.as_ref(), Typ::LogEntry).map_err(|_| Log::Invalid)?;
        let issuer = first.unverified_header().kid.as_deref().map(Did::from_url).ok_or(Log::Invalid)?.map_err(|_| Log::Invalid)?;
        let verified = first.verify(&issuer.key().map_err(|_| Log::Invalid)?).map_err(|_| Log::Invalid)?;
        let hash = verified.payload_hash();
        let entry: Entry = verified.exact().map_err(|_| Log::Invalid)?;
        if !is_as_written(&verified, &entry) {
            return Err(Log::Invalid);
        }
        let Entry { v: 1, n: 0, prev: None, op: Op::Open { iss, app, .. } } = entry else { return Err(Log::Invalid) };
        if iss != issuer {
            return Err(Log::Invalid);
        }
        let mut log = Self { issuer, issuers_before: Vec::new(), app, hashes: vec![hash], members: BTreeMap::new() };
        for entry in rest {
            log.append(entry.as_ref())?;
        }
        Ok(log)
    }

    /// Checks one more entry and takes it in. Nothing changes when it is refused.
    pub fn append(&mut self, entry: &str) -> Result<Entry, Log> {
        let jws = Unverified::parse(entry, Typ::LogEntry).map_err(|_| Log::Invalid)?;
        if jws.unverified_header().kid.as_deref() != Some(self.issuer.url().as_str()) {
            return Err(Log::Invalid);
        }
        let verified = jws.verify(&self.issuer.key().map_err(|_| Log::Invalid)?).map_err(|_| Log::Invalid)?;
        let hash = verified.payload_hash();
        let entry: Entry = verified.exact().map_err(|_| Log::Invalid)?;
        if entry.v != 1 || !is_as_written(&verified, &entry) {
            return Err(Log::Invalid);
        }
        if entry.n != self.hashes.len() as u64 || entry.prev.as_ref() != self.hashes.last() {
            return Err(Log::Moved);
        }
        self.apply(&entry.op)?;
        self.hashes.push(hash);
        Ok(entry)
    }

    fn apply(&mut self, op: &Op) -> Result<(), Log> {
        let live = |members: &mut BTreeMap<Did, Member>, device: &Did, then: &dyn Fn(&mut Member)| match members.get_mut(device) {
            Some(member) if !member.revoked => {
                then(member);
                Ok(())
            }
            _ => Err(Log::NotMember),
        };
        match op {
            Op::Open { .. } => Err(Log::Invalid),
            Op::Enrol { device, agreement_jwk, tier, client_id } => {
                let agreement = serde_json::to_value(agreement_jwk).map_err(|_| Log::Invalid)?;
                let agreement = PublicKey::from_jwk(&agreement).map_err(|_| Log::Invalid)?;
                if self.members.contains_key(device) {
                    return Err(Log::Invalid);
                }
                self.members.insert(device.clone(), Member { agreement, tier: *tier, client_id: client_id.clone(), revoked: false });
                Ok(())
            }
            Op::Tier { device, tier } => live(&mut self.members, device, &|member| member.tier = *tier),
            Op::Revoke { device } => live(&mut self.members, device, &|member| member.revoked = true),
            Op::Renew { device } => live(&mut self.members, device, &|_| {}),
            Op::ReplaceRoot { to, consent } => {
                self.check_consent(to, consent)?;
                self.issuers_before.push(std::mem::replace(&mut self.issuer, to.clone()));
                Ok(())
            }
        }
    }

    /// Whether a live full device of this log agrees that `to` replaces the issuer key it has now. Says which.
    pub fn check_consent(&self, to: &Did, consent: &str) -> Result<Did, Log> {
        let (consent, device) = RootConsent::check(consent)?;
        to.key().map_err(|_| Log::Consent)?;
        let fresh = *to != self.issuer && !self.issuers_before.contains(to);
        let right = consent.log == self.subject() && consent.from == self.issuer && consent.to == *to;
        let full = self.member(&device).is_ok_and(|member| member.tier == Tier::Full);
        if fresh && right && full { Ok(device) } else { Err(Log::Consent) }
    }

    /// The subject: hash of the first entry's payload.
    pub fn subject(&self) -> &str {
        &self.hashes[0]
    }
    /// The DID of the issuer key that signs what comes next.
    pub fn issuer(&self) -> &Did {
        &self.issuer
    }
    /// The app.
    pub fn app(&self) -> &str {
        &self.app
    }
    /// Where it stands.
    pub fn head(&self) -> Head {
        Head { n: self.hashes.len() as u64 - 1, hash: self.hashes[self.hashes.len() - 1].clone() }
    }
    /// A device, unless the log has taken it out.
    pub fn member(&self, device: &Did) -> Result<&Member, Log> {
        self.members.get(device).filter(|member| !member.revoked).ok_or(Log::NotMember)
    }
    /// Whether a device was ever let in: what it signed before it was taken out stays signed.
    pub fn knows(&self, device: &Did) -> bool {
        self.members.contains_key(device)
    }
    /// What a device may do, or could when it was taken out.
    pub fn tier(&self, device: &Did) -> Option<Tier> {
        self.members.get(device).map(|member| member.tier)
    }
    /// All devices the log has not taken out.
    pub fn members(&self) -> impl Iterator<Item = (&Did, &Member)> {
        self.members.iter().filter(|(_, member)| !member.revoked)
    }
    /// Whether this log continues what was pinned: shorter is a rollback, another hash at that place a fork.
    pub fn continues(&self, pinned: &Head) -> Result<(), Log> {
        match self.hashes.get(pinned.n as usize) {
            None => Err(Log::Rollback),
            Some(hash) if *hash == pinned.hash => Ok(()),
            Some(_) => Err(Log::Fork),
        }
    }
}
