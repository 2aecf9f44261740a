//! What goes over a subject's stream. Events say what changed, by id alone, in contiguous numbers; a hole is told as `gap`, never hidden. Volatile updates go
//! through it sealed.

use crate::id::SessionId;
use crate::session::SealedUpdate;
use crate::time::Millis;
pub use crate::view::SealedView;
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
    /// Who is there now, in place of what was said of it before. Without a number: it is not history.
    Presence {
        /// The other devices that are there and may be seen.
        devices: Vec<Present>,
    },
    /// What another device of the person says of a session right now. Without a number: nobody keeps it.
    Volatile {
        /// Of the kind `volatile`.
        update: SealedUpdate,
    },
    /// What this device said was not passed on.
    Refused {
        /// Of which session.
        session: SessionId,
        /// Which of this device's volatile updates.
        seq: i64,
        /// A stable code: `handoff.fenced`, `state.rekey_required`, ..
        code: String,
    },
    /// This device's update stands in its session, and is durable.
    Written {
        /// Which session.
        session: SessionId,
        /// Its number.
        seq: i64,
        /// Its hash.
        hash: String,
    },
    /// This device's update was not written, or nobody knows: it may be posted, and the answer to that says more.
    Unwritten {
        /// Which session.
        session: SessionId,
        /// Its hash.
        hash: String,
        /// A stable code.
        code: String,
    },
    /// The stream goes on with the token it was given.
    Renewed {
        /// Until then, in Unix seconds.
        until: i64,
    },
    /// It goes on with the one it had.
    Unrenewed {
        /// A stable code.
        code: String,
        /// With `use_dpop_nonce`: for the next proof.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<String>,
    },
}

/// Longest frame a device may send, in bytes. What does not fit is posted.
pub const MAX_SAID: usize = 16 * 1024;

/// What a device says on its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Said {
    /// Of a session it may write into: for the others who listen now.
    Volatile {
        /// Of the kind `volatile`.
        update: SealedUpdate,
    },
    /// Into a session: to be kept, as if it were posted. On a stream that was opened with a proof, or renewed by one.
    Update {
        /// Of the kind `update` or `snapshot`.
        update: SealedUpdate,
    },
    /// A token to go on with.
    Renew {
        /// An access token of the same device.
        token: String,
        /// A DPoP proof for `GET` of the stream's URL, with that token.
        proof: String,
    },
}

/// How a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In use.
    Online,
    /// There, and not in front of anybody.
    Away,
    /// Not there.
    Offline,
}

/// A device that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Present {
    /// Which: its DID.
    pub device: String,
    /// How it is.
    pub status: Status,
    /// The session it has in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What it shows of that session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<SealedView>,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Its number in the subject's stream, from 1.
    pub seq: i64,
    /// When, by the broker's clock.
    pub at: Millis,
    /// What (docs/protocol.md §9): `session.opened`, `.updated`, `.branched`, `.rekeyed`, `.let_in`, `.active`, `.detached`, `.asked`, `.unfollow`, `.ended`, `handoff.<state>`,
    /// `device.enrolled`, `.revoked`, `.switched`, `root.replaced` (for each device), or `other`.
    pub kind: String,
    /// The session, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The handoff, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff: Option<String>,
    /// The device that is meant, in `session.unfollow` and `device.switched`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}
