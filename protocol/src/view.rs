//! What a device shows of the session it has in front (docs/protocol.md §9), sealed under a key from the session's: who has the session reads it,
//! and the broker, which keeps it in memory alone, does not.

use crate::b64;
use crate::id::SessionId;
use crate::key::Did;
use crate::refusal::State;
use crate::root::expand;
use crate::session::SessionKey;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

/// Most bytes of a view.
pub const MAX_VIEW: usize = 2046;
/// Sizes are powers of two from here, so that a length says little.
const SMALLEST: usize = 256;

/// A sealed view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SealedView {
    /// Which session key it is sealed under.
    pub key_version: i64,
    /// 96 random bits.
    pub iv: String,
    /// AES-256-GCM ciphertext with its 128-bit tag.
    pub ct: String,
}

impl SealedView {
    /// Seals what `device` shows of `session`. `iv` must be fresh.
    pub fn seal(session: &SessionId, device: &Did, key: &SessionKey, iv: [u8; 12], view: &[u8]) -> Result<Self, State> {
        if view.len() > MAX_VIEW {
            return Err(State::Undecryptable);
        }
        let mut bytes = (view.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(view);
        bytes.resize(bytes.len().next_power_of_two().max(SMALLEST), 0);
        let aad = aad(session, device, key.version);
        aead(key).seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), &mut bytes).map_err(|_| State::Undecryptable)?;
        Ok(Self { key_version: key.version, iv: b64::encode(iv), ct: b64::encode(bytes) })
    }

    /// Opens what `device` is said to show of `session`.
    pub fn open(&self, session: &SessionId, device: &Did, key: &SessionKey) -> Result<Vec<u8>, State> {
        if key.version != self.key_version {
            return Err(State::Undecryptable);
        }
        let iv = b64::decode_array::<12>(&self.iv).map_err(|_| State::Undecryptable)?;
        let mut bytes = b64::decode(&self.ct).map_err(|_| State::Undecryptable)?;
        let aad = aad(session, device, key.version);
        let plain = aead(key).open_in_place(Nonce::assume_unique_for_key(iv), Aad::from(aad), &mut bytes).map_err(|_| State::Undecryptable)?;
        let (len, rest) = plain.split_first_chunk::<2>().ok_or(State::Undecryptable)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let whole = rest.len() >= len && rest[len..].iter().all(|b| *b == 0);
        if whole { Ok(rest[..len].to_vec()) } else { Err(State::Undecryptable) }
    }

    /// What a broker can check of it: it is sealed, not plain, and of one of the sizes.
    pub fn check_form(&self) -> Result<(), State> {
        let len = b64::decode(&self.ct).ok().and_then(|ct| ct.len().checked_sub(MAX_TAG_LEN)).ok_or(State::NotEncrypted)?;
        let sized = (SMALLEST..=MAX_VIEW + 2).contains(&len) && len.is_power_of_two();
        if sized && self.key_version >= 1 && b64::decode_array::<12>(&self.iv).is_ok() { Ok(()) } else { Err(State::NotEncrypted) }
    }
}

fn aad(session: &SessionId, device: &Did, key_version: i64) -> Vec<u8> {
    format!("baton/view/1\n{session}\n{device}\n{key_version}").into_bytes()
}

/// A key of its own: views are many, and use up none of what updates may be sealed under one.
fn aead(key: &SessionKey) -> LessSafeKey {
    let mut own = [0; 32];
    expand(key.key.expose(), &[], b"baton/view/1", &mut own);
    let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &own).expect("32 bytes"));
    zeroize::Zeroize::zeroize(&mut own);
    aead
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::time::Millis;
    use proptest::prelude::*;

    const LAPTOP: &str = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169";
    const PHONE: &str = "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv";

    fn session(n: u8) -> SessionId {
        SessionId::new(Millis(0), [n; 10])
    }
    fn key(version: i64, n: u8) -> SessionKey {
        SessionKey { version, key: Secret::new([n; 32]) }
    }

    #[test]
    fn opens_where_it_belongs_alone() {
        let (laptop, phone) = (Did::parse(LAPTOP).unwrap(), Did::parse(PHONE).unwrap());
        let sealed = SealedView::seal(&session(1), &laptop, &key(1, 7), [3; 12], b"43:10").unwrap();
        assert_eq!(sealed.open(&session(1), &laptop, &key(1, 7)).unwrap(), b"43:10");
        for (session, device, key) in
            [(session(2), &laptop, key(1, 7)), (session(1), &phone, key(1, 7)), (session(1), &laptop, key(2, 7)), (session(1), &laptop, key(1, 8))]
        {
            assert_eq!(sealed.open(&session, device, &key), Err(State::Undecryptable));
        }
        let plain = SealedView { ct: b64::encode(b"43:10"), ..sealed.clone() };
        assert_eq!(plain.check_form(), Err(State::NotEncrypted));
        assert_eq!(SealedView { key_version: 0, ..sealed }.check_form(), Err(State::NotEncrypted));
    }

    proptest! {
        #[test]
        fn every_view_comes_back_in_a_size_that_says_little(view in proptest::collection::vec(any::<u8>(), 0..MAX_VIEW + 3), iv: [u8; 12]) {
            let device = Did::parse(LAPTOP).unwrap();
            match SealedView::seal(&session(1), &device, &key(1, 7), iv, &view) {
                Ok(sealed) => {
                    prop_assert!(view.len() <= MAX_VIEW);
                    sealed.check_form().unwrap();
                    prop_assert_eq!(sealed.open(&session(1), &device, &key(1, 7)).unwrap(), view);
                }
                Err(_) => prop_assert!(view.len() > MAX_VIEW),
            }
        }
        #[test]
        fn opening_never_panics(iv: String, ct: String, bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let device = Did::parse(LAPTOP).unwrap();
            for ct in [ct, b64::encode(bytes)] {
                let made_up = SealedView { key_version: 1, iv: iv.clone(), ct };
                let _ = made_up.check_form();
                prop_assert!(made_up.open(&session(1), &device, &key(1, 7)).is_err());
            }
        }
    }
}
