//! What every service holds: its name, database, keys, clock and randomness.

use crate::database::Database;
use crate::key_ring::KeyRing;
use baton_protocol::key::Thumbprint;
use baton_protocol::nonce::{NonceKey, Purpose};
use baton_protocol::ports::{Clock, Entropy};
use baton_protocol::time::Millis;

/// The part all services share.
pub struct Base {
    /// The service's URL: issuer and audience, compared byte for byte. Comes from configuration, never from a request.
    pub url: String,
    /// Its database.
    pub db: Database,
    /// Its signing keys.
    pub keys: KeyRing,
    /// Its nonce key.
    pub nonces: NonceKey,
    /// Its clock.
    pub clock: Clock,
    /// Its randomness.
    pub entropy: Entropy,
}

impl Base {
    /// Now.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }
    /// A nonce for a key.
    pub fn nonce(&self, purpose: Purpose, jkt: &Thumbprint) -> String {
        self.nonces.mint(purpose, &self.url, jkt, self.now(), self.entropy.bytes())
    }
    /// Whether a nonce is one of ours for this purpose and key, and lives.
    pub fn accepts_nonce(&self, purpose: Purpose, nonce: &str, jkt: &Thumbprint) -> bool {
        self.nonces.accepts(nonce, purpose, &self.url, jkt, self.now())
    }
}

/// The system's clock.
pub fn system_clock() -> Clock {
    Clock::new(|| {
        #[expect(clippy::disallowed_methods, reason = "the one place services read the clock")]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Millis(since.as_millis() as i64)
    })
}

/// The system's randomness; aborts when there is none.
pub fn system_entropy() -> Entropy {
    Entropy::new(|bytes| {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            std::process::abort();
        }
    })
}
