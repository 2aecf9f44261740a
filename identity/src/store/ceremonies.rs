//! Passkey ceremonies under way. Taking one removes it, in a transaction of its own, before any cryptography is done with it.

use crate::state::Identity;
use baton_protocol::id::CeremonyId;
use baton_service::problem::{InternalExt as _, Problem};
use sqlx::AnyConnection;

const LIFETIME_SECS: i64 = 300;

/// Keeps the state of a ceremony.
pub async fn keep(identity: &Identity, kind: &'static str, account: Option<&str>, state: &str) -> Result<CeremonyId, Problem> {
    let now = identity.base.now();
    let id = CeremonyId::new(now, identity.base.entropy.bytes());
    let mut tx = identity.base.db.begin().await.internal()?;
    sqlx::query("DELETE FROM ceremonies WHERE expires_at < $1").bind(now.0).execute(&mut *tx).await.internal()?;
    sqlx::query("INSERT INTO ceremonies (ceremony_id, kind, account_id, state, expires_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(id.as_str())
        .bind(kind)
        .bind(account)
        .bind(state)
        .bind(now.plus_secs(LIFETIME_SECS).0)
        .execute(&mut *tx)
        .await
        .internal()?;
    tx.commit().await.internal()?;
    Ok(id)
}

/// Takes a ceremony: its account, if it has one, and its state. A second taker finds nothing.
pub async fn take(identity: &Identity, kind: &'static str, id: &CeremonyId) -> Result<Option<(Option<String>, String)>, Problem> {
    let mut tx = identity.base.db.begin().await.internal()?;
    let taken = take_in(&mut tx, identity, kind, id).await?;
    tx.commit().await.internal()?;
    Ok(taken)
}

/// [`take`] where no cryptography needs it gone first: with the change it is for, or not at all.
pub async fn take_in(
    db: &mut AnyConnection,
    identity: &Identity,
    kind: &'static str,
    id: &CeremonyId,
) -> Result<Option<(Option<String>, String)>, Problem> {
    sqlx::query_as("DELETE FROM ceremonies WHERE ceremony_id = $1 AND kind = $2 AND expires_at > $3 RETURNING account_id, state")
        .bind(id.as_str())
        .bind(kind)
        .bind(identity.base.now().0)
        .fetch_optional(db)
        .await
        .internal()
}
