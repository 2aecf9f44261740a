//! Sessions and their chains.

use baton_protocol::Refusal;
use baton_protocol::handoff::chain::Chain;
use baton_protocol::handoff::seat::Seat;
use baton_protocol::id::SessionId;
use baton_protocol::key::Did;
use baton_protocol::session::{Head, LEASE_SECS};
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::locked;
use baton_service::many::{self, Together};
use sqlx::{AnyConnection, FromRow};
use std::sync::LazyLock;

/// A session's row.
#[derive(FromRow, Clone)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// Whose it is.
    pub log: String,
    /// The app.
    pub app: String,
    /// How it treats several writers.
    pub mode: String,
    /// `live` or `ended`.
    pub state: String,
    chain: String,
    /// Hash of the last statement.
    pub chain_head: String,
    /// How many statements there are.
    pub chain_n: i64,
    /// The epoch.
    pub epoch: i64,
    /// Who may write.
    pub holder: Option<String>,
    /// Until when without a sign of life.
    pub lease_until: i64,
    /// The newest session key's version.
    pub key_version: i64,
    /// Since when updates under that version are refused.
    pub rekey_since: Option<i64>,
    head_epoch: i64,
    head_seq: i64,
    head_hash: String,
    /// The handoff under way.
    pub open_handoff: Option<String>,
    /// When its holder released it.
    pub released_at: Option<i64>,
}

impl Session {
    /// Where its content stands.
    pub fn head(&self) -> Head {
        Head { epoch: self.head_epoch, seq: self.head_seq, hash: self.head_hash.clone() }
    }
    /// Its chain, trimmed.
    pub fn chain(&self) -> Option<Chain> {
        serde_json::from_str(&self.chain).ok()
    }
    /// What the rules are over.
    pub fn seat(&self) -> Seat {
        Seat {
            is_live: self.state == "live",
            epoch: self.epoch,
            holder: self.holder.clone().map(Did::stored),
            lease_until: Millis(self.lease_until),
            is_released: self.released_at.is_some(),
            key_version: self.key_version,
            needs_rekey: self.rekey_since.is_some(),
            head: self.head(),
        }
    }
    /// Whether this device holds it.
    pub fn is_held_by(&self, device: &Did) -> bool {
        self.holder.as_deref() == Some(device.as_str())
    }
    /// Whether every member may write into it.
    pub fn is_shared(&self) -> bool {
        self.mode == "shared"
    }
    /// Whether `by` may write there under this key.
    pub fn may_write(&self, by: &Did, is_member: bool, epoch: i64, key_version: i64) -> Result<(), Refusal> {
        if self.is_shared() && is_member { self.seat().may_share(epoch, key_version) } else { self.seat().may_write(by, epoch, key_version) }
    }
    /// After an update that was taken; one of its holder is a sign of life.
    pub fn written(&mut self, head: &Head, renews: bool, now: Millis) {
        (self.head_epoch, self.head_seq, self.head_hash) = (head.epoch, head.seq, head.hash.clone());
        if renews {
            self.lease_until = now.plus_secs(LEASE_SECS).0;
        }
    }
    /// What its owner is shown: active, detached, handing off or ended.
    pub fn phase(&self, now: Millis) -> &'static str {
        if self.state == "ended" {
            "ended"
        } else if self.open_handoff.is_some() {
            "handing_off"
        } else if self.seat().is_detached(now) {
            "detached"
        } else {
            "active"
        }
    }
}

/// A new session, held by the device that opens it. False when the id was used before.
pub async fn open(db: &mut AnyConnection, id: &SessionId, chain: &Chain, mode: &str, now: Millis) -> Result<bool, Error> {
    let head = chain.last().to_owned();
    let done = sqlx::query(
        "INSERT INTO sessions (session_id, log, app, mode, state, chain, chain_head, chain_n, epoch, holder, lease_until, key_version, head_epoch, head_seq,
           head_hash, created_at)
         VALUES ($1, $2, $3, $4, 'live', $5, $6, 1, 1, $7, $8, 1, 1, 0, $6, $9) ON CONFLICT DO NOTHING",
    )
    .bind(id.as_str())
    .bind(chain.subject())
    .bind(chain.app())
    .bind(mode)
    .bind(serde_json::to_string(&chain.clone().trimmed()).expect("chain serialises"))
    .bind(head)
    .bind(chain.holder().as_str())
    .bind(now.plus_secs(LEASE_SECS).0)
    .bind(now.0)
    .execute(&mut *db)
    .await?;
    if done.rows_affected() == 1 {
        note_holder(db, id.as_str(), chain.holder()).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// A session of this subject, held until the transaction ends.
pub async fn hold(db: &mut AnyConnection, id: &SessionId, log: &str) -> Result<Option<Session>, Error> {
    let sql = locked!("SELECT * FROM sessions WHERE session_id = $1 AND log = $2").on(db);
    sqlx::query_as(sql).bind(id.as_str()).bind(log).fetch_optional(db).await
}

/// A session of this subject, to look at.
pub async fn find(db: &mut AnyConnection, id: &str, log: &str) -> Result<Option<Session>, Error> {
    sqlx::query_as("SELECT * FROM sessions WHERE session_id = $1 AND log = $2").bind(id).bind(log).fetch_optional(db).await
}

/// Adds that sessions which the caller holds stand where they stand now: none of it is done when one of them is not as it was decided on.
pub fn move_heads<'a>(all: &mut Together<'a>, db: &AnyConnection, sessions: &[&'a Session]) {
    static TEXTS: LazyLock<many::Texts> = LazyLock::new(|| {
        let types = [Some("TEXT"), Some("BIGINT"), Some("BIGINT"), Some("TEXT"), Some("BIGINT"), Some("BIGINT")];
        many::texts(
            "UPDATE sessions SET head_epoch = v.column2, head_seq = v.column3, head_hash = v.column4, lease_until = v.column5 FROM (VALUES",
            &types,
            ") AS v WHERE sessions.session_id = v.column1 AND sessions.epoch = v.column2 AND sessions.key_version = v.column6 AND sessions.head_seq < v.column3
               AND sessions.rekey_since IS NULL AND sessions.released_at IS NULL AND sessions.state = 'live'",
        )
    });
    all.add(db, &TEXTS, sessions, |one| {
        let Session { session_id, head_epoch, head_seq, head_hash, lease_until, key_version, .. } = one;
        [
            session_id.as_str().into(),
            (*head_epoch).into(),
            (*head_seq).into(),
            head_hash.as_str().into(),
            (*lease_until).into(),
            (*key_version).into(),
        ]
    });
}

/// All sessions of a subject that have not ended.
pub async fn list(db: &mut AnyConnection, log: &str) -> Result<Vec<Session>, Error> {
    sqlx::query_as("SELECT * FROM sessions WHERE log = $1 AND state = 'live' ORDER BY session_id").bind(log).fetch_all(db).await
}

/// How many live sessions a subject has.
pub async fn count(db: &mut AnyConnection, log: &str) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE log = $1 AND state = 'live'").bind(log).fetch_one(db).await
}

/// A subject's live sessions, held until the transaction ends.
pub async fn live_of_log(db: &mut AnyConnection, log: &str) -> Result<Vec<Session>, Error> {
    let sql = locked!("SELECT * FROM sessions WHERE log = $1 AND state = 'live' ORDER BY session_id").on(db);
    sqlx::query_as(sql).bind(log).fetch_all(db).await
}

/// Writes the chain after one more statement, and the seat it leaves. Guarded by the head it was decided on.
pub async fn advance(db: &mut AnyConnection, before: &Session, chain: &Chain, seat: &Seat, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE sessions SET chain = $3, chain_head = $4, chain_n = chain_n + 1, epoch = $5, holder = $6, key_version = $7, lease_until = $8,
           released_at = $9, rekey_since = $10
         WHERE session_id = $1 AND chain_head = $2 AND state = 'live'",
    )
    .bind(&before.session_id)
    .bind(&before.chain_head)
    .bind(serde_json::to_string(&chain.clone().trimmed()).expect("chain serialises"))
    .bind(chain.last())
    .bind(seat.epoch)
    .bind(seat.holder.as_ref().map(Did::as_str))
    .bind(seat.key_version)
    .bind(seat.lease_until.0)
    .bind(seat.is_released.then_some(now.0))
    .bind(before.rekey_since.filter(|_| seat.needs_rekey))
    .execute(&mut *db)
    .await?;
    if seat.epoch != before.epoch {
        note_holder(db, &before.session_id, chain.holder()).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// Appends a statement with its acceptance.
pub async fn add_statement(db: &mut AnyConnection, id: &str, n: i64, hash: &str, statement: &str, accepted: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO statements (session_id, n, hash, statement, accepted) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(n)
        .bind(hash)
        .bind(statement)
        .bind(accepted)
        .execute(db)
        .await?;
    Ok(())
}

/// The chain with its acceptances, from statement number `from`.
pub async fn statements(db: &mut AnyConnection, id: &str, from: i64) -> Result<Vec<(String, String)>, Error> {
    sqlx::query_as("SELECT statement, accepted FROM statements WHERE session_id = $1 AND n >= $2 ORDER BY n LIMIT 500")
        .bind(id)
        .bind(from)
        .fetch_all(db)
        .await
}

/// The acceptance of a statement, if it was accepted.
pub async fn acceptance(db: &mut AnyConnection, id: &str, hash: &str) -> Result<Option<String>, Error> {
    sqlx::query_scalar("SELECT accepted FROM statements WHERE session_id = $1 AND hash = $2").bind(id).bind(hash).fetch_optional(db).await
}

/// No lease lasts longer than this.
pub async fn shorten_leases(db: &mut AnyConnection, until: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET lease_until = $1 WHERE lease_until > $1").bind(until.0).execute(db).await.map(drop)
}

/// Renews the holder's lease; false when it is not the holder at this epoch, or has released.
pub async fn heartbeat(db: &mut AnyConnection, id: &str, device: &Did, epoch: i64, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE sessions SET lease_until = $4 WHERE session_id = $1 AND holder = $2 AND epoch = $3 AND state = 'live' AND released_at IS NULL",
    )
    .bind(id)
    .bind(device.as_str())
    .bind(epoch)
    .bind(now.plus_secs(LEASE_SECS).0)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Names the one handoff under way; false when another one is.
pub async fn set_handoff(db: &mut AnyConnection, id: &str, was: Option<&str>, now_open: Option<&str>) -> Result<bool, Error> {
    let done =
        sqlx::query("UPDATE sessions SET open_handoff = $3 WHERE session_id = $1 AND state = 'live' AND ((open_handoff IS NULL AND $2 IS NULL) OR open_handoff = $2)")
            .bind(id)
            .bind(was)
            .bind(now_open)
            .execute(db)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes what a revocation leaves of a seat; the caller holds the session. Whether it took the session from its holder.
pub async fn detach(db: &mut AnyConnection, before: &Session, seat: &Seat, now: Millis) -> Result<bool, Error> {
    sqlx::query("UPDATE sessions SET holder = $2, rekey_since = COALESCE(rekey_since, $3) WHERE session_id = $1")
        .bind(&before.session_id)
        .bind(seat.holder.as_ref().map(Did::as_str))
        .bind(seat.needs_rekey.then_some(now.0))
        .execute(db)
        .await?;
    Ok(before.holder.is_some() && seat.holder.is_none())
}

/// Refuses the present key from now on.
pub async fn require_rekey(db: &mut AnyConnection, id: &str, now: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET rekey_since = $2 WHERE session_id = $1 AND rekey_since IS NULL").bind(id).bind(now.0).execute(db).await?;
    Ok(())
}

/// Ends a session for good.
pub async fn end(db: &mut AnyConnection, id: &str, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE sessions SET state = 'ended', ended_at = $2, open_handoff = NULL WHERE session_id = $1 AND state = 'live'")
        .bind(id)
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a device ever held the session: it opened it, completed a handoff, reclaimed or claimed.
pub async fn ever_held(db: &mut AnyConnection, id: &str, device: &Did) -> Result<bool, Error> {
    let found: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM holders WHERE session_id = $1 AND device = $2").bind(id).bind(device.as_str()).fetch_one(db).await?;
    Ok(found > 0)
}

/// Notes a holder.
async fn note_holder(db: &mut AnyConnection, id: &str, device: &Did) -> Result<(), Error> {
    sqlx::query("INSERT INTO holders (session_id, device) VALUES ($1, $2) ON CONFLICT DO NOTHING").bind(id).bind(device.as_str()).execute(db).await?;
    Ok(())
}
