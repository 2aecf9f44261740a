//! Handoffs: the machine as JSON, guarded by its revision.

use super::{events, sessions};
use baton_protocol::handoff::machine::{Handoff, OFFER_SECS, Reason, State, Target};
use baton_protocol::id::{HandoffId, SessionId};
use baton_protocol::key::Did;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// A handoff's row.
#[derive(FromRow, Clone)]
pub struct Row {
    /// Its id.
    pub handoff_id: String,
    /// Its session.
    pub session_id: String,
    machine: String,
    rev: i64,
    offer: String,
    /// Its hash.
    pub offer_hash: String,
    /// The target's presentation, for the source's own check.
    pub presentation: Option<String>,
}

impl Row {
    /// The handoff as it was written.
    pub fn machine(&self) -> Option<Handoff> {
        serde_json::from_str(&self.machine).ok()
    }
    /// The signed offer; none as long as it is only asked for.
    pub fn offer(&self) -> Option<&str> {
        Some(self.offer.as_str()).filter(|offer| !offer.is_empty())
    }
}

/// What a handoff begins with.
pub struct New<'a> {
    /// Its id.
    pub handoff: &'a HandoffId,
    /// Its session.
    pub session: &'a SessionId,
    /// The signed offer and its hash; neither as long as it is only asked for.
    pub offer: Option<(&'a str, &'a str)>,
    /// Its state.
    pub machine: &'a Handoff,
}

/// A new handoff; false when the id was used before.
pub async fn create(db: &mut AnyConnection, new: &New<'_>, log: &str, now: Millis) -> Result<bool, Error> {
    let New { handoff, session, offer, machine } = new;
    let (text, hash) = offer.unwrap_or_default();
    let target = if let Target::Device(device) = &machine.to { Some(device.as_str()) } else { None };
    let done = sqlx::query(
        "INSERT INTO handoffs (handoff_id, session_id, log, machine, state, rev, source, target, offer, offer_hash, created_at)
         VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    )
    .bind(handoff.as_str())
    .bind(session.as_str())
    .bind(log)
    .bind(serde_json::to_string(machine).expect("machine serialises"))
    .bind(machine.state.name())
    .bind(machine.from.as_str())
    .bind(target)
    .bind(text)
    .bind(hash)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A handoff of this subject, held until the transaction ends.
pub async fn hold(db: &mut AnyConnection, id: &str, log: &str) -> Result<Option<Row>, Error> {
    let sql =
        locked!("SELECT handoff_id, session_id, machine, rev, offer, offer_hash, presentation FROM handoffs WHERE handoff_id = $1 AND log = $2")
            .on(db);
    sqlx::query_as(sql).bind(id).bind(log).fetch_optional(db).await
}

/// A handoff of this subject, to look at.
pub async fn find(db: &mut AnyConnection, id: &str, log: &str) -> Result<Option<Row>, Error> {
    sqlx::query_as("SELECT handoff_id, session_id, machine, rev, offer, offer_hash, presentation FROM handoffs WHERE handoff_id = $1 AND log = $2")
        .bind(id)
        .bind(log)
        .fetch_optional(db)
        .await
}

/// The handoffs under way of a subject's live sessions; the caller holds those sessions.
pub async fn of_live_sessions(db: &mut AnyConnection, log: &str) -> Result<Vec<Row>, Error> {
    sqlx::query_as(
        "SELECT h.handoff_id, h.session_id, h.machine, h.rev, h.offer, h.offer_hash, h.presentation
         FROM handoffs h JOIN sessions s ON s.open_handoff = h.handoff_id WHERE s.log = $1 AND s.state = 'live' ORDER BY h.handoff_id",
    )
    .bind(log)
    .fetch_all(db)
    .await
}

/// Handoffs of a subject that are not over.
pub async fn open(db: &mut AnyConnection, log: &str) -> Result<Vec<Row>, Error> {
    sqlx::query_as(
        "SELECT handoff_id, session_id, machine, rev, offer, offer_hash, presentation FROM handoffs
         WHERE log = $1 AND state IN ('requested', 'offered', 'accepted', 'sealed') ORDER BY handoff_id LIMIT 100",
    )
    .bind(log)
    .fetch_all(db)
    .await
}

/// A handoff as its person looks back on it.
#[derive(FromRow)]
pub struct Past {
    /// Its id.
    pub handoff_id: String,
    /// Its session.
    pub session_id: String,
    machine: String,
    /// When.
    pub created_at: i64,
}

impl Past {
    /// The handoff as it stands at `now`: what lapsed, lapsed, whether or not anybody has looked since.
    pub fn machine(&self, now: Millis) -> Option<Handoff> {
        serde_json::from_str::<Handoff>(&self.machine).ok().map(|machine| machine.at(now))
    }
}

/// Handoffs of a subject that began before a time, newest first.
pub async fn history(db: &mut AnyConnection, log: &str, before: i64) -> Result<Vec<Past>, Error> {
    sqlx::query_as(
        "SELECT handoff_id, session_id, machine, created_at FROM handoffs WHERE log = $1 AND created_at < $2
         ORDER BY created_at DESC LIMIT 100",
    )
    .bind(log)
    .bind(before)
    .fetch_all(db)
    .await
}

/// The newest handoffs of a subject, at most so many.
pub async fn newest(db: &mut AnyConnection, log: &str, most: i64) -> Result<Vec<Past>, Error> {
    sqlx::query_as("SELECT handoff_id, session_id, machine, created_at FROM handoffs WHERE log = $1 ORDER BY created_at DESC LIMIT $2")
        .bind(log)
        .bind(most)
        .fetch_all(db)
        .await
}

/// Ends a handoff that cannot go on, unless its time was over before: its session is free of it, and its parties are told. The caller holds session
/// and handoff.
pub async fn make_void(db: &mut AnyConnection, row: &Row, reason: Reason, log: &str, now: Millis) -> Result<(), Error> {
    let Some(machine) = row.machine() else { return Ok(()) };
    let ended = machine.clone().at(now).void(reason);
    end(db, row, &machine, &ended, log, now).await
}

/// Ends an open handoff whose time is over; false when it is not. The caller holds session and handoff.
pub async fn settle(db: &mut AnyConnection, row: &Row, log: &str, now: Millis) -> Result<bool, Error> {
    let Some(machine) = row.machine() else { return Ok(false) };
    let settled = machine.clone().at(now);
    if settled == machine {
        return Ok(false);
    }
    end(db, row, &machine, &settled, log, now).await.map(|()| true)
}

/// Writes how it ended, frees its session and tells both of its parties.
async fn end(db: &mut AnyConnection, row: &Row, before: &Handoff, ended: &Handoff, log: &str, now: Millis) -> Result<(), Error> {
    step(&mut *db, row, ended, None).await?;
    sessions::set_handoff(&mut *db, &row.session_id, Some(&row.handoff_id), None).await?;
    let new = events::New {
        kind: &format!("handoff.{}", ended.state.name()),
        session: Some(&row.session_id),
        handoff: Some(&row.handoff_id),
        devices: [Some(before.from.as_str()), before.other().map(Did::as_str)],
    };
    events::append(db, log, &new, now).await
}

/// Open handoffs that are older than an offer lasts, with their sessions and subjects.
pub async fn old(db: &mut AnyConnection, now: Millis) -> Result<Vec<(String, String, String)>, Error> {
    sqlx::query_as(
        "SELECT handoff_id, session_id, log FROM handoffs WHERE state IN ('requested', 'offered', 'accepted') AND created_at <= $1
         ORDER BY created_at LIMIT 100",
    )
    .bind(now.plus_secs(-OFFER_SECS).0)
    .fetch_all(db)
    .await
}

/// Ends what is only asked for: the session goes another way. False when something that was offered is under way. The caller holds the session.
pub async fn drop_request(db: &mut AnyConnection, session: &sessions::Session, reason: Reason, now: Millis) -> Result<bool, Error> {
    let Some(open) = &session.open_handoff else { return Ok(true) };
    match hold(&mut *db, open, &session.log).await? {
        Some(row) if row.offer().is_none() => make_void(db, &row, reason, &session.log, now).await.map(|()| true),
        _ => Ok(false),
    }
}

/// Writes the offer that answers a request; false when it moved meanwhile.
pub async fn agree(db: &mut AnyConnection, row: &Row, next: &Handoff, (text, hash): (&str, &str)) -> Result<bool, Error> {
    sqlx::query("UPDATE handoffs SET offer = $3, offer_hash = $4 WHERE handoff_id = $1 AND rev = $2")
        .bind(&row.handoff_id)
        .bind(row.rev)
        .bind(text)
        .bind(hash)
        .execute(&mut *db)
        .await?;
    step(db, row, next, None).await
}

/// Writes the next state; false when it moved meanwhile.
pub async fn step(db: &mut AnyConnection, row: &Row, next: &Handoff, presentation: Option<&str>) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE handoffs SET machine = $3, state = $4, rev = rev + 1, presentation = COALESCE($5, presentation) WHERE handoff_id = $1 AND rev = $2",
    )
    .bind(&row.handoff_id)
    .bind(row.rev)
    .bind(serde_json::to_string(next).expect("machine serialises"))
    .bind(next.state.name())
    .bind(presentation)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a device has accepted a handoff that is under way.
pub async fn is_accepted_by(db: &mut AnyConnection, id: Option<&str>, device: &Did) -> Result<bool, Error> {
    let Some(id) = id else { return Ok(false) };
    let row: Option<Row> = sqlx::query_as(
        "SELECT handoff_id, session_id, machine, rev, offer, offer_hash, presentation FROM handoffs WHERE handoff_id = $1 AND state IN ('accepted', 'sealed')",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(row.and_then(|row| row.machine()).is_some_and(|machine| match machine.state {
        State::Accepted { by, .. } | State::Sealed { by, .. } => by == *device,
        _ => false,
    }))
}
