//! Credential issuer metadata (§12.2), plain and signed.

use super::{CONFIGURATION, encryption};
use crate::state::Identity;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use baton_protocol::credential::VCT;
use baton_protocol::jose::{Draft, Typ};
use baton_service::problem::Problem;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /.well-known/openid-credential-issuer{path}`
pub async fn metadata(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut metadata = plain(&identity)?;
    let signed = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("application/jwt"));
    if !signed {
        return Ok(Json(metadata).into_response());
    }
    metadata["iss"] = identity.base.url.clone().into();
    metadata["sub"] = identity.base.url.clone().into();
    metadata["iat"] = identity.base.now().secs().into();
    let token = identity.base.keys.sign(Draft::new(Typ::IssuerMetadata, identity.base.keys.kid(), &metadata));
    Ok(([(CONTENT_TYPE, "application/jwt")], token).into_response())
}

fn plain(identity: &Identity) -> Result<Value, Problem> {
    let (requests, responses) = encryption::describe(identity)?;
    let url = &identity.base.url;
    let names = [("en", "Device"), ("de", "Gerät"), ("es", "Dispositivo"), ("zh-Hans", "设备"), ("ar", "جهاز")];
    let display: Vec<_> = names.map(|(locale, name)| json!({"locale": locale, "name": name})).to_vec();
    let claims: Vec<_> = ["name", "kind", "platform", "model"].map(|name| json!({"path": [name]})).to_vec();
    Ok(json!({
        "credential_issuer": url,
        "authorization_servers": [url],
        "credential_endpoint": format!("{url}/credential"),
        "nonce_endpoint": format!("{url}/nonce"),
        "deferred_credential_endpoint": format!("{url}/deferred_credential"),
        "notification_endpoint": format!("{url}/notification"),
        "credential_request_encryption": requests,
        "credential_response_encryption": responses,
        "display": [{"locale": "en", "name": "Baton"}],
        "credential_configurations_supported": {CONFIGURATION: {
            "format": "dc+sd-jwt",
            "scope": CONFIGURATION,
            "vct": VCT,
            "cryptographic_binding_methods_supported": ["jwk", "did:key"],
            "credential_signing_alg_values_supported": ["ES256"],
            "proof_types_supported": {"jwt": {"proof_signing_alg_values_supported": ["ES256"]}},
            "credential_metadata": {"display": display, "claims": claims},
        }},
    }))
}
