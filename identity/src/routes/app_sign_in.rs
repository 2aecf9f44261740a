//! An app asks who is there (OpenID Connect Core 1.0), or a wallet whether it may ask for a credential (OpenID4VCI 1.0 §5): pushed authorization request, the
//! person's yes or no, and the way back.

use super::approval::redirect_to;
use super::oid4vci::{self, By};
use crate::clients::Client;
use crate::state::Identity;
use crate::store::sign_ins::{self, REQUEST_SECS, SignIn};
use crate::{ledger, page_session};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use baton_protocol::b64;
use baton_protocol::id::SignInId;
use baton_protocol::key::hash;
use baton_protocol::refusal::{Enrol, Oauth};
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::form::Form;
use baton_service::guard;
use baton_service::problem::{Form as Dialect, InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Scopes of a sign-in. Others are ignored (OpenID Connect Core §3.1.2.1).
pub const SCOPES: &[&str] = &["openid", "offline_access"];
/// Marks the requests that sign people in, for the page that shows them.
pub const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:sign-in:";
/// Longest `state` and `nonce`.
const MAX_TEXT: usize = 512;

/// Whether a pushed request asks who is there, rather than to enrol a device.
pub fn is_sign_in(form: &Form) -> bool {
    form.get("authorization_details").is_none() && form.get("scope").is_some_and(|scope| scope.split(' ').any(|one| one == "openid"))
}

/// The pushed request. A proof, or `dpop_jkt`, names the key that every token will be bound to.
pub async fn pushed(
    identity: &Identity,
    headers: &HeaderMap,
    form: &Form,
    client: &Client,
    wallet: Option<By>,
    seen_address: String,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let bad = || Problem::oauth(Oauth::Request);
    let (now, entropy) = (identity.base.now(), &identity.base.entropy);
    let proven = if headers.contains_key("dpop") { Some(guard::proof(&identity.base, headers, "POST", "/par", None, Dialect::Oauth)?) } else { None };
    let jkt = match (proven.as_ref().map(|proven| proven.jkt().0), form.get("dpop_jkt")) {
        (Some(jkt), None) => jkt,
        (Some(jkt), Some(named)) if jkt == named => jkt,
        (None, Some(named)) if b64::decode_array::<32>(named).is_ok() => named.to_owned(),
        _ => return Err(bad()),
    };
    let plain = form.need("response_type")? == "code"
        && form.get("response_mode").is_none_or(|mode| mode == "query")
        && form.get("request_uri").is_none()
        && form.get("request").is_none()
        && form.get("code_challenge_method") == Some("S256");
    let (challenge, redirect_uri) = (form.need("code_challenge")?, form.need("redirect_uri")?);
    let short = ["state", "nonce"].iter().all(|name| form.get(name).is_none_or(|text| text.len() <= MAX_TEXT));
    if !plain || !short || b64::decode_array::<32>(challenge).is_err() || !client.allows_redirect(redirect_uri) {
        return Err(bad());
    }
    let prompt = |wanted: &str| form.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|one| one == wanted));
    // Nobody is signed in silently: the person is always asked.
    if prompt("none") {
        return Err(Problem::oauth(Oauth::InteractionRequired));
    }
    let max_age = form.get("max_age").map(|secs| secs.parse::<u32>().map(i64::from)).transpose().map_err(|_| bad())?;
    let max_age = if prompt("login") { Some(0) } else { max_age };
    let scope = if wallet.is_some() {
        oid4vci::CONFIGURATION.into()
    } else {
        let asked: Vec<_> = form.need("scope")?.split(' ').collect();
        SCOPES.iter().filter(|known| asked.contains(*known)).copied().collect::<Vec<_>>().join(" ")
    };
    // Of an offer's wallet the person is known before they look: nobody else's is the answer.
    let (offer_id, account_id) = match form.get("issuer_state").filter(|_| wallet.is_some()) {
        None => (None, None),
        Some(state) => oid4vci::offered(identity, state, &client.client_id, now).await.map(|(offer, account)| (Some(offer), Some(account)))?,
    };
    let request_uri = format!("{REQUEST_URI}{}", entropy.token());
    let new = SignIn {
        sign_in_id: SignInId::new(now, entropy.bytes()).to_string(),
        client_id: client.client_id.clone(),
        app: client.app.clone(),
        scope,
        nonce: form.get("nonce").map(Into::into),
        max_age,
        redirect_uri: redirect_uri.into(),
        code_challenge: challenge.into(),
        client_state: form.get("state").map(Into::into),
        jkt,
        seen_address,
        state: "requested".into(),
        account_id,
        offer_id,
        auth_time: None,
        family_id: None,
        wallet: wallet.map(|by| by.as_str().to_owned()),
        code_expires_at: None,
        created_at: now.0,
        expires_at: now.plus_secs(REQUEST_SECS).0,
    };
    let mut tx = identity.base.db.begin().await.internal()?;
    if let Some(proven) = proven {
        proven.consume(&identity.base, &mut tx).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    }
    sign_ins::create(&mut tx, &new, &hash(request_uri.as_bytes())).await.internal()?;
    tx.commit().await.internal()?;
    Ok((StatusCode::CREATED, Json(json!({"request_uri": request_uri, "expires_in": REQUEST_SECS}))))
}

/// Where the answer goes, for the person to read.
fn host(uri: &str) -> &str {
    uri.split_once("://").map_or(uri, |(_, rest)| rest.split('/').next().unwrap_or(rest))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    request_uri: String,
}

/// `POST /v1/sign-ins/open`: binds the request to the account that looks at it, and gives what the person decides by.
pub async fn open(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Open = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    let asked = sign_ins::open(&mut tx, &hash(body.request_uri.as_bytes()), &session.account, now).await.internal()?.ok_or(Enrol::Code)?;
    let known = sign_ins::consent(&mut tx, session.account.as_str(), &asked.client_id, now).await.internal()?.is_some();
    tx.commit().await.internal()?;
    let client = identity.config.clients.get(&asked.client_id).ok_or(NOT_FOUND)?;
    Ok(Json(
        json!({"sign_in": asked.sign_in_id, "client_id": asked.client_id, "client_name": client.name, "app": asked.app, "known": known, "wallet": asked.wallet.is_some(),
        "seen_address": asked.seen_address, "requested_at": asked.created_at, "goes_to": host(&asked.redirect_uri)}),
    ))
}

/// `POST /v1/sign-ins/{id}/allow`: the person was verified just now. Said again before the code is redeemed, it gives another code.
pub async fn allow(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = SignInId::parse(&id)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Enrol::Reauth)?;
    let asked = sign_ins::of_account(&mut tx, id.as_str(), &session.account).await.internal()?.ok_or(NOT_FOUND)?;
    let since = session.verified_at();
    // Verified for this very request is always recent enough.
    if asked.max_age.is_some_and(|secs| since < asked.created_at && now.0 - since > secs * 1000) {
        return Err(Enrol::Reauth.into());
    }
    let code = identity.base.entropy.token();
    sign_ins::allow(&mut tx, id.as_str(), &hash(code.as_bytes()), session.verified_at() / 1000, now).await.internal()?.ok_or(Enrol::State)?;
    tx.commit().await.internal()?;
    Ok(Json(json!({"redirect_to": back(&identity, &asked, &[("code", &code)])})))
}

/// `POST /v1/sign-ins/{id}/deny`: the app is told so (RFC 6749 §4.1.2.1).
pub async fn deny(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let id = SignInId::parse(&id)?;
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    let asked = sign_ins::of_account(&mut tx, id.as_str(), &session.account).await.internal()?.ok_or(NOT_FOUND)?;
    sign_ins::deny(&mut tx, id.as_str()).await.internal()?.ok_or(Enrol::State)?;
    if asked.state == "requested" {
        let detail = json!({"client": asked.client_id, "from": asked.seen_address});
        ledger::write(&mut tx, &session.account, "app.denied", &detail, identity.base.now()).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"redirect_to": back(&identity, &asked, &[("error", "access_denied")])})))
}

fn back(identity: &Identity, asked: &SignIn, said: &[(&str, &str)]) -> String {
    redirect_to(&identity.base.url, &asked.redirect_uri, said, asked.client_state.as_deref())
}
