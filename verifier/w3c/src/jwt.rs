//! Compact JWS around a credential or presentation. The header is read here, strictly; ssi checks the signature.

use crate::{MAX, did};
use baton_protocol::{b64, json};
use serde_json::{Map, Value};
use ssi::claims::{JwsSlice, VerificationParameters};
use ssi::dids::DIDResolver as _;
use ssi::verification_methods::AnyJwkMethod;

/// A token of the right form; nobody has checked its signature.
pub struct Jwt<'a> {
    text: &'a str,
    /// `ES256` or `EdDSA`.
    pub algorithm: &'static str,
    /// `typ`, if there is one.
    pub typ: Option<String>,
    /// DID URL of the key.
    pub kid: String,
    /// What it says.
    pub claims: Map<String, Value>,
}

impl<'a> Jwt<'a> {
    /// Parses.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX {
            return Err("too long");
        }
        let parts: Vec<_> = text.split('.').collect();
        let [header, payload, _] = parts[..] else { return Err("no compact JWS") };
        let decode = |part: &str| b64::decode(part).ok().and_then(|bytes| json::object(&bytes, MAX).ok());
        let header = decode(header).ok_or("the header does not parse")?;
        // Keys from the token itself, or from elsewhere, and extensions that would change what the rest means.
        if ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"].iter().any(|name| header.contains_key(*name)) {
            return Err("the header has a parameter that is not allowed");
        }
        let member = |name: &str| header.get(name).map(|value| value.as_str().map(str::to_owned).ok_or("the header does not parse")).transpose();
        let algorithm = match member("alg")?.as_deref() {
            Some("ES256") => "ES256",
            Some("EdDSA") => "EdDSA",
            _ => return Err("the algorithm is not allowed"),
        };
        let claims = decode(payload).ok_or("the payload does not parse")?;
        Ok(Self { text, algorithm, typ: member("typ")?, kid: member("kid")?.ok_or("no key is named")?, claims })
    }

    /// The payload's bytes.
    pub fn payload(&self) -> Result<Vec<u8>, &'static str> {
        self.text.split('.').nth(1).and_then(|part| b64::decode(part).ok()).ok_or("the payload does not parse")
    }

    /// Checks the signature by the key that `kid` names.
    pub async fn check(&self) -> Result<(), &'static str> {
        let bad = "the signature does not hold";
        did::of_url(&self.kid)?;
        let jws = JwsSlice::new(self.text.as_bytes()).map_err(|_| bad)?;
        let decoded = jws.decode().map_err(|_| bad)?;
        let keys = VerificationParameters::from_resolver(did::Carried.into_vm_resolver::<AnyJwkMethod>());
        // ssi tells some bad signatures as failures of its own.
        if matches!(decoded.verify(&keys).await, Ok(Ok(()))) { Ok(()) } else { Err(bad) }
    }
}
