//! `GET /v1/log`: the device log, to live members. Full devices also get labels, which are no evidence.

use super::credential::LOG_SCOPE;
use crate::state::Identity;
use crate::store::{devices, logs};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::Refusal;
use baton_protocol::refusal::Token;
use baton_service::guard;
use baton_service::problem::{InternalExt as _, Problem};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/log`
pub async fn show(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let base = &identity.base;
    let candidate = match guard::candidate(base, &identity.own_tokens, &headers, "GET", "/v1/log") {
        Err(Problem::Refused { refusal: Refusal::Token(Token::Key | Token::Issuer), .. }) => {
            guard::candidate(base, &identity.verifier_tokens, &headers, "GET", "/v1/log")?
        }
        other => other?,
    };
    let mut tx = base.db.begin().await.internal()?;
    let standing = devices::standing(&mut tx, candidate.token().device.as_str()).await.internal()?;
    let caller = candidate.admit_as(base, standing, &mut tx).await?;
    caller.needs(LOG_SCOPE)?;
    devices::seen(&mut tx, caller.token.device.as_str(), base.now()).await.internal()?;
    tx.commit().await.internal()?;

    let mut db = base.db.reader().acquire().await.internal()?;
    let entries = logs::entries(&mut db, &caller.standing.log).await.internal()?;
    let rows = devices::directory(&mut db, &caller.standing.log).await.internal()?;
    let live: Vec<_> = rows.iter().map(|(device, _, _)| device.clone()).collect();
    let directory = match caller.needs_full() {
        Ok(()) => Some(rows.into_iter().map(|(device, name, kind)| json!({"device": device, "name": name, "kind": kind})).collect::<Vec<_>>()),
        Err(Refusal::Token(Token::Tier)) => None,
        Err(other) => return Err(other.into()),
    };
    Ok(Json(json!({"entries": entries, "live": live, "directory": directory})))
}
