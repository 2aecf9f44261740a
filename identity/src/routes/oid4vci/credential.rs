//! Nonce (§7), credential (§8), deferred credential (§9) and notification (§11) endpoints.

use super::CONFIGURATION;
use super::encryption::{self, Asked};
use crate::ledger;
use crate::state::Identity;
use crate::store::credential_offers::{self, Token};
use crate::store::requests::{self, Handles, INTERVAL, Request};
use crate::store::{accounts, devices};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use baton_protocol::enrolment::Lane;
use baton_protocol::id::{AccountId, RequestId};
use baton_protocol::json::{self, Members};
use baton_protocol::jwe::Recipient;
use baton_protocol::key::{Thumbprint, hash};
use baton_protocol::nonce::{LIFETIME_SECS as NONCE_SECS, Purpose};
use baton_protocol::oid4vci::Proof;
use baton_protocol::refusal::{Token as TokenRefusal, Vci};
use baton_service::edge;
use baton_service::guard;
use baton_service::limits::address_key;
use baton_service::once::{self, Use};
use baton_service::problem::{Form as Dialect, InternalExt as _, Problem};
use serde_json::{Value, json as object};
use sqlx::AnyConnection;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

fn refuse(why: Vci) -> Problem {
    Problem::oauth(why)
}

/// Belongs to no key: the wallet asks before it says which.
fn any_key() -> Thumbprint {
    Thumbprint(String::new())
}

/// `POST /nonce`
pub async fn nonce(State(identity): State<Arc<Identity>>) -> Json<Value> {
    Json(object!({"c_nonce": identity.base.nonce(Purpose::Credential, &any_key())}))
}

/// Scheme and text of the one token a request may carry.
fn presented(headers: &HeaderMap) -> Result<(&str, &str), TokenRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenRefusal::Missing)?.to_str().map_err(|_| TokenRefusal::Scheme)?;
    if values.next().is_some() {
        return Err(TokenRefusal::Scheme);
    }
    value.split_once(' ').ok_or(TokenRefusal::Scheme)
}

/// Refuses a token nobody was given, or that comes too often, before anything is written or waited for: the one writer is for those who have one.
async fn known(identity: &Identity, headers: &HeaderMap) -> Result<(), Problem> {
    let (_, text) = presented(headers)?;
    let (token, now) = (hash(text.as_bytes()), identity.base.now());
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    credential_offers::token(&mut db, &token, now).await.internal()?.ok_or(TokenRefusal::Expired)?;
    identity.collections.count(&token, now)?;
    Ok(())
}

/// The token of a request, with the proof it wants, and its hash. Its account is held, as everywhere, before anything else of it.
async fn authorize(identity: &Identity, db: &mut AnyConnection, headers: &HeaderMap, path: &str) -> Result<(Token, String), Problem> {
    let (scheme, text) = presented(headers)?;
    let (token_hash, now) = (hash(text.as_bytes()), identity.base.now());
    let token = credential_offers::token(&mut *db, &token_hash, now).await.internal()?.ok_or(TokenRefusal::Expired)?;
    accounts::hold(&mut *db, &AccountId::parse(&token.account_id)?).await.internal()?;
    // As it is now: its account may have been deleted meanwhile.
    let token = credential_offers::token(&mut *db, &token_hash, now).await.internal()?.ok_or(TokenRefusal::Expired)?;
    match &token.jkt {
        Some(jkt) if scheme.eq_ignore_ascii_case("dpop") => {
            let proven = guard::proof(&identity.base, headers, "POST", path, Some(text), Dialect::Problem)?;
            if proven.jkt().as_str() != jkt {
                return Err(TokenRefusal::Binding.into());
            }
            proven.consume(&identity.base, db).await?;
        }
        None if scheme.eq_ignore_ascii_case("bearer") => {}
        _ => return Err(TokenRefusal::Scheme.into()),
    }
    Ok((token, token_hash))
}

/// The proof in what was asked for; unknown members are ignored.
fn proof_in(body: &Members<'_>, by_identifier: bool) -> Result<String, Vci> {
    // Where the token names identifiers, the request must, and must not otherwise (§8.2).
    match (body.get("credential_configuration_id"), body.get("credential_identifier")) {
        (Some(id), None) if !by_identifier && id.as_str() == Some(CONFIGURATION) => {}
        (None, Some(id)) if by_identifier && id.as_str() == Some(CONFIGURATION) => {}
        (Some(_), None) if !by_identifier => return Err(Vci::Configuration),
        (None, Some(_)) => return Err(Vci::Identifier),
        _ => return Err(Vci::Request),
    }
    let proofs = body.get("proofs").and_then(|proofs| proofs.as_members()).ok_or(Vci::Proof)?;
    let jwts = proofs.get("jwt").and_then(|jwts| jwts.as_items()).ok_or(Vci::Proof)?;
    match (proofs.len(), jwts) {
        (1, [one]) => one.as_str().map(str::to_owned).ok_or(Vci::Proof),
        _ => Err(Vci::Proof),
    }
}

/// `POST /credential`: makes the request that the person will see. The same key asking again gets the same answer.
pub async fn credential(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    known(&identity, &headers).await?;
    // Opened before anything is held.
    let asked = Asked::open(&identity, &headers, &edge::bytes(body, edge::MAX_BODY).await?)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let (token, token_hash) = authorize(&identity, &mut tx, &headers, "/credential").await?;
    let (body, recipient) = asked.read().map_err(refuse)?;
    let proof = proof_in(&body, token.by_identifier != 0).map_err(refuse)?;
    let proof = Proof::check(&proof, &identity.base.url, now).map_err(refuse)?;
    if !identity.base.accepts_nonce(Purpose::Credential, &proof.nonce, &any_key()) {
        return Err(refuse(Vci::Nonce));
    }
    let used = Use::new("c_nonce", &proof.nonce, now.plus_secs(2 * NONCE_SECS));
    if !once::consume(&mut tx, &used).await.internal()? {
        return Err(refuse(Vci::Nonce));
    }
    let id = RequestId::parse(&token.request_id)?;
    if credential_offers::requested(&mut tx, &token_hash, now).await.internal()? {
        let account = AccountId::parse(&token.account_id)?;
        if devices::key_use(&mut tx, proof.key.thumbprint().as_str()).await.internal()?.is_some() {
            return Err(refuse(Vci::Denied));
        }
        requests::create(&mut tx, &request(&identity, &token, &proof, peer.ip())?, &Handles::default()).await.internal()?;
        requests::bind_account(&mut tx, &id, &account).await.internal()?;
    } else {
        let known = requests::find(&mut tx, &id).await.internal()?.ok_or_else(|| refuse(Vci::Request))?;
        if known.jkt != proof.key.thumbprint().0 {
            return Err(refuse(Vci::Request));
        }
    }
    tx.commit().await.internal()?;
    later(&identity, &id, recipient.as_ref())
}

fn request(identity: &Identity, token: &Token, proof: &Proof, peer: IpAddr) -> Result<Request, Problem> {
    let key = &proof.key;
    let client = identity.config.clients.get(&token.client_id).ok_or_else(|| refuse(Vci::Denied))?;
    let new = requests::New {
        request_id: token.request_id.clone(),
        lane: Lane::CrossDevice,
        client: &client,
        scope: "session:read handoff:accept".into(),
        key,
        // A wallet has one key; sessions are sealed to it as well.
        agreement_jwk: &key.jwk(),
        claims: object!({"name": "Wallet", "kind": "other"}).to_string(),
        reason: None,
        seen_address: address_key(peer),
    };
    let check_code_hash = Some(token.check_code_hash.clone()).filter(|hash| !hash.is_empty());
    Ok(Request { check_code_hash, ..Request::new(new, identity.base.now()) })
}

fn transaction(identity: &Identity, request: &RequestId) -> String {
    identity.base.keys.derived("baton/transaction/1", &[request.as_str()])
}

fn later(identity: &Identity, request: &RequestId, recipient: Option<&Recipient>) -> Result<Response, Problem> {
    let body = object!({"transaction_id": transaction(identity, request), "interval": INTERVAL});
    encryption::answer(identity, StatusCode::ACCEPTED, body, recipient)
}

/// `POST /deferred_credential`
pub async fn deferred(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    known(&identity, &headers).await?;
    // Opened before anything is held.
    let asked = Asked::open(&identity, &headers, &edge::bytes(body, edge::MAX_BODY).await?)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let (token, _) = authorize(&identity, &mut tx, &headers, "/deferred_credential").await?;
    // Each request says anew whom its answer is for (§9.1).
    let (body, recipient) = asked.read().map_err(refuse)?;
    let id = RequestId::parse(&token.request_id)?;
    if token.requested_at.is_none() || body.text("transaction_id") != Some(&transaction(&identity, &id)) {
        return Err(refuse(Vci::Transaction));
    }
    let request = requests::find(&mut tx, &id).await.internal()?.ok_or_else(|| refuse(Vci::Transaction))?;
    match request.state.as_str() {
        "approved" => {}
        "requested" if !request.is_expired(now) => {
            tx.commit().await.internal()?;
            return later(&identity, &id, recipient.as_ref());
        }
        _ => return Err(refuse(Vci::Denied)),
    }
    devices::redeemed(&mut tx, &request.jkt, now).await.internal()?;
    tx.commit().await.internal()?;
    crate::routes::token::wait_issued(&identity, &request).await?;
    let issued = crate::routes::credential::issued(&identity, &request.jkt).await.map_err(|_| refuse(Vci::Denied))?;
    let device = issued.0["device_id"].as_str().unwrap_or_default().to_owned();
    let notification = format!("{device}.{}", identity.base.keys.derived("baton/notification/1", &[&device]));
    let body = object!({"credentials": [{"credential": issued.0["credential"]}], "notification_id": notification});
    encryption::answer(&identity, StatusCode::OK, body, recipient.as_ref())
}

/// `POST /notification`: what the wallet did with it, for the person to see. The same again is the same.
pub async fn notification(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    known(&identity, &headers).await?;
    let body = edge::bytes(body, edge::MAX_BODY).await?;
    let mut tx = identity.base.db.begin().await.internal()?;
    let (token, _) = authorize(&identity, &mut tx, &headers, "/notification").await?;
    let body = json::members(&body, edge::MAX_BODY).map_err(|_| refuse(Vci::NotificationRequest))?;
    let (Some(id), Some(event)) = (body.text("notification_id"), body.text("event")) else { return Err(refuse(Vci::NotificationRequest)) };
    let known = id.split_once('.').filter(|(device, mac)| identity.base.keys.derived("baton/notification/1", &[device]) == *mac);
    let (device, _) = known.ok_or_else(|| refuse(Vci::NotificationId))?;
    let kind = match event {
        "credential_accepted" => "wallet.accepted",
        "credential_failure" => "wallet.failed",
        "credential_deleted" => "wallet.deleted",
        _ => return Err(refuse(Vci::NotificationRequest)),
    };
    let account = AccountId::parse(&token.account_id)?;
    devices::of_account(&mut tx, &account, device).await.internal()?.ok_or_else(|| refuse(Vci::NotificationId))?;
    let first =
        once::consume(&mut tx, &Use::new("notification", &format!("{id} {event}"), identity.base.now().plus_secs(24 * 3600))).await.internal()?;
    if first {
        ledger::write(&mut tx, &account, kind, &object!({"device": device}), identity.base.now()).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(StatusCode::NO_CONTENT)
}
