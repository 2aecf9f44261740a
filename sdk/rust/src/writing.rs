//! Writing into a session, or beside it.

use crate::error::Error;
use crate::session::Session;
use baton_protocol::refusal::{Handoff, State};
use baton_protocol::session::{Head, Kind, Place, SealedUpdate, SessionKey, draft_update};
use baton_protocol::signer::Signer as _;
use std::time::Duration;

/// After how many updates a write is a snapshot: whoever reads the session begins there.
const SNAPSHOT_EVERY: u32 = 32;
/// How long an answer on the stream is waited for.
const ON_STREAM: Duration = Duration::from_secs(3);

/// Where a write went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// Into the session; durable.
    Session(Head),
    /// The session had moved on: kept beside it, for its holder to merge or show.
    Branch {
        /// Where the session is now.
        epoch: i64,
    },
}

impl Session {
    /// Writes the content. Acknowledged means durable. When the session has moved on, the write is kept as a branch; in a shared one the app reads on
    /// ([`Self::follow`]) and writes again.
    pub async fn write(&mut self, content: &[u8]) -> Result<Written, Error> {
        self.needs_one_history()?;
        if self.held.is_none() && self.is_shared_here() {
            return Box::pin(self.write_along(content)).await;
        }
        if self.held.is_none() {
            // What was released or taken is not written into it any more, whatever a broker would take.
            return match self.chain.holder() == self.device.did() {
                true => self.late(content, None).await,
                false if self.is_late => self.write_beside(content).await,
                false => Err(Handoff::NotHolder.into()),
            };
        }
        let (unanswered, head) = (self.unanswered.take(), self.head.hash.clone());
        // Under a new key everything is written anew: who has no other reads from there.
        let kind = match Box::pin(self.look_after_key()).await {
            // Somebody is out, and another has the session.
            Err(fenced) if fenced.is("handoff.fenced") && !self.is_shared_here() => return self.late(content, None).await,
            other => {
                let kind = if other? { Kind::Snapshot } else { Kind::Update };
                self.is_still_at(&head)?;
                kind
            }
        };
        match self.write_as(content, kind).await {
            Err(error) if error.is("handoff.fenced") && self.is_shared_here() => {
                self.held = None;
                Err(error)
            }
            Err(error) if error.is("handoff.fenced") => {
                let Error::Refused { body, .. } = &error else { return Err(error) };
                self.late(content, body["epoch"].as_i64()).await
            }
            // An earlier write of its own, whose answer was lost, may have moved the head. Anything else is for the app to look at.
            Err(error) if error.is("state.conflict") => {
                self.reread().await?;
                self.held.ok_or(Handoff::NotHolder)?;
                if unanswered.as_ref() != Some(&self.head.hash) {
                    return Err(error);
                }
                self.write_as(content, Kind::Update).await.map(Written::Session)
            }
            Err(error) if error.is("state.rekey_required") => match self.rekey().await {
                // Released meanwhile, in another window of this device.
                Err(fenced) if fenced.is("handoff.fenced") => self.late(content, None).await,
                other => {
                    other?;
                    self.is_still_at(&head)?;
                    self.write_as(content, Kind::Snapshot).await.map(Written::Session)
                }
            },
            other => other.map(Written::Session),
        }
    }

    /// Writes into a shared session that another device holds: bringing in a new key is the holder's, and until it has, nothing is written that somebody who is
    /// out could read.
    async fn write_along(&mut self, content: &[u8]) -> Result<Written, Error> {
        self.needs_to_itself().await?;
        self.write_as(content, Kind::Update).await.map(Written::Session)
    }

    async fn late(&mut self, content: &[u8], epoch: Option<i64>) -> Result<Written, Error> {
        self.held = None;
        self.is_late = true;
        if !self.is_to_itself().await? {
            // Whoever has the session now has kept that device out of it, or will.
            Box::pin(self.reread()).await?;
            return self.write_beside(content).await;
        }
        self.branch(content).await?;
        Ok(Written::Branch { epoch: epoch.unwrap_or(self.chain.epoch() + 1) })
    }

    /// What a device does that missed a rekey: writes under the key before the present one. For demonstrations of the refusal.
    pub async fn write_under_old_key(&self, content: &[u8]) -> Result<(), Error> {
        let old = self.keys.get(&(self.chain.key_version() - 1)).ok_or(Handoff::NoKey)?;
        let update = self.sealed_at(content, Kind::Update, (self.chain.epoch(), old)).await?;
        self.post("updates", "session:write", &serde_json::to_value(&update).map_err(|_| Error::Answer("update"))?).await.map(|_| ())
    }

    /// A sealed update as [`Self::write`] would send it, for the caller to send: its answer never comes here.
    pub async fn draft_write(&mut self, content: &[u8]) -> Result<SealedUpdate, Error> {
        let update = self.sealed(content, Kind::Update).await?;
        self.unanswered = Some(update.hash());
        Ok(update)
    }

    async fn branch(&mut self, content: &[u8]) -> Result<(), Error> {
        self.branch_at(content, self.chain.epoch()).await
    }

    /// Beside the session, as of the last epoch at which this device held it: edits that were made then, and come now.
    pub(crate) async fn write_beside(&mut self, content: &[u8]) -> Result<Written, Error> {
        let epoch = self.chain.last_held_by(self.device.did()).ok_or(Handoff::NotHolder)?;
        if !self.is_to_itself().await? {
            return Err(State::RekeyRequired.into());
        }
        self.branch_at(content, epoch).await?;
        Ok(Written::Branch { epoch: self.chain.epoch() })
    }

    async fn branch_at(&mut self, content: &[u8], epoch: i64) -> Result<(), Error> {
        let key = self.keys.get(&self.chain.key_version()).ok_or(Handoff::NoKey)?;
        let update = self.sealed_at(content, Kind::Update, (epoch, key)).await?;
        self.post("branches", "session:write", &serde_json::to_value(&update).map_err(|_| Error::Answer("update"))?).await.map(|_| ())
    }

    async fn sealed(&self, content: &[u8], kind: Kind) -> Result<SealedUpdate, Error> {
        let key = self.keys.get(&self.chain.key_version()).ok_or(Handoff::NoKey)?;
        self.sealed_at(content, kind, (self.chain.epoch(), key)).await
    }

    async fn sealed_at(&self, content: &[u8], kind: Kind, (epoch, key): (i64, &SessionKey)) -> Result<SealedUpdate, Error> {
        self.needs_one_history()?;
        let place = Place { session: self.id.clone(), epoch, seq: self.head.seq + 1, prev: self.head.hash.clone(), key_version: key.version, kind };
        let jws = self.device.signing.seal(draft_update(&place, content, &self.needs, self.device.did())).await?;
        Ok(SealedUpdate::seal(place, content, &jws, key, self.device.http.entropy().bytes())?)
    }

    pub(crate) async fn write_as(&mut self, content: &[u8], kind: Kind) -> Result<Head, Error> {
        let kind = if self.since_snapshot < SNAPSHOT_EVERY { kind } else { Kind::Snapshot };
        self.keep_aside().await?;
        let update = self.sealed(content, kind).await?;
        self.unanswered = Some(update.hash());
        self.deliver(&update).await?;
        self.unanswered = None;
        self.head = Head { epoch: update.place.epoch, seq: update.place.seq, hash: update.hash() };
        self.content = content.to_vec();
        self.used = self.head.seq;
        self.since_snapshot = if kind == Kind::Snapshot { 0 } else { self.since_snapshot + 1 };
        self.keep_pin()?;
        Ok(self.head.clone())
    }

    /// What the session has and this content has not, for whoever wrote it is out, is written over next: whoever reads it then finds it beside the session, where
    /// nothing is forgotten.
    async fn keep_aside(&mut self) -> Result<(), Error> {
        let Some(update) = &self.aside else { return Ok(()) };
        let kept = self.post("branches", "session:write", &serde_json::to_value(update).map_err(|_| Error::Answer("update"))?).await;
        // Where there is no room the person was told of it all the same.
        if !kept.as_ref().is_err_and(|full| full.is("state.quota")) {
            kept?;
        }
        self.aside = None;
        Ok(())
    }

    /// Over the stream where there is one; whatever comes of that but that it stands, it is posted, which takes it once alone.
    async fn deliver(&self, update: &SealedUpdate) -> Result<(), Error> {
        let line = self.device.line();
        if let Some(line) = line
            && line.write(update, self.device.http.pause(ON_STREAM)).await
        {
            return Ok(());
        }
        self.post("updates", "session:write", &serde_json::to_value(update).map_err(|_| Error::Answer("update"))?).await.map(|_| ())
    }
}
