//! Presence: a device says how it is and what it has in front; full ones see the others, as far as their person lets them (docs/protocol.md §9).

use super::acting::{Acting, Ask, session_id};
use crate::presence::Said;
use crate::state::Broker;
use crate::store::switches::{self, Switches};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use baton_protocol::event::{Present, SealedView, Status};
use baton_protocol::refusal::{Input, State as StateRefusal};
use baton_service::edge;
use baton_service::problem::{InternalExt as _, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    status: Status,
    session: Option<String>,
    view: Option<SealedView>,
}

/// `POST /v1/presence`: counts for 45 s, or as long as the device has a stream.
pub async fn say(State(broker): State<Arc<Broker>>, ask: Ask, content: Body) -> Result<Json<Value>, Problem> {
    let (mut acting, say) = Acting::begin_with::<Say>(&broker, &ask, "presence", content, edge::MAX_BODY).await?;
    if (say.session.is_none() && say.view.is_some()) || (say.status == Status::Offline && say.session.is_some()) {
        return Err(Input::Invalid.into());
    }
    if let Some(view) = &say.view {
        view.check_form()?;
    }
    if let Some(session) = &say.session {
        let session = acting.readable(&session_id(session)?).await?;
        let is_good = |view: &SealedView| view.key_version == session.key_version && session.rekey_since.is_none();
        if say.view.as_ref().is_some_and(|view| !is_good(view)) {
            return Err(StateRefusal::RekeyRequired.into());
        }
    }
    let (log, device) = (acting.log().to_owned(), acting.device().to_string());
    let status = say.status;
    broker.freshness.check(acting.now)?;
    // While its standing is held: a revocation comes before, and refuses this, or after, and forgets it.
    broker.presence.say(&log, &device, Said { status, session: say.session, view: say.view });
    acting.commit().await?;
    Ok(Json(json!({"status": status})))
}

/// `GET /v1/presence`
pub async fn list(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "presence").await?;
    acting.needs_wide()?;
    let (log, device) = (acting.log().to_owned(), acting.device().to_string());
    let devices = if acting.is_member().await? { others(&broker, &mut acting.tx, &log, &device).await.internal()? } else { Vec::new() };
    acting.commit().await?;
    Ok(Json(json!({"devices": devices})))
}

/// `GET /v1/switches`: who is given no keys but of what it holds (less than identity's list of live devices, never more), and of this device itself what it
/// may do unasked, and whether it shows the others anything.
pub async fn switches(State(broker): State<Arc<Broker>>, ask: Ask) -> Result<Json<Value>, Problem> {
    let mut acting = Acting::begin(&broker, &ask, "session:read").await?;
    let (log, me) = (acting.log().to_owned(), acting.device().clone());
    let off = switches::of_log(&mut acting.tx, &log).await.internal()?;
    acting.commit().await?;
    let own = off.get(me.as_str()).copied().unwrap_or(Switches::UNTOUCHED);
    let mut devices: Vec<_> = off.into_iter().filter(|(_, switches)| !switches.sync).map(|(device, _)| device).collect();
    devices.sort();
    Ok(Json(json!({"without_sync": devices, "unasked": {"gives": own.gives, "takes": own.takes}, "shows": own.shows()})))
}

/// The devices that are there, as one of them may see the others.
pub async fn others(broker: &Broker, db: &mut AnyConnection, log: &str, viewer: &str) -> Result<Vec<Present>, sqlx::Error> {
    let off = switches::of_log(db, log).await?;
    let shown = |mut present: Present| {
        let switches = off.get(&present.device).copied().unwrap_or(Switches::UNTOUCHED);
        if !switches.shows() {
            (present.session, present.view) = (None, None);
        }
        (switches.visible && present.device != viewer).then_some(present)
    };
    Ok(broker.presence.of(log).into_iter().filter_map(|seen| shown(seen.present)).collect())
}
