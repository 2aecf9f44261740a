//! The wallet's answer (§8), held against what was asked.

use super::super::token::{available, verdict_on};
use super::{Agreed, Mode, client_id, derived, opener, waiting};
use crate::state::Verifier;
use crate::store::{self, Transaction};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use baton_protocol::dcql::{CredentialQuery, Query};
use baton_protocol::json;
use baton_protocol::key::{Did, hash};
use baton_protocol::presentation::{self, Expected, TransactionData, Verdict};
use baton_protocol::refusal::Vp;
use baton_protocol::standing::Standing;
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::form::Form;
use baton_service::problem::{Form as Dialect, InternalExt as _, Problem};
use serde_json::{Map, Value, json as object};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    let (id, client) = (&asked.transaction_id, client_id::of(verifier, &asked, reference));
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
        (Some(token), None) => ("answered", answered(verifier, &asked, &client, &token).await?),
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
    verifier.settled.ring(id);
    Ok(Json(match (&asked.redirect_uri, code) {
        (Some(uri), Some(code)) => object!({"redirect_uri": format!("{uri}{}response_code={code}", if uri.contains('?') { '&' } else { '?' })}),
        _ => object!({}),
    }))
}

/// What has held of a credential that stands in a result, in the order it was looked at.
const CHECKS: [&str; 8] = ["issuer", "dates", "holder", "audience", "nonce", "transaction_data", "status", "query"];

/// What came, held against what was asked: every credential, every claim, one holder.
async fn answered(verifier: &Verifier, asked: &Transaction, client: &str, token: &Value) -> Result<Value, Problem> {
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
            if super::super::foreign::is_one(one) {
                // Nothing is agreed to with somebody else's credential.
                if !data.is_empty() {
                    return Err(Vp::Invalid.into());
                }
                let worth = super::super::foreign::check(verifier, one, derived(verifier, "nonce", &asked.transaction_id), client.to_owned()).await?;
                if !wanted.is_met_by(&worth.shown, &worth.authorities) {
                    return Err(Vp::Invalid.into());
                }
                all.entry(id).or_default().push(worth.told);
                continue;
            }
            let verdict = check(verifier, &asked.transaction_id, client, one, &data).await?;
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

async fn check(verifier: &Verifier, id: &str, client: &str, shown: &str, data: &[TransactionData]) -> Result<Verdict, Problem> {
    let (now, nonce) = (verifier.base.now(), derived(verifier, "nonce", id));
    let expected = Expected { audience: client, nonce: &|given, _| given == nonce, transaction_data: data, required_claims: &[] };
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
    // A person's own root is under no authority of the kinds there are.
    if wanted.is_met_by(&shown, &[]) { Ok(verdict.claims.clone()) } else { Err(Vp::Invalid.into()) }
}
