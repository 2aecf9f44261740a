//! `GET /v1/transactions/{id}/events`: that a transaction has moved, as server-sent events, to the relying service that asked. What came of it is got as ever.

use super::authenticate;
use crate::settled::Place;
use crate::state::Verifier;
use crate::store;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use baton_protocol::id::TransactionId;
use baton_protocol::refusal::Vp;
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, Problem};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How often the database is asked all the same: a transaction lapses without a sound. A comment is sent as often, by which a client that has gone is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A stream under way.
struct Watch {
    verifier: Arc<Verifier>,
    transaction: String,
    relying: String,
    bell: broadcast::Receiver<String>,
    /// The state that was told last.
    told: String,
    /// What is to be sent before anything else.
    first: Option<Event>,
    _place: Place,
}

/// One event for each state, the present one first: `waiting`, then `answered`, `refused` or `expired`, after which the stream ends.
pub async fn events(State(verifier): State<Arc<Verifier>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let relying = authenticate(&verifier, &headers)?.name.clone();
    let transaction = TransactionId::parse(&id).map_err(|_| Vp::State)?.to_string();
    // Listens before it looks: what moves in between is heard.
    let (bell, place) = verifier.settled.listen(&relying)?;
    let mut watch = Watch { verifier, transaction, relying, bell, told: String::new(), first: None, _place: place };
    watch.first = watch.look().await?;
    if watch.told == "expired" {
        return Err(Vp::State.into());
    }
    let stream = futures_util::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(Sse::new(stream).into_response())
}

impl Watch {
    /// The event of a state that was not told before.
    async fn look(&mut self) -> Result<Option<Event>, Problem> {
        let mut db = self.verifier.base.db.reader().acquire().await.internal()?;
        let found = store::of(&mut db, &self.transaction, &self.relying, self.verifier.base.now()).await.internal()?;
        let state = found.map_or_else(|| "expired".to_owned(), |asked| asked.state);
        if self.told == state {
            return Ok(None);
        }
        let data = json!({"transaction": self.transaction, "state": state});
        let event = Event::default().event(&state).data(data.to_string());
        self.told = state;
        Ok(Some(event))
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.told != "waiting" {
            return None;
        }
        // However often the bell rings for others.
        let until = Instant::now() + LOOK_EVERY;
        loop {
            let heard = tokio::time::timeout_at(until, self.bell.recv()).await;
            if self.verifier.settled.is_closed() {
                return None;
            }
            if matches!(&heard, Ok(Ok(which)) if *which != self.transaction) {
                continue;
            }
            // A look that failed is made again.
            if let Ok(Some(event)) = self.look().await {
                return Some(event);
            }
            if heard.is_err() {
                return Some(Event::default().comment(""));
            }
        }
    }
}
