//! What identity tells verifier and broker of a device. The whole row each time, so that applying one twice changes nothing.

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

/// A piece of identity's outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Changes in order.
    pub changes: Vec<Standing>,
    /// Until when the receiver may rely on having heard everything (Unix milliseconds).
    pub fresh_until: i64,
}

/// How long the receiver may go without news before it refuses: the stated bound of a revocation.
pub const FEED_SECS: i64 = 5;
