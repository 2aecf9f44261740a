//! What updates are decided on that are written together: of those that nobody is changing just now. Whoever waits for the others does so alone.

use super::sessions::Session;
use baton_protocol::key::Did;
use baton_protocol::standing::Standing;
use baton_protocol::time::Millis;
use baton_service::many;
use baton_service::problem::{InternalExt as _, Problem};
use baton_service::standing::{self, Freshness};
use sqlx::{AnyConnection, FromRow};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Held until the transaction ends.
#[derive(Default)]
pub struct Free {
    /// How each device stands.
    pub standings: HashMap<Did, Standing>,
    /// The sessions.
    pub sessions: HashMap<String, Session>,
    /// The number of each subject's last event.
    pub events: HashMap<String, i64>,
}

#[derive(FromRow)]
struct Row {
    // Both have `log` and `app`, and they are the same.
    #[sqlx(flatten)]
    standing: standing::Row,
    #[sqlx(flatten)]
    session: Session,
    event: i64,
}

/// Holds what these writes need; who asks for the session of another person or app, and who is out, finds nothing by that. Events are waited for: whoever
/// appends one is about to commit, and else one busy writer would send all others of the person away.
pub async fn hold(db: &mut AnyConnection, writes: &[(&str, &str)], freshness: &Freshness, now: Millis) -> Result<Free, Problem> {
    static TEXTS: LazyLock<many::Texts> = LazyLock::new(|| {
        let before = "SELECT standing.*, sessions.*, event_heads.seq AS event FROM (VALUES";
        let joined = ") AS v JOIN standing ON standing.device = v.column1 AND standing.revoked_at IS NULL
           JOIN sessions ON sessions.session_id = v.column2 AND sessions.log = standing.log AND sessions.app = standing.app
           JOIN event_heads ON event_heads.log = sessions.log";
        let held = format!("{joined} FOR SHARE OF standing SKIP LOCKED FOR UPDATE OF sessions SKIP LOCKED FOR UPDATE OF event_heads");
        many::texts_for(before, &[Some("TEXT"); 2], [joined, &held])
    });
    freshness.check(now)?;
    let mut free = Free::default();
    for (sql, some) in many::filled_with(writes, Some(&("", "")), &TEXTS, db) {
        let query = some.into_iter().fold(sqlx::query_as(sql), |query, (device, session)| query.bind(*device).bind(*session));
        for Row { standing, session, event } in query.fetch_all(&mut *db).await.internal()? {
            free.events.insert(session.log.clone(), event);
            free.sessions.insert(session.session_id.clone(), session);
            free.standings.extend(standing.read().map(|standing| (standing.device.clone(), standing)));
        }
    }
    Ok(free)
}
