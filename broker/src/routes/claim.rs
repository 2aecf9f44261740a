//! Claim: a full device takes over a session that nobody holds, from the very head it knows, with a new key.

use super::acting::{Acting, Ask, refused, session_id, statement, view};
use super::sessions::check_envelope;
use crate::state::Broker;
use crate::store::{events, handoffs, sessions, updates};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_protocol::handoff::chain::Act;
use baton_protocol::handoff::machine::Reason;
use baton_protocol::handoff::wire::claim_data;
use baton_protocol::refusal::Handoff;
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    statement: String,
    envelope: String,
    presentation: Option<String>,
}

/// `POST /v1/sessions/{id}/claim`
pub async fn claim(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (mut acting, claim) = Acting::begin_full::<Claim>(&broker, &ask, "handoff:accept", content, edge::MAX_BODY).await?;
    let (said, hash) = statement(&claim.statement)?;
    let id = session_id(&id)?;
    let session = acting.session(&id).await?;
    acting.needs_member(&session).await?;
    if let Some(answer) = acting.repeated(&session, &hash).await? {
        acting.commit().await?;
        return Ok(Json(answer));
    }
    let Act::Claim { from, key_version, envelope, .. } = &said.act else { return Err(Handoff::Statement.into()) };
    acting.present(claim.presentation.as_deref(), None, &[claim_data(&id, from, &hash)]).await?;
    session.seat().may_claim(from, acting.leases_now()).map_err(refused(&session))?;
    check_envelope(&mut acting, &claim.envelope, envelope, None).await?;
    if let Some(open) = session.open_handoff.clone() {
        void(&mut acting, &session, &open, Reason::Claimed).await?;
    }
    let accepted = acting.accept(&session, &said, &hash, &claim.statement).await?;
    let device = acting.device().clone();
    updates::add_envelope(&mut acting.tx, &session.session_id, *key_version, &claim.envelope, &device, acting.now).await.internal()?;
    let new = events::New {
        kind: "session.active",
        session: Some(&session.session_id),
        devices: [Some(device.as_str()), session.holder.as_deref()],
        ..Default::default()
    };
    acting.event(&new).await?;
    let session = acting.session(&id).await?;
    let answer = json!({"accepted": accepted, "session": view(&session, acting.leases_now())});
    acting.commit().await?;
    Ok(Json(answer))
}

/// Ends a handoff that the session went on without.
pub async fn void(acting: &mut Acting<'_>, session: &sessions::Session, open: &str, reason: Reason) -> Result<(), Problem> {
    let row = handoffs::hold(&mut acting.tx, open, &session.log).await.internal()?;
    let row = row.ok_or_else(|| Problem::Internal("open handoff is not there".into()))?;
    handoffs::make_void(&mut acting.tx, &row, reason, &session.log, acting.now).await.internal()
}
