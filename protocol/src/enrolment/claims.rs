//! What a device says of itself (RFC 9396 `authorization_details` of type `baton_device`). None of it is evidence.

use super::name::{check_name, check_text};
use crate::key::Jwk;
use crate::refusal::Input;
use serde::{Deserialize, Serialize};

/// The type of our authorization details.
pub const DETAILS_TYPE: &str = "baton_device";

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// What kind of thing it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Phone,
    Tablet,
    Laptop,
    Desktop,
    Tv,
    Watch,
    Car,
    Browser,
    Other,
}

/// What a device claims to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceClaims {
    /// What the person will know it by.
    pub name: String,
    /// What kind of thing.
    pub kind: Kind,
    /// Operating system or the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What a session can count on, in the app's own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

impl DeviceClaims {
    /// Checks every text a person may be shown.
    pub fn check(&self) -> Result<(), Input> {
        check_name(&self.name)?;
        self.platform.iter().chain(&self.model).chain(&self.capabilities).try_for_each(|text| check_name(text))?;
        if self.capabilities.len() > 16 { Err(Input::Name) } else { Ok(()) }
    }
}

/// One entry of `authorization_details`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceDetails {
    /// [`DETAILS_TYPE`].
    pub r#type: String,
    /// Where session keys are to be sealed to.
    pub agreement_jwk: Jwk,
    /// What it claims to be.
    pub claims: DeviceClaims,
    /// Why the app asks, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl DeviceDetails {
    /// Checks every text a person may be shown.
    pub fn check(&self) -> Result<(), Input> {
        self.claims.check()?;
        self.reason.iter().try_for_each(|text| check_text(text, MAX_REASON))
    }
}
