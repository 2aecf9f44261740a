//! Asking for a session that another device holds, and answering who asks (docs/protocol.md §8). Nothing moves before the holder offers it; from there on
//! it is a handoff like any other.

use crate::device::Device;
use crate::error::Error;
use crate::handoff::{self, Offered, Waiting};
use crate::session::Session;
use baton_protocol::handoff::machine::{Declining, Reason, Target};
use baton_protocol::id::{HandoffId, SessionId};
use baton_protocol::key::Did;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// A session that this device has asked for.
pub struct Requested {
    device: Arc<Device>,
    session: SessionId,
    handoff: HandoffId,
}

/// Another device asks for a session that this one holds.
pub struct Asked {
    device: Arc<Device>,
    session: SessionId,
    handoff: HandoffId,
    by: Did,
}

/// As far as both need it.
#[derive(Deserialize)]
struct Shown {
    handoff: HandoffId,
    session: SessionId,
    state: String,
    from: Did,
    to: Target,
}

async fn all(device: &Device) -> Result<Vec<Shown>, Error> {
    let answer = device.broker("GET", "/v1/handoffs", "session:read", None, None).await?;
    serde_json::from_value(answer["handoffs"].clone()).map_err(|_| Error::Answer("handoffs"))
}

impl Session {
    /// Asks whoever holds it to hand it to this device. Full devices alone may.
    pub async fn request(&self) -> Result<Requested, Error> {
        self.needs_one_history()?;
        let device = &self.device;
        let handoff = HandoffId::new(device.http.now(), device.http.entropy().bytes());
        let path = format!("/v1/sessions/{}/request", self.id);
        let body = json!({"handoff": handoff});
        let asked = |handoff| Requested { device: device.clone(), session: self.id.clone(), handoff };
        match device.broker("POST", &path, "handoff:accept", Some(self.id.as_str()), Some(&body)).await {
            Ok(_) => Ok(asked(handoff)),
            // The answer to the same request may have been lost before, and the holder may have offered it since.
            Err(refused) if refused.is("handoff.state") => {
                let me = Target::Device(device.did().clone());
                let mine = |shown: &Shown| shown.session == self.id && shown.to == me;
                all(device).await?.into_iter().find(mine).map(|shown| asked(shown.handoff)).ok_or(refused)
            }
            Err(other) => Err(other),
        }
    }

    /// Offers it to the device that asked.
    pub async fn agree(&self, asked: &Asked) -> Result<Offered, Error> {
        self.offer_as(asked.handoff.clone(), Target::Device(asked.by.clone()), true).await
    }
}

impl Requested {
    /// The handoff's id.
    pub fn id(&self) -> &HandoffId {
        &self.handoff
    }

    /// How far it is, and, once it is over, why.
    pub async fn stands(&self) -> Result<(String, Option<Reason>), Error> {
        handoff::stands(&self.device, &self.session, &self.handoff).await
    }

    /// The offer that answers it, once there is one.
    pub async fn offered(&self) -> Result<Option<Waiting>, Error> {
        let waiting = Waiting::list(&self.device).await?;
        Ok(waiting.into_iter().find(|waiting| waiting.offer().handoff == self.handoff))
    }

    /// Does not want it any more, whether or not it has been offered meanwhile.
    pub async fn cancel(&self) -> Result<(), Error> {
        let path = |verb| format!("/v1/handoffs/{}/{verb}", self.handoff);
        let session = Some(self.session.as_str());
        match self.device.broker("POST", &path("cancel"), "handoff:offer", session, Some(&json!({}))).await {
            Err(refused) if refused.is("handoff.not_holder") => {
                self.device.broker("POST", &path("decline"), "handoff:accept", session, Some(&json!({}))).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }
}

impl Asked {
    /// What is asked of this device, by live members of its own log alone.
    pub async fn list(device: &Arc<Device>) -> Result<Vec<Self>, Error> {
        let members = device.members().await?;
        let mut asked = Vec::new();
        for Shown { handoff, session, state, from, to } in all(device).await? {
            let Target::Device(by) = to else { continue };
            let is_member = members.live.contains(&by) && members.log.member(&by).is_ok_and(|member| members.syncs(&by, member.tier));
            if state == "requested" && from == *device.did() && is_member {
                asked.push(Self { device: device.clone(), session, handoff, by });
            }
        }
        Ok(asked)
    }

    /// The session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Who asks.
    pub fn by(&self) -> &Did {
        &self.by
    }

    /// Keeps it, and says why.
    pub async fn decline(&self, why: Declining) -> Result<(), Error> {
        let path = format!("/v1/handoffs/{}/decline", self.handoff);
        self.device.broker("POST", &path, "handoff:accept", Some(self.session.as_str()), Some(&json!({"reason": why}))).await.map(|_| ())
    }
}
