//! Handoffs up to acceptance: request, offer, look, accept, decline, cancel.

use super::acting::{Acting, Ask, refused};
use crate::state::Broker;
use crate::store::{events, handoffs, sessions};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use baton_protocol::handoff::machine::{Act, Declining, Handoff as Machine, Reason, State as MachineState, Target};
use baton_protocol::handoff::wire::{Offer, accept_data, offer_data};
use baton_protocol::id::{HandoffId, SessionId};
use baton_protocol::key::Did;
use baton_protocol::refusal::Handoff;
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A handoff with its session, both held; sessions are always locked first.
pub struct Held {
    /// The session.
    pub session: sessions::Session,
    /// The row.
    pub row: handoffs::Row,
    /// Its state at this instant.
    pub machine: Machine,
    /// Its offer, once there is one.
    pub offer: Option<Offer>,
}

/// Finds a handoff that this device may see.
pub async fn held(acting: &mut Acting<'_>, id: &str) -> Result<Held, Problem> {
    let id = HandoffId::parse(id)?;
    let log = acting.log().to_owned();
    let row = handoffs::find(&mut acting.tx, id.as_str(), &log).await.internal()?.ok_or(NOT_FOUND)?;
    let me = acting.device().clone();
    let concerned = row.machine().is_some_and(|machine| machine.concerns(&me));
    if !concerned && !acting.is_member().await? {
        return Err(NOT_FOUND.into());
    }
    let session_id = SessionId::parse(&row.session_id)?;
    if !acting.allows(session_id.as_str()) {
        return Err(Handoff::Binding.into());
    }
    let mut session = sessions::hold(&mut acting.tx, &session_id, &log).await.internal()?.ok_or(NOT_FOUND)?;
    acting.settle(&mut session).await?;
    let row = handoffs::hold(&mut acting.tx, id.as_str(), &log).await.internal()?.ok_or(NOT_FOUND)?;
    let machine = row.machine().ok_or_else(|| Problem::Internal("stored handoff does not parse".into()))?;
    let offer = row.offer().map(Offer::read).transpose()?.map(|(offer, _)| offer);
    Ok(Held { session, row, machine, offer })
}

/// A handoff as its parties see it.
pub fn view(row: &handoffs::Row, machine: &Machine) -> Value {
    let (by, until) = match &machine.state {
        MachineState::Requested { until } | MachineState::Offered { until } => (None, Some(until)),
        MachineState::Accepted { by, until } => (Some(by), Some(until)),
        MachineState::Sealed { by, reclaim_at, .. } => (Some(by), Some(reclaim_at)),
        MachineState::Completed { by } => (Some(by), None),
        MachineState::Ended { .. } => (None, None),
    };
    let release = if let MachineState::Sealed { release, .. } = &machine.state { Some(release) } else { None };
    json!({"handoff": row.handoff_id, "session": row.session_id, "state": machine.state.name(), "epoch": machine.epoch, "from": machine.from, "to": machine.to,
        "by": by, "until": until, "reason": machine.state.reason(), "release": release, "offer": row.offer(), "presentation": row.presentation})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    handoff: HandoffId,
}

/// `POST /v1/sessions/{id}/request`: a full device asks who holds the session for it. Nothing moves before the holder offers it.
pub async fn request(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
    ask: Ask,
    content: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (mut acting, Request { handoff }) = Acting::begin_full(&broker, &ask, "handoff:accept", content, edge::MAX_BODY).await?;
    let id = SessionId::parse(&id)?;
    let session = acting.session(&id).await?;
    acting.needs_member(&session).await?;
    let (log, me) = (acting.log().to_owned(), acting.device().clone());
    if let Some(row) = handoffs::find(&mut acting.tx, handoff.as_str(), &log).await.internal()? {
        let own = |machine: &Machine| machine.to == Target::Device(me.clone()) && row.session_id == id.as_str();
        let machine = row.machine().filter(own).ok_or(Handoff::Exists)?;
        acting.commit().await?;
        return Ok((StatusCode::CREATED, Json(view(&row, &machine))));
    }
    let holder = session.seat().may_request(&me, acting.leases_now())?;
    let machine = Machine::request(me, holder, session.epoch, acting.now);
    let new = handoffs::New { handoff: &handoff, session: &id, offer: None, machine: &machine };
    begin(&mut acting, &new).await?;
    finish(acting, handoff.as_str()).await.map(|shown| (StatusCode::CREATED, shown))
}

/// Writes a new handoff, under way from here on.
async fn begin(acting: &mut Acting<'_>, new: &handoffs::New<'_>) -> Result<(), Problem> {
    let log = acting.log().to_owned();
    if !handoffs::create(&mut acting.tx, new, &log, acting.now).await.internal()? {
        return Err(Handoff::Exists.into());
    }
    if !sessions::set_handoff(&mut acting.tx, new.session.as_str(), None, Some(new.handoff.as_str())).await.internal()? {
        return Err(Handoff::State.into());
    }
    note(acting, new.session.as_str(), new.handoff.as_str(), new.machine).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOffer {
    offer: String,
    presentation: Option<String>,
}

/// `POST /v1/handoffs`: the holder offers, or agrees to a request by an offer of the same id. The same offer twice gives the same answer.
pub async fn offer(State(broker): State<Arc<Broker>>, ask: Ask, content: Body) -> Result<(StatusCode, Json<Value>), Problem> {
    let (mut acting, new) = Acting::begin_with::<NewOffer>(&broker, &ask, "handoff:offer", content, edge::MAX_BODY).await?;
    let (offer, hash) = Offer::read(&new.offer)?;
    if offer.from != *acting.device() {
        return Err(Handoff::Binding.into());
    }
    let session = acting.session(&offer.session).await?;
    let log = acting.log().to_owned();
    // Held by its session, if it is this one; of another session's nothing is held.
    let known = handoffs::find(&mut acting.tx, offer.handoff.as_str(), &log).await.internal()?;
    let known = known.and_then(|row| row.machine().map(|machine| (row, machine)));
    let asked = match known {
        Some((row, machine)) if row.offer_hash == hash => {
            acting.commit().await?;
            return Ok((StatusCode::CREATED, Json(view(&row, &machine))));
        }
        Some((row, machine)) if row.offer().is_none() && row.session_id == offer.session.as_str() => Some((row, machine)),
        Some(_) => return Err(Handoff::Exists.into()),
        None => None,
    };
    acting.present(new.presentation.as_deref(), None, &[offer_data(&hash)]).await?;
    session.seat().may_offer(acting.device(), offer.epoch).map_err(refused(&session))?;
    for target in offer.to.named() {
        let standing = baton_service::standing::look(&mut acting.tx, target).await.internal()?;
        let live = standing.is_some_and(|s| s.log == log && baton_service::standing::is_live(&s, acting.now));
        // To itself it hands nothing.
        if !live || target == acting.device() {
            return Err(Handoff::Target.into());
        }
    }
    let signed = (new.offer.as_str(), hash.as_str());
    if let Some((row, machine)) = asked {
        if machine.to != offer.to || machine.epoch != offer.epoch {
            return Err(Handoff::Target.into());
        }
        let (next, _) = machine.apply(&acting.by().await?, Act::Offer, acting.now)?;
        if !handoffs::agree(&mut acting.tx, &row, &next, signed).await.internal()? {
            return Err(Handoff::State.into());
        }
        note(&mut acting, &session.session_id, &row.handoff_id, &next).await?;
    } else {
        // Whoever asked for it is answered with that.
        if !handoffs::drop_request(&mut acting.tx, &session, Reason::Elsewhere, acting.now).await.internal()? {
            return Err(Handoff::State.into());
        }
        let machine = Machine::offer(offer.from.clone(), offer.epoch, offer.to.clone(), acting.now);
        begin(&mut acting, &handoffs::New { handoff: &offer.handoff, session: &offer.session, offer: Some(signed), machine: &machine }).await?;
    }
    finish(acting, offer.handoff.as_str()).await.map(|shown| (StatusCode::CREATED, shown))
}

/// One event for where the handoff went.
pub async fn note(acting: &mut Acting<'_>, session: &str, handoff: &str, machine: &Machine) -> Result<(), Problem> {
    let kind = format!("handoff.{}", machine.state.name());
    // An event names two devices at most: of several that are asked each two are told by one of their own.
    if let (MachineState::Offered { .. }, Target::AnyOf(several)) = (&machine.state, &machine.to) {
        for two in several.chunks(2) {
            let devices = [two.first().map(Did::as_str), two.get(1).map(Did::as_str)];
            acting.event(&events::New { kind: &kind, session: Some(session), handoff: Some(handoff), devices }).await?;
        }
        return Ok(());
    }
    let devices = [Some(machine.from.as_str()), machine.other().map(Did::as_str)];
    acting.event(&events::New { kind: &kind, session: Some(session), handoff: Some(handoff), devices }).await
}

/// `GET /v1/handoffs`: those under way that concern this device.
pub async fn list(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let log = acting.log().to_owned();
    let member = acting.is_member().await?;
    let mut shown = Vec::new();
    for row in handoffs::open(&mut acting.tx, &log).await.internal()? {
        let Some(machine) = row.machine().map(|machine| machine.at(acting.now)) else { continue };
        let concerned = machine.concerns(acting.device());
        if acting.allows(&row.session_id) && (member || concerned) && !machine.state.is_over() {
            shown.push(view(&row, &machine));
        }
    }
    acting.commit().await?;
    Ok(Json(json!({"handoffs": shown})))
}

/// `GET /v1/handoffs/{id}`
pub async fn show(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let held = held(&mut acting, &id).await?;
    acting.commit().await?;
    Ok(Json(view(&held.row, &held.machine)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    presentation: Option<String>,
}

/// `POST /v1/handoffs/{id}/accept`: token, and a presentation with the offer's challenge over this very handoff.
pub async fn accept(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (mut acting, accept) = Acting::begin_with::<Accept>(&broker, &ask, "handoff:accept", content, edge::MAX_BODY).await?;
    let held = held(&mut acting, &id).await?;
    if matches!(held.machine.state, MachineState::Offered { .. }) {
        let source = baton_service::standing::look(&mut acting.tx, &held.machine.from).await.internal()?;
        if !source.is_some_and(|source| baton_service::standing::is_live(&source, acting.now)) {
            return Err(Handoff::OfferVoid.into());
        }
    }
    // Who it is for is asked before what they show: a chosen device learns nothing new, another one nothing at all.
    let (next, _) = held.machine.clone().apply(&acting.by().await?, Act::Accept, acting.now)?;
    let offer = held.offer.as_ref().ok_or(Handoff::State)?;
    let data = accept_data(offer, &held.row.offer_hash, acting.device(), &acting.caller.token.cnf.jkt);
    acting.present(accept.presentation.as_deref(), Some(&offer.challenge), &[data]).await?;
    if next != held.machine {
        step(&mut acting, &held, &next, accept.presentation.as_deref()).await?;
    }
    finish(acting, &held.row.handoff_id).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decline {
    #[serde(default)]
    reason: Declining,
}

/// `POST /v1/handoffs/{id}/decline`: with a reason that the person at the other device is told.
pub async fn decline(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (acting, Decline { reason: why }) = Acting::begin_with(&broker, &ask, "handoff:accept", content, edge::MAX_BODY).await?;
    end(acting, &id, Act::Decline { why }).await
}

/// `POST /v1/handoffs/{id}/cancel`
pub async fn cancel(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask) -> Result<Json<Value>, Problem> {
    let acting = Acting::begin(&broker, &ask, "handoff:offer").await?;
    end(acting, &id, Act::Cancel).await
}

async fn end(mut acting: Acting<'_>, id: &str, act: Act) -> Result<Json<Value>, Problem> {
    let held = held(&mut acting, id).await?;
    let (next, _) = held.machine.clone().apply(&acting.by().await?, act, acting.now)?;
    if next != held.machine {
        step(&mut acting, &held, &next, None).await?;
        sessions::set_handoff(&mut acting.tx, &held.session.session_id, Some(&held.row.handoff_id), None).await.internal()?;
    }
    finish(acting, &held.row.handoff_id).await
}

/// Writes the handoff's next state and its event.
pub async fn step(acting: &mut Acting<'_>, held: &Held, next: &Machine, presentation: Option<&str>) -> Result<(), Problem> {
    if !handoffs::step(&mut acting.tx, &held.row, next, presentation).await.internal()? {
        return Err(Handoff::State.into());
    }
    note(acting, &held.session.session_id, &held.row.handoff_id, next).await
}

async fn finish(mut acting: Acting<'_>, id: &str) -> Result<Json<Value>, Problem> {
    let log = acting.log().to_owned();
    let row = handoffs::find(&mut acting.tx, id, &log).await.internal()?.ok_or(NOT_FOUND)?;
    let machine = row.machine().ok_or(NOT_FOUND)?;
    acting.commit().await?;
    Ok(Json(view(&row, &machine)))
}
