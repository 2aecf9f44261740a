//! Tells event streams which transactions have moved, and counts the streams.

use baton_protocol::refusal::Limit;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Most streams at once of one relying service: none of them takes what the others need.
const MOST: usize = 128;

type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// The bell, and who listens.
pub struct Settled {
    bell: broadcast::Sender<String>,
    streams: Counts,
    closed: AtomicBool,
}

impl Default for Settled {
    fn default() -> Self {
        Self { bell: broadcast::Sender::new(256), streams: Arc::default(), closed: AtomicBool::new(false) }
    }
}

/// A stream's place, given back on drop.
pub struct Place {
    streams: Counts,
    relying: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = streams.get_mut(&self.relying) {
            *count -= 1;
        }
        streams.retain(|_, count| *count > 0);
    }
}

impl Settled {
    /// This one has moved.
    pub fn ring(&self, transaction: &str) {
        // Nobody may be listening.
        let _ = self.bell.send(transaction.to_owned());
    }

    /// What moves from here on, and a place among this relying service's streams.
    pub fn listen(&self, relying: &str) -> Result<(broadcast::Receiver<String>, Place), Limit> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let count = streams.entry(relying.to_owned()).or_insert(0);
        if *count >= MOST {
            return Err(Limit::Streams);
        }
        *count += 1;
        Ok((self.bell.subscribe(), Place { streams: self.streams.clone(), relying: relying.to_owned() }))
    }

    /// Every stream ends.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ring("");
    }

    /// Whether they are to end.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_relying_service_takes_no_other_s_places() {
        let settled = Settled::default();
        let mut held: Vec<_> = (0..MOST).map(|_| settled.listen("shop").unwrap()).collect();
        assert_eq!(settled.listen("shop").map(|_| ()), Err(Limit::Streams));
        assert!(settled.listen("cinema").is_ok());
        held.pop();
        assert!(settled.listen("shop").is_ok());
        drop(held);
        assert!(settled.streams.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }
}
