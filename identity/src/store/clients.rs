//! Clients that registered themselves.

use crate::clients::Client;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use sqlx::AnyConnection;

/// Most of them: whoever may register without asking anybody could go on for ever.
const MOST: i64 = 10_000;

/// All of them.
pub async fn all(db: &mut AnyConnection) -> Result<Vec<Client>, Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as("SELECT client_id, name, redirect_uris FROM registered_clients").fetch_all(db).await?;
    Ok(rows
        .into_iter()
        .map(|(client_id, name, redirect_uris)| {
            let redirect_uris = serde_json::from_str(&redirect_uris).unwrap_or_default();
            Client { app: client_id.clone(), client_id, name, redirect_uris }
        })
        .collect())
}

/// Adds one; `None` when there are too many.
pub async fn register(db: &mut AnyConnection, client: &Client, now: Millis) -> Result<Option<()>, Error> {
    let uris = serde_json::to_string(&client.redirect_uris).expect("strings");
    let done = sqlx::query(
        "INSERT INTO registered_clients (client_id, name, redirect_uris, created_at)
         SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM registered_clients) < $5",
    )
    .bind(&client.client_id)
    .bind(&client.name)
    .bind(uris)
    .bind(now.0)
    .bind(MOST)
    .execute(db)
    .await?;
    Ok((done.rows_affected() == 1).then_some(()))
}
