//! A service's own ES256 keys. One signs; the next is published before it does, so that whoever keeps the public keys for a while knows it by then; those
//! that signed before verify until they are dropped.

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
    /// There is no key of that name to drop: the one that signs and the next are not dropped.
    #[error("no older key {0}")]
    Unknown(String),
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
    /// What signs after the next rotation. Files of before it was there get one when they are opened.
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    older: Vec<Value>,
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
        let mut secrets = [[0; 32]; 2];
        for secret in &mut secrets {
            aws_lc_rs::rand::fill(secret).expect("randomness");
        }
        let [nonce_secret, lasting_secret] = secrets;
        Self { now: Pair::generate(), next: Pair::generate(), older: Vec::new(), nonce_secret, lasting_secret }
    }

    /// Reads the ring at `path`, or makes one there when `fresh` says that nothing rests on an older one.
    pub fn open(path: &Path, fresh: bool) -> Result<Self, KeyError> {
        let file = |why| KeyError::File(path.display().to_string(), why);
        match fs::read(path) {
            Ok(bytes) => {
                let (ring, whole) = Self::parse(&bytes).ok_or_else(|| KeyError::Form(path.display().to_string()))?;
                if !whole {
                    ring.write(path).map_err(file)?;
                }
                Ok(ring)
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && fresh => {
                let ring = Self::generate();
                ring.write(path).map_err(file)?;
                Ok(ring)
            }
            Err(why) => Err(file(why)),
        }
    }

    /// The ring, and whether the file had all of it.
    fn parse(bytes: &[u8]) -> Option<(Self, bool)> {
        let file: File = serde_json::from_slice(bytes).ok().filter(|file: &File| file.v == 1)?;
        let nonce_secret = b64::decode_array(&file.nonce_secret).ok()?;
        let lasting_secret = match &file.lasting_secret {
            Some(secret) => b64::decode_array(secret).ok()?,
            None => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &nonce_secret), b"baton/lasting/1").as_ref().try_into().ok()?,
        };
        let next = match &file.next {
            Some(next) => Pair::parse(next)?,
            None => Pair::generate(),
        };
        let older = file.older.iter().map(|jwk| PublicKey::from_jwk(jwk).ok()).collect::<Option<_>>()?;
        Some((Self { now: Pair::parse(&file.pkcs8)?, next, older, nonce_secret, lasting_secret }, file.next.is_some()))
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let file = File {
            v: 1,
            pkcs8: self.now.text()?,
            nonce_secret: b64::encode(self.nonce_secret),
            lasting_secret: Some(b64::encode(self.lasting_secret)),
            next: Some(self.next.text()?),
            older: self.older.iter().map(PublicKey::jwk_value).collect(),
        };
        // Whole or not at all: half a key file would keep every later start from serving.
        let next = path.with_extension("new");
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        out.sync_all()?;
        fs::rename(&next, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    /// The next key signs from the next start on, and another is next; gives its name. What signed until then verifies.
    pub fn rotate(path: &Path) -> Result<String, KeyError> {
        let mut ring = Self::open(path, false)?;
        let before = std::mem::replace(&mut ring.now, std::mem::replace(&mut ring.next, Pair::generate()));
        ring.older.insert(0, before.public);
        ring.write(path).map_err(|why| KeyError::File(path.display().to_string(), why))?;
        Ok(ring.now.kid)
    }

    /// What an older key signed does not count from the next start on.
    pub fn drop_older(path: &Path, kid: &str) -> Result<(), KeyError> {
        let mut ring = Self::open(path, false)?;
        let at = ring.older.iter().position(|key| name(key) == kid).ok_or_else(|| KeyError::Unknown(kid.into()))?;
        ring.older.remove(at);
        ring.write(path).map_err(|why| KeyError::File(path.display().to_string(), why))
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

    #[test]
    fn what_was_published_signs_next_and_what_signed_verifies_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.key");
        let names = |ring: &KeyRing| ring.parts().map(|(part, kid, _)| (part, kid)).collect::<Vec<_>>();
        let first = KeyRing::open(&path, true).unwrap();
        let [(Part::Signs, one), (Part::Next, two)] = &names(&first)[..] else { panic!() };
        assert_eq!(KeyRing::rotate(&path).unwrap(), *two);
        let second = KeyRing::open(&path, false).unwrap();
        let [(Part::Signs, signs), (Part::Next, three), (Part::Older, older)] = &names(&second)[..] else { panic!() };
        assert_eq!((signs, older), (two, one));
        assert!(![one, two].contains(&three));
        assert_eq!((second.nonce_secret(), second.derived("p", &[])), (first.nonce_secret(), first.derived("p", &[])), "secrets stay");
        assert!(second.key(one).is_some() && second.key(three).is_some());
        for kid in [two, three] {
            assert!(KeyRing::drop_older(&path, kid).is_err(), "neither what signs nor what is next");
        }
        KeyRing::drop_older(&path, one).unwrap();
        let third = KeyRing::open(&path, false).unwrap();
        assert_eq!((third.key(one).is_none(), third.kid()), (true, two.as_str()));
    }

    #[test]
    fn a_file_without_a_next_key_gets_one_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.key");
        let ring = KeyRing::open(&path, true).unwrap();
        let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        file.as_object_mut().unwrap().retain(|name, _| !["next", "older"].contains(&name.as_str()));
        fs::write(&path, file.to_string()).unwrap();
        let next = |ring: &KeyRing| ring.parts().nth(1).unwrap().1;
        let opened = KeyRing::open(&path, false).unwrap();
        assert_eq!((opened.kid(), next(&KeyRing::open(&path, false).unwrap())), (ring.kid(), next(&opened)));
    }
}
