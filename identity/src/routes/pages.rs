//! The pages people see: one bundle from `identity/web`, read from disk in debug builds and embedded in release builds. What they say to the
//! server goes through the pages' API; these handlers read nothing from a request, so there is nothing to reflect.

use crate::state::Identity;
use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Redirect, Response};
use baton_service::extract::Path;
use baton_web::Pages;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// Nothing inline, nothing from elsewhere, in nobody's frame; markup only through the one policy of the bundle itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

/// `GET /`, `GET /device`, `GET {identity}/authorize`; with the pages at an origin of their own, it goes on there.
pub async fn index(State(identity): State<Arc<Identity>>, uri: Uri) -> Response {
    if identity.config.pages_are_elsewhere {
        let place = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        return Redirect::to(&format!("{}{place}", identity.config.page_origin)).into_response();
    }
    let mut answer = page(Pages::get("index.html").map(|built| built.data));
    if uri.path() == "/device" {
        // Whoever opened it has no hold on it: it shows one link after another to nobody.
        answer.headers_mut().insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    }
    answer
}

fn page(built: Option<Cow<'static, [u8]>>) -> Response {
    match built {
        Some(page) => ([(CONTENT_SECURITY_POLICY, POLICY)], Html(page)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "The pages are not built: run make web.\n").into_response(),
    }
}

/// `GET /baton.json`: where the pages find identity. Whoever serves them at another origin writes this file (docs/operations.md).
pub async fn config(State(identity): State<Arc<Identity>>) -> Json<Value> {
    Json(json!({"identity": identity.base.url}))
}

/// `GET /assets/{name}`: named by their content, so they never change.
pub async fn asset(Path(name): Path<String>) -> Response {
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match Pages::get(&format!("assets/{name}")) {
        Some(file) => {
            let headers: [(HeaderName, &str); 2] = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, file.data).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_that_are_not_built_say_how() {
        let said = async |built: Option<&'static [u8]>| {
            let answer = page(built.map(Cow::Borrowed));
            (answer.status().as_u16(), axum::body::to_bytes(answer.into_body(), 1000).await.unwrap())
        };
        assert_eq!(said(None).await, (503, "The pages are not built: run make web.\n".into()));
        assert_eq!(said(Some(b"<!doctype html>")).await, (200, "<!doctype html>".into()));
    }
}
