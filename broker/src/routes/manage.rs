//! The pages look after a person's sessions: list, end, and ask the holder to hand over. They open nothing (docs/protocol.md §11).

use super::acting::{Ask, live, session_id, view};
use crate::presence::Seen;
use crate::state::Broker;
use crate::store::{events, everything, handoffs, sessions, switches};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_protocol::handoff::machine::{Handoff as Machine, Reason, State as MachineState, Target};
use baton_protocol::key::Did;
use baton_protocol::refusal::{Handoff, Input, Token};
use baton_protocol::time::Millis;
use baton_service::edge;
use baton_service::extract::{Path, Query};
use baton_service::guard;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use baton_service::standing;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, Transaction};
use std::sync::Arc;

struct Managing<'a> {
    broker: &'a Broker,
    tx: Transaction<'static, Any>,
    log: String,
    ends: bool,
    now: Millis,
}

impl<'a> Managing<'a> {
    async fn begin(broker: &'a Broker, ask: &Ask) -> Result<Self, Problem> {
        let mut tx = broker.base.db.begin().await.internal()?;
        let token = guard::manager(&broker.base, &broker.pages, &ask.headers, (ask.method.as_str(), ask.uri.path()), &mut tx).await?;
        Ok(Self { broker, tx, log: token.sub, ends: token.ends, now: broker.base.now() })
    }

    /// A session of this person, held.
    async fn session(&mut self, id: &str) -> Result<sessions::Session, Problem> {
        Ok(sessions::hold(&mut self.tx, &session_id(id)?, &self.log).await.internal()?.ok_or(NOT_FOUND)?)
    }

    /// A live device of this person, held: whoever seals to it waits, or has finished.
    async fn device(&mut self, device: &Did) -> Result<(), Problem> {
        let standing = standing::find_for_change(&mut self.tx, device).await.internal()?;
        standing.filter(|standing| standing.log == self.log && standing.revoked_at.is_none()).map(|_| ()).ok_or(NOT_FOUND.into())
    }

    /// Keeps the sessions it does not hold from a device: what it took as one of the full ones is void, and its keys are good no more. Gives which.
    async fn keep_away(&mut self, device: &Did) -> Result<Vec<String>, Problem> {
        let held = sessions::live_of_log(&mut self.tx, &self.log).await.internal()?;
        let away: Vec<_> = held.into_iter().filter(|session| !session.is_held_by(device)).map(|session| session.session_id).collect();
        for session in &away {
            sessions::require_rekey(&mut self.tx, session, self.now).await.internal()?;
        }
        for row in handoffs::of_live_sessions(&mut self.tx, &self.log).await.internal()? {
            let taken = |machine: &Machine| match &machine.state {
                MachineState::Accepted { by, .. } => machine.to == Target::AnyFull && by == device,
                MachineState::Requested { .. } => machine.to == Target::Device(device.clone()),
                _ => false,
            };
            if row.machine().is_some_and(|machine| taken(&machine)) {
                handoffs::make_void(&mut self.tx, &row, Reason::NotSynced, &self.log, self.now).await.internal()?;
            }
        }
        Ok(away)
    }

    async fn event(&mut self, kind: &str, session: &sessions::Session) -> Result<(), Problem> {
        let new = events::New { kind, session: Some(&session.session_id), devices: [session.holder.as_deref(), None], ..Default::default() };
        events::append(&mut self.tx, &self.log, &new, self.now).await.internal()
    }

    async fn commit(self) -> Result<(), Problem> {
        self.tx.commit().await.internal()?;
        self.broker.bell.ring(&self.log);
        Ok(())
    }
}

/// `GET /v1/manage/sessions`: what runs, and which devices are there, each with whether it has been told everything.
pub async fn list(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut managing = Managing::begin(&broker, &ask).await?;
    let rows = sessions::list(&mut managing.tx, &managing.log).await.internal()?;
    let shown: Vec<_> = rows.iter().map(|session| view(session, broker.leases_now(managing.now))).collect();
    let (_, last) = events::range(&mut managing.tx, &managing.log).await.internal()?;
    let there = broker.presence.of(&managing.log).into_iter();
    let there: Vec<_> = there
        .map(
            |Seen { present, told }| json!({"device": present.device, "in_sync": told >= last, "status": present.status, "session": present.session}),
        )
        .collect();
    managing.commit().await?;
    Ok(Json(json!({"sessions": shown, "there": there})))
}

/// Which page of the history.
#[derive(Deserialize)]
pub struct Page {
    /// Handoffs that began before this time.
    before: Option<i64>,
}

/// `GET /v1/manage/handoffs`: what was handed from where to where, and how it ended, newest first.
pub async fn history(State(broker): State<Arc<Broker>>, Query(page): Query<Page>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut managing = Managing::begin(&broker, &ask).await?;
    let rows = handoffs::history(&mut managing.tx, &managing.log, page.before.unwrap_or(i64::MAX)).await.internal()?;
    let now = managing.now;
    managing.commit().await?;
    Ok(Json(json!({"handoffs": rows.iter().filter_map(|row| past(row, now)).collect::<Vec<_>>()})))
}

/// A handoff as its person looks back on it. Nobody took it yet, or it is for any full device: `to` is nobody.
fn past(row: &handoffs::Past, now: Millis) -> Option<Value> {
    let machine = row.machine(now)?;
    Some(json!({"handoff": row.handoff_id, "session": row.session_id, "state": machine.state.name(), "reason": machine.state.reason(),
        "from": machine.from, "to": machine.other(), "at": row.created_at}))
}

/// `GET /v1/manage/export`: everything the broker keeps of this person in this app, for them to take along, as long as they were there just before.
/// What is sealed is counted, not given: only their devices could read it, and they have it.
pub async fn export(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let managing = Managing::begin(&broker, &ask).await?;
    if !managing.ends {
        return Err(Token::Scope.into());
    }
    let log = managing.log.clone();
    managing.commit().await?;
    // Nobody's writes wait while somebody reads at length.
    let mut db = broker.base.db.reader().acquire().await.internal()?;
    let kept = everything::sessions(&mut db, &log).await.internal()?;
    let handed = handoffs::newest(&mut db, &log, everything::MAX_ROWS).await.internal()?;
    let happened = everything::events(&mut db, &log).await.internal()?;
    let switches = off(&mut db, &log).await?;
    drop(db);
    let sessions: Vec<_> = kept
        .iter()
        .map(|row| {
            json!({"session": row.session_id, "state": row.state, "epoch": row.epoch, "holder": row.holder, "created_at": row.created_at,
                "ended_at": row.ended_at, "updates": row.updates, "branches": row.branches})
        })
        .collect();
    let events: Vec<_> = happened
        .iter()
        .map(|row| {
            let devices: Vec<_> = [&row.device_a, &row.device_b].into_iter().flatten().collect();
            json!({"seq": row.seq, "at": row.at, "kind": row.kind, "session": row.session_id, "handoff": row.handoff_id, "devices": devices})
        })
        .collect();
    let now = broker.base.now();
    let handoffs: Vec<_> = handed.iter().filter_map(|row| past(row, now)).collect();
    Ok(Json(json!({"sessions": sessions, "handoffs": handoffs, "events": events, "devices": switches})))
}

/// `POST /v1/manage/sessions/{id}/end`: for good. While a handoff is under way that was offered it is refused: that ends by itself within two minutes.
pub async fn end(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut managing = Managing::begin(&broker, &ask).await?;
    if !managing.ends {
        return Err(Token::Scope.into());
    }
    let session = managing.session(&id).await?;
    if !handoffs::drop_request(&mut managing.tx, &session, Reason::Ended, managing.now).await.internal()? {
        return Err(Handoff::State.into());
    }
    if sessions::end(&mut managing.tx, &session.session_id, managing.now).await.internal()? {
        managing.event("session.ended", &session).await?;
    }
    managing.commit().await?;
    Ok(Json(json!({"phase": "ended"})))
}

/// `POST /v1/manage/sessions/{id}/ask`: tells the holder that its person would like the session elsewhere. It is the holder who offers.
pub async fn ask(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut managing = Managing::begin(&broker, &ask).await?;
    let session = managing.session(&id).await?;
    live(&session)?;
    if session.holder.is_none() {
        return Err(Handoff::State.into());
    }
    managing.event("session.asked", &session).await?;
    managing.commit().await?;
    Ok(Json(json!({"state": "asked"})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unfollow {
    device: Did,
}

/// `POST /v1/manage/sessions/{id}/unfollow`: a device that has another's session in front is to put it away. Its app does, and until it says so anew
/// the others do not see it there.
pub async fn unfollow(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let bytes = edge::bytes(content, edge::MAX_BODY).await?;
    let mut managing = Managing::begin(&broker, &ask).await?;
    let Unfollow { device } = edge::json(&bytes)?;
    managing.device(&device).await?;
    let session = managing.session(&id).await?;
    live(&session)?;
    if session.is_held_by(&device) {
        return Err(Handoff::State.into());
    }
    // Asked twice, it is told once.
    let log = managing.log.clone();
    if broker.presence.has_in_front(&log, device.as_str(), &session.session_id) {
        let new = events::New {
            kind: "session.unfollow",
            session: Some(&session.session_id),
            devices: [Some(device.as_str()), None],
            ..Default::default()
        };
        events::append(&mut managing.tx, &managing.log, &new, managing.now).await.internal()?;
    }
    managing.commit().await?;
    broker.presence.unfocus(&log, device.as_str(), &session.session_id);
    broker.bell.ring(&log);
    Ok(Json(json!({"state": "asked"})))
}

/// `GET /v1/manage/devices`: what is switched off for which device; what is not named is on.
pub async fn devices(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut managing = Managing::begin(&broker, &ask).await?;
    let shown = off(&mut managing.tx, &managing.log).await?;
    managing.commit().await?;
    Ok(Json(json!({"devices": shown})))
}

async fn off(db: &mut AnyConnection, log: &str) -> Result<Vec<Value>, Problem> {
    let mut off: Vec<_> = switches::of_log(db, log).await.internal()?.into_iter().collect();
    off.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(off.iter().map(|(device, switches)| json!({"device": device, "switches": switches})).collect())
}

/// `POST /v1/manage/devices/{device}/switches`: for one device of this person. Without sync, the keys it has open nothing that is written from now on;
/// to give it back, or to let it do more unasked, the person is there. The same again changes nothing.
pub async fn switch(State(broker): State<Arc<Broker>>, Path(device): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let bytes = edge::bytes(content, edge::MAX_BODY).await?;
    let mut managing = Managing::begin(&broker, &ask).await?;
    let change: switches::Change = edge::json(&bytes)?;
    let device = Did::parse(&device).map_err(|_| Input::Id)?;
    managing.device(&device).await?;
    let (before, after) = switches::set(&mut managing.tx, &managing.log, &device, change, managing.now).await.internal()?;
    if after.allows_more_than(before) && !managing.ends {
        return Err(Token::Scope.into());
    }
    let mut away = Vec::new();
    if before.sync && !after.sync {
        away = managing.keep_away(&device).await?;
    }
    if after != before {
        let new = events::New { kind: "device.switched", devices: [Some(device.as_str()), None], ..Default::default() };
        events::append(&mut managing.tx, &managing.log, &new, managing.now).await.internal()?;
    }
    let log = managing.log.clone();
    managing.commit().await?;
    for session in away {
        broker.presence.unfocus(&log, device.as_str(), &session);
    }
    broker.bell.ring(&log);
    Ok(Json(json!({"switches": after})))
}
