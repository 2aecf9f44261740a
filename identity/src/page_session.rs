//! The pages' own session: a cookie that scripts cannot read, given after a passkey ceremony. It authenticates the pages' API and nothing else.

use crate::state::Identity;
use crate::store::accounts;
use axum::http::HeaderMap;
use axum::http::header::{COOKIE, ORIGIN};
use baton_protocol::id::AccountId;
use baton_protocol::key::hash;
use baton_protocol::refusal::{Input, Token, Webauthn};
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::problem::{InternalExt as _, Problem};
use sqlx::AnyConnection;

/// How long a session lasts.
const LIFETIME_SECS: i64 = 12 * 3600;
/// How recent user verification must be for what cannot be undone.
const FRESH_SECS: i64 = 300;

/// Who is signed in.
pub struct PageSession {
    /// The account.
    pub account: AccountId,
    verified_at: i64,
    token_hash: String,
}

impl PageSession {
    /// Refuses unless the person was verified within the last five minutes.
    pub fn needs_fresh<E: Into<Problem>>(&self, now: Millis, otherwise: E) -> Result<(), Problem> {
        if self.is_fresh(now) { Ok(()) } else { Err(otherwise.into()) }
    }
    /// When the person was verified, in milliseconds.
    pub fn verified_at(&self) -> i64 {
        self.verified_at
    }
    /// Whether the person was verified within the last five minutes.
    pub fn is_fresh(&self, now: Millis) -> bool {
        now.0 - self.verified_at <= FRESH_SECS * 1000
    }
}

/// Begins a session and gives the cookie to set.
pub async fn begin(identity: &Identity, db: &mut AnyConnection, account: &AccountId) -> Result<String, Problem> {
    let (token, now) = (identity.base.entropy.token(), identity.base.now());
    sqlx::query("INSERT INTO page_sessions (token_hash, account_id, verified_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(hash(token.as_bytes()))
        .bind(account.as_str())
        .bind(now.0)
        .bind(now.plus_secs(LIFETIME_SECS).0)
        .execute(db)
        .await
        .internal()?;
    let sent = match (identity.config.pages_are_elsewhere, is_https(identity)) {
        // To the pages' origin alone, wherever that is: each page has a jar of its own, and only that origin's requests are let in.
        (true, _) => "SameSite=None; Secure; Partitioned",
        (false, true) => "SameSite=Strict; Secure",
        (false, false) => "SameSite=Strict",
    };
    Ok(format!("{}={token}; Path=/; HttpOnly; {sent}; Max-Age={LIFETIME_SECS}", cookie_name(identity)))
}

/// The session of a request. A request that changes something must come from the pages' own origin.
pub async fn find(identity: &Identity, db: &mut AnyConnection, headers: &HeaderMap) -> Result<PageSession, Problem> {
    let token_hash = hash(cookie(headers, cookie_name(identity)).ok_or(Token::Missing)?.as_bytes());
    let row: Option<(String, i64)> = sqlx::query_as("SELECT account_id, verified_at FROM page_sessions WHERE token_hash = $1 AND expires_at > $2")
        .bind(&token_hash)
        .bind(identity.base.now().0)
        .fetch_optional(db)
        .await
        .internal()?;
    let (account, verified_at) = row.ok_or(Token::Missing)?;
    // A page that was loaded for one person does nothing for another who has signed in since.
    if headers.get("baton-account").is_some_and(|meant| meant.as_bytes() != account.as_bytes()) {
        return Err(Token::Missing.into());
    }
    let account = AccountId::parse(&account).map_err(|_| Problem::from(Webauthn::Credential))?;
    Ok(PageSession { account, verified_at, token_hash })
}

/// The session of a request, with its account held until the transaction ends: before requests, devices and whatever else is the account's, as everybody
/// does. One that was ended before this had the account is none.
pub async fn hold(identity: &Identity, db: &mut AnyConnection, headers: &HeaderMap) -> Result<PageSession, Problem> {
    let session = find(identity, &mut *db, headers).await?;
    accounts::hold(&mut *db, &session.account).await.internal()?;
    find(identity, db, headers).await
}

/// When each browser of a person was verified, and until when it is signed in.
pub async fn all(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<(i64, i64)>, Error> {
    sqlx::query_as("SELECT verified_at, expires_at FROM page_sessions WHERE account_id = $1 ORDER BY verified_at")
        .bind(account.as_str())
        .fetch_all(db)
        .await
}

/// Ends this session, or every one of its person.
pub async fn end(db: &mut AnyConnection, session: &PageSession, everywhere: bool) -> Result<(), Problem> {
    let sql = if everywhere {
        "DELETE FROM page_sessions WHERE account_id = $1"
    } else {
        "DELETE FROM page_sessions WHERE account_id = $1 AND token_hash = $2"
    };
    let query = sqlx::query(sql).bind(session.account.as_str());
    let query = if everywhere { query } else { query.bind(&session.token_hash) };
    query.execute(db).await.internal()?;
    Ok(())
}

/// Ends every other session of this person.
pub async fn end_others(db: &mut AnyConnection, session: &PageSession) -> Result<(), Problem> {
    sqlx::query("DELETE FROM page_sessions WHERE account_id = $1 AND token_hash <> $2")
        .bind(session.account.as_str())
        .bind(&session.token_hash)
        .execute(db)
        .await
        .internal()?;
    Ok(())
}

/// Refuses posts from anywhere but the pages (attacks.md HTTP-07). Every browser of these years says where a request comes from.
pub fn check_origin(identity: &Identity, headers: &HeaderMap) -> Result<(), Problem> {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let json = headers.get("content-type").and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("application/json"));
    let is_site = |site: &str| site == "same-origin" || identity.config.pages_are_elsewhere;
    let ours = origin == Some(identity.config.page_origin.as_str()) && site.is_some_and(is_site) && json;
    if ours { Ok(()) } else { Err(Input::Csrf.into()) }
}

fn is_https(identity: &Identity) -> bool {
    identity.base.url.starts_with("https:")
}

fn cookie_name(identity: &Identity) -> &'static str {
    if is_https(identity) { "__Host-baton" } else { "baton" }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}
