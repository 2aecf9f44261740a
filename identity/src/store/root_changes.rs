//! A root that is to replace an account's, and who has agreed. The caller holds the account.

use baton_protocol::id::AccountId;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use sqlx::{AnyConnection, FromRow};

/// What was asked for.
#[derive(FromRow)]
pub struct RootChange {
    /// The ceremony it was asked for in.
    pub change_id: String,
    /// The new root's fingerprint.
    pub root: String,
    /// The new account key.
    pub account_jwk: String,
    /// How the new recovery code finds the account.
    pub recovery_id: String,
    /// The new root's copies, as JSON.
    pub wraps: String,
    /// The new issuer DID for each app, as JSON.
    pub issuers: String,
    /// What was offered last to be signed, as JSON.
    pub offer: Option<String>,
    /// Until when it can be done.
    pub expires_at: i64,
}

/// A full device's agreement.
#[derive(FromRow)]
pub struct Consent {
    /// The app whose log goes on.
    pub app: String,
    /// Whose it is.
    pub device: String,
    /// As signed.
    pub consent: String,
}

/// What is asked for now.
pub async fn find(db: &mut AnyConnection, account: &AccountId, now: Millis) -> Result<Option<RootChange>, Error> {
    sqlx::query_as(
        "SELECT change_id, root, account_jwk, recovery_id, wraps, issuers, offer, expires_at FROM root_changes
         WHERE account_id = $1 AND expires_at > $2",
    )
    .bind(account.as_str())
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// Asks, in the place of whatever was asked before.
pub async fn ask(db: &mut AnyConnection, account: &AccountId, change: &RootChange, now: Millis) -> Result<(), Error> {
    drop(db, account).await?;
    sqlx::query(
        "INSERT INTO root_changes (account_id, change_id, root, account_jwk, recovery_id, wraps, issuers, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(account.as_str())
    .bind(&change.change_id)
    .bind(&change.root)
    .bind(&change.account_jwk)
    .bind(&change.recovery_id)
    .bind(&change.wraps)
    .bind(&change.issuers)
    .bind(now.0)
    .bind(change.expires_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps what was offered to be signed.
pub async fn keep_offer(db: &mut AnyConnection, account: &AccountId, offer: &str) -> Result<(), Error> {
    sqlx::query("UPDATE root_changes SET offer = $2 WHERE account_id = $1").bind(account.as_str()).bind(offer).execute(db).await?;
    Ok(())
}

/// Who has agreed.
pub async fn consents(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<Consent>, Error> {
    sqlx::query_as("SELECT app, device, consent FROM root_consents WHERE account_id = $1 ORDER BY app, at").bind(account.as_str()).fetch_all(db).await
}

/// Notes an agreement; false when this device had agreed already.
pub async fn consent(db: &mut AnyConnection, account: &AccountId, given: &Consent, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO root_consents (account_id, app, device, consent, at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (account_id, app, device) DO NOTHING",
    )
    .bind(account.as_str())
    .bind(&given.app)
    .bind(&given.device)
    .bind(&given.consent)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Asks no more; false when nothing was asked.
pub async fn drop(db: &mut AnyConnection, account: &AccountId) -> Result<bool, Error> {
    sqlx::query("DELETE FROM root_consents WHERE account_id = $1").bind(account.as_str()).execute(&mut *db).await?;
    let done = sqlx::query("DELETE FROM root_changes WHERE account_id = $1").bind(account.as_str()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// What a device's log is to go on under: its app, its account, and the issuer keys so far and to be.
pub struct ForLog {
    /// The account.
    pub account: AccountId,
    /// The app.
    pub app: String,
    /// The issuer's DID so far.
    pub from: String,
    /// The new one.
    pub to: String,
}

/// Whether a device has agreed to what is asked now.
pub async fn has_agreed(db: &mut AnyConnection, device: &str) -> Result<bool, Error> {
    let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM root_consents WHERE device = $1").bind(device).fetch_one(db).await?;
    Ok(found > 0)
}

/// What is asked of the devices of a log.
pub async fn of_log(db: &mut AnyConnection, log: &str, now: Millis) -> Result<Option<ForLog>, Error> {
    let row: Option<(String, String, String, String)> = sqlx::query_as(
        "SELECT i.account_id, i.app, i.iss, c.issuers FROM issuers i JOIN root_changes c ON c.account_id = i.account_id
         WHERE i.log = $1 AND c.expires_at > $2",
    )
    .bind(log)
    .bind(now.0)
    .fetch_optional(db)
    .await?;
    Ok(row.and_then(|(account, app, from, issuers)| {
        let issuers: std::collections::BTreeMap<String, String> = serde_json::from_str(&issuers).ok()?;
        let to = issuers.get(&app)?.clone();
        Some(ForLog { account: AccountId::parse(&account).ok()?, app, from, to })
    }))
}
