//! Tests alone: somebody looks at every answer as it leaves, for instance to hold it against what is documented.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt as _;
use std::sync::OnceLock;

/// An answer.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Method of the request.
    pub method: &'a str,
    /// The route's pattern.
    pub path: &'a str,
    /// Status.
    pub status: u16,
    /// Content type; empty when there is none.
    pub content_type: &'a str,
    /// All of the body.
    pub body: &'a [u8],
}

static WITNESS: OnceLock<fn(&Seen<'_>)> = OnceLock::new();

/// Calls one, for the life of this process.
pub fn call(witness: fn(&Seen<'_>)) {
    let _ = WITNESS.set(witness);
}

/// Shows an answer to it.
pub async fn look(method: &Method, path: &str, response: Response) -> Response {
    let Some(witness) = WITNESS.get().filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS) else { return response };
    let (parts, body) = response.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // A stream goes out as it comes; that it is one is seen.
    if content_type == "text/event-stream" {
        witness(&Seen { method: method.as_str(), path, status: parts.status.as_u16(), content_type, body: &[] });
        return Response::from_parts(parts, body);
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    witness(&Seen { method: method.as_str(), path, status: parts.status.as_u16(), content_type, body: &body });
    Response::from_parts(parts, Body::from(body))
}
