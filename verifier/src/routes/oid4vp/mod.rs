//! OpenID for Verifiable Presentations 1.0: a relying service asks, any wallet answers, and what comes back is held against the query again.

mod answer;
mod client_id;
mod events;
mod request;

pub use answer::response;
pub use events::events;
pub use request::{request, request_for};

use super::presentations::authenticate;
use crate::state::Verifier;
use crate::store::{self, LIFETIME_SECS, Transaction};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use baton_protocol::dcql::Query;
use baton_protocol::id::TransactionId;
use baton_protocol::jwe::Opener;
use baton_protocol::key::{Did, hash};
use baton_protocol::presentation::TransactionData;
use baton_protocol::refusal::{Input, Vp};
use baton_service::edge;
use baton_service::extract::{Path, Query as UrlQuery};
use baton_service::problem::{InternalExt as _, Problem};
use client_id::Prefix;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json as object};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    dcql_query: Query,
    #[serde(default)]
    response_mode: Mode,
    /// How the verifier says who it is.
    #[serde(default)]
    client_id_prefix: Prefix,
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
    let relying = authenticate(&verifier, &headers)?;
    let ask: Ask = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    ask.dcql_query.check()?;
    if !ask.redirect_uri.as_deref().is_none_or(is_landing) || !(ask.redirect_uri.is_some() || ask.device.is_some() || ask.cross_device) {
        return Err(Input::Invalid.into());
    }
    let agreed = ask.transaction_data.iter().map(|data| agreed(data, &ask.dcql_query)).collect::<Result<Vec<_>, _>>()?;
    // Whoever passes an unsigned link on can change all that it says, so something else ties the answer to who started it, and nothing is agreed to by it.
    let tied = (ask.redirect_uri.is_some() || ask.device.is_some()) && agreed.is_empty();
    if ask.client_id_prefix == Prefix::RedirectUri && !tied {
        return Err(Vp::Prefix.into());
    }
    let client_id = ask.client_id_prefix.kept(&verifier, relying)?;
    let (now, entropy) = (verifier.base.now(), &verifier.base.entropy);
    let (id, reference) = (TransactionId::new(now, entropy.bytes()), entropy.token());
    let new = Transaction {
        transaction_id: id.to_string(),
        relying: relying.name.clone(),
        client_id: Some(client_id),
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
    let mut made = request::link(&verifier, &new, &reference)?;
    made["transaction"] = id.to_string().into();
    made["expires_in"] = LIFETIME_SECS.into();
    Ok((StatusCode::CREATED, Json(made)))
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
