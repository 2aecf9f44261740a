//! Reading a session: all of it with its checks, and what lies beside it. The broker is not believed.

use crate::device::{Device, Members};
use crate::error::Error;
use crate::keystore::Pin;
use crate::reading::{read_chain, read_keys};
use crate::session::{Fork, Session};
use baton_protocol::credential::Tier;
use baton_protocol::id::SessionId;
use baton_protocol::key::Did;
use baton_protocol::refusal::{Handoff, State};
use baton_protocol::session::{Head, Kind, SealedUpdate};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most late updates that are read: more than a broker keeps of sixteen devices.
const MOST_BRANCHES: usize = 4096;

/// A late update kept beside a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Who wrote it; of one that this device cannot read, who the broker says did.
    pub device: Did,
    /// At which epoch.
    pub epoch: i64,
    /// What; nothing when this device cannot read it: it was enrolled after that key, or it is no update at all.
    pub content: Option<Vec<u8>>,
    /// Whether its device is still one of the person's, and might write then. What anybody else left is for the person to look at, and no more.
    pub counts: bool,
}

impl Session {
    /// Reads a session with all its checks: the chain and its acceptances, keys from members of the log, every update after the last snapshot.
    pub async fn load(device: &Arc<Device>, id: &SessionId) -> Result<Self, Error> {
        Self::load_whole(device, id, false).await
    }

    /// The history that the broker has, where this device may have seen another: to be looked at, and gone on from once [`Self::claim`] has ended the fork. What
    /// this device had is in its own [`Session`], or document, until it reads anew.
    pub async fn load_other(device: &Arc<Device>, id: &SessionId) -> Result<Self, Error> {
        Self::load_whole(device, id, true).await
    }

    async fn load_whole(device: &Arc<Device>, id: &SessionId, other: bool) -> Result<Self, Error> {
        match Self::load_once(device, id, other).await {
            // The session may have moved on between its chain and its content: then another look finds both together.
            Err(Error::Check(baton_protocol::Refusal::State(State::Rollback))) => Box::pin(Self::load_once(device, id, other)).await,
            other => other,
        }
    }

    async fn load_once(device: &Arc<Device>, id: &SessionId, other: bool) -> Result<Self, Error> {
        let path = format!("/v1/sessions/{id}");
        let shown = device.broker("GET", &path, "session:read", None, None).await?;
        let members = device.members().await?;
        let chain = read_chain(device, &members, id).await?;
        if chain.subject() != device.subject() {
            return Err(Handoff::Statement.into());
        }
        let seen = device.pin(id.as_str());
        let may_end = |by: &Did| members.live.contains(by) && members.log.tier(by) == Some(Tier::Full);
        let (mut fork, mut over, mut pin) = (Fork::None, None, None);
        if let Some(seen) = seen {
            let continues = chain.continues(&seen.chain);
            if continues.is_ok() {
                pin = Some(seen);
            // What was seen of another history says nothing about this one.
            } else if chain.has_ended(&seen.chain, may_end) {
                over = Some(seen.chain);
            } else if other {
                fork = Fork::Other(seen.chain);
            } else {
                continues?;
            }
        }
        let keys = read_keys(device, &members, &chain, pin.as_ref()).await?;
        let mut session = Self::begun(device.clone(), id.clone(), chain, keys);
        session.was_other = over.is_some() || pin.as_ref().is_some_and(|pin| pin.was_other);
        session.over = over;
        let snapshot = shown["last_snapshot"].as_i64().unwrap_or(0);
        session.read_from(&members, snapshot, pin.as_ref()).await?;
        if pin.is_some_and(|pin| session.head.seq < pin.seq) {
            return Err(State::Rollback.into());
        }
        let me = session.device.did();
        let holds = session.chain.holder() == me && session.chain.released_to().is_none() && shown["holder"].as_str() == Some(me.as_str());
        session.held = holds.then(|| session.chain.epoch()).filter(|_| fork == Fork::None);
        session.fork = fork;
        if !session.is_forked() {
            session.keep_pin()?;
            // From here on what it keeps is of this history.
            session.over = None;
        }
        session.snapshot_seen = snapshot;
        Ok(session)
    }

    /// Tells the broker, once for each snapshot, that this device has made use of what it read: what that covers may go. Whether the broker heard is its own affair: it
    /// keeps more, that is all. A [`Document`](crate::Document) does it by itself.
    pub async fn acknowledge(&self) {
        if !self.is_forked() && self.snapshot_seen > 0 && self.device.is_new_snapshot(self.id.as_str(), self.snapshot_seen) {
            let body = json!({"seq": self.head.seq, "hash": self.head.hash});
            let _ = self.post("acknowledge", "session:read", &body).await;
        }
    }

    /// Who wrote its content.
    pub(crate) fn writer(&self) -> &Did {
        self.last_by.as_ref().unwrap_or(self.chain.holder())
    }

    /// Late updates kept beside the session, opened where this device has the key.
    pub async fn branches(&self) -> Result<Vec<Branch>, Error> {
        let mut rows: Vec<Value> = Vec::new();
        let place = |row: &Value| (row["at"].as_i64().unwrap_or(0), row["hash"].as_str().unwrap_or_default().to_owned());
        loop {
            let (at, hash) = rows.last().map_or((0, String::new()), place);
            let path = format!("/v1/sessions/{}/branches?at={at}&hash={hash}", self.id);
            let answer = self.device.broker("GET", &path, "session:read", None, None).await?;
            let page = answer["branches"].as_array().ok_or(Error::Answer("branches"))?;
            if page.is_empty() {
                break;
            }
            // A broker that goes in circles is not followed.
            let onward = page.iter().try_fold((at, hash), |last, row| Some(place(row)).filter(|next| *next > last));
            if onward.is_none() || rows.len() > MOST_BRANCHES {
                return Err(Error::Answer("branches"));
            }
            rows.extend(page.iter().cloned());
        }
        let members = self.device.members().await?;
        rows.iter().map(|row| self.read_branch(&members, row)).collect()
    }

    /// One that cannot be read keeps nobody from the others.
    fn read_branch(&self, members: &Members, row: &Value) -> Result<Branch, Error> {
        let device = row["device"].as_str().and_then(|device| Did::parse(device).ok()).ok_or(Error::Answer("branch"))?;
        let update: Option<SealedUpdate> = serde_json::from_value(row["update"].clone()).ok();
        let epoch = update.as_ref().map_or(0, |update| update.place.epoch);
        let opened = update.filter(|update| update.place.session == self.id && update.place.kind != Kind::Volatile).and_then(|update| {
            let key = self.keys.get(&update.place.key_version)?;
            update.open(key, |by| members.log.knows(by)).ok()
        });
        let Some(opened) = opened else { return Ok(Branch { device, epoch, content: None, counts: false }) };
        let holder = self.chain.holder_at(epoch);
        let is_member = self.is_shared() && members.log.tier(&opened.by) == Some(Tier::Full);
        let might = holder == Some(&opened.by) || (is_member && holder.is_some());
        let counts = might && members.live.contains(&opened.by);
        Ok(Branch { device: opened.by, epoch, content: Some(opened.content), counts })
    }

    async fn read_from(&mut self, members: &Members, snapshot: i64, pin: Option<&Pin>) -> Result<(), Error> {
        // In a shared session what this device has seen must still be there, also before a snapshot that another made.
        let seen = pin.filter(|_| self.is_shared()).map_or(snapshot, |pin| pin.used.min(snapshot));
        if !self.read_after(members, (seen - 1).max(0), snapshot, pin).await? {
            // All of that is of devices that are out: then what was before it, and where nothing was, theirs.
            let head = Head { epoch: 1, seq: 0, hash: self.chain.first().into() };
            self.head = head;
            if !self.read_after(members, 0, snapshot, pin).await?
                && let Some(last) = self.beside.pop()
            {
                (self.content, self.used, self.aside) = (last.content.unwrap_or_default(), self.head.seq, None);
            }
        }
        Ok(())
    }

    /// Reads all updates after this one; false when the content is none of them.
    async fn read_after(&mut self, members: &Members, mut after: i64, snapshot: i64, pin: Option<&Pin>) -> Result<bool, Error> {
        // Where nothing can have been forgotten, the first update follows the chain's first statement.
        let mut last = (snapshot <= 1 && after == 0).then(|| self.head.clone());
        // Who is out has an old key at most.
        let (mut key_version, mut is_read) = (1, false);
        loop {
            let path = format!("/v1/sessions/{}/updates?after={after}", self.id);
            let answer = self.device.broker("GET", &path, "session:read", None, None).await?;
            let updates: Vec<SealedUpdate> = serde_json::from_value(answer["updates"].clone()).map_err(|_| Error::Answer("updates"))?;
            if updates.is_empty() {
                self.chain.accepts_end(&self.head)?;
                return Ok(is_read || self.beside.is_empty());
            }
            for update in updates {
                let place = &update.place;
                let at = Head { epoch: place.epoch, seq: place.seq, hash: update.hash() };
                let follows = last.as_ref().is_none_or(|last| place.prev == last.hash && place.seq == last.seq + 1 && place.epoch >= last.epoch);
                let pinned = pin.is_none_or(|pin| pin.seq != at.seq || pin.hash.is_empty() || pin.hash == at.hash);
                if place.session != self.id || !follows || !pinned || place.key_version < key_version || place.kind == Kind::Volatile {
                    return Err(State::Rollback.into());
                }
                let key = self.keys.get(&place.key_version).ok_or(Handoff::NoKey)?;
                let opened = update.open(key, |by| members.log.knows(by))?;
                self.chain.accepts_update(&opened.by, &at)?;
                if self.is_shared() && members.log.tier(&opened.by) != Some(Tier::Full) && self.chain.holder_at(at.epoch) != Some(&opened.by) {
                    return Err(State::Sender.into());
                }
                let is_new = pin.is_none_or(|pin| at.seq > pin.used);
                self.last_by = Some(opened.by.clone());
                if opened.by != *self.device.did() && pin.is_none_or(|pin| at.seq > pin.seq) {
                    self.wrote.insert(opened.by.clone());
                }
                // Whoever is out may have sealed it yesterday or just now, and a broker that is with them shows either. What they wrote in good time is in what
                // others wrote after it; the last of it is for the person to look at.
                let is_out = self.is_shared() && is_new && !members.live.contains(&opened.by) && self.chain.holder_at(at.epoch) != Some(&opened.by);
                if is_out {
                    self.beside = vec![Branch { device: opened.by, epoch: at.epoch, content: Some(opened.content), counts: false }];
                    self.aside = Some(update.clone());
                } else {
                    self.aside = None;
                    (self.content, self.needs) = (opened.content, opened.needs);
                    self.beside.clear();
                    (is_read, self.used) = (true, at.seq);
                }
                self.since_snapshot = if place.kind == Kind::Snapshot { 0 } else { self.since_snapshot + 1 };
                (after, key_version) = (place.seq, place.key_version);
                last = Some(at.clone());
                self.head = at;
            }
        }
    }
}
