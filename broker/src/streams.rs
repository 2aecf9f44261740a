//! Event streams: the database is the truth, the bell only wakes. A stream ends within a second of its token's or device's end.

use crate::presence::Place;
use crate::routes::presence::others;
use crate::state::Broker;
use crate::store::{events, switches};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use baton_protocol::access_token::AccessToken;
use baton_protocol::event::{Frame, Present};
use baton_protocol::standing::Standing;
use baton_protocol::time::Millis;
use baton_service::guard::check_standing;
use baton_service::problem::Problem;
use baton_service::standing;
use sqlx::AnyConnection;
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
/// Never sent: there is nobody to tell.
const BROKEN: u16 = 1006;

/// How often a stream looks again without being woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a peer may leave a frame unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a peer that says nothing is asked whether it is still there, and how long it may then say nothing: a device that was killed or left
/// the network is gone within 45 s, without a word.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENT: Duration = Duration::from_secs(40);

/// One stream.
pub struct Stream {
    broker: Arc<Broker>,
    token: AccessToken,
    cursor: i64,
    /// Whether the device has the sessions of the others, as it was when `device.switched` was last seen.
    is_member: Option<bool>,
    /// Who was there, and what the device was told of it.
    there: Option<(Vec<Present>, Vec<Present>)>,
}

impl Stream {
    /// For the device of this token, after this event.
    pub fn new(broker: Arc<Broker>, token: AccessToken, cursor: i64) -> Self {
        Self { broker, token, cursor, is_member: None, there: None }
    }

    /// Serves it until it ends.
    pub async fn serve(mut self, mut place: Place, mut socket: WebSocket) {
        let bell = self.broker.bell.listen(&self.token.sub);
        let mut closing = self.broker.closing.subscribe();
        place.told(self.cursor);
        self.broker.bell.ring(&self.token.sub);
        let mut pings = tokio::time::interval(PING_EVERY);
        let silent = tokio::time::sleep(SILENT);
        tokio::pin!(silent);
        let code = loop {
            // Before reading, so that nothing committed in between is missed.
            let woken = bell.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            match self.step(&mut socket).await {
                Ok(true) => {
                    place.told(self.cursor);
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
                () = &mut silent => break BROKEN,
                _ = closing.changed() => break GOING_AWAY,
                message = socket.recv() => match message {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => silent.as_mut().reset(tokio::time::Instant::now() + SILENT),
                    Some(Ok(Message::Close(_))) => {
                        place.leave();
                        break BROKEN;
                    }
                    Some(Err(_)) | None => break BROKEN,
                    // Nothing else is spoken on this stream.
                    Some(Ok(_)) => break 1008,
                }
            }
        };
        if code == REVOKED {
            place.leave();
        }
        if code != BROKEN {
            let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
            let _ = tokio::time::timeout(SEND_TIMEOUT, socket.send(close)).await;
        }
        drop(place);
        // The others look whether it has gone.
        self.broker.bell.ring(&self.token.sub);
    }

    /// Sends what is new. True when there may be more at once.
    async fn step(&mut self, socket: &mut WebSocket) -> Result<bool, u16> {
        let Self { broker, token, .. } = &*self;
        let standing = check(broker, token).await?;
        let mut db = broker.base.db.reader().acquire().await.map_err(|_| INTERNAL)?;
        let new = events::after(&mut db, &token.sub, self.cursor).await.map_err(|_| INTERNAL)?;
        let switched = new.iter().any(|row| row.kind == "device.switched");
        let is_member = match self.is_member {
            Some(known) if !switched => known,
            _ => switches::is_member(&mut db, &standing).await.map_err(|_| INTERNAL)?,
        };
        let there = self.look_around(&mut db, switched, is_member).await.map_err(|_| INTERNAL)?;
        drop(db);
        self.is_member = Some(is_member);
        let more = !new.is_empty();
        let mut checked_at = self.broker.base.now();
        for row in new {
            let now = self.broker.base.now();
            if now.0 - checked_at.0 >= 1000 || Millis::from_secs(self.token.exp) <= now {
                check(&self.broker, &self.token).await?;
                checked_at = now;
            }
            let event = row.shown(&standing.device, is_member);
            self.cursor = event.seq;
            send(socket, &Frame::Event(event)).await?;
        }
        if let Some((raw, devices)) = there {
            let news = self.there.as_ref().is_none_or(|(_, told)| *told != devices);
            self.there = Some((raw, devices.clone()));
            if news {
                send(socket, &Frame::Presence { devices }).await?;
            }
        }
        Ok(more)
    }

    /// Who is there, where that may have changed and the device may know.
    async fn look_around(
        &self,
        db: &mut AnyConnection,
        switched: bool,
        is_member: bool,
    ) -> Result<Option<(Vec<Present>, Vec<Present>)>, sqlx::Error> {
        if !self.token.has_scope("presence") {
            return Ok(None);
        }
        let raw: Vec<_> = self.broker.presence.of(&self.token.sub).into_iter().map(|seen| seen.present).collect();
        if !switched && self.there.as_ref().is_some_and(|(known, _)| *known == raw) {
            return Ok(None);
        }
        let devices = if is_member { others(&self.broker, db, &self.token.sub, self.token.device.as_str()).await? } else { Vec::new() };
        Ok(Some((raw, devices)))
    }
}

/// Whether the stream's token still opens anything.
async fn check(broker: &Broker, token: &AccessToken) -> Result<Standing, u16> {
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
    check_standing(token, &standing, now).map_err(|_| EXPIRED)?;
    Ok(standing)
}

/// Sends one frame, or gives up on a peer that does not read.
pub async fn send(socket: &mut WebSocket, frame: &Frame) -> Result<(), u16> {
    let text = serde_json::to_string(frame).map_err(|_| INTERNAL)?;
    match tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Text(text.into()))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(TOO_SLOW),
    }
}
