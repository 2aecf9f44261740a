//! What a stream tells: events after its cursor and who is there, to whom that is for.

use super::bell::RungAt;
use super::{EXPIRED, INTERNAL, REVOKED, Socket, Stream, TOO_SLOW, send};
use crate::routes::presence::others;
use crate::state::Broker;
use crate::store::events::Row;
use crate::store::{events, switches};
use baton_protocol::access_token::AccessToken;
use baton_protocol::event::{Frame, Present};
use baton_protocol::standing::Standing;
use baton_protocol::time::Millis;
use baton_service::guard::check_standing;
use baton_service::problem::Problem;
use baton_service::standing;
use sqlx::AnyConnection;

impl Stream {
    /// What is new, where that is remembered and all else is as it was when it was last looked at, a second ago at most.
    pub(super) fn news(&self, bell: &RungAt) -> Option<Vec<Row>> {
        let (checked_at, rings) = self.checked;
        let age = self.broker.base.now().0.saturating_sub(checked_at.0);
        if bell.rings() == rings && (0..1000).contains(&age) { bell.news(self.cursor) } else { None }
    }

    /// As its device is told of it.
    pub(super) fn frames(&mut self, news: Vec<Row>) -> Vec<Frame> {
        let shown = |row: Row| {
            let event = row.shown(&self.token.device, self.is_member == Some(true));
            self.cursor = event.seq;
            Frame::Event(event)
        };
        news.into_iter().map(shown).collect()
    }

    /// Sends what is new. True when there may be more at once.
    pub(super) async fn step(&mut self, socket: &mut Socket) -> Result<bool, u16> {
        let looked_at = self.broker.base.now();
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
        socket.get_ref().line().hear(is_member);
        self.grant_until = standing.grant_until;
        // What was committed since has rung.
        let more = new.len() == events::PAGE;
        self.checked.0 = looked_at;
        let mut frames = self.frames(new);
        if let Some((raw, devices)) = there {
            if self.there.as_ref().is_none_or(|(_, told)| *told != devices) {
                frames.push(Frame::Presence { devices: devices.clone() });
            }
            self.there = Some((raw, devices));
        }
        send(socket, &frames).await?;
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
pub(super) async fn check(broker: &Broker, token: &AccessToken) -> Result<Standing, u16> {
    let mut db = broker.base.db.reader().acquire().await.map_err(|_| INTERNAL)?;
    // The time at which it is looked: a connection may have been long in coming, and the news are newer than before.
    let now = broker.base.now();
    if Millis::from_secs(token.exp) <= now {
        return Err(EXPIRED);
    }
    broker.freshness.check(now).map_err(|_: Problem| TOO_SLOW)?;
    let standing = standing::look(&mut db, &token.device).await.map_err(|_| INTERNAL)?.ok_or(REVOKED)?;
    if !standing::is_live(&standing, now) {
        return Err(REVOKED);
    }
    check_standing(token, &standing, now).map_err(|_| EXPIRED)?;
    Ok(standing)
}
