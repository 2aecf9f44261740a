//! Signing anew: a credential near its end (renewal), or of a device that the person raises to full. One ceremony each: new status index, the old one
//! revoked when the new one counts.

use super::approval::{CREDENTIAL_SECS, check_entries};
use crate::page_session;
use crate::state::Identity;
use crate::store::{devices, logs, status};
use crate::{ledger, outbox};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::credential::{StatusEntry, Template, Tier, VCT, Visible};
use baton_protocol::device_log::{DeviceLog, Entry, Op};
use baton_protocol::enrolment::{Approval, Offer};
use baton_protocol::id::{DeviceId, RequestId};
use baton_protocol::key::{Did, hash};
use baton_protocol::refusal::{Enrol, Log};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::status_list::StatusRef;
use baton_protocol::time::Millis;
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde_json::{Map, Value, json};
use sqlx::AnyConnection;
use std::sync::Arc;

/// How near its end a credential must be.
const NEAR_END_SECS: i64 = 60 * 24 * 3600;

/// `POST /v1/devices/{id}/renew/offer`
pub async fn offer(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Offer>, Problem> {
    make_offer(&identity, &id, &headers, false).await
}

/// `POST /v1/devices/{id}/raise/offer`: a limited device is to be full.
pub async fn offer_raise(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Offer>, Problem> {
    make_offer(&identity, &id, &headers, true).await
}

async fn make_offer(identity: &Identity, id: &str, headers: &HeaderMap, raise: bool) -> Result<Json<Offer>, Problem> {
    page_session::check_origin(identity, headers)?;
    let id = DeviceId::parse(id)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(identity, &mut tx, headers).await?;
    session.needs_fresh(now, Enrol::Reauth)?;
    let device = devices::of_account(&mut tx, &session.account, id.as_str()).await.internal()?.ok_or(NOT_FOUND)?;
    if device.revoked_at.is_some() {
        return Err(Enrol::KeyRevoked.into());
    }
    let issuer = logs::issuer(&mut tx, &session.account, &device.app).await.internal()?.ok_or(Log::Invalid)?;
    let tier = Tier::parse(&device.tier).ok_or(Enrol::Changed)?;
    // Before it was redeemed nothing of it counts; a full device cannot be raised.
    let due = if raise { tier == Tier::Limited && device.redeemed_at.is_some() } else { device.credential_exp - now.secs() <= NEAR_END_SECS };
    if !due {
        return Err(Enrol::State.into());
    }
    // An offer that was made before keeps its index: indexes are given once and are not endless.
    let pending = devices::offer(&mut tx, &device.did).await.internal()?.and_then(|offer| serde_json::from_str::<Offer>(&offer).ok());
    let pending = pending.map(|offer| i64::from(offer.template.visible.status.status_list.idx));
    let idx = match pending {
        Some(idx) => idx,
        None => {
            status::allot(&mut tx, id.as_str(), &identity.base.entropy, now).await.internal()?.ok_or(Problem::Unavailable("status list is full"))?
        }
    };
    let did = Did::parse(&device.did)?;
    let (tier, op) = if raise { (Tier::Full, Op::Tier { device: did.clone(), tier: Tier::Full }) } else { (tier, Op::Renew { device: did.clone() }) };
    let entry = Entry { v: 1, n: issuer.next_n as u64, prev: Some(issuer.head), op };
    let template = template(identity, &device, tier, Did::parse(&device.iss)?, idx, now)?;
    let offer = Offer {
        // A renewal is no request: its handle is made here and names nothing else.
        request: RequestId::new(now, identity.base.entropy.bytes()),
        shown_hash: hash(device.credential_hash.as_bytes()),
        template,
        device_jwk: did.key()?.jwk(),
        entries: vec![serde_json::to_string(&entry).internal()?],
    };
    devices::keep_offer(&mut tx, &device.did, &serde_json::to_string(&offer).internal()?).await.internal()?;
    tx.commit().await.internal()?;
    Ok(Json(offer))
}

/// A device's claims, as they are to be signed anew by `iss`.
pub fn template(identity: &Identity, device: &devices::Device, tier: Tier, iss: Did, idx: i64, now: Millis) -> Result<Template, Problem> {
    let visible = Visible {
        iss,
        sub: Did::parse(&device.did)?,
        vct: VCT.into(),
        iat: now.secs(),
        exp: now.secs() + CREDENTIAL_SECS,
        client_id: device.client_id.clone(),
        tier,
        log: device.log.clone(),
        status: StatusEntry { status_list: StatusRef { idx: idx as u32, uri: identity.status_uri() } },
        status_issuer: identity.base.did_web(),
    };
    let disclosable: Map<String, Value> =
        Compact::parse(&device.credential)?.disclosures.iter().filter_map(|d| Some((d.name()?.to_owned(), d.value().to_value()))).collect();
    Ok(Template { visible, disclosable })
}

/// Puts a credential that was signed anew in the place of a device's: the one before is revoked, and verifier and broker will hear of it.
pub async fn switch(
    db: &mut AnyConnection,
    device: &devices::Device,
    template: &Template,
    credential: (&str, &str),
    now: Millis,
) -> Result<(), Problem> {
    let visible = &template.visible;
    let idx = i64::from(visible.status.status_list.idx);
    let signed = devices::Signed { credential: credential.0, hash: credential.1, exp: visible.exp, idx, tier: visible.tier, iss: &visible.iss };
    devices::renew(&mut *db, &device.did, &device.credential_hash, &signed).await.internal()?.ok_or(Enrol::State)?;
    if !status::revoke(&mut *db, device.status_idx).await.internal()? {
        return Err(Problem::Internal("status entry is not there".into()));
    }
    outbox::write_device(db, &device.did, now).await?;
    Ok(())
}

/// `POST /v1/devices/{id}/renew/approve` and `.../raise/approve`: whatever was offered last.
pub async fn approve(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = DeviceId::parse(&id)?;
    let approval: Approval = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Enrol::Reauth)?;
    let device = devices::of_account(&mut tx, &session.account, id.as_str()).await.internal()?.ok_or(NOT_FOUND)?;
    if device.credential == approval.credential && device.revoked_at.is_none() {
        // A repeat after a lost reply.
        tx.commit().await.internal()?;
        let issued = identity.pump().await?;
        return Ok(Json(json!({"state": if issued { "issued" } else { "approved" }})));
    }
    let kept = devices::offer(&mut tx, &device.did).await.internal()?;
    let offer: Offer = kept.and_then(|offer| serde_json::from_str(&offer).ok()).ok_or(Enrol::NotApproved)?;
    if approval.shown_hash != offer.shown_hash {
        return Err(Enrol::Changed.into());
    }
    let did = Did::parse(&device.did)?;
    let credential = offer.template.check_signed(&approval.credential, &did.key()?)?;
    check_entries(&offer.entries, &approval.entries)?;
    let issuer = logs::issuer(&mut tx, &session.account, &device.app).await.internal()?.ok_or(Log::Invalid)?;
    let mut entries = logs::entries(&mut tx, &issuer.log).await.internal()?;
    entries.extend(approval.entries.iter().cloned());
    let head = DeviceLog::replay(&entries)?.head().hash;
    logs::append(&mut tx, &issuer.log, issuer.next_n, &approval.entries, &head, now).await.internal()?.ok_or(Log::Moved)?;
    switch(&mut tx, &device, &offer.template, (&approval.credential, &credential.hash), now).await?;
    let kind = if offer.template.visible.tier.as_str() == device.tier { "device.renewed" } else { "device.raised" };
    ledger::write(&mut tx, &session.account, kind, &json!({"device": id}), now).await.internal()?;
    tx.commit().await.internal()?;
    let issued = identity.pump().await?;
    Ok(Json(json!({"state": if issued { "issued" } else { "approved" }})))
}
