//! Key envelopes: looked up by members, added for newly enrolled devices, replaced by the holder.

use super::acting::{Acting, Ask, live, refused, session_id, statement, view};
use super::sessions::{check_envelope, check_recipients};
use crate::state::Broker;
use crate::store::{events, updates};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use baton_protocol::handoff::chain::Act;
use baton_protocol::refusal::{Handoff, State as StateRefusal};
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/sessions/{id}/envelopes`
pub async fn list(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let session = acting.readable(&session_id(&id)?).await?;
    let rows = updates::envelopes(&mut acting.tx, &session.session_id).await.internal()?;
    acting.commit().await?;
    let shown: Vec<_> = rows.into_iter().map(|(version, envelope)| json!({"key_version": version, "envelope": envelope})).collect();
    Ok(Json(json!({"envelopes": shown})))
}

/// Most envelopes one device may add for one key version.
const MAX_ADDED: i64 = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    key_version: i64,
    envelope: String,
}

/// `POST /v1/sessions/{id}/envelopes`: any full member may let a newly enrolled full device in.
pub async fn add(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<(StatusCode, Json<Value>), Problem> {
    let (mut acting, add) = Acting::begin_full::<Add>(&broker, &ask, "session:write", content, edge::MAX_BODY).await?;
    let session = acting.session(&session_id(&id)?).await?;
    acting.needs_member(&session).await?;
    live(&session)?;
    if add.key_version < 1 || add.key_version > session.key_version {
        return Err(StateRefusal::RekeyRequired.into());
    }
    check_recipients(&mut acting, &add.envelope, None).await?;
    let device = acting.device().clone();
    if updates::envelopes_by(&mut acting.tx, &session.session_id, add.key_version, &device).await.internal()? >= MAX_ADDED {
        return Err(StateRefusal::Quota.into());
    }
    // The same once more tells nobody anything.
    if updates::add_envelope(&mut acting.tx, &session.session_id, add.key_version, &add.envelope, &device, acting.now).await.internal()? {
        acting.event(&events::New { kind: "session.let_in", session: Some(&session.session_id), ..Default::default() }).await?;
    }
    acting.commit().await?;
    Ok((StatusCode::CREATED, Json(json!({"key_version": add.key_version}))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rekey {
    statement: String,
    envelope: String,
}

/// `POST /v1/sessions/{id}/rekey`: the holder brings in a new key.
pub async fn rekey(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (mut acting, rekey) = Acting::begin_with::<Rekey>(&broker, &ask, "session:write", content, edge::MAX_BODY).await?;
    let (said, hash) = statement(&rekey.statement)?;
    let id = session_id(&id)?;
    let session = acting.session(&id).await?;
    if let Some(answer) = acting.repeated(&session, &hash).await? {
        acting.commit().await?;
        return Ok(Json(answer));
    }
    let Act::Rekey { key_version, envelope } = &said.act else { return Err(Handoff::Statement.into()) };
    session.seat().may_rekey(acting.device(), said.epoch).map_err(refused(&session))?;
    let me = acting.device().clone();
    check_envelope(&mut acting, &rekey.envelope, envelope, Some(&me)).await?;
    let accepted = acting.accept(&session, &said, &hash, &rekey.statement).await?;
    let device = acting.device().clone();
    updates::add_envelope(&mut acting.tx, &session.session_id, *key_version, &rekey.envelope, &device, acting.now).await.internal()?;
    acting.event(&events::New { kind: "session.rekeyed", session: Some(&session.session_id), ..Default::default() }).await?;
    let session = acting.session(&id).await?;
    let answer = json!({"accepted": accepted, "session": view(&session, acting.leases_now())});
    acting.commit().await?;
    Ok(Json(answer))
}
