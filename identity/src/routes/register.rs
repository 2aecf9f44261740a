//! Dynamic client registration (RFC 7591), where the operator switched it on: public clients alone, each an app of its own.

use crate::clients::{Client, is_registrable};
use crate::state::Identity;
use crate::store::clients;
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use baton_protocol::enrolment::check_name;
use baton_protocol::id::ClientId;
use baton_protocol::json::{self, Node};
use baton_protocol::refusal::{Limit, Oauth};
use baton_service::edge;
use baton_service::limits::address_key;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde_json::{Value, json as object};
use std::net::SocketAddr;
use std::sync::Arc;

/// What a registered client may use.
const GRANTS: [&str; 3] = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"];
/// Most redirect URIs of one client.
const MOST_URIS: usize = 16;

/// `POST /register`. Metadata that is not known here is ignored (§2).
pub async fn register(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if !identity.config.registration {
        return Err(NOT_FOUND.into());
    }
    identity.starts.count(&address_key(peer.ip()), identity.base.now())?;
    let body = edge::bytes(body, edge::MAX_BODY).await?;
    let (name, redirect_uris) = read(&body).map_err(Problem::oauth)?;
    let now = identity.base.now();
    let client_id = ClientId::new(now, identity.base.entropy.bytes()).to_string();
    let client = Client { app: client_id.clone(), client_id, name, redirect_uris };
    let mut tx = identity.base.db.begin().await.internal()?;
    clients::register(&mut tx, &client, now).await.internal()?.ok_or(Limit::Rate)?;
    tx.commit().await.internal()?;
    identity.config.clients.add(client.clone());
    Ok((
        StatusCode::CREATED,
        Json(object!({"client_id": client.client_id, "client_id_issued_at": now.secs(), "client_name": client.name,
            "redirect_uris": client.redirect_uris, "token_endpoint_auth_method": "none", "grant_types": GRANTS, "response_types": ["code"],
            "dpop_bound_access_tokens": true, "require_pushed_authorization_requests": true})),
    ))
}

fn read(body: &[u8]) -> Result<(String, Vec<String>), Oauth> {
    let body = json::members(body, edge::MAX_BODY).map_err(|_| Oauth::ClientMetadata)?;
    let texts = |name: &str| match body.get(name) {
        None => Ok(None),
        Some(node) => {
            let items = node.as_items().ok_or(Oauth::ClientMetadata)?;
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(Oauth::ClientMetadata)).collect::<Result<Vec<_>, _>>().map(Some)
        }
    };
    let all_of = |given: Option<Vec<String>>, known: &[&str]| given.is_none_or(|given| given.iter().all(|one| known.contains(&one.as_str())));
    let public = body.get("token_endpoint_auth_method").is_none_or(|method| method.as_str() == Some("none"));
    if !public || !all_of(texts("grant_types")?, &GRANTS) || !all_of(texts("response_types")?, &["code"]) {
        return Err(Oauth::ClientMetadata);
    }
    let uris = texts("redirect_uris")?.filter(|uris| (1..=MOST_URIS).contains(&uris.len())).ok_or(Oauth::RedirectUri)?;
    if !uris.iter().all(|uri| is_registrable(uri)) {
        return Err(Oauth::RedirectUri);
    }
    let name = match body.get("client_name") {
        None => "An app without a name".to_owned(),
        Some(Node::Text(name)) if check_name(name).is_ok() => name.to_string(),
        Some(_) => return Err(Oauth::ClientMetadata),
    };
    Ok((name, uris))
}
