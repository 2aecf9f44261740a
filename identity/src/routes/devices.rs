//! A person looks after their devices and consents. Taking away never needs the root.

use crate::state::Identity;
use crate::store::{devices, status};
use crate::{ledger, outbox, page_session};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use baton_protocol::id::{DeviceId, GrantId};
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/devices`
pub async fn list(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let rows = devices::list(&mut db, &session.account).await.internal()?;
    let shown: Vec<_> = rows
        .iter()
        .map(|d| {
            json!({"device_id": d.device_id, "device": d.did, "app": d.app, "client_id": d.client_id, "name": d.name, "kind": d.kind, "tier": d.tier,
                "grant": d.grant_id, "enrolled_at": d.created_at, "expires_at": d.credential_exp * 1000, "revoked_at": d.revoked_at})
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
    let session = page_session::find(&identity, &mut tx, &headers).await?;
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
    let shown: Vec<_> = rows
        .iter()
        .map(|g| {
            json!({"grant": g.grant_id, "app": g.app, "client_id": g.client_id, "scopes": g.scopes, "purpose": g.purpose, "until": g.until_at,
                "given_at": g.created_at, "withdrawn_at": g.withdrawn_at})
        })
        .collect();
    Ok(Json(json!({"grants": shown})))
}

/// `POST /v1/grants/{id}/withdraw`: everything that rests on the consent ends with it.
pub async fn withdraw(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = GrantId::parse(&id)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::find(&identity, &mut tx, &headers).await?;
    match devices::withdraw(&mut tx, &session.account, id.as_str(), now).await.internal()? {
        Some(dids) => {
            for (did, idx) in dids {
                if !status::revoke(&mut tx, idx).await.internal()? {
                    return Err(Problem::Internal("status entry is not there".into()));
                }
                outbox::write_device(&mut tx, &did, now).await?;
            }
            ledger::write(&mut tx, &session.account, "grant.withdrawn", &json!({"grant": id}), now).await.internal()?;
        }
        None if devices::grants(&mut tx, &session.account).await.internal()?.iter().any(|g| g.grant_id == id.as_str()) => {}
        None => return Err(NOT_FOUND.into()),
    }
    tx.commit().await.internal()?;
    let effective = identity.pump().await?;
    Ok(Json(json!({"state": "withdrawn", "effective": effective})))
}
