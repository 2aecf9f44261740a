//! Nonces for presentations to the broker, and the keys its acceptances are signed with.

use crate::state::Broker;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_service::nonces;
use baton_service::problem::Problem;
use serde_json::Value;
use std::sync::Arc;

/// `POST /v1/nonces`
pub async fn create(State(broker): State<Arc<Broker>>, body: Body) -> Result<Json<Value>, Problem> {
    nonces::answer(&broker.base, body).await
}

/// `GET /jwks`
pub async fn jwks(State(broker): State<Arc<Broker>>) -> Json<Value> {
    Json(broker.base.keys.jwks())
}
