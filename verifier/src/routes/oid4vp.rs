//! OpenID for Verifiable Presentations 1.0: a relying service asks, any wallet answers, and what comes back is held against the query again.

use super::presentations::authenticate;
use super::token::{available, verdict_on};
use crate::state::Verifier;
use crate::store::{self, LIFETIME_SECS, Transaction};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use baton_protocol::dcql::{CredentialQuery, Query};
use baton_protocol::id::TransactionId;
use baton_protocol::jose::{Draft, Typ};
use baton_protocol::json;
use baton_protocol::jwe::{Enc, Opener};
use baton_protocol::key::{Did, hash};
use baton_protocol::presentation::{self, Expected, TransactionData, Verdict};
use baton_protocol::refusal::{Input, Vp};
use baton_protocol::standing::Standing;
use baton_service::edge;
use baton_service::extract::{Path, Query as UrlQuery};
use baton_service::form::Form;
use baton_service::problem::{Form as Dialect, InternalExt as _, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json as object};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    dcql_query: Query,
    #[serde(default)]
    response_mode: Mode,
    #[serde(default)]
    transaction_data: Vec<Map<String, Value>>,
    /// Where the person's browser goes afterwards, on the device that started it.
    redirect_uri: Option<String>,
    /// The one device that may answer, where the relying service knows it.
    device: Option<Did>,
    /// That whoever answers need not be who started it. Without one of these three a result belongs to nobody.
    #[serde(default)]
    cross_device: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    #[default]
    #[serde(rename = "direct_post")]
    DirectPost,
    #[serde(rename = "direct_post.jwt")]
    DirectPostJwt,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::DirectPost => "direct_post",
            Self::DirectPostJwt => "direct_post.jwt",
        }
    }
}

/// One thing to be agreed to, as it stands in the request, and the credentials it is for.
#[derive(Serialize, Deserialize)]
struct Agreed {
    text: String,
    credential_ids: Vec<String>,
}

/// `POST /v1/transactions`: for an authenticated relying service.
pub async fn create(State(verifier): State<Arc<Verifier>>, headers: HeaderMap, body: Body) -> Result<(StatusCode, Json<Value>), Problem> {
    let relying = authenticate(&verifier, &headers)?.name.clone();
    let ask: Ask = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    ask.dcql_query.check()?;
    if !ask.redirect_uri.as_deref().is_none_or(is_landing) || !(ask.redirect_uri.is_some() || ask.device.is_some() || ask.cross_device) {
        return Err(Input::Invalid.into());
    }
    let agreed = ask.transaction_data.iter().map(|data| agreed(data, &ask.dcql_query)).collect::<Result<Vec<_>, _>>()?;
    let (now, entropy) = (verifier.base.now(), &verifier.base.entropy);
    let (id, reference) = (TransactionId::new(now, entropy.bytes()), entropy.token());
    let new = Transaction {
        transaction_id: id.to_string(),
        relying,
        query: serde_json::to_string(&ask.dcql_query).internal()?,
        transaction_data: serde_json::to_string(&agreed).internal()?,
        response_mode: ask.response_mode.as_str().into(),
        redirect_uri: ask.redirect_uri,
        device: ask.device.map(|device| device.to_string()),
        response_code_hash: None,
        state: "waiting".into(),
        result: None,
        created_at: now.0,
        expires_at: now.plus_secs(LIFETIME_SECS).0,
    };
    let mut tx = verifier.base.db.begin().await.internal()?;
    store::create(&mut tx, &new, &hash(reference.as_bytes())).await.internal()?;
    tx.commit().await.internal()?;
    let (client, uri) = (client_id(&verifier), format!("{}/oid4vp/requests/{reference}", verifier.base.url));
    let link = format!("openid4vp://?client_id={}&request_uri={}&request_uri_method=post", percent(&client), percent(&uri));
    Ok((
        StatusCode::CREATED,
        Json(object!({"transaction": id, "client_id": client, "request_uri": uri, "authorization_request": link, "expires_in": LIFETIME_SECS})),
    ))
}

/// An https address, or one of this machine; without a fragment, in which the code would be lost.
fn is_landing(uri: &str) -> bool {
    let Ok(parsed) = uri.parse::<Uri>() else { return false };
    let here = parsed.scheme_str() == Some("http") && parsed.host() == Some("localhost");
    (parsed.scheme_str() == Some("https") || here) && !uri.contains('#') && parsed.authority().is_some_and(|name| !name.as_str().contains('@'))
}

/// One credential agrees to one thing (§5.1: the wallet is to use only one), so one is named.
fn agreed(data: &Map<String, Value>, query: &Query) -> Result<Agreed, Vp> {
    let ids: Option<Vec<String>> =
        data.get("credential_ids").and_then(Value::as_array).and_then(|ids| ids.iter().map(|id| id.as_str().map(str::to_owned)).collect());
    let known = |id: &String| query.credentials.iter().any(|one| one.id == *id);
    let ids = ids.filter(|ids| ids.len() == 1 && ids.iter().all(known)).ok_or(Vp::Query)?;
    if !data.get("type").is_some_and(Value::is_string) {
        return Err(Vp::Query);
    }
    Ok(Agreed { text: TransactionData::new(data).as_str().to_owned(), credential_ids: ids })
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { out + &char::from(b).to_string() } else { out + &format!("%{b:02X}") }
    })
}

/// §5.9.3: the wallet finds the key in the DID's document.
fn client_id(verifier: &Verifier) -> String {
    format!("decentralized_identifier:{}", verifier.base.did_web())
}

/// Secrets of a transaction follow from its id: only this service can tell.
fn derived(verifier: &Verifier, what: &str, id: &str) -> String {
    verifier.base.keys.derived(&format!("baton/vp-{what}/1"), &[id])
}

fn opener(verifier: &Verifier, id: &str) -> Result<Opener, Problem> {
    verifier.base.keys.opener("baton/vp-encryption/1", &[id]).ok_or_else(|| Problem::Internal("an encryption key of zero probability".into()))
}

async fn waiting(verifier: &Verifier, reference: &str) -> Result<Transaction, Problem> {
    let mut db = verifier.base.db.reader().acquire().await.internal()?;
    Ok(store::by_reference(&mut db, &hash(reference.as_bytes()), verifier.base.now()).await.internal()?.ok_or(Vp::State)?)
}

/// `GET /oid4vp/requests/{reference}`: the signed request (RFC 9101). Wallets may fetch it twice.
pub async fn request(State(verifier): State<Arc<Verifier>>, Path(reference): Path<String>) -> Result<Response, Problem> {
    signed(&verifier, &reference, None).await
}

/// `POST /oid4vp/requests/{reference}` (§5.10): with the wallet's own nonce.
pub async fn request_for(
    State(verifier): State<Arc<Verifier>>,
    Path(reference): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let form = Form::parse(&uri, &headers, &edge::bytes(body, edge::MAX_BODY).await?)?;
    let nonce = form.get("wallet_nonce");
    if nonce.is_some_and(|nonce| nonce.len() > 512) {
        return Err(Input::Invalid.into());
    }
    signed(&verifier, &reference, nonce).await
}

async fn signed(verifier: &Verifier, reference: &str, wallet_nonce: Option<&str>) -> Result<Response, Problem> {
    let asked = waiting(verifier, reference).await?;
    let id = &asked.transaction_id;
    let client = client_id(verifier);
    let agreed: Vec<Agreed> = serde_json::from_str(&asked.transaction_data).internal()?;
    let query: Value = serde_json::from_str(&asked.query).internal()?;
    // Who asks, for the person to read: the identifier is the verifier's alone.
    let mut metadata = object!({"client_name": asked.relying, "vp_formats_supported": {"dc+sd-jwt": {"sd-jwt_alg_values": ["ES256"], "kb-jwt_alg_values": ["ES256"]}}});
    if asked.response_mode == Mode::DirectPostJwt.as_str() {
        metadata["jwks"] = object!({"keys": [opener(verifier, id)?.jwk("response").internal()?]});
        metadata["encrypted_response_enc_values_supported"] = object!(Enc::NAMES);
    }
    let mut claims = object!({
        "client_id": client, "aud": "https://self-issued.me/v2", "response_type": "vp_token", "response_mode": asked.response_mode,
        "response_uri": format!("{}/oid4vp/responses/{reference}", verifier.base.url), "nonce": derived(verifier, "nonce", id),
        "state": derived(verifier, "state", id), "dcql_query": query, "client_metadata": metadata, "iat": verifier.base.now().secs(),
        "exp": asked.expires_at / 1000,
    });
    if !agreed.is_empty() {
        claims["transaction_data"] = agreed.iter().map(|one| one.text.clone()).collect::<Vec<_>>().into();
    }
    if let Some(nonce) = wallet_nonce {
        claims["wallet_nonce"] = nonce.into();
    }
    let kid = format!("{}#{}", verifier.base.did_web(), verifier.base.keys.kid());
    let token = verifier.base.keys.sign(Draft::new(Typ::AuthorizationRequest, &kid, &claims));
    Ok(([(CONTENT_TYPE, "application/oauth-authz-req+jwt")], token).into_response())
}

/// `POST /oid4vp/responses/{reference}` (§8.2, §8.3): the one answer that counts.
pub async fn response(
    State(verifier): State<Arc<Verifier>>,
    Path(reference): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    respond(&verifier, &reference, &uri, &headers, body).await.map_err(|problem| available(problem).in_form(Dialect::Oauth))
}

async fn respond(verifier: &Verifier, reference: &str, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    // Before a byte of the body is read.
    let asked = waiting(verifier, reference).await?;
    let form = Form::parse(uri, headers, &edge::bytes(body, edge::MAX_STATE_BODY).await?)?;
    let id = &asked.transaction_id;
    // A wallet may say no in clear even where answers are sealed (§8.3.1).
    let (state, token, error) = if asked.response_mode == Mode::DirectPostJwt.as_str() && form.get("error").is_none() {
        let opened = opener(verifier, id)?.open(form.get("response").ok_or(Vp::Invalid)?).map_err(|_| Vp::Invalid)?;
        let inside = json::object(&opened, edge::MAX_STATE_BODY).map_err(|_| Vp::Invalid)?;
        let text = |name: &str| inside.get(name).and_then(Value::as_str).map(str::to_owned);
        (text("state"), inside.get("vp_token").cloned(), text("error"))
    } else {
        let token = form.get("vp_token").map(|token| json::value(token.as_bytes(), edge::MAX_STATE_BODY)).transpose().map_err(|_| Vp::Invalid)?;
        (form.get("state").map(str::to_owned), token, form.get("error").map(str::to_owned))
    };
    if state.as_deref() != Some(&derived(verifier, "state", id)) {
        return Err(Vp::Invalid.into());
    }
    let (state, result) = match (token, error) {
        (Some(token), None) => ("answered", answered(verifier, &asked, &token).await?),
        // Said by the wallet; the relying service is told as much.
        (None, Some(error)) if error.len() <= 64 => ("refused", object!({"error": error})),
        _ => return Err(Vp::Invalid.into()),
    };
    let code = asked.redirect_uri.as_ref().map(|_| verifier.base.entropy.token());
    let now = verifier.base.now();
    let mut tx = verifier.base.db.begin().await.internal()?;
    let code_hash = code.as_ref().map(|code| hash(code.as_bytes()));
    if !store::answer(&mut tx, id, state, &result.to_string(), code_hash.as_deref(), now).await.internal()? {
        return Err(Vp::Invalid.into());
    }
    tx.commit().await.internal()?;
    Ok(Json(match (&asked.redirect_uri, code) {
        (Some(uri), Some(code)) => object!({"redirect_uri": format!("{uri}{}response_code={code}", if uri.contains('?') { '&' } else { '?' })}),
        _ => object!({}),
    }))
}

/// What has held of a credential that stands in a result, in the order it was looked at.
const CHECKS: [&str; 8] = ["issuer", "dates", "holder", "audience", "nonce", "transaction_data", "status", "query"];

/// What came, held against what was asked: every credential, every claim, one holder.
async fn answered(verifier: &Verifier, asked: &Transaction, token: &Value) -> Result<Value, Problem> {
    let query: Query = serde_json::from_str(&asked.query).internal()?;
    let agreed: Vec<Agreed> = serde_json::from_str(&asked.transaction_data).internal()?;
    let token = token.as_object().ok_or(Vp::Invalid)?;
    let came: BTreeSet<&str> = token.keys().map(String::as_str).collect();
    let left_out = |one: &Agreed| !one.credential_ids.iter().any(|id| came.contains(id.as_str()));
    if !query.is_answered_by(&came) || agreed.iter().any(left_out) {
        return Err(Vp::Invalid.into());
    }
    let mut all: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut holders: BTreeSet<Did> = BTreeSet::new();
    for (id, shown) in token {
        let wanted = query.credentials.iter().find(|one| one.id == *id).ok_or(Vp::Invalid)?;
        let shown =
            shown.as_array().filter(|shown| !shown.is_empty() && (wanted.multiple || shown.len() == 1) && shown.len() <= 16).ok_or(Vp::Invalid)?;
        let data: Vec<_> = agreed.iter().filter(|one| one.credential_ids.contains(id)).map(|one| TransactionData::from_text(&one.text)).collect();
        for one in shown {
            let one = one.as_str().ok_or(Vp::Invalid)?;
            #[cfg(feature = "w3c")]
            if super::foreign::is_one(one) {
                // Nothing is agreed to with somebody else's credential.
                if !data.is_empty() {
                    return Err(Vp::Invalid.into());
                }
                let worth = super::foreign::check(verifier, one, derived(verifier, "nonce", &asked.transaction_id), client_id(verifier)).await?;
                if !wanted.is_met_by(&worth.shown) {
                    return Err(Vp::Invalid.into());
                }
                all.entry(id).or_default().push(worth.told);
                continue;
            }
            let verdict = check(verifier, &asked.transaction_id, one, &data).await?;
            let claims = claims_of(&verdict, wanted)?;
            holders.insert(verdict.device.clone());
            all.entry(id).or_default().push(object!({"device": verdict.device, "issuer": verdict.issuer, "subject": verdict.log,
                "client_id": verdict.client_id, "tier": verdict.tier, "jkt": verdict.jkt, "claims": claims, "expires_at": verdict.expires_at,
                "status": {"value": "valid", "source": "standing"}, "checks": CHECKS.map(|check| object!({"check": check, "ok": true})),
                "checked_at": verifier.base.now().secs()}));
        }
    }
    // Devices of Baton are one; other wallets may have a key for each credential, and the relying service is told which.
    let holder = holders.pop_first();
    if !holders.is_empty() {
        return Err(Vp::Invalid.into());
    }
    if asked.device.as_deref().is_some_and(|device| Some(device) != holder.as_ref().map(Did::as_str)) {
        return Err(Vp::Session.into());
    }
    let agreed: Vec<_> = agreed.into_iter().map(|one| one.text).collect();
    Ok(object!({"credentials": all, "transaction_data": agreed}))
}

async fn check(verifier: &Verifier, id: &str, shown: &str, data: &[TransactionData]) -> Result<Verdict, Problem> {
    let (now, nonce, audience) = (verifier.base.now(), derived(verifier, "nonce", id), client_id(verifier));
    let expected = Expected { audience: &audience, nonce: &|given, _| given == nonce, transaction_data: data, required_claims: &[] };
    let pending = presentation::verify(shown, &expected, &verifier.issuers, now)?;
    let device = pending.credential().visible.sub.clone();
    // Once, by the transaction itself: it takes one answer.
    let decide = move |standing: &Standing| verdict_on(pending, standing, now);
    verifier.gate.pass(device, Vec::new(), decide).await
}

/// The disclosed claims; with those in clear they must meet the query.
fn claims_of(verdict: &Verdict, wanted: &CredentialQuery) -> Result<Map<String, Value>, Problem> {
    let mut shown = object!({"vct": baton_protocol::credential::VCT, "iss": verdict.issuer, "sub": verdict.device, "client_id": verdict.client_id,
        "tier": verdict.tier, "log": verdict.log, "exp": verdict.expires_at});
    for (name, value) in &verdict.claims {
        shown[name] = value.clone();
    }
    if wanted.is_met_by(&shown) { Ok(verdict.claims.clone()) } else { Err(Vp::Invalid.into()) }
}

/// What the relying service's person brought back.
#[derive(Deserialize)]
pub struct Back {
    response_code: Option<String>,
}

/// `GET /v1/transactions/{id}`: to the relying service that asked, and to nobody else. With a redirect, only for the `response_code` that came back to it
/// (§13.3): whoever answered is the one who is there.
pub async fn show(
    State(verifier): State<Arc<Verifier>>,
    Path(id): Path<String>,
    UrlQuery(back): UrlQuery<Back>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let relying = authenticate(&verifier, &headers)?.name.clone();
    let id = TransactionId::parse(&id).map_err(|_| Vp::State)?;
    let mut db = verifier.base.db.reader().acquire().await.internal()?;
    let asked = store::of(&mut db, id.as_str(), &relying, verifier.base.now()).await.internal()?.ok_or(Vp::State)?;
    drop(db);
    if asked.state != "waiting" && asked.redirect_uri.is_some() {
        let given = back.response_code.map(|code| hash(code.as_bytes()));
        if given.is_none() || given != asked.response_code_hash {
            return Err(Vp::Session.into());
        }
    }
    let mut answer: Value = asked.result.as_deref().map(serde_json::from_str).transpose().internal()?.unwrap_or_else(|| object!({}));
    answer["transaction"] = id.to_string().into();
    answer["state"] = asked.state.into();
    Ok(Json(answer))
}
