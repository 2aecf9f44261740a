//! Events of a subject's stream: what changed, by id alone. Contiguous numbers; a hole is told as `gap`, never hidden.

use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// One frame of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Frame {
    /// Something changed.
    Event(Event),
    /// History between the cursor and `resume_at` is gone: read the resources anew.
    Gap {
        /// The next number that will come.
        resume_at: i64,
    },
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Its number in the subject's stream, from 1.
    pub seq: i64,
    /// When, by the broker's clock.
    pub at: Millis,
    /// What: `session.opened`, `session.updated`, `session.active`, `session.detached`, `handoff.<state>`, `device.enrolled`, `device.revoked`, `root.replaced` (for each device).
    pub kind: String,
    /// The session, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The handoff, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff: Option<String>,
}
