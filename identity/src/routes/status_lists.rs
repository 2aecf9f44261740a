//! `GET /v1/status-lists/1`: the signed list. Public, cacheable for its `ttl`, with an ETag for its version.

use crate::state::Identity;
use crate::store::status;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use baton_protocol::status_list::{self, Bits};
use baton_service::problem::{InternalExt as _, Problem};
use std::sync::Arc;

/// How long a list may be kept: the bound within which foreign verifiers see a revocation.
const TTL_SECS: i64 = 60;

/// `GET /v1/status-lists/1`
pub async fn show(State(identity): State<Arc<Identity>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    if uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("time="))) {
        // Historical lists are optional in the draft (§8.4); it asks for this answer.
        return Ok(StatusCode::NOT_IMPLEMENTED.into_response());
    }
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let (bits, version) = status::list(&mut db).await.internal()?.ok_or_else(|| Problem::Internal("no status list".into()))?;
    let now = identity.base.now();
    // A new token each half ttl, or when the list changed.
    let etag = format!("\"{version}.{}\"", now.secs() / (TTL_SECS / 2));
    if headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()) == Some(etag.as_str()) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let bits = Bits::from_bytes(bits).ok_or_else(|| Problem::Internal("status list has the wrong size".into()))?;
    let token = identity.base.keys.sign(status_list::draft(identity.base.keys.kid(), &identity.status_uri(), &bits, TTL_SECS, now));
    let cache = format!("public, max-age={}", TTL_SECS / 2);
    Ok(([(CONTENT_TYPE, "application/statuslist+jwt".to_owned()), (ETAG, etag), (CACHE_CONTROL, cache)], token).into_response())
}
