//! A session whose content is a document: edits of several devices come together instead of one replacing the other, also those that came too late for the
//! session and were kept beside it (docs/protocol.md §7, Documents).

mod nesting;
mod registers;
mod replica;
mod state;
mod whole;

pub use replica::Replica;
pub use state::{Merged, Outdone, State};

use crate::content::Branch;
use crate::device::Device;
use crate::error::Error;
use crate::session::Session;
use crate::writing::Written;
use baton_protocol::key::{Did, hash};
use baton_protocol::session::{MAX_CONTENT, MAX_VOLATILE, SealedUpdate};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most that late edits may bring a document to: room is left for the holder's own.
const MOST: usize = MAX_CONTENT - 32 * 1024;

/// How often a write is tried that another was quicker than.
const TRIES: usize = 8;

/// A document in a session.
pub struct Document {
    session: Session,
    state: State,
    /// The session had a document when it was read: what comes after that and is none is somebody's mistake, or worse.
    was_one: bool,
    /// The hash of the session's head that is in the state.
    merged: String,
    /// What was taken in and is not told yet, and from whom: by saving, or by a reading that failed.
    meanwhile: (bool, BTreeSet<Did>),
    /// What stood beside the session when it was read on by saving, and is not told yet.
    untold: Vec<Branch>,
    /// Late edits that are in this document, each with its epoch, and in nobody's yet who has only read the session.
    beside: Vec<(Vec<u8>, i64)>,
    /// Late edits that brought nothing when they were last looked at, by the hash of their content.
    taken: BTreeSet<String>,
}

/// What reading a session brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// Whether anything is other than it was here.
    pub changed: bool,
    /// Who wrote into the session what this device had not seen.
    pub by: Vec<Did>,
    /// What was kept here could not be opened (damaged, or another device's): it is set aside, and no part of the document.
    pub set_aside: bool,
    /// Registers that were set here and were not in the session yet, in whose place another device's value stands: for the person to choose. Told once in a run.
    pub outdone: Vec<Outdone>,
    /// Every late edit kept beside the session, told each time. Those of the person's own devices are in this document, whoever holds the session.
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
    /// They are no document, too much for this one, or of a device that is not, or was not then, to write: for the person to look at, side by side, and to
    /// [`merge`](Document::merge).
    Beside(Vec<u8>),
    /// This device cannot read them: they are older than its key, or no edits at all.
    Unreadable,
}

impl Document {
    /// Opens a session with an empty document.
    pub async fn open(device: &Arc<Device>) -> Result<Self, Error> {
        let state = fresh(device);
        let session = Session::open(device, &state.encode()).await?;
        Ok(Self::new(session, Some(state)))
    }

    /// Opens a session with an empty document that every full device of the person writes into.
    pub async fn open_shared(device: &Arc<Device>) -> Result<Self, Error> {
        let state = fresh(device);
        let session = Session::open_shared(device, &state.encode()).await?;
        Ok(Self::new(session, Some(state)))
    }

    /// The document of a session that was loaded, taken over or claimed, with what late edits there are. Refused when its content is something else.
    pub async fn of(session: Session) -> Result<(Self, Changes), Error> {
        let mut document = Self::new(session, None);
        let changes = document.take_in().await?;
        Ok((document, changes))
    }

    fn new(session: Session, state: Option<State>) -> Self {
        Self {
            was_one: state.is_some(),
            merged: if state.is_some() { session.head().hash.clone() } else { String::new() },
            state: state.unwrap_or_else(|| fresh(&session.device)),
            session,
            meanwhile: (false, BTreeSet::new()),
            untold: Vec::new(),
            beside: Vec::new(),
            taken: BTreeSet::new(),
        }
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
        self.keep_of_which(self.session.content())
    }

    /// Of which this is elsewhere as well.
    fn keep_of_which(&self, there: &[u8]) -> Result<(), Error> {
        let late = self.is_late().then(|| (self.session.content(), self.last_held()));
        let standing = replica::Standing { there, was_other: self.session.was_other, late };
        replica::keep(&self.session.device, self.session.id(), (self.session.epoch(), &self.state), standing)
    }

    /// Reads what others wrote since, into what is here.
    pub async fn follow(&mut self) -> Result<Changes, Error> {
        self.session.reread().await?;
        self.take_in().await
    }

    async fn take_in(&mut self) -> Result<Changes, Error> {
        // What this device has written itself, in another window or before it was started again.
        let kept = replica::take_in_or_set_aside(&self.session.device, self.session.id(), &mut self.state)?;
        self.was_one |= kept == replica::Kept::TakenIn;
        self.meanwhile.1.append(&mut self.session.wrote);
        if self.session.was_other {
            self.state.lay_down(self.session.epoch());
        }
        let mut late = Vec::new();
        match self.state.merge(self.session.content(), self.session.epoch()) {
            Ok(merged) => {
                self.meanwhile.0 |= merged.changed;
                self.was_one = true;
                self.merged.clone_from(&self.session.head().hash);
                self.state.settle(self.session.content());
                // Before it is told.
                if self.give_way() {
                    self.keep()?;
                }
                if self.session.was_other {
                    self.keep()?;
                    self.session.was_other = false;
                    self.session.keep_pin()?;
                }
            }
            // Somebody wrote what is none over it. What this device has of it goes on.
            Err(Error::NotADocument) if self.was_one => {
                let (device, content) = (self.session.writer().clone(), self.session.content().to_vec());
                late.push(Late { device, epoch: self.session.head().epoch, outcome: Outcome::Beside(content) });
            }
            Err(other) => return Err(other),
        }
        self.untold.append(&mut self.session.beside);
        // Nothing goes of which this device has not all.
        if late.is_empty() && self.untold.is_empty() {
            self.session.acknowledge().await;
        }
        let branches = self.session.branches().await?;
        self.beside.clear();
        let mut told = BTreeSet::new();
        for Branch { device, epoch, content, counts } in branches.into_iter().chain(std::mem::take(&mut self.untold)) {
            // Also while somebody is about to write over it.
            if content.as_ref().is_some_and(|content| !told.insert((device.clone(), epoch, hash(content)))) {
                continue;
            }
            let (outcome, moved) = match content {
                None => (Outcome::Unreadable, false),
                Some(content) => {
                    let late = self.late(content.clone(), epoch, counts)?;
                    // What does not count is in nobody else's document, whatever the person took in here.
                    if counts && matches!(late.0, Outcome::Known | Outcome::Merged(_)) {
                        self.beside.push((content, epoch));
                    }
                    late
                }
            };
            self.meanwhile.0 |= moved;
            late.push(Late { device, epoch, outcome });
        }
        let (changed, by) = std::mem::take(&mut self.meanwhile);
        Ok(Changes { changed, by: by.into_iter().collect(), set_aside: kept == replica::Kept::SetAside, outdone: self.state.take_overtaken(), late })
    }

    /// What was set here too late stands here no more.
    fn give_way(&mut self) -> bool {
        let (span, device) = ((self.last_held(), self.session.epoch()), self.session.device.did());
        let gave = self.is_late() && self.state.give_way(self.session.content(), span, device);
        self.meanwhile.0 |= gave;
        gave
    }

    /// What becomes of a late edit, and whether the document is other than it was.
    fn late(&mut self, content: Vec<u8>, epoch: i64, counts: bool) -> Result<(Outcome, bool), Error> {
        let hash = hash(&content);
        if self.taken.contains(&hash) {
            return Ok((Outcome::Known, false));
        }
        if !counts {
            // Not even its registers are taken in. Where there is nothing new in it, nobody is asked.
            let is_new = !matches!(self.state.copy()?.merge_up_to(&content, epoch, MOST), Ok(Merged { changed: false, .. }));
            if is_new {
                return Ok((Outcome::Beside(content), false));
            }
            self.taken.insert(hash);
            return Ok((Outcome::Known, false));
        }
        Ok(match self.state.merge_up_to(&content, epoch, MOST) {
            Ok(merged) => {
                let (changed, outcome) = (merged.changed, if merged == Merged::default() { Outcome::Known } else { Outcome::Merged(merged.outdone) });
                // One that is outdone is told each time, for the person to choose.
                if outcome == Outcome::Known {
                    self.taken.insert(hash);
                }
                (outcome, changed)
            }
            Err(Error::NotADocument | Error::TooLarge) => (Outcome::Beside(content), false),
            Err(other) => return Err(other),
        })
    }

    /// Takes in edits that stood [beside](Outcome::Beside) the document, because the person says so.
    pub fn merge(&mut self, content: &[u8]) -> Result<Merged, Error> {
        let merged = self.state.merge_up_to(content, self.session.epoch(), MOST)?;
        self.taken.insert(hash(content));
        Ok(merged)
    }

    /// Seals its registers for whoever listens now ([`Events::say`](crate::Events::say)). They reach the others at once, and the session with the next save.
    pub async fn volatile(&mut self) -> Result<SealedUpdate, Error> {
        let registers = self.state.encode_registers();
        if registers.len() > MAX_VOLATILE {
            return Err(Error::TooLarge);
        }
        self.session.volatile(&registers).await
    }

    /// Takes in what another device says just now; true when anything is other than it was. [`Session::hear`] says what is refused.
    pub fn hear(&mut self, update: &SealedUpdate) -> Result<bool, Error> {
        let Some(said) = self.session.hear(update)? else { return Ok(false) };
        Ok(self.state.merge(&said, self.session.epoch())?.changed)
    }

    /// Keeps it here, and writes what is not in the session yet; nothing when all of it is. When the session has moved on, it is kept beside it, and merged by
    /// whoever reads it. Without a network it fails, and everything stays here for the next time, also when that is another run.
    pub async fn save(&mut self) -> Result<Option<Written>, Error> {
        self.keep()?;
        let mut tries = 0;
        loop {
            self.catch_up()?;
            self.give_way();
            let content = self.state.encode();
            if content.len() > MAX_CONTENT {
                return Err(Error::TooLarge);
            }
            if self.is_there(&content)? {
                // A register that came too late for what lies beside the session is nowhere, and says so when it is overtaken.
                if self.writes_into_it() {
                    self.state.settle(&content);
                }
                self.session.keep_to_itself().await?;
                return Ok(None);
            }
            tries += 1;
            match self.write(&content).await {
                // Another window of this device was quicker, or in a shared session another device, which may have brought in a new key or taken it.
                Err(late) if self.is_behind(&late) && tries < TRIES => {
                    let before = (self.session.chain.key_version(), self.session.chain.holder().clone());
                    self.session.reread().await?;
                    // Nobody has brought in another key yet: that is not waited for here.
                    if late.is("state.rekey_required") && before == (self.session.chain.key_version(), self.session.chain.holder().clone()) {
                        return Err(late);
                    }
                }
                Ok(written) => {
                    // What is elsewhere now is not told as overtaken after another start.
                    if self.state.settle(&content) {
                        self.keep_of_which(&content)?;
                    }
                    return Ok(Some(written));
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Whether it writes into the session, as far as this device knows.
    fn writes_into_it(&self) -> bool {
        self.session.is_held() || self.session.is_shared_here()
    }

    /// Takes in what the session has been read on to behind this document's back: nothing is written over it.
    fn catch_up(&mut self) -> Result<(), Error> {
        if self.merged == self.session.head().hash {
            return Ok(());
        }
        self.meanwhile.1.append(&mut self.session.wrote);
        self.untold.append(&mut self.session.beside);
        match self.state.merge(self.session.content(), self.session.epoch()) {
            Ok(merged) => self.meanwhile.0 |= merged.changed,
            Err(Error::NotADocument) => {}
            Err(other) => return Err(other),
        }
        self.merged.clone_from(&self.session.head().hash);
        Ok(())
    }

    async fn write(&mut self, content: &[u8]) -> Result<Written, Error> {
        let is_late = !self.writes_into_it() && self.session.chain.holder() != self.session.device.did();
        // Also what was written while this device held the session, and was kept through a start: that goes beside it now.
        let written = if is_late { self.session.write_beside(content).await? } else { self.session.write(content).await? };
        match &written {
            Written::Session(head) => self.merged.clone_from(&head.hash),
            Written::Branch { .. } => self.beside.push((content.to_vec(), self.last_epoch())),
        }
        Ok(written)
    }

    /// Whether what this device sets now is too late: another holds the session. Of one with two histories this device's own may yet be the one that goes on.
    fn is_late(&self) -> bool {
        !self.writes_into_it() && !self.session.is_forked()
    }

    /// The last epoch at which this device held the session; 0 when it never did.
    fn last_held(&self) -> i64 {
        self.session.chain.last_held_by(self.session.device.did()).unwrap_or(0)
    }

    /// Up to which what it writes counts.
    fn last_epoch(&self) -> i64 {
        let chain = &self.session.chain;
        if self.writes_into_it() { chain.epoch() } else { chain.last_held_by(self.session.device.did()).unwrap_or_else(|| chain.epoch()) }
    }

    fn is_behind(&self, why: &Error) -> bool {
        let moved = ["handoff.fenced", "state.rekey_required"].iter().any(|code| why.is(code));
        why.is("state.conflict") || (moved && self.session.is_shared_here())
    }

    /// Whether the session has all of this, or it lies beside it and is for another to bring in. What is no document has nothing.
    fn is_there(&self, content: &[u8]) -> Result<bool, Error> {
        let mut there = State::new([0; 4]);
        match there.merge(self.session.content(), self.session.epoch()) {
            Ok(_) => {}
            // Its holder writes a document over it; whoever is not looks at what lies beside it alone.
            Err(Error::NotADocument) if !self.writes_into_it() => {}
            Err(Error::NotADocument) => return Ok(false),
            Err(other) => return Err(other),
        }
        for (beside, epoch) in self.beside.iter().filter(|_| !self.writes_into_it()) {
            there.merge(beside, *epoch)?;
        }
        match there.merge(content, self.last_epoch()) {
            // What is here was accepted bit by bit: together it is too much.
            Err(Error::NotADocument) => Err(Error::TooLarge),
            other => Ok(!other?.changed),
        }
    }
}

fn fresh(device: &Device) -> State {
    loop {
        let client = device.http.entropy().bytes();
        if client != [0; 4] {
            return State::new(client);
        }
    }
}
