//! What wakes the streams of a subject, and what is passed on to them without being kept.

use axum::extract::ws::Utf8Bytes;
use baton_protocol::key::Did;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{broadcast, watch};

/// Most that waits for a stream; a slower one misses what is older.
const WAITING: usize = 16;

/// One for each subject that has streams.
#[derive(Default)]
pub struct Bell(Mutex<HashMap<String, Weak<Subject>>>);

struct Subject {
    rung: watch::Sender<()>,
    passing: broadcast::Sender<Arc<Passing>>,
}

/// A frame on its way to the streams of a subject, written out once for all of them.
pub struct Passing {
    /// The device it is from, which is not told of it.
    pub from: Did,
    /// The frame.
    pub frame: Utf8Bytes,
}

/// A stream's ear.
pub struct Ear {
    /// Changes when something was committed.
    pub rung: watch::Receiver<()>,
    /// What passes.
    pub passing: broadcast::Receiver<Arc<Passing>>,
    _subject: Arc<Subject>,
}

impl Bell {
    /// Something was committed for this subject.
    pub fn ring(&self, log: &str) {
        if let Some(subject) = self.subject(log) {
            subject.rung.send_replace(());
        }
    }

    /// Tells whoever listens now.
    pub fn pass(&self, log: &str, passing: Passing) {
        if let Some(subject) = self.subject(log) {
            // Nobody listens: nobody is told.
            let _ = subject.passing.send(Arc::new(passing));
        }
    }

    fn subject(&self, log: &str) -> Option<Arc<Subject>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(log).and_then(Weak::upgrade)
    }

    /// Hears of this subject from here on.
    pub fn listen(&self, log: &str) -> Ear {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = all.get(log).and_then(Weak::upgrade).unwrap_or_else(|| {
            // Looked through as seldom as it grows.
            if all.len() == all.capacity() {
                all.retain(|_, subject| subject.strong_count() > 0);
            }
            let fresh = Arc::new(Subject { rung: watch::Sender::new(()), passing: broadcast::Sender::new(WAITING) });
            all.insert(log.to_owned(), Arc::downgrade(&fresh));
            fresh
        });
        Ear { rung: subject.rung.subscribe(), passing: subject.passing.subscribe(), _subject: subject }
    }
}
