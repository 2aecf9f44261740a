//! The device log, for its live members; and their agreement when another root is to go on with it.

use super::credential::LOG_SCOPE;
use crate::ledger;
use crate::state::Identity;
use crate::store::devices::Listed;
use crate::store::{accounts, devices, logs, root_changes};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::Refusal;
use baton_protocol::device_log::{DeviceLog, RootConsent};
use baton_protocol::refusal::{Log, Root, Token};
use baton_service::edge;
use baton_service::guard;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use std::sync::Arc;

/// A token of ours, or one that the verifier gave for us.
fn candidate(identity: &Identity, headers: &HeaderMap, method: &str, path: &str) -> Result<guard::Candidate, Problem> {
    let base = &identity.base;
    match guard::candidate(base, &identity.own_tokens, headers, method, path) {
        Err(Problem::Refused { refusal: Refusal::Token(Token::Key | Token::Issuer), .. }) => {
            guard::candidate(base, &identity.verifier_tokens, headers, method, path)
        }
        other => other,
    }
}

/// The device behind a token, live as of now.
async fn admit(identity: &Identity, tx: &mut AnyConnection, candidate: guard::Candidate) -> Result<guard::Caller, Problem> {
    let standing = devices::standing(&mut *tx, candidate.token().device.as_str()).await.internal()?;
    let caller = candidate.admit_as(&identity.base, standing, tx).await?;
    caller.needs(LOG_SCOPE)?;
    Ok(caller)
}

/// `GET /v1/log`: full devices also get labels, which are no evidence, and are asked when the root is to be replaced.
pub async fn show(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let base = &identity.base;
    let candidate = candidate(&identity, &headers, "GET", "/v1/log")?;
    let mut tx = base.db.begin().await.internal()?;
    let caller = admit(&identity, &mut tx, candidate).await?;
    devices::seen(&mut tx, caller.token.device.as_str(), base.now()).await.internal()?;
    tx.commit().await.internal()?;

    let mut db = base.db.reader().acquire().await.internal()?;
    let entries = logs::entries(&mut db, &caller.standing.log).await.internal()?;
    let rows = devices::directory(&mut db, &caller.standing.log, base.now()).await.internal()?;
    let live: Vec<_> = rows.iter().map(|row| row.did.clone()).collect();
    let asked = root_changes::of_log(&mut db, &caller.standing.log, base.now()).await.internal()?;
    let agreed = root_changes::has_agreed(&mut db, caller.token.device.as_str()).await.internal()?;
    let asked = asked.filter(|_| !agreed).map(|asked| json!({"from": asked.from, "to": asked.to}));
    let directory = match caller.needs_full() {
        Ok(()) => {
            let label = |row: Listed| json!({"device": row.did, "name": row.name, "kind": row.kind, "capabilities": row.capabilities()});
            Some(rows.into_iter().map(label).collect::<Vec<_>>())
        }
        Err(Refusal::Token(Token::Tier)) => None,
        Err(other) => return Err(other.into()),
    };
    let asked = if directory.is_some() { asked } else { None };
    Ok(Json(json!({"entries": entries, "live": live, "directory": directory, "replace_root": asked})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Agreed {
    consent: String,
}

/// `POST /v1/log/consent`: a full device agrees that its log goes on under another root. Saying it twice changes nothing.
pub async fn consent(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    let base = &identity.base;
    let candidate = candidate(&identity, &headers, "POST", "/v1/log/consent")?;
    let Agreed { consent } = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let now = base.now();
    let mut tx = base.db.begin().await.internal()?;
    let caller = admit(&identity, &mut tx, candidate).await?;
    caller.needs_full()?;
    let log = &caller.standing.log;
    let asked = root_changes::of_log(&mut tx, log, now).await.internal()?.ok_or(Root::NotAsked)?;
    accounts::hold(&mut tx, &asked.account).await.internal()?;
    // As it is now that nobody else changes it.
    let asked = root_changes::of_log(&mut tx, log, now).await.internal()?.ok_or(Root::NotAsked)?;
    let log = DeviceLog::replay(&logs::entries(&mut tx, log).await.internal()?)?;
    let (given, by) = RootConsent::check(&consent)?;
    if by != caller.token.device || given.to.as_str() != asked.to || given.from.as_str() != asked.from {
        return Err(Log::Consent.into());
    }
    log.check_consent(&given.to, &consent)?;
    let given = root_changes::Consent { app: asked.app, device: by.to_string(), consent };
    if root_changes::consent(&mut tx, &asked.account, &given, now).await.internal()? {
        let device = devices::by_jkt(&mut tx, caller.standing.jkt.as_str()).await.internal()?.map(|device| device.device_id);
        ledger::write(&mut tx, &asked.account, "root.agreed", &json!({"device": device}), now).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"state": "agreed"})))
}
