//! A person looks after their devices and consents. Taking away never needs the root.

use crate::state::Identity;
use crate::store::{devices, logs, sign_ins, status};
use crate::{ledger, outbox, page_session};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::enrolment::check_name;
use baton_protocol::id::{AccountId, DeviceId, GrantId};
use baton_protocol::refusal::Enrol;
use baton_protocol::time::Millis;
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use std::sync::Arc;

/// `GET /v1/devices`
pub async fn list(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let rows = devices::list(&mut db, &session.account).await.internal()?;
    let grants = devices::grants(&mut db, &session.account).await.internal()?;
    let allowed = |grant: &str| grants.iter().find(|known| known.grant_id == grant).map(|known| known.scopes.as_str());
    let shown: Vec<_> = rows
        .iter()
        .map(|d| {
            json!({"device_id": d.device_id, "device": d.did, "app": d.app, "client_id": d.client_id, "name": d.name, "kind": d.kind, "tier": d.tier,
                "grant": d.grant_id, "scopes": allowed(&d.grant_id), "enrolled_at": d.created_at, "seen_at": d.seen_at, "expires_at": d.credential_exp * 1000, "revoked_at": d.revoked_at})
        })
        .collect();
    Ok(Json(json!({"devices": shown})))
}

/// `POST /v1/devices/{id}/revoke`: `effective` when verifier and broker have taken it; otherwise it holds within five seconds by itself.
pub async fn revoke(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = DeviceId::parse(&id)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    match devices::revoke(&mut tx, &session.account, id.as_str(), now).await.internal()? {
        Some((did, idx)) => {
            if !status::revoke(&mut tx, idx).await.internal()? {
                return Err(Problem::Internal("status entry is not there".into()));
            }
            outbox::write_device(&mut tx, &did, now).await?;
            ledger::write(&mut tx, &session.account, "device.revoked", &json!({"device": id}), now).await.internal()?;
        }
        None if devices::of_account(&mut tx, &session.account, id.as_str()).await.internal()?.is_some() => {}
        None => return Err(NOT_FOUND.into()),
    }
    tx.commit().await.internal()?;
    let effective = identity.pump().await?;
    Ok(Json(json!({"state": "revoked", "effective": effective})))
}

/// `GET /v1/grants`
pub async fn grants(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let rows = devices::grants(&mut db, &session.account).await.internal()?;
    Ok(Json(json!({"grants": rows.iter().map(shown_grant).collect::<Vec<_>>()})))
}

/// A consent, as the person sees it.
pub fn shown_grant(g: &devices::Grant) -> Value {
    json!({"grant": g.grant_id, "app": g.app, "client_id": g.client_id, "scopes": g.scopes, "purpose": g.purpose, "until": g.until_at,
        "given_at": g.created_at, "withdrawn_at": g.withdrawn_at})
}

/// `GET /v1/logs/{app}`: the person's device log of an app, for the page to check before it signs the next entry. Empty when there is none yet.
pub async fn log(State(identity): State<Arc<Identity>>, Path(app): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.begin().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let issuer = logs::issuer(&mut db, &session.account, &app).await.internal()?;
    let entries = match issuer {
        Some(issuer) => logs::entries(&mut db, &issuer.log).await.internal()?,
        None => Vec::new(),
    };
    db.commit().await.internal()?;
    Ok(Json(json!({"entries": entries})))
}

/// `GET /v1/devices/{id}/credential`: what the person signed for a device, for the page to check before it signs it anew.
pub async fn credential(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let id = DeviceId::parse(&id)?;
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let device = devices::of_account(&mut db, &session.account, id.as_str()).await.internal()?.ok_or(NOT_FOUND)?;
    Ok(Json(json!({"credential": device.credential})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    name: String,
}

/// `POST /v1/devices/{id}/rename`: what the person calls it, here and in the directory of full devices. Its credential keeps what it said of itself.
pub async fn rename(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = DeviceId::parse(&id)?;
    let Rename { name } = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    check_name(&name)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Enrol::Reauth)?;
    if devices::rename(&mut tx, &session.account, id.as_str(), &name).await.internal()? {
        ledger::write(&mut tx, &session.account, "device.renamed", &json!({"device": id}), now).await.internal()?;
    } else if devices::of_account(&mut tx, &session.account, id.as_str()).await.internal()?.is_none() {
        return Err(NOT_FOUND.into());
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"state": "renamed", "name": name})))
}

/// `POST /v1/grants/{id}/withdraw`: everything that rests on the consent ends with it.
pub async fn withdraw(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = GrantId::parse(&id)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    if withdraw_grant(&mut tx, &session.account, id.as_str(), now).await? {
        ledger::write(&mut tx, &session.account, "grant.withdrawn", &json!({"grant": id}), now).await.internal()?;
    } else if !devices::grants(&mut tx, &session.account).await.internal()?.iter().any(|g| g.grant_id == id.as_str()) {
        return Err(NOT_FOUND.into());
    }
    tx.commit().await.internal()?;
    let effective = identity.pump().await?;
    Ok(Json(json!({"state": "withdrawn", "effective": effective})))
}

/// Withdraws a consent with every device that rests on it; false when it was withdrawn before.
pub async fn withdraw_grant(db: &mut AnyConnection, account: &AccountId, grant: &str, now: Millis) -> Result<bool, Problem> {
    let Some(ended) = devices::withdraw(&mut *db, account, grant, now).await.internal()? else { return Ok(false) };
    sign_ins::end_of_grant(&mut *db, grant, now).await.internal()?;
    for (did, idx) in ended {
        if !status::revoke(db, idx).await.internal()? {
            return Err(Problem::Internal("status entry is not there".into()));
        }
        outbox::write_device(db, &did, now).await?;
    }
    Ok(true)
}
