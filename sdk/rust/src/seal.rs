//! Session-key envelopes: JWE General, ECDH-ES+A256KW and A256GCM, one recipient for each device. The only module that knows josekit.
//!
//! josekit is lenient (short tags, duplicate members, unbounded inflation, a panic on short keys), so [`open`] first reads the whole form
//! strictly and hands on nothing but the profile.

use baton_protocol::b64;
use baton_protocol::key::{Did, PublicKey};
use baton_protocol::refusal::State;
use baton_protocol::signer::Signer as _;
use josekit::jwe::alg::ecdh_es::EcdhEsJweEncrypter;
use josekit::jwe::{ECDH_ES_A256KW, JweContext, JweDecrypter, JweEncrypter, JweHeader, JweHeaderSet};
use josekit::jwk::Jwk;
use serde::Deserialize;

use crate::keys::SoftKey;

const TYP: &str = "baton-key+jwe";
/// Most recipients of one envelope.
pub const MAX_RECIPIENTS: usize = 64;
const MAX_ENVELOPE: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    protected: String,
    recipients: Vec<Recipient>,
    iv: String,
    ciphertext: String,
    tag: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipient {
    header: RecipientHeader,
    encrypted_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipientHeader {
    kid: String,
    epk: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Protected {
    alg: String,
    enc: String,
    typ: String,
}

/// Seals a signed key statement to devices; `kid` of each is its DID URL, the key its agreement key from the device log.
pub fn seal(plain: &str, recipients: &[(Did, PublicKey)]) -> Result<String, State> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        return Err(State::Recipient);
    }
    let mut shared = JweHeaderSet::new();
    shared.set_algorithm("ECDH-ES+A256KW", true);
    shared.set_content_encryption("A256GCM", true);
    shared.set_token_type(TYP, true);
    let each: Vec<(JweHeader, EcdhEsJweEncrypter)> = recipients
        .iter()
        .map(|(device, key)| {
            let mut header = JweHeader::new();
            header.set_key_id(device.url());
            let encrypter = ECDH_ES_A256KW.encrypter_from_jwk(&public_jwk(&device.url(), key)?).map_err(|_| State::Recipient)?;
            Ok((header, encrypter))
        })
        .collect::<Result<_, State>>()?;
    let list: Vec<(Option<&JweHeader>, &dyn JweEncrypter)> =
        each.iter().map(|(header, encrypter)| (Some(header), encrypter as &dyn JweEncrypter)).collect();
    context().serialize_general_json(plain.as_bytes(), Some(&shared), &list, None).map_err(|_| State::Recipient)
}

/// Opens an envelope for one device. Everything but the profile is refused before josekit sees it.
pub fn open(envelope: &str, device: &Did, agreement: &SoftKey) -> Result<String, State> {
    check(envelope, &device.url())?;
    let mut jwk = public_jwk(&device.url(), agreement.key())?;
    jwk.set_parameter("d", Some(b64::encode(agreement.scalar().expose()).into())).map_err(|_| State::Undecryptable)?;
    let decrypter = ECDH_ES_A256KW.decrypter_from_jwk(&jwk).map_err(|_| State::Undecryptable)?;
    let url = device.url();
    let opened =
        context().deserialize_json_with_selector(envelope, |header| Ok((header.key_id() == Some(&url)).then_some(&decrypter as &dyn JweDecrypter)));
    let (plain, _) = opened.map_err(|_| State::Undecryptable)?;
    String::from_utf8(plain).map_err(|_| State::Undecryptable)
}

fn check(envelope: &str, kid: &str) -> Result<(), State> {
    let value = baton_protocol::json::value(envelope.as_bytes(), MAX_ENVELOPE).map_err(|_| State::Undecryptable)?;
    let protected = value.get("protected").and_then(|p| p.as_str()).ok_or(State::Alg)?;
    let protected = b64::decode(protected).map_err(|_| State::Alg)?;
    let protected = baton_protocol::json::value(&protected, 1024).map_err(|_| State::Alg)?;
    let protected: Protected = serde_json::from_value(protected).map_err(|_| State::Alg)?;
    if protected.alg != "ECDH-ES+A256KW" || protected.enc != "A256GCM" || protected.typ != TYP {
        return Err(State::Alg);
    }
    let parsed: Envelope = serde_json::from_value(value).map_err(|_| State::Undecryptable)?;
    let sound = b64::decode_array::<12>(&parsed.iv).is_ok()
        && b64::decode_array::<16>(&parsed.tag).is_ok()
        && b64::decode(&parsed.ciphertext).is_ok_and(|ct| !ct.is_empty())
        && parsed.recipients.len() <= MAX_RECIPIENTS
        && !parsed.protected.is_empty();
    if !sound {
        return Err(State::Undecryptable);
    }
    let mut mine = 0;
    for recipient in &parsed.recipients {
        let whole = b64::decode_array::<40>(&recipient.encrypted_key).is_ok() && PublicKey::from_jwk(&recipient.header.epk).is_ok();
        if !whole {
            return Err(State::Undecryptable);
        }
        mine += usize::from(recipient.header.kid == kid);
    }
    if mine == 1 { Ok(()) } else { Err(State::Recipient) }
}

/// Inflation is not there to be used, and no other content encryption is.
fn context() -> JweContext {
    let mut context = JweContext::new();
    context.remove_compression("DEF");
    for enc in ["A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "A128GCM", "A192GCM"] {
        context.remove_content_encryption(enc);
    }
    context
}

fn public_jwk(kid: &str, key: &PublicKey) -> Result<Jwk, State> {
    let public = key.jwk();
    let mut jwk = Jwk::new("EC");
    jwk.set_curve("P-256");
    jwk.set_key_id(kid);
    jwk.set_parameter("x", Some(public.x.into())).map_err(|_| State::Recipient)?;
    jwk.set_parameter("y", Some(public.y.into())).map_err(|_| State::Recipient)?;
    Ok(jwk)
}
