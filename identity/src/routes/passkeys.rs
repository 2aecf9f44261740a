//! The person's passkeys. A passkey with PRF gets its own copy of the root, vouched for by the account key; one without signs in and opens nothing.

use super::sign_up::user_handle;
use crate::state::Identity;
use crate::store::{accounts, ceremonies, root_changes, sign_ins};
use crate::{ledger, page_session};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use baton_protocol::enrolment::AccountProof;
use baton_protocol::id::CeremonyId;
use baton_protocol::refusal::{Limit, Webauthn, Wrap};
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Most passkeys of one account.
const MAX_PASSKEYS: usize = 20;

/// `GET /v1/passkeys`
pub async fn list(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let rows = accounts::passkeys(&mut db, &session.account).await.internal()?;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| json!({"credential_id": row.credential_id, "created_at": row.created_at, "used_at": row.used_at, "opens": row.opens > 0}))
        .collect();
    Ok(Json(json!({"passkeys": shown})))
}

/// `POST /v1/passkeys/start`
pub async fn start(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    session.needs_fresh(identity.base.now(), Webauthn::Reauth)?;
    let known = accounts::passkeys(&mut db, &session.account).await.internal()?;
    drop(db);
    let (mut options, state) = identity.passkeys.start_registration(user_handle(&session.account))?;
    // An authenticator that has one already makes no second.
    options["publicKey"]["excludeCredentials"] = known.iter().map(|row| json!({"type": "public-key", "id": row.credential_id})).collect();
    let ceremony = ceremonies::keep(&identity, "passkey", Some(session.account.as_str()), &state).await?;
    Ok(Json(json!({"ceremony": ceremony, "options": options})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    ceremony: CeremonyId,
    credential: Value,
    /// By the account key: a cookie alone adds nobody's passkey.
    proof: String,
    /// A copy of the root for it, if it can open one.
    wrapped: Option<WrappedRoot>,
}

/// `POST /v1/passkeys/finish`
pub async fn finish(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<(StatusCode, Json<Value>), Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Finish = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let (account, state) = ceremonies::take(&identity, "passkey", &body.ceremony).await?.ok_or(Webauthn::Challenge)?;
    let (credential_id, passkey) = identity.passkeys.finish_registration(&body.credential, &state)?;

    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Webauthn::Reauth)?;
    if account.as_deref() != Some(session.account.as_str()) {
        return Err(Webauthn::Challenge.into());
    }
    if accounts::passkeys(&mut tx, &session.account).await.internal()?.len() >= MAX_PASSKEYS {
        return Err(Limit::Devices.into());
    }
    match accounts::add_passkey(&mut tx, &session.account, (&credential_id, &passkey), now).await {
        Err(error) if baton_service::database::is_taken(&error) => return Err(Webauthn::Exists.into()),
        other => other.internal()?,
    }
    let root = check_proof(&identity, &mut tx, &session, &body.ceremony, &body.proof).await?;
    let opens = body.wrapped.is_some();
    if let Some(wrapped) = body.wrapped {
        let for_this = matches!(&wrapped.opener, Opener::Passkey { credential_id: id, .. } if *id == credential_id);
        wrapped.check_form()?;
        if !for_this || wrapped.root != root {
            return Err(Wrap::Invalid.into());
        }
        accounts::add_wrap(&mut tx, &session.account, &wrapped, now).await.internal()?;
    }
    let detail = json!({"passkey": credential_id, "opens": opens});
    ledger::write(&mut tx, &session.account, "passkey.added", &detail, now).await.internal()?;
    tx.commit().await.internal()?;
    Ok((StatusCode::CREATED, Json(json!({"credential_id": credential_id, "opens": opens}))))
}

/// Whoever holds the root says so, in this very ceremony. Gives the root's fingerprint.
pub async fn check_proof(
    identity: &Identity,
    db: &mut sqlx::AnyConnection,
    session: &page_session::PageSession,
    ceremony: &CeremonyId,
    proof: &str,
) -> Result<String, Problem> {
    let row = accounts::find(db, &session.account).await.internal()?.ok_or(Wrap::Proof)?;
    let key = row.key().ok_or_else(|| Problem::Internal("account key does not parse".into()))?;
    let proof = AccountProof::check(proof, &key, &identity.base.url, ceremony.as_str())?;
    if proof.root == row.root { Ok(row.root) } else { Err(Wrap::Proof.into()) }
}

/// `POST /v1/passkeys/{id}/remove`: never the last that opens the root, and never before the recovery code is confirmed (attacks.md WAN-12).
/// Every other browser is signed out.
pub async fn remove(State(identity): State<Arc<Identity>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Webauthn::Reauth)?;
    let known = accounts::passkeys(&mut tx, &session.account).await.internal()?;
    if !known.iter().any(|row| row.credential_id == id) {
        return Err(NOT_FOUND.into());
    }
    if !accounts::remove_passkey(&mut tx, &session.account, &id).await.internal()? {
        return Err(Wrap::Last.into());
    }
    // A root that is asked for under it could not be opened any more.
    let now_asked = root_changes::find(&mut tx, &session.account, now).await.internal()?;
    if now_asked.is_some_and(|asked| asked.wraps.contains(&format!("\"{id}\""))) {
        root_changes::drop(&mut tx, &session.account).await.internal()?;
    }
    // Whoever signed in with it is signed out, here and in apps.
    page_session::end_others(&mut tx, &session).await?;
    sign_ins::end_all(&mut tx, &session.account, now).await.internal()?;
    ledger::write(&mut tx, &session.account, "passkey.removed", &json!({"passkey": id}), now).await.internal()?;
    tx.commit().await.internal()?;
    Ok(Json(json!({"state": "removed"})))
}
