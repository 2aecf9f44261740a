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
use baton_w3c::{Occasion, Report, Trust};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
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
    let now = verifier.base.now().secs();
    let check = async move |trust: &Trust| baton_w3c::verify_credential(&ask.verifiable_credential, &trust.at(now)).await;
    let report = apart(move |runtime| runtime.block_on(check(&verifier.config.trust))).await?;
    Ok(answer(report))
}

/// `POST /presentations/verify`: made for this `challenge` and this `domain`, both of which the caller names and uses once.
pub async fn presentations(State(verifier): State<Arc<Verifier>>, headers: HeaderMap, body: Body) -> Result<(StatusCode, Json<Report>), Problem> {
    authenticate(&verifier, &headers)?;
    let ask: Presentation = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let (Some(challenge), Some(domain)) = (ask.options.challenge, ask.options.domain) else { return Err(Input::Invalid.into()) };
    let now = verifier.base.now().secs();
    let check = async move |trust: &Trust| {
        let occasion = Occasion { challenge: &challenge, domain: &domain };
        baton_w3c::verify_presentation(&ask.verifiable_presentation, &trust.at(now), &occasion).await
    };
    let report = apart(move |runtime| runtime.block_on(check(&verifier.config.trust))).await?;
    Ok(answer(report))
}

/// Most at once: whoever comes later waits.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// On a thread of its own: canonicalization is work, and holds up nobody's handoff.
async fn apart(check: impl FnOnce(tokio::runtime::Handle) -> Report + Send + 'static) -> Result<Report, Problem> {
    let turn = AT_ONCE.acquire().await.internal()?;
    let runtime = tokio::runtime::Handle::current();
    // The turn is over with the work, whether or not anybody still waits for it.
    let work = move || {
        let report = check(runtime);
        drop(turn);
        report
    };
    tokio::task::spawn_blocking(work).await.internal()
}

fn answer(report: Report) -> (StatusCode, Json<Report>) {
    (if report.verified { StatusCode::OK } else { StatusCode::BAD_REQUEST }, Json(report))
}
