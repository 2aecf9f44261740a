//! Signatures verified before, of credentials and of access tokens: bounded, by digest of the whole JWT, never past `exp`. Whatever else is to be checked of them
//! is checked each time.

use baton_protocol::jose::SignatureMemory;
use baton_protocol::time::Millis;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The memory.
#[derive(Debug)]
pub struct Verified {
    most: usize,
    known: Mutex<HashMap<[u8; 32], Millis>>,
}

impl Verified {
    /// Remembers `most` signatures, about 100 bytes each; none when it is zero.
    pub fn new(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }
}

impl SignatureMemory for Verified {
    fn verified(&self, digest: &[u8; 32], now: Millis) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).is_some_and(|exp| now < *exp)
    }

    fn remember(&self, digest: [u8; 32], exp: Millis) {
        if self.most == 0 {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.most {
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
        let none = Verified::new(0);
        none.remember([1; 32], Millis(10));
        assert!(!none.verified(&[1; 32], Millis(9)));
        let cache = Verified::new(1000);
        cache.remember([1; 32], Millis(10));
        assert!(cache.verified(&[1; 32], Millis(9)));
        assert!(!cache.verified(&[1; 32], Millis(10)));
        assert!(!cache.verified(&[2; 32], Millis(9)));
        for n in 0..=1000u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_be_bytes());
            cache.remember(digest, Millis(10));
        }
        assert!(cache.known.lock().unwrap().len() <= 1000);
    }
}
