//! Presentations: a device credential, the claims its holder chooses to show, and a key-binding JWT over this very occasion.
//!
//! A verifier's first call is [`verify`]; what it gives cannot be used before [`Pending::admit`] has been told the device's status.

use crate::credential::{self, Credential, Tier};
use crate::jose::SignatureMemory;
use crate::jose::{Draft, Typ, Unverified};
use crate::key::{self, Did, Thumbprint};
use crate::refusal::{Jose, Kb, Status as StatusRefusal, Vc};
use crate::sd_jwt::Compact;
use crate::status_list::{Status, StatusRef};
use crate::time::{Millis, is_fresh};
use crate::{Refusal, b64};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Claims of a key-binding JWT (RFC 9901 §4.3; `transaction_data_hashes` from OpenID4VP §8.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyBinding {
    /// Whom it is shown to.
    pub aud: String,
    /// When, in seconds.
    pub iat: i64,
    /// The occasion.
    pub nonce: String,
    /// What is shown.
    pub sd_hash: String,
    /// Hashes of what is agreed to, over the exact base64url strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_data_hashes: Option<Vec<String>>,
    /// Only `sha-256`, if named at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_data_hashes_alg: Option<String>,
}

/// One thing agreed to: JSON in base64url, hashed as that string.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransactionData(String);

impl TransactionData {
    /// Encodes once; both sides hash the same string.
    pub fn new(content: &impl Serialize) -> Self {
        Self(b64::encode(serde_json::to_vec(content).expect("transaction data serialises")))
    }
    /// As it was encoded before.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }
    /// The base64url string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Its hash.
    pub fn hash(&self) -> String {
        key::hash(self.0.as_bytes())
    }
}

/// The KB-JWT to sign for showing `shown` (an SD-JWT that ends in `~`).
pub fn draft(shown: &str, audience: &str, nonce: &str, data: &[TransactionData], now: Millis) -> Draft {
    let hashes: Vec<_> = data.iter().map(TransactionData::hash).collect();
    let claims = KeyBinding {
        aud: audience.into(),
        iat: now.secs(),
        nonce: nonce.into(),
        sd_hash: key::hash(shown.as_bytes()),
        transaction_data_hashes: (!hashes.is_empty()).then_some(hashes),
        transaction_data_hashes_alg: None,
    };
    Draft::anonymous(Typ::KeyBinding, &claims)
}

/// What a verifier demands of a presentation.
pub struct Expected<'a> {
    /// Its own name, compared byte for byte.
    pub audience: &'a str,
    /// Whether this nonce is one it gave to this key. Consuming it is the caller's next step.
    pub nonce: &'a (dyn Fn(&str, &Thumbprint) -> bool + Sync),
    /// What must have been agreed to: exactly this, nothing more.
    pub transaction_data: &'a [TransactionData],
    /// Claims that must have been disclosed.
    pub required_claims: &'a [&'a str],
}

/// A presentation that holds by itself; whether the device's credential still counts is not known yet.
#[derive(Debug)]
#[must_use = "a credential without its status proves nothing"]
pub struct Pending {
    credential: Credential,
    jkt: Thumbprint,
    nonce: String,
}

/// What a verifier may rely on.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The device.
    pub device: Did,
    /// Who bound it to the person.
    pub issuer: Did,
    /// The person, as this app sees them.
    pub log: String,
    /// The client the device runs.
    pub client_id: String,
    /// What it may do.
    pub tier: Tier,
    /// Thumbprint of the device key: a token bound to another key is not this device's.
    pub jkt: Thumbprint,
    /// The nonce that was used, for consumption.
    pub nonce: String,
    /// The credential's digest.
    pub credential_hash: String,
    /// Where its status stands.
    pub status: StatusRef,
    /// When the credential ends, in seconds.
    pub expires_at: i64,
    /// The disclosed claims.
    pub claims: Map<String, Value>,
}

impl Pending {
    /// The device it speaks for, to look its status up by.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
    /// The nonce it used.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
    /// Lets a valid status through; anything else is refused.
    pub fn admit(self, status: Status) -> Result<Verdict, Refusal> {
        match status {
            Status::Valid => {}
            Status::Invalid => return Err(StatusRefusal::Revoked.into()),
            Status::Suspended => return Err(StatusRefusal::Suspended.into()),
            Status::Other => return Err(StatusRefusal::Unknown.into()),
        }
        let Credential { hash, visible, claims, .. } = self.credential;
        Ok(Verdict {
            device: visible.sub,
            issuer: visible.iss,
            log: visible.log,
            client_id: visible.client_id,
            tier: visible.tier,
            jkt: self.jkt,
            nonce: self.nonce,
            credential_hash: hash,
            status: visible.status.status_list,
            expires_at: visible.exp,
            claims,
        })
    }
}

/// Checks everything but status and the nonce's consumption.
pub fn verify(presentation: &str, expected: &Expected<'_>, memory: &impl SignatureMemory, now: Millis) -> Result<Pending, Refusal> {
    let compact = Compact::parse(presentation)?;
    let kb = compact.kb.ok_or(Kb::Missing)?;
    let credential = credential::check(&compact, memory, now)?;
    let kb = Unverified::parse(kb, Typ::KeyBinding).map_err(|why| if why == Jose::Typ { Kb::Typ } else { Kb::Jose(why) })?;
    let kb: KeyBinding = kb.verify(&credential.key).map_err(|_| Kb::Key)?.claims().map_err(Kb::Jose)?;
    if kb.aud != expected.audience {
        return Err(Kb::Aud.into());
    }
    if kb.sd_hash != compact.sd_hash() {
        return Err(Kb::SdHash.into());
    }
    if !is_fresh(kb.iat, now) {
        return Err(Kb::Iat.into());
    }
    check_transaction(&kb, expected.transaction_data)?;
    if expected.required_claims.iter().any(|name| !credential.claims.contains_key(*name)) {
        return Err(Vc::ClaimsMissing.into());
    }
    let jkt = credential.key.thumbprint();
    if !(expected.nonce)(&kb.nonce, &jkt) {
        return Err(Kb::Nonce.into());
    }
    Ok(Pending { credential, jkt, nonce: kb.nonce })
}

/// [`verify`] and [`Pending::admit`] in one, for callers whose status is at hand.
pub fn check(
    presentation: &str,
    expected: &Expected<'_>,
    memory: &impl SignatureMemory,
    status: impl FnOnce(&Credential) -> Result<Status, Refusal>,
    now: Millis,
) -> Result<Verdict, Refusal> {
    let pending = verify(presentation, expected, memory, now)?;
    let status = status(pending.credential())?;
    pending.admit(status)
}

fn check_transaction(kb: &KeyBinding, expected: &[TransactionData]) -> Result<(), Kb> {
    if kb.transaction_data_hashes_alg.as_deref().is_some_and(|alg| alg != "sha-256") {
        return Err(Kb::TransactionData);
    }
    let hashes = kb.transaction_data_hashes.as_deref().unwrap_or_default();
    let same = hashes.len() == expected.len() && expected.iter().zip(hashes).all(|(data, hash)| data.hash() == *hash);
    if same { Ok(()) } else { Err(Kb::TransactionData) }
}
