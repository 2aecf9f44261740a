//! A device asks to be enrolled: pushed authorization request (RFC 9126, lane 1) or device authorization (RFC 8628, lane 2).
//!
//! The DPoP proof is the proof of possession of the device key. What is approved later is fixed here.

use super::{app_sign_in, oid4vci};
use crate::clients::{Client, is_scope};
use crate::state::Identity;
use crate::store::devices;
use crate::store::requests::{Handles, INTERVAL, LIFETIME_SECS, New, Request, create};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use baton_protocol::enrolment::{DETAILS_TYPE, DeviceDetails, Lane, check_code, user_code};
use baton_protocol::id::RequestId;
use baton_protocol::key::{PublicKey, hash};
use baton_protocol::refusal::{Enrol, Oauth};
use baton_service::edge;
use baton_service::form::Form;
use baton_service::guard::{self, Proven};
use baton_service::limits::address_key;
use baton_service::problem::{Form as Dialect, InternalExt as _, Problem};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// `POST /par`
pub async fn pushed(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (form, client) = read_form(&identity, peer, &uri, &headers, body).await?;
    let wallet = oid4vci::wanted(&identity, &form)?;
    if wallet.is_some() || app_sign_in::is_sign_in(&form) {
        return app_sign_in::pushed(&identity, &headers, &form, &client, wallet, peer.ip().to_string()).await;
    }
    let asked = read(&identity, peer, &headers, form, client, "/par")?;
    let form = &asked.form;
    if form.need("response_type")? != "code" || form.get("request_uri").is_some() || form.get("code_challenge_method") != Some("S256") {
        return Err(Problem::oauth(Oauth::Request));
    }
    let challenge = form.need("code_challenge")?;
    let redirect_uri = form.need("redirect_uri")?;
    let thumbprint_fits = form.get("dpop_jkt").is_none_or(|jkt| jkt == asked.proven.jkt().as_str());
    if baton_protocol::b64::decode_array::<32>(challenge).is_err() || !asked.client.allows_redirect(redirect_uri) || !thumbprint_fits {
        return Err(Problem::oauth(Oauth::Request));
    }
    if form.get("state").is_some_and(|state| state.len() > 512) {
        return Err(Problem::oauth(Oauth::Request));
    }
    let request_uri = format!("urn:ietf:params:oauth:request_uri:{}", identity.base.entropy.token());
    let mut request = asked.request(&identity, Lane::SameDevice);
    request.redirect_uri = Some(redirect_uri.into());
    request.code_challenge = Some(challenge.into());
    request.client_state = form.get("state").map(Into::into);
    let handles = Handles { request_uri: Some(hash(request_uri.as_bytes())), ..Handles::default() };
    store(&identity, asked.proven, &request, &handles).await?;
    Ok((StatusCode::CREATED, Json(json!({"request_uri": request_uri, "expires_in": LIFETIME_SECS}))))
}

/// `POST /device_authorization`
pub async fn device(
    State(identity): State<Arc<Identity>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let (form, client) = read_form(&identity, peer, &uri, &headers, body).await?;
    let asked = read(&identity, peer, &headers, form, client, "/device_authorization")?;
    let (device_code, check) = (identity.base.entropy.token(), check_code(identity.base.entropy.bytes()));
    let mut request = asked.request(&identity, Lane::CrossDevice);
    let code = user_code(&identity.base.entropy.bytes());
    request.user_code_hash = Some(hash(code.as_bytes()));
    request.check_code_hash = Some(check_hash(&request.request_id, &check));
    let handles = Handles { device_code: Some(hash(device_code.as_bytes())), ..Handles::default() };
    store(&identity, asked.proven, &request, &handles).await?;
    let page = format!("{}/device", identity.config.page_origin);
    Ok(Json(json!({
        "device_code": device_code, "user_code": code, "check_code": check, "verification_uri": page,
        "verification_uri_complete": format!("{page}#{code}"), "expires_in": LIFETIME_SECS, "interval": INTERVAL,
    })))
}

/// How a check code is kept: bound to its request.
pub fn check_hash(request_id: &str, code: &str) -> String {
    hash(format!("{request_id}\n{code}").as_bytes())
}

struct Asked {
    form: Form,
    client: Client,
    proven: Proven,
    details: DeviceDetails,
    scope: String,
    seen_address: String,
}

async fn read_form(identity: &Identity, peer: SocketAddr, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<(Form, Client), Problem> {
    identity.starts.count(&address_key(peer.ip()), identity.base.now())?;
    let body = edge::bytes(body, edge::MAX_BODY).await?;
    let form = Form::parse(uri, headers, &body)?;
    let client = identity.config.clients.get(form.need("client_id")?).ok_or_else(|| Problem::oauth(Oauth::Client))?;
    Ok((form, client))
}

fn read(identity: &Identity, peer: SocketAddr, headers: &HeaderMap, form: Form, client: Client, path: &str) -> Result<Asked, Problem> {
    let proven = guard::proof(&identity.base, headers, "POST", path, None, Dialect::Oauth)?;
    let scope = form.need("scope")?.to_owned();
    if !is_scope(&scope) {
        return Err(Problem::oauth(Oauth::Scope));
    }
    let details = read_details(form.need("authorization_details")?)?;
    Ok(Asked { form, client, proven, details, scope, seen_address: peer.ip().to_string() })
}

fn read_details(text: &str) -> Result<DeviceDetails, Problem> {
    let bad = || Problem::oauth(Oauth::Details);
    let value = baton_protocol::json::value(text.as_bytes(), 16 * 1024).map_err(|_| bad())?;
    let mut all: Vec<DeviceDetails> = serde_json::from_value(value).map_err(|_| bad())?;
    let details = all.pop().filter(|details| all.is_empty() && details.r#type == DETAILS_TYPE).ok_or_else(bad)?;
    details.check()?;
    let agreement = serde_json::to_value(&details.agreement_jwk).map_err(|_| bad())?;
    PublicKey::from_jwk(&agreement).map_err(|_| bad())?;
    Ok(details)
}

impl Asked {
    fn request(&self, identity: &Identity, lane: Lane) -> Request {
        let now = identity.base.now();
        let new = New {
            request_id: RequestId::new(now, identity.base.entropy.bytes()).to_string(),
            lane,
            client: &self.client,
            scope: self.scope.clone(),
            key: self.proven.key(),
            agreement_jwk: &self.details.agreement_jwk,
            claims: serde_json::to_string(&self.details.claims).expect("strings"),
            reason: self.details.reason.clone(),
            seen_address: self.seen_address.clone(),
        };
        Request::new(new, now)
    }
}

async fn store(identity: &Identity, proven: Proven, request: &Request, handles: &Handles) -> Result<(), Problem> {
    let mut tx = identity.base.db.begin().await.internal()?;
    proven.consume(&identity.base, &mut tx).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    match devices::key_use(&mut tx, &request.jkt).await.internal()? {
        Some(true) => return Err(Enrol::KeyRevoked.into()),
        Some(false) => return Err(Enrol::KeyInUse.into()),
        None => {}
    }
    create(&mut tx, request, handles).await.internal()?;
    tx.commit().await.internal()
}
