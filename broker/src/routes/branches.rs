//! Branches: what a former holder wrote too late is kept beside the session, for its holder to merge or show. Never dropped, never silently applied.

use super::acting::{Acting, Ask, session_id};
use crate::state::Broker;
use crate::store::{events, sessions, updates};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use baton_protocol::refusal::{Handoff, State as StateRefusal};
use baton_protocol::said;
use baton_service::edge;
use baton_service::extract::{Path, Query};
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Most branch updates of one device in one session.
const MAX_COUNT: i64 = 256;
/// And their size.
const MAX_SIZE: i64 = 8 * 1024 * 1024;

/// `POST /v1/sessions/{id}/branches`
pub async fn append(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
    ask: Ask,
    content: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (mut acting, value) = Acting::begin_with::<Value>(&broker, &ask, "session:write", content, edge::MAX_STATE_BODY).await?;
    let update = said::lasting(value)?;
    let session = acting.session(&session_id(&id)?).await?;
    let device = acting.device().clone();
    let place = &update.place;
    if place.session.as_str() != session.session_id || place.epoch < 1 || place.epoch > session.epoch {
        return Err(Handoff::Epoch.into());
    }
    if place.key_version > session.key_version {
        return Err(StateRefusal::NotEncrypted.into());
    }
    let might_write = session.is_shared() && acting.is_member().await?;
    if !might_write && !sessions::ever_held(&mut acting.tx, &session.session_id, &device).await.internal()? {
        return Err(Handoff::NotHolder.into());
    }
    if updates::add_branch(&mut acting.tx, &update, &device, acting.now).await.internal()? {
        let (count, size) = updates::branch_use(&mut acting.tx, &session.session_id, &device).await.internal()?;
        if count > MAX_COUNT || size > MAX_SIZE {
            return Err(StateRefusal::Quota.into());
        }
        acting.event(&events::New { kind: "session.branched", session: Some(&session.session_id), ..Default::default() }).await?;
    }
    acting.commit().await?;
    Ok((StatusCode::CREATED, Json(json!({"hash": update.hash()}))))
}

/// Where to read on.
#[derive(Deserialize)]
pub struct After {
    /// Time of the last branch that was read.
    #[serde(default)]
    at: i64,
    /// Its hash.
    #[serde(default)]
    hash: String,
}

/// `GET /v1/sessions/{id}/branches`
pub async fn list(State(broker): State<Arc<Broker>>, Path(id): Path<String>, Query(after): Query<After>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let session = acting.readable(&session_id(&id)?).await?;
    let rows = updates::branches(&mut acting.tx, &session.session_id, (after.at, &after.hash)).await.internal()?;
    acting.commit().await?;
    let show = |(at, hash, device, update): (i64, String, String, String)| {
        let update: Value = serde_json::from_str(&update).unwrap_or_default();
        json!({"at": at, "hash": hash, "device": device, "update": update})
    };
    Ok(Json(json!({"branches": rows.into_iter().map(show).collect::<Vec<_>>()})))
}
