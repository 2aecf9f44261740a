//! The event stream: contiguous, resumable, and loud about gaps.

use crate::device::Device;
use crate::error::Error;
use baton_protocol::event::{Event, Frame, Present, Said};
use baton_protocol::id::SessionId;
use baton_protocol::session::SealedUpdate;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

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
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    cursor: Option<i64>,
}

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

    /// The same, on which the device may [say](Events::say) what it does just now, and hears what the others do.
    pub async fn live(&self, cursor: Option<i64>) -> Result<Events, Error> {
        self.stream(cursor, "session:read session:write presence", true).await
    }

    async fn stream(&self, cursor: Option<i64>, scope: &str, is_live: bool) -> Result<Events, Error> {
        let broker = &self.servers.broker;
        for attempt in 0..3 {
            let token = self.token(broker, scope, None).await?;
            let url = format!("{broker}/v1/events");
            let proof = self.http.proof(&self.signing, "GET", &url, broker, Some(&token)).await?;
            let query = format!("?volatile={is_live}{}", cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}")));
            let mut request = format!("ws{}{query}", &url["http".len()..]).into_client_request().map_err(|_| Error::Answer("url"))?;
            let headers = request.headers_mut();
            headers.insert("authorization", format!("DPoP {token}").parse().map_err(|_| Error::Answer("token"))?);
            headers.insert("dpop", proof.parse().map_err(|_| Error::Answer("proof"))?);
            match tokio_tungstenite::connect_async(request).await {
                Ok((socket, _)) => return Ok(Events { socket, cursor }),
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
}

impl Events {
    /// Ends the stream, so that the device is seen to leave at once.
    pub async fn close(mut self) {
        // Whoever does not answer is gone too.
        let _ = self.socket.close(None).await;
    }

    /// Says to whoever listens now what a session's [`volatile`](crate::Session::volatile) sealed. Nobody keeps it, and nobody says that it came; 32 a second
    /// are passed on.
    pub async fn say(&mut self, update: SealedUpdate) -> Result<(), Error> {
        let text = serde_json::to_string(&Said::Volatile { update }).map_err(|_| Error::Answer("frame"))?;
        self.socket.send(Message::Text(text.into())).await.map_err(|why| Error::Transport(why.to_string()))
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
            let text = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(Ended::Broken, |frame| Ended::Closed(frame.code.into()))),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Err(Ended::Broken),
            };
            match serde_json::from_str(&text) {
                Ok(Frame::Event(event)) if self.cursor.is_none_or(|cursor| event.seq == cursor + 1) => {
                    self.cursor = Some(event.seq);
                    return Ok(Told::Event(event));
                }
                Ok(Frame::Presence { devices }) => return Ok(Told::Present(devices)),
                Ok(Frame::Volatile { update }) => return Ok(Told::Volatile(update)),
                Ok(Frame::Refused { session, code, .. }) => return Ok(Told::Refused { session, code }),
                Ok(Frame::Event(event)) if self.cursor.is_some_and(|cursor| event.seq <= cursor) => {}
                Ok(Frame::Event(_) | Frame::Gap { .. }) => return Err(Ended::Gap),
                // Of a later version: passed over.
                Err(_) if is_unknown(&text) => {}
                Err(_) => return Err(Ended::Broken),
            }
        }
    }
}

/// Whether a frame is of a kind that this version does not know.
fn is_unknown(text: &str) -> bool {
    const KNOWN: [&str; 5] = ["event", "gap", "presence", "volatile", "refused"];
    let frame: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    frame["type"].as_str().is_some_and(|kind| !KNOWN.contains(&kind))
}
