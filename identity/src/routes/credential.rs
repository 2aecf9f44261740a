//! `POST /v1/credential`: a device fetches what was issued to its key. The proof is all it needs, so a lost reply loses nothing.

use crate::state::Identity;
use crate::store::{devices, logs};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::access_token::{AccessToken, Confirmation, MAX_LIFETIME_SECS};
use baton_protocol::refusal::Enrol;
use baton_service::guard;
use baton_service::problem::{Form, InternalExt as _, Problem};
use baton_service::standing::is_live;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a device may do at identity.
pub const LOG_SCOPE: &str = "log:read";

/// `POST /v1/credential`
pub async fn show(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let proven = guard::proof(&identity.base, &headers, "POST", "/v1/credential", None, Form::Problem)?;
    let mut tx = identity.base.db.begin().await.internal()?;
    proven.consume(&identity.base, &mut tx).await?;
    tx.commit().await.internal()?;
    issued(&identity, proven.jkt().as_str()).await
}

/// Credential, log and token for the device of this key.
pub async fn issued(identity: &Identity, jkt: &str) -> Result<Json<Value>, Problem> {
    let now = identity.base.now();
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let device = devices::by_jkt(&mut db, jkt).await.internal()?.ok_or(Enrol::NotApproved)?;
    if device.redeemed_at.is_none() {
        return Err(Enrol::NotApproved.into());
    }
    let standing = devices::standing(&mut db, &device.did).await.internal()?.ok_or(Enrol::NotApproved)?;
    if !is_live(&standing, now) {
        return Err(Enrol::KeyRevoked.into());
    }
    let entries = logs::entries(&mut db, &device.log).await.internal()?;
    let token = AccessToken {
        iss: identity.base.url.clone(),
        aud: identity.base.url.clone(),
        sub: device.log.clone(),
        iat: now.secs(),
        exp: now.secs() + MAX_LIFETIME_SECS,
        nbf: None,
        jti: identity.base.entropy.token(),
        client_id: device.client_id.clone(),
        scope: LOG_SCOPE.into(),
        cnf: Confirmation { jkt: standing.jkt },
        device: standing.device,
        tier: standing.tier,
        grant: standing.grant,
        dev_epoch: standing.dev_epoch,
        authorization_details: None,
    };
    let token = identity.base.keys.sign(token.draft(identity.base.keys.kid()));
    Ok(Json(json!({
        "access_token": token, "token_type": "DPoP", "expires_in": MAX_LIFETIME_SECS, "scope": standing.scopes,
        "device_id": device.device_id, "credential": device.credential, "device_log": entries,
    })))
}
