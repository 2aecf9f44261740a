//! Who is calling: DPoP proofs, access tokens bound to them, and the device's standing, in that order.
//!
//! Checking gives a [`Candidate`]. Only [`Candidate::admit`], inside the handler's transaction, makes it a [`Caller`]: there the proof's id is
//! consumed and the standing held until commit.

use crate::base::Base;
use crate::once::{self, Use};
use crate::problem::{Form, InternalExt as _, Problem};
use crate::standing::{self, Freshness};
use crate::verified::Verified;
use axum::http::HeaderMap;
use baton_protocol::Refusal;
use baton_protocol::access_token::{self, AccessToken};
use baton_protocol::dpop::{self, Proof};
use baton_protocol::key::{PublicKey, Thumbprint};
use baton_protocol::manage::ManageToken;
use baton_protocol::nonce::Purpose;
use baton_protocol::refusal::{Dpop, Jose, Token};
use baton_protocol::standing::Standing;
use baton_protocol::time::{Millis, PROOF_MAX_AGE_SECS};
use sqlx::AnyConnection;
use std::sync::Arc;

/// Whose tokens a service accepts, and for whom.
pub struct TokenIssuer {
    /// `iss` of the tokens.
    pub url: String,
    /// Its keys by name.
    pub keys: Vec<(String, PublicKey)>,
    seen: Verified,
}

/// Tokens whose signatures are remembered: each lives five minutes.
const MOST_SEEN: usize = 10_000;

impl TokenIssuer {
    /// One that signs by these keys.
    pub fn new(url: String, keys: Vec<(String, PublicKey)>) -> Self {
        Self { url, keys, seen: Verified::new(MOST_SEEN) }
    }
}

/// A proof that holds; its id is not consumed yet.
#[must_use]
pub struct Proven {
    proof: Proof,
}

impl Proven {
    /// The key that signed.
    pub fn key(&self) -> &PublicKey {
        &self.proof.key
    }
    /// Its thumbprint.
    pub fn jkt(&self) -> Thumbprint {
        self.proof.key.thumbprint()
    }
    /// The proof's id, to consume.
    pub fn once(&self, now: Millis) -> Use {
        Use::new("dpop", &format!("{}.{}", self.jkt().as_str(), self.proof.claims.jti), now.plus_secs(2 * PROOF_MAX_AGE_SECS))
    }
    /// Consumes the proof's id.
    pub async fn consume(&self, base: &Base, db: &mut AnyConnection) -> Result<(), Problem> {
        if once::consume(db, &self.once(base.now())).await.internal()? { Ok(()) } else { Err(Dpop::Replay.into()) }
    }
}

/// Checks the one DPoP proof of a request to `path` of this service, with a live nonce of ours for its key.
pub fn proof(base: &Base, headers: &HeaderMap, method: &str, path: &str, access_token: Option<&str>, form: Form) -> Result<Proven, Problem> {
    let mut proofs = headers.get_all("dpop").iter();
    let refuse = |why: Dpop| Problem::from(why).in_form(form);
    let text = proofs.next().ok_or_else(|| refuse(Dpop::Missing))?.to_str().map_err(|_| refuse(Dpop::Jose(Jose::Encoding)))?;
    if proofs.next().is_some() {
        return Err(refuse(Dpop::Jose(Jose::Form)));
    }
    proof_of(base, text, method, path, access_token, form)
}

fn proof_of(base: &Base, text: &str, method: &str, path: &str, access_token: Option<&str>, form: Form) -> Result<Proven, Problem> {
    let refuse = |why: Dpop| Problem::from(why).in_form(form);
    let url = format!("{}{path}", base.url);
    let proof = dpop::check(text, dpop::Expected { method, url: &url, access_token }, base.now()).map_err(refuse)?;
    let jkt = proof.key.thumbprint();
    if proof.claims.nonce.as_deref().is_some_and(|nonce| base.accepts_nonce(Purpose::Dpop, nonce, &jkt)) {
        Ok(Proven { proof })
    } else {
        Err(refuse(Dpop::Nonce).with_nonce(base.nonce(Purpose::Dpop, &jkt)))
    }
}

/// A request with a sound token and proof; nothing consumed yet.
#[must_use]
pub struct Candidate {
    token: Arc<AccessToken>,
    /// None on a stream, whose proof was consumed before.
    proven: Option<Proven>,
}

/// A device that may act in this transaction.
pub struct Caller {
    /// Its token.
    pub token: Arc<AccessToken>,
    /// Its standing, held until the transaction ends.
    pub standing: Standing,
}

/// The one token of a request, under the scheme `DPoP`.
pub fn presented(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all("authorization").iter();
    let value = values.next().ok_or(Token::Missing)?.to_str().map_err(|_| Token::Scheme)?;
    if values.next().is_some() {
        return Err(Token::Scheme.into());
    }
    let (scheme, text) = value.split_once(' ').ok_or(Token::Scheme)?;
    if !scheme.eq_ignore_ascii_case("dpop") {
        return Err(Token::Scheme.into());
    }
    Ok(text)
}

/// Checks the pages' token and its proof, and consumes the proof.
pub async fn manager(
    base: &Base,
    issuer: &TokenIssuer,
    headers: &HeaderMap,
    (method, path): (&str, &str),
    db: &mut AnyConnection,
) -> Result<ManageToken, Problem> {
    let text = presented(headers)?;
    let keys = |kid: &str| issuer.keys.iter().find(|(name, _)| name == kid).map(|(_, key)| key.clone());
    let token = ManageToken::check(text, &issuer.url, &base.url, keys, base.now())?;
    let proven = proof(base, headers, method, path, Some(text), Form::Problem)?;
    if proven.jkt() != token.cnf.jkt {
        return Err(Token::Binding.into());
    }
    proven.consume(base, db).await?;
    Ok(token)
}

/// Checks token and proof of a request.
pub fn candidate(base: &Base, issuer: &TokenIssuer, headers: &HeaderMap, method: &str, path: &str) -> Result<Candidate, Problem> {
    let text = presented(headers)?;
    let token = access_token(base, issuer, text)?;
    Candidate::new(token, proof(base, headers, method, path, Some(text), Form::Problem)?)
}

/// Checks a token and its proof that come on a stream, not in headers.
pub fn candidate_on_stream(base: &Base, issuer: &TokenIssuer, text: &str, dpop: &str, method: &str, path: &str) -> Result<Candidate, Problem> {
    let token = access_token(base, issuer, text)?;
    Candidate::new(token, proof_of(base, dpop, method, path, Some(text), Form::Problem)?)
}

fn access_token(base: &Base, issuer: &TokenIssuer, text: &str) -> Result<AccessToken, Problem> {
    let keys = |kid: &str| issuer.keys.iter().find(|(name, _)| name == kid).map(|(_, key)| key.clone());
    Ok(access_token::check_once(text, (&issuer.url, &base.url), keys, &issuer.seen, base.now())?)
}

impl Candidate {
    fn new(token: AccessToken, proven: Proven) -> Result<Self, Problem> {
        if proven.jkt() == token.cnf.jkt { Ok(Self { token: Arc::new(token), proven: Some(proven) }) } else { Err(Token::Binding.into()) }
    }

    /// For whoever has seen and consumed a proof for this token before: on a stream, once.
    pub const fn already_proven(token: Arc<AccessToken>) -> Self {
        Self { token, proven: None }
    }

    /// What the token says, for checks that need no database.
    pub fn token(&self) -> &AccessToken {
        &self.token
    }

    /// The proof's id, for who consumes many at once. Whoever consumes it so looks at the standing in the same transaction.
    pub fn once(&self, now: Millis) -> Option<Use> {
        self.proven.as_ref().map(|proven| proven.once(now))
    }

    async fn consume(&self, base: &Base, db: &mut AnyConnection) -> Result<(), Problem> {
        match &self.proven {
            Some(proven) => proven.consume(base, db).await,
            None => Ok(()),
        }
    }

    /// Consumes the proof and holds the standing: from here to commit, no revocation comes between. A token older than the device's
    /// epoch, of another grant, or of a device that is revoked opens nothing.
    pub async fn admit(self, base: &Base, freshness: &Freshness, db: &mut AnyConnection) -> Result<Caller, Problem> {
        self.consume(base, db).await?;
        let standing = standing::hold(db, &self.token.device, freshness, base.now()).await?.ok_or(Token::Standing)?;
        check_standing(&self.token, &standing, base.now())?;
        Ok(Caller { token: self.token, standing })
    }

    /// [`Self::admit`] where the service knows devices itself and has looked this one up in the same transaction.
    pub async fn admit_as(self, base: &Base, standing: Option<Standing>, db: &mut AnyConnection) -> Result<Caller, Problem> {
        self.consume(base, db).await?;
        let standing = standing.ok_or(Token::Standing)?;
        check_standing(&self.token, &standing, base.now())?;
        Ok(Caller { token: self.token, standing })
    }
}

/// Whether a token still stands for what is known of its device.
pub fn check_standing(token: &AccessToken, standing: &Standing, now: Millis) -> Result<(), Refusal> {
    if !standing::is_live(standing, now) {
        return Err(Token::Standing.into());
    }
    if token.dev_epoch != standing.dev_epoch || token.grant != standing.grant {
        return Err(Token::Epoch.into());
    }
    if token.sub != standing.log || token.cnf.jkt != standing.jkt {
        return Err(Token::Binding.into());
    }
    Ok(())
}

impl Caller {
    /// Refuses unless the token carries the scope.
    pub fn needs(&self, scope: &str) -> Result<(), Refusal> {
        if self.token.has_scope(scope) { Ok(()) } else { Err(Token::Scope.into()) }
    }
    /// Refuses limited devices.
    pub fn needs_full(&self) -> Result<(), Refusal> {
        if self.standing.tier == baton_protocol::credential::Tier::Full { Ok(()) } else { Err(Token::Tier.into()) }
    }
}
