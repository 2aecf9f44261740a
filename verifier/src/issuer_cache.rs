//! Issuer signatures verified before: bounded, by digest of the whole issuer-signed JWT, never past `exp`.

use baton_protocol::credential::IssuerMemory;
use baton_protocol::time::Millis;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most signatures remembered: about 10 MiB.
const MAX: usize = 100_000;

/// The memory.
#[derive(Debug, Default)]
pub struct IssuerCache(Mutex<HashMap<[u8; 32], Millis>>);

impl IssuerMemory for IssuerCache {
    fn verified(&self, digest: &[u8; 32], now: Millis) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).is_some_and(|exp| now < *exp)
    }

    fn remember(&self, digest: [u8; 32], exp: Millis) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX {
            // Forgetting all costs each credential one verification; keeping an order would cost every presentation.
            known.clear();
        }
        known.insert(digest, exp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_at_exp_and_when_full() {
        let cache = IssuerCache::default();
        cache.remember([1; 32], Millis(10));
        assert!(cache.verified(&[1; 32], Millis(9)));
        assert!(!cache.verified(&[1; 32], Millis(10)));
        assert!(!cache.verified(&[2; 32], Millis(9)));
        for n in 0..=MAX as u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_be_bytes());
            cache.remember(digest, Millis(10));
        }
        assert!(cache.0.lock().unwrap().len() <= MAX);
    }
}
