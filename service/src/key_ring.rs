//! A service's own ES256 keys. One signs; the next is published before it does, so that whoever keeps the public keys for a while knows it by then; those
//! that signed before verify until they are dropped.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use baton_protocol::b64;
use baton_protocol::jose::Draft;
use baton_protocol::jwe::Opener;
use baton_protocol::key::PublicKey;
use serde_json::{Value, json};

mod file;

/// Why keys could not be had. Never answered by making new ones over an existing database.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("key file {0}: {1}")]
    File(String, std::io::Error),
    /// The file is not a key file.
    #[error("key file {0} is not readable as one")]
    Form(String),
    /// There is no key of that name to drop: the one that signs and the next are not dropped.
    #[error("no older key {0}")]
    Unknown(String),
    /// The next key has not been published: nobody could verify with it.
    #[error("the next key is not published yet: start the service, and give those who keep its keys an hour")]
    Unpublished,
}

/// A key pair and its name.
struct Pair {
    kid: String,
    public: PublicKey,
    signer: EcdsaKeyPair,
}

impl Pair {
    fn generate() -> Self {
        Self::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness"))
    }
    fn parse(pkcs8: &str) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &b64::decode(pkcs8).ok()?).ok().map(Self::new)
    }
    fn new(signer: EcdsaKeyPair) -> Self {
        let sec1: &[u8; 65] = signer.public_key().as_ref().try_into().expect("an uncompressed P-256 point");
        let public = PublicKey::from_sec1(sec1).expect("a point of its own curve");
        Self { kid: name(&public), public, signer }
    }
    fn text(&self) -> std::io::Result<String> {
        let pkcs8 = self.signer.to_pkcs8v1().map_err(|_| std::io::Error::other("key does not encode"))?;
        Ok(b64::encode(pkcs8.as_ref()))
    }
}

fn name(public: &PublicKey) -> String {
    public.thumbprint().0[..16].to_owned()
}

/// Signing and verifying keys, and the nonce key.
pub struct KeyRing {
    now: Pair,
    next: Pair,
    /// They signed before, the newest first.
    older: Vec<PublicKey>,
    nonce_secret: [u8; 32],
    /// What values outlive nonces by.
    derived_secret: [u8; 32],
    /// What apps know persons by: it never changes.
    lasting_secret: [u8; 32],
}

fn mac(secret: &[u8], purpose: &str, input: &[&str]) -> String {
    let joined = serde_json::to_vec(&(purpose, input)).expect("strings");
    b64::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &joined))
}

fn generate_secret() -> [u8; 32] {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).expect("randomness");
    secret
}

/// What a key of the ring is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It signs.
    Signs,
    /// It is published, and signs after the next rotation.
    Next,
    /// It signed before, and verifies.
    Older,
}

impl KeyRing {
    /// A ring with a fresh key, in memory.
    pub fn generate() -> Self {
        Self {
            now: Pair::generate(),
            next: Pair::generate(),
            older: Vec::new(),
            nonce_secret: generate_secret(),
            derived_secret: generate_secret(),
            lasting_secret: generate_secret(),
        }
    }

    /// Signs a draft.
    pub fn sign(&self, draft: Draft) -> String {
        tracing::trace!(target: "baton::signature", "made");
        let signature = self.now.signer.sign(&SystemRandom::new(), draft.signing_input()).expect("an in-memory key signs");
        draft.signed(signature.as_ref().try_into().expect("64 bytes"))
    }
    /// The signing key's name.
    pub fn kid(&self) -> &str {
        &self.now.kid
    }
    /// The key of that name.
    pub fn key(&self, kid: &str) -> Option<PublicKey> {
        self.parts().find(|(_, name, _)| name == kid).map(|(_, _, key)| key.clone())
    }
    /// Every key, the one that signs first.
    pub fn parts(&self) -> impl Iterator<Item = (Part, String, &PublicKey)> {
        let pairs = [(Part::Signs, &self.now), (Part::Next, &self.next)].map(|(part, pair)| (part, pair.kid.clone(), &pair.public));
        pairs.into_iter().chain(self.older.iter().map(|key| (Part::Older, name(key), key)))
    }
    /// The nonce key's bytes.
    pub fn nonce_secret(&self) -> &[u8; 32] {
        &self.nonce_secret
    }
    /// A value that only this service can tell (HMAC-SHA-256, base64url), the same each time. No two purposes or inputs run into one another.
    pub fn derived(&self, purpose: &str, input: &[&str]) -> String {
        mac(&self.derived_secret, purpose, input)
    }
    /// Like [`Self::derived`], and the same for as long as the service's rows: [`Self::replace`] leaves it alone.
    pub fn lasting(&self, purpose: &str, input: &[&str]) -> String {
        mac(&self.lasting_secret, purpose, input)
    }
    /// A key that others seal to, derived like [`Self::derived`]; `None` for one scalar in 2^128.
    pub fn opener(&self, purpose: &str, input: &[&str]) -> Option<Opener> {
        Opener::from_scalar(&b64::decode_array::<32>(&self.derived(purpose, input)).ok()?)
    }
    /// The public keys as a JWK set (RFC 7517 §5).
    pub fn jwks(&self) -> Value {
        let jwk = |(kid, key): (String, PublicKey)| {
            let mut jwk = key.jwk_value();
            jwk["kid"] = kid.into();
            jwk["alg"] = "ES256".into();
            jwk["use"] = "sig".into();
            jwk
        };
        json!({"keys": self.verifying().into_iter().map(jwk).collect::<Vec<_>>()})
    }
    /// What verifies, by name: published, and for another service in this process.
    pub fn verifying(&self) -> Vec<(String, PublicKey)> {
        self.parts().map(|(_, kid, key)| (kid, key.clone())).collect()
    }
}
