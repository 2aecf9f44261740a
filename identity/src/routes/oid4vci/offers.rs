//! Credential offers (§4) that a signed-in person makes for their wallet, and the token for one (§6): pre-authorized code and transaction code.

use super::CONFIGURATION;
use super::authorization::issuer_state;
use crate::ledger;
use crate::page_session;
use crate::routes::start::check_hash;
use crate::state::Identity;
use crate::store::accounts;
use crate::store::credential_offers::{self, LIFETIME_SECS, New, NewToken};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use baton_protocol::enrolment::{CHECK_CODE_DIGITS, check_code};
use baton_protocol::id::{AccountId, OfferId, RequestId};
use baton_protocol::key::hash;
use baton_protocol::refusal::{Enrol, Limit, Oauth};
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::form::Form;
use baton_service::guard;
use baton_service::limits::address_key;
use baton_service::problem::{Form as Dialect, InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// The grant (§4.1.1).
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:pre-authorized_code";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Make {
    /// The client the wallet will be.
    client_id: String,
}

/// `POST /v1/credential-offers`: for the wallet of the person who is signed in. The transaction code is shown once, here.
pub async fn create(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<(StatusCode, Json<Value>), Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Make = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    let client = identity.config.clients.get(&body.client_id).ok_or(NOT_FOUND)?;
    let (now, entropy) = (identity.base.now(), &identity.base.entropy);
    let (offer, reference, tx_code) = (OfferId::new(now, entropy.bytes()), entropy.token(), check_code(entropy.bytes()));
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Enrol::Reauth)?;
    identity.prompts.count(session.account.as_str(), now).map_err(|_| Limit::Prompts)?;
    let new = New {
        offer: offer.as_str(),
        account: &session.account,
        client: &client.client_id,
        reference_hash: &hash(reference.as_bytes()),
        code_hash: &hash(code_of(&identity, &reference).as_bytes()),
        tx_code_hash: &check_hash(offer.as_str(), &tx_code),
    };
    credential_offers::create(&mut tx, &new, now).await.internal()?;
    tx.commit().await.internal()?;
    let (value, uri) = (offered(&identity, &reference, offer.as_str()), format!("{}/credential-offers/{reference}", identity.base.url));
    let link = |name: &str, value: &str| format!("openid-credential-offer://?{}", serde_urlencoded(name, value));
    Ok((
        StatusCode::CREATED,
        Json(json!({
            "credential_offer": value, "credential_offer_uri": uri, "tx_code": tx_code, "expires_in": LIFETIME_SECS,
            "by_value": link("credential_offer", &value.to_string()), "by_reference": link("credential_offer_uri", &uri),
        })),
    ))
}

fn serde_urlencoded(name: &str, value: &str) -> String {
    format!("{name}={}", crate::routes::approval::percent(value))
}

/// Follows from the link, so that only the link's hash is kept.
fn code_of(identity: &Identity, reference: &str) -> String {
    identity.base.keys.derived("baton/pre-authorized/1", &[reference])
}

fn offered(identity: &Identity, reference: &str, offer: &str) -> Value {
    let grant = json!({"pre-authorized_code": code_of(identity, reference),
        "tx_code": {"input_mode": "numeric", "length": CHECK_CODE_DIGITS, "description": "The code that your Baton page shows"}});
    json!({"credential_issuer": identity.base.url, "credential_configuration_ids": [CONFIGURATION], "grants": {GRANT: grant, "authorization_code": {"issuer_state": issuer_state(identity, offer)}}})
}

/// `GET /credential-offers/{reference}`
pub async fn show(State(identity): State<Arc<Identity>>, Path(reference): Path<String>) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let open = credential_offers::by_reference(&mut db, &hash(reference.as_bytes()), identity.base.now()).await.internal()?;
    Ok(Json(offered(&identity, &reference, &open.ok_or(NOT_FOUND)?)))
}

/// `POST /token` with a pre-authorized code: bound to a key when there is a proof, a bearer's otherwise. What it opens is one request, which the person
/// still has to approve.
pub async fn token(identity: &Identity, peer: IpAddr, headers: &HeaderMap, form: &Form) -> Result<Json<Value>, Problem> {
    let (now, entropy) = (identity.base.now(), &identity.base.entropy);
    let refuse = || Problem::oauth(Oauth::Grant);
    let proven =
        if headers.contains_key("dpop") { Some(guard::proof(&identity.base, headers, "POST", "/token", None, Dialect::Oauth)?) } else { None };
    let (code, tx_code) = (hash(form.need("pre-authorized_code")?.as_bytes()), form.need("tx_code")?);
    let address = address_key(peer);
    identity.starts.count(&address, now)?;
    let mut tx = identity.base.db.begin().await.internal()?;
    let account = AccountId::parse(&credential_offers::account_of(&mut tx, &code).await.internal()?.ok_or_else(refuse)?)?;
    accounts::hold(&mut tx, &account).await.internal()?;
    let (offer, expected) = credential_offers::by_code(&mut tx, &code, now).await.internal()?.ok_or_else(refuse)?;
    let from = json!({"from": address});
    if check_hash(&offer, tx_code) != expected {
        credential_offers::wrong_tx_code(&mut tx, &offer).await.internal()?;
        ledger::write(&mut tx, &account, "wallet.wrong_code", &from, now).await.internal()?;
        tx.commit().await.internal()?;
        return Err(refuse());
    }
    if !credential_offers::redeem(&mut tx, &offer, now).await.internal()? {
        return Err(refuse());
    }
    ledger::write(&mut tx, &account, "wallet.offer_taken", &from, now).await.internal()?;
    if let Some(proven) = &proven {
        proven.consume(&identity.base, &mut tx).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    }
    let (access, request) = (entropy.token(), RequestId::new(now, entropy.bytes()));
    let jkt = proven.as_ref().map(|proven| proven.jkt().0);
    let check = check_hash(request.as_str(), tx_code);
    let new = NewToken {
        hash: &hash(access.as_bytes()),
        offer: &offer,
        jkt: jkt.as_deref(),
        request: request.as_str(),
        check_code_hash: &check,
        by_identifier: false,
        until: now.plus_secs(LIFETIME_SECS),
    };
    credential_offers::add_token(&mut tx, &new).await.internal()?;
    tx.commit().await.internal()?;
    let token_type = if jkt.is_some() { "DPoP" } else { "Bearer" };
    Ok(Json(json!({"access_token": access, "token_type": token_type, "expires_in": LIFETIME_SECS})))
}
