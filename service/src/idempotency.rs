//! `Idempotency-Key` on creates: the answer is stored in the creating transaction; the same key gives it again, another request under it is refused.

use crate::database::Error;
use crate::problem::{InternalExt as _, Problem};
use axum::http::HeaderMap;
use baton_protocol::key::hash;
use baton_protocol::refusal::Input;
use baton_protocol::time::Millis;
use sqlx::AnyConnection;

/// How long an answer is kept.
const KEPT_SECS: i64 = 24 * 3600;

/// A caller's key and what it asked under it.
pub struct Key {
    caller: String,
    key: String,
    request: String,
}

impl Key {
    /// Reads the header, if there is one. `caller` keeps keys of different callers apart, `request` is all that was asked.
    pub fn read(headers: &HeaderMap, caller: &str, request: &[u8]) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let key = value.to_str().ok().filter(|key| (8..=128).contains(&key.len())).ok_or(Input::Idempotency)?;
        Ok(Some(Self { caller: caller.into(), key: key.into(), request: hash(request) }))
    }

    /// The stored answer, if this was asked before.
    pub async fn answer(&self, db: &mut AnyConnection) -> Result<Option<String>, Problem> {
        let row: Option<(String, String)> = sqlx::query_as("SELECT request, answer FROM idempotency WHERE caller = $1 AND key = $2")
            .bind(&self.caller)
            .bind(&self.key)
            .fetch_optional(db)
            .await
            .internal()?;
        match row {
            Some((request, answer)) if request == self.request => Ok(Some(answer)),
            Some(_) => Err(Input::Idempotency.into()),
            None => Ok(None),
        }
    }

    /// Stores the answer, in the creating transaction. Of two at once, the second fails and finds the answer when it asks again.
    pub async fn store(&self, db: &mut AnyConnection, answer: &str, now: Millis) -> Result<(), Error> {
        sqlx::query("INSERT INTO idempotency (caller, key, request, answer, expires_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(&self.caller)
            .bind(&self.key)
            .bind(&self.request)
            .bind(answer)
            .bind(now.plus_secs(KEPT_SECS).0)
            .execute(db)
            .await?;
        Ok(())
    }
}
