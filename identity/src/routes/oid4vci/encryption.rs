//! Encrypted requests and responses (§10). A response is encrypted to a key that came in an encrypted request alone: in clear, somebody on the way could
//! put their own in its place.

use crate::state::Identity;
use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use baton_protocol::json::{self, Members};
use baton_protocol::jwe::{Enc, Opener, Recipient};
use baton_protocol::oid4vci::response_encryption;
use baton_protocol::refusal::Vci;
use baton_service::edge;
use baton_service::problem::{InternalExt as _, Problem};
use serde_json::{Value, json as object};

/// The one key that requests are encrypted to.
const KID: &str = "requests-1";

fn opener(identity: &Identity) -> Result<Opener, Problem> {
    identity.base.keys.opener("baton/vci-encryption/1", &[KID]).ok_or_else(|| Problem::Internal("an encryption key of zero probability".into()))
}

/// `credential_request_encryption` and `credential_response_encryption` of the metadata (§12.2.4).
pub fn describe(identity: &Identity) -> Result<(Value, Value), Problem> {
    let jwk = opener(identity)?.jwk(KID).internal()?;
    let requests = object!({"jwks": {"keys": [jwk]}, "enc_values_supported": Enc::NAMES, "encryption_required": false});
    let responses = object!({"alg_values_supported": ["ECDH-ES"], "enc_values_supported": Enc::NAMES, "encryption_required": false});
    Ok((requests, responses))
}

/// The body of a request, opened where it is encrypted.
pub struct Asked {
    body: Vec<u8>,
    encrypted: bool,
}

impl Asked {
    /// Opens.
    pub fn open(identity: &Identity, headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.split(';').next() != Some("application/jwt") {
            return Ok(Self { body: body.to_vec(), encrypted: false });
        }
        let sealed = std::str::from_utf8(body).map_err(|_| Problem::oauth(Vci::Encryption))?;
        let body = opener(identity)?.open(sealed.trim()).map_err(|_| Problem::oauth(Vci::Encryption))?;
        Ok(Self { body, encrypted: true })
    }

    /// What was asked, and whom the answer is for if not for everybody on the way.
    pub fn read(&self) -> Result<(Members<'_>, Option<Recipient>), Vci> {
        let body = json::members(&self.body, edge::MAX_BODY).map_err(|_| Vci::Request)?;
        let recipient = match body.get("credential_response_encryption") {
            None => None,
            Some(_) if !self.encrypted => return Err(Vci::Encryption),
            Some(wanted) => Some(response_encryption(wanted)?),
        };
        Ok((body, recipient))
    }
}

/// An answer, sealed where that was asked for.
pub fn answer(identity: &Identity, status: StatusCode, body: Value, recipient: Option<&Recipient>) -> Result<Response, Problem> {
    let Some(recipient) = recipient else { return Ok((status, Json(body)).into_response()) };
    let entropy = &identity.base.entropy;
    let ephemeral = Opener::from_scalar(&entropy.bytes()).ok_or_else(|| Problem::Internal("an ephemeral key of zero probability".into()))?;
    let sealed = recipient.seal(body.to_string().as_bytes(), &ephemeral, entropy.bytes()).internal()?;
    Ok((status, [(CONTENT_TYPE, "application/jwt")], sealed).into_response())
}
