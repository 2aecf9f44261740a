//! Enrolled devices and the consent they rest on.

use baton_protocol::credential::Tier;
use baton_protocol::id::AccountId;
use baton_protocol::key::{Did, Thumbprint};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::standing::Standing;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use serde_json::{Value, json};
use sqlx::{AnyConnection, FromRow};

/// A device's row.
#[derive(FromRow, Clone)]
pub struct Device {
    /// Its id.
    pub device_id: String,
    /// Whose it is.
    pub account_id: String,
    /// The app.
    pub app: String,
    /// The subject.
    pub log: String,
    /// The issuer.
    pub iss: String,
    /// Its DID.
    pub did: String,
    /// Its key's thumbprint.
    pub jkt: String,
    /// The client.
    pub client_id: String,
    /// What it may do.
    pub tier: String,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Its credential, with all disclosures.
    pub credential: String,
    /// Digest of that.
    pub credential_hash: String,
    /// When that ends, in seconds.
    pub credential_exp: i64,
    /// Its status index.
    pub status_idx: i64,
    /// The consent it rests on.
    pub grant_id: String,
    /// Its epoch.
    pub dev_epoch: i64,
    /// When the one who asked redeemed the approval.
    pub redeemed_at: Option<i64>,
    /// When it was enrolled.
    pub created_at: i64,
    /// When it was last there.
    pub seen_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

/// Inserts a device with its consent.
pub async fn create(db: &mut AnyConnection, device: &Device, scopes: &str, until: i64) -> Result<(), Error> {
    sqlx::query("INSERT INTO grants (grant_id, account_id, app, client_id, scopes, purpose, until_at, created_at) VALUES ($1, $2, $3, $4, $5, 'device', $6, $7)")
        .bind(&device.grant_id)
        .bind(&device.account_id)
        .bind(&device.app)
        .bind(&device.client_id)
        .bind(scopes)
        .bind(until)
        .bind(device.created_at)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "INSERT INTO devices (device_id, account_id, app, log, iss, did, jkt, client_id, tier, name, kind, credential, credential_hash, credential_exp,
           status_idx, grant_id, dev_epoch, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .bind(&device.device_id)
    .bind(&device.account_id)
    .bind(&device.app)
    .bind(&device.log)
    .bind(&device.iss)
    .bind(&device.did)
    .bind(&device.jkt)
    .bind(&device.client_id)
    .bind(&device.tier)
    .bind(&device.name)
    .bind(&device.kind)
    .bind(&device.credential)
    .bind(&device.credential_hash)
    .bind(device.credential_exp)
    .bind(device.status_idx)
    .bind(&device.grant_id)
    .bind(device.dev_epoch)
    .bind(device.created_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that the one who asked has redeemed the approval: redirect and PKCE, or device code, proved it.
pub async fn redeemed(db: &mut AnyConnection, jkt: &str, now: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE devices SET redeemed_at = COALESCE(redeemed_at, $2) WHERE jkt = $1").bind(jkt).bind(now.0).execute(db).await?;
    Ok(())
}

/// Whether a key is bound already, and whether that device was revoked.
pub async fn key_use(db: &mut AnyConnection, jkt: &str) -> Result<Option<bool>, Error> {
    let row: Option<(Option<i64>,)> = sqlx::query_as("SELECT revoked_at FROM devices WHERE jkt = $1").bind(jkt).fetch_optional(db).await?;
    Ok(row.map(|(revoked_at,)| revoked_at.is_some()))
}

/// A device by its key.
pub async fn by_jkt(db: &mut AnyConnection, jkt: &str) -> Result<Option<Device>, Error> {
    sqlx::query_as("SELECT * FROM devices WHERE jkt = $1").bind(jkt).fetch_optional(db).await
}

/// A device of an account.
pub async fn of_account(db: &mut AnyConnection, account: &AccountId, device_id: &str) -> Result<Option<Device>, Error> {
    sqlx::query_as("SELECT * FROM devices WHERE device_id = $1 AND account_id = $2").bind(device_id).bind(account.as_str()).fetch_optional(db).await
}

/// All devices of an account.
pub async fn list(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<Device>, Error> {
    sqlx::query_as("SELECT * FROM devices WHERE account_id = $1 ORDER BY created_at").bind(account.as_str()).fetch_all(db).await
}

/// The log of every app that an account ever had a device in.
pub async fn logs(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT DISTINCT log FROM devices WHERE account_id = $1 ORDER BY log").bind(account.as_str()).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(log,)| log).collect())
}

/// A live device of a log.
#[derive(FromRow)]
pub struct Listed {
    /// Its DID.
    pub did: String,
    /// What the person calls it.
    pub name: String,
    /// What kind of thing it runs on.
    pub kind: String,
    credential: String,
}

impl Listed {
    /// What it said of itself: an array of texts, as its credential discloses it.
    pub fn capabilities(&self) -> Value {
        let said = Compact::parse(&self.credential).ok().and_then(|compact| compact.disclosed("capabilities"));
        said.unwrap_or_else(|| json!([]))
    }
}

/// Live devices of one log, for the directory: not revoked, and their credential not over.
pub async fn directory(db: &mut AnyConnection, log: &str, now: Millis) -> Result<Vec<Listed>, Error> {
    sqlx::query_as(
        "SELECT did, name, kind, credential FROM devices WHERE log = $1 AND revoked_at IS NULL AND redeemed_at IS NOT NULL AND credential_exp > $2 ORDER BY created_at",
    )
    .bind(log)
    .bind(now.secs())
    .fetch_all(db)
    .await
}

/// Live devices of an account, counted while the account's row is held.
pub async fn count(db: &mut AnyConnection, account: &AccountId) -> Result<i64, Error> {
    let hold = baton_service::locked!("SELECT account_id FROM accounts WHERE account_id = $1").on(db);
    let _: Option<(String,)> = sqlx::query_as(hold).bind(account.as_str()).fetch_optional(&mut *db).await?;
    sqlx::query_scalar("SELECT COUNT(*) FROM devices WHERE account_id = $1 AND revoked_at IS NULL").bind(account.as_str()).fetch_one(db).await
}

/// Revokes; `None` when it was revoked already or is not the account's.
pub async fn revoke(db: &mut AnyConnection, account: &AccountId, device_id: &str, now: Millis) -> Result<Option<(String, i64)>, Error> {
    sqlx::query_as(
        "UPDATE devices SET revoked_at = $3, dev_epoch = dev_epoch + 1 WHERE device_id = $1 AND account_id = $2 AND revoked_at IS NULL RETURNING did, status_idx",
    )
    .bind(device_id)
    .bind(account.as_str())
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// A credential that was signed anew.
pub struct Signed<'a> {
    /// With all disclosures.
    pub credential: &'a str,
    /// Its digest.
    pub hash: &'a str,
    /// When it ends, in seconds.
    pub exp: i64,
    /// Its status index.
    pub idx: i64,
    /// What the device may do from here on.
    pub tier: Tier,
    /// Who signed it.
    pub iss: &'a Did,
}

/// Replaces a device's credential (renewal); raises its epoch, so that tokens minted on the old one end.
pub async fn renew(db: &mut AnyConnection, did: &str, old_hash: &str, signed: &Signed<'_>) -> Result<Option<()>, Error> {
    // Grants before devices: the order a withdrawal locks them in.
    let kept = sqlx::query("UPDATE grants SET until_at = $2 WHERE grant_id = (SELECT grant_id FROM devices WHERE did = $1) AND withdrawn_at IS NULL")
        .bind(did)
        .bind(signed.exp * 1000)
        .execute(&mut *db)
        .await?;
    if kept.rows_affected() != 1 {
        return Ok(None);
    }
    let done = sqlx::query(
        "UPDATE devices SET credential = $3, credential_hash = $4, credential_exp = $5, status_idx = $6, tier = $7, iss = $8,
           dev_epoch = dev_epoch + 1, offer = NULL
         WHERE did = $1 AND credential_hash = $2 AND revoked_at IS NULL",
    )
    .bind(did)
    .bind(old_hash)
    .bind(signed.credential)
    .bind(signed.hash)
    .bind(signed.exp)
    .bind(signed.idx)
    .bind(signed.tier.as_str())
    .bind(signed.iss.as_str())
    .execute(db)
    .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Gives a device another label; false when it has it already, or the account has no such device.
pub async fn rename(db: &mut AnyConnection, account: &AccountId, device_id: &str, name: &str) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE devices SET name = $3 WHERE device_id = $1 AND account_id = $2 AND name <> $3")
        .bind(device_id)
        .bind(account.as_str())
        .bind(name)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// How exactly it is kept when a device was last there.
const SEEN_EVERY_SECS: i64 = 60;

/// Notes that a device is there, once a minute at most.
pub async fn seen(db: &mut AnyConnection, did: &str, now: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE devices SET seen_at = $2 WHERE did = $1 AND (seen_at IS NULL OR seen_at < $3)")
        .bind(did)
        .bind(now.0)
        .bind(now.plus_secs(-SEEN_EVERY_SECS).0)
        .execute(db)
        .await?;
    Ok(())
}

/// Keeps what was offered for a renewal.
pub async fn keep_offer(db: &mut AnyConnection, did: &str, offer: &str) -> Result<(), Error> {
    sqlx::query("UPDATE devices SET offer = $2 WHERE did = $1 AND revoked_at IS NULL").bind(did).bind(offer).execute(db).await?;
    Ok(())
}

/// What was offered for a renewal.
pub async fn offer(db: &mut AnyConnection, did: &str) -> Result<Option<String>, Error> {
    let row: Option<(Option<String>,)> = sqlx::query_as("SELECT offer FROM devices WHERE did = $1").bind(did).fetch_optional(db).await?;
    Ok(row.and_then(|(offer,)| offer))
}

/// Ends the devices that rest on a grant, with their status indexes; `None` when the grant was withdrawn before.
pub async fn withdraw(db: &mut AnyConnection, account: &AccountId, grant: &str, now: Millis) -> Result<Option<Vec<(String, i64)>>, Error> {
    let done = sqlx::query("UPDATE grants SET withdrawn_at = $3 WHERE grant_id = $1 AND account_id = $2 AND withdrawn_at IS NULL")
        .bind(grant)
        .bind(account.as_str())
        .bind(now.0)
        .execute(&mut *db)
        .await?;
    if done.rows_affected() != 1 {
        return Ok(None);
    }
    let ended = sqlx::query_as(
        "UPDATE devices SET dev_epoch = dev_epoch + 1, revoked_at = COALESCE(revoked_at, $2) WHERE grant_id = $1 RETURNING did, status_idx",
    )
    .bind(grant)
    .bind(now.0)
    .fetch_all(db)
    .await?;
    Ok(Some(ended))
}

/// One consent.
#[derive(FromRow)]
pub struct Grant {
    /// Its id.
    pub grant_id: String,
    /// The app.
    pub app: String,
    /// The client.
    pub client_id: String,
    /// What it allows.
    pub scopes: String,
    /// What for.
    pub purpose: String,
    /// Until when.
    pub until_at: i64,
    /// When it was given.
    pub created_at: i64,
    /// When it was taken back.
    pub withdrawn_at: Option<i64>,
}

/// All consents of an account.
pub async fn grants(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<Grant>, Error> {
    sqlx::query_as(
        "SELECT grant_id, app, client_id, scopes, purpose, until_at, created_at, withdrawn_at FROM grants WHERE account_id = $1 ORDER BY created_at",
    )
    .bind(account.as_str())
    .fetch_all(db)
    .await
}

#[derive(FromRow)]
struct StandingRow {
    did: String,
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
    until_at: i64,
    revoked_at: Option<i64>,
    withdrawn_at: Option<i64>,
}

/// A device's standing, as peers are to know it.
pub async fn standing(db: &mut AnyConnection, did: &str) -> Result<Option<Standing>, Error> {
    let row: Option<StandingRow> = sqlx::query_as(
        "SELECT d.did, d.jkt, d.app, d.iss, d.log, d.client_id, d.tier, d.credential_hash, d.dev_epoch, d.grant_id, g.scopes, g.until_at, d.revoked_at,
           g.withdrawn_at
         FROM devices d JOIN grants g ON g.grant_id = d.grant_id WHERE d.did = $1",
    )
    .bind(did)
    .fetch_optional(db)
    .await?;
    Ok(row.and_then(|row| {
        Some(Standing {
            device: Did::parse(&row.did).ok()?,
            jkt: Thumbprint(row.jkt),
            app: row.app,
            iss: Did::parse(&row.iss).ok()?,
            log: row.log,
            client_id: row.client_id,
            tier: Tier::parse(&row.tier)?,
            credential_hash: row.credential_hash,
            dev_epoch: row.dev_epoch,
            grant: row.grant_id,
            scopes: row.scopes,
            grant_until: row.until_at,
            revoked_at: row.revoked_at.or(row.withdrawn_at),
        })
    }))
}
