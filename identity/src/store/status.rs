//! The status list and who has which index. An index is given once and never again, whatever becomes of its credential.

use baton_protocol::ports::Entropy;
use baton_protocol::status_list::{Bits, ENTRIES};
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::locked;
use sqlx::AnyConnection;

const LIST: i64 = 1;

/// The bits and their version.
pub async fn list(db: &mut AnyConnection) -> Result<Option<(Vec<u8>, i64)>, Error> {
    sqlx::query_as("SELECT bits, version FROM status_lists WHERE list_id = $1").bind(LIST).fetch_optional(db).await
}

/// Makes the list if there is none.
pub async fn ensure(db: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("INSERT INTO status_lists (list_id, bits, version) VALUES ($1, $2, 1) ON CONFLICT DO NOTHING")
        .bind(LIST)
        .bind(Bits::all_valid().as_bytes())
        .execute(db)
        .await?;
    Ok(())
}

/// Allots a random free index, so that indexes say nothing about who enrolled when. `None` when the list is as good as full.
pub async fn allot(db: &mut AnyConnection, request: &str, entropy: &Entropy, now: Millis) -> Result<Option<i64>, Error> {
    for _ in 0..64 {
        let idx = i64::from(u32::from_be_bytes(entropy.bytes()) % ENTRIES);
        let done = sqlx::query("INSERT INTO status_allotments (idx, request_id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(idx)
            .bind(request)
            .bind(now.0)
            .execute(&mut *db)
            .await?;
        if done.rows_affected() == 1 {
            return Ok(Some(idx));
        }
    }
    Ok(None)
}

/// Sets an entry to invalid.
pub async fn revoke(db: &mut AnyConnection, idx: i64) -> Result<bool, Error> {
    let sql = locked!("SELECT bits FROM status_lists WHERE list_id = $1").on(db);
    let bytes: Option<(Vec<u8>,)> = sqlx::query_as(sql).bind(LIST).fetch_optional(&mut *db).await?;
    let Some(mut bits) = bytes.and_then(|(bytes,)| Bits::from_bytes(bytes)) else { return Ok(false) };
    if bits.revoke(idx as u32).is_err() {
        return Ok(false);
    }
    sqlx::query("UPDATE status_lists SET bits = $2, version = version + 1 WHERE list_id = $1").bind(LIST).bind(bits.as_bytes()).execute(db).await?;
    Ok(true)
}
