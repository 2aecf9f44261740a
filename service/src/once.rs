//! Things that count once: proof ids, nonces, challenges. Consumed by one persisted statement, never by memory.

use crate::database::Error;
use baton_protocol::key::hash;
use baton_protocol::time::Millis;
use sqlx::AnyConnection;

/// Consumes `value`; false when it was consumed before. `until` is when it could not be accepted anyway.
pub async fn consume(db: &mut AnyConnection, kind: &'static str, value: &str, until: Millis) -> Result<bool, Error> {
    let done = sqlx::query("INSERT INTO used_once (kind, hash, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(kind)
        .bind(hash(value.as_bytes()))
        .bind(until.0)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets what could not be accepted any more. The margin covers a clock that is set back a little.
pub async fn sweep(db: &mut AnyConnection, now: Millis) -> Result<(), Error> {
    sqlx::query("DELETE FROM used_once WHERE expires_at < $1").bind(now.plus_secs(-3600).0).execute(db).await?;
    Ok(())
}
