//! `POST /v1/manage-tokens`: the pages' token for the sessions of one app, bound to a key of the page.

use crate::page_session;
use crate::state::Identity;
use crate::store::logs;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::access_token::{Confirmation, MAX_LIFETIME_SECS};
use baton_protocol::manage::ManageToken;
use baton_service::problem::{Form, InternalExt as _, NOT_FOUND, Problem};
use baton_service::{edge, guard};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    app: String,
}

/// `POST /v1/manage-tokens`
pub async fn create(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let base = &identity.base;
    let Ask { app } = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let proven = guard::proof(base, &headers, "POST", "/v1/manage-tokens", None, Form::Problem)?;
    let now = base.now();
    let mut tx = base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    proven.consume(base, &mut tx).await?;
    let issuer = logs::issuer(&mut tx, &session.account, &app).await.internal()?.ok_or(NOT_FOUND)?;
    tx.commit().await.internal()?;
    let token = ManageToken {
        v: 1,
        iss: base.url.clone(),
        aud: identity.config.broker_url.clone(),
        sub: issuer.log,
        iat: now.secs(),
        exp: now.secs() + MAX_LIFETIME_SECS,
        jti: base.entropy.token(),
        ends: session.is_fresh(now),
        cnf: Confirmation { jkt: proven.jkt() },
    };
    let signed = base.keys.sign(token.draft(base.keys.kid()));
    Ok(Json(json!({"access_token": signed, "token_type": "DPoP", "expires_in": MAX_LIFETIME_SECS, "broker": identity.config.broker_url})))
}
