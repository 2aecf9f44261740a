//! What wakes the streams of a subject, and what is passed on to them without being kept.

use super::line::Line;
use baton_protocol::key::Did;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// To how many something is passed on before others have a turn.
const AT_ONCE: usize = 64;

/// One for each subject that has streams.
#[derive(Default)]
pub struct Bell(Mutex<HashMap<String, Weak<Subject>>>);

struct Subject {
    rung: Notify,
    /// Who hears what passes.
    listeners: Mutex<Vec<Listener>>,
    /// One after another, so that all hear the same in the same order.
    passing: tokio::sync::Mutex<()>,
}

struct Listener {
    device: Did,
    line: Weak<Line>,
}

/// A stream's ear.
pub struct Ear(Arc<Subject>);

impl Ear {
    /// Wakes when something is committed.
    pub fn rung(&self) -> RungAt {
        RungAt(self.0.clone())
    }
}

/// What is waited on for the next ring.
pub struct RungAt(Arc<Subject>);

impl RungAt {
    /// The next ring from when this is enabled.
    pub fn next(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.rung.notified()
    }
}

impl Subject {
    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell {
    /// Something was committed for this subject.
    pub fn ring(&self, log: &str) {
        if let Some(subject) = self.subject(log) {
            subject.rung.notify_waiters();
        }
    }

    /// Tells whoever listens now, but for the device it is from.
    pub async fn pass(&self, log: &str, from: &Did, frame: &[u8]) {
        let Some(subject) = self.subject(log) else { return };
        let _turn = subject.passing.lock().await;
        let mut lines = Vec::new();
        // One that has gone is forgotten.
        subject.listeners().retain(|listener| match listener.line.upgrade() {
            Some(line) if listener.device != *from => {
                lines.push(line);
                true
            }
            other => other.is_some(),
        });
        for some in lines.chunks(AT_ONCE) {
            for line in some {
                line.pass(frame);
            }
            tokio::task::yield_now().await;
        }
    }

    fn subject(&self, log: &str) -> Option<Arc<Subject>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(log).and_then(Weak::upgrade)
    }

    /// Hears of this subject from here on; a device that comes with its line, of what passes as well.
    pub fn listen(&self, log: &str, hears: Option<(&Did, &Arc<Line>)>) -> Ear {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = all.get(log).and_then(Weak::upgrade).unwrap_or_else(|| {
            // Looked through as seldom as it grows.
            if all.len() == all.capacity() {
                all.retain(|_, subject| subject.strong_count() > 0);
            }
            let fresh = Arc::new(Subject { rung: Notify::new(), listeners: Mutex::default(), passing: tokio::sync::Mutex::default() });
            all.insert(log.to_owned(), Arc::downgrade(&fresh));
            fresh
        });
        drop(all);
        if let Some((device, line)) = hears {
            let mut listeners = subject.listeners();
            listeners.retain(|listener| listener.line.strong_count() > 0);
            listeners.push(Listener { device: device.clone(), line: Arc::downgrade(line) });
        }
        Ear(subject)
    }
}
