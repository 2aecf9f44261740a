//! Token Status List: two bits for each credential, signed by identity as a whole, so that nobody learns who is asked about.

use crate::b64;
use crate::jose::{Draft, Typ, Unverified};
use crate::key::PublicKey;
use crate::refusal::Status as Refused;
use crate::time::{Millis, SKEW_AHEAD_SECS};
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// Entries of one of our lists.
pub const ENTRIES: u32 = 1 << 17;
const BITS: u8 = 2;
const BYTES: usize = ENTRIES as usize * BITS as usize / 8;
/// Longest foreign list accepted, inflated.
const MAX_INFLATED: u64 = 1 << 20;

/// Where a credential's status stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusRef {
    /// Index in the list.
    pub idx: u32,
    /// The list's URL.
    pub uri: String,
}

/// What two bits say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 0x00
    Valid,
    /// 0x01: revoked, for good.
    Invalid,
    /// 0x02
    Suspended,
    /// Any value this profile gives no meaning to; never treated as valid.
    Other,
}

impl Status {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Valid,
            1 => Self::Invalid,
            2 => Self::Suspended,
            _ => Self::Other,
        }
    }
}

/// The bits of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits(Vec<u8>);

impl Bits {
    /// A list of [`ENTRIES`] valid entries.
    pub fn all_valid() -> Self {
        Self(vec![0; BYTES])
    }
    /// From stored bytes; `None` when they are not one of our lists.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == BYTES).then_some(Self(bytes))
    }
    /// The bytes, to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// Sets an entry to invalid. Nothing ever sets it back.
    pub fn revoke(&mut self, idx: u32) -> Result<(), Refused> {
        let (byte, shift) = place(idx);
        let entry = self.0.get_mut(byte).ok_or(Refused::Index)?;
        *entry = (*entry & !(0b11 << shift)) | (1 << shift);
        Ok(())
    }
    /// Reads an entry; past the end is refused, never "valid".
    pub fn get(&self, idx: u32) -> Result<Status, Refused> {
        let (byte, shift) = place(idx);
        self.0.get(byte).map(|entry| Status::from_bits(entry >> shift & 0b11)).ok_or(Refused::Index)
    }
}

const fn place(idx: u32) -> (usize, u32) {
    (idx as usize / 4, idx % 4 * 2)
}

/// `status_list` of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Encoded {
    /// Bits per entry.
    pub bits: u8,
    /// base64url of zlib of the bits.
    pub lst: String,
}

/// Claims of a status list token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Claims {
    /// The list's URL.
    pub sub: String,
    /// When it was signed.
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// How long it may be kept, in seconds.
    pub ttl: i64,
    /// The list.
    pub status_list: Encoded,
}

/// The token to sign.
pub fn draft(kid: &str, uri: &str, bits: &Bits, ttl: i64, now: Millis) -> Draft {
    let status_list = Encoded { bits: BITS, lst: b64::encode(deflate(&bits.0)) };
    Draft::new(Typ::StatusList, kid, &Claims { sub: uri.into(), iat: now.secs(), exp: now.secs() + 2 * ttl, ttl, status_list })
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory")
}

/// A list that was signed by whom it should be and is not stale.
#[derive(Debug, Clone)]
pub struct List {
    bits: Bits,
    /// When it was signed: a later look must not be given an older list.
    pub iat: i64,
    /// Past this, it must be fetched again (Unix seconds).
    pub fresh_until: i64,
}

impl List {
    /// The status at `idx`.
    pub fn status(&self, idx: u32) -> Result<Status, Refused> {
        self.bits.get(idx)
    }
}

/// Checks a token for list `uri`. `not_before` is the `iat` of the newest list seen for it: an older one is a rollback.
pub fn check(token: &str, uri: &str, key: &PublicKey, not_before: i64, now: Millis) -> Result<List, Refused> {
    let jws = Unverified::parse(token, Typ::StatusList).map_err(|_| Refused::Token)?;
    let claims: Claims = jws.verify(key).and_then(|verified| verified.claims()).map_err(|_| Refused::Token)?;
    if claims.sub != uri || claims.status_list.bits != BITS || claims.iat > now.secs() + SKEW_AHEAD_SECS || claims.ttl < 0 {
        return Err(Refused::Token);
    }
    let fresh_until = claims.exp.min(claims.iat.saturating_add(claims.ttl));
    if fresh_until <= now.secs() || claims.iat < not_before {
        return Err(Refused::Stale);
    }
    let packed = b64::decode(&claims.status_list.lst).map_err(|_| Refused::Token)?;
    let mut bits = Vec::new();
    let read = ZlibDecoder::new(&packed[..]).take(MAX_INFLATED + 1).read_to_end(&mut bits).map_err(|_| Refused::Token)?;
    if read as u64 > MAX_INFLATED { Err(Refused::Token) } else { Ok(List { bits: Bits(bits), iat: claims.iat, fresh_until }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Token Status List, "Status List with 2-Bit Values": statuses 1,2,0,3,0,1,0,1,1,2,3,3 pack to C9 44 F9.
    #[test]
    fn the_draft_s_two_bit_example() {
        let list = Bits(vec![0xc9, 0x44, 0xf9]);
        let values: Vec<_> = (0..12).map(|idx| list.get(idx).unwrap()).collect();
        let expected = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3].map(Status::from_bits);
        assert_eq!(values, expected);
        assert_eq!(list.get(12), Err(Refused::Index));
        let packed = b64::decode("eNo76fITAAPfAgc").unwrap();
        let mut bits = Vec::new();
        ZlibDecoder::new(&packed[..]).read_to_end(&mut bits).unwrap();
        assert_eq!(bits, list.0);
    }

    proptest! {
        #[test]
        fn revoking_changes_one_entry_and_never_turns_back(a in 0..ENTRIES, b in 0..ENTRIES) {
            let mut list = Bits::all_valid();
            list.revoke(a).unwrap();
            prop_assert_eq!(list.get(a).unwrap(), Status::Invalid);
            if a != b { prop_assert_eq!(list.get(b).unwrap(), Status::Valid); }
            list.revoke(a).unwrap();
            prop_assert_eq!(list.get(a).unwrap(), Status::Invalid);
            prop_assert_eq!(list.revoke(ENTRIES), Err(Refused::Index));
        }
    }
}
