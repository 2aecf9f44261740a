//! Authorization server metadata (RFC 8414) and keys.

use crate::clients::SCOPES;
use crate::state::Identity;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /.well-known/oauth-authorization-server{path}`
pub async fn authorization_server(State(identity): State<Arc<Identity>>) -> Json<Value> {
    let url = &identity.base.url;
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
        "pushed_authorization_request_endpoint": format!("{url}/par"),
        "require_pushed_authorization_requests": true,
        "device_authorization_endpoint": format!("{url}/device_authorization"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "dpop_signing_alg_values_supported": ["ES256"],
        "authorization_details_types_supported": ["baton_device"],
        "status_list_aggregation_endpoint": format!("{url}/v1/status-lists/1"),
    }))
}

/// `GET /jwks`
pub async fn jwks(State(identity): State<Arc<Identity>>) -> Json<Value> {
    Json(identity.base.keys.jwks())
}
