//! A subject's events: contiguous numbers, given in commit order by the head's row lock.

use super::updates::Written;
use baton_protocol::event::Event;
use baton_protocol::key::Did;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::many::{self, Together};
use sqlx::{AnyConnection, FromRow};
use std::collections::{BTreeMap, HashMap};
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

/// `session.updated` for each of these, numbered in their order after what each subject's head says; gives each subject's.
pub fn of_updates(rows: &[Written<'_>], heads: &HashMap<String, i64>, now: Millis) -> BTreeMap<String, Vec<Row>> {
    let mut told: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let of_log = told.entry(row.log.to_owned()).or_default();
        let before = of_log.last().map_or_else(|| heads.get(row.log).copied().unwrap_or_default(), |last| last.seq);
        of_log.push(Row::updated(row, before + 1, now));
    }
    told
}

/// Adds that these are appended: none of it is done when a head is not where they begin.
pub fn append_each<'a>(all: &mut Together<'a>, db: &AnyConnection, told: &'a BTreeMap<String, Vec<Row>>) {
    static HEADS: LazyLock<many::Texts> = LazyLock::new(|| {
        let types = [Some("TEXT"), Some("BIGINT"), Some("BIGINT")];
        many::texts(
            "UPDATE event_heads SET seq = v.column3 FROM (VALUES",
            &types,
            ") AS v WHERE event_heads.log = v.column1 AND event_heads.seq = v.column2 - 1",
        )
    });
    static ROWS: LazyLock<many::Texts> = LazyLock::new(|| {
        let before = "INSERT INTO events (log, seq, at, kind, session_id, device_a) VALUES";
        many::texts(before, &[None; 6], "")
    });
    let of_log = |(log, rows): (&'a String, &'a Vec<Row>)| Some((log.as_str(), rows.first()?.seq, rows.last()?.seq));
    let heads: Vec<_> = told.iter().filter_map(of_log).collect();
    all.add(db, &HEADS, &heads, |(log, first, last)| [(*log).into(), (*first).into(), (*last).into()]);
    let rows: Vec<_> = told.iter().flat_map(|(log, rows)| rows.iter().map(move |row| (log.as_str(), row))).collect();
    all.add(db, &ROWS, &rows, |(log, row)| {
        let Row { seq, at, kind, session_id, device_a, .. } = row;
        [(*log).into(), (*seq).into(), (*at).into(), kind.as_str().into(), session_id.as_deref().into(), device_a.as_deref().into()]
    });
}

/// An event as it is kept.
#[derive(Clone, FromRow)]
pub struct Row {
    /// Its number.
    pub seq: i64,
    at: i64,
    /// What happened.
    pub kind: String,
    session_id: Option<String>,
    handoff_id: Option<String>,
    device_a: Option<String>,
    device_b: Option<String>,
}

impl Row {
    fn updated(written: &Written<'_>, seq: i64, now: Millis) -> Self {
        Self {
            seq,
            at: now.0,
            kind: "session.updated".into(),
            session_id: Some(written.update.place.session.as_str().into()),
            handoff_id: None,
            device_a: Some(written.device.as_str().into()),
            device_b: None,
        }
    }

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

/// How many events [`after`] gives at most.
pub const PAGE: usize = 200;

/// Events after `cursor`.
pub async fn after(db: &mut AnyConnection, log: &str, cursor: i64) -> Result<Vec<Row>, Error> {
    sqlx::query_as("SELECT seq, at, kind, session_id, handoff_id, device_a, device_b FROM events WHERE log = $1 AND seq > $2 ORDER BY seq LIMIT $3")
        .bind(log)
        .bind(cursor)
        .bind(PAGE as i64)
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

#[cfg(test)]
pub mod tests {
    use super::Row;

    /// One of this number.
    pub fn row(seq: i64) -> Row {
        Row { seq, at: 0, kind: "session.updated".into(), session_id: None, handoff_id: None, device_a: None, device_b: None }
    }
}
