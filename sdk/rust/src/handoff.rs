//! Handing over and taking over. Source and target each check the other themselves; the broker is not believed.

use crate::device::Device;
use crate::error::Error;
use crate::keystore::Handing;
use crate::reading::envelope;
use crate::session::Session;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::Act;
use baton_protocol::handoff::machine::{Declining, Reason, Target};
use baton_protocol::handoff::wire::{Offer, accept_data, offer_data};
use baton_protocol::id::{HandoffId, SessionId};
use baton_protocol::key::Did;
use baton_protocol::presentation::{self, Expected};
use baton_protocol::refusal::{Handoff, Kb, Log};
use baton_protocol::signer::Signer as _;
use baton_protocol::{Refusal, b64};
use serde_json::{Value, json};
use std::sync::Arc;

/// How often the content of a shared session is sealed anew because another device wrote into it.
const SEALS: u32 = 8;

/// An offer this device made.
pub struct Offered {
    offer: Offer,
    hash: String,
    /// It is the target that named itself, not the person.
    pub(crate) is_asked_for: bool,
}

/// A handoff that waits for this device.
pub struct Waiting {
    device: Arc<Device>,
    offer: Offer,
    hash: String,
}

impl Offered {
    /// The handoff's id.
    pub fn id(&self) -> &HandoffId {
        &self.offer.handoff
    }
}

impl Session {
    /// Offers the session to one device, to several (the first to accept wins), or to any full one.
    pub async fn offer(&self, to: Target) -> Result<Offered, Error> {
        let http = &self.device.http;
        self.offer_as(HandoffId::new(http.now(), http.entropy().bytes()), to, false).await
    }

    /// [`Self::offer`], as the handoff of this id.
    pub(crate) async fn offer_as(&self, handoff: HandoffId, to: Target, is_asked_for: bool) -> Result<Offered, Error> {
        self.needs_one_history()?;
        let device = &self.device;
        let offer = Offer {
            v: 1,
            handoff,
            session: self.id.clone(),
            epoch: self.held.ok_or(Handoff::NotHolder)?,
            from: device.did().clone(),
            to,
            challenge: b64::encode(device.http.entropy().bytes::<16>()),
        };
        let text = device.signing.seal(offer.draft()).await?;
        let (_, hash) = Offer::read(&text)?;
        let mut offset = Some(device.http.offset());
        // Before anything can come of it: a device that was started anew knows what it offered, and who named the target.
        self.hands(&offer.handoff, is_asked_for)?;
        loop {
            let nonce = device.nonce(&device.servers.broker).await?;
            let presentation = device.present(&device.servers.broker, &nonce, &[offer_data(&hash)], &[]).await?;
            let body = json!({"offer": text, "presentation": presentation});
            return match device.broker("POST", "/v1/handoffs", "handoff:offer", Some(self.id.as_str()), Some(&body)).await {
                Ok(_) => Ok(Offered { offer, hash, is_asked_for }),
                Err(refused) if device.signs_anew(&refused, &mut offset) => continue,
                // The answer to the same offer may have been lost before.
                Err(refused) if refused.is("handoff.state") || refused.is("handoff.exists") => self.standing_offer(&offer).await?.ok_or(refused),
                Err(other) => Err(other),
            };
        }
    }

    /// What this device has offered already, if it is this very handoff but for its name and challenge.
    async fn standing_offer(&self, wanted: &Offer) -> Result<Option<Offered>, Error> {
        let answer = self.device.broker("GET", "/v1/handoffs", "session:read", None, None).await?;
        for shown in answer["handoffs"].as_array().ok_or(Error::Answer("handoffs"))? {
            let Some((offer, hash)) = offer_of(shown)? else { continue };
            let same = Offer { handoff: offer.handoff.clone(), challenge: offer.challenge.clone(), ..wanted.clone() } == offer;
            if same {
                self.hands(&offer.handoff, false)?;
                return Ok(Some(Offered { offer, hash, is_asked_for: false }));
            }
        }
        Ok(None)
    }

    fn hands(&self, handoff: &HandoffId, is_asked_for: bool) -> Result<(), Error> {
        self.device.set_handing(self.id.as_str(), Some(Handing { handoff: handoff.clone(), is_asked_for }))
    }

    /// What this device has offered of it, and not taken back, and is under way: how a device that was started anew goes on where it was.
    pub async fn standing(&self) -> Result<Option<Offered>, Error> {
        let Some(handing) = self.device.handing(self.id.as_str()) else { return Ok(None) };
        let answer = self.device.broker("GET", "/v1/handoffs", "session:read", None, None).await?;
        for shown in answer["handoffs"].as_array().ok_or(Error::Answer("handoffs"))? {
            let Some((offer, hash)) = offer_of(shown)? else { continue };
            let is_own = offer.from == *self.device.did() && offer.session == self.id && offer.epoch == self.chain.epoch();
            if is_own && offer.handoff == handing.handoff {
                return Ok(Some(Offered { offer, hash, is_asked_for: handing.is_asked_for }));
            }
        }
        Ok(None)
    }

    /// Whether the offer was accepted, and by whom.
    pub async fn accepted(&self, offered: &Offered) -> Result<Option<Did>, Error> {
        let shown = self.show(offered).await?;
        Ok(if shown["state"] == "accepted" { shown["by"].as_str().and_then(|by| Did::parse(by).ok()) } else { None })
    }

    /// Whether an offer can lead nowhere any more.
    pub async fn is_over(&self, offered: &Offered) -> Result<bool, Error> {
        let shown = self.show(offered).await?;
        Ok(!matches!(shown["state"].as_str(), Some("offered" | "accepted" | "sealed" | "completed")))
    }

    async fn show(&self, offered: &Offered) -> Result<Value, Error> {
        let path = format!("/v1/handoffs/{}", offered.id());
        self.device.broker("GET", &path, "session:read", None, None).await
    }

    /// Checks the target, seals the present content to it, and releases. From then on this device does not write.
    pub async fn seal(&mut self, offered: &Offered) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.seal_once(offered).await {
                // Another device wrote into it meanwhile.
                Err(conflict) if conflict.is("state.conflict") && self.is_shared() && tries < SEALS => self.reread().await?,
                other => return other,
            }
        }
    }

    async fn seal_once(&mut self, offered: &Offered) -> Result<(), Error> {
        let shown = self.show(offered).await?;
        if shown["state"] != "accepted" {
            return Err(Handoff::State.into());
        }
        let target = self.check_target(offered, &shown).await?;
        let epoch = self.held.ok_or(Handoff::NotHolder)?;
        self.snapshot().await?;
        let key = self.keys.get(&self.chain.key_version()).cloned().ok_or(Handoff::NoKey)?;
        let members = self.device.members().await?;
        let has_key = self.recipients.contains(&target);
        let envelope = if has_key { None } else { Some(envelope(&self.device, &members, &self.id, &key, Some(&target)).await?.0) };
        let act = Act::Release {
            handoff: offered.id().clone(),
            head: self.head.clone(),
            key_version: key.version,
            envelope: envelope.as_ref().map(|text| baton_protocol::key::hash(text.as_bytes())),
            to: target,
        };
        let (text, statement, digest) = self.sign(epoch, act).await?;
        let mut body = json!({"statement": text});
        if let Some(envelope) = envelope {
            body["envelope"] = envelope.into();
        }
        let path = format!("/v1/handoffs/{}/seal", offered.id());
        // Signed and sent: unless it is refused outright, this device has released. What became of it is read with `follow`.
        self.held = None;
        let answer = self.device.broker("POST", &path, "handoff:offer", Some(self.id.as_str()), Some(&body)).await;
        if matches!(&answer, Err(Error::Refused { status, .. }) if (400..500).contains(status)) {
            self.hold(epoch);
        }
        self.take(&answer?, &statement, digest).await
    }

    /// The target's presentation, checked by this device: over this very handoff, by a live member of this device's own log.
    async fn check_target(&self, offered: &Offered, shown: &Value) -> Result<Did, Error> {
        let device = &self.device;
        let target = shown["by"].as_str().and_then(|by| Did::parse(by).ok()).ok_or(Handoff::Target)?;
        if offered.offer.to != Target::AnyFull && !offered.offer.to.named().contains(&target) {
            return Err(Handoff::Target.into());
        }
        let text = shown["presentation"].as_str().ok_or(Handoff::Presentation)?;
        let jkt = target.key()?.thumbprint();
        let data = [accept_data(&offered.offer, &offered.hash, &target, &jkt)];
        let challenge = &offered.offer.challenge;
        let expected =
            Expected { audience: &device.servers.broker, nonce: &|nonce, _| nonce == challenge, transaction_data: &data, required_claims: &[] };
        let pending = presentation::verify(text, &expected, &(), device.http.now())?;
        let visible = pending.credential().visible.clone();
        let status = device.status(visible.status.status_list.idx, &visible.status.status_list.uri).await?;
        pending.admit(status)?;
        let members = device.members().await?;
        let member = members.log.member(&target)?;
        let right =
            visible.sub == target && visible.iss == *members.log.issuer() && visible.log == members.log.subject() && visible.tier == member.tier;
        // "Any full one" is what the person said, and a full one is who may ask.
        let is_named = offered.offer.to != Target::AnyFull && !offered.is_asked_for;
        let right = right && (is_named || members.syncs(&target, member.tier));
        if right && members.live.contains(&target) { Ok(target) } else { Err(Log::NotMember.into()) }
    }

    /// Takes a released session back: after a minute, or at once when the target was revoked.
    pub async fn reclaim(&mut self, offered: &Offered) -> Result<(), Error> {
        self.needs_one_history()?;
        let (text, statement, digest) = self.sign(self.chain.epoch() + 1, Act::Reclaim { handoff: offered.id().clone() }).await?;
        let path = format!("/v1/handoffs/{}/reclaim", offered.id());
        let answer = self.device.broker("POST", &path, "handoff:offer", Some(self.id.as_str()), Some(&json!({"statement": text}))).await?;
        self.take(&answer, &statement, digest).await?;
        self.hold(self.chain.epoch());
        Ok(())
    }

    /// How far an offer of this device is, and, once it is over, why.
    pub async fn stands(&self, offered: &Offered) -> Result<(String, Option<Reason>), Error> {
        stands(&self.device, &self.id, offered.id()).await
    }

    /// Withdraws an offer.
    pub async fn cancel(&self, offered: &Offered) -> Result<(), Error> {
        // Whatever the broker makes of it.
        self.device.set_handing(self.id.as_str(), None)?;
        let path = format!("/v1/handoffs/{}/cancel", offered.id());
        self.device.broker("POST", &path, "handoff:offer", Some(self.id.as_str()), Some(&json!({}))).await.map(|_| ())
    }
}

impl Waiting {
    /// Handoffs that name this device or any full one, each with its source's signature checked against the log.
    pub async fn list(device: &Arc<Device>) -> Result<Vec<Self>, Error> {
        let answer = device.broker("GET", "/v1/handoffs", "session:read", None, None).await?;
        let members = device.members().await?;
        let mut waiting = Vec::new();
        for shown in answer["handoffs"].as_array().ok_or(Error::Answer("handoffs"))? {
            let Some((offer, hash)) = offer_of(shown)? else { continue };
            members.log.member(&offer.from)?;
            let for_me = match &offer.to {
                Target::Device(_) | Target::AnyOf(_) => offer.to.named().contains(device.did()),
                Target::AnyFull => device.tier() == Tier::Full && offer.from != *device.did(),
            };
            if for_me {
                waiting.push(Self { device: device.clone(), offer, hash });
            }
        }
        Ok(waiting)
    }

    /// The offer.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// What this device would agree to by accepting.
    pub fn data(&self) -> presentation::TransactionData {
        accept_data(&self.offer, &self.hash, self.device.did(), &self.device.signing.key().thumbprint())
    }

    /// Accepts: token, and a presentation with the offer's challenge over this very handoff.
    pub async fn accept(&self) -> Result<(), Error> {
        let device = &self.device;
        let mut offset = Some(device.http.offset());
        loop {
            let presentation = device.present(&device.servers.broker, &self.offer.challenge, &[self.data()], &[]).await?;
            match self.post("accept", &json!({"presentation": presentation})).await {
                Err(refused) if device.signs_anew(&refused, &mut offset) => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// Declines, and says why.
    pub async fn decline(&self, why: Declining) -> Result<(), Error> {
        self.post("decline", &json!({"reason": why})).await.map(|_| ())
    }

    /// Whether the source has sealed; `handoff.state` when it never will.
    pub async fn is_sealed(&self) -> Result<bool, Error> {
        let path = format!("/v1/handoffs/{}", self.offer.handoff);
        match self.device.broker("GET", &path, "session:read", None, None).await?["state"].as_str() {
            Some("sealed" | "completed") => Ok(true),
            Some("offered" | "accepted") => Ok(false),
            _ => Err(Handoff::State.into()),
        }
    }

    /// Opens what was sealed, proves it, and holds the session.
    pub async fn complete(&self) -> Result<Session, Error> {
        let mut session = Session::load(&self.device, &self.offer.session).await?;
        if session.is_held() {
            // A repeat after a lost reply: the receipt was accepted, and the chain says so.
            return Ok(session);
        }
        if session.chain.released_to() != Some(self.device.did()) || *session.chain.holder() != self.offer.from {
            return Err(Handoff::Target.into());
        }
        let release = session.chain.last().to_owned();
        let key = session.keys.get(&session.chain.key_version()).ok_or(Handoff::NoKey)?;
        let proof = key.receipt_proof(&release, &session.content);
        let (text, statement, digest) = session.sign(session.chain.epoch() + 1, Act::Receipt { handoff: self.offer.handoff.clone(), proof }).await?;
        let answer = self.post("complete", &json!({"statement": text})).await?;
        session.take(&answer, &statement, digest).await?;
        session.held = Some(session.chain.epoch());
        Ok(session)
    }

    async fn post(&self, verb: &str, body: &Value) -> Result<Value, Error> {
        let path = format!("/v1/handoffs/{}/{verb}", self.offer.handoff);
        self.device.broker("POST", &path, "handoff:accept", Some(self.offer.session.as_str()), Some(body)).await
    }
}

/// How far a handoff is, and, once it is over, why.
pub async fn stands(device: &Device, session: &SessionId, handoff: &HandoffId) -> Result<(String, Option<Reason>), Error> {
    let path = format!("/v1/handoffs/{handoff}");
    let answer = device.broker("GET", &path, "session:read", Some(session.as_str()), None).await?;
    let state = answer["state"].as_str().ok_or(Error::Answer("state"))?.to_owned();
    // A reason of a newer broker is as good as none.
    Ok((state, serde_json::from_value(answer["reason"].clone()).unwrap_or_default()))
}

/// The offer of a handoff, unless it is only asked for.
fn offer_of(shown: &Value) -> Result<Option<(Offer, String)>, Error> {
    Ok(shown["offer"].as_str().map(Offer::read).transpose()?)
}

impl From<Kb> for Error {
    fn from(why: Kb) -> Self {
        Self::Check(Refusal::from(why))
    }
}
