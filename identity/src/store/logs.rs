//! Device logs and the issuers that sign them.

use baton_protocol::id::AccountId;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// A person's issuer for one app.
#[derive(FromRow, Clone)]
pub struct Issuer {
    /// Its DID.
    pub iss: String,
    /// The subject.
    pub log: String,
    /// Number of the next entry.
    pub next_n: i64,
    /// Hash of the last entry.
    pub head: String,
}

/// The issuer of an account for an app, held until the transaction ends.
pub async fn issuer(db: &mut AnyConnection, account: &AccountId, app: &str) -> Result<Option<Issuer>, Error> {
    let sql = locked!("SELECT iss, log, next_n, head FROM issuers WHERE account_id = $1 AND app = $2").on(db);
    sqlx::query_as(sql).bind(account.as_str()).bind(app).fetch_optional(db).await
}

/// All entries of a log in order.
pub async fn entries(db: &mut AnyConnection, log: &str) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as("SELECT entry FROM log_entries WHERE log = $1 ORDER BY n").bind(log).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(entry,)| entry).collect())
}

/// Opens a log: the issuer and its statement by the account key.
pub async fn open(db: &mut AnyConnection, account: &AccountId, app: &str, issuer: &Issuer, statement: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO issuers (account_id, app, iss, log, statement, next_n, head) VALUES ($1, $2, $3, $4, $5, 0, '')")
        .bind(account.as_str())
        .bind(app)
        .bind(&issuer.iss)
        .bind(&issuer.log)
        .bind(statement)
        .execute(db)
        .await?;
    Ok(())
}

/// All apps of an account that have a log.
pub async fn apps(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT app FROM issuers WHERE account_id = $1 ORDER BY app").bind(account.as_str()).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(app,)| app).collect())
}

/// Notes that a log goes on under another issuer key.
pub async fn hand_over(db: &mut AnyConnection, log: &str, iss: &str, statement: &str) -> Result<(), Error> {
    sqlx::query("UPDATE issuers SET iss = $2, statement = $3 WHERE log = $1").bind(log).bind(iss).bind(statement).execute(db).await?;
    Ok(())
}

/// Closes a log in which no device is left: the app's next device opens another.
pub async fn close(db: &mut AnyConnection, account: &AccountId, app: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM issuers WHERE account_id = $1 AND app = $2").bind(account.as_str()).bind(app).execute(db).await?;
    Ok(())
}

/// Appends entries after `from`; `None` when the log moved meanwhile.
pub async fn append(db: &mut AnyConnection, log: &str, from: i64, entries: &[String], head: &str, now: Millis) -> Result<Option<()>, Error> {
    let moved = sqlx::query("UPDATE issuers SET next_n = $3, head = $4 WHERE log = $1 AND next_n = $2")
        .bind(log)
        .bind(from)
        .bind(from + entries.len() as i64)
        .bind(head)
        .execute(&mut *db)
        .await?;
    if moved.rows_affected() != 1 {
        return Ok(None);
    }
    for (i, entry) in entries.iter().enumerate() {
        sqlx::query("INSERT INTO log_entries (log, n, entry, at) VALUES ($1, $2, $3, $4)")
            .bind(log)
            .bind(from + i as i64)
            .bind(entry)
            .bind(now.0)
            .execute(&mut *db)
            .await?;
    }
    Ok(Some(()))
}
