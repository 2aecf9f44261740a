//! What wakes the streams of a subject, and what is passed on to them without being kept.

use super::line::Line;
use crate::store::events::Row;
use baton_protocol::key::Did;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// How many of a subject's newest events are remembered for the streams that are just behind.
const NEWS: usize = 16;
/// To how many something is passed on before others have a turn.
const AT_ONCE: usize = 64;

/// One for each subject that has streams.
#[derive(Default)]
pub struct Bell(Mutex<HashMap<String, Weak<Subject>>>);

#[derive(Default)]
struct Subject {
    rung: Notify,
    /// How often it was rung for what is to be looked up.
    rings: AtomicU64,
    /// The newest events, without a hole, as they were committed. Whatever else there is, is looked up.
    news: Mutex<VecDeque<Row>>,
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
    /// How often it was rung for what is to be looked up.
    pub fn rings(&self) -> u64 {
        self.0.rings.load(Ordering::Acquire)
    }

    /// What came after `cursor`, where it is remembered without a hole.
    pub fn news(&self, cursor: i64) -> Option<Vec<Row>> {
        let news = self.0.news();
        let first = news.front()?.seq;
        (first <= cursor + 1).then(|| news.iter().filter(|row| row.seq > cursor).cloned().collect())
    }

    /// The next ring from when this is enabled.
    pub fn next(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.rung.notified()
    }
}

impl Subject {
    fn news(&self) -> MutexGuard<'_, VecDeque<Row>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell {
    /// Something was committed for this subject, or changed: it is to be looked up.
    pub fn ring(&self, log: &str) {
        if let Some(subject) = self.subject(log) {
            subject.rings.fetch_add(1, Ordering::AcqRel);
            subject.rung.notify_waiters();
        }
    }

    /// These events were committed for this subject, and nothing else.
    pub fn tell(&self, log: &str, rows: Vec<Row>) {
        let Some(subject) = self.subject(log) else { return };
        let mut news = subject.news();
        for row in rows {
            if news.back().is_some_and(|last| last.seq + 1 != row.seq) {
                news.clear();
            }
            if news.len() == NEWS {
                news.pop_front();
            }
            news.push_back(row);
        }
        drop(news);
        subject.rung.notify_waiters();
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
            let fresh = Arc::new(Subject::default());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::events::tests::row;

    #[test]
    fn news_have_no_hole() {
        let bell = Bell::default();
        bell.tell("log", vec![row(1)]);
        let ear = bell.listen("log", None);
        let rung = ear.rung();
        let after = |cursor| rung.news(cursor).map(|news| news.iter().map(|row| row.seq).collect::<Vec<_>>());
        assert_eq!(after(0), None, "nobody listened yet");
        bell.tell("log", vec![row(2), row(3)]);
        assert_eq!((after(0), after(1), after(2), after(3), after(9)), (None, Some(vec![2, 3]), Some(vec![3]), Some(vec![]), Some(vec![])));
        bell.tell("log", vec![row(5)]);
        assert_eq!((after(3), after(4)), (None, Some(vec![5])), "4 was told by nobody");
        bell.tell("log", (6..40).map(row).collect());
        assert_eq!((after(22), after(23).unwrap().len()), (None, NEWS), "the newest alone are remembered");
        bell.tell("other", vec![row(40)]);
        assert_eq!(after(39), Some(vec![]));
    }

    #[tokio::test]
    async fn what_is_told_wakes_and_what_is_rung_counts() {
        let bell = Bell::default();
        let rung = bell.listen("log", None).rung();
        let next = rung.next();
        bell.tell("log", vec![row(1)]);
        next.await;
        assert_eq!(rung.rings(), 0);
        let next = rung.next();
        bell.ring("log");
        next.await;
        assert_eq!(rung.rings(), 1);
    }
}
