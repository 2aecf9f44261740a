//! Signatures that need not be checked again.

use crate::time::Millis;

/// Remembers signatures that were verified: bounded, by digest of what is signed with its signature, never past `exp`. Nothing but the signature is remembered.
pub trait SignatureMemory {
    /// Whether this digest's signature was verified before and what it is of has not ended at `now`.
    fn verified(&self, digest: &[u8; 32], now: Millis) -> bool;
    /// Notes a verified signature, to be forgotten at `exp`.
    fn remember(&self, digest: [u8; 32], exp: Millis);
}

/// Remembers nothing.
impl SignatureMemory for () {
    fn verified(&self, _: &[u8; 32], _: Millis) -> bool {
        false
    }
    fn remember(&self, _: [u8; 32], _: Millis) {}
}
