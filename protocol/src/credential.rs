//! The device-binding credential: an SD-JWT VC (`dc+sd-jwt`) by which a person's issuer key says "this key is my device".
//!
//! Identity offers a [`Template`]; the approving client signs exactly that; identity compares what comes back with what it offered.
//! docs/protocol.md §5 gives the profile.

use crate::jose::{Draft, Typ, Unverified};
use crate::key::{Did, PublicKey};
use crate::refusal::Vc;
use crate::sd_jwt::{Compact, Disclosure, reveal};
use crate::status_list::StatusRef;
use crate::time::{Millis, SKEW_AHEAD_SECS};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The credential's type.
pub const VCT: &str = "urn:baton:vct:device-binding:1";
/// Longest life of a credential.
pub const MAX_LIFETIME_SECS: i64 = 366 * 24 * 3600;
/// Claims that always stand in clear (SD-JWT VC §3.2.2.2 and this profile).
pub const FIXED: &[&str] = &["iss", "nbf", "exp", "cnf", "vct", "vct#integrity", "status", "sub", "iat", "client_id", "tier", "log", "status_issuer"];

/// What a device may do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Accepts only handoffs that name it; sees only sessions it holds.
    Limited,
    /// Everything its scopes allow.
    Full,
}

impl Tier {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::Full => "full",
        }
    }
    /// From the wire.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "limited" => Some(Self::Limited),
            "full" => Some(Self::Full),
            _ => None,
        }
    }
}

/// The claims every verifier sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visible {
    /// The issuer key's `did:key`.
    pub iss: Did,
    /// The device key's `did:key`.
    pub sub: Did,
    /// [`VCT`].
    pub vct: String,
    /// When it was signed.
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// The OAuth client the device runs.
    pub client_id: String,
    /// What the device may do.
    pub tier: Tier,
    /// The subject: hash of the device log's first entry.
    pub log: String,
    /// Where its status stands.
    pub status: StatusEntry,
    /// `did:web` of the identity service, which signs the status list.
    pub status_issuer: String,
}

/// The `status` claim (Token Status List §6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusEntry {
    /// The reference.
    pub status_list: StatusRef,
}

/// What identity asks the approving client to sign: visible claims and, by name, those behind digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// In clear.
    pub visible: Visible,
    /// Selectively disclosable: `name, kind, platform, model, capabilities, agreement_jwk, integrity, enrolled_at`.
    pub disclosable: Map<String, Value>,
}

impl Template {
    /// The draft to sign and the disclosures that go with it; `salts` must be fresh, one for each disclosable claim.
    pub fn draft(&self, device: &PublicKey, salts: &[[u8; 16]]) -> Option<(Draft, Vec<Disclosure>)> {
        if salts.len() != self.disclosable.len() {
            return None;
        }
        let disclosures: Vec<_> = self.disclosable.iter().zip(salts).map(|((name, value), salt)| Disclosure::member(*salt, name, value)).collect();
        let mut digests: Vec<_> = disclosures.iter().map(Disclosure::digest).collect();
        digests.sort();
        let mut payload = self.clear_claims(device);
        payload.insert("_sd".into(), digests.into());
        payload.insert("_sd_alg".into(), "sha-256".into());
        Some((Draft::new(Typ::Credential, &self.visible.iss.url(), &payload), disclosures))
    }

    fn clear_claims(&self, device: &PublicKey) -> Map<String, Value> {
        let mut claims = match serde_json::to_value(&self.visible) {
            Ok(Value::Object(claims)) => claims,
            _ => Map::new(),
        };
        claims.insert("cnf".into(), json!({"jwk": device.jwk_value()}));
        claims
    }

    /// Checks that `credential` is this template, signed by its issuer, nothing added and nothing left out.
    pub fn check_signed(&self, credential: &str, device: &PublicKey) -> Result<Credential, Vc> {
        let compact = Compact::parse(credential)?;
        if compact.kb.is_some() || compact.disclosures.len() != self.disclosable.len() {
            return Err(Vc::Policy);
        }
        let issuer = self.visible.iss.key()?;
        let signed = open(&compact, |_| Some(issuer.clone()))?;
        let mut expected = self.clear_claims(device);
        if signed.raw.status_ref() != expected.status_ref() {
            return Err(Vc::StatusRef);
        }
        // Before anything is revealed: no digest hidden where the template has none, each disclosure exactly the offered claim.
        let mut clear = signed.raw.clone();
        clear.remove("_sd");
        let alg = clear.remove("_sd_alg");
        let offered = |d: &Disclosure| d.name().and_then(|name| self.disclosable.get(name)) == Some(d.value());
        if clear != expected || alg != Some(Value::from("sha-256")) || !compact.disclosures.iter().all(offered) {
            return Err(Vc::Policy);
        }
        expected.extend(self.disclosable.clone());
        if signed.digests != self.disclosable.len() || signed.claims != expected {
            return Err(Vc::Policy);
        }
        Ok(Credential { hash: signed.hash, visible: self.visible.clone(), key: device.clone(), claims: signed.disclosed })
    }
}

trait StatusOf {
    fn status_ref(&self) -> Option<&Value>;
}
impl StatusOf for Map<String, Value> {
    fn status_ref(&self) -> Option<&Value> {
        self.get("status")
    }
}

/// A credential whose signature and claims hold. Whether it still *counts* is its status, asked separately.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// Digest of its content: what standing and status are kept by.
    pub hash: String,
    /// The visible claims.
    pub visible: Visible,
    /// The device key.
    pub key: PublicKey,
    /// The disclosed claims.
    pub claims: Map<String, Value>,
}

struct Signed {
    hash: String,
    raw: Map<String, Value>,
    claims: Map<String, Value>,
    disclosed: Map<String, Value>,
    digests: usize,
}

/// Verifies the issuer's signature with the key `issuer` gives for the DID, unless it gives none because this digest was verified before.
fn open(compact: &Compact<'_>, issuer: impl FnOnce(&Did) -> Option<PublicKey>) -> Result<Signed, Vc> {
    let jwt = Unverified::parse(compact.jwt, Typ::Credential).map_err(Vc::Jose)?;
    let iss = jwt.unverified_claims().get("iss").and_then(Value::as_str).ok_or(Vc::Did)?;
    let iss = if iss.starts_with("did:key:z") { Did::unresolved(iss) } else { return Err(Vc::DidMethod) };
    if jwt.unverified_header().kid.as_deref() != Some(iss.url().as_str()) {
        return Err(Vc::Did);
    }
    let jwt = match issuer(&iss) {
        Some(key) => jwt.verify(&key).map_err(|_| Vc::Sig)?,
        None => jwt.trust(),
    };
    let hash = jwt.payload_hash();
    let raw = jwt.claims;
    let digests = raw.get("_sd").and_then(Value::as_array).map_or(0, Vec::len);
    let claims = reveal(raw.clone(), &compact.disclosures, FIXED)?;
    let disclosed =
        compact.disclosures.iter().filter_map(Disclosure::name).filter_map(|n| claims.get(n).map(|v| (n.to_owned(), v.clone()))).collect();
    Ok(Signed { hash, raw, claims, disclosed, digests })
}

/// Remembers issuer signatures that were verified: bounded, by digest of the whole issuer-signed JWT, never past `exp`, never a status.
pub trait IssuerMemory {
    /// Whether this digest's signature was verified before and its credential has not ended at `now`.
    fn verified(&self, digest: &[u8; 32], now: Millis) -> bool;
    /// Notes a verified signature, to be forgotten at `exp`.
    fn remember(&self, digest: [u8; 32], exp: Millis);
}

/// Remembers nothing.
impl IssuerMemory for () {
    fn verified(&self, _: &[u8; 32], _: Millis) -> bool {
        false
    }
    fn remember(&self, _: [u8; 32], _: Millis) {}
}

/// Checks a credential by itself: signature, type, times, `cnf`. Status and key binding are the caller's next steps.
pub fn check(compact: &Compact<'_>, memory: &impl IssuerMemory, now: Millis) -> Result<Credential, Vc> {
    let digest = crate::key::sha256(compact.jwt.as_bytes());
    let known = memory.verified(&digest, now);
    let mut bad_did = None;
    let signed = open(compact, |iss| {
        if known {
            return None;
        }
        match iss.key() {
            Ok(key) => Some(key),
            Err(why) => {
                bad_did = Some(why);
                None
            }
        }
    });
    if let Some(why) = bad_did {
        return Err(why);
    }
    let signed = signed?;
    if signed.raw.get("vct").and_then(Value::as_str) != Some(VCT) {
        return Err(Vc::Vct);
    }
    check_times(&signed.raw, now)?;
    let key = check_cnf(&signed.raw)?;
    if signed.raw.get("status").is_none() {
        return Err(Vc::StatusRef);
    }
    let visible: Visible = crate::json::claims(signed.raw).map_err(|_| Vc::Claim)?;
    if visible.sub != key.did() {
        return Err(Vc::Cnf);
    }
    if !known {
        memory.remember(digest, Millis::from_secs(visible.exp));
    }
    Ok(Credential { hash: signed.hash, visible, key, claims: signed.disclosed })
}

fn check_times(claims: &Map<String, Value>, now: Millis) -> Result<(), Vc> {
    let time = |name: &str| claims.get(name).map(|value| value.as_i64().ok_or(Vc::Time)).transpose();
    let (iat, exp) = (time("iat")?.ok_or(Vc::Time)?, time("exp")?.ok_or(Vc::Time)?);
    let latest = now.secs() + SKEW_AHEAD_SECS;
    if iat > latest || time("nbf")?.is_some_and(|nbf| nbf > latest) || iat < 0 || exp.saturating_sub(iat) > MAX_LIFETIME_SECS {
        return Err(Vc::Time);
    }
    if exp <= now.secs() { Err(Vc::Expired) } else { Ok(()) }
}

fn check_cnf(claims: &Map<String, Value>) -> Result<PublicKey, Vc> {
    let cnf = claims.get("cnf").and_then(Value::as_object).ok_or(Vc::Cnf)?;
    if cnf.len() != 1 {
        return Err(Vc::Cnf);
    }
    PublicKey::from_jwk(cnf.get("jwk").ok_or(Vc::Cnf)?).map_err(|_| Vc::Cnf)
}
