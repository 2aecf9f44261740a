//! What the parties of a handoff sign, and what a presentation agrees to on the way.

use super::machine::Target;
use crate::id::{HandoffId, SessionId};
use crate::jose::{Draft, Typ, Unverified};
use crate::key::{Did, Thumbprint};
use crate::presentation::TransactionData;
use crate::refusal::Handoff as Refused;
use crate::session::Head;
use serde::{Deserialize, Serialize};

/// The name presentations give the device credential in `credential_ids`.
pub const CREDENTIAL_ID: &str = "device";

/// An offer, signed by its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Version: 1.
    pub v: u8,
    /// The handoff.
    pub handoff: HandoffId,
    /// The session.
    pub session: SessionId,
    /// The epoch it leaves.
    pub epoch: i64,
    /// The source.
    pub from: Did,
    /// Whom it is offered to.
    pub to: Target,
    /// 128 random bits: the nonce of the target's presentation.
    pub challenge: String,
}

impl Offer {
    /// The offer to sign.
    pub fn draft(&self) -> Draft {
        Draft::new(Typ::Offer, &self.from.url(), self)
    }

    /// Reads a signed offer and gives its hash with it.
    pub fn read(jws: &str) -> Result<(Self, String), Refused> {
        let jws = Unverified::parse(jws, Typ::Offer).map_err(|_| Refused::Statement)?;
        let by = jws.unverified_header().kid.as_deref().and_then(|kid| Did::from_url(kid).ok()).ok_or(Refused::Statement)?;
        let verified = jws.verify(&by.key().map_err(|_| Refused::Statement)?).map_err(|_| Refused::Statement)?;
        let hash = verified.payload_hash();
        let offer: Self = verified.exact().map_err(|_| Refused::Statement)?;
        let sound = offer.v == 1 && offer.from == by && offer.to.is_sound() && crate::b64::decode_array::<16>(&offer.challenge).is_ok();
        if sound { Ok((offer, hash)) } else { Err(Refused::Statement) }
    }
}

/// What a presentation agrees to (OpenID4VP 1.0 §8.4). It is hashed as text, so its members have one order: this one.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type")]
pub enum Agreed<'a> {
    /// The source, when it offers.
    #[serde(rename = "baton.offer")]
    Offer {
        /// The device credential, by the name it has there.
        credential_ids: [&'a str; 1],
        /// Hash of the offer.
        offer_hash: &'a str,
    },
    /// The target, when it accepts: this handoff of this session between these two, by this key.
    #[serde(rename = "baton.handoff")]
    Handoff {
        /// The device credential, by the name it has there.
        credential_ids: [&'a str; 1],
        /// The handoff.
        handoff: &'a HandoffId,
        /// The session.
        session: &'a SessionId,
        /// The epoch it leaves.
        epoch: i64,
        /// The source.
        from: &'a Did,
        /// The target.
        to: &'a Did,
        /// Its key.
        jkt: &'a Thumbprint,
        /// Hash of the offer.
        offer_hash: &'a str,
    },
    /// A device that claims a detached session.
    #[serde(rename = "baton.claim")]
    Claim {
        /// The device credential, by the name it has there.
        credential_ids: [&'a str; 1],
        /// The session.
        session: &'a SessionId,
        /// The content it goes on from.
        from: &'a Head,
        /// Hash of the claim.
        statement: &'a str,
    },
}

const CREDENTIAL_IDS: [&str; 1] = [CREDENTIAL_ID];

/// What the source agrees to when it offers.
pub fn offer_data(offer_hash: &str) -> TransactionData {
    TransactionData::new(&Agreed::Offer { credential_ids: CREDENTIAL_IDS, offer_hash })
}

/// What the target agrees to when it accepts: this handoff of this session between these two, by this key.
pub fn accept_data(offer: &Offer, offer_hash: &str, by: &Did, jkt: &Thumbprint) -> TransactionData {
    let Offer { handoff, session, epoch, from, .. } = offer;
    TransactionData::new(&Agreed::Handoff { credential_ids: CREDENTIAL_IDS, handoff, session, epoch: *epoch, from, to: by, jkt, offer_hash })
}

/// What a device agrees to when it claims a detached session.
pub fn claim_data(session: &SessionId, from: &Head, statement_hash: &str) -> TransactionData {
    TransactionData::new(&Agreed::Claim { credential_ids: CREDENTIAL_IDS, session, from, statement: statement_hash })
}
