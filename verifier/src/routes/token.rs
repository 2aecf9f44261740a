//! `POST /token`: token exchange (RFC 8693). A presentation and a DPoP proof by the same key become a token of at most five minutes for one audience.

use crate::state::Verifier;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use baton_protocol::Refusal;
use baton_protocol::access_token::{AccessToken, Confirmation, MAX_LIFETIME_SECS};
use baton_protocol::nonce::Purpose;
use baton_protocol::presentation::{self, Expected, Pending, Verdict};
use baton_protocol::refusal::{Dpop, Kb, Oauth, Status as StatusRefusal};
use baton_protocol::standing::Standing;
use baton_protocol::status_list::Status;
use baton_protocol::time::Millis;
use baton_service::edge;
use baton_service::form::Form;
use baton_service::guard;
use baton_service::once::Use;
use baton_service::problem::{Form as Dialect, Problem};
use baton_service::standing;
use serde_json::{Value, json};
use std::sync::Arc;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SUBJECT: &str = "urn:baton:token-type:device-presentation";
const ISSUED: &str = "urn:ietf:params:oauth:token-type:access_token";
/// How long a used nonce is remembered: twice its life.
const PRESENTED_SECS: i64 = 120;
/// All a token for identity can do.
const IDENTITY_SCOPE: &str = "log:read";

/// `POST /token`
pub async fn exchange(State(verifier): State<Arc<Verifier>>, uri: Uri, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    exchange_inner(&verifier, &uri, &headers, body).await.map_err(|problem| available(problem).in_form(Dialect::Oauth))
}

async fn exchange_inner(verifier: &Arc<Verifier>, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    let base = &verifier.base;
    let form = Form::parse(uri, headers, &edge::bytes(body, edge::MAX_BODY).await?)?;
    // After the body: a slow sender does not make old news count.
    let now = base.now();
    let proven = guard::proof(base, headers, "POST", "/token", None, Dialect::Oauth)?;
    let asked = read(verifier, &form)?;
    let expected = Expected {
        audience: &base.url,
        nonce: &|nonce, jkt| base.accepts_nonce(Purpose::Presentation, nonce, jkt),
        transaction_data: &[],
        required_claims: &[],
    };
    let pending = presentation::verify(form.need("subject_token")?, &expected, &verifier.issuers, now)?;
    let key = &pending.credential().key;
    if *key != *proven.key() {
        return Err(Oauth::GrantDeviceKey.into());
    }
    let uses =
        vec![(proven.once(now), Dpop::Replay.into()), (Use::new("presentation", pending.nonce(), now.plus_secs(PRESENTED_SECS)), Kb::Replay.into())];
    let (device, minting) = (pending.credential().visible.sub.clone(), verifier.clone());
    let decide = move |standing: &Standing| mint(&minting, asked, &verdict_on(pending, standing, now)?, standing, now);
    let token = verifier.gate.pass(device, uses, decide).await?;
    let scope = token.scope.clone();
    let expires_in = token.exp - now.secs();
    let signed = base.keys.sign(token.draft(base.keys.kid()));
    Ok(Json(json!({"access_token": signed, "issued_token_type": ISSUED, "token_type": "DPoP", "expires_in": expires_in, "scope": scope})))
}

/// Without standing there is no verdict: whatever kept it away is told as that (attacks.md STS-09).
pub fn available(problem: Problem) -> Problem {
    match problem {
        Problem::Internal(why) => {
            tracing::error!(target: "baton", error = %why, "standing could not be read");
            StatusRefusal::Unavailable.into()
        }
        Problem::Unavailable(_) => StatusRefusal::Unavailable.into(),
        refused @ Problem::Refused { .. } => refused,
    }
}

struct Asked {
    audience: String,
    scope: String,
    details: Option<Value>,
}

fn read(verifier: &Verifier, form: &Form) -> Result<Asked, Problem> {
    if form.need("grant_type")? != GRANT {
        return Err(Oauth::GrantType.into());
    }
    let mistyped = form.need("subject_token_type")? != SUBJECT || form.get("requested_token_type").is_some_and(|kind| kind != ISSUED);
    if mistyped || form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
        return Err(Oauth::Request.into());
    }
    let audience = form.get("audience").or(form.get("resource")).ok_or(Oauth::Target)?;
    let several = form.get("resource").is_some_and(|resource| resource != audience);
    if several || (audience != verifier.config.broker_url && audience != verifier.config.identity_url) {
        return Err(Oauth::Target.into());
    }
    let details = match form.get("authorization_details") {
        None => None,
        Some(text) => Some(read_details(text).ok_or(Oauth::Details)?),
    };
    Ok(Asked { audience: audience.to_owned(), scope: form.need("scope")?.to_owned(), details })
}

/// The one narrowing that exists: `[{"type": "baton_session", "session": "ses_.."}]`.
fn read_details(text: &str) -> Option<Value> {
    let value = baton_protocol::json::value(text.as_bytes(), 4096).ok()?;
    let [detail] = value.as_array()?.as_slice() else { return None };
    let session = detail.get("session")?.as_str()?;
    baton_protocol::id::SessionId::parse(session).ok()?;
    let right = detail.get("type")?.as_str()? == "baton_session" && detail.as_object()?.len() == 2;
    right.then_some(value)
}

/// The verdict by what the live standing says of this very credential; it beats any list. A credential that was replaced counts as revoked.
pub fn verdict_on(pending: Pending, standing: &Standing, now: Millis) -> Result<Verdict, Refusal> {
    if standing.credential_hash != pending.credential().hash || !standing::is_live(standing, now) {
        return Err(StatusRefusal::Revoked.into());
    }
    pending.admit(Status::Valid)
}

fn mint(verifier: &Verifier, asked: Asked, verdict: &Verdict, standing: &Standing, now: Millis) -> Result<AccessToken, Refusal> {
    let mut seen = std::collections::HashSet::new();
    let allowed =
        |one: &str| if asked.audience == verifier.config.identity_url { one == IDENTITY_SCOPE } else { standing.scopes.split(' ').any(|s| s == one) };
    if !asked.scope.split(' ').all(|one| allowed(one) && seen.insert(one)) {
        return Err(Oauth::Scope.into());
    }
    Ok(AccessToken {
        iss: verifier.base.url.clone(),
        aud: asked.audience,
        sub: standing.log.clone(),
        iat: now.secs(),
        exp: (now.secs() + MAX_LIFETIME_SECS).min(verdict.expires_at).min(standing.grant_until / 1000),
        nbf: None,
        jti: verifier.base.entropy.token(),
        client_id: standing.client_id.clone(),
        scope: asked.scope,
        cnf: Confirmation { jkt: verdict.jkt.clone() },
        device: verdict.device.clone(),
        tier: standing.tier,
        grant: standing.grant.clone(),
        dev_epoch: standing.dev_epoch,
        authorization_details: asked.details,
    })
}
