//! `POST /v1/nonces`: a nonce for a presentation to this verifier, bound to the key that will use it.

use crate::state::Verifier;
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
struct Ask {
    jkt: Thumbprint,
}

/// `POST /v1/nonces`
pub async fn create(State(verifier): State<Arc<Verifier>>, body: Body) -> Result<Json<Value>, Problem> {
    let ask: Ask = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    b64::decode_array::<32>(ask.jkt.as_str()).map_err(|_| Input::Invalid)?;
    Ok(Json(json!({"nonce": verifier.base.nonce(Purpose::Presentation, &ask.jkt), "expires_in": LIFETIME_SECS})))
}
