//! What wakes the streams of a subject, and what is passed on to them without being kept.

use axum::extract::ws::Utf8Bytes;
use baton_protocol::key::Did;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Notify, mpsc};

/// Most that waits for a stream; a slower one misses what comes then.
const WAITING: usize = 16;

/// One for each subject that has streams.
#[derive(Default)]
pub struct Bell(Mutex<HashMap<String, Weak<Subject>>>);

struct Subject {
    rung: Notify,
    streams: Mutex<Vec<mpsc::Sender<Arc<Passing>>>>,
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
    subject: Arc<Subject>,
    /// What passes.
    pub passing: mpsc::Receiver<Arc<Passing>>,
}

impl Ear {
    /// Wakes when something is committed.
    pub fn rung(&self) -> RungAt {
        RungAt(self.subject.clone())
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
    fn streams(&self) -> MutexGuard<'_, Vec<mpsc::Sender<Arc<Passing>>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell {
    /// Something was committed for this subject.
    pub fn ring(&self, log: &str) {
        if let Some(subject) = self.subject(log) {
            subject.rung.notify_waiters();
        }
    }

    /// Tells whoever listens now.
    pub fn pass(&self, log: &str, passing: Passing) {
        let Some(subject) = self.subject(log) else { return };
        let passing = Arc::new(passing);
        // One that has gone is forgotten; one that is full misses this.
        subject.streams().retain(|stream| !matches!(stream.try_send(passing.clone()), Err(mpsc::error::TrySendError::Closed(_))));
    }

    fn subject(&self, log: &str) -> Option<Arc<Subject>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(log).and_then(Weak::upgrade)
    }

    /// Hears of this subject from here on; of what passes as well, where `hears` says so.
    pub fn listen(&self, log: &str, hears: bool) -> Ear {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = all.get(log).and_then(Weak::upgrade).unwrap_or_else(|| {
            // Looked through as seldom as it grows.
            if all.len() == all.capacity() {
                all.retain(|_, subject| subject.strong_count() > 0);
            }
            let fresh = Arc::new(Subject { rung: Notify::new(), streams: Mutex::default() });
            all.insert(log.to_owned(), Arc::downgrade(&fresh));
            fresh
        });
        drop(all);
        let (stream, passing) = mpsc::channel(WAITING);
        if hears {
            let mut streams = subject.streams();
            streams.retain(|stream| !stream.is_closed());
            streams.push(stream);
        }
        Ear { subject, passing }
    }
}
