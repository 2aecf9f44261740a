//! Authorization server metadata (RFC 8414; OpenID Connect Discovery 1.0) and keys.

use super::app_sign_in::SCOPES as SIGN_IN_SCOPES;
use super::oid4vci;
use crate::clients::SCOPES;
use crate::state::Identity;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /.well-known/oauth-authorization-server{path}`, `GET {path}/.well-known/openid-configuration`
pub async fn authorization_server(State(identity): State<Arc<Identity>>) -> Json<Value> {
    let url = &identity.base.url;
    let scopes = [SIGN_IN_SCOPES, SCOPES, &[oid4vci::CONFIGURATION]].concat();
    let mut metadata = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
        "pushed_authorization_request_endpoint": format!("{url}/par"),
        "require_pushed_authorization_requests": true,
        "device_authorization_endpoint": format!("{url}/device_authorization"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "revocation_endpoint": format!("{url}/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint": format!("{url}/introspect"),
        "scopes_supported": scopes,
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "amr"],
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", oid4vci::GRANT, "urn:ietf:params:oauth:grant-type:device_code"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "dpop_signing_alg_values_supported": ["ES256"],
        "pre-authorized_grant_anonymous_access_supported": true,
        "authorization_details_types_supported": ["baton_device", oid4vci::DETAILS],
        "status_list_aggregation_endpoint": format!("{url}/v1/status-lists/1"),
    });
    if identity.config.registration {
        metadata["registration_endpoint"] = format!("{url}/register").into();
    }
    Json(metadata)
}

/// `GET /did.json`
pub async fn did_document(State(identity): State<Arc<Identity>>) -> Json<Value> {
    Json(identity.base.did_document())
}

/// `GET /jwks`
pub async fn jwks(State(identity): State<Arc<Identity>>) -> Json<Value> {
    Json(identity.base.keys.jwks())
}
