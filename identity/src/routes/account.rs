//! The signed-in person's account.

use crate::state::Identity;
use crate::store::accounts;
use crate::{ledger, page_session};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::refusal::Wrap;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
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
    let session = page_session::find(&identity, &mut tx, &headers).await?;
    if accounts::confirm_recovery(&mut tx, &session.account, now).await.internal()? {
        ledger::write(&mut tx, &session.account, "recovery.confirmed", &json!({}), now).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"recovery_confirmed": true})))
}
