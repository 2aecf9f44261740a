//! `POST /v1/nonces`

use crate::state::Verifier;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_service::nonces;
use baton_service::problem::Problem;
use serde_json::Value;
use std::sync::Arc;

/// A nonce for a presentation to this verifier.
pub async fn create(State(verifier): State<Arc<Verifier>>, body: Body) -> Result<Json<Value>, Problem> {
    nonces::answer(&verifier.base, body).await
}
