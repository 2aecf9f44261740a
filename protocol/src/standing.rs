//! What identity tells verifier and broker: a device's standing, the whole row each time, or that a person has left. Applying one twice changes
//! nothing.

use crate::credential::Tier;
use crate::key::{Did, Thumbprint};
use serde::{Deserialize, Serialize};

/// A device's standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The device.
    pub device: Did,
    /// Its key's thumbprint.
    pub jkt: Thumbprint,
    /// The app.
    pub app: String,
    /// The person's issuer for the app.
    pub iss: Did,
    /// The subject.
    pub log: String,
    /// The client.
    pub client_id: String,
    /// What it may do.
    pub tier: Tier,
    /// Its one credential.
    pub credential_hash: String,
    /// Raised by every change that must kill older tokens.
    pub dev_epoch: i64,
    /// The consent it rests on.
    pub grant: String,
    /// What that allows, space-separated.
    pub scopes: String,
    /// Until when (Unix milliseconds).
    pub grant_until: i64,
    /// Since when it is revoked or its grant withdrawn (Unix milliseconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<i64>,
}

/// A person has deleted their account: what is kept of this subject goes, but for the revoked devices, which are refused by their rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Forgotten {
    /// The subject.
    pub forgotten: String,
}

/// One change, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
#[expect(missing_docs, reason = "each variant is the type of its own name")]
pub enum Change {
    Standing(Box<Standing>),
    Forgotten(Forgotten),
}

/// A piece of identity's outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Changes in order.
    pub changes: Vec<Change>,
    /// Until when the receiver may rely on having heard everything (Unix milliseconds).
    pub fresh_until: i64,
}

/// How long the receiver may go without news before it refuses: the stated bound of a revocation.
pub const FEED_SECS: i64 = 5;
