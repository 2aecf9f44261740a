//! `POST /token`: an app redeems a sign-in or refreshes it, or a device redeems its approval (authorization code or device code) for its credential, its log and a token for identity.

use super::credential::issued;
use super::{app_tokens, oid4vci};
use crate::state::Identity;
use crate::store::devices;
use crate::store::requests::{self, Request};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Uri};
use baton_protocol::key::hash;
use baton_protocol::refusal::Oauth;
use baton_service::edge;
use baton_service::form::Form;
use baton_service::guard::{self, Proven};
use baton_service::problem::{Form as Dialect, InternalExt as _, Problem};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;

/// `POST /token`
pub async fn token(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let arrived = identity.base.now();
    let body = edge::bytes(body, edge::MAX_BODY).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    let form = Form::parse(&uri, &headers, &body)?;
    // Whoever was taken out of the registry gets nothing more, whatever it still holds; a wallet may name no client.
    if form.get("client_id").is_some_and(|client| identity.config.clients.get(client).is_none()) {
        return Err(Problem::oauth(Oauth::Client));
    }
    // A wallet may have no key for proofs: what it gets opens nothing that the person does not approve.
    if form.get("grant_type") == Some(oid4vci::GRANT) {
        return oid4vci::token(&identity, peer.ip(), &headers, &form).await;
    }
    let proven = guard::proof(&identity.base, &headers, "POST", "/token", None, Dialect::Oauth)?;
    match form.need("grant_type")? {
        "authorization_code" => match app_tokens::by_code(&identity, &form, &proven).await? {
            Some(answer) => Ok(answer),
            None => by_code(&identity, &form, proven).await,
        },
        "refresh_token" => app_tokens::by_refresh(&identity, &form, &proven, arrived).await,
        "urn:ietf:params:oauth:grant-type:device_code" => by_device_code(&identity, &form, proven).await,
        _ => Err(Problem::oauth(Oauth::GrantType)),
    }
}

/// What must be the same as when the device asked: client and key. A stolen code is worth nothing without them.
fn check_asker(request: &Request, form: &Form, proven: &Proven) -> Result<(), Problem> {
    if form.need("client_id")? == request.client_id && proven.jkt().as_str() == request.jkt { Ok(()) } else { Err(Problem::oauth(Oauth::Grant)) }
}

async fn by_code(identity: &Identity, form: &Form, proven: Proven) -> Result<Json<Value>, Problem> {
    let jkt = proven.jkt();
    let mut tx = identity.base.db.begin().await.internal()?;
    let code = hash(form.need("code")?.as_bytes());
    let request = requests::redeem_code(&mut tx, &code, identity.base.now()).await.internal()?.ok_or_else(|| Problem::oauth(Oauth::Grant))?;
    check_asker(&request, form, &proven)?;
    let challenge = hash(form.need("code_verifier")?.as_bytes());
    if request.code_challenge.as_deref() != Some(&challenge) || request.redirect_uri.as_deref() != form.get("redirect_uri") {
        return Err(Problem::oauth(Oauth::Grant));
    }
    proven.consume(&identity.base, &mut tx).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    devices::redeemed(&mut tx, jkt.as_str(), identity.base.now()).await.internal()?;
    tx.commit().await.internal()?;
    wait_issued(identity, &request).await?;
    issued(identity, jkt.as_str()).await.map_err(as_grant)
}

async fn by_device_code(identity: &Identity, form: &Form, proven: Proven) -> Result<Json<Value>, Problem> {
    let (now, jkt) = (identity.base.now(), proven.jkt());
    let code = hash(form.need("device_code")?.as_bytes());
    let mut tx = identity.base.db.begin().await.internal()?;
    let request = requests::by_device_code(&mut tx, &code).await.internal()?.ok_or_else(|| Problem::oauth(Oauth::Grant))?;
    check_asker(&request, form, &proven)?;
    proven.consume(&identity.base, &mut tx).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    let answer = match request.state.as_str() {
        "denied" => Err(Oauth::AccessDenied),
        "requested" if request.is_expired(now) => Err(Oauth::ExpiredToken),
        "requested" => {
            let early = request.polled_at.is_some_and(|last| now.0 - last < request.poll_interval * 1000);
            let interval = if early { request.poll_interval + 5 } else { request.poll_interval };
            requests::polled(&mut tx, &request.request_id, interval, now).await.internal()?;
            Err(if early { Oauth::SlowDown } else { Oauth::AuthorizationPending })
        }
        _ => match requests::redeem_device_code(&mut tx, &code, now).await.internal()? {
            Some(()) => {
                devices::redeemed(&mut tx, jkt.as_str(), now).await.internal()?;
                Ok(())
            }
            None => Err(Oauth::Grant),
        },
    };
    tx.commit().await.internal()?;
    answer.map_err(Problem::oauth)?;
    wait_issued(identity, &request).await?;
    issued(identity, jkt.as_str()).await.map_err(as_grant)
}

/// A credential is not handed out before verifier and broker know it. The device code is spent then; `/v1/credential` gives the rest.
pub async fn wait_issued(identity: &Identity, request: &Request) -> Result<(), Problem> {
    let seq = request.outbox_seq.unwrap_or(i64::MAX);
    if identity.is_taken(seq).await? || identity.pump().await? { Ok(()) } else { Err(Problem::Unavailable("standing was not taken yet")) }
}

/// What became of the device meanwhile is told in the endpoint's own terms.
fn as_grant(problem: Problem) -> Problem {
    match problem {
        Problem::Refused { .. } => Problem::oauth(Oauth::Grant),
        other => other,
    }
}
