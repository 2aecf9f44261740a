//! Recovery: a code of 128 bits finds the account (by a value derived from it) and opens its copy of the root; the account key then vouches for a
//! new passkey. The server learns neither code nor root.

use super::sign_up::user_handle;
use crate::state::Identity;
use crate::store::{accounts, ceremonies, requests};
use crate::{ledger, page_session};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use baton_protocol::enrolment::AccountProof;
use baton_protocol::id::{AccountId, CeremonyId};
use baton_protocol::key::hash;
use baton_protocol::refusal::{Limit, Webauthn, Wrap};
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_service::edge;
use baton_service::limits::address_key;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Codes of one address that opened nothing, in a day (attacks.md WRP-07). A mistyped code does not come here: its last sign checks the others.
const MAX_WRONG: i64 = 5;
const DAY_MILLIS: i64 = 24 * 3600 * 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    recovery_id: String,
}

/// `POST /v1/recovery/start`
pub async fn start(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    identity.sign_ins.count(&address_key(peer.ip()), identity.base.now())?;
    let body: Start = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let recovery_id = hash(body.recovery_id.as_bytes());
    let (account, copy) = find(&identity, &hash(address_key(peer.ip()).as_bytes()), &recovery_id).await?;
    let (options, state) = identity.passkeys.start_registration(user_handle(&account))?;
    let ceremony = ceremonies::keep(&identity, "recovery", Some(account.as_str()), &format!("{recovery_id}\n{state}")).await?;
    Ok(Json(json!({"ceremony": ceremony, "options": options, "wrapped": copy})))
}

/// Whose code it is, and the copy it opens. Who was wrong too often is told so for the rest of the day; whoever has the right code is not held up by
/// others at the same address.
async fn find(identity: &Identity, caller: &str, recovery_id: &str) -> Result<(AccountId, WrappedRoot), Problem> {
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let Some(account) = accounts::by_recovery_id(&mut tx, recovery_id).await.internal()? else {
        if requests::wrong_recoveries(&mut tx, caller, now.0 - DAY_MILLIS).await.internal()? >= MAX_WRONG {
            return Err(Limit::Rate.into());
        }
        requests::wrong_recovery(&mut tx, caller, now).await.internal()?;
        tx.commit().await.internal()?;
        return Err(NOT_FOUND.into());
    };
    let account = AccountId::parse(&account).map_err(|_| NOT_FOUND)?;
    let copies = accounts::wraps(&mut tx, &account).await.internal()?;
    tx.commit().await.internal()?;
    copies.into_iter().find(|copy| copy.opener == Opener::Recovery).map(|copy| (account, copy)).ok_or_else(|| NOT_FOUND.into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    ceremony: CeremonyId,
    credential: Value,
    proof: String,
    wrapped: WrappedRoot,
}

/// `POST /v1/recovery/finish`: the account key signs this ceremony; the new passkey gets its own copy.
pub async fn finish(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Finish = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let (account, state) = ceremonies::take(&identity, "recovery", &body.ceremony).await?.ok_or(Webauthn::Challenge)?;
    let account = account.and_then(|id| AccountId::parse(&id).ok()).ok_or(Webauthn::Challenge)?;
    let (begun_with, state) = state.split_once('\n').ok_or(Webauthn::Challenge)?;
    let (credential_id, passkey) = identity.passkeys.finish_registration(&body.credential, state)?;

    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    accounts::hold(&mut tx, &account).await.internal()?;
    // A code that was replaced meanwhile opens nothing.
    if accounts::by_recovery_id(&mut tx, begun_with).await.internal()?.as_deref() != Some(account.as_str()) {
        return Err(Webauthn::Challenge.into());
    }
    let row = accounts::find(&mut tx, &account).await.internal()?.ok_or(Wrap::Proof)?;
    let key = row.key().ok_or_else(|| Problem::Internal("account key does not parse".into()))?;
    let proof = AccountProof::check(&body.proof, &key, &identity.base.url, body.ceremony.as_str())?;
    body.wrapped.check_form()?;
    let for_this = matches!(&body.wrapped.opener, Opener::Passkey { credential_id: id, .. } if *id == credential_id);
    if !for_this || body.wrapped.root != proof.root {
        return Err(Wrap::Invalid.into());
    }
    match accounts::add_passkey(&mut tx, &account, (&credential_id, &passkey), now).await {
        Err(error) if baton_service::database::is_taken(&error) => return Err(Webauthn::Exists.into()),
        other => other.internal()?,
    }
    accounts::add_wrap(&mut tx, &account, &body.wrapped, now).await.internal()?;
    ledger::write(&mut tx, &account, "account.recovered", &json!({"passkey": credential_id}), now).await.internal()?;
    let cookie = page_session::begin(&identity, &mut tx, &account).await?;
    tx.commit().await.internal()?;
    Ok(([(SET_COOKIE, cookie)], Json(json!({"account": account, "root": row.root}))).into_response())
}
