//! `POST /v1/nonces` of verifier and broker: a nonce for a presentation, bound to the key that will use it.

use crate::base::Base;
use crate::edge;
use crate::problem::Problem;
use axum::Json;
use axum::body::Body;
use baton_protocol::b64;
use baton_protocol::key::Thumbprint;
use baton_protocol::nonce::{LIFETIME_SECS, Purpose};
use baton_protocol::refusal::Input;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    jkt: Thumbprint,
}

/// Answers a request for a nonce.
pub async fn answer(base: &Base, body: Body) -> Result<Json<Value>, Problem> {
    let want: Want = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    b64::decode_array::<32>(want.jkt.as_str()).map_err(|_| Input::Invalid)?;
    Ok(Json(json!({"nonce": base.nonce(Purpose::Presentation, &want.jkt), "expires_in": LIFETIME_SECS})))
}
