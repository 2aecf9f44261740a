//! Reading a JWS. What is not verified yet says so in its name.

use super::header::{Header, Typ};
use crate::key::{self, PublicKey};
use crate::refusal::Jose;
use crate::{b64, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Longest token in bytes, before anything of it is decoded.
pub const MAX_TOKEN: usize = 64 * 1024;

/// A token of the right form and kind whose signature nobody has checked.
#[derive(Debug)]
pub struct Unverified<'a> {
    header: Header,
    signing_input: &'a str,
    payload: Vec<u8>,
    claims: Map<String, Value>,
    signature: [u8; 64],
}

/// A token whose signature holds.
#[derive(Debug)]
pub struct Verified {
    /// Its header.
    pub header: Header,
    /// Its claims.
    pub claims: Map<String, Value>,
    payload: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Parses compact form, expecting kind `typ`.
    pub fn parse(text: &'a str, typ: Typ) -> Result<Self, Jose> {
        if text.len() > MAX_TOKEN {
            return Err(Jose::Limit);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Jose::Form)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Jose::Form)?;
        if payload.contains('.') || header.is_empty() {
            return Err(Jose::Form);
        }
        let header = Header::parse(&b64::decode(header)?, typ)?;
        let payload = b64::decode(payload)?;
        let claims = json::object(&payload, MAX_TOKEN)?;
        let signature = b64::decode(signature)?.try_into().map_err(|_| Jose::Sig)?;
        Ok(Self { header, signing_input, payload, claims, signature })
    }

    /// The header, which is only a hint until [`Self::verify`].
    pub fn unverified_header(&self) -> &Header {
        &self.header
    }
    /// The claims, which are only a hint until [`Self::verify`].
    pub fn unverified_claims(&self) -> &Map<String, Value> {
        &self.claims
    }
    /// What the signature covers.
    pub fn signing_input(&self) -> &'a str {
        self.signing_input
    }
    /// The signature's bytes. Never a key of anything: a signature has a malleable twin.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Checks the signature.
    pub fn verify(self, key: &PublicKey) -> Result<Verified, Jose> {
        key.verify(self.signing_input.as_bytes(), &self.signature)?;
        Ok(self.trust())
    }
    /// For callers who have checked this very token before (by digest).
    pub(crate) fn trust(self) -> Verified {
        Verified { header: self.header, claims: self.claims, payload: self.payload }
    }
}

impl Verified {
    /// The digest that names this token's content: over the payload, so that a re-encoded signature is no second name.
    pub fn payload_hash(&self) -> String {
        key::hash(&self.payload)
    }

    /// Claims of a standard's token: a known claim of the wrong type is refused, unknown ones are ignored.
    pub fn claims<T: DeserializeOwned>(self) -> Result<T, Jose> {
        json::claims(self.claims)
    }

    /// Claims of our own tokens: exactly the members of `T`, each in its one form.
    pub fn exact<T: DeserializeOwned + Serialize>(self) -> Result<T, Jose> {
        let claims: T = json::claims(self.claims.clone())?;
        match serde_json::to_value(&claims) {
            Ok(Value::Object(same)) if same == self.claims => Ok(claims),
            _ => Err(Jose::ClaimType),
        }
    }
}
