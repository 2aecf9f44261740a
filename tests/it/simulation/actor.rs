//! A device of a simulation: what its person does there, one thing after another, by the SDK as any app uses it.

use super::net::{Chance, Link, Linked};
use baton_protocol::handoff::machine::{Declining, Target};
use baton_protocol::id::SessionId;
use baton_protocol::key::Did;
use baton_protocol::ports::{Clock, Entropy};
use baton_sdk::document::{Changes, Outcome, Replica, State};
use baton_sdk::keystore::{Kept, Keystore, Memory};
use baton_sdk::yrs::{GetString as _, Text as _, Transact as _};
use baton_sdk::{Asked, Device, Document, Error, Http, Offered, Session, Waiting};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// The register of the word that was written last.
const LAST: &str = "last";

/// How far the last handoff has come, as the broker knows.
#[derive(Clone, Copy)]
pub enum Phase {
    Nothing,
    Asked,
    Offered,
    Accepted,
    Sealed,
}

impl Phase {
    /// What the broker did last on this path, if that changes anything.
    pub fn after(path: &str) -> Option<Self> {
        Some(match path.rsplit('/').next()? {
            "request" => Self::Asked,
            "handoffs" => Self::Offered,
            "accept" => Self::Accepted,
            "seal" => Self::Sealed,
            "complete" | "decline" | "cancel" | "reclaim" | "claim" => Self::Nothing,
            _ => return None,
        })
    }
}

/// What a person may do next.
#[derive(Debug, Clone)]
pub enum Deed {
    Edit(String),
    /// Reads all of it anew, as after a start.
    Follow,
    /// Reads on from what it has.
    ReadOn,
    /// Where another device has it, this one asks for it.
    Offer(Target),
    Accept,
    Decline,
    Cancel,
    /// What it has offered. Where it has offered nothing, it gives the session to whoever asks for it.
    Seal,
    Complete,
    Reclaim,
    Claim,
    Heartbeat,
}

impl Deed {
    /// As often as not what comes next in a handoff, so that lives have some; else anything.
    pub fn any(chance: &mut Chance, word: String, other: &Did, (actor, phase): (&Actor, Phase)) -> Self {
        if chance.one_in(2) {
            return match phase {
                Phase::Asked if actor.holds() => Self::Seal,
                Phase::Offered if !actor.holds() => Self::Accept,
                Phase::Accepted if actor.offered.is_some() => Self::Seal,
                Phase::Sealed if actor.waiting.is_some() => Self::Complete,
                Phase::Sealed if actor.offered.is_some() => Self::Reclaim,
                Phase::Nothing if actor.holds() => Self::Offer(Target::Device(other.clone())),
                Phase::Nothing => Self::Offer(Target::AnyFull),
                _ => Self::Edit(word),
            };
        }
        match chance.below(24) {
            0..6 => Self::Edit(word),
            6 => Self::Follow,
            7 => Self::ReadOn,
            8..11 if chance.one_in(4) => Self::Offer(Target::AnyFull),
            8..11 => Self::Offer(Target::Device(other.clone())),
            11..14 => Self::Accept,
            14..17 => Self::Seal,
            17..20 => Self::Complete,
            20 => Self::Reclaim,
            21 => Self::Claim,
            22 => {
                if chance.one_in(2) {
                    Self::Decline
                } else {
                    Self::Cancel
                }
            }
            _ => Self::Heartbeat,
        }
    }
}

/// What outlives a crash: what was written there, and what was acknowledged.
#[derive(Default)]
pub struct Written {
    pub kept: Vec<String>,
    pub acknowledged: Vec<String>,
    /// The session was here once.
    may: bool,
    /// The word that it set last, unless that has reached the session.
    pub set: Option<String>,
    /// Words that others set and it saw standing, and those it was told of that they do not.
    pub seen: BTreeSet<String>,
    /// What stands beside the document, as this device saw it last.
    pub beside: Vec<String>,
}

/// A device, with what it has in memory.
pub struct Actor {
    pub device: Arc<Device>,
    pub written: Arc<Mutex<Written>>,
    session: SessionId,
    document: Option<Document>,
    offered: Option<Offered>,
    waiting: Option<Waiting>,
    /// Why what it did last did not come about.
    pub failed: Option<String>,
}

/// Where a device is plugged in.
pub struct Plugged {
    pub link: Arc<Link>,
    pub device: Arc<Device>,
    /// What is kept beside it.
    documents: Memory,
    clock: Clock,
    entropy: Entropy,
}

impl Plugged {
    /// A device as it starts: from what it keeps, at its own time, with chance of its own.
    pub fn new(kept: &Kept, clock: Clock, entropy: Entropy) -> Self {
        let (link, documents) = (Arc::new(Link::default()), Memory::default());
        let device = start(kept, &link, &documents, (&clock, &entropy));
        Self { link, device, documents, clock, entropy }
    }

    /// It starts anew, from what it has kept: no token, no key of a service and no idea of the time is left.
    pub fn start_anew(&mut self) {
        self.device = start(&self.device.kept(), &self.link, &self.documents, (&self.clock, &self.entropy));
    }
}

fn start(kept: &Kept, link: &Arc<Link>, documents: &Memory, (clock, entropy): (&Clock, &Entropy)) -> Arc<Device> {
    let http = Http::over(Arc::new(Linked(link.clone())), clock.clone(), entropy.clone());
    Arc::new(Device::from_kept(Keystore::Memory(documents.clone()), kept.clone(), http).unwrap().unwrap())
}

impl Actor {
    /// As it is after a start: nothing in memory.
    pub fn started(device: Arc<Device>, session: SessionId, written: Arc<Mutex<Written>>) -> Self {
        Self { device, written, session, document: None, offered: None, waiting: None, failed: None }
    }

    /// Does something. What is refused, or not answered, is part of life; what says that somebody lies is not.
    pub async fn act(mut self, deed: Deed) -> Self {
        if let Err(error) = Box::pin(self.try_to(&deed)).await {
            let code = error.code().unwrap_or("none").to_owned();
            let honest = match &error {
                Error::Refused { status, .. } => *status < 500 || *status == 503,
                Error::Check(_) => [
                    "handoff.fenced",
                    "handoff.not_holder",
                    "handoff.no_key",
                    "handoff.state",
                    "handoff.target",
                    "state.rollback",
                    "state.rekey_required",
                    "log.not_member",
                    "status.revoked",
                ]
                .contains(&code.as_str()),
                Error::Transport(_) => true,
                _ => false,
            };
            assert!(honest, "{deed:?}: {error}");
            self.failed = Some(error.to_string());
            // What it has in memory may be behind: it reads anew.
            if matches!(deed, Deed::Follow | Deed::ReadOn | Deed::Complete) {
                self.document = None;
            }
            // It may be over, as far as this device can tell; what it has offered is found again where it is not.
            let is_over = !["none", "handoff.state"].contains(&code.as_str());
            match deed {
                Deed::Seal if is_over => self.offered = None,
                Deed::Complete if is_over => self.waiting = None,
                _ => {}
            }
        }
        self.look();
        self
    }

    async fn document(&mut self) -> Result<&mut Document, Error> {
        if self.document.is_none() {
            self.read().await?;
        }
        Ok(self.document.as_mut().unwrap())
    }

    /// What it has offered, also before it died.
    async fn offered(&mut self) -> Result<Option<Offered>, Error> {
        match self.offered.take() {
            Some(offered) => Ok(Some(offered)),
            None => self.document().await?.session().standing().await,
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        let (document, changes) = Document::of(Session::load(&self.device, &self.session).await?).await?;
        self.note(&changes);
        let beside = changes.late.into_iter().filter_map(|late| if let Outcome::Beside(content) = late.outcome { Some(content) } else { None });
        self.written.lock().unwrap().beside = beside.map(|content| text_of(&content)).collect();
        self.document = Some(document);
        Ok(())
    }

    /// What it is told of the word that was written last.
    fn note(&self, changes: &Changes) {
        let late = changes.late.iter().filter_map(|late| if let Outcome::Merged(outdone) = &late.outcome { Some(outdone) } else { None }).flatten();
        let told = changes.outdone.iter().chain(late).filter(|one| one.name == LAST);
        self.written.lock().unwrap().seen.extend(told.filter_map(|one| one.value.as_str().map(str::to_owned)));
    }

    /// And what it sees of it, where that is another's.
    fn look(&self) {
        let stands = self.document.as_ref().and_then(|document| document.state().get(LAST)).and_then(|word| word.as_str().map(str::to_owned));
        let mut written = self.written.lock().unwrap();
        let others = stands.filter(|word| !written.kept.contains(word));
        written.seen.extend(others);
    }

    async fn try_to(&mut self, deed: &Deed) -> Result<(), Error> {
        match deed {
            Deed::Edit(word) => return self.edit(word).await,
            Deed::Follow => {
                self.read().await?;
                self.save().await?;
            }
            Deed::ReadOn => {
                let changes = self.document().await?.follow().await?;
                self.note(&changes);
                self.save().await?;
            }
            Deed::Offer(to) => {
                let session = self.document().await?.session();
                if session.is_held() {
                    self.offered = Some(session.offer(to.clone()).await?);
                } else {
                    session.request().await?;
                }
            }
            Deed::Accept => {
                if let Some(waiting) = Waiting::list(&self.device).await?.into_iter().find(|one| one.offer().session == self.session) {
                    let accepted = waiting.accept().await;
                    self.waiting = Some(waiting);
                    accepted?;
                }
            }
            Deed::Decline => {
                if let Some(waiting) = self.waiting.take() {
                    waiting.decline(Declining::Unwanted).await?;
                }
            }
            Deed::Cancel => {
                if let Some(offered) = self.offered().await? {
                    self.document().await?.session().cancel(&offered).await?;
                }
            }
            Deed::Seal => {
                if let Some(offered) = self.offered().await? {
                    let sealed = self.document().await?.session_mut().seal(&offered).await;
                    self.offered = Some(offered);
                    sealed?;
                } else if let Some(asked) = Asked::list(&self.device).await?.into_iter().find(|one| *one.session() == self.session) {
                    self.offered = Some(self.document().await?.session().agree(&asked).await?);
                }
            }
            Deed::Complete => {
                if let Some(waiting) = &self.waiting {
                    let session = waiting.complete().await?;
                    self.waiting = None;
                    let (document, changes) = Document::of(session).await?;
                    self.note(&changes);
                    self.document = Some(document);
                }
            }
            Deed::Reclaim => {
                if let Some(offered) = self.offered().await? {
                    let reclaimed = self.document().await?.session_mut().reclaim(&offered).await;
                    self.offered = Some(offered);
                    reclaimed?;
                }
            }
            Deed::Claim => {
                self.read().await?;
                self.document().await?.session_mut().claim().await?;
            }
            Deed::Heartbeat => self.document().await?.session().heartbeat().await?,
        }
        Ok(())
    }

    /// Writes a word, with or without a network: from here on it is the person's, whatever happens. Where somebody else has the session, and it was never here,
    /// an app offers nothing to write in.
    async fn edit(&mut self, word: &str) -> Result<(), Error> {
        let may = self.document().await.map(|document| document.session().is_held() || document.session().is_shared());
        if !self.may_write(may.unwrap_or_default()) {
            return Ok(());
        }
        let write = |state: &State| {
            let doc = state.doc();
            doc.get_or_insert_text("notes").insert(&mut doc.transact_mut(), 0, &format!("{word} "));
        };
        // And which was the last, of which all are to think the same in the end.
        let last = Value::from(word);
        match self.document().await {
            Ok(document) => {
                write(document.state());
                document.set(LAST, &last)?;
                document.keep()?;
            }
            // Offline.
            Err(why) => {
                let Some(mut replica) = Replica::load(&self.device, &self.session)? else { return Err(why) };
                write(replica.state());
                replica.set(LAST, &last)?;
                replica.keep()?;
            }
        }
        {
            let mut written = self.written.lock().unwrap();
            written.kept.push(word.to_owned());
            written.set = Some(word.to_owned());
        }
        self.save().await
    }

    fn may_write(&self, may: bool) -> bool {
        let mut written = self.written.lock().unwrap();
        written.may |= may;
        written.may
    }

    async fn save(&mut self) -> Result<(), Error> {
        let holds = self.holds();
        if !self.may_write(holds) {
            return Ok(());
        }
        let document = self.document().await?;
        let saves = text(document.state());
        let saved = document.save().await?;
        let stands = document.state().get(LAST);
        let mut written = self.written.lock().unwrap();
        let acknowledged: Vec<_> = written.kept.iter().filter(|word| saves.contains(&format!("{word} "))).cloned().collect();
        written.acknowledged = acknowledged;
        if matches!(saved, Some(baton_sdk::Written::Session(_))) {
            written.set.take_if(|word| stands.as_ref().and_then(Value::as_str) == Some(word));
        }
        Ok(())
    }

    /// What the document says here, and which word it says was the last.
    pub fn text(&self) -> String {
        let shown = |document: &Document| {
            let last = document.state().get(LAST).unwrap_or_default();
            format!("{}[{}]", text(document.state()), last.as_str().unwrap_or_default())
        };
        self.document.as_ref().map(shown).unwrap_or_default()
    }

    pub fn holds(&self) -> bool {
        self.document.as_ref().is_some_and(|document| document.session().is_held())
    }

    pub fn forget_handoffs(&mut self) {
        (self.offered, self.waiting) = (None, None);
    }
}

fn text(state: &State) -> String {
    let doc = state.doc();
    doc.get_or_insert_text("notes").get_string(&doc.transact())
}

fn text_of(content: &[u8]) -> String {
    let mut state = State::new([0; 4]);
    state.merge(content, i64::MAX).map(|_| text(&state)).unwrap_or_default()
}
