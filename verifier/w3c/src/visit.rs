//! Verifying asks nobody and waits for nobody: it looks at what is kept, and says what it misses. That is fetched between two tries, all of it at once,
//! and kept once it was found to be what it should.

use crate::fetch::{Failed, Hosts, plain};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;
use url::Url;

/// How long a document is good before it is asked for again.
const FRESH_SECS: i64 = 60;
/// How soon a URL is asked again that gave nothing, or something that could not be used.
const AGAIN_SECS: i64 = 5;
/// Most documents kept.
const MOST: usize = 128;
/// Most tries: a key, where its issuer's metadata sends on for it, and lists.
const TRIES: u8 = 6;

/// A document, or why there is none.
type Found = Result<Vec<u8>, &'static str>;

/// What was fetched, or what is had in its place.
#[derive(Debug, Clone)]
enum Got {
    /// For this visit, when it was asked for.
    Anew { at: i64, bytes: Vec<u8> },
    /// A copy of before, or nothing.
    Before(Found),
}

const MISSING: &str = "it could not be fetched";

/// Where a verification looks.
pub trait Sources: Send + Sync {
    /// What is at this URL.
    fn get(&self, url: &str, accept: &'static str) -> Result<Vec<u8>, &'static str>;
    /// It was what it should be, and was made then (Unix seconds), if it says so: none that is older counts after it.
    fn accept(&self, url: &str, made: Option<i64>) -> Result<(), &'static str>;
}

#[derive(Debug)]
struct Copy {
    at: i64,
    made: Option<i64>,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Known {
    copies: HashMap<String, Copy>,
    /// When a URL gave nothing that could be used.
    failed: HashMap<String, i64>,
}

/// What other parties' hosts said lately.
#[derive(Debug)]
pub struct Kept {
    hosts: Hosts,
    stale_secs: i64,
    known: Mutex<Known>,
}

/// What one verification has found and what it misses, from try to try.
#[derive(Debug, Default)]
pub struct Visit(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    tries: u8,
    fetched: HashMap<String, Got>,
    missing: BTreeMap<String, &'static str>,
    /// Kept copies that were looked at, and what they were asked for as.
    looked_at: HashMap<String, &'static str>,
    accepted: HashMap<String, Option<i64>>,
}

/// What follows from a try.
#[derive(Default)]
struct Plan {
    asked: Vec<(Url, &'static str)>,
    had: Vec<(String, Got)>,
}

/// A visit to what is kept, at a time.
pub struct Desk<'a> {
    kept: &'a Kept,
    visit: &'a Visit,
    now: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// Nothing yet. A copy lasts `stale_secs` while its host is silent.
    pub fn new(hosts: Hosts, stale_secs: i64) -> Self {
        Self { hosts, stale_secs, known: Mutex::default() }
    }

    /// For a try, at a time in Unix seconds.
    pub fn desk<'a>(&'a self, visit: &'a Visit, now: i64) -> Desk<'a> {
        Desk { kept: self, visit, now }
    }

    /// Keeps what the last try could use, and fetches what it missed. False when there is nothing to try again for.
    pub async fn fetch(&self, visit: &Visit, now: i64) -> bool {
        let Plan { asked, had } = self.plan(visit, now);
        if asked.is_empty() && had.is_empty() {
            return false;
        }
        let mut under_way: JoinSet<_> = asked
            .into_iter()
            .map(|(url, accept)| {
                let answer = self.hosts.ask(url.clone(), accept);
                async move { (url, answer.await) }
            })
            .collect();
        let mut found = had;
        while let Some(Ok((url, answer))) = under_way.join_next().await {
            found.push((url.to_string(), self.note(url.as_str(), answer, now)));
        }
        lock(&visit.0).fetched.extend(found);
        true
    }

    /// What is asked now; and what is not because it was just now, with what is had instead.
    fn plan(&self, visit: &Visit, now: i64) -> Plan {
        let (mut notes, mut known) = (lock(&visit.0), lock(&self.known));
        let notes = &mut *notes;
        let mut missing = std::mem::take(&mut notes.missing);
        // A copy that could not be used may be one of before its issuer changed something.
        let doubted =
            notes.looked_at.drain().filter(|(url, _)| !notes.accepted.contains_key(url) && known.is_older(url, now) && !known.is_resting(url, now));
        missing.extend(doubted);
        notes.tries += 1;
        let is_last = missing.is_empty() || notes.tries >= TRIES;
        for (url, found) in &notes.fetched {
            match (found, notes.accepted.get(url)) {
                (Got::Anew { at, bytes }, Some(made)) => known.keep(url, Copy { at: *at, made: *made, bytes: bytes.clone() }, now),
                // What is still to come may be what it is to be read with.
                (Got::Anew { .. }, None) if is_last => known.fail(url, now),
                _ => {}
            }
        }
        notes.accepted.clear();
        if is_last {
            return Plan::default();
        }
        let mut plan = Plan::default();
        for (text, accept) in missing {
            match plain(&text) {
                Ok(_) if known.is_resting(&text, now) => plan.had.push((text.clone(), Got::Before(known.stale(&text, now, self.stale_secs)))),
                Ok(url) => plan.asked.push((url, accept)),
                Err(_) => {}
            }
        }
        plan
    }

    fn note(&self, url: &str, answer: Result<Vec<u8>, Failed>, now: i64) -> Got {
        let mut known = lock(&self.known);
        match answer {
            Ok(bytes) => {
                known.failed.remove(url);
                Got::Anew { at: now, bytes }
            }
            Err(failed) => {
                // What its host says is not there any more is not there.
                if failed == Failed::Gone {
                    known.copies.remove(url);
                }
                known.fail(url, now);
                Got::Before(known.stale(url, now, self.stale_secs))
            }
        }
    }
}

impl Known {
    /// Keeps a copy, unless another visit has brought a newer one meanwhile.
    fn keep(&mut self, url: &str, copy: Copy, now: i64) {
        if self.copies.get(url).is_some_and(|kept| kept.at > copy.at && kept.at <= now) {
            return;
        }
        if self.copies.len() >= MOST && !self.copies.contains_key(url) {
            let oldest = self.copies.iter().min_by_key(|(_, copy)| copy.at).map(|(url, _)| url.clone());
            oldest.and_then(|url| self.copies.remove(&url));
        }
        self.failed.remove(url);
        self.copies.insert(url.to_owned(), copy);
    }

    fn fail(&mut self, url: &str, now: i64) {
        if self.failed.len() >= MOST {
            self.failed.retain(|_, at| (0..AGAIN_SECS).contains(&(now - *at)));
        }
        self.failed.insert(url.to_owned(), now);
    }

    /// Whether it gave nothing that could be used just now.
    fn is_resting(&self, url: &str, now: i64) -> bool {
        self.failed.get(url).is_some_and(|at| (0..AGAIN_SECS).contains(&(now - at)))
    }

    /// Whether its copy is not of this moment.
    fn is_older(&self, url: &str, now: i64) -> bool {
        self.copies.get(url).is_some_and(|copy| !(0..AGAIN_SECS).contains(&(now - copy.at)))
    }

    fn stale(&self, url: &str, now: i64, at_most: i64) -> Found {
        // A clock that was set back makes no copy younger.
        let copy = self.copies.get(url).filter(|copy| (0..at_most).contains(&(now - copy.at)));
        copy.map(|copy| copy.bytes.clone()).ok_or(MISSING)
    }
}

impl Desk<'_> {
    /// The time of it, in Unix seconds.
    pub const fn now(&self) -> i64 {
        self.now
    }
}

impl Sources for Desk<'_> {
    fn get(&self, url: &str, accept: &'static str) -> Result<Vec<u8>, &'static str> {
        let url = plain(url)?.to_string();
        let mut notes = lock(&self.visit.0);
        match notes.fetched.get(&url) {
            Some(Got::Anew { bytes, .. }) => return Ok(bytes.clone()),
            Some(Got::Before(found)) => return found.clone(),
            None => {}
        }
        match lock(&self.kept.known).stale(&url, self.now, FRESH_SECS) {
            Ok(bytes) => {
                notes.looked_at.insert(url, accept);
                Ok(bytes)
            }
            Err(why) => {
                notes.missing.insert(url, accept);
                Err(why)
            }
        }
    }

    fn accept(&self, url: &str, made: Option<i64>) -> Result<(), &'static str> {
        let url = plain(url)?.to_string();
        let newest = lock(&self.kept.known).copies.get(&url).and_then(|copy| copy.made);
        if newest.is_some_and(|newest| made.is_none_or(|made| made < newest)) {
            return Err("one that was made later was seen before");
        }
        lock(&self.visit.0).accepted.insert(url, made);
        Ok(())
    }
}
