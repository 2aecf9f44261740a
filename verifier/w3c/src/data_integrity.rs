//! Data Integrity proofs (VC Data Integrity 1.0) with `ecdsa-rdfc-2019` and `eddsa-rdfc-2022`. What a proof is for is read here, strictly; ssi
//! canonicalizes and checks the signature.
//!
//! A proof covers what JSON-LD makes of a document, and we report the document. So the two must say the same: contexts are pinned by policy, nothing
//! is said in another way than by a context's own terms, everything but the credential itself has an absolute `id`, and what JSON-LD would drop is
//! refused. (That values of one member are a set, so that their order is nobody's, stays.) With every node named, canonicalization has no orders to try.

use crate::Policy;
use crate::credential::{SKEW_SECS, V1, V2, id_of, texts};
use crate::issuer::Keys;
use serde_json::{Map, Value};
use ssi::claims::data_integrity::{AnyDataIntegrity, AnySuite, DataIntegrity};
use ssi::claims::vc::{AnyJsonCredential, AnyJsonPresentation};
use ssi::claims::{InvalidProof, VerificationParameters};
use ssi::dids::DIDResolver as _;
use ssi::json_ld::iref::Iri;
use std::collections::BTreeSet;

/// Longest `proofValue`: a signature in base58.
const MAX_VALUE: usize = 256;
/// The context that VCDM 1.1 needs for a proof of this kind.
const PROOF_CONTEXT: &str = "https://w3id.org/security/data-integrity/v2";
/// Members whose text is an IRI: a relative one would be covered by nothing.
const IRIS: [&str; 12] = [
    "issuer",
    "holder",
    "credentialSubject",
    "credentialSchema",
    "credentialStatus",
    "evidence",
    "refreshService",
    "relatedResource",
    "termsOfUse",
    "confidenceMethod",
    "renderMethod",
    "verifiableCredential",
];

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
        // Each of them a text: nothing of a proof is a node of its own.
        if !members.iter().all(|(name, value)| known.contains(&name.as_str()) && value.is_string()) {
            return Err("the proof has a member that is not known");
        }
        check_id(members.get("id"))?;
        if text("proofValue").is_none_or(|value| value.len() > MAX_VALUE) {
            return Err("the proof has no value");
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

/// Checks a credential's proof. `contexts`: those its issuer uses after the first.
pub async fn check_credential(document: &Value, contexts: &[String], keys: Keys, now: i64) -> Result<(), &'static str> {
    plain_credential(document, contexts)?;
    let read: AnyDataIntegrity<AnyJsonCredential> = serde_json::from_value(document.clone()).map_err(|_| "it does not parse")?;
    told(&read.verify(parameters(keys, now)?).await)
}

/// Checks a presentation's proof, by a key that its holder's DID carries.
pub async fn check_presentation(document: &Value, policy: &Policy, now: i64) -> Result<(), &'static str> {
    plain_presentation(document, policy)?;
    let read: DataIntegrity<AnyJsonPresentation, AnySuite> = serde_json::from_value(document.clone()).map_err(|_| "it does not parse")?;
    told(&read.verify(parameters(Keys::Carried, now)?).await)
}

type Resolver = ssi::dids::VerificationMethodDIDResolver<Keys, ssi::verification_methods::AnyMethod>;

fn parameters(keys: Keys, now: i64) -> Result<VerificationParameters<Resolver>, &'static str> {
    let at = chrono::DateTime::from_timestamp(now, 0).ok_or("no such time")?;
    Ok(VerificationParameters::from_resolver(keys.into_vm_resolver()).with_date_time(at))
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

/// A credential that says in JSON what it says in RDF.
fn plain_credential(document: &Value, contexts: &[String]) -> Result<(), &'static str> {
    let members = document.as_object().ok_or("no object")?;
    check_contexts(members, contexts)?;
    Walk::of(members)?.members(members, &["@context", "proof"])
}

/// The same of a presentation and of the one credential in it.
fn plain_presentation(document: &Value, policy: &Policy) -> Result<(), &'static str> {
    let members = document.as_object().ok_or("no object")?;
    check_contexts(members, &[])?;
    let inside = match members.get("verifiableCredential") {
        Some(Value::Array(all)) if all.len() == 1 => &all[0],
        Some(one @ Value::Object(_)) => one,
        _ => return Err("there must be one credential"),
    };
    // Part of what is canonicalized, like all of it.
    Proof::of(inside, "assertionMethod")?;
    let issuer = inside.get("issuer").and_then(id_of).unwrap_or_default();
    plain_credential(inside, policy.trusted(issuer).map_or(&[], |trusted| &trusted.contexts))?;
    if inside.get("id").is_none() {
        return Err("the credential in it has no id");
    }
    Walk::of(members)?.members(members, &["@context", "proof", "verifiableCredential"])
}

fn check_contexts(members: &Map<String, Value>, more: &[String]) -> Result<(), &'static str> {
    let named = members.get("@context").and_then(Value::as_array).ok_or("the contexts are not those of the policy")?;
    let named: Option<Vec<_>> = named.iter().map(Value::as_str).collect();
    let named = named.ok_or("the contexts are not those of the policy")?;
    let rest = match named.split_first() {
        Some((&V1, rest)) => rest.strip_suffix(&[PROOF_CONTEXT]).unwrap_or(rest),
        Some((&V2, rest)) => rest,
        _ => return Err("the first context is another"),
    };
    if rest == more { Ok(()) } else { Err("the contexts are not those of the policy") }
}

/// An absolute IRI, if there is one: any other is left out of what is signed.
fn check_id(id: Option<&Value>) -> Result<(), &'static str> {
    match id {
        None => Ok(()),
        Some(id) if id.as_str().is_some_and(|id| !id.starts_with("_:") && Iri::new(id).is_ok()) => Ok(()),
        Some(_) => Err("an id is no absolute IRI"),
    }
}

/// What only the credential itself may say: anywhere else it would be said of another node, or of the same one out of our sight.
const ITS_OWN: [&str; 8] =
    ["proof", "credentialStatus", "credentialSubject", "validFrom", "validUntil", "issuanceDate", "expirationDate", "verifiableCredential"];
/// Beyond these a number has several spellings, and some of them are too much for ssi.
const WHOLE: std::ops::RangeInclusive<i64> = -9_007_199_254_740_991..=9_007_199_254_740_991;

/// Looks at a document's nodes. RDF knows a node by its id alone: one that was described in two places could be taken apart and put together anew.
struct Walk<'a>(BTreeSet<&'a str>);

impl<'a> Walk<'a> {
    fn of(members: &'a Map<String, Value>) -> Result<Self, &'static str> {
        check_id(members.get("id"))?;
        Ok(Self(members.get("id").and_then(Value::as_str).into_iter().collect()))
    }

    /// The members of a credential or presentation itself, but for those that are looked at by themselves.
    fn members(&mut self, members: &'a Map<String, Value>, but: &[&str]) -> Result<(), &'static str> {
        members.iter().filter(|(name, _)| !but.contains(&name.as_str())).try_for_each(|(name, value)| self.member(name, value))
    }

    fn member(&mut self, name: &str, value: &'a Value) -> Result<(), &'static str> {
        if name.starts_with('@') || name.contains(':') || name.is_empty() {
            return Err("a member is named in a way that is not allowed");
        }
        match value {
            Value::Null => Err("a member says nothing"),
            Value::Array(items) if items.is_empty() => Err("a member says nothing"),
            Value::Array(items) => {
                items.iter().try_for_each(|item| if item.is_array() { Err("a list is inside a list") } else { self.member(name, item) })
            }
            Value::Object(members) => self.node(members),
            Value::String(_) if name == "id" || IRIS.contains(&name) => check_id(Some(value)),
            Value::Number(number) => {
                let whole = number.as_i64().filter(|whole| WHOLE.contains(whole) && whole.to_string() == number.to_string());
                whole.map(|_| ()).ok_or("a number is not whole, or too large")
            }
            Value::String(_) | Value::Bool(_) => Ok(()),
        }
    }

    fn node(&mut self, members: &'a Map<String, Value>) -> Result<(), &'static str> {
        check_id(members.get("id"))?;
        let id = members.get("id").and_then(Value::as_str).ok_or("a node has no id")?;
        if members.len() > 1 && !self.0.insert(id) {
            return Err("a node is described twice");
        }
        if members.keys().any(|name| ITS_OWN.contains(&name.as_str())) || texts(members.get("type")).contains(&"VerifiableCredential") {
            return Err("a node says what only the credential itself may say");
        }
        members.iter().try_for_each(|(name, value)| self.member(name, value))
    }
}
