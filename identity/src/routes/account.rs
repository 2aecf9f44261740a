//! The signed-in person's account: what there is, the recovery code, signing out, and leaving.

use super::devices::withdraw_grant;
use super::passkeys::check_proof;
use crate::state::Identity;
use crate::store::{accounts, ceremonies, devices, requests, sign_ins};
use crate::{ledger, outbox, page_session};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::b64;
use baton_protocol::id::CeremonyId;
use baton_protocol::key::hash;
use baton_protocol::refusal::{Input, Webauthn, Wrap};
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_service::edge;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/account`
pub async fn show(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let account = accounts::find(&mut db, &session.account).await.internal()?.ok_or(NOT_FOUND)?;
    Ok(Json(json!({"account": session.account, "root": account.root, "recovery_confirmed": account.recovery_confirmed_at.is_some()})))
}

/// `GET /v1/account/wraps`: only to someone verified within the last minutes.
pub async fn wraps(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    session.needs_fresh(identity.base.now(), Wrap::Reauth)?;
    Ok(Json(json!({"wraps": accounts::wraps(&mut db, &session.account).await.internal()?})))
}

/// `POST /v1/account/recovery/confirm`: the person keeps the code. Saying it twice changes nothing.
pub async fn confirm_recovery(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    if accounts::confirm_recovery(&mut tx, &session.account, now).await.internal()? {
        ledger::write(&mut tx, &session.account, "recovery.confirmed", &json!({}), now).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"recovery_confirmed": true})))
}

/// `POST /v1/account/recovery/start`: the ceremony that a new recovery code is bound to.
pub async fn start_recovery(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    session.needs_fresh(identity.base.now(), Wrap::Reauth)?;
    drop(db);
    let ceremony = ceremonies::keep(&identity, "recovery-code", Some(session.account.as_str()), "").await?;
    Ok(Json(json!({"ceremony": ceremony})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCode {
    ceremony: CeremonyId,
    recovery_id: String,
    proof: String,
    wrapped: WrappedRoot,
}

/// `POST /v1/account/recovery/replace`: once the person has typed the new code back. The one before opens nothing from here on, and every
/// other browser is signed out.
pub async fn replace_recovery(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: NewCode = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    b64::decode_array::<32>(&body.recovery_id).map_err(|_| Wrap::Invalid)?;
    if body.wrapped.opener != Opener::Recovery {
        return Err(Wrap::Invalid.into());
    }
    let recovery_id = hash(body.recovery_id.as_bytes());
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Wrap::Reauth)?;
    // A repeat after a lost reply: the code is this account's already.
    let repeated = accounts::by_recovery_id(&mut tx, &recovery_id).await.internal()?.is_some_and(|account| account == session.account.as_str());
    if !repeated {
        let (account, _) = ceremonies::take_in(&mut tx, &identity, "recovery-code", &body.ceremony).await?.ok_or(Webauthn::Challenge)?;
        if account.as_deref() != Some(session.account.as_str()) {
            return Err(Webauthn::Challenge.into());
        }
        let root = check_proof(&identity, &mut tx, &session, &body.ceremony, &body.proof).await?;
        body.wrapped.check_form()?;
        if body.wrapped.root != root {
            return Err(Wrap::Invalid.into());
        }
        accounts::replace_recovery(&mut tx, &session.account, &recovery_id, &body.wrapped, now).await.internal()?;
        page_session::end_others(&mut tx, &session).await?;
        sign_ins::end_all(&mut tx, &session.account, now).await.internal()?;
        ledger::write(&mut tx, &session.account, "recovery.replaced", &json!({}), now).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"recovery_confirmed": true})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignOut {
    /// Every browser of this person.
    everywhere: bool,
    /// But this one.
    #[serde(default)]
    but_here: bool,
}

/// `POST /v1/account/sign-out`
pub async fn sign_out(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: SignOut = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    if body.but_here && !body.everywhere {
        return Err(Input::Invalid.into());
    }
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    if body.but_here {
        page_session::end_others(&mut tx, &session).await?;
    } else {
        page_session::end(&mut tx, &session, body.everywhere).await?;
    }
    if body.everywhere {
        sign_ins::end_all(&mut tx, &session.account, now).await.internal()?;
        ledger::write(&mut tx, &session.account, "account.signed_out_everywhere", &json!({}), now).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"state": "signed_out"})))
}

/// `POST /v1/account/delete`: revokes every device everywhere, then forgets the account, here and at the broker. Nothing brings it back.
pub async fn delete(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Wrap::Reauth)?;
    requests::hold_all(&mut tx, &session.account).await.internal()?;
    for grant in devices::grants(&mut tx, &session.account).await.internal()? {
        withdraw_grant(&mut tx, &session.account, &grant.grant_id, now).await?;
    }
    for log in devices::logs(&mut tx, &session.account).await.internal()? {
        outbox::write_forgotten(&mut tx, log, now).await?;
    }
    accounts::delete(&mut tx, &session.account).await.internal()?;
    tx.commit().await.internal()?;
    let effective = identity.pump().await?;
    Ok(Json(json!({"state": "deleted", "effective": effective})))
}
