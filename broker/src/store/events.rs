//! A subject's events: contiguous numbers, given in commit order by the head's row lock.

use baton_protocol::event::Event;
use baton_protocol::key::Did;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use sqlx::{AnyConnection, FromRow};

/// What happened.
#[derive(Default)]
pub struct New<'a> {
    /// Kind.
    pub kind: &'a str,
    /// Session.
    pub session: Option<&'a str>,
    /// Handoff.
    pub handoff: Option<&'a str>,
    /// Devices it concerns.
    pub devices: [Option<&'a str>; 2],
}

/// Appends one.
pub async fn append(db: &mut AnyConnection, log: &str, new: &New<'_>, now: Millis) -> Result<(), Error> {
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO event_heads (log, seq) VALUES ($1, 1) ON CONFLICT (log) DO UPDATE SET seq = event_heads.seq + 1 RETURNING seq",
    )
    .bind(log)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query("INSERT INTO events (log, seq, at, kind, session_id, handoff_id, device_a, device_b) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(log)
        .bind(seq)
        .bind(now.0)
        .bind(new.kind)
        .bind(new.session)
        .bind(new.handoff)
        .bind(new.devices[0])
        .bind(new.devices[1])
        .execute(db)
        .await?;
    Ok(())
}

#[derive(FromRow)]
struct Row {
    seq: i64,
    at: i64,
    kind: String,
    session_id: Option<String>,
    handoff_id: Option<String>,
    device_a: Option<String>,
    device_b: Option<String>,
}

/// Events after `cursor`. A limited device is told its own; of others only that there was one, so that its numbers stay contiguous.
pub async fn after(db: &mut AnyConnection, log: &str, cursor: i64, limited: Option<&Did>) -> Result<Vec<Event>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT seq, at, kind, session_id, handoff_id, device_a, device_b FROM events WHERE log = $1 AND seq > $2 ORDER BY seq LIMIT 200",
    )
    .bind(log)
    .bind(cursor)
    .fetch_all(db)
    .await?;
    let shown = |row: Row| {
        let mine = limited.is_none_or(|device| [&row.device_a, &row.device_b].iter().any(|named| named.as_deref() == Some(device.as_str())));
        if mine {
            Event { seq: row.seq, at: Millis(row.at), kind: row.kind, session: row.session_id, handoff: row.handoff_id }
        } else {
            Event { seq: row.seq, at: Millis(row.at), kind: "other".into(), session: None, handoff: None }
        }
    };
    Ok(rows.into_iter().map(shown).collect())
}

/// First and last number there are; (1, 0) when there are none.
pub async fn range(db: &mut AnyConnection, log: &str) -> Result<(i64, i64), Error> {
    let last: Option<i64> = sqlx::query_scalar("SELECT seq FROM event_heads WHERE log = $1").bind(log).fetch_optional(&mut *db).await?;
    let Some(last) = last else { return Ok((1, 0)) };
    let first: i64 = sqlx::query_scalar("SELECT COALESCE(MIN(seq), $2) FROM events WHERE log = $1").bind(log).bind(last + 1).fetch_one(db).await?;
    Ok((first, last))
}
