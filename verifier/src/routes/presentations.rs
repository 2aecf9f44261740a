//! `POST /v1/presentations/verify`: what a presentation is worth, for an authenticated relying service that made the nonce.
//!
//! The service sends the presentation as it got it, its own audience and the nonce it gave. `(caller, nonce)` counts once.

use super::token::{available, verdict_on};
use crate::state::{RelyingService, Verifier};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::credential::Tier;
use baton_protocol::key::{Did, Thumbprint, hash};
use baton_protocol::presentation::{self, Expected};
use baton_protocol::refusal::{Input, Kb, Oauth};
use baton_protocol::standing::Standing;
use baton_service::edge;
use baton_service::once::Use;
use baton_service::problem::{Form, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// How long a used nonce is remembered: far past the life of any proof that could carry it.
const REMEMBERED_SECS: i64 = 600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    presentation: String,
    audience: String,
    nonce: String,
    #[serde(default)]
    required_claims: Vec<String>,
}

/// What the presentation is worth.
#[derive(Serialize)]
pub struct Answer {
    verdict: &'static str,
    device: Did,
    issuer: Did,
    /// The person, as this app sees them.
    subject: String,
    client_id: String,
    tier: Tier,
    jkt: Thumbprint,
    /// Disclosed by the device.
    claims: Map<String, Value>,
    /// When the credential ends, in seconds.
    expires_at: i64,
    status: StatusSeen,
    checked_at: i64,
}

/// Where the status comes from.
#[derive(Serialize)]
struct StatusSeen {
    value: &'static str,
    source: &'static str,
    age_ms: i64,
}

/// `POST /v1/presentations/verify`
pub async fn verify(State(verifier): State<Arc<Verifier>>, headers: HeaderMap, body: Body) -> Result<Json<Answer>, Problem> {
    verify_inner(&verifier, &headers, body).await.map_err(available)
}

async fn verify_inner(verifier: &Verifier, headers: &HeaderMap, body: Body) -> Result<Json<Answer>, Problem> {
    let caller = authenticate(verifier, headers)?;
    let ask: Ask = edge::flat_json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    if ask.nonce.len() < 16 || ask.nonce.len() > 256 || ask.audience.is_empty() || ask.required_claims.len() > 16 {
        return Err(Input::Invalid.into());
    }
    let now = verifier.base.now();
    let required: Vec<_> = ask.required_claims.iter().map(String::as_str).collect();
    let expected = Expected { audience: &ask.audience, nonce: &|nonce, _| nonce == ask.nonce, transaction_data: &[], required_claims: &required };
    let pending = presentation::verify(&ask.presentation, &expected, &verifier.issuers, now)?;
    let device = pending.credential().visible.sub.clone();
    let once = Use::new("relying", &format!("{}\n{}", caller.name, ask.nonce), now.plus_secs(REMEMBERED_SECS));
    let decide = move |standing: &Standing| Ok((verdict_on(pending, standing, now)?, standing.tier));
    let (verdict, tier) = verifier.gate.pass(device, vec![(once, Kb::Replay.into())], decide).await?;
    Ok(Json(Answer {
        verdict: "valid",
        device: verdict.device,
        issuer: verdict.issuer,
        subject: verdict.log,
        client_id: verdict.client_id,
        tier,
        jkt: verdict.jkt,
        claims: verdict.claims,
        expires_at: verdict.expires_at,
        status: StatusSeen { value: "valid", source: "standing", age_ms: 0 },
        checked_at: now.secs(),
    }))
}

pub fn authenticate<'a>(verifier: &'a Verifier, headers: &HeaderMap) -> Result<&'a RelyingService, Problem> {
    let refuse = || Problem::from(Oauth::Client).in_form(Form::Oauth);
    let value = headers.get("authorization").and_then(|value| value.to_str().ok()).ok_or_else(refuse)?;
    let key = value.strip_prefix("Bearer ").ok_or_else(refuse)?;
    // Compared as digests: what an early mismatch tells is about a hash of the guess.
    let digest = hash(key.as_bytes());
    verifier.config.relying_services.iter().find(|service| service.key_sha256 == digest).ok_or_else(refuse)
}
