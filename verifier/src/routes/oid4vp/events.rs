//! `GET /v1/transactions/{id}/events`: that a transaction has moved, as server-sent events, to the relying service that asked. What came of it is got as ever.

use super::authenticate;
use crate::state::Verifier;
use crate::store;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use baton_protocol::id::TransactionId;
use baton_protocol::refusal::{Limit, Vp};
use baton_service::extract::Path;
use baton_service::problem::{InternalExt as _, Problem};
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;

/// Most streams at once, of all relying services.
const MOST: usize = 1024;
/// How often the database is asked all the same: a transaction lapses without a sound. A comment is sent as often, by which a client that has gone is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Tells streams which transactions have moved.
pub struct Settled {
    bell: broadcast::Sender<String>,
    places: Arc<Semaphore>,
}

impl Default for Settled {
    fn default() -> Self {
        Self { bell: broadcast::Sender::new(256), places: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Settled {
    /// This one has moved.
    pub fn ring(&self, transaction: &str) {
        // Nobody may be listening.
        let _ = self.bell.send(transaction.to_owned());
    }
    /// Every stream ends.
    pub fn close(&self) {
        self.places.close();
        self.ring("");
    }
}

struct Watch {
    verifier: Arc<Verifier>,
    transaction: String,
    relying: String,
    bell: broadcast::Receiver<String>,
    said: Option<String>,
    waiting: VecDeque<Event>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// One event for each state, the present one first: `waiting`, then `answered`, `refused` or `expired`, after which the stream ends.
pub async fn events(State(verifier): State<Arc<Verifier>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let relying = authenticate(&verifier, &headers)?.name.clone();
    let transaction = TransactionId::parse(&id).map_err(|_| Vp::State)?.to_string();
    let place = verifier.settled.places.clone().try_acquire_owned().map_err(|_| Limit::Rate)?;
    // Listens before it looks: what moves in between is heard.
    let bell = verifier.settled.bell.subscribe();
    let mut watch = Watch { verifier, transaction, relying, bell, said: None, waiting: VecDeque::new(), over: false, _place: place };
    if watch.look().await? == "expired" {
        return Err(Vp::State.into());
    }
    let stream = futures_util::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(Sse::new(stream).into_response())
}

impl Watch {
    async fn look(&mut self) -> Result<String, Problem> {
        let mut db = self.verifier.base.db.reader().acquire().await.internal()?;
        let now = self.verifier.base.now();
        let found = store::of(&mut db, &self.transaction, &self.relying, now).await.internal()?;
        let state = found.map_or_else(|| "expired".to_owned(), |asked| asked.state);
        if self.said.as_ref() != Some(&state) {
            self.over = state != "waiting";
            let data = json!({"transaction": self.transaction, "state": state});
            self.waiting.push_back(Event::default().event(&state).data(data.to_string()));
            self.said = Some(state.clone());
        }
        Ok(state)
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        if self.over {
            return None;
        }
        // However often the bell rings for others.
        let mut until = Instant::now() + LOOK_EVERY;
        loop {
            let heard = tokio::time::timeout_at(until, self.bell.recv()).await;
            if self.verifier.settled.places.is_closed() {
                return None;
            }
            match heard {
                Ok(Ok(which)) if which != self.transaction => {}
                // A look that failed is made again; whoever waits for longer asks anew.
                heard => {
                    until = Instant::now() + LOOK_EVERY;
                    let quiet = self.look().await.is_err() || self.waiting.is_empty();
                    match self.waiting.pop_front() {
                        Some(event) => return Some(event),
                        None if quiet && heard.is_err() => return Some(Event::default().comment("")),
                        None => {}
                    }
                }
            }
        }
    }
}
