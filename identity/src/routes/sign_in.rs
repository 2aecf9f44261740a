//! Sign-in with whatever passkey the person has. The answer carries the wrapped copies: the person was verified this very moment.

use super::sign_up::user_handle;
use crate::page_session;
use crate::state::Identity;
use crate::store::{accounts, ceremonies};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use baton_protocol::id::{AccountId, CeremonyId};
use baton_protocol::refusal::Webauthn;
use baton_service::edge;
use baton_service::limits::address_key;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// `POST /v1/sign-in/start`
pub async fn start(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    identity.sign_ins.count(&address_key(peer.ip()), identity.base.now())?;
    let (options, state) = identity.passkeys.start_sign_in()?;
    let ceremony = ceremonies::keep(&identity, "sign-in", None, &state).await?;
    Ok(Json(json!({"ceremony": ceremony, "options": options})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    ceremony: CeremonyId,
    credential: Value,
}

/// `POST /v1/sign-in/finish`
pub async fn finish(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Finish = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let (_, state) = ceremonies::take(&identity, "sign-in", &body.ceremony).await?.ok_or(Webauthn::Challenge)?;
    let (user, credential_id) = identity.passkeys.identify(&body.credential)?;

    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let (owner, _) = accounts::passkey(&mut tx, &credential_id).await.internal()?.ok_or(Webauthn::Credential)?;
    let account = AccountId::parse(&owner).map_err(|_| Webauthn::Credential)?;
    // A page that is somebody's goes on for nobody else, whoever's passkey is there.
    let meant = headers.get("baton-account").is_none_or(|meant| meant.as_bytes() == account.as_str().as_bytes());
    if user_handle(&account) != user || !meant {
        return Err(Webauthn::Credential.into());
    }
    accounts::hold(&mut tx, &account).await.internal()?;
    // As it is now: it may have been removed before this had the account.
    let (_, passkey) =
        accounts::passkey(&mut tx, &credential_id).await.internal()?.filter(|(owner, _)| *owner == account.as_str()).ok_or(Webauthn::Credential)?;
    let changed = identity.passkeys.finish_sign_in(&body.credential, &state, &passkey)?;
    if !accounts::used(&mut tx, &credential_id, changed.as_deref(), now).await.internal()? {
        return Err(Webauthn::Credential.into());
    }
    let row = accounts::find(&mut tx, &account).await.internal()?.ok_or(Webauthn::Credential)?;
    let wraps = accounts::wraps(&mut tx, &account).await.internal()?;
    let cookie = page_session::begin(&identity, &mut tx, &account).await?;
    tx.commit().await.internal()?;
    Ok((
        [(SET_COOKIE, cookie)],
        Json(json!({"account": account, "root": row.root, "wraps": wraps, "credential_id": credential_id, "root_statements": row.root_statements()})),
    )
        .into_response())
}
