//! Sessions: open, look, stay alive, end.

use super::acting::{Acting, Ask, fenced, live, refused, session_id, statement, view};
use crate::state::Broker;
use crate::store::{events, sessions, switches, updates};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::{Act, Chain};
use baton_protocol::handoff::machine::Reason;
use baton_protocol::key::{Did, hash};
use baton_protocol::refusal::{Handoff, State as StateRefusal};
use baton_protocol::session::envelope_recipients;
use baton_service::edge;
use baton_service::extract::{Path, Query};
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most live sessions of one subject.
const MAX_SESSIONS: i64 = 1000;
/// Most recipients of one envelope.
const MAX_RECIPIENTS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    statement: String,
    envelope: String,
}

/// `POST /v1/sessions`: the client made the id. The same opening twice gives the same answer; the id under another opening is refused.
pub async fn open(State(broker): State<Arc<Broker>>, ask: Ask, content: Body) -> Result<(StatusCode, Json<Value>), Problem> {
    let (mut acting, open) = Acting::begin_full::<Open>(&broker, &ask, "session:write", content, edge::MAX_BODY).await?;
    let (first, hash_of) = statement(&open.statement)?;
    let chain = Chain::open(&first, hash_of.clone())?;
    let Act::Open { app, subject, mode, envelope } = &first.act else { return Err(Handoff::Statement.into()) };
    if first.device != *acting.device() || *subject != acting.caller.standing.log || *app != acting.caller.standing.app {
        return Err(Handoff::Statement.into());
    }
    if !acting.allows(first.session.as_str()) {
        return Err(Handoff::Binding.into());
    }
    if let Some(session) = sessions::find(&mut acting.tx, first.session.as_str(), subject).await.internal()? {
        let answer = acting.repeated(&session, &hash_of).await?.ok_or(Handoff::Exists)?;
        acting.commit().await?;
        return Ok((StatusCode::CREATED, Json(answer)));
    }
    if sessions::count(&mut acting.tx, subject).await.internal()? >= MAX_SESSIONS {
        return Err(StateRefusal::Quota.into());
    }
    // No session row is held yet that a revocation would wait for: its recipients' standings are held instead.
    for recipient in envelope_recipients(&open.envelope)? {
        baton_service::standing::find(&mut acting.tx, &recipient).await.internal()?;
    }
    let me = acting.device().clone();
    check_envelope(&mut acting, &open.envelope, envelope, Some(&me)).await?;
    let mode = serde_json::to_value(mode).internal()?;
    if !sessions::open(&mut acting.tx, &first.session, &chain, mode.as_str().unwrap_or_default(), acting.now).await.internal()? {
        return Err(Handoff::Exists.into());
    }
    let accepted = broker.accept(&first.session, &hash_of);
    let id = first.session.as_str();
    sessions::add_statement(&mut acting.tx, id, 0, &hash_of, &open.statement, &accepted).await.internal()?;
    let device = acting.device().clone();
    updates::add_envelope(&mut acting.tx, id, 1, &open.envelope, &device, acting.now).await.internal()?;
    acting.event(&events::New { kind: "session.opened", session: Some(id), devices: [Some(device.as_str()), None], ..Default::default() }).await?;
    let session = acting.session(&first.session).await?;
    let answer = json!({"accepted": accepted, "session": view(&session, acting.leases_now())});
    acting.commit().await?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// An envelope must have the digest its statement names, and only devices as recipients that may have the key.
pub async fn check_envelope(acting: &mut Acting<'_>, envelope: &str, digest: &str, to: Option<&Did>) -> Result<(), Problem> {
    if hash(envelope.as_bytes()) != digest {
        return Err(Handoff::Statement.into());
    }
    check_recipients(acting, envelope, to).await
}

/// Recipients are live members of the subject, and at most the one other device the session is with or goes to (attacks.md ECC-13).
pub async fn check_recipients(acting: &mut Acting<'_>, envelope: &str, to: Option<&Did>) -> Result<(), Problem> {
    let all = envelope_recipients(envelope)?;
    let distinct: BTreeSet<_> = all.iter().collect();
    if all.is_empty() || distinct.len() != all.len() || all.len() > MAX_RECIPIENTS {
        return Err(StateRefusal::Recipient.into());
    }
    let log = acting.log().to_owned();
    let off = switches::of_log(&mut acting.tx, &log).await.internal()?;
    for recipient in &all {
        let standing = baton_service::standing::look(&mut acting.tx, recipient).await.internal()?;
        let may = standing.is_some_and(|s| {
            let live = s.log == acting.caller.standing.log && baton_service::standing::is_live(&s, acting.now);
            let syncs = off.get(recipient.as_str()).is_none_or(|switches| switches.sync);
            live && ((s.tier == Tier::Full && syncs) || to == Some(recipient))
        });
        if !may {
            return Err(StateRefusal::Recipient.into());
        }
    }
    Ok(())
}

/// `GET /v1/sessions`
pub async fn list(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let log = acting.log().to_owned();
    let member = acting.is_member().await?;
    let mut shown = Vec::new();
    for session in sessions::list(&mut acting.tx, &log).await.internal()? {
        if acting.allows(&session.session_id) && (member || acting.concerns(&session, false).await?) {
            shown.push(view(&session, acting.leases_now()));
        }
    }
    acting.commit().await?;
    Ok(Json(json!({"sessions": shown})))
}

/// `GET /v1/sessions/{id}`
pub async fn show(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let session = acting.readable(&session_id(&id)?).await?;
    let snapshot = updates::last_snapshot(&mut acting.tx, &session.session_id).await.internal()?;
    let mut shown = view(&session, acting.leases_now());
    shown["last_snapshot"] = snapshot.into();
    acting.commit().await?;
    Ok(Json(shown))
}

/// Where to read on.
#[derive(Deserialize)]
pub struct From {
    /// Statement number.
    #[serde(default)]
    from: i64,
}

/// `GET /v1/sessions/{id}/statements`: the chain with the broker's acceptances.
pub async fn statements(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
    Query(page): Query<From>,
    ask: Ask,
) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let session = acting.readable(&session_id(&id)?).await?;
    let rows = sessions::statements(&mut acting.tx, &session.session_id, page.from).await.internal()?;
    acting.commit().await?;
    let shown: Vec<_> = rows.into_iter().map(|(statement, accepted)| json!({"statement": statement, "accepted": accepted})).collect();
    Ok(Json(json!({"statements": shown})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Beat {
    epoch: serde_json::Number,
}

/// `POST /v1/sessions/{id}/heartbeat`
pub async fn heartbeat(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (mut acting, beat) = Acting::begin_with::<Beat>(&broker, &ask, "session:write", content, edge::MAX_BODY).await?;
    let epoch = beat.epoch.as_i64().ok_or(Handoff::Epoch)?;
    let session = acting.session(&session_id(&id)?).await?;
    live(&session)?;
    session.seat().check_epoch(epoch).map_err(|why| refused(&session)(why.into()))?;
    let device = acting.device().clone();
    if !sessions::heartbeat(&mut acting.tx, &session.session_id, &device, epoch, acting.now).await.internal()? {
        return Err(fenced(&session));
    }
    acting.commit().await?;
    Ok(Json(json!({"epoch": epoch})))
}

/// `POST /v1/sessions/{id}/end`: by its holder, or by any full device.
pub async fn end(State(broker): State<Arc<Broker>>, Path(id): Path<String>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:write").await?;
    let session = acting.session(&session_id(&id)?).await?;
    if !session.is_held_by(acting.device()) {
        acting.caller.needs_full()?;
        acting.needs_member(&session).await?;
    }
    if let Some(open) = session.open_handoff.clone() {
        super::claim::void(&mut acting, &session, &open, Reason::Ended).await?;
    }
    if sessions::end(&mut acting.tx, &session.session_id, acting.now).await.internal()? {
        acting.event(&events::New { kind: "session.ended", session: Some(&session.session_id), ..Default::default() }).await?;
    }
    acting.commit().await?;
    Ok(Json(json!({"phase": "ended"})))
}
