//! Nonces for presentations to the broker, and the keys its acceptances are signed with.

use crate::state::Broker;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_protocol::b64;
use baton_protocol::key::Thumbprint;
use baton_protocol::nonce::{LIFETIME_SECS, Purpose};
use baton_protocol::refusal::Input;
use baton_service::edge;
use baton_service::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    jkt: Thumbprint,
}

/// `POST /v1/nonces`
pub async fn create(State(broker): State<Arc<Broker>>, body: Body) -> Result<Json<Value>, Problem> {
    let want: Want = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    b64::decode_array::<32>(want.jkt.as_str()).map_err(|_| Input::Invalid)?;
    Ok(Json(json!({"nonce": broker.base.nonce(Purpose::Presentation, &want.jkt), "expires_in": LIFETIME_SECS})))
}

/// `GET /jwks`
pub async fn jwks(State(broker): State<Arc<Broker>>) -> Json<Value> {
    Json(broker.base.keys.jwks())
}
