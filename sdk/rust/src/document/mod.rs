//! A session whose content is a document: edits of several devices come together instead of one replacing the other, also those that came too late for the
//! session and were kept beside it (docs/protocol.md §7, Documents).

mod registers;
mod replica;
mod state;

pub use replica::Replica;
pub use state::{Merged, Outdone, State};

use crate::device::Device;
use crate::error::Error;
use crate::session::{Session, Written};
use baton_protocol::key::Did;
use serde_json::Value;
use std::sync::Arc;

/// How often a write is tried that another window of this device was quicker than.
const TRIES: usize = 4;

/// A document in a session.
pub struct Document {
    session: Session,
    state: State,
}

/// What reading a session brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// Whether anything is other than it was here.
    pub changed: bool,
    /// Every late edit kept beside the session, told each time: all of them are in this document, whoever holds the session.
    pub late: Vec<Late>,
}

/// Edits that came too late for the session: their device wrote them offline, or while another took over.
#[derive(Debug, Clone, PartialEq)]
pub struct Late {
    /// Whose.
    pub device: Did,
    /// At which epoch.
    pub epoch: i64,
    /// What became of them.
    pub outcome: Outcome,
}

/// What became of late edits.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// They were in the document before.
    Known,
    /// They are in it now. Registers that others have set since stand as those say; what the late one said is for the person to choose.
    Merged(Vec<Outdone>),
    /// They are no document: for the person to look at, side by side.
    Beside(Vec<u8>),
}

impl Document {
    /// Opens a session with an empty document.
    pub async fn open(device: &Arc<Device>) -> Result<Self, Error> {
        let state = fresh(device);
        let session = Session::open(device, &state.encode()).await?;
        Ok(Self { session, state })
    }

    /// The document of a session that was loaded, taken over or claimed, with what late edits there are. Refused when its content is something else.
    pub async fn of(session: Session) -> Result<(Self, Changes), Error> {
        let mut document = Self { state: fresh(&session.device), session };
        let changes = document.take_in().await?;
        Ok((document, changes))
    }

    /// Its session: to offer, to keep alive.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its session: to hand over. Save before.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Its state, to read and edit by [`State::doc`]. Edits are this device's own until they are saved, with or without a network.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Sets a register: a value of which only the last counts.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        self.state.set(name, value, self.session.epoch(), self.session.device.did())
    }

    /// Keeps it on this device as it is now, sealed: [`Replica`] reads it without a network. Saving does this first.
    pub fn keep(&self) -> Result<(), Error> {
        replica::keep(&self.session.device, self.session.id(), self.session.epoch(), &self.state)
    }

    /// Reads what others wrote since, into what is here.
    pub async fn follow(&mut self) -> Result<Changes, Error> {
        self.session.follow().await?;
        self.take_in().await
    }

    async fn take_in(&mut self) -> Result<Changes, Error> {
        let mut changed = self.state.merge(self.session.content())?.changed;
        // What this device has written itself, in another window or before it was started again.
        replica::take_in(&self.session.device, self.session.id(), &mut self.state)?;
        let mut late = Vec::new();
        for branch in self.session.branches().await? {
            let outcome = match self.state.merge(&branch.content) {
                Ok(merged) if merged == Merged::default() => Outcome::Known,
                Ok(merged) => {
                    changed |= merged.changed;
                    Outcome::Merged(merged.outdone)
                }
                Err(Error::NotADocument) => Outcome::Beside(branch.content),
                Err(other) => return Err(other),
            };
            late.push(Late { device: branch.device, epoch: branch.epoch, outcome });
        }
        Ok(Changes { changed, late })
    }

    /// Keeps it here, and writes what is not in the session yet; nothing when all of it is. When the session has moved on, it is kept beside it, and merged by
    /// whoever reads it. Without a network it fails, and everything stays here for the next time, also when that is another run.
    pub async fn save(&mut self) -> Result<Option<Written>, Error> {
        self.keep()?;
        let mut tries = 0;
        loop {
            let content = self.state.encode();
            let mut there = State::new([0; 4]);
            there.merge(self.session.content())?;
            if !there.merge(&content)?.changed {
                return Ok(None);
            }
            tries += 1;
            match self.session.write(&content).await {
                // Another window of this device was quicker.
                Err(conflict) if conflict.is("state.conflict") && tries < TRIES => {
                    self.session.follow().await?;
                    self.state.merge(self.session.content())?;
                }
                other => return other.map(Some),
            }
        }
    }
}

fn fresh(device: &Device) -> State {
    State::new(device.http.entropy().bytes())
}
