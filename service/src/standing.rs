//! What identity has told of each device, and the one question every protected step asks of it.
//!
//! [`hold`] locks the row until the transaction ends: a revocation either finds the step committed or makes it refuse. A feed that is
//! not fresh refuses by itself (503).

use crate::database::Error;
use crate::locked;
use crate::many;
use crate::problem::{InternalExt as _, Problem};
use baton_protocol::credential::Tier;
use baton_protocol::key::{Did, Thumbprint};
use baton_protocol::standing::{FEED_SECS, Standing};
use baton_protocol::time::Millis;
use sqlx::{AnyConnection, FromRow};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// Until when the feed may be relied on. In memory: a service that starts has heard nothing yet and refuses.
#[derive(Debug, Default)]
pub struct Freshness(AtomicI64);

impl Freshness {
    /// The feed was heard at `now`. However far ahead the sender's clock is, it is believed for the stated bound alone.
    pub fn renew(&self, until: i64, now: Millis) {
        if until > 0 {
            self.0.store(until.min(now.plus_secs(FEED_SECS).0), Ordering::Relaxed);
        }
    }
    /// Refuses when there has been no news for too long.
    pub fn check(&self, now: Millis) -> Result<(), Problem> {
        let until = self.0.load(Ordering::Relaxed);
        // A clock that was set back must not make old news fresh.
        let sane = until <= now.plus_secs(FEED_SECS + 1).0;
        if now.0 < until && sane { Ok(()) } else { Err(Problem::Unavailable("standing feed is not fresh")) }
    }
    /// Whether it is fresh.
    pub fn is_fresh(&self, now: Millis) -> bool {
        self.check(now).is_ok()
    }
}

/// A standing's row.
#[derive(FromRow)]
pub struct Row {
    device: String,
    jkt: String,
    app: String,
    iss: String,
    log: String,
    client_id: String,
    tier: String,
    credential_hash: String,
    dev_epoch: i64,
    grant_id: String,
    scopes: String,
    grant_until: i64,
    revoked_at: Option<i64>,
}

impl Row {
    /// What it says.
    pub fn read(self) -> Option<Standing> {
        Some(Standing {
            device: Did::stored(self.device),
            jkt: Thumbprint(self.jkt),
            app: self.app,
            iss: Did::stored(self.iss),
            log: self.log,
            client_id: self.client_id,
            tier: Tier::parse(&self.tier)?,
            credential_hash: self.credential_hash,
            dev_epoch: self.dev_epoch,
            grant: self.grant_id,
            scopes: self.scopes,
            grant_until: self.grant_until,
            revoked_at: self.revoked_at,
        })
    }
}

/// The device's standing, held as it is until the transaction ends. `None`: identity never told of it.
pub async fn hold(db: &mut AnyConnection, device: &Did, freshness: &Freshness, now: Millis) -> Result<Option<Standing>, Problem> {
    freshness.check(now)?;
    find(db, device).await.internal()
}

/// [`hold`] for several devices at once.
pub async fn hold_each(db: &mut AnyConnection, devices: &[&Did], freshness: &Freshness, now: Millis) -> Result<Vec<Standing>, Problem> {
    // Shared, and whoever changes standing holds one row at a time: nobody waits in a circle.
    static TEXTS: LazyLock<many::Texts> = LazyLock::new(|| many::lookups("SELECT * FROM standing WHERE device IN", ["", " FOR SHARE"]));
    freshness.check(now)?;
    find_each(db, devices, &TEXTS).await
}

async fn find_each(db: &mut AnyConnection, devices: &[&Did], texts: &many::Texts) -> Result<Vec<Standing>, Problem> {
    let mut found = Vec::with_capacity(devices.len());
    for (sql, some) in many::filled(devices, texts, db) {
        let mut query = sqlx::query_as(sql);
        for device in some {
            query = query.bind(device.as_str());
        }
        let rows: Vec<Row> = query.fetch_all(&mut *db).await.internal()?;
        found.extend(rows.into_iter().filter_map(Row::read));
    }
    Ok(found)
}

/// [`hold`] without the question of freshness, for effects that only take away.
pub async fn find(db: &mut AnyConnection, device: &Did) -> Result<Option<Standing>, Error> {
    let sql = locked!("SELECT * FROM standing WHERE device = $1", share).on(db);
    let row: Option<Row> = sqlx::query_as(sql).bind(device.as_str()).fetch_optional(db).await?;
    Ok(row.and_then(Row::read))
}

/// The device's standing, locked by one who is about to change it.
pub async fn find_for_change(db: &mut AnyConnection, device: &Did) -> Result<Option<Standing>, Error> {
    let sql = locked!("SELECT * FROM standing WHERE device = $1").on(db);
    let row: Option<Row> = sqlx::query_as(sql).bind(device.as_str()).fetch_optional(db).await?;
    Ok(row.and_then(Row::read))
}

/// A device's standing as it is now, for readers that hold nothing.
pub async fn look(db: &mut AnyConnection, device: &Did) -> Result<Option<Standing>, Error> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM standing WHERE device = $1").bind(device.as_str()).fetch_optional(db).await?;
    Ok(row.and_then(Row::read))
}

/// Whether a standing allows anything at `now`.
pub fn is_live(standing: &Standing, now: Millis) -> bool {
    standing.revoked_at.is_none() && now.0 < standing.grant_until
}

/// Takes one change in. Older news never overwrites newer: `dev_epoch` only rises and a revocation stays.
pub async fn take(db: &mut AnyConnection, change: &Standing) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO standing (device, jkt, app, iss, log, client_id, tier, credential_hash, dev_epoch, grant_id, scopes, grant_until, revoked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (device) DO UPDATE SET iss = excluded.iss, tier = excluded.tier, credential_hash = excluded.credential_hash, dev_epoch = excluded.dev_epoch,
           grant_id = excluded.grant_id, scopes = excluded.scopes, grant_until = excluded.grant_until,
           revoked_at = COALESCE(standing.revoked_at, excluded.revoked_at)
         WHERE excluded.dev_epoch >= standing.dev_epoch",
    )
    .bind(change.device.as_str())
    .bind(change.jkt.as_str())
    .bind(&change.app)
    .bind(change.iss.as_str())
    .bind(&change.log)
    .bind(&change.client_id)
    .bind(change.tier.as_str())
    .bind(&change.credential_hash)
    .bind(change.dev_epoch)
    .bind(&change.grant)
    .bind(&change.scopes)
    .bind(change.grant_until)
    .bind(change.revoked_at)
    .execute(db)
    .await?;
    Ok(())
}
