//! Event streams: the database is the truth, the bell only wakes. A stream ends within a second of its token's or device's end.

use crate::presence::Place;
use crate::state::Broker;
use crate::store::events;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use baton_protocol::access_token::AccessToken;
use baton_protocol::credential::Tier;
use baton_protocol::event::Frame;
use baton_protocol::time::Millis;
use baton_service::guard::check_standing;
use baton_service::problem::Problem;
use baton_service::standing;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Wakes the streams of a subject.
#[derive(Default)]
pub struct Bell(Mutex<HashMap<String, Weak<Notify>>>);

impl Bell {
    /// Something was committed for this subject.
    pub fn ring(&self, log: &str) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(log).and_then(Weak::upgrade);
        if let Some(waiting) = waiting {
            waiting.notify_waiters();
        }
    }
    fn listen(&self, log: &str) -> Arc<Notify> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(log).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, waiting| waiting.strong_count() > 0);
        let fresh = Arc::new(Notify::new());
        all.insert(log.to_owned(), Arc::downgrade(&fresh));
        fresh
    }
}

/// Close codes of attacks.md.
const EXPIRED: u16 = 4401;
const REVOKED: u16 = 4403;
const GOING_AWAY: u16 = 1001;
const TOO_SLOW: u16 = 1013;
const INTERNAL: u16 = 1011;

/// How often a stream looks again without being woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a peer may leave a frame unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a peer that says nothing is asked whether it is still there, and how long it may then say nothing: a device that was killed or left
/// the network is gone within 45 s, without a word.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENT: Duration = Duration::from_secs(40);

/// Serves one stream until it ends.
pub async fn serve(broker: Arc<Broker>, token: AccessToken, place: &Place, cursor: i64, mut socket: WebSocket) {
    let bell = broker.bell.listen(&token.sub);
    let mut closing = broker.closing.subscribe();
    let mut cursor = cursor;
    place.told(cursor);
    let mut pings = tokio::time::interval(PING_EVERY);
    let silent = tokio::time::sleep(SILENT);
    tokio::pin!(silent);
    let code = loop {
        // Before reading, so that nothing committed in between is missed.
        let woken = bell.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        match step(&broker, &token, &mut cursor, &mut socket).await {
            Ok(true) => {
                place.told(cursor);
                continue;
            }
            Ok(false) => {}
            Err(code) => break code,
        }
        tokio::select! {
            () = &mut woken => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = pings.tick() => {
                if tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Ping(Vec::new().into()))).await.is_err() {
                    break TOO_SLOW;
                }
            }
            () = &mut silent => return,
            _ = closing.changed() => break GOING_AWAY,
            message = socket.recv() => match message {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => silent.as_mut().reset(tokio::time::Instant::now() + SILENT),
                // Nothing else is spoken on this stream.
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => break 1008,
            }
        }
    };
    let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    let _ = tokio::time::timeout(SEND_TIMEOUT, socket.send(close)).await;
}

/// Sends what is new. True when there may be more at once.
async fn step(broker: &Broker, token: &AccessToken, cursor: &mut i64, socket: &mut WebSocket) -> Result<bool, u16> {
    check(broker, token).await?;
    let mut db = broker.base.db.reader().acquire().await.map_err(|_| INTERNAL)?;
    let limited = (token.tier == Tier::Limited).then_some(&token.device);
    let new = events::after(&mut db, &token.sub, *cursor, limited).await.map_err(|_| INTERNAL)?;
    drop(db);
    let more = !new.is_empty();
    let mut checked_at = broker.base.now();
    for event in new {
        let now = broker.base.now();
        if now.0 - checked_at.0 >= 1000 || Millis::from_secs(token.exp) <= now {
            check(broker, token).await?;
            checked_at = now;
        }
        *cursor = event.seq;
        send(socket, &Frame::Event(event)).await?;
    }
    Ok(more)
}

/// Whether the stream's token still opens anything.
async fn check(broker: &Broker, token: &AccessToken) -> Result<(), u16> {
    let now = broker.base.now();
    if Millis::from_secs(token.exp) <= now {
        return Err(EXPIRED);
    }
    let mut db = broker.base.db.reader().acquire().await.map_err(|_| INTERNAL)?;
    broker.freshness.check(now).map_err(|_: Problem| TOO_SLOW)?;
    let standing = standing::look(&mut db, &token.device).await.map_err(|_| INTERNAL)?.ok_or(REVOKED)?;
    if !standing::is_live(&standing, now) {
        return Err(REVOKED);
    }
    check_standing(token, &standing, now).map_err(|_| EXPIRED)
}

/// Sends one frame, or gives up on a peer that does not read.
pub async fn send(socket: &mut WebSocket, frame: &Frame) -> Result<(), u16> {
    let text = serde_json::to_string(frame).map_err(|_| INTERNAL)?;
    match tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Text(text.into()))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(TOO_SLOW),
    }
}
