//! The request as wallets read it: signed and fetched (RFC 9101; §5.10), or, where nobody could check a signature, as parameters of the link (§5.9.3).

use super::client_id::{self, Prefix};
use super::{Agreed, Mode, derived, opener, waiting};
use crate::state::Verifier;
use crate::store::Transaction;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use baton_protocol::jose::{Draft, Typ};
use baton_protocol::jwe::Enc;
use baton_protocol::refusal::{Input, Vp};
use baton_service::edge;
use baton_service::extract::Path;
use baton_service::form::Form;
use baton_service::problem::{InternalExt as _, Problem};
use serde_json::{Value, json as object};
use std::sync::Arc;

/// What a relying service shows to a wallet, as a link or a QR code.
pub fn link(verifier: &Verifier, new: &Transaction, reference: &str) -> Result<Value, Problem> {
    let client = client_id::of(verifier, new, reference);
    if Prefix::of(&client) == Prefix::RedirectUri {
        let claims = parameters(verifier, new, reference)?;
        let all = claims.as_object().into_iter().flatten().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={}", percent(&text))
        });
        let link = format!("openid4vp://?{}", all.collect::<Vec<_>>().join("&"));
        return Ok(object!({"client_id": client, "authorization_request": link}));
    }
    let uri = format!("{}/oid4vp/requests/{reference}", verifier.base.url);
    let link = format!("openid4vp://?client_id={}&request_uri={}&request_uri_method=post", percent(&client), percent(&uri));
    Ok(object!({"client_id": client, "request_uri": uri, "authorization_request": link}))
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { out + &char::from(b).to_string() } else { out + &format!("%{b:02X}") }
    })
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
    let mut claims = parameters(verifier, &asked, reference)?;
    (claims["aud"], claims["iat"]) = ("https://self-issued.me/v2".into(), verifier.base.now().secs().into());
    claims["exp"] = (asked.expires_at / 1000).into();
    if let Some(nonce) = wallet_nonce {
        claims["wallet_nonce"] = nonce.into();
    }
    let token = match Prefix::of(&client_id::of(verifier, &asked, reference)) {
        Prefix::DecentralizedIdentifier => {
            let kid = format!("{}#{}", verifier.base.did_web(), verifier.base.keys.kid());
            verifier.base.keys.sign(Draft::new(Typ::AuthorizationRequest, &kid, &claims))
        }
        // Another certificate since the transaction was made would be another client.
        Prefix::X509Hash => {
            let own = verifier.config.request_certificate.as_ref().filter(|own| claims["client_id"] == client_id::by_certificate(own));
            own.ok_or(Vp::State)?.sign(&claims)
        }
        // It is in the link, and nobody signs it.
        Prefix::RedirectUri => return Err(Vp::State.into()),
    };
    Ok(([(CONTENT_TYPE, "application/oauth-authz-req+jwt")], token).into_response())
}

/// What is asked, in the parameters of §5.1.
fn parameters(verifier: &Verifier, asked: &Transaction, reference: &str) -> Result<Value, Problem> {
    let id = &asked.transaction_id;
    let agreed: Vec<Agreed> = serde_json::from_str(&asked.transaction_data).internal()?;
    let query: Value = serde_json::from_str(&asked.query).internal()?;
    // Who asks, for the person to read: the identifier is the verifier's alone.
    let mut metadata = object!({"client_name": asked.relying, "vp_formats_supported": {"dc+sd-jwt": {"sd-jwt_alg_values": ["ES256"], "kb-jwt_alg_values": ["ES256"]}}});
    if asked.response_mode == Mode::DirectPostJwt.as_str() {
        metadata["jwks"] = object!({"keys": [opener(verifier, id)?.jwk("response").internal()?]});
        metadata["encrypted_response_enc_values_supported"] = object!(Enc::NAMES);
    }
    let mut claims = object!({
        "client_id": client_id::of(verifier, asked, reference), "response_type": "vp_token", "response_mode": asked.response_mode,
        "response_uri": client_id::response_uri(verifier, reference), "nonce": derived(verifier, "nonce", id),
        "state": derived(verifier, "state", id), "dcql_query": query, "client_metadata": metadata,
    });
    if !agreed.is_empty() {
        claims["transaction_data"] = agreed.iter().map(|one| one.text.clone()).collect::<Vec<_>>().into();
    }
    Ok(claims)
}
