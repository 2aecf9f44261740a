//! Data Integrity proofs (VC Data Integrity 1.0) with `ecdsa-rdfc-2019` and `eddsa-rdfc-2022`. What a proof is for is read here, strictly; ssi
//! canonicalizes and checks the signature. ssi refuses terms that no context defines, which would otherwise be covered by nothing.

use crate::did;
use serde_json::{Map, Value};
use ssi::claims::data_integrity::{AnyDataIntegrity, AnySuite, DataIntegrity};
use ssi::claims::vc::{AnyJsonCredential, AnyJsonPresentation};
use ssi::claims::{InvalidProof, VerificationParameters};
use ssi::dids::DIDResolver as _;

/// Canonicalization tries the orders of blank nodes that look alike: a document with many would take for ever.
const MAX_BLANK: usize = 8;
/// How far ahead of ours the clock of whoever signed may be.
const SKEW_SECS: i64 = 60;

/// A proof's own members.
pub struct Proof<'a> {
    members: &'a Map<String, Value>,
    /// Its cryptosuite.
    pub suite: &'static str,
    /// DID URL of the key.
    pub method: &'a str,
}

impl<'a> Proof<'a> {
    /// The one proof of a document, for this purpose.
    pub fn of(document: &'a Value, purpose: &str) -> Result<Self, &'static str> {
        let proof = match &document["proof"] {
            Value::Array(all) if all.len() == 1 => &all[0],
            Value::Array(_) => return Err("there must be one proof"),
            one => one,
        };
        let members = proof.as_object().ok_or("the proof does not parse")?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if text("type") != Some("DataIntegrityProof") {
            return Err("the proof is of another type");
        }
        let suite = match text("cryptosuite") {
            Some("ecdsa-rdfc-2019") => "ecdsa-rdfc-2019",
            Some("eddsa-rdfc-2022") => "eddsa-rdfc-2022",
            _ => return Err("the cryptosuite is not allowed"),
        };
        if text("proofPurpose") != Some(purpose) {
            return Err("the proof is for another purpose");
        }
        let known = ["type", "id", "cryptosuite", "created", "expires", "verificationMethod", "proofPurpose", "proofValue", "challenge", "domain"];
        if !members.keys().all(|name| known.contains(&name.as_str())) {
            return Err("the proof has a member that is not known");
        }
        Ok(Self { members, suite, method: text("verificationMethod").ok_or("no key is named")? })
    }

    /// A member of it.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// Whether it counts at this time.
    pub fn check_dates(&self, now: i64) -> Result<(), &'static str> {
        let time = |name: &str| self.members.get(name).map(|value| crate::credential::time(value).ok_or("a date does not parse")).transpose();
        if time("created")?.is_some_and(|created| created > now + SKEW_SECS) {
            return Err("the proof is from the future");
        }
        if time("expires")?.is_some_and(|expires| expires <= now) { Err("the proof has expired") } else { Ok(()) }
    }
}

/// Checks a credential's proof.
pub async fn check_credential(document: &Value, now: i64) -> Result<(), &'static str> {
    bounded(document)?;
    let read: AnyDataIntegrity<AnyJsonCredential> = serde_json::from_value(document.clone()).map_err(|_| "it does not parse")?;
    told(&read.verify(parameters(now)?).await)
}

/// Checks a presentation's proof.
pub async fn check_presentation(document: &Value, now: i64) -> Result<(), &'static str> {
    bounded(document)?;
    let read: DataIntegrity<AnyJsonPresentation, AnySuite> = serde_json::from_value(document.clone()).map_err(|_| "it does not parse")?;
    told(&read.verify(parameters(now)?).await)
}

type Keys = ssi::dids::VerificationMethodDIDResolver<did::Carried, ssi::verification_methods::AnyMethod>;

fn parameters(now: i64) -> Result<VerificationParameters<Keys>, &'static str> {
    let at = chrono::DateTime::from_timestamp(now, 0).ok_or("no such time")?;
    Ok(VerificationParameters::from_resolver(did::Carried.into_vm_resolver()).with_date_time(at))
}

fn told<E>(outcome: &Result<Result<(), ssi::claims::Invalid>, E>) -> Result<(), &'static str> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ssi::claims::Invalid::Claims(_))) => Err("its own claims do not hold"),
        Ok(Err(ssi::claims::Invalid::Proof(InvalidProof::Signature))) => Err("the signature does not hold"),
        Ok(Err(_)) => Err("the proof does not hold"),
        Err(_) => Err("it could not be canonicalized, or its key was not found"),
    }
}

/// Trees of few nodes alone: no node that is named inside the document, and few that have no name.
fn bounded(document: &Value) -> Result<(), &'static str> {
    let mut blank = 0;
    count(document, &mut blank)?;
    if blank > MAX_BLANK { Err("too many nodes have no id") } else { Ok(()) }
}

fn count(value: &Value, blank: &mut usize) -> Result<(), &'static str> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| count(item, blank)),
        Value::Object(members) => {
            let id = members.get("id").or(members.get("@id")).and_then(Value::as_str);
            if id.is_some_and(|id| id.starts_with("_:")) {
                return Err("a node is named inside the document");
            }
            if members.keys().any(|name| matches!(name.as_str(), "@graph" | "@included" | "@reverse")) {
                return Err("a keyword is not allowed");
            }
            *blank += usize::from(id.is_none());
            members.iter().filter(|(name, _)| *name != "@context" && *name != "proof").try_for_each(|(_, value)| count(value, blank))
        }
        Value::String(text) if text.starts_with("_:") => Err("a node is named inside the document"),
        _ => Ok(()),
    }
}
