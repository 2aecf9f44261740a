//! Wrapped copies of the root, format v1: HKDF over a passkey's PRF output or the recovery code, AES-256-GCM, context as associated data.
//!
//! Versions ever shipped open for ever: `fixtures/wrap-v1.json`.

use crate::b64;
use crate::refusal::Wrap;
use crate::root::{Seed, expand};
use crate::secret::Secret;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

/// Who can open a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Opener {
    /// A passkey's PRF output.
    Passkey {
        /// Its credential id.
        credential_id: String,
        /// Its relying party.
        rp_id: String,
    },
    /// The recovery code.
    Recovery,
}

/// A copy as it is stored: worthless without its opener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WrappedRoot {
    /// Version: 1.
    pub v: u8,
    /// Fingerprint of the root inside; checked again after opening.
    pub root: String,
    /// Who can open it.
    pub opener: Opener,
    /// 32 random bytes.
    pub salt: String,
    /// 12 random bytes.
    pub iv: String,
    /// 48 bytes: the sealed seed.
    pub ct: String,
}

impl WrappedRoot {
    /// Seals a seed. `salt` and `iv` must be fresh.
    pub fn seal(seed: &Seed, secret: &Secret<Vec<u8>>, root: &str, opener: Opener, salt: [u8; 32], iv: [u8; 12]) -> Result<Self, Wrap> {
        let mut wrapped = Self { v: 1, root: root.into(), opener, salt: b64::encode(salt), iv: b64::encode(iv), ct: String::new() };
        let mut bytes = seed.expose().to_vec();
        let key = wrapped.key(secret, &salt)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(wrapped.aad()), &mut bytes).map_err(|_| Wrap::Invalid)?;
        wrapped.ct = b64::encode(bytes);
        Ok(wrapped)
    }

    /// Opens a copy. The caller then derives the account key and compares its fingerprint with [`Self::root`] and with what it expects.
    pub fn open(&self, secret: &Secret<Vec<u8>>) -> Result<Seed, Wrap> {
        self.check_form()?;
        let salt = b64::decode_array::<32>(&self.salt).map_err(|_| Wrap::Invalid)?;
        let iv = b64::decode_array::<12>(&self.iv).map_err(|_| Wrap::Invalid)?;
        let mut bytes = b64::decode(&self.ct).map_err(|_| Wrap::Invalid)?;
        let key = self.key(secret, &salt)?;
        let opened = key.open_in_place(Nonce::assume_unique_for_key(iv), Aad::from(self.aad()), &mut bytes).map_err(|_| Wrap::Invalid)?;
        let seed = <[u8; 32]>::try_from(&*opened).map_err(|_| Wrap::Invalid)?;
        zeroize::Zeroize::zeroize(&mut bytes);
        Ok(Secret::new(seed))
    }

    /// Whether it has the form of a v1 copy; all a server can check.
    pub fn check_form(&self) -> Result<(), Wrap> {
        let form = self.v == 1
            && b64::decode_array::<32>(&self.root).is_ok()
            && b64::decode_array::<32>(&self.salt).is_ok()
            && b64::decode_array::<12>(&self.iv).is_ok()
            && b64::decode_array::<48>(&self.ct).is_ok();
        if form { Ok(()) } else { Err(Wrap::Invalid) }
    }

    fn key(&self, secret: &Secret<Vec<u8>>, salt: &[u8; 32]) -> Result<LessSafeKey, Wrap> {
        let secret = secret.expose();
        let info = match self.opener {
            Opener::Passkey { .. } if secret.len() == 32 && secret.iter().any(|b| *b != 0) => "baton/wrap/1/passkey",
            Opener::Recovery if secret.len() == 16 => "baton/wrap/1/recovery",
            _ => return Err(Wrap::Prf),
        };
        let mut key = Secret::new([0; 32]);
        let mut bytes = *key.expose();
        expand(secret, salt, info.as_bytes(), &mut bytes);
        key = Secret::new(bytes);
        UnboundKey::new(&AES_256_GCM, key.expose()).map(LessSafeKey::new).map_err(|_| Wrap::Invalid)
    }

    fn aad(&self) -> Vec<u8> {
        let (credential_id, rp_id) = match &self.opener {
            Opener::Passkey { credential_id, rp_id } => (credential_id.as_str(), rp_id.as_str()),
            Opener::Recovery => ("recovery", ""),
        };
        ["baton/wrap/1", &self.root, credential_id, rp_id].join("\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passkey(id: &str) -> Opener {
        Opener::Passkey { credential_id: id.into(), rp_id: "localhost".into() }
    }

    #[test]
    fn a_copy_opens_with_its_secret_in_its_context_alone() {
        let (seed, prf) = (Secret::new([7; 32]), Secret::new(vec![9; 32]));
        let root = b64::encode([1; 32]);
        let wrapped = WrappedRoot::seal(&seed, &prf, &root, passkey("a"), [2; 32], [3; 12]).unwrap();
        assert_eq!(wrapped.open(&prf).unwrap(), seed);
        assert_eq!(wrapped.open(&Secret::new(vec![8; 32])), Err(Wrap::Invalid), "another secret");
        for swapped in [
            WrappedRoot { opener: passkey("b"), ..wrapped.clone() },
            WrappedRoot { opener: Opener::Passkey { credential_id: "a".into(), rp_id: "evil".into() }, ..wrapped.clone() },
            WrappedRoot { root: b64::encode([4; 32]), ..wrapped.clone() },
            WrappedRoot { v: 2, ..wrapped.clone() },
        ] {
            assert_eq!(swapped.open(&prf), Err(Wrap::Invalid));
        }
        for useless in [vec![0; 32], vec![9; 31], vec![]] {
            assert_eq!(WrappedRoot::seal(&seed, &Secret::new(useless), &root, passkey("a"), [2; 32], [3; 12]), Err(Wrap::Prf));
        }
    }
}
