//! Authorization server metadata (RFC 8414) and keys.

use crate::state::Verifier;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /.well-known/oauth-authorization-server{path}`
pub async fn authorization_server(State(verifier): State<Arc<Verifier>>) -> Json<Value> {
    let url = &verifier.base.url;
    Json(json!({
        "issuer": url,
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": [],
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": ["ES256"],
    }))
}

/// `GET /did.json`
pub async fn did_document(State(verifier): State<Arc<Verifier>>) -> Json<Value> {
    Json(verifier.base.did_document())
}

/// `GET /jwks`
pub async fn jwks(State(verifier): State<Arc<Verifier>>) -> Json<Value> {
    Json(verifier.base.keys.jwks())
}
