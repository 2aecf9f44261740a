//! Making a JWS: this crate gives the signing input and takes the signature.

use super::header::Typ;
use crate::b64;
use crate::key::PublicKey;
use serde::Serialize;
use serde_json::json;

/// A token that still lacks its signature.
#[derive(Debug, Clone)]
#[must_use]
pub struct Draft(String);

impl Draft {
    /// A draft with a key name.
    pub fn new(typ: Typ, kid: &str, payload: &impl Serialize) -> Self {
        Self::with_header(&json!({"alg": "ES256", "typ": typ.as_str(), "kid": kid}), payload)
    }
    /// A draft without a key name; the verifier knows the key from elsewhere (`cnf`).
    pub fn anonymous(typ: Typ, payload: &impl Serialize) -> Self {
        Self::with_header(&json!({"alg": "ES256", "typ": typ.as_str()}), payload)
    }
    /// A DPoP proof, which carries its key.
    pub fn dpop(key: &PublicKey, payload: &impl Serialize) -> Self {
        Self::with_header(&json!({"alg": "ES256", "typ": Typ::Dpop.as_str(), "jwk": key.jwk_value()}), payload)
    }
    /// A draft whose key is in the first of these certificates (base64 DER, RFC 7515 §4.1.6).
    pub fn certified(typ: Typ, x5c: &[String], payload: &impl Serialize) -> Self {
        Self::with_header(&json!({"alg": "ES256", "typ": typ.as_str(), "x5c": x5c}), payload)
    }
    /// A draft over a payload given as exact JSON text: what is signed is what was read.
    pub fn exact(typ: Typ, kid: &str, payload: &str) -> Self {
        let header = json!({"alg": "ES256", "typ": typ.as_str(), "kid": kid});
        Self(format!("{}.{}", b64::encode(header.to_string()), b64::encode(payload)))
    }
    fn with_header(header: &serde_json::Value, payload: &impl Serialize) -> Self {
        let payload = serde_json::to_vec(payload).expect("claims serialise: string keys, finite numbers");
        Self(format!("{}.{}", b64::encode(header.to_string()), b64::encode(payload)))
    }
    /// The bytes to sign.
    pub fn signing_input(&self) -> &[u8] {
        self.0.as_bytes()
    }
    /// The finished token.
    pub fn signed(self, signature: &[u8; 64]) -> String {
        format!("{}.{}", self.0, b64::encode(signature))
    }
}
