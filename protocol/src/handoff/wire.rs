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

/// Agreed things are hashed as text, so their members have one order: that of these types.
#[derive(Serialize)]
struct Agreed<'a, T: Serialize> {
    r#type: &'a str,
    credential_ids: [&'a str; 1],
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct OfferData<'a> {
    offer_hash: &'a str,
}

#[derive(Serialize)]
struct HandoffData<'a> {
    handoff: &'a HandoffId,
    session: &'a SessionId,
    epoch: i64,
    from: &'a Did,
    to: &'a Did,
    jkt: &'a Thumbprint,
    offer_hash: &'a str,
}

#[derive(Serialize)]
struct ClaimData<'a> {
    session: &'a SessionId,
    from: &'a Head,
    statement: &'a str,
}

fn agreed(r#type: &str, what: impl Serialize) -> TransactionData {
    TransactionData::new(&Agreed { r#type, credential_ids: [CREDENTIAL_ID], what })
}

/// What the source agrees to when it offers.
pub fn offer_data(offer_hash: &str) -> TransactionData {
    agreed("baton.offer", OfferData { offer_hash })
}

/// What the target agrees to when it accepts: this handoff of this session between these two, by this key.
pub fn accept_data(offer: &Offer, offer_hash: &str, by: &Did, jkt: &Thumbprint) -> TransactionData {
    let Offer { handoff, session, epoch, from, .. } = offer;
    agreed("baton.handoff", HandoffData { handoff, session, epoch: *epoch, from, to: by, jkt, offer_hash })
}

/// What a device agrees to when it claims a detached session.
pub fn claim_data(session: &SessionId, from: &Head, statement_hash: &str) -> TransactionData {
    agreed("baton.claim", ClaimData { session, from, statement: statement_hash })
}
