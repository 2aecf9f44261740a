//! From a refusal to an answer: problem documents (RFC 9457) for our own resources, OAuth's own form for OAuth endpoints, challenges for tokens.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use baton_protocol::Refusal;
use baton_protocol::refusal::{Dpop, Enrol, Handoff, Input, Limit, Log, Oauth, Root, State, Status, Stream, Token, Vc, Vp, Webauthn, Wrap};
use serde_json::{Map, Value, json};

/// An answer that is not the wanted one.
#[derive(Debug)]
pub enum Problem {
    /// The caller's request was refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// In which dialect.
        form: Form,
        /// A fresh DPoP nonce to try with.
        nonce: Option<String>,
        /// More members of the body.
        more: Map<String, Value>,
    },
    /// Something of ours failed; told only to the log.
    Internal(String),
    /// Something we rest on is not there; nothing was done.
    Unavailable(&'static str),
}

/// Which dialect of error a client of this endpoint expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/problem+json`.
    Problem,
    /// RFC 6749 §5.2 JSON.
    Oauth,
}

/// What a response was refused for; read by [`crate::edge`] to write the one security event.
#[derive(Debug, Clone, Copy)]
pub struct Refused(pub Refusal);

impl Problem {
    /// In OAuth's dialect.
    pub fn oauth(refusal: impl Into<Refusal>) -> Self {
        Self::Refused { refusal: refusal.into(), form: Form::Oauth, nonce: None, more: Map::new() }
    }
    /// The same refusal in another dialect.
    #[must_use]
    pub fn in_form(self, form: Form) -> Self {
        match self {
            Self::Refused { refusal, nonce, more, .. } => Self::Refused { refusal, form, nonce, more },
            other => other,
        }
    }
    /// As it is told outside of an HTTP answer: its code, a fresh DPoP nonce, and the refusal where it is one. What is ours goes to the log alone.
    pub fn told(self) -> (&'static str, Option<String>, Option<Refusal>) {
        match self {
            Self::Refused { refusal, nonce, .. } => (refusal.code(), nonce, Some(refusal)),
            Self::Internal(why) => {
                tracing::error!(target: "baton", error = %why, "internal error");
                ("internal", None, None)
            }
            Self::Unavailable(what) => {
                tracing::warn!(target: "baton", what, "unavailable");
                ("unavailable", None, None)
            }
        }
    }

    /// With a fresh DPoP nonce.
    #[must_use]
    pub fn with_nonce(self, fresh: String) -> Self {
        match self {
            Self::Refused { refusal, form, more, .. } => Self::Refused { refusal, form, nonce: Some(fresh), more },
            other => other,
        }
    }
    /// With another member in the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Self::Refused { more, .. } = &mut self {
            more.insert(name.into(), value.into());
        }
        self
    }
}

impl<R: Into<Refusal>> From<R> for Problem {
    fn from(refusal: R) -> Self {
        Self::Refused { refusal: refusal.into(), form: Form::Problem, nonce: None, more: Map::new() }
    }
}

/// `sqlx::Error` has no place in `From`, which the blanket above takes: `.internal()?` says it.
pub trait InternalExt<T> {
    /// A failure of ours.
    fn internal(self) -> Result<T, Problem>;
}
impl<T, E: std::fmt::Display + 'static> InternalExt<T> for Result<T, E> {
    fn internal(self) -> Result<T, Problem> {
        self.map_err(|e| {
            // What passes by itself is told as such: full, busy, locked out, restarting (SQLITE_FULL and SQLITE_BUSY, SQLSTATE classes 40, 55, 57).
            match (&e as &dyn std::any::Any).downcast_ref::<sqlx::Error>() {
                Some(sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)) => Problem::Unavailable("database"),
                Some(sqlx::Error::Database(d))
                    if matches!(d.code().as_deref(), Some("5" | "13" | "261" | "517" | "40001" | "40P01" | "55P03" | "57P01")) =>
                {
                    Problem::Unavailable("database")
                }
                _ => Problem::Internal(e.to_string()),
            }
        })
    }
}

/// The status of a refusal on a resource of ours. Exhaustive: a new reason does not compile before it has one.
pub fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Jose(_) | Refusal::Kb(_) | Refusal::Oauth(_) | Refusal::Vci(_) => StatusCode::BAD_REQUEST,
        Refusal::Vc(vc) => match vc {
            Vc::DeviceNotActive => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        },
        Refusal::Status(status) => match status {
            Status::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Status::Revoked | Status::Suspended | Status::Unknown | Status::Index | Status::Token | Status::Uri | Status::Stale => {
                StatusCode::FORBIDDEN
            }
        },
        Refusal::Vp(vp) => match vp {
            Vp::Query | Vp::Prefix | Vp::Invalid => StatusCode::BAD_REQUEST,
            Vp::State => StatusCode::NOT_FOUND,
            Vp::Session => StatusCode::FORBIDDEN,
        },
        Refusal::Dpop(_) => StatusCode::UNAUTHORIZED,
        Refusal::Token(token) => match token {
            Token::Scope | Token::Tier => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        },
        Refusal::Enrol(enrol) => match enrol {
            Enrol::Code | Enrol::Pop | Enrol::DidMismatch | Enrol::SameDevice => StatusCode::BAD_REQUEST,
            Enrol::KeyInUse | Enrol::Changed | Enrol::State => StatusCode::CONFLICT,
            Enrol::Expired => StatusCode::GONE,
            Enrol::KeyRevoked | Enrol::NotApproved | Enrol::Proximity | Enrol::Reauth | Enrol::Approver | Enrol::Recovery => StatusCode::FORBIDDEN,
        },
        Refusal::Webauthn(webauthn) => match webauthn {
            Webauthn::Exists => StatusCode::CONFLICT,
            Webauthn::Reauth => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        },
        Refusal::Wrap(wrap) => match wrap {
            Wrap::PrfLeak | Wrap::Invalid | Wrap::Prf | Wrap::Proof => StatusCode::BAD_REQUEST,
            Wrap::Last => StatusCode::CONFLICT,
            Wrap::Reauth => StatusCode::FORBIDDEN,
        },
        Refusal::Log(log) => match log {
            Log::Moved | Log::Fork | Log::Rollback => StatusCode::CONFLICT,
            Log::Invalid | Log::Consent => StatusCode::BAD_REQUEST,
            Log::NotMember => StatusCode::FORBIDDEN,
        },
        Refusal::Root(Root::NotAsked | Root::NoFullDevice | Root::NotAgreed) => StatusCode::CONFLICT,
        Refusal::Handoff(handoff) => match handoff {
            Handoff::Presentation => StatusCode::UNAUTHORIZED,
            Handoff::Binding | Handoff::Target | Handoff::NotHolder => StatusCode::FORBIDDEN,
            Handoff::Epoch | Handoff::Statement => StatusCode::BAD_REQUEST,
            Handoff::Expired => StatusCode::GONE,
            Handoff::Fenced
            | Handoff::Taken
            | Handoff::State
            | Handoff::OfferVoid
            | Handoff::NoKey
            | Handoff::Forked
            | Handoff::Early
            | Handoff::Exists => StatusCode::CONFLICT,
        },
        Refusal::State(state) => match state {
            State::Recipient => StatusCode::FORBIDDEN,
            State::Conflict | State::RekeyRequired | State::Rollback => StatusCode::CONFLICT,
            State::Quota => StatusCode::INSUFFICIENT_STORAGE,
            State::Alg | State::Undecryptable | State::Sender | State::NotEncrypted => StatusCode::UNPROCESSABLE_ENTITY,
        },
        Refusal::Stream(stream) => match stream {
            Stream::Gap => StatusCode::CONFLICT,
            Stream::Ticket => StatusCode::UNAUTHORIZED,
            Stream::Origin => StatusCode::FORBIDDEN,
        },
        Refusal::Limit(limit) => match limit {
            Limit::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Limit::Slow => StatusCode::REQUEST_TIMEOUT,
            Limit::Devices => StatusCode::CONFLICT,
            Limit::Rate | Limit::Streams | Limit::Prompts => StatusCode::TOO_MANY_REQUESTS,
        },
        Refusal::Input(input) => match input {
            Input::Name => StatusCode::UNPROCESSABLE_ENTITY,
            Input::Csrf => StatusCode::FORBIDDEN,
            Input::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Input::NotFound => StatusCode::NOT_FOUND,
            Input::Invalid | Input::Id | Input::Version | Input::TokenInUrl | Input::Qr => StatusCode::BAD_REQUEST,
        },
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (refusal, form, nonce, more) = match self {
            Self::Refused { refusal, form, nonce, more } => (refusal, form, nonce, more),
            Self::Internal(why) => {
                tracing::error!(target: "baton", error = %why, "internal error");
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "internal");
            }
            Self::Unavailable(what) => {
                tracing::warn!(target: "baton", what, "unavailable");
                let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return response;
            }
        };
        let mut response = match form {
            Form::Oauth => oauth_body(refusal, more),
            Form::Problem => problem_body(refusal, more),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
            headers.insert("dpop-nonce", nonce);
        }
        if matches!(refusal, Refusal::Limit(Limit::Rate | Limit::Prompts | Limit::Streams)) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response.extensions_mut().insert(Refused(refusal));
        response
    }
}

fn oauth_body(refusal: Refusal, mut more: Map<String, Value>) -> Response {
    let (status, code) = match refusal {
        Refusal::Oauth(Oauth::Client) => (StatusCode::UNAUTHORIZED, "invalid_client"),
        Refusal::Oauth(_) | Refusal::Dpop(_) => (StatusCode::BAD_REQUEST, refusal.code()),
        Refusal::Input(_) | Refusal::Jose(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
        other => (status(other), other.code()),
    };
    more.insert("error".into(), code.into());
    (status, Json(Value::Object(more))).into_response()
}

fn problem_body(refusal: Refusal, mut more: Map<String, Value>) -> Response {
    let status = status(refusal);
    more.insert("type".into(), "about:blank".into());
    more.insert("title".into(), status.canonical_reason().unwrap_or("refused").into());
    more.insert("status".into(), status.as_u16().into());
    more.insert("code".into(), refusal.code().into());
    let mut response = (status, Json(Value::Object(more))).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Refusal::Token(_) | Refusal::Dpop(_) = refusal {
        let challenge = format!("DPoP error=\"{}\", algs=\"ES256\"", refusal.code());
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
    }
    response
}

fn plain(status: StatusCode, code: &'static str) -> Response {
    let body = json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "code": code});
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A family's name, for metrics and events.
pub const fn family(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Jose(_) => "jose",
        Refusal::Vc(_) => "vc",
        Refusal::Kb(_) => "kb",
        Refusal::Status(_) => "status",
        Refusal::Dpop(_) => "dpop",
        Refusal::Token(_) => "token",
        Refusal::Oauth(_) => "oauth",
        Refusal::Vci(_) => "vci",
        Refusal::Vp(_) => "vp",
        Refusal::Enrol(_) => "enrol",
        Refusal::Webauthn(_) => "webauthn",
        Refusal::Wrap(_) => "wrap",
        Refusal::Log(_) => "log",
        Refusal::Handoff(_) => "handoff",
        Refusal::State(_) => "state",
        Refusal::Stream(_) => "stream",
        Refusal::Limit(_) => "limit",
        Refusal::Root(_) => "root",
        Refusal::Input(_) => "input",
    }
}

/// A DPoP refusal that a fresh nonce can mend.
pub const WANTS_NONCE: Refusal = Refusal::Dpop(Dpop::Nonce);
/// A resource that is not there, or not the caller's: the same answer.
pub const NOT_FOUND: Refusal = Refusal::Input(Input::NotFound);
