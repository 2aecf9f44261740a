//! Sealed updates, key envelopes, branches.

use super::sessions::Session;
use baton_protocol::id::SessionId;
use baton_protocol::key::Did;
use baton_protocol::session::{Kind, LEASE_SECS, Place, SealedUpdate};
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::many::{self, Together};
use sqlx::{AnyConnection, FromRow};
use std::sync::LazyLock;

#[derive(FromRow)]
struct Row {
    session_id: String,
    seq: i64,
    epoch: i64,
    prev: String,
    key_version: i64,
    kind: String,
    iv: String,
    ct: String,
}

impl Row {
    fn read(self) -> Option<SealedUpdate> {
        let kind = if self.kind == "snapshot" { Kind::Snapshot } else { Kind::Update };
        let place = Place {
            session: SessionId::parse(&self.session_id).ok()?,
            epoch: self.epoch,
            seq: self.seq,
            prev: self.prev,
            key_version: self.key_version,
            kind,
        };
        Some(SealedUpdate { place, iv: self.iv, ct: self.ct })
    }
}

/// Appends an update after the head it names; false when the head moved, the epoch or holder changed, or the key is old. In a shared session the caller has
/// seen that its device is a member; whoever holds it stays there by what it writes itself.
pub async fn append(db: &mut AnyConnection, update: &SealedUpdate, device: &Did, now: Millis) -> Result<bool, Error> {
    let (place, hash) = (&update.place, update.hash());
    let moved = sqlx::query(
        "UPDATE sessions SET head_epoch = $4, head_seq = $5, head_hash = $6, lease_until = CASE WHEN holder = $2 THEN $8 ELSE lease_until END
         WHERE session_id = $1 AND (holder = $2 OR mode = 'shared') AND head_hash = $3 AND head_seq = $5 - 1 AND epoch = $4 AND key_version = $7 AND rekey_since IS NULL
           AND released_at IS NULL AND state = 'live'",
    )
    .bind(place.session.as_str())
    .bind(device.as_str())
    .bind(&place.prev)
    .bind(place.epoch)
    .bind(place.seq)
    .bind(&hash)
    .bind(place.key_version)
    .bind(now.plus_secs(LEASE_SECS).0)
    .execute(&mut *db)
    .await?;
    if moved.rows_affected() != 1 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO updates (session_id, seq, epoch, prev, hash, key_version, kind, device, iv, ct, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(place.session.as_str())
    .bind(place.seq)
    .bind(place.epoch)
    .bind(&place.prev)
    .bind(hash)
    .bind(place.key_version)
    .bind(kind(place.kind))
    .bind(device.as_str())
    .bind(&update.iv)
    .bind(&update.ct)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(true)
}

/// An update that was decided on, with the session held.
pub struct Written<'a> {
    /// It.
    pub update: &'a SealedUpdate,
    /// Its hash.
    pub hash: &'a str,
    /// Who wrote it.
    pub device: &'a Did,
    /// Whose session it is in.
    pub log: &'a str,
}

/// Adds that these are appended.
pub fn insert_each<'a>(all: &mut Together<'a>, db: &AnyConnection, rows: &[Written<'a>], now: Millis) {
    static TEXTS: LazyLock<many::Texts> = LazyLock::new(|| {
        let before = "INSERT INTO updates (session_id, seq, epoch, prev, hash, key_version, kind, device, iv, ct, at) VALUES";
        many::texts(before, &[None; 11], "")
    });
    all.add(db, &TEXTS, rows, |Written { update, hash, device, .. }| {
        let SealedUpdate { place, iv, ct } = update;
        let Place { session, epoch, seq, prev, key_version, kind: of } = place;
        let named = [session.as_str().into(), (*seq).into(), (*epoch).into(), prev.as_str().into(), (*hash).into(), (*key_version).into()];
        let [session, seq, epoch, prev, hash, key_version] = named;
        [session, seq, epoch, prev, hash, key_version, kind(*of).into(), device.as_str().into(), iv.as_str().into(), ct.as_str().into(), now.0.into()]
    });
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Snapshot => "snapshot",
        // A volatile one is never kept.
        Kind::Update | Kind::Volatile => "update",
    }
}

/// Whether this very update stands already.
pub async fn stands(db: &mut AnyConnection, update: &SealedUpdate) -> Result<bool, Error> {
    let hash = hash_at(db, update.place.session.as_str(), update.place.seq).await?;
    Ok(hash.as_deref() == Some(&update.hash()))
}

/// The hash of the update of this number, while it is kept.
pub async fn hash_at(db: &mut AnyConnection, session: &str, seq: i64) -> Result<Option<String>, Error> {
    sqlx::query_scalar("SELECT hash FROM updates WHERE session_id = $1 AND seq = $2").bind(session).bind(seq).fetch_optional(db).await
}

/// Updates after number `after`, in order.
pub async fn list(db: &mut AnyConnection, session: &Session, after: i64) -> Result<Vec<SealedUpdate>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT session_id, seq, epoch, prev, key_version, kind, iv, ct FROM updates WHERE session_id = $1 AND seq > $2 ORDER BY seq LIMIT 16",
    )
    .bind(&session.session_id)
    .bind(after)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(Row::read).collect())
}

/// At every so many updates it is looked at whether there was a snapshot among them: whoever reads begins at one.
const STRIDE: i64 = 256;

/// Whether a snapshot is due at this number, unless there is one among those before it.
pub const fn is_mark(seq: i64) -> bool {
    seq % STRIDE == 0
}

/// Whether there is one: without, small updates without end would be a session that nobody can read.
pub async fn has_snapshot_before(db: &mut AnyConnection, session: &str, mark: i64) -> Result<bool, Error> {
    Ok(last_snapshot(db, session).await? >= mark - STRIDE)
}

/// Number of the newest snapshot.
pub async fn last_snapshot(db: &mut AnyConnection, session: &str) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) FROM updates WHERE session_id = $1 AND kind = 'snapshot'").bind(session).fetch_one(db).await
}

/// Keeps a key envelope; false when it was kept before.
pub async fn add_envelope(db: &mut AnyConnection, session: &str, version: i64, envelope: &str, device: &Did, now: Millis) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO envelopes (session_id, key_version, digest, envelope, device, at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(session)
    .bind(version)
    .bind(baton_protocol::key::hash(envelope.as_bytes()))
    .bind(envelope)
    .bind(device.as_str())
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many envelopes a device has added for a key version.
pub async fn envelopes_by(db: &mut AnyConnection, session: &str, version: i64, device: &Did) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM envelopes WHERE session_id = $1 AND key_version = $2 AND device = $3")
        .bind(session)
        .bind(version)
        .bind(device.as_str())
        .fetch_one(db)
        .await
}

/// The envelopes of a session, the newest version first: version and text.
pub async fn envelopes(db: &mut AnyConnection, session: &str) -> Result<Vec<(i64, String)>, Error> {
    sqlx::query_as("SELECT key_version, envelope FROM envelopes WHERE session_id = $1 ORDER BY key_version DESC, at, digest LIMIT 200")
        .bind(session)
        .fetch_all(db)
        .await
}

/// How many branch updates a device has left in a session, and their size.
pub async fn branch_use(db: &mut AnyConnection, session: &str, device: &Did) -> Result<(i64, i64), Error> {
    sqlx::query_as("SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM branches WHERE session_id = $1 AND device = $2")
        .bind(session)
        .bind(device.as_str())
        .fetch_one(db)
        .await
}

/// Keeps a late update beside the session. False when it stood there already.
pub async fn add_branch(db: &mut AnyConnection, update: &SealedUpdate, device: &Did, now: Millis) -> Result<bool, Error> {
    let text = serde_json::to_string(update).expect("strings and numbers");
    let done = sqlx::query(
        "INSERT INTO branches (session_id, hash, device, epoch, branch, size, at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(update.place.session.as_str())
    .bind(update.hash())
    .bind(device.as_str())
    .bind(update.place.epoch)
    .bind(&text)
    .bind(text.len() as i64)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The late updates of a session, 100 at most after a place: time, hash, device, update.
pub async fn branches(db: &mut AnyConnection, session: &str, after: (i64, &str)) -> Result<Vec<(i64, String, String, String)>, Error> {
    sqlx::query_as(
        "SELECT at, hash, device, branch FROM branches WHERE session_id = $1 AND (at > $2 OR (at = $2 AND hash > $3)) ORDER BY at, hash LIMIT 100",
    )
    .bind(session)
    .bind(after.0)
    .bind(after.1)
    .fetch_all(db)
    .await
}
