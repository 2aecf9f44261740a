//! Everything of one subject: to take along, or to forget.

use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// Most sessions, handoffs and events that are taken along, the newest.
pub const MAX_ROWS: i64 = 10_000;

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
    /// Late updates that are kept beside it.
    pub branches: i64,
}

/// A subject's sessions, the newest first.
pub async fn sessions(db: &mut AnyConnection, log: &str) -> Result<Vec<Session>, Error> {
    sqlx::query_as(
        "SELECT s.session_id, s.state, s.epoch, s.holder, s.created_at, s.ended_at,
           (SELECT COUNT(*) FROM updates u WHERE u.session_id = s.session_id) AS updates,
           (SELECT COUNT(*) FROM branches b WHERE b.session_id = s.session_id) AS branches
         FROM sessions s WHERE s.log = $1 ORDER BY s.session_id DESC LIMIT 10000",
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
    /// Devices it names.
    pub device_a: Option<String>,
    /// The other one.
    pub device_b: Option<String>,
}

/// The newest events of a subject.
pub async fn events(db: &mut AnyConnection, log: &str) -> Result<Vec<Event>, Error> {
    sqlx::query_as("SELECT seq, at, kind, session_id, handoff_id, device_a, device_b FROM events WHERE log = $1 ORDER BY seq DESC LIMIT $2")
        .bind(log)
        .bind(MAX_ROWS)
        .fetch_all(db)
        .await
}

/// Most rows that one transaction deletes: nobody waits long behind it.
const PIECE: i64 = 100;

/// Notes that a subject is to be forgotten.
pub async fn leave(db: &mut AnyConnection, log: &str, now: Millis) -> Result<(), Error> {
    sqlx::query("INSERT INTO forgotten (log, at) VALUES ($1, $2) ON CONFLICT (log) DO NOTHING").bind(log).bind(now.0).execute(db).await?;
    Ok(())
}

/// Deletes a piece of what is to be forgotten; false when nothing is left.
pub async fn forget_some(db: &mut AnyConnection) -> Result<bool, Error> {
    let Some((log,)) = sqlx::query_as::<_, (String,)>("SELECT log FROM forgotten ORDER BY at LIMIT 1").fetch_optional(&mut *db).await? else {
        return Ok(false);
    };
    let one = locked!("SELECT session_id FROM sessions WHERE log = $1 ORDER BY session_id LIMIT 1").on(db);
    if let Some((session,)) = sqlx::query_as::<_, (String,)>(one).bind(&log).fetch_optional(&mut *db).await? {
        forget_session(db, &session).await?;
        return Ok(true);
    }
    for sql in [
        "DELETE FROM handoffs WHERE handoff_id IN (SELECT handoff_id FROM handoffs WHERE log = $1 LIMIT $2)",
        "DELETE FROM events WHERE log = $1 AND seq IN (SELECT seq FROM events WHERE log = $1 ORDER BY seq LIMIT $2)",
    ] {
        if sqlx::query(sql).bind(&log).bind(PIECE).execute(&mut *db).await?.rows_affected() > 0 {
            return Ok(true);
        }
    }
    for sql in ["DELETE FROM switches WHERE log = $1", "DELETE FROM event_heads WHERE log = $1", "DELETE FROM forgotten WHERE log = $1"] {
        sqlx::query(sql).bind(&log).execute(&mut *db).await?;
    }
    Ok(true)
}

/// A session goes once nothing of it is left.
async fn forget_session(db: &mut AnyConnection, session: &str) -> Result<(), Error> {
    for sql in [
        "DELETE FROM updates WHERE session_id = $1 AND seq IN (SELECT seq FROM updates WHERE session_id = $1 ORDER BY seq LIMIT $2)",
        "DELETE FROM branches WHERE session_id = $1 AND hash IN (SELECT hash FROM branches WHERE session_id = $1 LIMIT $2)",
        "DELETE FROM statements WHERE session_id = $1 AND n IN (SELECT n FROM statements WHERE session_id = $1 ORDER BY n LIMIT $2)",
        "DELETE FROM envelopes WHERE session_id = $1 AND digest IN (SELECT digest FROM envelopes WHERE session_id = $1 LIMIT $2)",
    ] {
        if sqlx::query(sql).bind(session).bind(PIECE).execute(&mut *db).await?.rows_affected() > 0 {
            return Ok(());
        }
    }
    for sql in
        ["DELETE FROM acknowledged WHERE session_id = $1", "DELETE FROM holders WHERE session_id = $1", "DELETE FROM sessions WHERE session_id = $1"]
    {
        sqlx::query(sql).bind(session).execute(&mut *db).await?;
    }
    Ok(())
}
