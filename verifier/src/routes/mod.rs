//! The verifier's HTTP surface.

#[cfg(feature = "w3c")]
mod foreign;
mod metadata;
mod nonces;
mod oid4vp;
mod presentations;
mod token;
#[cfg(feature = "w3c")]
mod vc_api;

use crate::state::Verifier;
use axum::Router;
use axum::routing::{get, post};
use baton_service::edge;
use std::sync::Arc;

/// All routes; `path` is the verifier's path (`/verifier`).
pub fn router(verifier: Arc<Verifier>, path: &str) -> Router {
    let devices = Router::new()
        .route("/token", post(token::exchange))
        .route("/jwks", get(metadata::jwks))
        .route("/did.json", get(metadata::did_document))
        .route("/v1/nonces", post(nonces::create))
        .route("/oid4vp/requests/{reference}", get(oid4vp::request).post(oid4vp::request_for))
        .route("/oid4vp/responses/{reference}", post(oid4vp::response));
    // Relying services alone: their key has no place in a browser.
    let own = edge::open_to_browsers(devices)
        .route("/v1/presentations/verify", post(presentations::verify))
        .route("/v1/transactions", post(oid4vp::create))
        .route("/v1/transactions/{id}", get(oid4vp::show))
        .route("/v1/transactions/{id}/events", get(oid4vp::events));
    #[cfg(feature = "w3c")]
    let own = own.route("/credentials/verify", post(vc_api::credentials)).route("/presentations/verify", post(vc_api::presentations));
    // For other people's test suites.
    #[cfg(all(feature = "w3c", debug_assertions))]
    let own = own.route("/credentials/issue", post(vc_api::issue));
    let well_known = Router::new().route(&format!("/.well-known/oauth-authorization-server{path}"), get(metadata::authorization_server));
    Router::new().nest(path, own).merge(well_known).with_state(verifier)
}
