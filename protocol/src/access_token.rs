//! Access tokens (RFC 9068 `at+jwt`), always bound to a device key (RFC 9449 §6) and to what was known of the device when they were minted.

use crate::credential::Tier;
use crate::jose::{Draft, SignatureMemory, Typ, Unverified, Verified};
use crate::key::{Did, PublicKey, Thumbprint};
use crate::refusal::Token;
use crate::time::{Millis, SKEW_AHEAD_SECS};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest life. There is no refresh: a device presents again.
pub const MAX_LIFETIME_SECS: i64 = 300;

/// Claims of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AccessToken {
    /// Who minted it.
    pub iss: String,
    /// The one resource server it is for.
    pub aud: String,
    /// The subject: the device log.
    pub sub: String,
    /// When, in seconds.
    pub iat: i64,
    /// Until, in seconds.
    pub exp: i64,
    /// Not before, in seconds; our own tokens have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Its own id.
    pub jti: String,
    /// The client.
    pub client_id: String,
    /// Space-separated scopes.
    pub scope: String,
    /// The key it is bound to.
    pub cnf: Confirmation,
    /// The device.
    pub device: Did,
    /// What the device may do.
    pub tier: Tier,
    /// The consent it rests on.
    pub grant: String,
    /// The device's epoch when it was minted; any later one kills it.
    pub dev_epoch: i64,
    /// What it is narrowed to (RFC 9396), if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Value>,
}

/// `cnf` of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Thumbprint of the bound key.
    pub jkt: Thumbprint,
}

impl AccessToken {
    /// The token to sign, by the service key named `kid`.
    pub fn draft(&self, kid: &str) -> Draft {
        Draft::new(Typ::AccessToken, kid, self)
    }
    /// Whether it carries this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|one| one == scope)
    }
    /// The one session it is narrowed to, if it is.
    pub fn narrowed_to(&self) -> Option<&str> {
        self.authorization_details.as_ref()?.as_array()?.first()?.get("session")?.as_str()
    }
}

/// Checks a token: signature by a key `keys` knows, issuer, audience, times. Binding to a proof: [`AccessToken::cnf`].
pub fn check(token: &str, issuer: &str, audience: &str, keys: impl FnOnce(&str) -> Option<PublicKey>, now: Millis) -> Result<AccessToken, Token> {
    check_once(token, (issuer, audience), keys, &(), now)
}

/// [`check`] by a service that sees the same token with each request of a device: its signature is checked once, everything else each time.
pub fn check_once(
    token: &str,
    (issuer, audience): (&str, &str),
    keys: impl FnOnce(&str) -> Option<PublicKey>,
    memory: &impl SignatureMemory,
    now: Millis,
) -> Result<AccessToken, Token> {
    let jws = Unverified::parse(token, Typ::AccessToken).map_err(Token::Jose)?;
    let key = jws.unverified_header().kid.as_deref().and_then(keys).ok_or(Token::Key)?;
    let exp = |token: &Verified| Some(Millis::from_secs(token.members().get("exp")?.as_i64()?.clamp(0, now.secs() + MAX_LIFETIME_SECS)));
    let claims: AccessToken = jws.verify_once(&key, memory, now, exp).map_err(Token::Jose)?.claims().map_err(|_| Token::Claims)?;
    if claims.iss != issuer {
        return Err(Token::Issuer);
    }
    if claims.aud != audience {
        return Err(Token::Audience);
    }
    if claims.iat > now.secs() + SKEW_AHEAD_SECS || claims.exp - claims.iat > MAX_LIFETIME_SECS {
        return Err(Token::Claims);
    }
    if claims.nbf.is_some_and(|nbf| nbf > now.secs() + SKEW_AHEAD_SECS) || (claims.authorization_details.is_some() && claims.narrowed_to().is_none())
    {
        return Err(Token::Claims);
    }
    if claims.exp <= now.secs() {
        return Err(Token::Expired);
    }
    Ok(claims)
}
