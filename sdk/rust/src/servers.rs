//! Where the three services are.

use serde::{Deserialize, Serialize};

/// Service URLs: issuers and audiences, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Servers {
    /// Identity.
    pub identity: String,
    /// Verifier.
    pub verifier: String,
    /// Broker.
    pub broker: String,
}

impl Servers {
    /// All three at one public URL, as `baton serve` runs them.
    pub fn at(public_url: &str) -> Self {
        let base = public_url.trim_end_matches('/');
        Self { identity: format!("{base}/identity"), verifier: format!("{base}/verifier"), broker: format!("{base}/broker") }
    }
}
