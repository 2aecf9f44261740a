//! What identity says to apps about persons (OpenID Connect Core 1.0): subjects that differ from app to app, ID tokens, and refresh tokens that
//! follow from the one before.

use crate::state::Identity;
use baton_protocol::jose::{Draft, Typ};
use baton_protocol::time::Millis;
use serde::Serialize;

/// How long an access token for userinfo lives, in seconds.
pub const ACCESS_SECS: i64 = 300;
/// How long an ID token is worth anything, in seconds.
const ID_TOKEN_SECS: i64 = 300;
/// How long a sign-in lasts, however often it is refreshed, in seconds.
pub const FAMILY_SECS: i64 = 30 * 24 * 3600;
/// How long a refresh token that was just used gives the same successor again: its answer may have been lost.
pub const RETRY_SECS: i64 = 10;

/// The person as an app sees them (OpenID Connect Core §8.1): the same for all its clients, another for every other app.
pub fn subject(identity: &Identity, app: &str, account: &str) -> String {
    identity.base.keys.lasting("baton/pairwise/1", &[app, account])
}

/// The refresh token that follows another: only this service can tell, and it tells the same each time, so it need not be kept.
pub fn successor(identity: &Identity, refresh_token: &str) -> String {
    identity.base.keys.derived("baton/refresh/1", &[refresh_token])
}

/// Claims of an ID token (OpenID Connect Core §2).
#[derive(Debug, Serialize)]
pub struct IdToken<'a> {
    /// This service.
    pub iss: &'a str,
    /// The person, for this app.
    pub sub: &'a str,
    /// The client.
    pub aud: &'a str,
    /// When.
    pub iat: i64,
    /// Until when.
    pub exp: i64,
    /// When the person was verified, for a client that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How (RFC 8176): a key was proven, and a user verified for it.
    pub amr: [&'static str; 2],
    /// The client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<&'a str>,
}

impl<'a> IdToken<'a> {
    /// For a client, now.
    pub fn new(iss: &'a str, sub: &'a str, aud: &'a str, auth_time: Option<i64>, nonce: Option<&'a str>, now: Millis) -> Self {
        Self { iss, sub, aud, iat: now.secs(), exp: now.secs() + ID_TOKEN_SECS, auth_time, amr: ["pop", "user"], nonce }
    }
    /// To sign.
    pub fn draft(&self, kid: &str) -> Draft {
        Draft::new(Typ::IdToken, kid, self)
    }
}
