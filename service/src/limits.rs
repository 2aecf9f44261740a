//! Rates, by key, in memory: a fixed window that forgets. What must hold over restarts (wrong codes, requests
//! that nobody approved) is counted in the database instead.

use baton_protocol::refusal::Limit;
use baton_protocol::time::Millis;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Most keys remembered in one window; past it, new ones are refused rather than known ones forgotten.
const MAX_KEYS: usize = 100_000;

/// What counts as one caller: an IPv4 address, or the /64 an IPv6 subscriber has to itself.
pub fn address_key(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{:x}/64", u128::from(v6) >> 64),
    }
}

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
        if seen.0 != window {
            *seen = (window, HashMap::new());
        }
        if seen.1.len() >= MAX_KEYS && !seen.1.contains_key(key) {
            return Err(Limit::Rate);
        }
        let count = seen.1.entry(key.to_owned()).or_insert(0);
        *count += 1;
        if *count > self.max { Err(Limit::Rate) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_its_limit_for_each_caller_and_then_forgets() {
        let (rate, at) = (Rate::new(2, 60), Millis::from_secs(60));
        assert!(rate.count("a", at).is_ok() && rate.count("a", at).is_ok());
        assert_eq!(rate.count("a", at.plus_secs(59)), Err(Limit::Rate));
        assert!(rate.count("b", at).is_ok());
        assert!(rate.count("a", at.plus_secs(60)).is_ok());
    }

    #[test]
    fn a_subscriber_s_whole_prefix_is_one_caller() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
