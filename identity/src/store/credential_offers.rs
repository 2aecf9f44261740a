//! Offers to wallets, and the tokens they became (OpenID4VCI 1.0 §4, §6).

use baton_protocol::id::AccountId;
use baton_protocol::time::Millis;
use baton_service::database::{Database, Error};
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// How long an offer can be taken, and a token used.
pub const LIFETIME_SECS: i64 = 600;
/// How long after its request a token still fetches what the person approved, in seconds.
const COLLECTED_SECS: i64 = 6 * 3600;
/// Wrong transaction codes until an offer is void.
const MAX_TX_FAILURES: i64 = 5;

/// A new offer.
pub struct New<'a> {
    /// Its id.
    pub offer: &'a str,
    /// Who made it.
    pub account: &'a AccountId,
    /// The client the wallet will be.
    pub client: &'a str,
    /// Of what names it in a link.
    pub reference_hash: &'a str,
    /// Of its pre-authorized code.
    pub code_hash: &'a str,
    /// Of what the person types into the wallet.
    pub tx_code_hash: &'a str,
}

/// Keeps an offer.
pub async fn create(db: &mut AnyConnection, new: &New<'_>, now: Millis) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO credential_offers (offer_id, account_id, client_id, reference_hash, code_hash, tx_code_hash, tx_failures, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)",
    )
    .bind(new.offer)
    .bind(new.account.as_str())
    .bind(new.client)
    .bind(new.reference_hash)
    .bind(new.code_hash)
    .bind(new.tx_code_hash)
    .bind(now.0)
    .bind(now.plus_secs(LIFETIME_SECS).0)
    .execute(db)
    .await?;
    Ok(())
}

/// An offer as the person who made it may see it.
#[derive(FromRow)]
pub struct Kept {
    /// The client the wallet will be.
    pub client_id: String,
    /// When it was made.
    pub created_at: i64,
    /// Until when it can be taken.
    pub expires_at: i64,
    /// When a wallet took it.
    pub redeemed_at: Option<i64>,
}

/// Those that are kept of an account.
pub async fn of_account(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<Kept>, Error> {
    sqlx::query_as("SELECT client_id, created_at, expires_at, redeemed_at FROM credential_offers WHERE account_id = $1 ORDER BY created_at")
        .bind(account.as_str())
        .fetch_all(db)
        .await
}

/// The offer a link names, while it can be taken.
pub async fn by_reference(db: &mut AnyConnection, reference_hash: &str, now: Millis) -> Result<Option<String>, Error> {
    sqlx::query_scalar(
        "SELECT offer_id FROM credential_offers WHERE reference_hash = $1 AND redeemed_at IS NULL AND tx_failures < $2 AND expires_at > $3",
    )
    .bind(reference_hash)
    .bind(MAX_TX_FAILURES)
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// The offer of a code that can still be taken, held against a second guess at once: its id, and the hash its transaction code must have.
pub async fn by_code(db: &mut AnyConnection, code_hash: &str, now: Millis) -> Result<Option<(String, String)>, Error> {
    let sql = locked!(
        "SELECT offer_id, tx_code_hash FROM credential_offers WHERE code_hash = $1 AND redeemed_at IS NULL AND tx_failures < $2 AND expires_at > $3"
    )
    .on(db);
    sqlx::query_as(sql).bind(code_hash).bind(MAX_TX_FAILURES).bind(now.0).fetch_optional(db).await
}

/// Whose offer a code names; it may have been taken.
pub async fn account_of(db: &mut AnyConnection, code_hash: &str) -> Result<Option<String>, Error> {
    sqlx::query_scalar("SELECT account_id FROM credential_offers WHERE code_hash = $1").bind(code_hash).fetch_optional(db).await
}

/// Counts a wrong transaction code.
pub async fn wrong_tx_code(db: &mut AnyConnection, offer: &str) -> Result<(), Error> {
    sqlx::query("UPDATE credential_offers SET tx_failures = tx_failures + 1 WHERE offer_id = $1").bind(offer).execute(db).await?;
    Ok(())
}

/// Takes an offer; false when somebody was quicker, or too many codes were tried meanwhile.
pub async fn redeem(db: &mut AnyConnection, offer: &str, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE credential_offers SET redeemed_at = $2 WHERE offer_id = $1 AND redeemed_at IS NULL AND tx_failures < $3 AND expires_at > $2",
    )
    .bind(offer)
    .bind(now.0)
    .bind(MAX_TX_FAILURES)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What a wallet may do with its token.
#[derive(FromRow)]
pub struct Token {
    /// Whose the credential will be.
    pub account_id: String,
    /// The client the wallet is.
    pub client_id: String,
    /// The key it is bound to, if it is.
    pub jkt: Option<String>,
    /// The enrolment request it may make.
    pub request_id: String,
    /// What the person types to approve that, or nothing.
    pub check_code_hash: String,
    /// Whether it names its credential by an identifier.
    pub by_identifier: i64,
    /// When it made it.
    pub requested_at: Option<i64>,
}

/// A new token.
pub struct NewToken<'a> {
    /// Of its text.
    pub hash: &'a str,
    /// The offer it is for.
    pub offer: &'a str,
    /// The key it is bound to, if it is.
    pub jkt: Option<&'a str>,
    /// The enrolment request it may make.
    pub request: &'a str,
    /// What the person types to approve that; empty where the code was taken to their own wallet by a redirect.
    pub check_code_hash: &'a str,
    /// Whether it names its credential by an identifier.
    pub by_identifier: bool,
    /// When it ends.
    pub until: Millis,
}

/// Keeps a token.
pub async fn add_token(db: &mut AnyConnection, new: &NewToken<'_>) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO credential_tokens (token_hash, offer_id, jkt, request_id, check_code_hash, by_identifier, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new.hash)
    .bind(new.offer)
    .bind(new.jkt)
    .bind(new.request)
    .bind(new.check_code_hash)
    .bind(i64::from(new.by_identifier))
    .bind(new.until.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Ends the tokens of an offer, and what was asked for with them, unless the person has approved it; false when there were none. The caller holds the
/// account.
pub async fn end_tokens(db: &mut AnyConnection, offer: &str) -> Result<bool, Error> {
    sqlx::query(
        "UPDATE requests SET state = 'denied' WHERE state = 'requested' AND request_id IN (SELECT request_id FROM credential_tokens WHERE offer_id = $1)",
    )
    .bind(offer)
    .execute(&mut *db)
    .await?;
    let done = sqlx::query("DELETE FROM credential_tokens WHERE offer_id = $1").bind(offer).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

/// Ends every offer of a person, and what wallets ask for: whoever had their passkey or root may be behind any. What was approved is still fetched. The
/// caller holds the account.
pub async fn end_all(db: &mut AnyConnection, account: &AccountId, now: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE requests SET state = 'denied' WHERE account_id = $1 AND state = 'requested' AND request_id IN (SELECT request_id FROM credential_tokens)")
        .bind(account.as_str())
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "DELETE FROM credential_tokens WHERE offer_id IN (SELECT offer_id FROM credential_offers WHERE account_id = $1)
           AND request_id NOT IN (SELECT request_id FROM requests WHERE state = 'approved')",
    )
    .bind(account.as_str())
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE credential_offers SET expires_at = $2 WHERE account_id = $1 AND redeemed_at IS NULL AND expires_at > $2")
        .bind(account.as_str())
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(())
}

/// A token that still counts.
pub async fn token(db: &mut AnyConnection, hash: &str, now: Millis) -> Result<Option<Token>, Error> {
    sqlx::query_as(
        "SELECT o.account_id, o.client_id, t.jkt, t.request_id, t.check_code_hash, t.by_identifier, t.requested_at
         FROM credential_tokens t JOIN credential_offers o ON o.offer_id = t.offer_id WHERE t.token_hash = $1 AND t.expires_at > $2",
    )
    .bind(hash)
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// Whose an offer to this client is that still waits.
pub async fn open_for(db: &mut AnyConnection, offer: &str, client: &str, now: Millis) -> Result<Option<String>, Error> {
    sqlx::query_scalar(
        "SELECT account_id FROM credential_offers WHERE offer_id = $1 AND client_id = $2 AND redeemed_at IS NULL AND tx_failures < $3 AND expires_at > $4",
    )
    .bind(offer)
    .bind(client)
    .bind(MAX_TX_FAILURES)
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// The offer behind a token, the client it is for, and whose it is.
pub async fn of_token(db: &mut AnyConnection, hash: &str) -> Result<Option<(String, String, String)>, Error> {
    sqlx::query_as(
        "SELECT o.offer_id, o.client_id, o.account_id FROM credential_tokens t JOIN credential_offers o ON o.offer_id = t.offer_id WHERE t.token_hash = $1",
    )
    .bind(hash)
    .fetch_optional(db)
    .await
}

/// Notes that the token's one request was made, and keeps the token past the person's decision; false when it was before.
pub async fn requested(db: &mut AnyConnection, hash: &str, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE credential_tokens SET requested_at = $2, expires_at = $3 WHERE token_hash = $1 AND requested_at IS NULL")
        .bind(hash)
        .bind(now.0)
        .bind(now.plus_secs(COLLECTED_SECS).0)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets what can no longer matter.
pub async fn sweep(db: &Database, now: Millis) -> Result<(), Error> {
    let day_ago = now.plus_secs(-24 * 3600);
    db.forget(&[
        ("DELETE FROM credential_tokens WHERE expires_at < $1", day_ago),
        (
            "DELETE FROM credential_offers WHERE expires_at < $1
               AND NOT EXISTS (SELECT 1 FROM credential_tokens t WHERE t.offer_id = credential_offers.offer_id)",
            day_ago,
        ),
    ])
    .await
}
