//! Nonces that need no storage until they are used: a MAC binds purpose, audience and key, and says when they end.
//!
//! Only *consumption* is stored, by the service, for those that count once. 40 bytes: expiry, 12 random, 20 of HMAC-SHA-256.

use crate::b64;
use crate::key::Thumbprint;
use crate::time::Millis;
use aws_lc_rs::{constant_time, hmac};

/// How long one lives.
pub const LIFETIME_SECS: i64 = 60;

/// What a nonce is for; one made for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// In DPoP proofs; may be used again while it lives (the proof's `jti` may not).
    Dpop,
    /// In wallets' key proofs; consumed by one persisted statement.
    Credential,
    /// In presentations; consumed by one persisted statement.
    Presentation,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dpop => "dpop",
            Self::Credential => "credential",
            Self::Presentation => "presentation",
        }
    }
}

/// A service's nonce key.
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// From 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A nonce for one key, purpose and audience.
    pub fn mint(&self, purpose: Purpose, audience: &str, jkt: &Thumbprint, now: Millis, random: [u8; 12]) -> String {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&now.plus_secs(LIFETIME_SECS).0.to_be_bytes());
        bytes[8..20].copy_from_slice(&random);
        let mac = self.mac(purpose, audience, jkt, &bytes[..20]);
        bytes[20..].copy_from_slice(&mac);
        b64::encode(bytes)
    }

    /// Whether this is such a nonce and still lives.
    pub fn accepts(&self, nonce: &str, purpose: Purpose, audience: &str, jkt: &Thumbprint, now: Millis) -> bool {
        let Ok(bytes) = b64::decode_array::<40>(nonce) else { return false };
        let mac = self.mac(purpose, audience, jkt, &bytes[..20]);
        let expires = bytes.first_chunk::<8>().map_or(0, |chunk| i64::from_be_bytes(*chunk));
        constant_time::verify_slices_are_equal(&mac, &bytes[20..]).is_ok() && now.0 < expires && expires <= now.plus_secs(LIFETIME_SECS).0 + 5000
    }

    fn mac(&self, purpose: Purpose, audience: &str, jkt: &Thumbprint, head: &[u8]) -> [u8; 20] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [purpose.as_str().as_bytes(), audience.as_bytes(), jkt.as_str().as_bytes(), head] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut mac = [0; 20];
        mac.copy_from_slice(&context.sign().as_ref()[..20]);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_holds_for_its_purpose_audience_key_and_minute_alone() {
        let (key, jkt, now) = (NonceKey::new(&[1; 32]), Thumbprint("k".into()), Millis(1_000_000));
        let nonce = key.mint(Purpose::Dpop, "aud", &jkt, now, [2; 12]);
        assert!(key.accepts(&nonce, Purpose::Dpop, "aud", &jkt, now));
        assert!(key.accepts(&nonce, Purpose::Dpop, "aud", &jkt, now.plus_secs(59)));
        assert!(!key.accepts(&nonce, Purpose::Dpop, "aud", &jkt, now.plus_secs(60)));
        assert!(!key.accepts(&nonce, Purpose::Presentation, "aud", &jkt, now));
        assert!(!key.accepts(&nonce, Purpose::Dpop, "audj", &Thumbprint(String::new()), now));
        assert!(!key.accepts(&nonce, Purpose::Dpop, "aud2", &jkt, now));
        assert!(!key.accepts(&nonce, Purpose::Dpop, "aud", &Thumbprint("other".into()), now));
        assert!(!NonceKey::new(&[3; 32]).accepts(&nonce, Purpose::Dpop, "aud", &jkt, now));
        assert!(!key.accepts(&nonce[1..], Purpose::Dpop, "aud", &jkt, now));
        assert!(!key.accepts(&format!("{nonce}A"), Purpose::Dpop, "aud", &jkt, now));
        // A clock set back does not make it live longer.
        assert!(!key.accepts(&nonce, Purpose::Dpop, "aud", &jkt, now.plus_secs(-600)));
    }
}
