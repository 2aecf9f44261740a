//! Times on the wire are whole seconds (RFC 7519 `NumericDate`), inside they are milliseconds. Both are Unix time.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch. Always an argument: nothing here reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// The start of the given second.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }
    /// Whole seconds, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// Later by `secs` seconds.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1000)))
    }
}

/// How far ahead a peer's clock may be (attacks.md DPO-10 allows five seconds).
pub const SKEW_AHEAD_SECS: i64 = 5;
/// How old a proof may be.
pub const PROOF_MAX_AGE_SECS: i64 = 60;

/// Whether an `iat` of a fresh proof stands inside its window.
pub fn is_fresh(iat: i64, now: Millis) -> bool {
    iat <= now.secs() + SKEW_AHEAD_SECS && iat >= now.secs() - PROOF_MAX_AGE_SECS
}
