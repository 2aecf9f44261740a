//! Accounts, their passkeys and their wrapped roots.

use super::root_changes::RootChange;
use baton_protocol::id::AccountId;
use baton_protocol::key::PublicKey;
use baton_protocol::time::Millis;
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_service::database::Error;
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// An account's row.
#[derive(FromRow)]
pub struct Account {
    /// Its root's fingerprint.
    pub root: String,
    account_jwk: String,
    /// When the person confirmed that they keep the recovery code.
    pub recovery_confirmed_at: Option<i64>,
    root_statements: String,
}

impl Account {
    /// The account key.
    pub fn key(&self) -> Option<PublicKey> {
        PublicKey::from_jwk(&serde_json::from_str(&self.account_jwk).ok()?).ok()
    }
    /// What each root before said of the one that replaced it, oldest first.
    pub fn root_statements(&self) -> Vec<String> {
        serde_json::from_str(&self.root_statements).unwrap_or_default()
    }
}

/// What a new account begins with. Never less: an account without copies of its root could not be opened again.
pub struct NewAccount<'a> {
    /// Its id.
    pub account: &'a AccountId,
    /// Its root's fingerprint.
    pub root: &'a str,
    /// Its account key.
    pub key: &'a PublicKey,
    /// How a recovery code finds it.
    pub recovery_id: &'a str,
    /// The first passkey's id and state.
    pub passkey: (&'a str, &'a str),
    /// The copies.
    pub wraps: &'a [WrappedRoot],
}

/// Creates an account.
pub async fn create(db: &mut AnyConnection, new: &NewAccount<'_>, now: Millis) -> Result<(), Error> {
    sqlx::query("INSERT INTO accounts (account_id, root, account_jwk, recovery_id, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(new.account.as_str())
        .bind(new.root)
        .bind(new.key.jwk_value().to_string())
        .bind(new.recovery_id)
        .bind(now.0)
        .execute(&mut *db)
        .await?;
    add_passkey(&mut *db, new.account, new.passkey, now).await?;
    for wrapped in new.wraps {
        add_wrap(&mut *db, new.account, wrapped, now).await?;
    }
    Ok(())
}

/// Adds a passkey; its id must be new to all accounts.
pub async fn add_passkey(db: &mut AnyConnection, account: &AccountId, (id, passkey): (&str, &str), now: Millis) -> Result<(), Error> {
    sqlx::query("INSERT INTO passkeys (credential_id, account_id, passkey, created_at) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(account.as_str())
        .bind(passkey)
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Adds a copy, or replaces the one its opener had.
pub async fn add_wrap(db: &mut AnyConnection, account: &AccountId, wrapped: &WrappedRoot, now: Millis) -> Result<(), Error> {
    let opener = match &wrapped.opener {
        Opener::Passkey { credential_id, .. } => credential_id.as_str(),
        Opener::Recovery => "recovery",
    };
    let text = serde_json::to_string(wrapped).expect("strings");
    sqlx::query(
        "INSERT INTO wraps (account_id, opener, wrapped, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account_id, opener) DO UPDATE SET wrapped = excluded.wrapped, created_at = excluded.created_at",
    )
    .bind(account.as_str())
    .bind(opener)
    .bind(text)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

/// An account.
pub async fn find(db: &mut AnyConnection, account: &AccountId) -> Result<Option<Account>, Error> {
    sqlx::query_as("SELECT root, account_jwk, recovery_confirmed_at, root_statements FROM accounts WHERE account_id = $1")
        .bind(account.as_str())
        .fetch_optional(db)
        .await
}

/// Holds the account until the transaction ends: what is counted over all its apps is counted one at a time.
pub async fn hold(db: &mut AnyConnection, account: &AccountId) -> Result<(), Error> {
    let sql = locked!("SELECT account_id FROM accounts WHERE account_id = $1").on(db);
    sqlx::query(sql).bind(account.as_str()).execute(db).await?;
    Ok(())
}

/// The account a recovery code belongs to.
pub async fn by_recovery_id(db: &mut AnyConnection, recovery_id: &str) -> Result<Option<String>, Error> {
    sqlx::query_scalar("SELECT account_id FROM accounts WHERE recovery_id = $1").bind(recovery_id).fetch_optional(db).await
}

/// Its wrapped copies, as stored.
pub async fn wraps(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<WrappedRoot>, Error> {
    let texts: Vec<(String,)> =
        sqlx::query_as("SELECT wrapped FROM wraps WHERE account_id = $1 ORDER BY opener").bind(account.as_str()).fetch_all(db).await?;
    Ok(texts.iter().filter_map(|(text,)| serde_json::from_str(text).ok()).collect())
}

/// Owner and state of a passkey.
pub async fn passkey(db: &mut AnyConnection, credential_id: &str) -> Result<Option<(String, String)>, Error> {
    sqlx::query_as("SELECT account_id, passkey FROM passkeys WHERE credential_id = $1").bind(credential_id).fetch_optional(db).await
}

/// Notes a use; `changed` is the passkey's new state. False when there is no such passkey.
pub async fn used(db: &mut AnyConnection, credential_id: &str, changed: Option<&str>, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE passkeys SET used_at = $2, passkey = COALESCE($3, passkey) WHERE credential_id = $1")
        .bind(credential_id)
        .bind(now.0)
        .bind(changed)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that the recovery code is kept; false when it was noted before.
pub async fn confirm_recovery(db: &mut AnyConnection, account: &AccountId, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE accounts SET recovery_confirmed_at = $2 WHERE account_id = $1 AND recovery_confirmed_at IS NULL")
        .bind(account.as_str())
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// A passkey, as its person sees it.
#[derive(FromRow)]
pub struct PasskeyRow {
    /// Its id.
    pub credential_id: String,
    /// When it was added.
    pub created_at: i64,
    /// When it was used last.
    pub used_at: Option<i64>,
    /// How many copies of the root it opens: one or none.
    pub opens: i64,
}

/// All passkeys of an account.
pub async fn passkeys(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<PasskeyRow>, Error> {
    sqlx::query_as(
        "SELECT p.credential_id, p.created_at, p.used_at, (SELECT COUNT(*) FROM wraps w WHERE w.account_id = p.account_id AND w.opener = p.credential_id) AS opens
         FROM passkeys p WHERE p.account_id = $1 ORDER BY p.created_at",
    )
    .bind(account.as_str())
    .fetch_all(db)
    .await
}

/// Removes a passkey and its copy, if another passkey still opens the root and the recovery code is kept; false when not. The caller holds the account.
pub async fn remove_passkey(db: &mut AnyConnection, account: &AccountId, id: &str) -> Result<bool, Error> {
    let done = sqlx::query(
        "DELETE FROM passkeys WHERE credential_id = $2 AND account_id = $1
           AND EXISTS (SELECT 1 FROM wraps w JOIN passkeys p ON p.credential_id = w.opener AND p.account_id = w.account_id
                       WHERE w.account_id = $1 AND w.opener <> $2)
           AND EXISTS (SELECT 1 FROM accounts WHERE account_id = $1 AND recovery_confirmed_at IS NOT NULL)",
    )
    .bind(account.as_str())
    .bind(id)
    .execute(&mut *db)
    .await?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM wraps WHERE account_id = $1 AND opener = $2").bind(account.as_str()).bind(id).execute(db).await?;
    Ok(true)
}

/// Puts another recovery code in the place of the one before, which opens nothing from here on.
pub async fn replace_recovery(
    db: &mut AnyConnection,
    account: &AccountId,
    recovery_id: &str,
    wrapped: &WrappedRoot,
    now: Millis,
) -> Result<(), Error> {
    sqlx::query("UPDATE accounts SET recovery_id = $2, recovery_confirmed_at = $3 WHERE account_id = $1")
        .bind(account.as_str())
        .bind(recovery_id)
        .bind(now.0)
        .execute(&mut *db)
        .await?;
    // Recoveries that were begun with the code before end with it.
    sqlx::query("DELETE FROM ceremonies WHERE account_id = $1 AND kind = 'recovery'").bind(account.as_str()).execute(&mut *db).await?;
    add_wrap(db, account, wrapped, now).await
}

/// Another root from here on, with the copies and the recovery code that go with it; those of the one before open nothing any more.
pub async fn replace_root(
    db: &mut AnyConnection,
    account: &AccountId,
    change: &RootChange,
    statements: &[String],
    wraps: &[WrappedRoot],
    now: Millis,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE accounts SET root = $2, account_jwk = $3, recovery_id = $4, recovery_confirmed_at = $5, root_statements = $6 WHERE account_id = $1",
    )
    .bind(account.as_str())
    .bind(&change.root)
    .bind(&change.account_jwk)
    .bind(&change.recovery_id)
    .bind(now.0)
    .bind(serde_json::to_string(statements).expect("strings"))
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM wraps WHERE account_id = $1").bind(account.as_str()).execute(&mut *db).await?;
    // Whatever was begun under the root before ends with it.
    sqlx::query("DELETE FROM ceremonies WHERE account_id = $1").bind(account.as_str()).execute(&mut *db).await?;
    for wrapped in wraps {
        add_wrap(&mut *db, account, wrapped, now).await?;
    }
    // Whoever had the root before may have added a passkey: what holds no copy of the new one signs nobody in any more.
    sqlx::query("DELETE FROM passkeys WHERE account_id = $1 AND credential_id NOT IN (SELECT opener FROM wraps WHERE account_id = $1)")
        .bind(account.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets everything about an account, its ledger included. What its devices were stays with verifier and broker as revoked, under their DIDs.
pub async fn delete(db: &mut AnyConnection, account: &AccountId) -> Result<(), Error> {
    // What others rest on goes first.
    const ALL: &[&str] = &[
        "DELETE FROM page_sessions WHERE account_id = $1",
        "DELETE FROM ceremonies WHERE account_id = $1",
        "DELETE FROM wrong_codes WHERE account_id = $1",
        "DELETE FROM requests WHERE account_id = $1",
        "DELETE FROM credential_tokens WHERE offer_id IN (SELECT offer_id FROM credential_offers WHERE account_id = $1)",
        "DELETE FROM credential_offers WHERE account_id = $1",
        "DELETE FROM access_tokens WHERE family_id IN (SELECT family_id FROM families WHERE account_id = $1)",
        "DELETE FROM refresh_tokens WHERE family_id IN (SELECT family_id FROM families WHERE account_id = $1)",
        "DELETE FROM families WHERE account_id = $1",
        "DELETE FROM sign_ins WHERE account_id = $1",
        "DELETE FROM root_consents WHERE account_id = $1",
        "DELETE FROM root_changes WHERE account_id = $1",
        // Also of an app whose log was closed: each log has at least the device that opened it.
        "DELETE FROM log_entries WHERE log IN (SELECT log FROM devices WHERE account_id = $1)",
        "DELETE FROM issuers WHERE account_id = $1",
        "DELETE FROM devices WHERE account_id = $1",
        "DELETE FROM grants WHERE account_id = $1",
        "DELETE FROM wraps WHERE account_id = $1",
        "DELETE FROM passkeys WHERE account_id = $1",
        "DELETE FROM ledger WHERE account_id = $1",
        "DELETE FROM ledger_heads WHERE account_id = $1",
        "DELETE FROM accounts WHERE account_id = $1",
    ];
    for sql in ALL {
        sqlx::query(*sql).bind(account.as_str()).execute(&mut *db).await?;
    }
    Ok(())
}
