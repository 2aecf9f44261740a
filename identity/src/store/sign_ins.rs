//! Apps' sign-ins: requests, families of refresh tokens, and what was given out under them. Tokens and codes are kept as hashes alone.

use baton_protocol::id::AccountId;
use baton_protocol::time::Millis;
use baton_service::database::{Database, Error};
use baton_service::locked;
use sqlx::{AnyConnection, FromRow};

/// How long a request lives.
pub const REQUEST_SECS: i64 = 600;
/// How long an authorization code lives.
pub const CODE_SECS: i64 = 60;

/// A request of an app to know who is there.
#[derive(FromRow, Clone)]
pub struct SignIn {
    /// Its id.
    pub sign_in_id: String,
    /// The client.
    pub client_id: String,
    /// Its app.
    pub app: String,
    /// What was asked for and is known here.
    pub scope: String,
    /// The client's `nonce`, for the ID token.
    pub nonce: Option<String>,
    /// How old the person's verification may be, in seconds.
    pub max_age: Option<i64>,
    /// Where the code goes.
    pub redirect_uri: String,
    /// PKCE.
    pub code_challenge: String,
    /// The client's `state`.
    pub client_state: Option<String>,
    /// The key that tokens will be bound to.
    pub jkt: String,
    /// Where it came from.
    pub seen_address: String,
    /// `requested`, `allowed`, `denied` or `redeemed`.
    pub state: String,
    /// Who looks at it.
    pub account_id: Option<String>,
    /// When the person was verified, in seconds.
    pub auth_time: Option<i64>,
    /// What it became: a family, or a wallet's offer.
    pub family_id: Option<String>,
    /// The offer that a wallet comes from, if it does.
    pub offer_id: Option<String>,
    /// How a wallet names the credential it wants; `None` for an app's sign-in.
    pub wallet: Option<String>,
    /// Until when the code can be redeemed.
    pub code_expires_at: Option<i64>,
    /// When it was made.
    pub created_at: i64,
    /// When it lapses.
    pub expires_at: i64,
}

/// Keeps a request.
pub async fn create(db: &mut AnyConnection, new: &SignIn, request_uri_hash: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO sign_ins (sign_in_id, client_id, app, scope, nonce, max_age, redirect_uri, code_challenge, client_state, jkt, seen_address, request_uri_hash, state,
           created_at, expires_at, wallet, account_id, offer_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'requested', $13, $14, $15, $16, $17)",
    )
    .bind(&new.sign_in_id)
    .bind(&new.client_id)
    .bind(&new.app)
    .bind(&new.scope)
    .bind(&new.nonce)
    .bind(new.max_age)
    .bind(&new.redirect_uri)
    .bind(&new.code_challenge)
    .bind(&new.client_state)
    .bind(&new.jkt)
    .bind(&new.seen_address)
    .bind(request_uri_hash)
    .bind(new.created_at)
    .bind(new.expires_at)
    .bind(&new.wallet)
    .bind(&new.account_id)
    .bind(&new.offer_id)
    .execute(db)
    .await?;
    Ok(())
}

/// The request behind a `request_uri`, bound to the first account that looks at it; anybody else finds nothing.
pub async fn open(db: &mut AnyConnection, request_uri_hash: &str, account: &AccountId, now: Millis) -> Result<Option<SignIn>, Error> {
    sqlx::query_as(
        "UPDATE sign_ins SET account_id = $2 WHERE request_uri_hash = $1 AND (account_id IS NULL OR account_id = $2) AND state = 'requested' AND expires_at > $3
         RETURNING *",
    )
    .bind(request_uri_hash)
    .bind(account.as_str())
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// A request this account looks at.
pub async fn of_account(db: &mut AnyConnection, id: &str, account: &AccountId) -> Result<Option<SignIn>, Error> {
    sqlx::query_as("SELECT * FROM sign_ins WHERE sign_in_id = $1 AND account_id = $2").bind(id).bind(account.as_str()).fetch_optional(db).await
}

/// The person allows it: a code, in the place of any before; `None` when it was denied, redeemed, or is too old.
pub async fn allow(db: &mut AnyConnection, id: &str, code_hash: &str, auth_time: i64, now: Millis) -> Result<Option<()>, Error> {
    let done = sqlx::query(
        "UPDATE sign_ins SET state = 'allowed', code_hash = $2, code_expires_at = $3, auth_time = $4
         WHERE sign_in_id = $1 AND state IN ('requested', 'allowed') AND expires_at > $5",
    )
    .bind(id)
    .bind(code_hash)
    .bind(now.plus_secs(CODE_SECS).0)
    .bind(auth_time)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// The person refuses; `None` when it was allowed before.
pub async fn deny(db: &mut AnyConnection, id: &str) -> Result<Option<()>, Error> {
    let done =
        sqlx::query("UPDATE sign_ins SET state = 'denied' WHERE sign_in_id = $1 AND state IN ('requested', 'denied')").bind(id).execute(db).await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Whose a code is, if it is a sign-in's.
pub async fn account_of_code(db: &mut AnyConnection, code_hash: &str) -> Result<Option<String>, Error> {
    sqlx::query_scalar("SELECT account_id FROM sign_ins WHERE code_hash = $1").bind(code_hash).fetch_optional(db).await
}

/// The request a code was given for, held until the transaction ends, redeemed or not.
pub async fn by_code(db: &mut AnyConnection, code_hash: &str) -> Result<Option<SignIn>, Error> {
    let sql = locked!("SELECT * FROM sign_ins WHERE code_hash = $1").on(db);
    sqlx::query_as(sql).bind(code_hash).fetch_optional(db).await
}

/// Notes what a code became; it is good for nothing more.
pub async fn redeemed(db: &mut AnyConnection, id: &str, family: &str) -> Result<(), Error> {
    sqlx::query("UPDATE sign_ins SET state = 'redeemed', family_id = $2 WHERE sign_in_id = $1").bind(id).bind(family).execute(db).await?;
    Ok(())
}

/// Everything that follows from one sign-in.
#[derive(FromRow, Clone)]
pub struct Family {
    /// Its id.
    pub family_id: String,
    /// Whose.
    pub account_id: String,
    /// The consent it rests on.
    pub grant_id: String,
    /// The app.
    pub app: String,
    /// The client.
    pub client_id: String,
    /// What was allowed.
    pub scope: String,
    /// The key everything is bound to.
    pub jkt: String,
    /// The client's `nonce`.
    pub nonce: Option<String>,
    /// When the person was verified, in seconds, for a client that asked.
    pub auth_time: Option<i64>,
    /// When it began.
    pub created_at: i64,
    /// When it ends, whatever is refreshed until then.
    pub ends_at: i64,
    /// When it was ended before.
    pub ended_at: Option<i64>,
}

impl Family {
    /// Whether anything under it still counts.
    pub fn is_live(&self, now: Millis) -> bool {
        self.ended_at.is_none() && now.0 < self.ends_at
    }
}

/// The consent of an account to a client's sign-in, if it stands.
pub async fn consent(db: &mut AnyConnection, account: &str, client: &str, now: Millis) -> Result<Option<String>, Error> {
    sqlx::query_scalar(
        "SELECT grant_id FROM grants WHERE account_id = $1 AND client_id = $2 AND purpose = 'sign-in' AND withdrawn_at IS NULL AND until_at > $3",
    )
    .bind(account)
    .bind(client)
    .bind(now.0)
    .fetch_optional(db)
    .await
}

/// Notes a consent.
pub async fn give_consent(db: &mut AnyConnection, grant: &str, family: &Family) -> Result<(), Error> {
    sqlx::query("INSERT INTO grants (grant_id, account_id, app, client_id, scopes, purpose, until_at, created_at) VALUES ($1, $2, $3, $4, $5, 'sign-in', $6, $7)")
        .bind(grant)
        .bind(&family.account_id)
        .bind(&family.app)
        .bind(&family.client_id)
        .bind(&family.scope)
        .bind(family.ends_at)
        .bind(family.created_at)
        .execute(db)
        .await?;
    Ok(())
}

/// A consent that is used again lasts as long as what rests on it; `None` when it was withdrawn meanwhile.
pub async fn extend_consent(db: &mut AnyConnection, grant: &str, until: i64) -> Result<Option<()>, Error> {
    let done =
        sqlx::query("UPDATE grants SET until_at = CASE WHEN until_at < $2 THEN $2 ELSE until_at END WHERE grant_id = $1 AND withdrawn_at IS NULL")
            .bind(grant)
            .bind(until)
            .execute(db)
            .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}

/// Begins a family.
pub async fn begin(db: &mut AnyConnection, family: &Family) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO families (family_id, account_id, grant_id, app, client_id, scope, jkt, nonce, auth_time, created_at, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&family.family_id)
    .bind(&family.account_id)
    .bind(&family.grant_id)
    .bind(&family.app)
    .bind(&family.client_id)
    .bind(&family.scope)
    .bind(&family.jkt)
    .bind(&family.nonce)
    .bind(family.auth_time)
    .bind(family.created_at)
    .bind(family.ends_at)
    .execute(db)
    .await?;
    Ok(())
}

/// A family, held until the transaction ends: its tokens are used one at a time.
pub async fn hold(db: &mut AnyConnection, family: &str) -> Result<Option<Family>, Error> {
    let sql = locked!("SELECT * FROM families WHERE family_id = $1").on(db);
    sqlx::query_as(sql).bind(family).fetch_optional(db).await
}

/// Ends a family; false when it had ended.
pub async fn end(db: &mut AnyConnection, family: &str, now: Millis) -> Result<bool, Error> {
    let done =
        sqlx::query("UPDATE families SET ended_at = $2 WHERE family_id = $1 AND ended_at IS NULL").bind(family).bind(now.0).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Ends everything that rests on a consent.
pub async fn end_of_grant(db: &mut AnyConnection, grant: &str, now: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE families SET ended_at = $2 WHERE grant_id = $1 AND ended_at IS NULL").bind(grant).bind(now.0).execute(db).await?;
    Ok(())
}

/// Ends every sign-in of a person, with codes that nobody has redeemed yet: whoever had their passkey or root may be behind any. The caller holds the
/// account.
pub async fn end_all(db: &mut AnyConnection, account: &AccountId, now: Millis) -> Result<(), Error> {
    sqlx::query("UPDATE sign_ins SET state = 'denied' WHERE account_id = $1 AND state IN ('requested', 'allowed')")
        .bind(account.as_str())
        .execute(&mut *db)
        .await?;
    sqlx::query("UPDATE families SET ended_at = $2 WHERE account_id = $1 AND ended_at IS NULL")
        .bind(account.as_str())
        .bind(now.0)
        .execute(&mut *db)
        .await?;
    super::credential_offers::end_all(db, account, now).await
}

/// A refresh token, as it is known.
#[derive(FromRow)]
pub struct Refresh {
    /// The family it belongs to.
    pub family_id: String,
    /// When it was used.
    pub used_at: Option<i64>,
    /// When it was made.
    pub created_at: i64,
}

/// A refresh token by its hash.
pub async fn refresh(db: &mut AnyConnection, hash: &str) -> Result<Option<Refresh>, Error> {
    sqlx::query_as("SELECT family_id, used_at, created_at FROM refresh_tokens WHERE token_hash = $1").bind(hash).fetch_optional(db).await
}

/// Adds a refresh token.
pub async fn add_refresh(db: &mut AnyConnection, hash: &str, family: &str, now: Millis) -> Result<(), Error> {
    sqlx::query("INSERT INTO refresh_tokens (token_hash, family_id, created_at) VALUES ($1, $2, $3)")
        .bind(hash)
        .bind(family)
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Uses a refresh token; false when it was used before.
pub async fn use_refresh(db: &mut AnyConnection, hash: &str, now: Millis) -> Result<bool, Error> {
    let done =
        sqlx::query("UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL").bind(hash).bind(now.0).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Adds an access token.
pub async fn add_access(db: &mut AnyConnection, hash: &str, family: &str, until: Millis, now: Millis) -> Result<(), Error> {
    sqlx::query("INSERT INTO access_tokens (token_hash, family_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(hash)
        .bind(family)
        .bind(now.0)
        .bind(until.0)
        .execute(db)
        .await?;
    Ok(())
}

/// An access token: its family, when it was made, and when it ends.
pub async fn access(db: &mut AnyConnection, hash: &str) -> Result<Option<(String, i64, i64)>, Error> {
    sqlx::query_as("SELECT family_id, created_at, expires_at FROM access_tokens WHERE token_hash = $1").bind(hash).fetch_optional(db).await
}

/// Ends one access token.
pub async fn end_access(db: &mut AnyConnection, hash: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM access_tokens WHERE token_hash = $1").bind(hash).execute(db).await?;
    Ok(())
}

/// Every sign-in of an account, over or not.
pub async fn families_of(db: &mut AnyConnection, account: &AccountId) -> Result<Vec<Family>, Error> {
    sqlx::query_as("SELECT * FROM families WHERE account_id = $1 ORDER BY created_at").bind(account.as_str()).fetch_all(db).await
}

/// Forgets what can no longer matter.
pub async fn sweep(db: &Database, now: Millis) -> Result<(), Error> {
    let day_ago = now.plus_secs(-24 * 3600);
    db.forget(&[
        ("DELETE FROM access_tokens WHERE expires_at < $1", now),
        ("DELETE FROM sign_ins WHERE expires_at < $1 AND state IN ('requested', 'denied')", now),
        ("DELETE FROM sign_ins WHERE expires_at < $1", day_ago),
        // Past its month a family's tokens are refused because nobody knows them.
        ("DELETE FROM access_tokens WHERE family_id IN (SELECT family_id FROM families WHERE ends_at < $1)", day_ago),
        ("DELETE FROM refresh_tokens WHERE family_id IN (SELECT family_id FROM families WHERE ends_at < $1)", day_ago),
        ("DELETE FROM families WHERE ends_at < $1", day_ago),
    ])
    .await
}
