//! Who is there and with what, in memory alone: by open streams, and by what devices say of themselves. After a restart nobody is there until
//! their streams are back.

use crate::streams::Budget;
use baton_protocol::event::{Present, SealedView, Status};
use baton_protocol::ports::Clock;
use baton_protocol::refusal::Limit;
use baton_protocol::time::Millis;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most streams of one device.
const MAX_STREAMS: usize = 16;
/// How long a device without a stream is there after it said so.
pub const BEAT_SECS: i64 = 45;
/// How long one whose stream broke is: long enough to come back without the others seeing it go.
const BROKEN_SECS: i64 = 10;

type Devices = BTreeMap<String, Here>;

/// How often whoever is gone is looked for where nobody asks.
const SWEEP_SECS: i64 = 60;

/// The devices that are there, by subject.
#[derive(Clone)]
pub struct Presence {
    all: Arc<Mutex<All>>,
    clock: Clock,
}

#[derive(Default)]
struct All {
    by_log: HashMap<String, Devices>,
    swept_at: i64,
}

impl All {
    /// A device's entry: what it said before, unless that has lapsed.
    fn entry(&mut self, log: &str, device: &str, now: Millis) -> &mut Here {
        let here = self.by_log.entry(log.to_owned()).or_default().entry(device.to_owned()).or_default();
        if !here.is_kept(now) {
            *here = Here { is_gone: here.is_gone, budget: here.budget.take(), ..Here::default() };
        }
        here
    }
    fn get(&mut self, log: &str, device: &str) -> Option<&mut Here> {
        self.by_log.get_mut(log)?.get_mut(device)
    }
}

#[derive(Debug, Default)]
struct Here {
    streams: usize,
    /// It was revoked: whatever stream of it still stands, it is not there.
    is_gone: bool,
    /// Without a stream it is there until then.
    until: i64,
    told: i64,
    away: bool,
    session: Option<String>,
    view: Option<SealedView>,
    /// Made when it first says something.
    budget: Option<Budget>,
}

impl Here {
    fn is_kept(&self, now: Millis) -> bool {
        self.streams > 0 || now.0 < self.until
    }
    /// Whether anything of it is still to be known: also what it has said lately.
    fn is_remembered(&self, now: Millis) -> bool {
        self.is_kept(now) || self.budget.as_ref().is_some_and(|budget| !budget.is_whole(now))
    }
    fn is_there(&self, now: Millis) -> bool {
        !self.is_gone && self.is_kept(now)
    }
}

/// A device that is there, with the last event it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The device and what it shows.
    pub present: Present,
    /// The last event it was told.
    pub told: i64,
}

/// What a device says of itself.
#[derive(Debug)]
pub struct Said {
    /// Whether it is in use.
    pub status: Status,
    /// The session in front.
    pub session: Option<String>,
    /// What it shows of it.
    pub view: Option<SealedView>,
}

impl Presence {
    /// Nobody is there yet.
    pub fn new(clock: Clock) -> Self {
        Self { all: Arc::default(), clock }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        let now = self.clock.now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0 - all.swept_at >= SWEEP_SECS * 1000 {
            all.swept_at = now.0;
            all.by_log.retain(|_, devices| {
                devices.retain(|_, here| here.is_remembered(now));
                !devices.is_empty()
            });
        }
        all
    }

    /// A place among a device's streams, given back on drop.
    pub fn take(&self, log: &str, device: &str) -> Result<Place, Limit> {
        let mut all = self.all();
        let here = all.entry(log, device, self.clock.now());
        if here.streams >= MAX_STREAMS {
            return Err(Limit::Streams);
        }
        here.streams += 1;
        Ok(Place { presence: self.clone(), log: log.to_owned(), device: device.to_owned(), left: false })
    }

    /// A device says how it is. `offline` takes back all it said; with a stream it is still there.
    pub fn say(&self, log: &str, device: &str, said: Said) {
        let until = self.clock.now().plus_secs(BEAT_SECS).0;
        let mut all = self.all();
        let here = all.entry(log, device, self.clock.now());
        let gone = said.status == Status::Offline;
        here.until = if gone { 0 } else { until };
        here.away = gone || said.status == Status::Away;
        (here.session, here.view) = if gone { (None, None) } else { (said.session, said.view) };
    }

    /// The device has this session in front no longer. False when it had not.
    pub fn unfocus(&self, log: &str, device: &str, session: &str) -> bool {
        let mut all = self.all();
        let here = all.get(log, device).filter(|here| here.session.as_deref() == Some(session));
        here.map(|here| (here.session, here.view) = (None, None)).is_some()
    }

    /// Whether the device is there with this session in front.
    pub fn has_in_front(&self, log: &str, device: &str, session: &str) -> bool {
        self.of(log).iter().any(|Seen { present, .. }| present.device == device && present.session.as_deref() == Some(session))
    }

    /// The device is out: it shows nothing from now on. Its streams end by themselves.
    pub fn forget(&self, log: &str, device: &str) {
        let mut all = self.all();
        if let Some(here) = all.get(log, device) {
            *here = Here { streams: here.streams, is_gone: true, ..Here::default() };
        }
    }

    /// The devices of a subject that are there.
    pub fn of(&self, log: &str) -> Vec<Seen> {
        let now = self.clock.now();
        let mut all = self.all();
        let Some(devices) = all.by_log.get_mut(log) else { return Vec::new() };
        devices.retain(|_, here| here.is_remembered(now));
        let seen = |(device, here): (&String, &Here)| Seen {
            present: Present {
                device: device.clone(),
                status: if here.away { Status::Away } else { Status::Online },
                session: here.session.clone(),
                view: here.view.clone(),
            },
            told: here.told,
        };
        let seen = devices.iter().filter(|(_, here)| here.is_there(now)).map(seen).collect();
        if devices.is_empty() {
            all.by_log.remove(log);
        }
        seen
    }
}

/// One stream's place.
pub struct Place {
    presence: Presence,
    log: String,
    device: String,
    left: bool,
}

impl Place {
    /// Takes one of what the device may say; false when it has said enough. Its other streams and the ones before count as well.
    pub fn may_say(&self) -> bool {
        let now = self.presence.clock.now();
        let mut all = self.presence.all();
        let here = all.entry(&self.log, &self.device, now);
        here.budget.get_or_insert_with(|| Budget::new(now)).take(now)
    }

    fn here(&self, change: impl FnOnce(&mut Here)) {
        if let Some(here) = self.presence.all().get(&self.log, &self.device) {
            change(here);
        }
    }

    /// Notes the last event the device was told.
    pub fn told(&self, seq: i64) {
        self.here(|here| here.told = here.told.max(seq));
    }

    /// The device closed the stream itself: with its last one it is gone at once.
    pub fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (left, broken_until) = (self.left, self.presence.clock.now().plus_secs(BROKEN_SECS).0);
        self.here(|here| {
            here.streams -= 1;
            if here.streams == 0 {
                here.until = if left { 0 } else { here.until.max(broken_until) };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_service::testing::ManualClock;

    fn there(presence: &Presence, log: &str) -> Vec<(String, Status, Option<String>)> {
        presence.of(log).into_iter().map(|Seen { present, .. }| (present.device, present.status, present.session)).collect()
    }
    fn said(status: Status, session: Option<&str>) -> Said {
        Said { status, session: session.map(str::to_owned), view: None }
    }

    #[test]
    fn a_device_is_there_while_any_of_its_streams_is() {
        let clock = ManualClock::start();
        let presence = Presence::new(clock.clock());
        let (mut first, mut second) = (presence.take("log", "tv").unwrap(), presence.take("log", "tv").unwrap());
        let other = presence.take("another", "laptop").unwrap();
        first.told(7);
        second.told(5);
        assert_eq!(presence.of("log")[0].told, 7);
        first.leave();
        drop(first);
        assert_eq!(presence.of("log").len(), 1);
        second.leave();
        drop(second);
        assert!(presence.of("log").is_empty(), "a clean exit is seen at once");
        assert_eq!(presence.of("another").len(), 1);
        drop(other);
        let all: Vec<_> = (0..MAX_STREAMS).map(|_| presence.take("log", "tv").unwrap()).collect();
        assert!(matches!(presence.take("log", "tv"), Err(Limit::Streams)));
        drop(all);
        assert!(presence.take("log", "tv").is_ok());
    }

    #[test]
    fn what_breaks_is_missed_a_little_later_and_what_falls_silent_within_45_seconds() {
        let clock = ManualClock::start();
        let presence = Presence::new(clock.clock());
        drop(presence.take("log", "tv").unwrap());
        assert_eq!(presence.of("log").len(), 1, "it may be back in a moment");
        clock.advance_secs(BROKEN_SECS);
        assert!(presence.of("log").is_empty());
        presence.say("log", "phone", said(Status::Online, Some("film")));
        clock.advance_secs(BEAT_SECS - 1);
        assert_eq!(there(&presence, "log"), [("phone".into(), Status::Online, Some("film".into()))]);
        clock.advance_secs(1);
        assert!(presence.of("log").is_empty());
    }

    #[test]
    fn nobody_is_kept_or_comes_back_as_they_were() {
        let clock = ManualClock::start();
        let presence = Presence::new(clock.clock());
        presence.say("log", "phone", said(Status::Online, Some("film")));
        drop(presence.take("another", "tv").unwrap());
        clock.advance_secs(SWEEP_SECS);
        // Nobody asked for either of them since.
        let _stream = presence.take("third", "laptop").unwrap();
        assert_eq!(presence.all.lock().unwrap().by_log.len(), 1);
        presence.say("log", "phone", said(Status::Online, Some("film")));
        clock.advance_secs(BEAT_SECS);
        let _stream = presence.take("log", "phone").unwrap();
        assert_eq!(there(&presence, "log"), [("phone".into(), Status::Online, None)], "what it said has lapsed");
    }

    #[test]
    fn what_a_device_says_stands_until_it_says_otherwise() {
        let presence = Presence::new(ManualClock::start().clock());
        let stream = presence.take("log", "tv").unwrap();
        presence.say("log", "tv", said(Status::Away, Some("film")));
        assert_eq!(there(&presence, "log"), [("tv".into(), Status::Away, Some("film".into()))]);
        assert!(!presence.unfocus("log", "tv", "cart"));
        assert!(presence.unfocus("log", "tv", "film"));
        assert_eq!(there(&presence, "log"), [("tv".into(), Status::Away, None)]);
        presence.say("log", "tv", said(Status::Online, Some("cart")));
        presence.forget("log", "tv");
        presence.say("log", "tv", said(Status::Online, Some("cart")));
        assert_eq!(there(&presence, "log"), [], "revoked, whatever it says and whatever stream still stands");
        presence.say("log", "phone", said(Status::Online, None));
        presence.say("log", "phone", said(Status::Offline, None));
        assert_eq!(there(&presence, "log").len(), 0, "without a stream, saying so is going");
        drop(stream);
    }
}
