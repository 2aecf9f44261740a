//! `GET /v1/events`: the subject's events over WebSocket, from a cursor. Native clients show token and proof; browsers, which cannot set
//! headers, a one-use ticket that they fetched with them. Cookies authenticate nothing here.

use super::acting::{Acting, Ask};
use crate::presence::Place;
use crate::state::Broker;
use crate::store::events;
use crate::streams::{self, Begins};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{MatchedPath, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use baton_protocol::access_token::AccessToken;
use baton_protocol::json::Node;
use baton_protocol::refusal::Stream;
use baton_service::audit::Audit;
use baton_service::extract::Query;
use baton_service::once::{self, Use};
use baton_service::problem::{InternalExt as _, Problem};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use serde::Deserialize;
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Where streams are opened, as the router has it, and what a token needs there.
pub const PATH: &str = "/v1/events";
pub const NEEDS: &str = "session:read";
/// How long a client may take to read that its stream begins.
const UPGRADE_TIME: Duration = Duration::from_secs(10);
/// How long a ticket lives.
const TICKET_SECS: i64 = 30;

/// `POST /v1/events/tickets`
pub async fn ticket(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let acting = Acting::begin(&broker, &ask, NEEDS).await?;
    acting.needs_wide()?;
    let origin = ask.headers.get("origin").and_then(|origin| origin.to_str().ok());
    if origin == Some("null") {
        return Err(Stream::Origin.into());
    }
    let until = acting.now.plus_secs(TICKET_SECS);
    let body = json!({"token": *acting.caller.token, "origin": origin, "until": until, "salt": broker.base.entropy.token()});
    acting.commit().await?;
    // Sealed under the broker's signature rather than stored; its one use is stored.
    let ticket = broker.base.keys.sign(baton_protocol::jose::Draft::new(baton_protocol::jose::Typ::Ticket, broker.base.keys.kid(), &body));
    Ok(Json(json!({"ticket": ticket, "expires_in": TICKET_SECS})))
}

/// Where to begin, and a browser's ticket.
#[derive(Deserialize)]
pub struct From {
    /// The last event that was seen; none for "from now on".
    cursor: Option<i64>,
    /// A ticket.
    ticket: Option<String>,
    /// Whether it is told what others say just now.
    #[serde(default)]
    volatile: bool,
}

/// `GET /v1/events`
pub async fn stream(
    State(broker): State<Arc<Broker>>,
    Query(from): Query<From>,
    path: MatchedPath,
    Extension(audit): Extension<Audit>,
    ask: Ask,
    upgrade: Option<Extension<OnUpgrade>>,
    asks: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let token = if let Some(ticket) = &from.ticket {
        Arc::new(redeem(&broker, &ask, ticket).await?)
    } else {
        // A browser sends Origin and cannot send a proof: with a proof, no Origin is expected.
        if ask.headers.contains_key("origin") {
            return Err(Stream::Origin.into());
        }
        let acting = Acting::begin(&broker, &ask, NEEDS).await?;
        acting.needs_wide()?;
        let token = acting.caller.token.clone();
        acting.commit().await?;
        token
    };
    let mut db = broker.base.db.reader().acquire().await.internal()?;
    let (first, last) = events::range(&mut db, &token.sub).await.internal()?;
    drop(db);
    let cursor = from.cursor.unwrap_or(last);
    let gap = cursor < first - 1 || cursor > last;
    // A browser's WebSocket cannot read a refusal: it is told in the stream, which goes on from here.
    if gap && from.ticket.is_none() {
        return Err(Problem::from(Stream::Gap).with("first", first).with("last", last));
    }
    let (cursor, resume_at) = if gap { (last, Some(last + 1)) } else { (cursor, None) };
    if let Err(rejection) = asks {
        return Ok(rejection.into_response());
    }
    let (Some(Extension(upgrade)), Some(key)) = (upgrade, ask.headers.get(SEC_WEBSOCKET_KEY)) else {
        return Ok(StatusCode::UPGRADE_REQUIRED.into_response());
    };
    let accept = derive_accept_key(key.as_bytes());
    let place = broker.presence.take(&token.sub, token.device.as_str())?;
    let begins = Begins { token, is_proven: from.ticket.is_none(), cursor, hears: from.volatile, audit, path };
    let stream = Box::new(streams::Stream::new(broker.clone(), begins));
    tokio::spawn(async move {
        if let Some(open) = upgraded(upgrade, stream, place).await {
            open.serve(resume_at).await;
        }
    });
    let head = [(CONNECTION, "upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, &accept)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, head).into_response())
}

/// A stream on the connection itself, once its answer has been sent: streams write to it from more than one place, which no WebSocket over it lets them.
fn upgraded(upgrade: OnUpgrade, stream: Box<streams::Stream>, place: Place) -> Pin<Box<dyn Future<Output = Option<Box<streams::Open>>> + Send>> {
    Box::pin(async move {
        let connection = tokio::time::timeout(UPGRADE_TIME, upgrade).await.ok()?.ok()?;
        let parts = downcast::<TokioIo<TcpStream>>(connection).ok()?;
        // What was read of it, if anything, without the buffer it was read into.
        let socket = streams::speaks(parts.io.into_inner(), parts.read_buf.to_vec()).await;
        Some(Box::new(streams::Open { stream: *stream, place, socket }))
    })
}

async fn redeem(broker: &Broker, ask: &Ask, ticket: &str) -> Result<AccessToken, Problem> {
    let jws = baton_protocol::jose::Unverified::parse(ticket, baton_protocol::jose::Typ::Ticket).map_err(|_| Stream::Ticket)?;
    let key = jws.unverified_header().kid.as_deref().and_then(|kid| broker.base.keys.key(kid)).ok_or(Stream::Ticket)?;
    let verified = jws.verify(&key).map_err(|_| Stream::Ticket)?;
    let hash = verified.payload_hash();
    let body = verified.members();
    let until = body.get("until").and_then(Node::as_i64).ok_or(Stream::Ticket)?;
    if broker.base.now().0 >= until {
        return Err(Stream::Ticket.into());
    }
    let origin = ask.headers.get("origin").and_then(|origin| origin.to_str().ok());
    if body.text("origin") != origin {
        return Err(Stream::Origin.into());
    }
    let token = body.get("token").and_then(|token| serde_json::from_value(token.to_value()).ok()).ok_or(Stream::Ticket)?;
    let mut tx = broker.base.db.begin().await.internal()?;
    if !once::consume(&mut tx, &Use::new("ticket", &hash, broker.base.now().plus_secs(120))).await.internal()? {
        return Err(Stream::Ticket.into());
    }
    tx.commit().await.internal()?;
    Ok(token)
}
