//! The pages people see: one bundle from `identity/web`, read from disk in debug builds and embedded in release builds. What they say to the
//! server goes through the pages' API; these handlers read nothing from a request, so there is nothing to reflect.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Built;

/// Nothing inline, nothing from elsewhere, in nobody's frame; markup only through the one policy of the bundle itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

/// `GET /`, `GET /device`, `GET {identity}/authorize`
pub async fn index() -> Response {
    match Built::get("index.html") {
        Some(page) => ([(CONTENT_SECURITY_POLICY, POLICY)], Html(page.data)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "The pages are not built: run make web.\n").into_response(),
    }
}

/// `GET /assets/{name}`: named by their content, so they never change.
pub async fn asset(Path(name): Path<String>) -> Response {
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match Built::get(&format!("assets/{name}")) {
        Some(file) => {
            let headers: [(HeaderName, &str); 2] = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, file.data).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
