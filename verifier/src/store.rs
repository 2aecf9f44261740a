//! OpenID4VP transactions, `waiting -> answered | refused`, or past their time.

use baton_protocol::time::Millis;
use baton_service::database::{Database, Error};
use sqlx::{AnyConnection, FromRow};

/// How long a transaction waits, and how long its result is kept, in seconds.
pub const LIFETIME_SECS: i64 = 300;

/// A transaction.
#[derive(FromRow)]
pub struct Transaction {
    /// Its id.
    pub transaction_id: String,
    /// The relying service that asks.
    pub relying: String,
    /// The client identifier its request has, as far as it is kept (`routes/oid4vp/client_id.rs`); older rows have none.
    pub client_id: Option<String>,
    /// What it asks for, as JSON.
    pub query: String,
    /// What is to be agreed to, as JSON: the exact base64url strings, with the credentials each is for.
    pub transaction_data: String,
    /// How the answer comes.
    pub response_mode: String,
    /// Where the wallet sends its person afterwards.
    pub redirect_uri: Option<String>,
    /// The one device that may answer, if there is one.
    pub device: Option<String>,
    /// Of what the person brings back there.
    pub response_code_hash: Option<String>,
    /// `waiting`, `answered` or `refused`.
    pub state: String,
    /// What came, as JSON.
    pub result: Option<String>,
    /// When it was made.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: i64,
}

/// Keeps a transaction.
pub async fn create(db: &mut AnyConnection, new: &Transaction, reference_hash: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO vp_transactions (transaction_id, relying, reference_hash, query, transaction_data, response_mode, redirect_uri, device, state, created_at, expires_at, client_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, $10, $11)",
    )
    .bind(&new.transaction_id)
    .bind(&new.relying)
    .bind(reference_hash)
    .bind(&new.query)
    .bind(&new.transaction_data)
    .bind(&new.response_mode)
    .bind(&new.redirect_uri)
    .bind(&new.device)
    .bind(new.created_at)
    .bind(new.expires_at)
    .bind(&new.client_id)
    .execute(db)
    .await?;
    Ok(())
}

/// The transaction a link names, while it waits.
pub async fn by_reference(db: &mut AnyConnection, hash: &str, now: Millis) -> Result<Option<Transaction>, Error> {
    sqlx::query_as(
        "SELECT transaction_id, relying, client_id, query, transaction_data, response_mode, redirect_uri, device, response_code_hash, state, result, created_at, expires_at
         FROM vp_transactions WHERE reference_hash = $1 AND expires_at > $2 AND state = 'waiting'",
    )
    .bind(hash)
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// A transaction of a relying service.
pub async fn of(db: &mut AnyConnection, id: &str, relying: &str, now: Millis) -> Result<Option<Transaction>, Error> {
    sqlx::query_as(
        "SELECT transaction_id, relying, client_id, query, transaction_data, response_mode, redirect_uri, device, response_code_hash, state, result, created_at, expires_at
         FROM vp_transactions WHERE transaction_id = $1 AND relying = $2 AND expires_at > $3",
    )
    .bind(id)
    .bind(relying)
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// Takes the one answer, and keeps it as long as it was waited for; false when there was one before, or it is too late.
pub async fn answer(db: &mut AnyConnection, id: &str, state: &str, result: &str, response_code: Option<&str>, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE vp_transactions SET state = $2, result = $3, response_code_hash = $4, expires_at = $6
         WHERE transaction_id = $1 AND state = 'waiting' AND expires_at > $5",
    )
    .bind(id)
    .bind(state)
    .bind(result)
    .bind(response_code)
    .bind(now.0)
    .bind(now.plus_secs(LIFETIME_SECS).0)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets what is over.
pub async fn sweep(db: &Database, now: Millis) -> Result<(), Error> {
    db.forget(&[("DELETE FROM vp_transactions WHERE expires_at < $1", now)]).await
}
