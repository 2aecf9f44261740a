//! Compact JWS around a credential or presentation. The header is read here, strictly; ssi checks the signature.

use crate::issuer::Keys;
use crate::key::Key;
use crate::{MAX, did};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_protocol::{b64, json};
use serde_json::{Map, Value};
use ssi::claims::{JwsSlice, VerificationParameters};

/// A token of the right form; nobody has checked its signature.
pub struct Jwt<'a> {
    text: &'a str,
    /// `ES256` or `EdDSA`.
    pub algorithm: &'static str,
    /// `typ`, if there is one.
    pub typ: Option<String>,
    /// What the key is called: a DID URL, or a name the issuer gave it.
    pub kid: Option<String>,
    /// Certificates, the key's first.
    pub x5c: Vec<Vec<u8>>,
    /// What it says.
    pub claims: Map<String, Value>,
}

impl<'a> Jwt<'a> {
    /// Parses.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        Self::parse_long(text, MAX)
    }

    /// Parses one that may be as long as this.
    pub fn parse_long(text: &'a str, max: usize) -> Result<Self, &'static str> {
        if text.len() > max {
            return Err("too long");
        }
        let parts: Vec<_> = text.split('.').collect();
        let [header, payload, _] = parts[..] else { return Err("no compact JWS") };
        let decode = |part: &str| b64::decode(part).ok().and_then(|bytes| json::object(&bytes, max).ok());
        let header = decode(header).ok_or("the header does not parse")?;
        // Keys from the token itself, or from elsewhere, and extensions that would change what the rest means.
        if ["jwk", "jku", "x5u", "crit", "b64", "zip"].iter().any(|name| header.contains_key(*name)) {
            return Err("the header has a parameter that is not allowed");
        }
        let member = |name: &str| header.get(name).map(|value| value.as_str().map(str::to_owned).ok_or("the header does not parse")).transpose();
        let algorithm = match member("alg")?.as_deref() {
            Some("ES256") => "ES256",
            Some("EdDSA") => "EdDSA",
            _ => return Err("the algorithm is not allowed"),
        };
        let claims = decode(payload).ok_or("the payload does not parse")?;
        let x5c = header.get("x5c").map_or(Ok(Vec::new()), |chain| certificates(chain).ok_or("the certificates do not parse"))?;
        Ok(Self { text, algorithm, typ: member("typ")?, kid: member("kid")?, x5c, claims })
    }

    /// The payload's bytes.
    pub fn payload(&self) -> Result<Vec<u8>, &'static str> {
        self.text.split('.').nth(1).and_then(|part| b64::decode(part).ok()).ok_or("the payload does not parse")
    }

    /// Checks the signature, by these keys.
    pub async fn check(&self, keys: &Keys) -> Result<(), &'static str> {
        let bad = "the signature does not hold";
        let key = match keys {
            Keys::Carried => self.kid.as_deref().and_then(|kid| Key::of_did(did::of_url(kid).ok()?)),
            Keys::One { key, .. } => Some(key.clone()),
        };
        // ssi goes by the key alone where that is Ed25519: what the header says, which the policy was asked about, must be what was done.
        let key = key.filter(|key| key.algorithm() == self.algorithm).and_then(|key| key.jwk()).ok_or(bad)?;
        let jws = JwsSlice::new(self.text.as_bytes()).map_err(|_| bad)?;
        let decoded = jws.decode().map_err(|_| bad)?;
        let outcome = decoded.verify(VerificationParameters::from_resolver(key)).await;
        // ssi tells some bad signatures as failures of its own.
        if matches!(outcome, Ok(Ok(()))) { Ok(()) } else { Err(bad) }
    }
}

/// Standard base64 of DER, each (RFC 7515 §4.1.6).
fn certificates(chain: &Value) -> Option<Vec<Vec<u8>>> {
    let chain = chain.as_array().filter(|chain| !chain.is_empty())?;
    chain.iter().map(|one| STANDARD.decode(one.as_str()?).ok()).collect()
}
