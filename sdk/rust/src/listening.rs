//! Hearing of a person's sessions for as long as it takes: connections that end are made again, from the last event that was seen, with pauses that grow and
//! differ, so that the many who lost one server do not come back as one.

use crate::device::Device;
use crate::error::Error;
use crate::events::{Due, Ended, Events, Renewal, Renewing, Told};
use baton_protocol::session::SealedUpdate;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The first pause is at most this long, each after it at most twice as long, and as random as can be: with less of it many would still come at about one time.
const PAUSE_MS: u64 = 1000;
const LONGEST_PAUSE_MS: u64 = 30_000;
/// Close codes of a device that is out, and of a token that is over (docs/protocol.md §9).
const REVOKED: u16 = 4403;
const EXPIRED: u16 = 4401;

/// Between two that a device says: nobody looks more often.
const SAY_EVERY: Duration = Duration::from_millis(100);

/// A device that listens.
pub struct Listening {
    device: Arc<Device>,
    events: Option<Events>,
    /// What is to be said next of each session.
    unsaid: VecDeque<SealedUpdate>,
    /// Something is being said; until it was, and a while after, nothing more is.
    saying: Option<Saying>,
    back: Back,
    /// Another token for it is on its way: apart from what is heard meanwhile, and kept when nobody waits.
    renewing: Option<Renewing>,
    cursor: Option<i64>,
    pause: u64,
}

/// It, and the pause after it.
type Saying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells a [`Listening`] that its device is back: it woke, or is on another network.
#[derive(Clone, Default)]
pub struct Back(Arc<Notify>);

impl Back {
    /// Its connection may have died without a word, and no pause is worth waiting for: another is made at once.
    pub fn is_back(&self) {
        self.0.notify_one();
    }
}

/// What it hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// What the stream tells.
    Told(Told),
    /// The stream is open, for the first time or again: what is read from here on is not older than the next event.
    Open,
    /// History is gone: read the resources anew. Events go on from now.
    Gap,
}

impl Device {
    /// Listens after `cursor`, or from now on, and hears what the others [say](Events::say) just now as well.
    pub fn listen(self: &Arc<Self>, cursor: Option<i64>) -> Listening {
        let (unsaid, back) = (VecDeque::new(), Back::default());
        Listening { device: self.clone(), events: None, unsaid, saying: None, back, renewing: None, cursor, pause: PAUSE_MS }
    }
}

impl Listening {
    /// The stream, to say something on; none while there is no connection.
    pub fn events(&mut self) -> Option<&mut Events> {
        self.events.as_mut()
    }

    /// Says what a session's [`volatile`](crate::Session::volatile) sealed, to whoever listens now: the newest of each session, ten a second at most, while
    /// [`Self::next`] is waited for. Without a connection the newest waits. Nobody keeps it, and nobody says that it came.
    pub fn say(&mut self, update: SealedUpdate) {
        match self.unsaid.iter_mut().find(|one| one.place.session == update.place.session) {
            Some(older) => *older = update,
            None => self.unsaid.push_back(update),
        }
    }

    /// To tell it when the device is back.
    pub fn back(&self) -> Back {
        self.back.clone()
    }

    /// The last event that was seen.
    pub fn cursor(&self) -> Option<i64> {
        self.cursor
    }

    /// What comes next, however long it takes. Fails for good alone: `status.revoked` when the device is out.
    pub async fn next(&mut self) -> Result<Heard, Error> {
        loop {
            let Some(events) = &mut self.events else {
                let opened = tokio::select! {
                    opened = self.device.live(self.cursor) => opened,
                    () = self.back.0.notified() => {
                        self.pause = PAUSE_MS;
                        continue;
                    }
                };
                match opened {
                    Ok(events) => {
                        self.events = Some(events);
                        return Ok(Heard::Open);
                    }
                    Err(why) if why.is("stream.gap") => {
                        self.cursor = None;
                        return Ok(Heard::Gap);
                    }
                    Err(why) if passes(&why) => self.wait().await,
                    Err(why) => return Err(why),
                }
                continue;
            };
            let mut wait = None;
            if self.renewing.is_none() {
                match events.due(&self.device) {
                    Due::Now(renewing) => self.renewing = Some(renewing),
                    Due::In(time) => wait = Some(time),
                    Due::Nothing => {}
                    Due::Over => {
                        (self.events, self.saying) = (None, None);
                        continue;
                    }
                }
            }
            if self.saying.is_none()
                && let Some(update) = self.unsaid.pop_front()
            {
                let (device, saying) = (self.device.clone(), events.saying(update));
                self.saying = Some(Box::pin(async move {
                    // One that is broken finds out by itself.
                    let _ = saying.await;
                    device.http.pause(SAY_EVERY).await;
                }));
            }
            let told = tokio::select! {
                // That a token was sent is known before its answer is heard.
                biased;
                renewal = renewed(&mut self.renewing) => {
                    self.renewing = None;
                    events.renewed(renewal);
                    continue;
                }
                // Before what is heard, of which there may always be more.
                () = self.back.0.notified() => {
                    (self.events, self.renewing, self.saying, self.pause) = (None, None, None, PAUSE_MS);
                    continue;
                }
                () = said(&mut self.saying) => {
                    self.saying = None;
                    continue;
                }
                told = events.heard() => told,
                () = pause(&self.device, wait) => continue,
            };
            match told {
                Ok(None) => {}
                Ok(Some(told)) => {
                    self.cursor = events.cursor().or(self.cursor);
                    self.pause = PAUSE_MS;
                    return Ok(Heard::Told(told));
                }
                Err(ended) => {
                    (self.events, self.renewing, self.saying) = (None, None, None);
                    match ended {
                        Ended::Closed(REVOKED) => return Err(baton_protocol::Refusal::from(baton_protocol::refusal::Status::Revoked).into()),
                        Ended::Gap => {
                            self.cursor = None;
                            return Ok(Heard::Gap);
                        }
                        // One that ended with its token is no failure.
                        Ended::Closed(EXPIRED) => {}
                        Ended::Closed(_) | Ended::Broken => self.wait().await,
                    }
                }
            }
        }
    }

    async fn wait(&mut self) {
        let time = Duration::from_millis(u64::from_be_bytes(self.device.http.entropy().bytes()) % (self.pause + 1));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE_MS);
        tokio::select! {
            () = self.device.http.pause(time) => {}
            () = self.back.0.notified() => self.pause = PAUSE_MS,
        }
    }
}

async fn said(saying: &mut Option<Saying>) {
    match saying {
        Some(saying) => saying.await,
        None => std::future::pending().await,
    }
}

async fn renewed(renewing: &mut Option<Renewing>) -> Renewal {
    match renewing {
        Some(renewing) => renewing.await,
        None => std::future::pending().await,
    }
}

async fn pause(device: &Device, wait: Option<Duration>) {
    match wait {
        Some(time) => device.http.pause(time).await,
        None => std::future::pending().await,
    }
}

/// Whether trying again may help.
fn passes(why: &Error) -> bool {
    match why {
        Error::Transport(_) => true,
        Error::Refused { status, code, .. } => *status >= 500 || code == "limit.streams" || code == "limit.rate",
        _ => false,
    }
}
