//! The steps of a handoff that write the session's chain: seal (release), complete (receipt), reclaim. They compete in one guarded UPDATE.

use super::acting::{Acting, Ask, fenced, live, refused, statement, view};
use super::handoffs::{Held, held, step};
use super::sessions::check_envelope;
use crate::state::Broker;
use crate::store::{events, sessions, switches, updates};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_protocol::handoff::chain::{Act as Says, Statement};
use baton_protocol::handoff::machine::{Act, State as MachineState};
use baton_protocol::key::Did;
use baton_protocol::refusal::Handoff;
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    statement: String,
    envelope: Option<String>,
}

struct Step<'a> {
    acting: Acting<'a>,
    held: Held,
    said: Said,
    statement: Statement,
    hash: String,
}

/// Everything the three steps have in common; a statement that was accepted before is answered at once.
async fn begin<'a>(broker: &'a Broker, id: &str, ask: &Ask, content: Body, scope: &str) -> Result<Result<Step<'a>, Json<Value>>, Problem> {
    let (mut acting, said) = Acting::begin_with::<Said>(broker, ask, scope, content, edge::MAX_BODY).await?;
    let (statement, hash) = statement(&said.statement)?;
    let held = held(&mut acting, id).await?;
    if statement.device != *acting.device() || statement.session.as_str() != held.session.session_id {
        return Err(Handoff::Statement.into());
    }
    if let Some(answer) = acting.repeated(&held.session, &hash).await? {
        acting.commit().await?;
        return Ok(Err(Json(answer)));
    }
    live(&held.session)?;
    Ok(Ok(Step { acting, held, said, statement, hash }))
}

async fn finish(mut acting: Acting<'_>, held: &Held, accepted: &str) -> Result<Json<Value>, Problem> {
    let log = held.session.log.clone();
    let session = sessions::find(&mut acting.tx, &held.session.session_id, &log).await.internal()?;
    let session = session.ok_or_else(|| Problem::Internal("session is gone".into()))?;
    let answer = json!({"accepted": accepted, "session": view(&session, acting.leases_now())});
    acting.commit().await?;
    Ok(Json(answer))
}

/// `POST /v1/handoffs/{id}/seal`: once this is accepted, the source never writes at this epoch again.
pub async fn seal(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let Step { mut acting, held, said, statement, hash } = match begin(&broker, &id, &ask, content, "handoff:offer").await? {
        Ok(step) => step,
        Err(answer) => return Ok(answer),
    };
    let Says::Release { handoff, head, key_version, envelope, to } = &statement.act else { return Err(Handoff::Statement.into()) };
    held.session.seat().check_epoch(statement.epoch).map_err(|why| refused(&held.session)(why.into()))?;
    let (next, _) = held.machine.clone().apply(&acting.by().await?, Act::Seal { release: hash.clone() }, acting.now)?;
    let sealed_to = matches!(&next.state, MachineState::Sealed { by: target, .. } if target == to);
    if handoff.as_str() != held.row.handoff_id || !sealed_to || statement.epoch != held.machine.epoch {
        return Err(Handoff::Statement.into());
    }
    held.session.seat().may_release(acting.device(), statement.epoch, head, *key_version).map_err(refused(&held.session))?;
    match (&said.envelope, envelope) {
        (None, None) => {}
        (Some(text), Some(digest)) => {
            check_envelope(&mut acting, text, digest, Some(to)).await?;
            let device = acting.device().clone();
            updates::add_envelope(&mut acting.tx, &held.session.session_id, *key_version, text, &device, acting.now).await.internal()?;
        }
        _ => return Err(Handoff::Statement.into()),
    }
    let accepted = acting.accept(&held.session, &statement, &hash, &said.statement).await?;
    step(&mut acting, &held, &next, None).await?;
    finish(acting, &held, &accepted).await
}

/// `POST /v1/handoffs/{id}/complete`: the target has opened what was sealed; it holds the session from now on.
pub async fn complete(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    take_over(&broker, &id, &ask, content, "handoff:accept").await
}

/// `POST /v1/handoffs/{id}/reclaim`: the source takes back what nobody completed.
pub async fn reclaim(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    take_over(&broker, &id, &ask, content, "handoff:offer").await
}

async fn take_over(broker: &Broker, id: &str, ask: &Ask, content: Body, scope: &str) -> Result<Json<Value>, Problem> {
    let Step { mut acting, held, said, statement, hash } = match begin(broker, id, ask, content, scope).await? {
        Ok(step) => step,
        Err(answer) => return Ok(answer),
    };
    if statement.epoch < 1 || statement.epoch > held.session.epoch + 1 {
        return Err(Handoff::Epoch.into());
    }
    if statement.epoch <= held.session.epoch {
        return Err(fenced(&held.session));
    }
    let release = statement.prev.clone().ok_or(Handoff::Statement)?;
    let (handoff, act) = match (&statement.act, scope) {
        (Says::Receipt { handoff, .. }, "handoff:accept") => (handoff, Act::Complete { release }),
        (Says::Reclaim { handoff }, "handoff:offer") => {
            let target_revoked = is_target_revoked(&mut acting, &held).await?;
            (handoff, Act::Reclaim { release, target_revoked })
        }
        _ => return Err(Handoff::Statement.into()),
    };
    if handoff.as_str() != held.row.handoff_id || said.envelope.is_some() {
        return Err(Handoff::Statement.into());
    }
    let (next, _) = held.machine.clone().apply(&acting.by().await?, act, acting.now)?;
    let accepted = acting.accept(&held.session, &statement, &hash, &said.statement).await?;
    step(&mut acting, &held, &next, None).await?;
    sessions::set_handoff(&mut acting.tx, &held.session.session_id, Some(&held.row.handoff_id), None).await.internal()?;
    let device = acting.device().clone();
    let left = match &held.machine.state {
        MachineState::Sealed { by, .. } if device == held.machine.from => by.clone(),
        _ => held.machine.from.clone(),
    };
    let stays = is_member(&mut acting, &left).await?;
    if held.session.seat().left_by(stays).needs_rekey {
        sessions::require_rekey(&mut acting.tx, &held.session.session_id, acting.now).await.internal()?;
    }
    let devices = [Some(device.as_str()), Some(held.machine.from.as_str())];
    acting.event(&events::New { kind: "session.active", session: Some(&held.session.session_id), devices, ..Default::default() }).await?;
    finish(acting, &held, &accepted).await
}

async fn is_member(acting: &mut Acting<'_>, device: &Did) -> Result<bool, Problem> {
    let standing = baton_service::standing::look(&mut acting.tx, device).await.internal()?;
    let Some(standing) = standing else { return Ok(false) };
    switches::is_member(&mut acting.tx, &standing).await.internal()
}

async fn is_target_revoked(acting: &mut Acting<'_>, held: &Held) -> Result<bool, Problem> {
    let MachineState::Sealed { by, .. } = &held.machine.state else { return Ok(false) };
    let standing = baton_service::standing::look(&mut acting.tx, by).await.internal()?;
    Ok(standing.is_none_or(|standing| !baton_service::standing::is_live(&standing, acting.now)))
}
