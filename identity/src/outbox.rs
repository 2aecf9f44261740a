//! The outbox: changes of standing, written in the change's own transaction, told to each peer in order until it has taken them.

use crate::state::Identity;
use crate::store::devices;
use baton_protocol::standing::{Change, FEED_SECS, Feed, Forgotten};
use baton_service::database::Error;
use baton_service::problem::{InternalExt as _, Problem};
use sqlx::AnyConnection;

/// Most changes told at once.
const BATCH: i64 = 200;

/// Notes a change. The counter's row lock keeps numbers in commit order.
async fn write(db: &mut AnyConnection, change: &Change, now: baton_protocol::time::Millis) -> Result<i64, Error> {
    let seq: i64 = sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'outbox' RETURNING value").fetch_one(&mut *db).await?;
    let body = serde_json::to_string(change).expect("a change serialises");
    sqlx::query("INSERT INTO outbox (seq, body, at) VALUES ($1, $2, $3)").bind(seq).bind(body).bind(now.0).execute(db).await?;
    Ok(seq)
}

/// Notes the present standing of a device.
pub async fn write_device(db: &mut AnyConnection, did: &str, now: baton_protocol::time::Millis) -> Result<i64, Problem> {
    let standing = devices::standing(&mut *db, did).await.internal()?.ok_or_else(|| Problem::Internal("device without standing".into()))?;
    write(db, &Change::Standing(Box::new(standing)), now).await.internal()
}

/// Notes that a subject's person has left.
pub async fn write_forgotten(db: &mut AnyConnection, log: String, now: baton_protocol::time::Millis) -> Result<i64, Problem> {
    write(db, &Change::Forgotten(Forgotten { forgotten: log }), now).await.internal()
}

impl Identity {
    /// Tells every peer what it has not heard, and that it has heard all. True when every peer took everything.
    pub async fn pump(&self) -> Result<bool, Problem> {
        let _one_at_a_time = self.pump.lock().await;
        let mut all = true;
        for peer in &self.peers {
            all &= self.pump_one(peer.as_ref()).await?;
        }
        Ok(all)
    }

    async fn pump_one(&self, peer: &dyn crate::peers::StandingPeer) -> Result<bool, Problem> {
        loop {
            // Before reading: a change committed after this instant is not vouched for.
            let asked_at = self.base.now();
            let mut db = self.base.db.reader().acquire().await.internal()?;
            let cursor: Option<i64> =
                sqlx::query_scalar("SELECT seq FROM outbox_cursors WHERE peer = $1").bind(peer.name()).fetch_optional(&mut *db).await.internal()?;
            let cursor = cursor.unwrap_or(0);
            let rows: Vec<(i64, String)> = sqlx::query_as("SELECT seq, body FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2")
                .bind(cursor)
                .bind(BATCH)
                .fetch_all(&mut *db)
                .await
                .internal()?;
            drop(db);
            let last = rows.last().map(|(seq, _)| *seq);
            let more = rows.len() as i64 == BATCH;
            let changes = rows.iter().map(|(_, body)| serde_json::from_str(body)).collect::<Result<Vec<Change>, _>>().internal()?;
            let fresh_until = if more { 0 } else { asked_at.plus_secs(FEED_SECS).0 };
            if let Err(why) = peer.take(&Feed { changes, fresh_until }).await {
                tracing::warn!(target: "baton", peer = peer.name(), error = %why, "peer did not take the feed");
                return Ok(false);
            }
            if let Some(last) = last {
                let mut tx = self.base.db.begin().await.internal()?;
                sqlx::query("INSERT INTO outbox_cursors (peer, seq) VALUES ($1, $2) ON CONFLICT (peer) DO UPDATE SET seq = excluded.seq WHERE outbox_cursors.seq < excluded.seq")
                    .bind(peer.name())
                    .bind(last)
                    .execute(&mut *tx)
                    .await
                    .internal()?;
                tx.commit().await.internal()?;
            }
            if !more {
                return Ok(true);
            }
        }
    }

    /// Whether every peer has taken the change numbered `seq`.
    pub(crate) async fn is_taken(&self, seq: i64) -> Result<bool, Problem> {
        let reached: Vec<(String,)> =
            sqlx::query_as("SELECT peer FROM outbox_cursors WHERE seq >= $1").bind(seq).fetch_all(self.base.db.reader()).await.internal()?;
        Ok(self.peers.iter().all(|peer| reached.iter().any(|(name,)| name == peer.name())))
    }
}
