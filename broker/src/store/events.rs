//! A subject's events: contiguous numbers, given in commit order by the head's row lock.

use super::updates::Written;
use baton_protocol::event::Event;
use baton_protocol::key::Did;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::many;
use sqlx::{AnyConnection, FromRow};
use std::collections::BTreeMap;
use std::sync::LazyLock;

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

/// Appends `session.updated` for each of these, in their order.
pub async fn append_updated(db: &mut AnyConnection, rows: &[&Written<'_>], now: Millis) -> Result<(), Error> {
    static TEXTS: LazyLock<[&str; 2]> = LazyLock::new(|| {
        let before = "INSERT INTO events (log, seq, at, kind, session_id, device_a) VALUES";
        many::texts(before, &[None; 6], "")
    });
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.log).or_default() += 1;
    }
    for (log, count) in &mut counts {
        let last: i64 = sqlx::query_scalar(
            "INSERT INTO event_heads (log, seq) VALUES ($1, $2) ON CONFLICT (log) DO UPDATE SET seq = event_heads.seq + excluded.seq RETURNING seq",
        )
        .bind(*log)
        .bind(*count)
        .fetch_one(&mut *db)
        .await?;
        *count = last - *count;
    }
    let numbered: Vec<_> = rows
        .iter()
        .map(|row| {
            let seq = counts.entry(row.log).or_default();
            *seq += 1;
            (*seq, row)
        })
        .collect();
    for (sql, some) in many::each(&numbered, *TEXTS) {
        let mut query = sqlx::query(sql);
        for (seq, row) in some {
            query =
                query.bind(row.log).bind(*seq).bind(now.0).bind("session.updated").bind(row.update.place.session.as_str()).bind(row.device.as_str());
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// An event as it is kept.
#[derive(FromRow)]
pub struct Row {
    seq: i64,
    at: i64,
    /// What happened.
    pub kind: String,
    session_id: Option<String>,
    handoff_id: Option<String>,
    device_a: Option<String>,
    device_b: Option<String>,
}

impl Row {
    /// As a device is told of it: a member all, others of what does not name them that there was something, so that numbers stay contiguous. What
    /// somebody has in front concerns nobody else.
    pub fn shown(self, to: &Did, is_member: bool) -> Event {
        let Self { seq, at, kind, session_id, handoff_id, device_a, device_b } = self;
        let is_named = [&device_a, &device_b].iter().any(|named| named.as_deref() == Some(to.as_str()));
        if !is_named && (!is_member || kind == "session.unfollow") {
            return Event { seq, at: Millis(at), kind: "other".into(), session: None, handoff: None, device: None };
        }
        let device = if matches!(kind.as_str(), "session.unfollow" | "device.switched") { device_a } else { None };
        Event { seq, at: Millis(at), kind, session: session_id, handoff: handoff_id, device }
    }
}

/// Events after `cursor`.
pub async fn after(db: &mut AnyConnection, log: &str, cursor: i64) -> Result<Vec<Row>, Error> {
    sqlx::query_as("SELECT seq, at, kind, session_id, handoff_id, device_a, device_b FROM events WHERE log = $1 AND seq > $2 ORDER BY seq LIMIT 200")
        .bind(log)
        .bind(cursor)
        .fetch_all(db)
        .await
}

/// First and last number there are; (1, 0) when there are none.
pub async fn range(db: &mut AnyConnection, log: &str) -> Result<(i64, i64), Error> {
    let last: Option<i64> = sqlx::query_scalar("SELECT seq FROM event_heads WHERE log = $1").bind(log).fetch_optional(&mut *db).await?;
    let Some(last) = last else { return Ok((1, 0)) };
    let first: i64 = sqlx::query_scalar("SELECT COALESCE(MIN(seq), $2) FROM events WHERE log = $1").bind(log).bind(last + 1).fetch_one(db).await?;
    Ok((first, last))
}
