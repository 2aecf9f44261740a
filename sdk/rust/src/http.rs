//! Requests with proofs: nonces learnt, clock offset learnt, bounded retries with jitter. A retry is always a fresh proof.

use crate::error::Error;
use crate::wire::{Network, Sent, Wire};
use baton_protocol::dpop::{self, Claims};
use baton_protocol::ports::{Clock, Entropy};
use baton_protocol::signer::Signer;
use baton_protocol::time::Millis;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tries of one request when nobody answers.
const TRIES: u32 = 4;
/// First pause between tries; doubled each time, half of it random.
const PAUSE_MS: u64 = 100;

/// An HTTP client for one key.
pub struct Http {
    wire: Arc<dyn Wire>,
    clock: Clock,
    entropy: Entropy,
    offset_ms: AtomicI64,
    nonces: Mutex<HashMap<String, String>>,
}

/// What to send.
#[derive(Clone)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// URL, with query.
    pub url: String,
    /// Service it belongs to: nonces are kept by it.
    pub service: &'a str,
    /// Access token.
    pub token: Option<String>,
    /// Content type and body.
    pub body: Option<(&'a str, Vec<u8>)>,
}

impl Http {
    /// A client over the network.
    pub fn new(clock: Clock, entropy: Entropy) -> Result<Self, Error> {
        Ok(Self::over(Arc::new(Network::new()?), clock, entropy))
    }

    /// A client over something else.
    pub fn over(wire: Arc<dyn Wire>, clock: Clock, entropy: Entropy) -> Self {
        Self { wire, clock, entropy, offset_ms: AtomicI64::new(0), nonces: Mutex::default() }
    }

    /// By this machine's clock, which no answer moves.
    pub(crate) fn local_now(&self) -> Millis {
        self.clock.now()
    }

    /// Now, by the server's clock as far as it is known.
    pub fn now(&self) -> Millis {
        Millis(self.clock.now().0 + self.offset_ms.load(Ordering::Relaxed))
    }
    /// Waits.
    pub(crate) async fn pause(&self, time: Duration) {
        self.wire.pause(time).await;
    }
    /// Randomness.
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// Keeps a nonce that a service gave outside of an HTTP answer of ours.
    pub(crate) fn learn_nonce(&self, service: &str, nonce: &str) {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).insert(service.to_owned(), nonce.to_owned());
    }

    /// Sends without a proof.
    pub async fn plain(&self, request: &Request<'_>) -> Result<Value, Error> {
        let answer = self.retry(request, None::<&crate::keys::SoftKey>).await?;
        answer.into_result()
    }

    /// Sends with a proof by `key`; learns nonce and clock offset from refusals that name them, once each.
    pub async fn proven<K: Signer>(&self, request: &Request<'_>, key: &K) -> Result<Value, Error> {
        let offset = self.offset();
        let mut answer = self.retry(request, Some(key)).await?;
        if answer.code() == Some("use_dpop_nonce") {
            answer = self.retry(request, Some(key)).await?;
        }
        if answer.code() == Some("invalid_dpop_proof") && (self.learn_offset(answer.date) || self.has_learnt(offset)) {
            answer = self.retry(request, Some(key)).await?;
            if answer.code() == Some("use_dpop_nonce") {
                answer = self.retry(request, Some(key)).await?;
            }
        }
        answer.into_result()
    }

    /// Takes over the server's clock when ours is off by more than a proof may be.
    fn learn_offset(&self, date: Option<i64>) -> bool {
        let Some(date) = date else { return false };
        let offset = date * 1000 - self.clock.now().0;
        let off = (offset - self.offset_ms.load(Ordering::Relaxed)).abs() > 3000;
        if off {
            self.offset_ms.store(offset, Ordering::Relaxed);
        }
        off
    }

    /// How far this clock is taken to be off.
    pub(crate) fn offset(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Whether the server's clock was learnt, by this request or another, since this offset was used: what was signed then is signed anew.
    pub(crate) fn has_learnt(&self, offset: i64) -> bool {
        self.offset() != offset
    }

    async fn retry<K: Signer>(&self, request: &Request<'_>, key: Option<&K>) -> Result<Answer, Error> {
        let mut pause = PAUSE_MS;
        let mut last = Error::Transport("not tried".into());
        for attempt in 0..TRIES {
            if attempt > 0 {
                let jitter = u64::from_be_bytes(self.entropy.bytes()) % (pause / 2 + 1);
                self.wire.pause(Duration::from_millis(pause / 2 + jitter)).await;
                pause *= 2;
            }
            match self.once(request, key).await {
                Ok(answer) if matches!(answer.status, 502..=504) => last = answer.into_error(),
                Ok(answer) => return Ok(answer),
                Err(error @ Error::Transport(_)) => last = error,
                Err(other) => return Err(other),
            }
        }
        Err(last)
    }

    async fn once<K: Signer>(&self, request: &Request<'_>, key: Option<&K>) -> Result<Answer, Error> {
        let mut headers = Vec::new();
        if let Some(key) = key {
            headers.push(("dpop", self.proof(key, request.method, &request.url, request.service, request.token.as_deref()).await?));
        }
        if let Some(token) = &request.token {
            headers.push(("authorization", format!("DPoP {token}")));
        }
        if let Some((kind, _)) = &request.body {
            headers.push(("content-type", (*kind).to_owned()));
        }
        let body = request.body.as_ref().map(|(_, body)| body.clone());
        let came = self.wire.carry(Sent { method: request.method.into(), url: request.url.clone(), headers, body }).await?;
        if let Some(nonce) = came.nonce {
            self.nonces.lock().unwrap_or_else(PoisonError::into_inner).insert(request.service.to_owned(), nonce);
        }
        let body = if came.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&came.body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&came.body).into_owned()))
        };
        Ok(Answer { status: came.status, date: came.date, body })
    }

    /// A DPoP proof for one request.
    pub async fn proof<K: Signer>(&self, key: &K, method: &str, url: &str, service: &str, token: Option<&str>) -> Result<String, Error> {
        let nonce = self.nonces.lock().unwrap_or_else(PoisonError::into_inner).get(service).cloned();
        let claims = Claims {
            jti: self.entropy.token(),
            htm: method.into(),
            htu: url.split(['?', '#']).next().unwrap_or_default().into(),
            iat: self.now().secs(),
            ath: token.map(dpop::token_hash),
            nonce,
        };
        Ok(key.seal(dpop::draft(key.key(), &claims)).await?)
    }
}

struct Answer {
    status: u16,
    date: Option<i64>,
    body: Value,
}

impl Answer {
    fn code(&self) -> Option<&str> {
        if self.status < 400 { None } else { self.body.get("code").or(self.body.get("error")).and_then(Value::as_str) }
    }
    fn into_result(self) -> Result<Value, Error> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(self.into_error()) }
    }
    fn into_error(self) -> Error {
        let code = self.code().unwrap_or("unknown").to_owned();
        Error::Refused { status: self.status, code, body: self.body }
    }
}

/// A form body (RFC 6749 appendix B).
pub fn form(pairs: &[(&str, &str)]) -> Vec<u8> {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |out, b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { out + &char::from(b).to_string() } else { out + &format!("%{b:02X}") }
        })
    };
    pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&").into_bytes()
}
