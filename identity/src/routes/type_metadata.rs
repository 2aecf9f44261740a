//! SD-JWT VC type metadata of the device-binding credential, and the service's own keys as SD-JWT VC has issuers publish them. (The credential's
//! issuer is the person's own `did:key`: this service signs status lists and metadata, never a credential.)

use crate::state::Identity;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::response::{IntoResponse as _, Response};
use baton_protocol::key::hash;
use serde_json::{Value, json};
use std::sync::Arc;

/// The document itself, byte for byte: `vct#integrity` and caches rest on that.
const DOCUMENT: &str = include_str!("../../../schemas/type-metadata.json");

/// `GET /.well-known/jwt-vc-issuer{path}`
pub async fn issuer(State(identity): State<Arc<Identity>>) -> Json<Value> {
    Json(json!({"issuer": identity.base.url, "jwks": identity.base.keys.jwks()}))
}

/// `GET /v1/credential-types/device-binding`: with the digest that a `vct#integrity` would have (W3C Subresource Integrity) as its entity tag.
pub async fn show(headers: HeaderMap) -> Response {
    let tag = format!("\"{}\"", integrity());
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CACHE_CONTROL, "public, max-age=3600".to_owned()), (ETAG, tag)];
    (headers, DOCUMENT).into_response()
}

/// `sha256-` and the digest in base64 with padding.
pub fn integrity() -> String {
    let url_safe = hash(DOCUMENT.as_bytes());
    let padded = url_safe.len().next_multiple_of(4);
    format!("sha256-{:=<padded$}", url_safe.replace('-', "+").replace('_', "/"))
}
