//! Everything identity keeps about a person, for them to take along. The broker gives its own part (`/v1/manage/export`).

use super::{activity, devices as devices_shown, root};
use crate::state::Identity;
use crate::store::{accounts, credential_offers, devices, logs, requests, sign_ins};
use crate::{ledger, page_session};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::id::AccountId;
use baton_protocol::refusal::Wrap;
use baton_service::database::Error;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde_json::{Map, Value, json};
use sqlx::AnyConnection;
use std::sync::Arc;

/// `GET /v1/account/export`: sealed copies stay sealed, and no secret of a session or sign-in is kept that could be given.
pub async fn export(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let now = identity.base.now();
    session.needs_fresh(now, Wrap::Reauth)?;
    let who = &session.account;
    let account = accounts::find(&mut db, who).await.internal()?.ok_or(NOT_FOUND)?;
    let passkeys: Vec<_> = accounts::passkeys(&mut db, who)
        .await
        .internal()?
        .into_iter()
        .map(|row| json!({"credential_id": row.credential_id, "created_at": row.created_at, "used_at": row.used_at}))
        .collect();
    let (devices, device_logs) = all_devices(&mut db, who).await.internal()?;
    let grants: Vec<_> = devices::grants(&mut db, who).await.internal()?.iter().map(devices_shown::shown_grant).collect();
    let requests: Vec<_> = requests::of_account(&mut db, who)
        .await
        .internal()?
        .iter()
        .map(|row| {
            json!({"request": row.request_id, "client_id": row.client_id, "claims": row.device_claims(), "scope": row.scope, "reason": row.reason, "from": row.seen_address, "state": row.state,
                "requested_at": row.created_at})
        })
        .collect();
    let sign_ins: Vec<_> = sign_ins::families_of(&mut db, who)
        .await
        .internal()?
        .iter()
        .map(|row| json!({"client_id": row.client_id, "scope": row.scope, "began_at": row.created_at, "ends_at": row.ends_at, "ended_at": row.ended_at}))
        .collect();
    let browsers: Vec<_> = page_session::all(&mut db, who)
        .await
        .internal()?
        .iter()
        .map(|(verified, expires)| json!({"verified_at": verified, "expires_at": expires}))
        .collect();
    let offers: Vec<_> = credential_offers::of_account(&mut db, who)
        .await
        .internal()?
        .iter()
        .map(|row| json!({"client_id": row.client_id, "offered_at": row.created_at, "expires_at": row.expires_at, "taken_at": row.redeemed_at}))
        .collect();
    let root_change = root::shown(&mut db, &session, now).await?;
    let wraps = accounts::wraps(&mut db, who).await.internal()?;
    Ok(Json(
        json!({"account": who, "root": account.root, "root_statements": account.root_statements(), "recovery_confirmed_at": account.recovery_confirmed_at,
        "passkeys": passkeys, "sealed_copies_of_the_root": wraps, "devices": devices, "device_logs": device_logs, "grants": grants,
        "requests": requests, "sign_ins": sign_ins, "offers": offers, "root_change": root_change, "browsers": browsers, "activity": all_activity(&mut db, who).await.internal()?}),
    ))
}

async fn all_devices(db: &mut AnyConnection, who: &AccountId) -> Result<(Vec<Value>, Map<String, Value>), Error> {
    let (mut devices, mut device_logs) = (Vec::new(), Map::new());
    for device in devices::list(&mut *db, who).await? {
        if !device_logs.contains_key(&device.log) {
            device_logs.insert(device.log.clone(), logs::entries(&mut *db, &device.log).await?.into());
        }
        devices.push(
            json!({"device_id": device.device_id, "device": device.did, "app": device.app, "client_id": device.client_id, "name": device.name,
            "kind": device.kind, "tier": device.tier, "credential": device.credential, "grant": device.grant_id, "enrolled_at": device.created_at,
            "seen_at": device.seen_at, "revoked_at": device.revoked_at}),
        );
    }
    Ok((devices, device_logs))
}

async fn all_activity(db: &mut AnyConnection, who: &AccountId) -> Result<Vec<Value>, Error> {
    let (mut all, mut before) = (Vec::new(), i64::MAX);
    loop {
        let page = ledger::list(&mut *db, who, before).await?;
        let Some(last) = page.last() else { return Ok(all) };
        before = last.n;
        all.extend(page.iter().map(activity::shown));
    }
}
