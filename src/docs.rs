//! `/docs`: what the three services answer, to read in a browser. The documents are those of `schemas/`; Swagger UI comes with the pages
//! (`make web`), from disk in debug builds and embedded in release builds.

use axum::Router;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use baton_service::extract::Path;
use baton_web::Docs;

/// Nothing inline but the style attributes of Swagger UI, nothing from elsewhere, in nobody's frame, and nothing that can be sent. In a sandbox: its scripts
/// are not ours, and have no part in the origin where the pages open a root.
const POLICY: &str = "sandbox allow-scripts; default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Its routes.
pub fn router() -> Router {
    Router::new()
        .route("/docs", get(|| async { file("index.html") }))
        .route("/docs/{name}", get(|Path(name): Path<String>| async move { file(&name) }))
        .route("/docs/asyncapi.json", get(|| async { json(include_str!("../schemas/asyncapi.json")) }))
        .route("/docs/openapi/{name}", get(|Path(name): Path<String>| async move { openapi(&name) }))
}

fn openapi(name: &str) -> Response {
    match name {
        "identity.json" => json(include_str!("../schemas/openapi/identity.json")),
        "verifier.json" => json(include_str!("../schemas/openapi/verifier.json")),
        "broker.json" => json(include_str!("../schemas/openapi/broker.json")),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn json(text: &'static str) -> Response {
    // Public, and asked for from the sandbox, which has no origin.
    ([(CONTENT_TYPE, "application/json"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")], text).into_response()
}

fn file(name: &str) -> Response {
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let headers: [(HeaderName, &str); 2] = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)];
    match Docs::get(name) {
        Some(file) => (headers, file.data).into_response(),
        None if name == "index.html" => (StatusCode::SERVICE_UNAVAILABLE, "The pages are not built: run make web.\n").into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
