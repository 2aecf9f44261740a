//! Hearing of a person's sessions for as long as it takes: connections that end are made again, from the last event that was seen, with pauses that grow and
//! differ, so that the many who lost one server do not come back as one.

use crate::device::Device;
use crate::error::Error;
use crate::events::{Due, Ended, Events, Renewal, Renewing, Told};
use std::sync::Arc;
use std::time::Duration;

/// First pause; doubled each time, half of it random.
const PAUSE_MS: u64 = 500;
const LONGEST_PAUSE_MS: u64 = 30_000;
/// Close codes of a device that is out, and of a token that is over (docs/protocol.md §9).
const REVOKED: u16 = 4403;
const EXPIRED: u16 = 4401;

/// A device that listens.
pub struct Listening {
    device: Arc<Device>,
    events: Option<Events>,
    /// Another token for it is on its way: apart from what is heard meanwhile, and kept when nobody waits.
    renewing: Option<Renewing>,
    cursor: Option<i64>,
    pause: u64,
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
        Listening { device: self.clone(), events: None, renewing: None, cursor, pause: PAUSE_MS }
    }
}

impl Listening {
    /// The stream, to say something on; none while there is no connection.
    pub fn events(&mut self) -> Option<&mut Events> {
        self.events.as_mut()
    }

    /// The last event that was seen.
    pub fn cursor(&self) -> Option<i64> {
        self.cursor
    }

    /// What comes next, however long it takes. Fails for good alone: `status.revoked` when the device is out.
    pub async fn next(&mut self) -> Result<Heard, Error> {
        loop {
            let Some(events) = &mut self.events else {
                match self.device.live(self.cursor).await {
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
                        self.events = None;
                        continue;
                    }
                }
            }
            let told = tokio::select! {
                // That a token was sent is known before its answer is heard.
                biased;
                renewal = renewed(&mut self.renewing) => {
                    self.renewing = None;
                    events.renewed(renewal);
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
                    (self.events, self.renewing) = (None, None);
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
        let jitter = u64::from_be_bytes(self.device.http.entropy().bytes()) % (self.pause / 2 + 1);
        self.device.http.pause(Duration::from_millis(self.pause / 2 + jitter)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE_MS);
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
