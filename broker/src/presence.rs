//! Who is there: devices with an open stream, in memory alone. After a restart nobody is, until their streams are back.

use baton_protocol::refusal::Limit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most streams of one device.
const MAX_STREAMS: usize = 16;

/// The devices with open streams.
#[derive(Debug, Clone, Default)]
pub struct Presence(Arc<Mutex<HashMap<String, Here>>>);

#[derive(Debug)]
struct Here {
    log: String,
    streams: usize,
    told: i64,
}

impl Presence {
    /// A place among a device's streams, given back on drop.
    pub fn take(&self, log: &str, device: &str) -> Result<Place, Limit> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = all.entry(device.to_owned()).or_insert_with(|| Here { log: log.to_owned(), streams: 0, told: 0 });
        if here.streams >= MAX_STREAMS {
            return Err(Limit::Streams);
        }
        here.streams += 1;
        Ok(Place { presence: self.clone(), device: device.to_owned() })
    }

    /// The devices of a subject that are there, each with the last event it was told.
    pub fn of(&self, log: &str) -> Vec<(String, i64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut here: Vec<_> = all.iter().filter(|(_, here)| here.log == log).map(|(device, here)| (device.clone(), here.told)).collect();
        here.sort();
        here
    }
}

/// One stream's place.
#[derive(Debug)]
pub struct Place {
    presence: Presence,
    device: String,
}

impl Place {
    /// Notes the last event the device was told.
    pub fn told(&self, seq: i64) {
        if let Some(here) = self.presence.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.device) {
            here.told = here.told.max(seq);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.presence.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = all.get_mut(&self.device) {
            here.streams -= 1;
            if here.streams == 0 {
                all.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_there_while_any_of_its_streams_is() {
        let presence = Presence::default();
        let (first, second) = (presence.take("log", "tv").unwrap(), presence.take("log", "tv").unwrap());
        let other = presence.take("another", "laptop").unwrap();
        first.told(7);
        second.told(5);
        assert_eq!(presence.of("log"), [("tv".to_owned(), 7)]);
        drop(first);
        assert_eq!(presence.of("log").len(), 1);
        drop(second);
        assert!(presence.of("log").is_empty());
        assert_eq!(presence.of("another").len(), 1);
        drop(other);
        let all: Vec<_> = (0..MAX_STREAMS).map(|_| presence.take("log", "tv").unwrap()).collect();
        assert!(matches!(presence.take("log", "tv"), Err(Limit::Streams)));
        drop(all);
        assert!(presence.take("log", "tv").is_ok());
    }
}
