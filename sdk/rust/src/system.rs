//! The one place where this crate reads the machine's clock and randomness; everything else is given them.

use baton_protocol::ports::{Clock, Entropy};
use baton_protocol::time::Millis;

/// The system's clock.
pub fn system_clock() -> Clock {
    Clock::new(|| {
        #[expect(clippy::disallowed_methods, reason = "the one place the SDK reads the clock")]
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
