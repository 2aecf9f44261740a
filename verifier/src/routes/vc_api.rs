//! VC-API's verifier (W3C CCG): other people's credentials and presentations, for relying services. 200 when all of it holds, 400 with the same
//! report when it does not.

use super::presentations::authenticate;
use crate::state::Verifier;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use baton_protocol::refusal::Input;
use baton_service::edge;
use baton_service::problem::{InternalExt as _, Problem};
use baton_w3c::{Occasion, Report, Visit, World};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    verifiable_credential: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Presentation {
    verifiable_presentation: Value,
    #[serde(default)]
    options: Options,
}

#[derive(Default, Deserialize)]
struct Options {
    challenge: Option<String>,
    domain: Option<String>,
}

/// `POST /credentials/verify`. Unknown members are ignored.
pub async fn credentials(State(verifier): State<Arc<Verifier>>, headers: HeaderMap, body: Body) -> Result<(StatusCode, Json<Report>), Problem> {
    authenticate(&verifier, &headers)?;
    let ask: Credential = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let given = Arc::new(ask.verifiable_credential);
    let check = move |runtime: &Handle, world: &World<'_>| runtime.block_on(baton_w3c::verify_credential(&given, world));
    Ok(answer(verify(&verifier, check).await?))
}

/// `POST /presentations/verify`: made for this `challenge` and this `domain`, both of which the caller names and uses once.
pub async fn presentations(State(verifier): State<Arc<Verifier>>, headers: HeaderMap, body: Body) -> Result<(StatusCode, Json<Report>), Problem> {
    authenticate(&verifier, &headers)?;
    let ask: Presentation = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let (Some(challenge), Some(domain)) = (ask.options.challenge, ask.options.domain) else { return Err(Input::Invalid.into()) };
    Ok(answer(presentation(&verifier, ask.verifiable_presentation, challenge, domain).await?))
}

/// What a presentation is worth that was made for this challenge, to this domain.
pub async fn presentation(verifier: &Verifier, given: Value, challenge: String, domain: String) -> Result<Report, Problem> {
    let (given, named) = (Arc::new(given), Arc::new((challenge, domain)));
    let check = move |runtime: &Handle, world: &World<'_>| {
        let occasion = Occasion { challenge: &named.0, domain: &named.1 };
        runtime.block_on(baton_w3c::verify_presentation(&given, world, &occasion))
    };
    verify(verifier, check).await
}

/// `POST /credentials/issue`, in development builds.
#[cfg(debug_assertions)]
pub async fn issue(State(verifier): State<Arc<Verifier>>, headers: HeaderMap, body: Body) -> Result<(StatusCode, Json<Value>), Problem> {
    #[derive(Deserialize)]
    struct Ask {
        credential: Value,
    }
    authenticate(&verifier, &headers)?;
    let Ask { credential } = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let runtime = Handle::current();
    let issued = tokio::task::spawn_blocking(move || runtime.block_on(baton_w3c::issue(credential))).await.internal()?;
    let issued = issued.map_err(|_| Input::Invalid)?;
    Ok((StatusCode::CREATED, Json(serde_json::json!({"verifiableCredential": issued}))))
}

/// Most at once: whoever comes later waits.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// On a thread of its own: canonicalization is work, and holds up nobody's handoff. Other parties' hosts are asked between two tries, while whoever comes
/// next has the turn.
async fn verify<F>(verifier: &Verifier, check: F) -> Result<Report, Problem>
where
    F: Fn(&Handle, &World<'_>) -> Report + Clone + Send + 'static,
{
    let visit = Arc::new(Visit::default());
    loop {
        let turn = AT_ONCE.acquire().await.internal()?;
        let (runtime, check, now) = (Handle::current(), check.clone(), verifier.base.now().secs());
        let (trust, visiting) = (verifier.config.trust.clone(), visit.clone());
        // The turn is over with the work, whether or not anybody still waits for it.
        let work = move || {
            let desk = trust.desk(&visiting, now);
            let report = check(&runtime, &trust.world(&desk));
            drop(turn);
            report
        };
        let report = tokio::task::spawn_blocking(work).await.internal()?;
        if !verifier.config.trust.fetch(&visit, verifier.base.now().secs()).await {
            return Ok(report);
        }
    }
}

fn answer(report: Report) -> (StatusCode, Json<Report>) {
    (if report.verified { StatusCode::OK } else { StatusCode::BAD_REQUEST }, Json(report))
}
