//! The person looks at a request: by the authorization request of this device, or by the code another device shows.

use crate::state::Identity;
use crate::store::requests::{self, LIFETIME_SECS, Request};
use crate::{ledger, page_session};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::enrolment::{MAX_GUESSES, normalise_user_code};
use baton_protocol::id::{AccountId, RequestId};
use baton_protocol::key::hash;
use baton_protocol::refusal::{Enrol, Input, Limit};
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use std::sync::Arc;

/// Wrong user codes of one account in ten minutes.
const MAX_WRONG: i64 = 5;
/// Requests of an hour that an account looked at and did not approve, until it is left in peace unless its person signs in anew (attacks.md DEV-14).
const MAX_PROMPTS: i64 = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    request_uri: Option<String>,
    user_code: Option<String>,
    /// The origin of the page whose link led here, if one did.
    linked_from: Option<String>,
    /// One that waits for this very account: a wallet's.
    request: Option<RequestId>,
}

/// `POST /v1/requests/open`: binds the request to the account that looks at it, and gives everything the person decides by.
pub async fn open(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Open = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    if body.linked_from.is_some_and(|origin| origin != identity.config.page_origin) {
        // Whoever has the code on the screen of this very device should join on it; and who was sent it by mail should not join anything
        // (attacks.md DEV-16, RFC 10027 on protocol selection).
        return Err(Enrol::SameDevice.into());
    }
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    if body.user_code.is_some() {
        // Nobody who is not signed in makes others wait.
        page_session::find(&identity, &mut tx, &headers).await?;
        requests::one_guess_at_a_time(&mut tx).await.internal()?;
    }
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    let found = match (&body.request_uri, &body.user_code, &body.request) {
        (Some(uri), None, None) => requests::by_request_uri(&mut tx, &hash(uri.as_bytes())).await.internal()?,
        (None, Some(code), None) => by_code(&identity, &mut tx, &session.account, code).await?,
        (None, None, Some(id)) => Some(bound(&mut tx, id, &session.account).await?),
        _ => return Err(Input::Invalid.into()),
    };
    let Some(request) = found else {
        // The count of wrong codes is what must stay.
        tx.commit().await.internal()?;
        return Err(Enrol::Code.into());
    };
    let id = RequestId::parse(&request.request_id).map_err(|_| NOT_FOUND)?;
    check_open(&identity, &request)?;
    // Whoever signs in for it wants it: no flood of links keeps a person from adding a device of theirs.
    if !session.is_fresh(now) && requests::prompts(&mut tx, &session.account, &id, now).await.internal()? >= MAX_PROMPTS {
        return Err(Limit::Prompts.into());
    }
    if requests::bind_account(&mut tx, &id, &session.account).await.internal()?.is_none() {
        // One code shown to two persons is the mark of phishing: nobody gets it (attacks.md DEV-12).
        requests::deny(&mut tx, &id).await.internal()?;
        tx.commit().await.internal()?;
        return Err(Enrol::Code.into());
    }
    let client = identity.config.clients.get(&request.client_id).ok_or(NOT_FOUND)?;
    let shown = request.shown(&client.name).ok_or_else(|| Problem::Internal("request does not parse".into()))?;
    tx.commit().await.internal()?;
    Ok(Json(json!({"shown": shown, "shown_hash": shown.hash(), "state": request.state, "check_code": request.check_code_hash.is_some()})))
}

/// `GET /v1/requests`: what this account's wallets ask for and wait for.
pub async fn waiting(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let waiting = requests::waiting(&mut db, &session.account, identity.base.now()).await.internal()?;
    let by_redirect: Vec<_> = waiting.iter().filter(|(_, code)| code.is_none()).map(|(id, _)| id).collect();
    let all: Vec<_> = waiting.iter().map(|(id, _)| id).collect();
    Ok(Json(json!({"requests": all, "by_redirect": by_redirect})))
}

async fn by_code(identity: &Identity, db: &mut AnyConnection, account: &AccountId, code: &str) -> Result<Option<Request>, Problem> {
    let now = identity.base.now();
    let (mine, all) = requests::wrong_codes(db, account, now.0 - LIFETIME_SECS * 1000).await.internal()?;
    if mine >= MAX_WRONG || all >= i64::from(MAX_GUESSES) {
        return Err(Limit::Rate.into());
    }
    let found = match normalise_user_code(code) {
        Some(code) => requests::by_user_code(db, &hash(code.as_bytes())).await.internal()?.filter(|request| !request.is_expired(now)),
        None => None,
    };
    if found.is_none() {
        requests::wrong_code(db, account, now).await.internal()?;
    }
    Ok(found)
}

/// Refuses what can no longer be decided.
pub fn check_open(identity: &Identity, request: &Request) -> Result<(), Enrol> {
    match request.state.as_str() {
        "denied" => Err(Enrol::NotApproved),
        "requested" if request.is_expired(identity.base.now()) => Err(Enrol::Expired),
        _ => Ok(()),
    }
}

/// `POST /v1/requests/{id}/deny`
pub async fn deny(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = RequestId::parse(&id)?;
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    let request = bound(&mut tx, &id, &session.account).await?;
    if requests::deny(&mut tx, &id).await.internal()?.is_none() && request.state != "denied" {
        return Err(Enrol::State.into());
    }
    if request.state == "requested" {
        ledger::write(
            &mut tx,
            &session.account,
            "device.denied",
            &json!({"from": request.seen_address, "client": request.client_id}),
            identity.base.now(),
        )
        .await
        .internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"state": "denied"})))
}

/// The request this account looks at; anybody else's is not there.
pub async fn bound(db: &mut AnyConnection, id: &RequestId, account: &AccountId) -> Result<Request, Problem> {
    let request = requests::find(db, id).await.internal()?;
    request.filter(|request| request.account_id.as_deref() == Some(account.as_str())).ok_or_else(|| NOT_FOUND.into())
}
