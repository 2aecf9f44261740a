//! A service's own ES256 keys. The newest signs; all verify until they are retired.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use baton_protocol::b64;
use baton_protocol::jose::Draft;
use baton_protocol::jwe::Opener;
use baton_protocol::key::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Why keys could not be had. Never answered by making new ones over an existing database.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("key file {0}: {1}")]
    File(String, std::io::Error),
    /// The file is not a key file.
    #[error("key file {0} is not readable as one")]
    Form(String),
}

/// Signing and verifying keys, and the nonce key.
pub struct KeyRing {
    signer: EcdsaKeyPair,
    kid: String,
    public: PublicKey,
    nonce_secret: [u8; 32],
    lasting_secret: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct File {
    v: u8,
    pkcs8: String,
    nonce_secret: String,
    /// What values outlive nonces by: apps know persons by it. Files of before it was there follow the nonce secret.
    #[serde(default)]
    lasting_secret: Option<String>,
}

impl KeyRing {
    /// A ring with a fresh key, in memory.
    pub fn generate() -> Self {
        let signer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness");
        let mut secrets = [[0; 32]; 2];
        for secret in &mut secrets {
            aws_lc_rs::rand::fill(secret).expect("randomness");
        }
        Self::from_parts(signer, secrets)
    }

    fn from_parts(signer: EcdsaKeyPair, [nonce_secret, lasting_secret]: [[u8; 32]; 2]) -> Self {
        let sec1: &[u8; 65] = signer.public_key().as_ref().try_into().expect("an uncompressed P-256 point");
        let public = PublicKey::from_sec1(sec1).expect("a point of its own curve");
        let kid = public.thumbprint().0[..16].to_owned();
        Self { signer, kid, public, nonce_secret, lasting_secret }
    }

    /// Reads the ring at `path`, or makes one there when `fresh` says that nothing rests on an older one.
    pub fn open(path: &Path, fresh: bool) -> Result<Self, KeyError> {
        let name = path.display().to_string();
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes).ok_or(KeyError::Form(name)),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && fresh => {
                let ring = Self::generate();
                ring.write(path).map_err(|why| KeyError::File(name, why))?;
                Ok(ring)
            }
            Err(why) => Err(KeyError::File(name, why)),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(bytes).ok().filter(|file: &File| file.v == 1)?;
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &b64::decode(&file.pkcs8).ok()?).ok()?;
        let nonce_secret = b64::decode_array(&file.nonce_secret).ok()?;
        let lasting_secret = match &file.lasting_secret {
            Some(secret) => b64::decode_array(secret).ok()?,
            None => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &nonce_secret), b"baton/lasting/1").as_ref().try_into().ok()?,
        };
        Some(Self::from_parts(signer, [nonce_secret, lasting_secret]))
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let pkcs8 = self.signer.to_pkcs8v1().map_err(|_| std::io::Error::other("key does not encode"))?;
        let file = File {
            v: 1,
            pkcs8: b64::encode(pkcs8.as_ref()),
            nonce_secret: b64::encode(self.nonce_secret),
            lasting_secret: Some(b64::encode(self.lasting_secret)),
        };
        // Whole or not at all: half a key file would keep every later start from serving.
        let next = path.with_extension("new");
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        out.sync_all()?;
        fs::rename(&next, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Signs a draft.
    pub fn sign(&self, draft: Draft) -> String {
        tracing::trace!(target: "baton::signature", "made");
        let signature = self.signer.sign(&SystemRandom::new(), draft.signing_input()).expect("an in-memory key signs");
        draft.signed(signature.as_ref().try_into().expect("64 bytes"))
    }
    /// The signing key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }
    /// The key of that name.
    pub fn key(&self, kid: &str) -> Option<PublicKey> {
        (kid == self.kid).then(|| self.public.clone())
    }
    /// The nonce key's bytes.
    pub fn nonce_secret(&self) -> &[u8; 32] {
        &self.nonce_secret
    }
    /// A value that only this service can tell (HMAC-SHA-256, base64url), the same each time. No two purposes or inputs run into one another.
    pub fn derived(&self, purpose: &str, input: &[&str]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.lasting_secret);
        let joined = serde_json::to_vec(&(purpose, input)).expect("strings");
        b64::encode(hmac::sign(&key, &joined))
    }
    /// A key that others seal to, derived like [`Self::derived`]; `None` for one scalar in 2^128.
    pub fn opener(&self, purpose: &str, input: &[&str]) -> Option<Opener> {
        Opener::from_scalar(&b64::decode_array::<32>(&self.derived(purpose, input)).ok()?)
    }
    /// The public keys as a JWK set (RFC 7517 §5).
    pub fn jwks(&self) -> Value {
        let mut jwk = self.public.jwk_value();
        jwk["kid"] = self.kid.clone().into();
        jwk["alg"] = "ES256".into();
        jwk["use"] = "sig".into();
        json!({"keys": [jwk]})
    }
    /// As verifying keys for another service in this process.
    pub fn verifying(&self) -> Vec<(String, PublicKey)> {
        vec![(self.kid.clone(), self.public.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_comes_back_as_it_was_and_an_older_file_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.key");
        let ring = KeyRing::open(&path, true).unwrap();
        let again = KeyRing::open(&path, false).unwrap();
        assert_eq!((again.kid(), again.derived("p", &["x"])), (ring.kid(), ring.derived("p", &["x"])));
        assert_ne!(ring.derived("p", &["x", "y"]), ring.derived("p", &["xy"]));
        assert_ne!(ring.derived("p", &["x"]), ring.derived("q", &["x"]));
        let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        file.as_object_mut().unwrap().remove("lasting_secret");
        fs::write(&path, file.to_string()).unwrap();
        let older = KeyRing::open(&path, false).unwrap();
        assert_eq!((older.kid(), older.nonce_secret()), (ring.kid(), ring.nonce_secret()));
        assert_ne!(older.derived("p", &["x"]), ring.derived("p", &["x"]));
    }
}
