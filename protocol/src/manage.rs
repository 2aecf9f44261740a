//! The pages' token for one app's sessions (docs/protocol.md §11): signed by identity, bound to a key of the page, good for looking, ending and asking.
//! A kind of its own: it opens nothing that a device's token opens, and the other way round.

use crate::access_token::{Confirmation, MAX_LIFETIME_SECS};
use crate::jose::{Draft, Typ, Unverified};
use crate::key::PublicKey;
use crate::refusal::Token;
use crate::time::{Millis, SKEW_AHEAD_SECS};
use serde::{Deserialize, Serialize};

/// Claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ManageToken {
    /// Version: 1.
    pub v: u8,
    /// Identity.
    pub iss: String,
    /// The broker.
    pub aud: String,
    /// The subject: the device log.
    pub sub: String,
    /// When, in seconds.
    pub iat: i64,
    /// Until, in seconds.
    pub exp: i64,
    /// Its own id.
    pub jti: String,
    /// Whether it ends sessions: only for a person who was verified just before.
    pub ends: bool,
    /// The key it is bound to.
    pub cnf: Confirmation,
}

impl ManageToken {
    /// The token to sign, by identity's key named `kid`.
    pub fn draft(&self, kid: &str) -> Draft {
        Draft::new(Typ::Manage, kid, self)
    }

    /// Checks a token: signature by a key `keys` knows, issuer, audience, times. Binding to a proof is the caller's next step.
    pub fn check(token: &str, issuer: &str, audience: &str, keys: impl FnOnce(&str) -> Option<PublicKey>, now: Millis) -> Result<Self, Token> {
        let jws = Unverified::parse(token, Typ::Manage).map_err(Token::Jose)?;
        let key = jws.unverified_header().kid.as_deref().and_then(keys).ok_or(Token::Key)?;
        let claims: Self = jws.verify(&key).map_err(Token::Jose)?.exact().map_err(|_| Token::Claims)?;
        if claims.iss != issuer {
            return Err(Token::Issuer);
        }
        if claims.aud != audience {
            return Err(Token::Audience);
        }
        if claims.v != 1 || claims.iat > now.secs() + SKEW_AHEAD_SECS || claims.exp - claims.iat > MAX_LIFETIME_SECS {
            return Err(Token::Claims);
        }
        if claims.exp <= now.secs() { Err(Token::Expired) } else { Ok(claims) }
    }
}
