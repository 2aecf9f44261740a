//! The ledger: what was done to an account, one hash-chained event for each change, written in the change's own transaction.

use baton_protocol::id::AccountId;
use baton_protocol::key::hash;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::locked;
use serde_json::Value;
use sqlx::AnyConnection;

/// A chain that does not hold.
#[derive(Debug, thiserror::Error)]
#[error("the ledger of {account} does not hold at event {n}")]
pub struct Tampered {
    /// Whose.
    pub account: String,
    /// Where.
    pub n: i64,
}

fn link(account: &str, n: i64, at: i64, kind: &str, detail: &str, prev: &str) -> String {
    hash(serde_json::json!([account, n, at, kind, detail, prev]).to_string().as_bytes())
}

/// Writes one event. `detail` names ids and words of ours, never a secret and never what a person typed.
pub async fn write(db: &mut AnyConnection, account: &AccountId, kind: &'static str, detail: &Value, now: Millis) -> Result<(), Error> {
    let sql = locked!("SELECT n, hash FROM ledger_heads WHERE account_id = $1").on(db);
    let head: Option<(i64, String)> = sqlx::query_as(sql).bind(account.as_str()).fetch_optional(&mut *db).await?;
    let (n, prev) = head.map_or((1, String::new()), |(n, hash)| (n + 1, hash));
    let detail = detail.to_string();
    let this = link(account.as_str(), n, now.0, kind, &detail, &prev);
    sqlx::query("INSERT INTO ledger (account_id, n, at, kind, detail, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(account.as_str())
        .bind(n)
        .bind(now.0)
        .bind(kind)
        .bind(detail)
        .bind(prev)
        .bind(&this)
        .execute(&mut *db)
        .await?;
    sqlx::query("INSERT INTO ledger_heads (account_id, n, hash) VALUES ($1, $2, $3) ON CONFLICT (account_id) DO UPDATE SET n = excluded.n, hash = excluded.hash")
        .bind(account.as_str())
        .bind(n)
        .bind(this)
        .execute(db)
        .await?;
    Ok(())
}

/// One event, as the person sees it.
#[derive(Debug, sqlx::FromRow)]
pub struct Event {
    /// Its number.
    pub n: i64,
    /// When.
    pub at: i64,
    /// What.
    pub kind: String,
    /// Ids that go with it, as JSON.
    pub detail: String,
}

/// The newest events of an account.
pub async fn list(db: &mut AnyConnection, account: &AccountId, before: i64) -> Result<Vec<Event>, Error> {
    sqlx::query_as("SELECT n, at, kind, detail FROM ledger WHERE account_id = $1 AND n < $2 ORDER BY n DESC LIMIT 100")
        .bind(account.as_str())
        .bind(before)
        .fetch_all(db)
        .await
}

type Row = (String, i64, i64, String, String, String, String);

/// Checks every chain from its first event to its head.
pub async fn verify(db: &mut AnyConnection) -> Result<Result<(), Tampered>, Error> {
    let heads: Vec<(String, i64, String)> = sqlx::query_as("SELECT account_id, n, hash FROM ledger_heads").fetch_all(&mut *db).await?;
    let orphans: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM ledger WHERE account_id NOT IN (SELECT account_id FROM ledger_heads)").fetch_one(&mut *db).await?;
    if orphans > 0 {
        return Ok(Err(Tampered { account: "an account without head".into(), n: 0 }));
    }
    for (account, last, head) in heads {
        let rows: Vec<Row> = sqlx::query_as("SELECT account_id, n, at, kind, detail, prev, hash FROM ledger WHERE account_id = $1 ORDER BY n")
            .bind(&account)
            .fetch_all(&mut *db)
            .await?;
        let mut prev = String::new();
        let mut expected = 1;
        for (account, n, at, kind, detail, stored_prev, stored) in rows {
            if n != expected || stored_prev != prev || link(&account, n, at, &kind, &detail, &prev) != stored {
                return Ok(Err(Tampered { account, n: expected }));
            }
            (prev, expected) = (stored, n + 1);
        }
        if prev != head || expected != last + 1 {
            return Ok(Err(Tampered { account, n: last }));
        }
    }
    Ok(Ok(()))
}
