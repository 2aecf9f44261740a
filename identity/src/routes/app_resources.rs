//! What an app asks with its tokens: userinfo (OpenID Connect Core §5.3), revocation (RFC 7009), and, for operators, introspection (RFC 7662).

use crate::ledger;
use crate::oauth::subject;
use crate::state::Identity;
use crate::store::sign_ins::{self, Family};
use crate::store::{accounts, credential_offers};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use baton_protocol::id::AccountId;
use baton_protocol::key::hash;
use baton_protocol::refusal::{Oauth, Token};
use baton_service::edge;
use baton_service::form::Form;
use baton_service::guard;
use baton_service::limits::address_key;
use baton_service::problem::{Form as Dialect, InternalExt as _, Problem};
use serde_json::{Value, json};
use sqlx::AnyConnection;
use std::net::SocketAddr;
use std::sync::Arc;

/// `GET` and `POST /userinfo`
pub async fn userinfo(State(identity): State<Arc<Identity>>, method: Method, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let text = guard::presented(&headers)?;
    let proven = guard::proof(&identity.base, &headers, method.as_str(), "/userinfo", Some(text), Dialect::Problem)?;
    let mut tx = identity.base.db.begin().await.internal()?;
    proven.consume(&identity.base, &mut tx).await?;
    let family = live(&identity, &mut tx, text).await?.ok_or(Token::Expired)?.0;
    tx.commit().await.internal()?;
    if proven.jkt().as_str() != family.jkt {
        return Err(Token::Binding.into());
    }
    Ok(Json(json!({"sub": subject(&identity, &family.app, &family.account_id)})))
}

/// The family of an access token that still counts, when it was made, and when it ends.
async fn live(identity: &Identity, db: &mut AnyConnection, token: &str) -> Result<Option<(Family, i64, i64)>, Problem> {
    let now = identity.base.now();
    let Some((family, made, until)) = sign_ins::access(&mut *db, &hash(token.as_bytes())).await.internal()? else { return Ok(None) };
    let family = sign_ins::hold(db, &family).await.internal()?;
    let registered = |family: &Family| identity.config.clients.get(&family.client_id).is_some();
    Ok(family.filter(|family| family.is_live(now) && now.0 < until && registered(family)).map(|family| (family, made, until)))
}

/// `POST /revoke`: a refresh token ends its whole family, an access token itself, a wallet's with what it asked for, unless
/// the person has approved that. A token nobody knows is as good as revoked (§2.2).
pub async fn revoke(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    identity.starts.count(&address_key(peer.ip()), identity.base.now())?;
    let form = Form::parse(&uri, &headers, &edge::bytes(body, edge::MAX_BODY).await.map_err(|problem| problem.in_form(Dialect::Oauth))?)?;
    let (client, token) = (form.need("client_id")?, hash(form.need("token")?.as_bytes()));
    if identity.config.clients.get(client).is_none() {
        return Err(Problem::oauth(Oauth::Client));
    }
    let now = identity.base.now();
    // Nobody waits for what is looked up in vain.
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let known = sign_ins::refresh(&mut db, &token).await.internal()?.is_some() || sign_ins::access(&mut db, &token).await.internal()?.is_some();
    let wallets = credential_offers::of_token(&mut db, &token).await.internal()?;
    drop(db);
    if let Some((offer, of, account)) = wallets {
        if of != client {
            return Err(Problem::oauth(Oauth::UnauthorizedClient));
        }
        let account = AccountId::parse(&account)?;
        let mut tx = identity.base.db.begin().await.internal()?;
        // What the wallet asks for at the same time is asked before this, and ends, or after it, and is refused.
        accounts::hold(&mut tx, &account).await.internal()?;
        if credential_offers::end_tokens(&mut tx, &offer).await.internal()? {
            ledger::write(&mut tx, &account, "wallet.gave_back", &json!({"client": of}), now).await.internal()?;
        }
        tx.commit().await.internal()?;
        return Ok(StatusCode::OK);
    }
    if !known {
        return Ok(StatusCode::OK);
    }
    let mut tx = identity.base.db.begin().await.internal()?;
    let refresh = sign_ins::refresh(&mut tx, &token).await.internal()?.map(|refresh| refresh.family_id);
    let access = sign_ins::access(&mut tx, &token).await.internal()?.map(|(family, ..)| family);
    if let Some(family) = refresh.as_ref().or(access.as_ref()) {
        let family = sign_ins::hold(&mut tx, family).await.internal()?.ok_or_else(|| Problem::oauth(Oauth::Grant))?;
        if family.client_id != client {
            return Err(Problem::oauth(Oauth::UnauthorizedClient));
        }
        if refresh.is_some() {
            if sign_ins::end(&mut tx, &family.family_id, now).await.internal()? {
                let account = AccountId::parse(&family.account_id)?;
                ledger::write(&mut tx, &account, "app.signed_out", &json!({"client": family.client_id}), now).await.internal()?;
            }
        } else {
            sign_ins::end_access(&mut tx, &token).await.internal()?;
        }
    }
    tx.commit().await.internal()?;
    Ok(StatusCode::OK)
}

/// `POST /introspect`, for those whose key the operator registered. What does not count is `active: false`, whatever it is.
pub async fn introspect(State(identity): State<Arc<Identity>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    match introspected(&identity, &uri, &headers, body).await {
        Ok(answer) => answer.into_response(),
        Err(problem) => {
            let mut answer = problem.into_response();
            if answer.status() == StatusCode::UNAUTHORIZED {
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            answer
        }
    }
}

async fn introspected(identity: &Identity, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    let form = Form::parse(uri, headers, &edge::bytes(body, edge::MAX_BODY).await.map_err(|problem| problem.in_form(Dialect::Oauth))?)?;
    let refuse = || Problem::oauth(Oauth::Client);
    let key = headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' ')).ok_or_else(refuse)?;
    let key = Some(key).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key).ok_or_else(refuse)?;
    let digest = hash(key.as_bytes());
    if !identity.config.operators.iter().any(|operator| operator.key_sha256 == digest) {
        return Err(refuse());
    }
    let text = form.need("token")?;
    let mut tx = identity.base.db.begin().await.internal()?;
    let access = live(identity, &mut tx, text).await?.map(|(family, made, until)| (family, made, until, true));
    let found = match access {
        Some(found) => Some(found),
        None => match sign_ins::refresh(&mut tx, &hash(text.as_bytes())).await.internal()? {
            Some(refresh) if refresh.used_at.is_none() => {
                let family = sign_ins::hold(&mut tx, &refresh.family_id).await.internal()?;
                family.filter(|family| family.is_live(identity.base.now())).map(|family| {
                    let until = family.ends_at;
                    (family, refresh.created_at, until, false)
                })
            }
            _ => None,
        },
    };
    tx.commit().await.internal()?;
    let Some((family, made, until, is_access)) = found else { return Ok(Json(json!({"active": false}))) };
    let mut answer = json!({"active": true, "iss": identity.base.url, "client_id": family.client_id, "scope": family.scope,
        "sub": subject(identity, &family.app, &family.account_id), "iat": made / 1000, "exp": until / 1000, "cnf": {"jkt": family.jkt}});
    if is_access {
        answer["token_type"] = "DPoP".into();
    }
    Ok(Json(answer))
}
