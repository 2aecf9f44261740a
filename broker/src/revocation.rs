//! Taking identity's news in. A new device is announced to the others; a revocation clears the holder, voids what was under way and refuses old keys, in the transaction that
//! records it; streams notice at once.

use crate::state::Broker;
use crate::store::{events, everything, handoffs, sessions};
use baton_protocol::handoff::machine::{Reason, State, Target};
use baton_protocol::standing::{Change, Feed, Standing};
use baton_protocol::time::Millis;
use baton_service::database::Error;
use baton_service::standing;
use sqlx::AnyConnection;

impl Broker {
    /// Takes a feed in.
    pub async fn take(&self, feed: &Feed) -> Result<(), Error> {
        let now = self.base.now();
        for change in &feed.changes {
            let mut tx = self.base.db.begin().await?;
            let change = match change {
                Change::Standing(change) => change,
                Change::Forgotten(who) => {
                    // Swept out by and by: the feed waits for nobody's history.
                    everything::leave(&mut tx, &who.forgotten, now).await?;
                    tx.commit().await?;
                    continue;
                }
            };
            let before = standing::find_for_change(&mut tx, &change.device).await?;
            standing::take(&mut tx, change).await?;
            if before.is_none() && change.revoked_at.is_none() {
                events::append(&mut tx, &change.log, &events::New { kind: "device.enrolled", ..Default::default() }, now).await?;
            }
            let is_replaced = before.as_ref().is_some_and(|before| before.iss != change.iss);
            let newly = change.revoked_at.is_some() && before.is_none_or(|before| before.revoked_at.is_none());
            if newly {
                revoke(&mut tx, change, now).await?;
            }
            // After the sessions are held, for that is the order in which everybody takes both.
            if is_replaced {
                events::append(&mut tx, &change.log, &events::New { kind: "root.replaced", ..Default::default() }, now).await?;
            }
            tx.commit().await?;
            if change.revoked_at.is_some() {
                self.presence.forget(&change.log, change.device.as_str());
            }
            self.bell.ring(&change.log);
        }
        self.freshness.renew(feed.fresh_until, now);
        Ok(())
    }
}

async fn revoke(db: &mut AnyConnection, change: &Standing, now: Millis) -> Result<(), Error> {
    // Sessions before handoffs: the order every other step locks them in.
    for session in sessions::live_of_log(&mut *db, &change.log).await? {
        if sessions::detach(&mut *db, &session, &session.seat().without(&change.device), now).await? {
            let event = events::New { kind: "session.detached", session: Some(&session.session_id), ..Default::default() };
            events::append(&mut *db, &change.log, &event, now).await?;
        }
    }
    for row in handoffs::of_live_sessions(&mut *db, &change.log).await? {
        let Some(machine) = row.machine() else { continue };
        // Of several that were asked the others may still come.
        let concerned = machine.from == change.device
            || machine.to == Target::Device(change.device.clone())
            || matches!(&machine.state, State::Accepted { by, .. } if *by == change.device);
        // What is sealed stays: its target may still complete, or its source reclaim at once when the target is the one revoked.
        if !concerned || matches!(machine.state, State::Sealed { .. }) {
            continue;
        }
        let Some(held) = handoffs::hold(&mut *db, &row.handoff_id, &change.log).await? else { continue };
        handoffs::make_void(&mut *db, &held, Reason::Revoked, &change.log, now).await?;
    }
    events::append(db, &change.log, &events::New { kind: "device.revoked", ..Default::default() }, now).await
}
