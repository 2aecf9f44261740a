//! Keys that issuers are known by, from wherever the policy lets them come: ES256 on P-256, or EdDSA on Ed25519.

use baton_protocol::b64;
use baton_protocol::key::{PublicKey, resolve};
use serde_json::{Value, json};
use ssi::JWK;

/// multicodec of an Ed25519 public key.
const ED25519: [u8; 2] = [0xed, 0x01];
/// SubjectPublicKeyInfo up to the point, or the key (RFC 5480, RFC 8410).
const SPKI_P256: [u8; 26] = *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const SPKI_ED25519: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// P-256.
    P256(PublicKey),
    /// Ed25519.
    Ed25519([u8; 32]),
}

impl Key {
    /// From a JWK, whose other members say nothing but whether it is for signatures.
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        if jwk.get("use").is_some_and(|usage| usage != "sig") || jwk.get("d").is_some() {
            return None;
        }
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        match (text("kty")?, text("crv")?) {
            ("EC", "P-256") => PublicKey::from_jwk(jwk).ok().map(Self::P256),
            ("OKP", "Ed25519") => b64::decode_array(text("x")?).ok().map(Self::Ed25519),
            _ => None,
        }
    }

    /// From `publicKeyMultibase` of a Multikey (Controlled Identifiers §2.2.2).
    pub fn from_multibase(text: &str) -> Option<Self> {
        if let Ok(key) = resolve(&format!("did:key:{text}")) {
            return Some(Self::P256(key));
        }
        let bytes = text.strip_prefix('z').filter(|rest| rest.len() <= 64).and_then(|rest| bs58::decode(rest).into_vec().ok())?;
        bytes.strip_prefix(&ED25519)?.try_into().ok().map(Self::Ed25519)
    }

    /// From a certificate's SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        if let Some(point) = der.strip_prefix(&SPKI_P256) {
            return PublicKey::from_sec1(point.try_into().ok()?).ok().map(Self::P256);
        }
        der.strip_prefix(&SPKI_ED25519)?.try_into().ok().map(Self::Ed25519)
    }

    /// That a DID carries: did:key, or did:jwk.
    pub fn of_did(did: &str) -> Option<Self> {
        match did.strip_prefix("did:jwk:") {
            Some(jwk) => Self::from_jwk(&serde_json::from_slice(&b64::decode(jwk).ok()?).ok()?),
            None => Self::from_multibase(did.strip_prefix("did:key:")?),
        }
    }

    /// The one JOSE algorithm it is for.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// For ssi.
    pub fn jwk(&self) -> Option<JWK> {
        let jwk = match self {
            Self::P256(key) => key.jwk_value(),
            Self::Ed25519(bytes) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64::encode(bytes)}),
        };
        serde_json::from_value(jwk).ok()
    }

    /// As `publicKeyMultibase`.
    pub fn multibase(&self) -> String {
        match self {
            Self::P256(key) => key.did().as_str().trim_start_matches("did:key:").to_owned(),
            Self::Ed25519(bytes) => format!("z{}", bs58::encode([&ED25519[..], bytes].concat()).into_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_however_it_is_written() {
        for jwk in [JWK::generate_p256(), JWK::generate_ed25519().unwrap()] {
            let key = Key::from_jwk(&serde_json::to_value(jwk.to_public()).unwrap()).unwrap();
            assert_eq!(Key::from_multibase(&key.multibase()), Some(key.clone()));
            let spki = match &key {
                Key::P256(key) => [&SPKI_P256[..], key.sec1()].concat(),
                Key::Ed25519(bytes) => [&SPKI_ED25519[..], bytes].concat(),
            };
            assert_eq!(Key::from_spki(&spki), Some(key.clone()));
            assert_eq!(Key::from_spki(&spki[..spki.len() - 1]), None);
            assert_eq!(key.jwk().unwrap().to_public().params, jwk.to_public().params);
            let mut foreign = serde_json::to_value(jwk.to_public()).unwrap();
            foreign["use"] = "enc".into();
            assert_eq!(Key::from_jwk(&foreign), None);
            assert_eq!(Key::from_jwk(&serde_json::to_value(&jwk).unwrap()), None, "a private key is nobody's to show");
        }
    }
}
