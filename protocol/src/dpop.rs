//! DPoP proofs (RFC 9449): the holder of a key signs this very request. `jti` consumption is the caller's, in its database.

use crate::jose::{Draft, Typ, Unverified};
use crate::key::{self, PublicKey};
use crate::refusal::{Dpop, Jose};
use crate::time::{Millis, is_fresh};
use serde::{Deserialize, Serialize};

/// Claims of a proof (RFC 9449 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Claims {
    /// Unique per proof.
    pub jti: String,
    /// The request's method.
    pub htm: String,
    /// The request's URL without query and fragment.
    pub htu: String,
    /// When, in seconds.
    pub iat: i64,
    /// Hash of the access token, at resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ath: Option<String>,
    /// The server's nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// A proof that holds; its `jti` is still to be consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that signed.
    pub key: PublicKey,
    /// Its claims.
    pub claims: Claims,
}

/// The request a proof must be about. `url` comes from configuration, never from `Host` or forwarded headers.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Method, upper case.
    pub method: &'a str,
    /// URL without query and fragment.
    pub url: &'a str,
    /// The access token shown with it, at resources.
    pub access_token: Option<&'a str>,
}

/// `ath`: hash of an access token.
pub fn token_hash(token: &str) -> String {
    key::hash(token.as_bytes())
}

/// The proof to sign.
pub fn draft(key: &PublicKey, claims: &Claims) -> Draft {
    Draft::dpop(key, claims)
}

/// Checks a proof. Its nonce is given back in the claims: whether it is one of the server's own is the server's to say.
pub fn check(proof: &str, expected: Expected<'_>, now: Millis) -> Result<Proof, Dpop> {
    let jws = Unverified::parse(proof, Typ::Dpop).map_err(|why| match why {
        Jose::PrivateKey | Jose::Point | Jose::Key => Dpop::Jwk,
        why => Dpop::Jose(why),
    })?;
    let key = jws.unverified_header().jwk.clone().ok_or(Dpop::Jwk)?;
    let claims: Claims = jws.verify(&key).map_err(Dpop::Jose)?.claims().map_err(Dpop::Jose)?;
    if claims.htm != expected.method {
        return Err(Dpop::Htm);
    }
    if claims.htu.split(['?', '#']).next() != Some(expected.url) {
        return Err(Dpop::Htu);
    }
    if !is_fresh(claims.iat, now) {
        return Err(Dpop::Iat);
    }
    if !(8..=128).contains(&claims.jti.len()) || !claims.jti.is_ascii() {
        return Err(Dpop::Jti);
    }
    if claims.ath != expected.access_token.map(token_hash) {
        return Err(Dpop::Ath);
    }
    Ok(Proof { key, claims })
}
