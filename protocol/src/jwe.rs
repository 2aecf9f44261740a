//! A compact JWE (RFC 7516) of the one kind that wallets and services exchange: ECDH-ES on P-256 (RFC 7518 §4.6), A128GCM or A256GCM. No
//! compression, no other key management, ever.

use crate::key::{PublicKey, sha256};
use crate::refusal::Jose;
use crate::{b64, json};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use serde_json::Value;

/// Longest answer.
const MAX: usize = 256 * 1024;

/// How content is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enc {
    /// `A128GCM`
    A128Gcm,
    /// `A256GCM`
    A256Gcm,
}

impl Enc {
    /// All of them, by name.
    pub const NAMES: [&str; 2] = ["A128GCM", "A256GCM"];

    /// Of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "A128GCM" => Some(Self::A128Gcm),
            "A256GCM" => Some(Self::A256Gcm),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        Self::NAMES[usize::from(self == Self::A256Gcm)]
    }

    /// The key that two agree on.
    fn key(self, own: &PrivateKey, peer: &PublicKey, apu: &[u8], apv: &[u8]) -> Result<LessSafeKey, Jose> {
        let (algorithm, length) = match self {
            Self::A128Gcm => (&AES_128_GCM, 16),
            Self::A256Gcm => (&AES_256_GCM, 32),
        };
        let peer = UnparsedPublicKey::new(&ECDH_P256, peer.sec1());
        let key = agree(own, peer, Jose::Key, |shared| Ok(derive(shared, self.name(), apu, apv, length)))?;
        Ok(LessSafeKey::new(UnboundKey::new(algorithm, &key[..length]).map_err(|_| Jose::Key)?))
    }
}

/// Whom something is sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Their key.
    pub key: PublicKey,
    /// What they call it.
    pub kid: Option<String>,
    /// How they want it.
    pub enc: Enc,
}

impl Recipient {
    /// Seals. Both random parts are used once, for this.
    pub fn seal(&self, plain: &[u8], ephemeral: &Opener, iv: [u8; 12]) -> Result<String, Jose> {
        let mut header = serde_json::json!({"alg": "ECDH-ES", "enc": self.enc.name(), "epk": ephemeral.public()?.jwk_value()});
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        let protected = b64::encode(header.to_string());
        let key = self.enc.key(&ephemeral.0, &self.key, &[], &[])?;
        let mut sealed = plain.to_vec();
        let tag =
            key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(protected.as_bytes()), &mut sealed).map_err(|_| Jose::Key)?;
        Ok(format!("{protected}..{}.{}.{}", b64::encode(iv), b64::encode(&sealed), b64::encode(tag.as_ref())))
    }
}

/// A key that answers are sealed to.
pub struct Opener(PrivateKey);

impl Opener {
    /// From a scalar; `None` when it is none.
    pub fn from_scalar(scalar: &[u8; 32]) -> Option<Self> {
        PrivateKey::from_private_key(&ECDH_P256, scalar).ok().map(Self)
    }

    /// Its public key.
    pub fn public(&self) -> Result<PublicKey, Jose> {
        let public = self.0.compute_public_key().map_err(|_| Jose::Key)?;
        PublicKey::from_sec1(public.as_ref().try_into().map_err(|_| Jose::Key)?)
    }

    /// Its public key as others use it: named, and for this alone.
    pub fn jwk(&self, kid: &str) -> Result<Value, Jose> {
        let mut jwk = self.public()?.jwk_value();
        (jwk["kid"], jwk["use"], jwk["alg"]) = (kid.into(), "enc".into(), "ECDH-ES".into());
        Ok(jwk)
    }

    /// What is inside.
    pub fn open(&self, compact: &str) -> Result<Vec<u8>, Jose> {
        if compact.len() > MAX {
            return Err(Jose::Limit);
        }
        let parts: Vec<_> = compact.split('.').collect();
        let [protected, encrypted_key, iv, text, tag] = parts[..] else { return Err(Jose::Form) };
        let decoded = b64::decode(protected)?;
        let header = json::members(&decoded, 4096)?;
        if header.text("alg") != Some("ECDH-ES") || !encrypted_key.is_empty() {
            return Err(Jose::Alg);
        }
        if header.get("zip").is_some() {
            return Err(Jose::HeaderZip);
        }
        if header.get("crit").is_some() {
            return Err(Jose::Crit);
        }
        let enc = header.text("enc").and_then(Enc::parse).ok_or(Jose::Alg)?;
        let epk = PublicKey::from_jwk_node(header.get("epk").ok_or(Jose::Key)?)?;
        let party = |name: &str| header.text(name).map_or(Ok(Vec::new()), b64::decode);
        let (apu, apv) = (party("apu")?, party("apv")?);
        let key = enc.key(&self.0, &epk, &apu, &apv)?;
        let nonce = Nonce::assume_unique_for_key(b64::decode_array::<12>(iv)?);
        let mut sealed = b64::decode(text)?;
        sealed.extend_from_slice(&b64::decode_array::<16>(tag)?);
        let opened = key.open_in_place(nonce, Aad::from(protected.as_bytes()), &mut sealed).map_err(|_| Jose::Sig)?;
        Ok(opened.to_vec())
    }
}

/// Concat KDF (RFC 7518 §4.6.2): one round of SHA-256 is enough for either length.
fn derive(shared: &[u8], enc: &str, apu: &[u8], apv: &[u8], length: usize) -> [u8; 32] {
    let mut input = vec![0, 0, 0, 1];
    input.extend_from_slice(shared);
    for part in [enc.as_bytes(), apu, apv] {
        input.extend_from_slice(&(part.len() as u32).to_be_bytes());
        input.extend_from_slice(part);
    }
    input.extend_from_slice(&(length as u32 * 8).to_be_bytes());
    sha256(&input)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7518 appendix C: the key that Alice and Bob agree on.
    #[test]
    fn the_rfc_s_own_agreement() {
        let bob = b64::decode_array::<32>("VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw").unwrap();
        let bob = Opener::from_scalar(&bob).unwrap();
        let alice =
            r#"{"kty":"EC","crv":"P-256","x":"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0","y":"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"}"#;
        let alice = PublicKey::from_jwk(&serde_json::from_str(alice).unwrap()).unwrap();
        let peer = UnparsedPublicKey::new(&ECDH_P256, alice.sec1());
        let key = agree(&bob.0, peer, (), |shared| Ok(derive(shared, "A128GCM", b"Alice", b"Bob", 16))).unwrap();
        assert_eq!(b64::encode(&key[..16]), "VqqN6vgjbSBcIijNcacQGg");
    }

    #[test]
    fn what_is_sealed_to_somebody_opens_for_them_alone() {
        let (theirs, others) = (Opener::from_scalar(&[7; 32]).unwrap(), Opener::from_scalar(&[8; 32]).unwrap());
        for enc in Enc::NAMES.map(|name| Enc::parse(name).unwrap()) {
            let recipient = Recipient { key: theirs.public().unwrap(), kid: Some("k".into()), enc };
            let sealed = recipient.seal(b"content", &Opener::from_scalar(&[9; 32]).unwrap(), [1; 12]).unwrap();
            assert_eq!(theirs.open(&sealed).unwrap(), b"content");
            assert_eq!(others.open(&sealed), Err(Jose::Sig));
            let (head, rest) = sealed.split_once('.').unwrap();
            let other_head = b64::encode(String::from_utf8(b64::decode(head).unwrap()).unwrap().replace("\"kid\":\"k\"", "\"kid\":\"l\""));
            assert_eq!(theirs.open(&format!("{other_head}.{rest}")), Err(Jose::Sig), "its header is part of it");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let opener = Opener::from_scalar(&[7; 32]).unwrap();
        let epk = opener.public().unwrap().jwk_value();
        let sealed =
            |header: Value| format!("{}..{}.{}.{}", b64::encode(header.to_string()), b64::encode([0; 12]), b64::encode("x"), b64::encode([0; 16]));
        let good = serde_json::json!({"alg": "ECDH-ES", "enc": "A128GCM", "epk": epk});
        assert_eq!(opener.open(&sealed(good.clone())), Err(Jose::Sig), "a tag of nothing");
        for (name, value, why) in [
            ("alg", serde_json::json!("dir"), Jose::Alg),
            ("alg", serde_json::json!("ECDH-ES+A256KW"), Jose::Alg),
            ("enc", serde_json::json!("A128CBC-HS256"), Jose::Alg),
            ("zip", serde_json::json!("DEF"), Jose::HeaderZip),
            ("crit", serde_json::json!(["x"]), Jose::Crit),
            ("epk", serde_json::json!({}), Jose::Alg),
        ] {
            let mut header = good.clone();
            header[name] = value;
            assert_eq!(opener.open(&sealed(header)), Err(why), "{name}");
        }
        assert_eq!(opener.open("a.b.c"), Err(Jose::Form));
    }
}
