//! The device-binding credential: an SD-JWT VC (`dc+sd-jwt`) by which a person's issuer key says "this key is my device".
//!
//! Identity offers a [`Template`]; the approving client signs exactly that; identity compares what comes back with what it offered.
//! docs/protocol.md §5 gives the profile.

use crate::jose::{Draft, MAX_TOKEN, SignatureMemory, Typ, Unverified};
use crate::json::{self, Members, Node};
use crate::key::{self, Did, PublicKey};
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl Visible {
    /// From claims as they were read: each must be there and of its type, unknown ones are ignored.
    fn read(claims: &Members<'_>, iss: Did, sub: Did) -> Option<Self> {
        let text = |name: &str| claims.text(name).map(str::to_owned);
        let time = |name: &str| claims.get(name).and_then(Node::as_i64);
        let status = claims.get("status")?.as_members()?.get("status_list")?.as_members()?;
        Some(Self {
            iss,
            sub,
            vct: text("vct")?,
            iat: time("iat")?,
            exp: time("exp")?,
            client_id: text("client_id")?,
            tier: Tier::parse(claims.text("tier")?)?,
            log: text("log")?,
            status: StatusEntry {
                status_list: StatusRef { idx: u32::try_from(status.get("idx")?.as_i64()?).ok()?, uri: status.text("uri")?.to_owned() },
            },
            status_issuer: text("status_issuer")?,
        })
    }
}

/// The `status` claim (Token Status List §6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusEntry {
    /// The reference.
    pub status_list: StatusRef,
}

/// What identity asks the approving client to sign: visible claims and, by name, those behind digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
        let mut digests: Vec<_> = disclosures.iter().map(|d| d.digest().to_owned()).collect();
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
        let jwt = Unverified::split(compact.jwt, Typ::Credential).map_err(Vc::Jose)?;
        let claims = json::members(jwt.payload(), MAX_TOKEN).map_err(Vc::Jose)?;
        unproven_issuer(&jwt, &claims)?;
        jwt.check(&jwt.digest(), &issuer).map_err(|_| Vc::Sig)?;
        let mut expected = self.clear_claims(device);
        if claims.get("status").map(Node::to_value).as_ref() != expected.get("status") {
            return Err(Vc::StatusRef);
        }
        // Before anything is revealed: no digest hidden where the template has none, each disclosure exactly the offered claim.
        let mut clear = claims.to_map();
        let digests = clear.remove("_sd").and_then(|digests| Some(digests.as_array()?.len()));
        let alg = clear.remove("_sd_alg");
        let offered = |d: &Disclosure| d.name().and_then(|name| self.disclosable.get(name)) == Some(&d.value().to_value());
        if clear != expected || alg != Some(Value::from("sha-256")) || !compact.disclosures.iter().all(offered) {
            return Err(Vc::Policy);
        }
        let revealed = reveal(&claims, &compact.disclosures, FIXED)?;
        expected.extend(self.disclosable.clone());
        if digests.unwrap_or(0) != self.disclosable.len() || revealed.to_map() != expected {
            return Err(Vc::Policy);
        }
        let claims = disclosed(&compact, &revealed);
        Ok(Credential { hash: key::hash(jwt.payload()), visible: self.visible.clone(), key: device.clone(), claims })
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

/// The issuer a token names in both places where it must: not proven before its key has checked the signature.
fn unproven_issuer(jwt: &Unverified<'_>, claims: &Members<'_>) -> Result<Did, Vc> {
    let iss = claims.text("iss").ok_or(Vc::Did)?;
    if !iss.starts_with("did:key:z") {
        return Err(Vc::DidMethod);
    }
    let iss = Did::unresolved(iss);
    if jwt.unverified_header().kid.as_deref().is_some_and(|kid| iss.has_url(kid)) { Ok(iss) } else { Err(Vc::Did) }
}

/// Of all claims, those that were disclosed.
fn disclosed(compact: &Compact<'_>, claims: &Members<'_>) -> Map<String, Value> {
    let mut map = Map::with_capacity(compact.disclosures.len());
    for name in compact.disclosures.iter().filter_map(Disclosure::name) {
        if let Some(value) = claims.get(name) {
            map.insert(name.to_owned(), value.to_value());
        }
    }
    map
}

/// Checks a credential by itself: signature, type, times, `cnf`. Status and key binding are the caller's next steps.
pub fn check(compact: &Compact<'_>, memory: &impl SignatureMemory, now: Millis) -> Result<Credential, Vc> {
    let jwt = Unverified::split(compact.jwt, Typ::Credential).map_err(Vc::Jose)?;
    let signed = jwt.digest();
    let digest = key::sha256(&[signed.as_bytes(), jwt.signature()].concat());
    let known = memory.verified(&digest, now);
    let claims = json::members(jwt.payload(), MAX_TOKEN).map_err(Vc::Jose)?;
    let iss = unproven_issuer(&jwt, &claims)?;
    if !known {
        jwt.check(&signed, &iss.key()?).map_err(|_| Vc::Sig)?;
    }
    let revealed = reveal(&claims, &compact.disclosures, FIXED)?;
    if claims.text("vct") != Some(VCT) {
        return Err(Vc::Vct);
    }
    check_times(&claims, now)?;
    let key = check_cnf(&claims)?;
    if claims.get("status").is_none() {
        return Err(Vc::StatusRef);
    }
    let sub = Did::unresolved(claims.text("sub").ok_or(Vc::Claim)?);
    if !sub.names(&key) {
        return Err(Vc::Cnf);
    }
    let visible = Visible::read(&claims, iss, sub).ok_or(Vc::Claim)?;
    if !known {
        memory.remember(digest, Millis::from_secs(visible.exp));
    }
    Ok(Credential { hash: key::hash(jwt.payload()), visible, key, claims: disclosed(compact, &revealed) })
}

fn check_times(claims: &Members<'_>, now: Millis) -> Result<(), Vc> {
    let time = |name: &str| claims.get(name).map(|value| value.as_i64().ok_or(Vc::Time)).transpose();
    let (iat, exp) = (time("iat")?.ok_or(Vc::Time)?, time("exp")?.ok_or(Vc::Time)?);
    let latest = now.secs() + SKEW_AHEAD_SECS;
    if iat > latest || time("nbf")?.is_some_and(|nbf| nbf > latest) || iat < 0 || exp.saturating_sub(iat) > MAX_LIFETIME_SECS {
        return Err(Vc::Time);
    }
    if exp <= now.secs() { Err(Vc::Expired) } else { Ok(()) }
}

fn check_cnf(claims: &Members<'_>) -> Result<PublicKey, Vc> {
    let cnf = claims.get("cnf").and_then(Node::as_members).ok_or(Vc::Cnf)?;
    if cnf.len() != 1 {
        return Err(Vc::Cnf);
    }
    PublicKey::from_jwk_node(cnf.get("jwk").ok_or(Vc::Cnf)?).map_err(|_| Vc::Cnf)
}
