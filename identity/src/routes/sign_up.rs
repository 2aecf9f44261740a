//! Sign-up: a passkey, and the wrapped copies of a root that was made on the client. No account without copies, in one transaction.

use crate::state::Identity;
use crate::store::{accounts, ceremonies};
use crate::{ledger, page_session};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use baton_protocol::enrolment::AccountProof;
use baton_protocol::id::{AccountId, CeremonyId};
use baton_protocol::key::PublicKey;
use baton_protocol::refusal::{Webauthn, Wrap};
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_service::database::is_taken;
use baton_service::edge;
use baton_service::limits::address_key;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// The UUID of an account id: what passkeys call the user handle.
pub fn user_handle(account: &AccountId) -> webauthn_rs::prelude::Uuid {
    webauthn_rs::prelude::Uuid::parse_str(&account.as_str()["acc_".len()..]).unwrap_or_default()
}

/// `POST /v1/sign-up/start`
pub async fn start(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    identity.sign_ins.count(&address_key(peer.ip()), identity.base.now())?;
    let account = AccountId::new(identity.base.now(), identity.base.entropy.bytes());
    let (options, state) = identity.passkeys.start_registration(user_handle(&account))?;
    let ceremony = ceremonies::keep(&identity, "sign-up", Some(account.as_str()), &state).await?;
    Ok(Json(json!({"ceremony": ceremony, "options": options})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    ceremony: CeremonyId,
    credential: Value,
    account_jwk: Value,
    proof: String,
    recovery_id: String,
    wraps: Vec<WrappedRoot>,
}

/// `POST /v1/sign-up/finish`
pub async fn finish(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Finish = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let (account, state) = ceremonies::take(&identity, "sign-up", &body.ceremony).await?.ok_or(Webauthn::Challenge)?;
    let account = account.and_then(|id| AccountId::parse(&id).ok()).ok_or(Webauthn::Challenge)?;
    let (credential_id, passkey) = identity.passkeys.finish_registration(&body.credential, &state)?;
    let key = PublicKey::from_jwk(&body.account_jwk).map_err(|_| Wrap::Proof)?;
    let proof = AccountProof::check(&body.proof, &key, &identity.base.url, body.ceremony.as_str())?;
    check_wraps(&body.wraps, &proof.root, &credential_id)?;
    baton_protocol::b64::decode_array::<32>(&body.recovery_id).map_err(|_| Wrap::Invalid)?;

    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let new = accounts::NewAccount {
        account: &account,
        root: &proof.root,
        key: &key,
        recovery_id: &baton_protocol::key::hash(body.recovery_id.as_bytes()),
        passkey: (&credential_id, &passkey),
        wraps: &body.wraps,
    };
    match accounts::create(&mut tx, &new, now).await {
        Err(error) if is_taken(&error) => return Err(Webauthn::Exists.into()),
        other => other.internal()?,
    }
    ledger::write(&mut tx, &account, "account.created", &json!({}), now).await.internal()?;
    let cookie = page_session::begin(&identity, &mut tx, &account).await?;
    tx.commit().await.internal()?;
    Ok((StatusCode::CREATED, [(SET_COOKIE, cookie)], Json(json!({"account": account, "root": proof.root}))).into_response())
}

/// One copy for this passkey and one for the recovery code, both of the proven root, nothing else.
pub fn check_wraps(wraps: &[WrappedRoot], root: &str, credential_id: &str) -> Result<(), Wrap> {
    for wrapped in wraps {
        wrapped.check_form()?;
    }
    let passkeys = wraps.iter().filter(|w| matches!(&w.opener, Opener::Passkey { credential_id: id, .. } if id == credential_id)).count();
    let recoveries = wraps.iter().filter(|w| w.opener == Opener::Recovery).count();
    let right = wraps.len() == 2 && passkeys == 1 && recoveries == 1 && wraps.iter().all(|w| w.root == root);
    if right { Ok(()) } else { Err(Wrap::Invalid) }
}
