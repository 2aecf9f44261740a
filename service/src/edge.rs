//! The outer edge of every service: bounded bodies, safe headers, one security event for each refusal, and no panic past one request.

use crate::audit::{Audit, Event};
use crate::base::Base;
use crate::problem::{Problem, Refused};
use axum::body::Body;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderName, REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use baton_protocol::ports::Clock;
use baton_protocol::refusal::{Input, Limit};
use baton_protocol::time::Millis;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::{Duration, UNIX_EPOCH};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

/// Largest body on most routes.
pub const MAX_BODY: usize = 128 * 1024;
/// Largest body where sealed state is carried.
pub const MAX_STATE_BODY: usize = 1024 * 1024;
/// Two years.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");
/// How long the next part of a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(if cfg!(feature = "testing") { 2 } else { 10 });

/// Wraps a service's routes. `service` names it in events.
pub fn wrap(routes: Router, service: &'static str, base: &Base, audit: &Audit) -> Router {
    let (audit, clock) = (audit.clone(), base.clock.clone());
    // For what is refused outside of any answer.
    let outside = Extension(audit.clone());
    let is_https = base.url.starts_with("https:");
    routes
        .layer(outside)
        .layer(DefaultBodyLimit::max(MAX_STATE_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(30)))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| Problem::Internal("panic in a handler".into()).into_response()))
        // Around all of them: no answer leaves without it.
        .layer(middleware::from_fn(move |request, next| watch(service, (audit.clone(), clock.clone()), request, next)))
        // Whoever has been here by https comes by nothing else (RFC 6797); the proxy that speaks TLS passes it on.
        .layer(SetResponseHeaderLayer::overriding(STRICT_TRANSPORT_SECURITY, is_https.then_some(HSTS)))
}

/// Lets pages of any origin ask: for routes where a token and a proof by the device's key say who asks, and a cookie never does.
pub fn open_to_browsers<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    let cors = CorsLayer::new()
        .allow_origin(tower_http::cors::Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("dpop")])
        .expose_headers([DATE, RETRY_AFTER, WWW_AUTHENTICATE, HeaderName::from_static("dpop-nonce")])
        .max_age(Duration::from_mins(10));
    routes.layer(cors)
}

/// Lets the pages of one other origin ask, with the cookie that says who is signed in.
pub fn open_to_page<S: Clone + Send + Sync + 'static>(routes: Router<S>, origin: &str) -> Router<S> {
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::exact(HeaderValue::from_str(origin).unwrap_or(HeaderValue::from_static("null"))))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("dpop"), HeaderName::from_static("baton-account")])
        .expose_headers([DATE, RETRY_AFTER, HeaderName::from_static("dpop-nonce")])
        .max_age(Duration::from_mins(10));
    routes.layer(cors)
}

async fn watch(service: &'static str, (audit, clock): (Audit, Clock), request: Request, next: Next) -> Response {
    // The route's pattern: a query, and a path with a reference in it, may carry what a log must not.
    let path = request.extensions().get::<MatchedPath>().map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    #[cfg(any(debug_assertions, feature = "testing"))]
    let method = request.method().clone();
    #[cfg(debug_assertions)]
    let whole = request.uri().path().to_owned();
    #[cfg(feature = "testing")]
    let place = path.clone();
    let refusal = refuse_early(&request).err();
    let mut response = match refusal {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    if response.status() == StatusCode::REQUEST_TIMEOUT && !response.headers().contains_key(CONTENT_TYPE) {
        response = Problem::from(Limit::Slow).into_response();
    }
    #[cfg(debug_assertions)]
    if response.status().is_success() {
        crate::failpoint::after(method.as_str(), &whole);
    }
    if let Some(Refused(refusal)) = response.extensions().get::<Refused>().copied() {
        audit.note(Event { service, path, status: response.status().as_u16(), refusal });
    }
    let headers = response.headers_mut();
    // Clients go by it: it is the time that their proofs are held against, and not the machine's.
    headers.insert(DATE, date(clock.now()));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(HeaderName::from_static("content-security-policy"))
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    #[cfg(feature = "testing")]
    let response = crate::witness::look(&method, &place, response).await;
    response
}

/// RFC 9110 §5.6.7.
fn date(now: Millis) -> HeaderValue {
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(now.secs()).unwrap_or_default());
    HeaderValue::try_from(httpdate::fmt_http_date(at)).unwrap_or(HeaderValue::from_static(""))
}

fn refuse_early(request: &Request) -> Result<(), Problem> {
    let query = request.uri().query().unwrap_or_default();
    if [request.uri().path(), query].iter().any(|text| text.contains("%00")) {
        return Err(Input::Invalid.into());
    }
    if query.split('&').any(|pair| matches!(pair.split('=').next(), Some("access_token" | "token" | "dpop"))) {
        return Err(Input::TokenInUrl.into());
    }
    if request.headers().contains_key(CONTENT_ENCODING) {
        return Err(Input::Encoding.into());
    }
    Ok(())
}

/// Reads a body of at most `max` bytes. One that says it is longer is not waited for, and no part of one for longer than [`BODY_WAIT`].
pub async fn bytes(body: Body, max: usize) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > max as u64 {
        return Err(Limit::Body.into());
    }
    let mut body = Limited::new(body, max);
    let mut all = Vec::new();
    loop {
        match tokio::time::timeout(BODY_WAIT, body.frame()).await {
            Err(_) => return Err(Limit::Slow.into()),
            Ok(None) => return Ok(all.into()),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    all.extend_from_slice(&data);
                }
            }
            Ok(Some(Err(why))) if why.is::<LengthLimitError>() => return Err(Limit::Body.into()),
            Ok(Some(Err(_))) => return Err(Input::Invalid.into()),
        }
    }
}

/// Reads one of our own bodies: JSON, strict, nothing unknown (the types deny it).
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let node = baton_protocol::json::node(bytes, MAX_STATE_BODY).map_err(|_| Input::Invalid)?;
    if node.has_nul() {
        return Err(Input::Invalid.into());
    }
    flat_json(bytes)
}

/// [`json`] for a body of texts and lists of texts alone: with nothing nested, serde itself refuses a member named twice, and one reading is enough.
pub fn flat_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|why| Problem::from(Input::Invalid).with("detail", shape(&why)))
}

/// What was wrong with the shape, without quoting any value the client sent.
fn shape(why: &serde_json::Error) -> String {
    let text = why.to_string();
    let known = ["missing field", "unknown field", "duplicate field"].iter().find(|start| text.starts_with(**start));
    match known {
        Some(_) if text.len() < 120 => text.split(", expected").next().unwrap_or("shape").to_owned(),
        _ => "a member has the wrong form".to_owned(),
    }
}
