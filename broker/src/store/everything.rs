//! Everything of one subject: to take along, or to forget.

use baton_service::database::Error;
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// Most events that are taken along, the newest.
const MAX_EVENTS: i64 = 10_000;

/// A session, ended ones included, and how much of it is kept.
#[derive(FromRow)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// `live` or `ended`.
    pub state: String,
    /// How often it moved, from one.
    pub epoch: i64,
    /// Who may write.
    pub holder: Option<String>,
    /// When it began.
    pub created_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// Sealed updates.
    pub updates: i64,
    /// And their size, in base64url characters.
    pub size: i64,
    /// Late updates that are kept beside it.
    pub branches: i64,
}

/// All sessions of a subject.
pub async fn sessions(db: &mut AnyConnection, log: &str) -> Result<Vec<Session>, Error> {
    sqlx::query_as(
        "SELECT s.session_id, s.state, s.epoch, s.holder, s.created_at, s.ended_at,
           (SELECT COUNT(*) FROM updates u WHERE u.session_id = s.session_id) AS updates,
           (SELECT CAST(COALESCE(SUM(LENGTH(u.ct)), 0) AS BIGINT) FROM updates u WHERE u.session_id = s.session_id) AS size,
           (SELECT COUNT(*) FROM branches b WHERE b.session_id = s.session_id) AS branches
         FROM sessions s WHERE s.log = $1 ORDER BY s.session_id",
    )
    .bind(log)
    .fetch_all(db)
    .await
}

/// An event as it is kept.
#[derive(FromRow)]
pub struct Event {
    /// Its number.
    pub seq: i64,
    /// When.
    pub at: i64,
    /// What.
    pub kind: String,
    /// Of which session.
    pub session_id: Option<String>,
    /// Of which handoff.
    pub handoff_id: Option<String>,
}

/// The newest events of a subject.
pub async fn events(db: &mut AnyConnection, log: &str) -> Result<Vec<Event>, Error> {
    sqlx::query_as("SELECT seq, at, kind, session_id, handoff_id FROM events WHERE log = $1 ORDER BY seq DESC LIMIT $2")
        .bind(log)
        .bind(MAX_EVENTS)
        .fetch_all(db)
        .await
}

/// Forgets a subject. Sessions are held first, as everywhere.
pub async fn forget(db: &mut AnyConnection, log: &str) -> Result<(), Error> {
    const ALL: &[&str] = &[
        "DELETE FROM statements WHERE session_id IN (SELECT session_id FROM sessions WHERE log = $1)",
        "DELETE FROM envelopes WHERE session_id IN (SELECT session_id FROM sessions WHERE log = $1)",
        "DELETE FROM updates WHERE session_id IN (SELECT session_id FROM sessions WHERE log = $1)",
        "DELETE FROM branches WHERE session_id IN (SELECT session_id FROM sessions WHERE log = $1)",
        "DELETE FROM holders WHERE session_id IN (SELECT session_id FROM sessions WHERE log = $1)",
        "DELETE FROM sessions WHERE log = $1",
        "DELETE FROM handoffs WHERE log = $1",
        "DELETE FROM switches WHERE log = $1",
        "DELETE FROM events WHERE log = $1",
        "DELETE FROM event_heads WHERE log = $1",
    ];
    let held = locked!("SELECT session_id FROM sessions WHERE log = $1 ORDER BY session_id").on(db);
    let _: Vec<(String,)> = sqlx::query_as(held).bind(log).fetch_all(&mut *db).await?;
    for sql in ALL {
        sqlx::query(*sql).bind(log).execute(&mut *db).await?;
    }
    Ok(())
}
