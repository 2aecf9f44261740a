//! Reading a JWS. What is not verified yet says so in its name.

use super::header::{Header, Typ};
use super::memory::SignatureMemory;
use crate::json::Members;
use crate::key::{self, Digest, PublicKey};
use crate::refusal::Jose;
use crate::time::Millis;
use crate::{b64, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest token in bytes, before anything of it is decoded.
pub const MAX_TOKEN: usize = 64 * 1024;

/// A token of the right form and kind whose signature nobody has checked.
#[derive(Debug)]
pub struct Unverified<'a> {
    header: Header,
    signing_input: &'a str,
    payload: Vec<u8>,
    signature: [u8; 64],
}

/// A token whose signature holds.
#[derive(Debug)]
pub struct Verified {
    /// Its header.
    pub header: Header,
    payload: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Parses compact form, expecting kind `typ`.
    pub fn parse(text: &'a str, typ: Typ) -> Result<Self, Jose> {
        let split = Self::split(text, typ)?;
        json::members(&split.payload, MAX_TOKEN)?;
        Ok(split)
    }

    /// [`Self::parse`] for one who reads [`Self::payload`] next.
    pub(crate) fn split(text: &'a str, typ: Typ) -> Result<Self, Jose> {
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
        let signature = b64::decode(signature)?.try_into().map_err(|_| Jose::Sig)?;
        Ok(Self { header, signing_input, payload, signature })
    }

    /// The header, which is only a hint until [`Self::verify`].
    pub fn unverified_header(&self) -> &Header {
        &self.header
    }
    /// The payload's bytes, which are only a hint until [`Self::verify`].
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
    /// The claims, which are only a hint until [`Self::verify`].
    pub fn unverified_claims(&self) -> Members<'_> {
        accepted(&self.payload)
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
        self.check(&self.digest(), key)?;
        Ok(Verified { header: self.header, payload: self.payload })
    }
    /// Checks the signature, unless `memory` has seen it: over this text, by this key. `exp` says until when it may be remembered.
    pub(crate) fn verify_once(
        self,
        key: &PublicKey,
        memory: &impl SignatureMemory,
        now: Millis,
        exp: impl FnOnce(&Verified) -> Option<Millis>,
    ) -> Result<Verified, Jose> {
        let digest = self.digest();
        let name = key::sha256(&[digest.as_bytes(), &self.signature[..], key.sec1()].concat());
        let known = memory.verified(&name, now);
        if !known {
            self.check(&digest, key)?;
        }
        let verified = Verified { header: self.header, payload: self.payload };
        if let Some(exp) = exp(&verified).filter(|_| !known) {
            memory.remember(name, exp);
        }
        Ok(verified)
    }
    /// The digest the signature is over.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.signing_input.as_bytes())
    }
    /// Checks the signature over [`Self::digest`].
    pub(crate) fn check(&self, digest: &Digest, key: &PublicKey) -> Result<(), Jose> {
        key.verify_digest(digest, &self.signature)
    }
}

impl Verified {
    /// The digest that names this token's content: over the payload, so that a re-encoded signature is no second name.
    pub fn payload_hash(&self) -> String {
        key::hash(&self.payload)
    }

    /// Its claims as they stand.
    pub fn members(&self) -> Members<'_> {
        accepted(&self.payload)
    }

    /// Claims of a standard's token: a known claim of the wrong type is refused, unknown ones are ignored.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, Jose> {
        json::claims(&self.payload)
    }

    /// Claims of our own tokens: exactly the members of `T`, each in its one form.
    pub fn exact<T: DeserializeOwned + Serialize>(&self) -> Result<T, Jose> {
        let claims: T = json::claims(&self.payload)?;
        match serde_json::to_value(&claims) {
            Ok(Value::Object(same)) if same == self.members().to_map() => Ok(claims),
            _ => Err(Jose::ClaimType),
        }
    }
}

/// A payload that [`Unverified::parse`] has read before.
fn accepted(payload: &[u8]) -> Members<'_> {
    json::members(payload, MAX_TOKEN).unwrap_or_default()
}
