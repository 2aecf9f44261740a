//! The connection of a stream. Whoever waits for something on it reads for all: an answer is handed to who asked, the rest is kept for the stream.

use crate::error::Error;
use crate::events::Ended;
use baton_protocol::event::{Frame, MAX_SAID, Said};
use baton_protocol::session::SealedUpdate;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How much may wait for who reads the stream, before nothing more is read for others.
const MOST_UNREAD: usize = 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Source<'a> = tokio::sync::MutexGuard<'a, SplitStream<Socket>>;

pub struct Line {
    sink: tokio::sync::Mutex<SplitSink<Socket, Message>>,
    source: tokio::sync::Mutex<SplitStream<Socket>>,
    /// What was read and nobody has taken yet.
    read: Mutex<VecDeque<Result<Frame, Ended>>>,
    /// Who waits for the answer to an update, by its hash.
    asked: Mutex<HashMap<String, oneshot::Sender<bool>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub fn over(socket: Socket) -> Arc<Self> {
        let (sink, source) = socket.split();
        Arc::new(Self { sink: sink.into(), source: source.into(), read: Mutex::default(), asked: Mutex::default() })
    }

    pub async fn send(&self, said: &Said) -> Result<(), Error> {
        let text = serde_json::to_string(said).map_err(|_| Error::Answer("frame"))?;
        self.send_text(text).await
    }

    async fn send_text(&self, text: String) -> Result<(), Error> {
        self.sink.lock().await.send(Message::Text(text.into())).await.map_err(|why| Error::Transport(why.to_string()))
    }

    pub async fn close(&self) {
        // Whoever does not answer is gone too.
        let _ = self.sink.lock().await.close().await;
    }

    /// The next frame that is no answer to an update.
    pub async fn next(&self) -> Result<Frame, Ended> {
        loop {
            if let Some(frame) = lock(&self.read).pop_front() {
                return frame;
            }
            let source = self.source.lock().await;
            // Whoever read before may have read what is waited for here.
            if lock(&self.read).is_empty() {
                self.read_one(source).await;
            }
        }
    }

    /// Writes an update: true when it is known to stand in its session. What is too long for a stream, not answered or refused is not.
    pub async fn write(&self, update: &SealedUpdate) -> bool {
        let Ok(text) = serde_json::to_string(&Said::Update { update: update.clone() }) else { return false };
        if text.len() > MAX_SAID || lock(&self.read).len() >= MOST_UNREAD {
            return false;
        }
        let (tell, mut told) = oneshot::channel();
        let hash = update.hash();
        lock(&self.asked).insert(hash.clone(), tell);
        let _forgets = Forgets(self, hash);
        if self.send_text(text).await.is_err() {
            return false;
        }
        loop {
            tokio::select! {
                biased;
                stands = &mut told => return stands.unwrap_or(false),
                () = async { self.read_one(self.source.lock().await).await } => {}
            }
        }
    }

    /// Reads one frame for whoever it is meant.
    async fn read_one(&self, mut source: Source<'_>) {
        let frame = match source.next().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(Frame::Written { hash, .. }) => return self.tell(&hash, true),
                Ok(Frame::Unwritten { hash, .. }) => return self.tell(&hash, false),
                Ok(frame) => Ok(frame),
                // Of a later version: passed over.
                Err(_) if is_unknown(&text) => return,
                Err(_) => Err(Ended::Broken),
            },
            Some(Ok(Message::Close(frame))) => Err(frame.map_or(Ended::Broken, |frame| Ended::Closed(frame.code.into()))),
            Some(Ok(_)) => return,
            Some(Err(_)) | None => Err(Ended::Broken),
        };
        if frame.is_err() {
            lock(&self.asked).clear();
        }
        lock(&self.read).push_back(frame);
    }

    fn tell(&self, hash: &str, stands: bool) {
        if let Some(tell) = lock(&self.asked).remove(hash) {
            // Whoever went away asks again.
            let _ = tell.send(stands);
        }
    }
}

/// Whoever goes away is not told.
struct Forgets<'a>(&'a Line, String);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        lock(&self.0.asked).remove(&self.1);
    }
}

/// Whether a frame is of a kind that this version does not know.
fn is_unknown(text: &str) -> bool {
    const KNOWN: [&str; 9] = ["event", "gap", "presence", "volatile", "refused", "written", "unwritten", "renewed", "unrenewed"];
    let frame: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    frame["type"].as_str().is_some_and(|kind| !KNOWN.contains(&kind))
}
