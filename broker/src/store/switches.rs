//! What a person switched off for each of their devices, and what they let it do unasked (docs/protocol.md §9).

use baton_protocol::credential::Tier;
use baton_protocol::key::Did;
use baton_protocol::standing::Standing;
use baton_protocol::time::Millis;
use baton_service::database::Error;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, FromRow};
use std::collections::HashMap;

/// A device's switches.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the person's page")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Switches {
    /// The others see that it is there.
    pub visible: bool,
    /// The others see what it shows: its focused session and the view of it.
    pub mirroring: bool,
    /// It has the sessions of the others.
    pub sync: bool,
    /// It hands over what another full device asks it for, and asks nobody first.
    pub gives: bool,
    /// It goes on with what is handed to it, and asks nobody first.
    pub takes: bool,
}

impl Switches {
    /// As long as nobody has switched anything.
    pub const UNTOUCHED: Self = Self { visible: true, mirroring: true, sync: true, gives: false, takes: false };

    /// Whether the others see what it shows.
    pub const fn shows(self) -> bool {
        self.visible && self.mirroring
    }

    /// Whether any device may do more than before: only somebody who is there says so.
    pub const fn allows_more_than(self, before: Self) -> bool {
        (self.sync && !before.sync) || (self.gives && !before.gives) || (self.takes && !before.takes)
    }
}

/// What is to change; the rest stays.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    visible: Option<bool>,
    mirroring: Option<bool>,
    sync: Option<bool>,
    gives: Option<bool>,
    takes: Option<bool>,
}

#[derive(FromRow)]
struct Row {
    device: String,
    hidden_at: Option<i64>,
    unmirrored_at: Option<i64>,
    unsynced_at: Option<i64>,
    gives_at: Option<i64>,
    takes_at: Option<i64>,
}

impl Row {
    fn read(&self) -> Switches {
        Switches {
            visible: self.hidden_at.is_none(),
            mirroring: self.unmirrored_at.is_none(),
            sync: self.unsynced_at.is_none(),
            gives: self.gives_at.is_some(),
            takes: self.takes_at.is_some(),
        }
    }
}

/// Of one device.
pub async fn of(db: &mut AnyConnection, device: &Did) -> Result<Switches, Error> {
    let row: Option<Row> = sqlx::query_as("SELECT device, hidden_at, unmirrored_at, unsynced_at, gives_at, takes_at FROM switches WHERE device = $1")
        .bind(device.as_str())
        .fetch_optional(db)
        .await?;
    Ok(row.map_or(Switches::UNTOUCHED, |row| row.read()))
}

/// Whether a device has the sessions of the others: a full one, with nothing switched off that keeps them from it.
pub async fn is_member(db: &mut AnyConnection, standing: &Standing) -> Result<bool, Error> {
    Ok(standing.tier == Tier::Full && of(db, &standing.device).await?.sync)
}

/// Of all devices of a subject that have any switched.
pub async fn of_log(db: &mut AnyConnection, log: &str) -> Result<HashMap<String, Switches>, Error> {
    let rows: Vec<Row> = sqlx::query_as("SELECT device, hidden_at, unmirrored_at, unsynced_at, gives_at, takes_at FROM switches WHERE log = $1")
        .bind(log)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.device.clone(), row.read())).collect())
}

/// Changes some of them; gives how they were, and are. The caller holds the device's standing.
pub async fn set(db: &mut AnyConnection, log: &str, device: &Did, change: Change, now: Millis) -> Result<(Switches, Switches), Error> {
    let before = of(db, device).await?;
    let after = Switches {
        visible: change.visible.unwrap_or(before.visible),
        mirroring: change.mirroring.unwrap_or(before.mirroring),
        sync: change.sync.unwrap_or(before.sync),
        gives: change.gives.unwrap_or(before.gives),
        takes: change.takes.unwrap_or(before.takes),
    };
    if after != before {
        let off = |on: bool| (!on).then_some(now.0);
        sqlx::query(
            "INSERT INTO switches (device, log, hidden_at, unmirrored_at, unsynced_at, gives_at, takes_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (device) DO UPDATE SET hidden_at = excluded.hidden_at, unmirrored_at = excluded.unmirrored_at, unsynced_at = excluded.unsynced_at,
               gives_at = excluded.gives_at, takes_at = excluded.takes_at",
        )
        .bind(device.as_str())
        .bind(log)
        .bind(off(after.visible))
        .bind(off(after.mirroring))
        .bind(off(after.sync))
        .bind(off(!after.gives))
        .bind(off(!after.takes))
        .execute(db)
        .await?;
    }
    Ok((before, after))
}
