//! What the person is shown, what their client signs, and what it posts back.

use super::claims::DeviceClaims;
use crate::credential::{Template, Tier};
use crate::id::RequestId;
use crate::jose::{Draft, Typ, Unverified};
use crate::key::{Did, Jwk, PublicKey, Thumbprint, hash};
use crate::refusal::{Enrol, Wrap};
use crate::root::fingerprint;
use serde::{Deserialize, Serialize};

/// How a device asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// On the device itself: pushed authorization request and code. Gives a full device.
    SameDevice,
    /// From another device: RFC 8628 with a check code. Gives a limited device.
    CrossDevice,
}

impl Lane {
    /// The tier it gives.
    pub const fn tier(self) -> Tier {
        match self {
            Self::SameDevice => Tier::Full,
            Self::CrossDevice => Tier::Limited,
        }
    }
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameDevice => "same_device",
            Self::CrossDevice => "cross_device",
        }
    }
}

/// Everything the person decides by. Its hash goes back with the approval: what was shown is what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shown {
    /// The request.
    pub request: RequestId,
    /// How the device asked.
    pub lane: Lane,
    /// The app.
    pub app: String,
    /// The client's own name, from the operator's registry.
    pub client_name: String,
    /// The client.
    pub client_id: String,
    /// What it will be allowed.
    pub scope: String,
    /// What it will be by itself.
    pub tier: Tier,
    /// What the device says of itself; not evidence.
    pub claims: DeviceClaims,
    /// Why the app asks, in its own words; not evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The device key.
    pub jkt: Thumbprint,
    /// Where the server saw the request come from.
    pub seen_address: String,
    /// When it was made (Unix milliseconds).
    pub requested_at: i64,
}

impl Shown {
    /// Hash of exactly this.
    pub fn hash(&self) -> String {
        hash(&serde_json::to_vec(self).expect("strings and numbers"))
    }
}

/// What identity asks the approving client to sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Offer {
    /// The request.
    pub request: RequestId,
    /// Hash of what was shown.
    pub shown_hash: String,
    /// The credential's claims.
    pub template: Template,
    /// The device key the credential binds.
    pub device_jwk: Jwk,
    /// Payloads of the log entries to sign, as exact JSON texts, in order.
    pub entries: Vec<String>,
}

/// What the client posts back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Hash of what was shown.
    pub shown_hash: String,
    /// The signed credential with all its disclosures.
    pub credential: String,
    /// The signed log entries.
    pub entries: Vec<String>,
    /// The account key's statement of the app's issuer, when this approval opens the app's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_statement: Option<String>,
}

/// "This is my issuer for that app", by the account key: an issuer cannot be slipped in by a stolen page session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IssuerStatement {
    /// Version: 1.
    pub v: u8,
    /// The app.
    pub app: String,
    /// Its issuer.
    pub iss: Did,
}

impl IssuerStatement {
    /// The statement to sign with the account key.
    pub fn draft(&self, account: &PublicKey) -> Draft {
        Draft::new(Typ::IssuerStatement, &account.did().url(), self)
    }
    /// Checks it under the account key.
    pub fn check(jws: &str, account: &PublicKey, app: &str, iss: &Did) -> Result<(), Enrol> {
        let verified = Unverified::parse(jws, Typ::IssuerStatement).and_then(|jws| jws.verify(account)).map_err(|_| Enrol::Pop)?;
        let statement: Self = verified.exact().map_err(|_| Enrol::Pop)?;
        if statement.v == 1 && statement.app == app && statement.iss == *iss { Ok(()) } else { Err(Enrol::Pop) }
    }
}

/// Proof at sign-up that the client holds the root whose copies it uploads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AccountProof {
    /// Version: 1.
    pub v: u8,
    /// The service.
    pub aud: String,
    /// The ceremony it belongs to.
    pub ceremony: String,
    /// Fingerprint of the root.
    pub root: String,
}

impl AccountProof {
    /// The proof to sign with the account key.
    pub fn draft(&self, account: &PublicKey) -> Draft {
        Draft::new(Typ::AccountProof, &account.did().url(), self)
    }
    /// Checks it: by this key, for this service, ceremony and root.
    pub fn check(jws: &str, account: &PublicKey, aud: &str, ceremony: &str) -> Result<Self, Wrap> {
        let verified = Unverified::parse(jws, Typ::AccountProof).and_then(|jws| jws.verify(account)).map_err(|_| Wrap::Proof)?;
        let proof: Self = verified.exact().map_err(|_| Wrap::Proof)?;
        let right = proof.v == 1 && proof.aud == aud && proof.ceremony == ceremony && proof.root == fingerprint(account);
        if right { Ok(proof) } else { Err(Wrap::Proof) }
    }
}
