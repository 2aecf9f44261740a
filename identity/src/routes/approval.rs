//! Approval: identity offers exactly what is to be signed; the person's client signs it; identity checks it against its offer and commits
//! device, credential, log entry, status index, grant, ledger event and outbox row together.

use super::requests::{bound, check_open};
use super::start::check_hash;
use crate::page_session::{self, PageSession};
use crate::state::Identity;
use crate::store::requests::{self, Request};
use crate::store::{accounts, devices, logs, status};
use crate::{ledger, outbox};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::b64;
use baton_protocol::credential::{StatusEntry, Template, VCT, Visible};
use baton_protocol::device_log::{DeviceLog, Entry, Op};
use baton_protocol::enrolment::{Approval, IssuerStatement, Lane, Offer};
use baton_protocol::id::{DeviceId, GrantId, RequestId};
use baton_protocol::key::{Did, hash};
use baton_protocol::refusal::{Enrol, Limit, Log, Vc};
use baton_protocol::status_list::StatusRef;
use baton_protocol::time::Millis;
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sqlx::AnyConnection;
use std::sync::Arc;

/// How long credential and grant last.
pub const CREDENTIAL_SECS: i64 = 365 * 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    shown_hash: String,
    /// The issuer the client derived for this app.
    issuer: Did,
    /// What the new device shows (lane 2).
    check_code: Option<String>,
}

/// `POST /v1/requests/{id}/offer`
pub async fn offer(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Result<Json<Offer>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = RequestId::parse(&id)?;
    let ask: Ask = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Enrol::Reauth)?;
    let request = bound(&mut tx, &id, &session.account).await?;
    check_open(&identity, &request)?;
    check_shown(&identity, &request, &ask.shown_hash)?;
    if request.state != "requested" {
        return Err(Enrol::State.into());
    }
    if request.lane() == Lane::CrossDevice {
        // A wallet that got its token by the redirect shows no code: whoever sends one means another request.
        let typed = ask.check_code.as_deref().map(|code| check_hash(&request.request_id, code.trim()));
        if typed != request.check_code_hash {
            requests::wrong_check_code(&mut tx, &id).await.internal()?;
            ledger::write(
                &mut tx,
                &session.account,
                "device.wrong_check_code",
                &json!({"from": request.seen_address, "client": request.client_id}),
                now,
            )
            .await
            .internal()?;
            tx.commit().await.internal()?;
            return Err(Enrol::Proximity.into());
        }
    }
    let account = accounts::find(&mut tx, &session.account).await.internal()?.ok_or(Enrol::Approver)?;
    if account.recovery_confirmed_at.is_none() {
        return Err(Enrol::Recovery.into());
    }
    if request.status_idx.is_none() {
        identity.prompts.count(session.account.as_str(), now).map_err(|_| Limit::Prompts)?;
    }
    let idx = match request.status_idx {
        Some(idx) => idx,
        None => status::allot(&mut tx, &request.request_id, &identity.base.entropy, now)
            .await
            .internal()?
            .ok_or(Problem::Unavailable("status list is full"))?,
    };
    let offer = make_offer(&identity, &mut tx, &session, &request, &ask.issuer, idx, now).await?;
    requests::keep_offer(&mut tx, &id, &serde_json::to_string(&offer).internal()?, idx).await.internal()?;
    tx.commit().await.internal()?;
    Ok(Json(offer))
}

async fn make_offer(
    identity: &Identity,
    db: &mut AnyConnection,
    session: &PageSession,
    request: &Request,
    issuer: &Did,
    idx: i64,
    now: Millis,
) -> Result<Offer, Problem> {
    let claims = request.device_claims().ok_or(Enrol::Changed)?;
    let device = request.device_key().ok_or(Enrol::Changed)?;
    let agreement_jwk: Value = serde_json::from_str(&request.agreement_jwk).internal()?;
    let enrol = Op::Enrol {
        device: device.did(),
        agreement_jwk: serde_json::from_value(agreement_jwk.clone()).internal()?,
        tier: request.lane().tier(),
        client_id: request.client_id.clone(),
    };
    let text = |entry: &Entry| serde_json::to_string(entry).internal();
    let (log, entries) = match logs::issuer(&mut *db, &session.account, &request.app).await.internal()? {
        Some(known) if known.iss != issuer.as_str() => return Err(Enrol::Approver.into()),
        Some(known) => {
            let entry = Entry { v: 1, n: known.next_n as u64, prev: Some(known.head), op: enrol };
            (known.log, vec![text(&entry)?])
        }
        None => {
            let salt = b64::encode(identity.base.entropy.bytes::<16>());
            let open = text(&Entry { v: 1, n: 0, prev: None, op: Op::Open { iss: issuer.clone(), app: request.app.clone(), salt } })?;
            let log = hash(open.as_bytes());
            let enrol = text(&Entry { v: 1, n: 1, prev: Some(log.clone()), op: enrol })?;
            (log, vec![open, enrol])
        }
    };
    let visible = Visible {
        iss: issuer.clone(),
        sub: device.did(),
        vct: VCT.into(),
        iat: now.secs(),
        exp: now.secs() + CREDENTIAL_SECS,
        client_id: request.client_id.clone(),
        tier: request.lane().tier(),
        log,
        status: StatusEntry { status_list: StatusRef { idx: idx as u32, uri: identity.status_uri() } },
        status_issuer: identity.base.did_web(),
    };
    let mut disclosable = match serde_json::to_value(&claims) {
        Ok(Value::Object(claims)) => claims,
        _ => Map::new(),
    };
    disclosable.insert("agreement_jwk".into(), agreement_jwk);
    disclosable.insert("enrolled_at".into(), now.secs().into());
    Ok(Offer {
        request: RequestId::parse(&request.request_id)?,
        shown_hash: shown_hash(identity, request)?,
        template: Template { visible, disclosable },
        device_jwk: device.jwk(),
        entries,
    })
}

fn shown_hash(identity: &Identity, request: &Request) -> Result<String, Problem> {
    let client = identity.config.clients.get(&request.client_id).ok_or(Enrol::Changed)?;
    Ok(request.shown(&client.name).ok_or(Enrol::Changed)?.hash())
}

fn check_shown(identity: &Identity, request: &Request, given: &str) -> Result<(), Problem> {
    if shown_hash(identity, request)? == given { Ok(()) } else { Err(Enrol::Changed.into()) }
}

/// `POST /v1/requests/{id}/approve`
pub async fn approve(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = RequestId::parse(&id)?;
    let approval: Approval = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    let request = bound(&mut tx, &id, &session.account).await?;
    check_open(&identity, &request)?;
    check_shown(&identity, &request, &approval.shown_hash)?;
    if request.state == "requested" {
        session.needs_fresh(now, Enrol::Reauth)?;
        commit_device(&identity, &mut tx, &session, &request, &id, &approval, now).await?;
    } else {
        let same = devices::by_jkt(&mut tx, &request.jkt).await.internal()?.is_some_and(|device| device.credential == approval.credential);
        if !same {
            return Err(Enrol::State.into());
        }
    }
    // A repeat of an approval that was committed answers from where it led.
    let redirect = match request.lane() {
        Lane::SameDevice => Some(redirect(&identity, &mut tx, &id, &request, now).await?),
        Lane::CrossDevice => None,
    };
    tx.commit().await.internal()?;
    let issued = identity.pump().await?;
    Ok(Json(json!({"state": if issued { "issued" } else { "approved" }, "redirect_to": redirect})))
}

async fn redirect(identity: &Identity, db: &mut AnyConnection, id: &RequestId, request: &Request, now: Millis) -> Result<String, Problem> {
    let code = identity.base.entropy.token();
    requests::set_code(db, id, &hash(code.as_bytes()), now).await.internal()?.ok_or(Enrol::State)?;
    let uri = request.redirect_uri.as_deref().ok_or_else(|| Problem::Internal("lane 1 without redirect_uri".into()))?;
    Ok(redirect_to(&identity.base.url, uri, &[("code", &code)], request.client_state.as_deref()))
}

/// An authorization response (RFC 6749 §4.1.2) that names who gives it (RFC 9207).
pub fn redirect_to(iss: &str, uri: &str, said: &[(&str, &str)], state: Option<&str>) -> String {
    let all = said.iter().copied().chain([("iss", iss)]).chain(state.map(|state| ("state", state)));
    let query: Vec<_> = all.map(|(name, value)| format!("{name}={}", percent(value))).collect();
    let mark = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{mark}{}", query.join("&"))
}

pub fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { out + &char::from(b).to_string() } else { out + &format!("%{b:02X}") }
    })
}

async fn commit_device(
    identity: &Identity,
    db: &mut AnyConnection,
    session: &PageSession,
    request: &Request,
    id: &RequestId,
    approval: &Approval,
    now: Millis,
) -> Result<(), Problem> {
    let offer: Offer = request.offer.as_deref().and_then(|offer| serde_json::from_str(offer).ok()).ok_or(Enrol::NotApproved)?;
    let device = request.device_key().ok_or(Enrol::Changed)?;
    if offer.template.visible.sub != device.did() {
        return Err(Enrol::DidMismatch.into());
    }
    let credential = offer.template.check_signed(&approval.credential, &device)?;
    match devices::key_use(&mut *db, &request.jkt).await.internal()? {
        Some(true) => return Err(Enrol::KeyRevoked.into()),
        Some(false) => return Err(Enrol::KeyInUse.into()),
        None => {}
    }
    if devices::count(&mut *db, &session.account).await.internal()? >= identity.config.max_devices {
        return Err(Limit::Devices.into());
    }
    append_log(db, session, request, &offer, approval, now).await?;

    let visible = &offer.template.visible;
    let row = devices::Device {
        device_id: DeviceId::new(now, identity.base.entropy.bytes()).to_string(),
        account_id: session.account.to_string(),
        app: request.app.clone(),
        log: visible.log.clone(),
        iss: visible.iss.to_string(),
        did: request.did.clone(),
        jkt: request.jkt.clone(),
        client_id: request.client_id.clone(),
        tier: visible.tier.as_str().into(),
        name: offer.template.disclosable.get("name").and_then(Value::as_str).unwrap_or_default().into(),
        kind: offer.template.disclosable.get("kind").and_then(Value::as_str).unwrap_or_default().into(),
        credential: approval.credential.clone(),
        credential_hash: credential.hash,
        credential_exp: visible.exp,
        status_idx: i64::from(visible.status.status_list.idx),
        grant_id: GrantId::new(now, identity.base.entropy.bytes()).to_string(),
        dev_epoch: 1,
        redeemed_at: None,
        created_at: now.0,
        seen_at: None,
        revoked_at: None,
    };
    match devices::create(&mut *db, &row, &request.scope, visible.exp * 1000).await {
        Err(error) if baton_service::database::is_taken(&error) => return Err(Enrol::KeyInUse.into()),
        other => other.internal()?,
    }
    let seq = outbox::write_device(&mut *db, &row.did, now).await?;
    requests::approve(&mut *db, id, seq, now).await.internal()?.ok_or(Enrol::State)?;
    let detail = json!({"device": row.device_id, "tier": row.tier, "client": row.client_id, "grant": row.grant_id, "from": request.seen_address});
    ledger::write(db, &session.account, "device.enrolled", &detail, now).await.internal()
}

/// Checks the signed entries against the offer and the whole log, and appends them where the log still stands as offered.
async fn append_log(
    db: &mut AnyConnection,
    session: &PageSession,
    request: &Request,
    offer: &Offer,
    approval: &Approval,
    now: Millis,
) -> Result<(), Problem> {
    let known = logs::issuer(&mut *db, &session.account, &request.app).await.internal()?;
    let mut entries = match &known {
        Some(known) => logs::entries(&mut *db, &known.log).await.internal()?,
        None => Vec::new(),
    };
    let from = entries.len();
    check_entries(&offer.entries, &approval.entries)?;
    entries.extend(approval.entries.iter().cloned());
    let log = DeviceLog::replay(&entries)?;
    if log.subject() != offer.template.visible.log || *log.issuer() != offer.template.visible.iss || log.app() != request.app {
        return Err(if known.is_some() { Problem::from(Log::Moved) } else { Vc::Policy.into() });
    }
    if known.is_none() {
        let account = accounts::find(&mut *db, &session.account).await.internal()?.ok_or(Enrol::Approver)?;
        let key = account.key().ok_or_else(|| Problem::Internal("account key does not parse".into()))?;
        let statement = approval.issuer_statement.as_deref().ok_or(Enrol::Pop)?;
        IssuerStatement::check(statement, &key, &request.app, log.issuer())?;
        let issuer = logs::Issuer { iss: log.issuer().to_string(), log: log.subject().into(), next_n: 0, head: String::new() };
        match logs::open(&mut *db, &session.account, &request.app, &issuer, statement).await {
            Err(error) if baton_service::database::is_taken(&error) => return Err(Log::Moved.into()),
            other => other.internal()?,
        }
    }
    let head = log.head().hash;
    logs::append(db, log.subject(), from as i64, &approval.entries, &head, now).await.internal()?.ok_or(Log::Moved)?;
    Ok(())
}

/// The signed entries must carry, byte for byte, the payloads that were offered.
pub fn check_entries(offered: &[String], signed: &[String]) -> Result<(), Problem> {
    let payload = |jws: &String| jws.split('.').nth(1).and_then(|part| b64::decode(part).ok());
    let same = signed.len() == offered.len() && signed.iter().zip(offered).all(|(jws, text)| payload(jws).as_deref() == Some(text.as_bytes()));
    if same { Ok(()) } else { Err(Enrol::Changed.into()) }
}
