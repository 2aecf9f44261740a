//! Enrolment requests: `requested -> approved`, or `denied`, or past their time. What is approved was fixed when the row was made.

use crate::clients::Client;
use baton_protocol::enrolment::{DeviceClaims, Lane, Shown};
use baton_protocol::id::{AccountId, RequestId};
use baton_protocol::key::{Jwk, PublicKey, Thumbprint};
use baton_protocol::time::Millis;
use baton_service::database::{Database, Error};
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// How long a request lives.
pub const LIFETIME_SECS: i64 = 600;
/// Seconds between polls, at first.
pub const INTERVAL: i64 = 5;
/// How long an authorization code lives.
pub const CODE_SECS: i64 = 60;
/// Wrong check codes until a request is denied.
pub const MAX_CHECK_FAILURES: i64 = 5;

/// A request's row.
#[derive(FromRow, Clone)]
pub struct Request {
    /// Its id.
    pub request_id: String,
    /// How the device asked.
    pub lane: String,
    /// The client.
    pub client_id: String,
    /// The app.
    pub app: String,
    /// What becomes the grant.
    pub scope: String,
    /// The device key.
    pub device_jwk: String,
    /// Its DID.
    pub did: String,
    /// Its thumbprint.
    pub jkt: String,
    /// Where keys are to be sealed to.
    pub agreement_jwk: String,
    /// What the device says of itself.
    pub claims: String,
    /// Why the app asks, in its own words.
    pub reason: Option<String>,
    /// Where it came from.
    pub seen_address: String,
    /// Where the code goes (lane 1).
    pub redirect_uri: Option<String>,
    /// PKCE (lane 1).
    pub code_challenge: Option<String>,
    /// The client's `state` (lane 1).
    pub client_state: Option<String>,
    /// Hash of what names it to the person (lane 2).
    pub user_code_hash: Option<String>,
    /// What only the device shows (lane 2).
    pub check_code_hash: Option<String>,
    /// Seconds between polls (lane 2).
    pub poll_interval: i64,
    /// When it last polled.
    pub polled_at: Option<i64>,
    /// `requested`, `approved` or `denied`.
    pub state: String,
    /// Who looks at it.
    pub account_id: Option<String>,
    /// What was offered for signing.
    pub offer: Option<String>,
    /// The index reserved for it.
    pub status_idx: Option<i64>,
    /// Which change peers must have taken before it counts as issued.
    pub outbox_seq: Option<i64>,
    /// When it was made.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: i64,
}

/// What a request is made of.
pub struct New<'a> {
    /// Its id.
    pub request_id: String,
    /// How the device asks.
    pub lane: Lane,
    /// The client it asks as.
    pub client: &'a Client,
    /// What becomes the grant.
    pub scope: String,
    /// The device key.
    pub key: &'a PublicKey,
    /// Where keys are to be sealed to.
    pub agreement_jwk: &'a Jwk,
    /// What the device says of itself.
    pub claims: String,
    /// Why the app asks, in its own words.
    pub reason: Option<String>,
    /// Where it came from.
    pub seen_address: String,
}

impl Request {
    /// One that nobody has looked at.
    pub fn new(new: New<'_>, now: Millis) -> Self {
        Self {
            request_id: new.request_id,
            lane: new.lane.as_str().into(),
            client_id: new.client.client_id.clone(),
            app: new.client.app.clone(),
            scope: new.scope,
            device_jwk: new.key.jwk_value().to_string(),
            did: new.key.did().to_string(),
            jkt: new.key.thumbprint().0,
            agreement_jwk: serde_json::to_string(new.agreement_jwk).expect("strings"),
            claims: new.claims,
            reason: new.reason,
            seen_address: new.seen_address,
            redirect_uri: None,
            code_challenge: None,
            client_state: None,
            user_code_hash: None,
            check_code_hash: None,
            poll_interval: INTERVAL,
            polled_at: None,
            state: "requested".into(),
            account_id: None,
            offer: None,
            status_idx: None,
            outbox_seq: None,
            created_at: now.0,
            expires_at: now.plus_secs(LIFETIME_SECS).0,
        }
    }
    /// How the device asked.
    pub fn lane(&self) -> Lane {
        if self.lane == Lane::CrossDevice.as_str() { Lane::CrossDevice } else { Lane::SameDevice }
    }
    /// The device key.
    pub fn device_key(&self) -> Option<PublicKey> {
        PublicKey::from_jwk(&serde_json::from_str(&self.device_jwk).ok()?).ok()
    }
    /// What the device says of itself.
    pub fn device_claims(&self) -> Option<DeviceClaims> {
        serde_json::from_str(&self.claims).ok()
    }
    /// What the person is shown.
    pub fn shown(&self, client_name: &str) -> Option<Shown> {
        Some(Shown {
            request: RequestId::parse(&self.request_id).ok()?,
            lane: self.lane(),
            app: self.app.clone(),
            client_name: client_name.into(),
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
            tier: self.lane().tier(),
            claims: self.device_claims()?,
            reason: self.reason.clone(),
            jkt: Thumbprint(self.jkt.clone()),
            seen_address: self.seen_address.clone(),
            requested_at: self.created_at,
        })
    }
    /// Whether its time is over.
    pub fn is_expired(&self, now: Millis) -> bool {
        now.0 >= self.expires_at
    }
}

/// The secrets of a new request, as hashes.
#[derive(Default)]
pub struct Handles {
    /// Of the pushed request's URI.
    pub request_uri: Option<String>,
    /// Of the device code.
    pub device_code: Option<String>,
}

/// Inserts a request.
pub async fn create(db: &mut AnyConnection, request: &Request, handles: &Handles) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO requests (request_id, lane, client_id, app, scope, device_jwk, did, jkt, agreement_jwk, claims, seen_address, redirect_uri, code_challenge,
           client_state, request_uri_hash, user_code_hash, check_code_hash, device_code_hash, poll_interval, check_failures, state, created_at, expires_at, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, 0, 'requested', $20, $21, $22)",
    )
    .bind(&request.request_id)
    .bind(&request.lane)
    .bind(&request.client_id)
    .bind(&request.app)
    .bind(&request.scope)
    .bind(&request.device_jwk)
    .bind(&request.did)
    .bind(&request.jkt)
    .bind(&request.agreement_jwk)
    .bind(&request.claims)
    .bind(&request.seen_address)
    .bind(request.redirect_uri.as_deref())
    .bind(request.code_challenge.as_deref())
    .bind(request.client_state.as_deref())
    .bind(handles.request_uri.as_deref())
    .bind(request.user_code_hash.as_deref())
    .bind(request.check_code_hash.as_deref())
    .bind(handles.device_code.as_deref())
    .bind(request.poll_interval)
    .bind(request.created_at)
    .bind(request.expires_at)
    .bind(request.reason.as_deref())
    .execute(db)
    .await?;
    Ok(())
}

/// By its id, held until the transaction ends.
pub async fn find(db: &mut AnyConnection, id: &RequestId) -> Result<Option<Request>, Error> {
    let sql = locked!("SELECT * FROM requests WHERE request_id = $1").on(db);
    sqlx::query_as(sql).bind(id.as_str()).fetch_optional(db).await
}

/// By the hash of its pushed request URI.
pub async fn by_request_uri(db: &mut AnyConnection, hash: &str) -> Result<Option<Request>, Error> {
    let sql = locked!("SELECT * FROM requests WHERE request_uri_hash = $1").on(db);
    sqlx::query_as(sql).bind(hash).fetch_optional(db).await
}

/// By the hash of its user code.
pub async fn by_user_code(db: &mut AnyConnection, hash: &str) -> Result<Option<Request>, Error> {
    let sql = locked!("SELECT * FROM requests WHERE user_code_hash = $1").on(db);
    sqlx::query_as(sql).bind(hash).fetch_optional(db).await
}

/// By the hash of its device code.
pub async fn by_device_code(db: &mut AnyConnection, hash: &str) -> Result<Option<Request>, Error> {
    let sql = locked!("SELECT * FROM requests WHERE device_code_hash = $1").on(db);
    sqlx::query_as(sql).bind(hash).fetch_optional(db).await
}

/// Consumes an authorization code: a second use finds nothing.
pub async fn redeem_code(db: &mut AnyConnection, hash: &str, now: Millis) -> Result<Option<Request>, Error> {
    sqlx::query_as("UPDATE requests SET redeemed_at = $2 WHERE code_hash = $1 AND redeemed_at IS NULL AND code_expires_at > $2 AND state = 'approved' RETURNING *")
        .bind(hash)
        .bind(now.0)
        .fetch_optional(db)
        .await
}

/// Consumes an approved device code: a second use finds nothing.
pub async fn redeem_device_code(db: &mut AnyConnection, hash: &str, now: Millis) -> Result<Option<()>, Error> {
    let done = sqlx::query("UPDATE requests SET redeemed_at = $2 WHERE device_code_hash = $1 AND redeemed_at IS NULL AND state = 'approved'")
        .bind(hash)
        .bind(now.0)
        .execute(db)
        .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Notes a poll and the interval that holds from now on.
pub async fn polled(db: &mut AnyConnection, id: &str, interval: i64, now: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE requests SET polled_at = $2, poll_interval = $3 WHERE request_id = $1")
        .bind(id)
        .bind(now.0)
        .bind(interval)
        .execute(db)
        .await?;
    Ok(())
}

/// How many other requests of the last hour this account looked at and did not approve.
pub async fn prompts(db: &mut AnyConnection, account: &AccountId, but: &RequestId, now: Millis) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM requests WHERE account_id = $1 AND request_id <> $2 AND state <> 'approved' AND created_at > $3")
        .bind(account.as_str())
        .bind(but.as_str())
        .bind(now.plus_secs(-3600).0)
        .fetch_one(db)
        .await
}

/// Lets an account look at a request; `None` when another one does already.
pub async fn bind_account(db: &mut AnyConnection, id: &RequestId, account: &AccountId) -> Result<Option<()>, Error> {
    let done = sqlx::query("UPDATE requests SET account_id = $2 WHERE request_id = $1 AND (account_id IS NULL OR account_id = $2)")
        .bind(id.as_str())
        .bind(account.as_str())
        .execute(db)
        .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Ends a request; `None` when it was approved or over.
pub async fn deny(db: &mut AnyConnection, id: &RequestId) -> Result<Option<()>, Error> {
    let done =
        sqlx::query("UPDATE requests SET state = 'denied' WHERE request_id = $1 AND state = 'requested'").bind(id.as_str()).execute(db).await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Counts a wrong check code; the last one denies the request.
pub async fn wrong_check_code(db: &mut AnyConnection, id: &RequestId) -> Result<(), Error> {
    sqlx::query(
        "UPDATE requests SET check_failures = check_failures + 1, state = CASE WHEN check_failures + 1 >= $2 THEN 'denied' ELSE state END WHERE request_id = $1",
    )
    .bind(id.as_str())
    .bind(MAX_CHECK_FAILURES)
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps what was offered for signing.
pub async fn keep_offer(db: &mut AnyConnection, id: &RequestId, offer: &str, idx: i64) -> Result<(), Error> {
    sqlx::query("UPDATE requests SET offer = $2, status_idx = $3 WHERE request_id = $1 AND state = 'requested'")
        .bind(id.as_str())
        .bind(offer)
        .bind(idx)
        .execute(db)
        .await?;
    Ok(())
}

/// `requested -> approved`; `None` when it is not in that state any more.
pub async fn approve(db: &mut AnyConnection, id: &RequestId, outbox_seq: i64, now: Millis) -> Result<Option<()>, Error> {
    let done =
        sqlx::query("UPDATE requests SET state = 'approved', outbox_seq = $2 WHERE request_id = $1 AND state = 'requested' AND expires_at > $3")
            .bind(id.as_str())
            .bind(outbox_seq)
            .bind(now.0)
            .execute(db)
            .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Every request this account looked at, the newest first.
pub async fn of_account(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<Request>, Error> {
    sqlx::query_as("SELECT * FROM requests WHERE account_id = $1 ORDER BY created_at DESC LIMIT 1000").bind(account.as_str()).fetch_all(db).await
}

/// Holds every request of an account until the transaction ends, before its devices: whoever redeems one holds them in this order. The caller holds the
/// account.
pub async fn hold_all(db: &mut AnyConnection, account: &AccountId) -> Result<(), Error> {
    let sql = locked!("SELECT request_id FROM requests WHERE account_id = $1 ORDER BY request_id").on(db);
    let _: Vec<(String,)> = sqlx::query_as(sql).bind(account.as_str()).fetch_all(db).await?;
    Ok(())
}

/// Wallets' requests that wait for an account's approval, with what is typed for them, where something is.
pub async fn waiting(db: &mut AnyConnection, account: &AccountId, now: Millis) -> Result<Vec<(String, Option<String>)>, Error> {
    sqlx::query_as(
        "SELECT request_id, check_code_hash FROM requests WHERE account_id = $1 AND state = 'requested' AND expires_at > $2
           AND request_id IN (SELECT request_id FROM credential_tokens) ORDER BY created_at LIMIT 20",
    )
    .bind(account.as_str())
    .bind(now.0)
    .fetch_all(db)
    .await
}

/// Gives an approved request a new authorization code; an older one is worth nothing from then on.
pub async fn set_code(db: &mut AnyConnection, id: &RequestId, hash: &str, now: Millis) -> Result<Option<()>, Error> {
    let done =
        sqlx::query("UPDATE requests SET code_hash = $2, code_expires_at = $3 WHERE request_id = $1 AND state = 'approved' AND redeemed_at IS NULL")
            .bind(id.as_str())
            .bind(hash)
            .bind(now.plus_secs(CODE_SECS).0)
            .execute(db)
            .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Recovery codes of a caller that opened nothing, since `since`.
pub async fn wrong_recoveries(db: &mut AnyConnection, caller: &str, since: i64) -> Result<i64, Error> {
    one_guess_at_a_time(db).await?;
    sqlx::query_scalar("SELECT COUNT(*) FROM wrong_recoveries WHERE caller_hash = $1 AND at > $2").bind(caller).bind(since).fetch_one(db).await
}

/// Counts one.
pub async fn wrong_recovery(db: &mut AnyConnection, caller: &str, now: Millis) -> Result<(), Error> {
    sqlx::query("INSERT INTO wrong_recoveries (caller_hash, at) VALUES ($1, $2)").bind(caller).bind(now.0).execute(db).await?;
    Ok(())
}

/// Parallel guesses must not all read a count before any of them is counted. Before an account, whoever holds one too.
pub async fn one_guess_at_a_time(db: &mut AnyConnection) -> Result<(), Error> {
    let hold = locked!("SELECT value FROM counters WHERE name = 'wrong_codes'").on(db);
    let _: Option<(i64,)> = sqlx::query_as(hold).fetch_optional(db).await?;
    Ok(())
}

/// Wrong user codes of an account, and of everybody, since `since`.
pub async fn wrong_codes(db: &mut AnyConnection, account: &AccountId, since: i64) -> Result<(i64, i64), Error> {
    one_guess_at_a_time(db).await?;
    let mine = sqlx::query_scalar("SELECT COUNT(*) FROM wrong_codes WHERE account_id = $1 AND at > $2")
        .bind(account.as_str())
        .bind(since)
        .fetch_one(&mut *db)
        .await?;
    let all = sqlx::query_scalar("SELECT COUNT(*) FROM wrong_codes WHERE at > $1").bind(since).fetch_one(db).await?;
    Ok((mine, all))
}

/// How many requests one transaction forgets: nobody waits long behind it.
const SWEPT: usize = 500;

/// Forgets some of those that were over by then; how many.
async fn sweep_requests(db: &Database, by: Millis) -> Result<usize, Error> {
    let mut tx = db.begin().await?;
    // In the order in which whoever holds all of an account does.
    let sql = locked!("SELECT request_id FROM requests WHERE expires_at < $1 AND state <> 'approved' ORDER BY request_id LIMIT 500").on(&tx);
    let over: Vec<(String,)> = sqlx::query_as(sql).bind(by.0).fetch_all(&mut *tx).await?;
    for (request,) in &over {
        sqlx::query("DELETE FROM requests WHERE request_id = $1").bind(request).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(over.len())
}

/// Forgets what can no longer matter.
pub async fn sweep(db: &Database, now: Millis) -> Result<(), Error> {
    let day_ago = now.plus_secs(-24 * 3600);
    while sweep_requests(db, day_ago).await? == SWEPT {}
    db.forget(&[
        ("DELETE FROM page_sessions WHERE expires_at < $1", now),
        ("DELETE FROM wrong_codes WHERE at < $1", day_ago),
        ("DELETE FROM wrong_recoveries WHERE at < $1", day_ago),
        ("DELETE FROM ceremonies WHERE expires_at < $1", now),
    ])
    .await
}

/// Counts a wrong user code.
pub async fn wrong_code(db: &mut AnyConnection, account: &AccountId, now: Millis) -> Result<(), Error> {
    sqlx::query("INSERT INTO wrong_codes (account_id, at) VALUES ($1, $2)").bind(account.as_str()).bind(now.0).execute(db).await?;
    Ok(())
}
