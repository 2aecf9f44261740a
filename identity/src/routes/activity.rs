//! `GET /v1/activity`: the account's ledger, newest first.

use crate::state::Identity;
use crate::{ledger, page_session};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_service::extract::Query;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Which page.
#[derive(Deserialize)]
pub struct Page {
    /// Events before this number.
    before: Option<i64>,
}

/// `GET /v1/activity`
pub async fn list(State(identity): State<Arc<Identity>>, Query(page): Query<Page>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let events = ledger::list(&mut db, &session.account, page.before.unwrap_or(i64::MAX)).await.internal()?;
    Ok(Json(json!({"events": events.iter().map(shown).collect::<Vec<_>>()})))
}

/// One event, as the person sees it.
pub fn shown(event: &ledger::Event) -> Value {
    json!({"n": event.n, "at": event.at, "kind": event.kind, "detail": serde_json::from_str::<Value>(&event.detail).unwrap_or_default()})
}
