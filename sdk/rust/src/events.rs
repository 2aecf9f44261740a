//! The event stream: contiguous, resumable, and loud about gaps.

use crate::device::Device;
use crate::error::Error;
use crate::line::Line;
use baton_protocol::event::{Event, Frame, Present, Said};
use baton_protocol::id::SessionId;
use baton_protocol::session::SealedUpdate;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this WebSocket close code: 4401 present anew, 4403 revoked.
    Closed(u16),
    /// The connection broke; resume from [`Events::cursor`].
    Broken,
    /// A number was left out. Read the resources anew.
    Gap,
}

/// A stream of events.
pub struct Events {
    line: Arc<Line>,
    cursor: Option<i64>,
    /// What its token is for.
    scope: &'static str,
    renewal: Renewal,
}

/// What is known of the next token of a stream.
pub(crate) enum Renewal {
    /// From then on there is one, in Unix seconds by the server's clock.
    At(i64),
    /// It was sent. `next` is from when on there is the one after it; without an answer by `by`, the stream is broken.
    Sent { next: i64, is_first: bool, by: i64 },
    /// The proof wants this nonce.
    Wants(String),
    /// The stream ends with the token it has.
    Never,
}

/// How long before one stream's token is renewed and another's, that were opened at the same time: a server that was away has them all back at once.
const SPREAD_SECS: i64 = 15;
/// How long after a try that failed there is another, and how long an answer may take.
const AGAIN_SECS: i64 = 10;
const ANSWER_SECS: i64 = 60;

/// What a stream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something changed.
    Event(Event),
    /// The other devices that are there now.
    Present(Vec<Present>),
    /// What another device says of a session just now, for [`Session::hear`](crate::Session::hear).
    Volatile(SealedUpdate),
    /// What this device said was not passed on.
    Refused {
        /// Of which session.
        session: SessionId,
        /// A stable code: `handoff.fenced`, `state.rekey_required`, ..
        code: String,
    },
}

impl Device {
    /// Opens the stream after `cursor`, or from now on.
    pub async fn events(&self, cursor: Option<i64>) -> Result<Events, Error> {
        self.stream(cursor, "session:read", false).await
    }

    /// The same, which tells who else is there as well: see [`Events::told`].
    pub async fn events_and_presence(&self, cursor: Option<i64>) -> Result<Events, Error> {
        self.stream(cursor, "session:read presence", false).await
    }

    /// The same, on which the device may [say](Events::say) what it does just now, and hears what the others do. While it is there, what is written into
    /// sessions goes over it as well, without a proof for each.
    pub async fn live(&self, cursor: Option<i64>) -> Result<Events, Error> {
        let events = self.stream(cursor, "session:read session:write presence", true).await?;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&events.line));
        drop(lines);
        Ok(events)
    }

    async fn stream(&self, cursor: Option<i64>, scope: &'static str, is_live: bool) -> Result<Events, Error> {
        let broker = &self.servers.broker;
        for attempt in 0..3 {
            let (token, renew_at) = self.token_until(broker, scope, None).await?;
            let url = self.stream_url();
            let proof = self.http.proof(&self.signing, "GET", &url, broker, Some(&token)).await?;
            let query = format!("?volatile={is_live}{}", cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}")));
            let mut request = format!("ws{}{query}", &url["http".len()..]).into_client_request().map_err(|_| Error::Answer("url"))?;
            let headers = request.headers_mut();
            headers.insert("authorization", format!("DPoP {token}").parse().map_err(|_| Error::Answer("token"))?);
            headers.insert("dpop", proof.parse().map_err(|_| Error::Answer("proof"))?);
            match tokio_tungstenite::connect_async(request).await {
                Ok((socket, _)) => return Ok(Events { line: Line::over(socket), cursor, scope, renewal: Renewal::At(renew_at + self.spread()) }),
                Err(tungstenite::Error::Http(answer)) => {
                    let body: serde_json::Value = answer.body().as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
                    let code = body["code"].as_str().unwrap_or("unknown").to_owned();
                    if code == "use_dpop_nonce" && attempt < 2 {
                        let nonce = answer.headers().get("dpop-nonce").and_then(|nonce| nonce.to_str().ok()).unwrap_or_default();
                        self.http.learn_nonce(broker, nonce);
                        continue;
                    }
                    return Err(Error::Refused { status: answer.status().as_u16(), code, body });
                }
                Err(other) => return Err(Error::Transport(other.to_string())),
            }
        }
        Err(Error::Answer("nonce"))
    }

    fn stream_url(&self) -> String {
        format!("{}/v1/events", self.servers.broker)
    }

    /// The newest of its streams that writes go over.
    pub(crate) fn line(&self) -> Option<Arc<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().find_map(Weak::upgrade)
    }

    fn spread(&self) -> i64 {
        i64::from(self.http.entropy().bytes::<1>()[0]) % SPREAD_SECS
    }

    /// Gives a stream another token to go on with; what is known of the next then.
    async fn send_token(&self, line: &Line, scope: &str, nonce: Option<String>) -> Renewal {
        let broker = &self.servers.broker;
        let is_first = nonce.is_none();
        if let Some(nonce) = nonce {
            self.http.learn_nonce(broker, &nonce);
        }
        let sent = async {
            let (token, next) = self.token_until(broker, scope, None).await?;
            // One that ends as soon as the one there is, is none to go on with.
            if next <= self.http.now().secs() {
                return Ok(Renewal::Never);
            }
            let proof = self.http.proof(&self.signing, "GET", &self.stream_url(), broker, Some(&token)).await?;
            line.send(&Said::Renew { token, proof }).await?;
            let next = next + self.spread();
            Ok::<_, Error>(Renewal::Sent { next, is_first, by: self.http.now().secs() + ANSWER_SECS })
        };
        sent.await.unwrap_or(Renewal::At(self.http.now().secs() + AGAIN_SECS))
    }
}

impl Events {
    /// What is to be done for it to go on: at once, or after a while.
    pub(crate) fn due(&self, device: &Arc<Device>) -> Due {
        let now = device.http.now().secs();
        let nonce = match &self.renewal {
            Renewal::At(at) if now < *at => return Due::In(Duration::from_secs((at - now).unsigned_abs())),
            Renewal::Sent { by, .. } if now < *by => return Due::In(Duration::from_secs((by - now).unsigned_abs())),
            Renewal::Sent { .. } => return Due::Over,
            Renewal::Never => return Due::Nothing,
            Renewal::At(_) => None,
            Renewal::Wants(nonce) => Some(nonce.clone()),
        };
        let (device, line, scope) = (device.clone(), self.line.clone(), self.scope);
        Due::Now(Box::pin(async move { device.send_token(&line, scope, nonce).await }))
    }

    /// What is known of the next token from here on.
    pub(crate) fn renewed(&mut self, renewal: Renewal) {
        self.renewal = renewal;
    }
}

/// A renewal under way.
pub(crate) type Renewing = Pin<Box<dyn Future<Output = Renewal> + Send>>;

/// What a stream wants for it to go on.
pub(crate) enum Due {
    /// Another token.
    Now(Renewing),
    /// Nothing before that.
    In(Duration),
    /// Nothing.
    Nothing,
    /// It is broken.
    Over,
}

impl Events {
    /// Ends the stream, so that the device is seen to leave at once.
    pub async fn close(self) {
        self.line.close().await;
    }

    /// Says to whoever listens now what a session's [`volatile`](crate::Session::volatile) sealed. Nobody keeps it, and nobody says that it came; 32 a second
    /// are passed on.
    pub async fn say(&mut self, update: SealedUpdate) -> Result<(), Error> {
        self.saying(update).await
    }

    /// The same, apart from the stream.
    pub(crate) fn saying(&self, update: SealedUpdate) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let line = self.line.clone();
        async move { line.send(&Said::Volatile { update }).await }
    }

    /// The last event that was seen.
    pub fn cursor(&self) -> Option<i64> {
        self.cursor
    }

    /// The next event.
    pub async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Told::Event(event) = self.told().await? {
                return Ok(event);
            }
        }
    }

    /// The next event, or who is there when that changes.
    pub async fn told(&mut self) -> Result<Told, Ended> {
        loop {
            if let Some(told) = self.heard().await? {
                return Ok(told);
            }
        }
    }

    /// What comes next; none when it is for the stream itself.
    pub(crate) async fn heard(&mut self) -> Result<Option<Told>, Ended> {
        Ok(match self.line.next().await? {
            Frame::Event(event) if self.cursor.is_none_or(|cursor| event.seq == cursor + 1) => {
                self.cursor = Some(event.seq);
                Some(Told::Event(event))
            }
            Frame::Presence { devices } => Some(Told::Present(devices)),
            Frame::Volatile { update } => Some(Told::Volatile(update)),
            Frame::Refused { session, code, .. } => Some(Told::Refused { session, code }),
            Frame::Event(event) if self.cursor.is_some_and(|cursor| event.seq <= cursor) => None,
            Frame::Event(_) | Frame::Gap { .. } => return Err(Ended::Gap),
            Frame::Renewed { .. } => {
                if let Renewal::Sent { next, .. } = self.renewal {
                    self.renewal = Renewal::At(next);
                }
                None
            }
            Frame::Unrenewed { nonce, .. } => {
                self.renewal = match (&self.renewal, nonce) {
                    (Renewal::Sent { is_first: true, .. }, Some(nonce)) => Renewal::Wants(nonce),
                    _ => Renewal::Never,
                };
                None
            }
            // Whoever asked went away.
            Frame::Written { .. } | Frame::Unwritten { .. } => None,
        })
    }
}
