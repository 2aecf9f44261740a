//! Rates, by key, in memory: a fixed window that forgets. What must hold over restarts (codes, prompts) is counted in the database instead.

use baton_protocol::refusal::Limit;
use baton_protocol::time::Millis;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most keys remembered; past it, the oldest window is dropped as a whole.
const MAX_KEYS: usize = 100_000;

/// At most `max` per `window_secs` for each key.
#[derive(Debug)]
pub struct Rate {
    max: u32,
    window_secs: i64,
    seen: Mutex<(i64, HashMap<String, u32>)>,
}

impl Rate {
    /// A limit.
    pub fn new(max: u32, window_secs: i64) -> Self {
        Self { max, window_secs, seen: Mutex::new((0, HashMap::new())) }
    }

    /// Counts one, or refuses.
    pub fn count(&self, key: &str, now: Millis) -> Result<(), Limit> {
        let window = now.secs() / self.window_secs;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != window || seen.1.len() >= MAX_KEYS {
            *seen = (window, HashMap::new());
        }
        let count = seen.1.entry(key.to_owned()).or_insert(0);
        *count += 1;
        if *count > self.max { Err(Limit::Rate) } else { Ok(()) }
    }
}
