//! The broker's HTTP surface. One file an endpoint family; tests mirror these paths.

mod acting;
mod branches;
mod claim;
pub(crate) mod events;
mod handoffs;
mod keys;
mod manage;
mod moves;
mod nonces;
pub(crate) mod presence;
mod sessions;
pub(crate) mod updates;

use crate::state::Broker;
use axum::Router;
use axum::routing::{get, post};
use baton_service::edge;
use std::sync::Arc;

/// All routes; `path` is the broker's path (`/broker`).
pub fn router(broker: Arc<Broker>, path: &str) -> Router {
    let own = Router::new()
        .route("/jwks", get(nonces::jwks))
        .route("/v1/nonces", post(nonces::create))
        .route("/v1/sessions", get(sessions::list).post(sessions::open))
        .route("/v1/sessions/{id}", get(sessions::show))
        .route("/v1/sessions/{id}/statements", get(sessions::statements))
        .route("/v1/sessions/{id}/heartbeat", post(sessions::heartbeat))
        .route("/v1/sessions/{id}/end", post(sessions::end))
        .route("/v1/sessions/{id}/updates", get(updates::list).post(updates::append))
        .route("/v1/sessions/{id}/acknowledge", post(updates::acknowledge))
        .route("/v1/sessions/{id}/branches", get(branches::list).post(branches::append))
        .route("/v1/sessions/{id}/envelopes", get(keys::list).post(keys::add))
        .route("/v1/sessions/{id}/rekey", post(keys::rekey))
        .route("/v1/sessions/{id}/claim", post(claim::claim))
        .route("/v1/sessions/{id}/request", post(handoffs::request))
        .route("/v1/handoffs", get(handoffs::list).post(handoffs::offer))
        .route("/v1/handoffs/{id}", get(handoffs::show))
        .route("/v1/handoffs/{id}/accept", post(handoffs::accept))
        .route("/v1/handoffs/{id}/decline", post(handoffs::decline))
        .route("/v1/handoffs/{id}/cancel", post(handoffs::cancel))
        .route("/v1/handoffs/{id}/seal", post(moves::seal))
        .route("/v1/handoffs/{id}/complete", post(moves::complete))
        .route("/v1/handoffs/{id}/reclaim", post(moves::reclaim))
        .route("/v1/manage/sessions", get(manage::list))
        .route("/v1/manage/handoffs", get(manage::history))
        .route("/v1/manage/export", get(manage::export))
        .route("/v1/manage/sessions/{id}/end", post(manage::end))
        .route("/v1/manage/sessions/{id}/ask", post(manage::ask))
        .route("/v1/manage/sessions/{id}/unfollow", post(manage::unfollow))
        .route("/v1/manage/devices", get(manage::devices))
        .route("/v1/manage/devices/{device}/switches", post(manage::switch))
        .route("/v1/switches", get(presence::switches))
        .route("/v1/presence", get(presence::list).post(presence::say))
        .route("/v1/events", get(events::stream))
        .route("/v1/events/tickets", post(events::ticket));
    Router::new().nest(path, edge::open_to_browsers(own)).with_state(broker)
}
