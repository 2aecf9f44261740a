//! What every service holds: its name, database, keys, clock and randomness.

use crate::database::Database;
use crate::key_ring::KeyRing;
use baton_protocol::key::{Thumbprint, did_web};
use baton_protocol::nonce::{NonceKey, Purpose};
use baton_protocol::ports::{Clock, Entropy};
use baton_protocol::time::Millis;
use serde_json::{Value, json};

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
    /// The service's `did:web` (W3C CCG did:web §2.1).
    pub fn did_web(&self) -> String {
        did_web(&self.url)
    }
    /// Its DID document (DID Core 1.0), served at `{url}/did.json`.
    pub fn did_document(&self) -> Value {
        let did = self.did_web();
        let methods: Vec<_> = self
            .keys
            .verifying()
            .iter()
            .map(|(kid, key)| json!({"id": format!("{did}#{kid}"), "type": "JsonWebKey", "controller": did, "publicKeyJwk": key.jwk_value()}))
            .collect();
        let ids: Vec<_> = methods.iter().map(|method| method["id"].clone()).collect();
        json!({"@context": ["https://www.w3.org/ns/did/v1"], "id": did, "verificationMethod": methods, "assertionMethod": ids, "authentication": ids})
    }
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
