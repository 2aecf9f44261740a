//! Updates that a newer snapshot covers are forgotten once every member has that snapshot, or it is older than what is kept for anybody. What a device that was
//! away writes after that goes beside the session, as whatever comes too late does: nothing here refuses it.

use super::sessions::Session;
use super::switches;
use baton_protocol::key::Did;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use sqlx::AnyConnection;
use std::collections::HashMap;

/// How long updates are kept for a member that does not come.
const KEPT_SECS: i64 = 30 * 24 * 3600;

/// A device has every update up to this one. Never fewer than it said before.
pub async fn acknowledge(db: &mut AnyConnection, session: &str, device: &Did, seq: i64, now: Millis) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO acknowledged (session_id, device, seq, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (session_id, device) DO UPDATE SET seq = excluded.seq, at = excluded.at WHERE excluded.seq > acknowledged.seq",
    )
    .bind(session)
    .bind(device.as_str())
    .bind(seq)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets what nobody has to read any more. The caller holds the session.
pub async fn compact(db: &mut AnyConnection, session: &Session, now: Millis) -> Result<(), Error> {
    let all = all_have(db, session).await?;
    let covered: Option<i64> =
        sqlx::query_scalar("SELECT MAX(seq) FROM updates WHERE session_id = $1 AND kind = 'snapshot' AND (seq <= $2 OR at < $3)")
            .bind(&session.session_id)
            .bind(all)
            .bind(now.plus_secs(-KEPT_SECS).0)
            .fetch_one(&mut *db)
            .await?;
    let Some(covered) = covered else { return Ok(()) };
    sqlx::query("DELETE FROM updates WHERE session_id = $1 AND seq < $2").bind(&session.session_id).bind(covered).execute(db).await?;
    Ok(())
}

/// The last update that every member has, by what it said and by what it has written itself.
async fn all_have(db: &mut AnyConnection, session: &Session) -> Result<i64, Error> {
    let members: Vec<(String,)> = sqlx::query_as("SELECT device FROM standing WHERE log = $1 AND revoked_at IS NULL AND tier = 'full'")
        .bind(&session.log)
        .fetch_all(&mut *db)
        .await?;
    let off = switches::of_log(&mut *db, &session.log).await?;
    let said: Vec<(String, i64)> = sqlx::query_as(
        "SELECT device, MAX(seq) FROM (SELECT device, seq FROM acknowledged WHERE session_id = $1 UNION ALL SELECT device, seq FROM updates WHERE session_id = $1) AS had
         GROUP BY device",
    )
    .bind(&session.session_id)
    .fetch_all(db)
    .await?;
    let said: HashMap<_, _> = said.into_iter().collect();
    let syncs = |device: &String| off.get(device).is_none_or(|switches| switches.sync);
    Ok(members.into_iter().filter(|(device,)| syncs(device)).map(|(device,)| said.get(&device).copied().unwrap_or(0)).min().unwrap_or(0))
}
