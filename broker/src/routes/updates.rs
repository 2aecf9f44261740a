//! Sealed updates: written by the holder at the present epoch, in order, under the present key; acknowledged once durable.

use super::acting::{Acting, Ask, refused, session_id};
use crate::state::Broker;
use crate::store::{compaction, events, updates};
use crate::writer;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_protocol::refusal::State as StateRefusal;
use baton_protocol::said;
use baton_protocol::session::{Kind, SealedUpdate};
use baton_service::edge;
use baton_service::extract::{Path, Query};
use baton_service::guard::Candidate;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// `POST /v1/sessions/{id}/updates`
pub async fn append(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (candidate, bytes) = Acting::read(&broker, &ask, "session:write", content, edge::MAX_STATE_BODY).await?;
    let update = said::plain(&bytes).map_or_else(|| edge::json::<Value>(&bytes).and_then(|value| Ok(said::lasting(value)?)), Ok);
    match update {
        Ok(update) if update.place.session.as_str() == id => {
            write(&broker, candidate, &update).await?;
            Ok(Json(json!({"seq": update.place.seq, "hash": update.hash()})))
        }
        // Whatever is not plainly right is decided by itself: who asks comes before what they ask.
        other => {
            let mut acting = Acting::admit(&broker, candidate, "session:write").await?;
            other?;
            acting.session(&session_id(&id)?).await?;
            Err(StateRefusal::NotEncrypted.into())
        }
    }
}

/// Writes an update into the session it names: with those of others, or by itself, where it is decided what is wrong with it. False when it stood there.
pub async fn write(broker: &Arc<Broker>, candidate: Candidate, update: &SealedUpdate) -> Result<bool, Problem> {
    let candidate = match writer::append(broker, candidate, update).await {
        Ok(written) => return written.map(|()| true),
        Err(candidate) => *candidate,
    };
    let mut acting = Acting::admit(broker, candidate, "session:write").await?;
    let place = &update.place;
    let session = acting.session(&place.session).await?;
    // A repeat after a lost reply, whatever happened since.
    if updates::stands(&mut acting.tx, update).await.internal()? {
        return acting.commit().await.map(|()| false);
    }
    let is_member = session.is_shared() && acting.is_member().await?;
    session.may_write(acting.device(), is_member, place.epoch, place.key_version).map_err(refused(&session))?;
    let is_due = place.kind != Kind::Snapshot && updates::is_mark(place.seq) && place.seq == session.head().seq + 1;
    if is_due && !updates::has_snapshot_before(&mut acting.tx, &session.session_id, place.seq).await.internal()? {
        return Err(StateRefusal::Quota.into());
    }
    let device = acting.device().clone();
    if !updates::append(&mut acting.tx, update, &device, acting.now).await.internal()? {
        return Err(refused(&session)(StateRefusal::Conflict.into()));
    }
    if place.kind == Kind::Snapshot {
        compaction::compact(&mut acting.tx, &session, acting.now).await.internal()?;
    }
    let new =
        events::New { kind: "session.updated", session: Some(&session.session_id), devices: [Some(device.as_str()), None], ..Default::default() };
    acting.event(&new).await?;
    acting.commit().await.map(|()| true)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Have {
    seq: i64,
    hash: String,
}

/// `POST /v1/sessions/{id}/acknowledge`: the device has everything up to this update. What a snapshot covers goes once every member has said so of it.
pub async fn acknowledge(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (mut acting, have) = Acting::begin_with::<Have>(&broker, &ask, "session:read", content, edge::MAX_BODY).await?;
    let session = acting.readable(&session_id(&id)?).await?;
    let stands = updates::hash_at(&mut acting.tx, &session.session_id, have.seq).await.internal()?;
    // One that is gone already was once there for everybody.
    let is_past = have.seq >= 1 && have.seq < session.head().seq;
    if stands.as_ref().map_or(!is_past, |hash| *hash != have.hash) {
        return Err(refused(&session)(StateRefusal::Conflict.into()));
    }
    let device = acting.device().clone();
    compaction::acknowledge(&mut acting.tx, &session.session_id, &device, have.seq, acting.now).await.internal()?;
    compaction::compact(&mut acting.tx, &session, acting.now).await.internal()?;
    acting.commit().await?;
    Ok(Json(json!({"seq": have.seq})))
}

/// Where to read on.
#[derive(Deserialize)]
pub struct After {
    /// Update number.
    #[serde(default)]
    after: i64,
}

/// `GET /v1/sessions/{id}/updates`
pub async fn list(State(broker): State<Arc<Broker>>, Path(id): Path<String>, Query(page): Query<After>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let session = acting.readable(&session_id(&id)?).await?;
    let found = updates::list(&mut acting.tx, &session, page.after).await.internal()?;
    acting.commit().await?;
    Ok(Json(json!({"updates": found})))
}
