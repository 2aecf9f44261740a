//! A session on this device: opened here, taken over, claimed or followed. State is bytes the app gives; each write is the whole of it.

use crate::device::{Device, Members};
use crate::error::Error;
use crate::keystore::Pin;
use crate::reading::{Keys, check_accepted, envelope, read_chain, read_keys};
use crate::seal;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::handoff::wire::claim_data;
use baton_protocol::id::SessionId;
use baton_protocol::key::{Did, hash};
use baton_protocol::needs::Needs;
use baton_protocol::refusal::{Handoff, State};
use baton_protocol::secret::Secret;
use baton_protocol::session::{Head, Kind, Mode, Place, SealedUpdate, SessionKey, draft_update};
use baton_protocol::signer::Signer as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// After how many updates a write is a snapshot: whoever reads the session begins there.
const SNAPSHOT_EVERY: u32 = 32;
/// Most late updates that are read: more than a broker keeps of sixteen devices.
const MOST_BRANCHES: usize = 4096;

/// A session as this device knows it.
pub struct Session {
    pub(crate) device: Arc<Device>,
    pub(crate) id: SessionId,
    pub(crate) chain: Chain,
    pub(crate) keys: BTreeMap<i64, SessionKey>,
    pub(crate) head: Head,
    pub(crate) content: Vec<u8>,
    pub(crate) needs: Needs,
    /// The epoch at which this device may write, if it may.
    pub(crate) held: Option<i64>,
    /// Who was given the newest key.
    pub(crate) recipients: BTreeSet<Did>,
    /// The last update whose answer did not come.
    pub(crate) unanswered: Option<String>,
    /// Envelopes outside the chain that were taken while who added them was live.
    pub(crate) added: BTreeSet<String>,
    /// The newest volatile update of each device: its epoch and number.
    pub(crate) heard: BTreeMap<Did, (i64, i64)>,
    /// Who wrote what this device had not seen before it was last read.
    pub(crate) wrote: BTreeSet<Did>,
    /// In a shared session, what devices that are out wrote last and this one had not seen: no part of the content.
    pub(crate) beside: Vec<Branch>,
    /// How many updates there are after the last snapshot: whoever reads reads them all.
    pub(crate) since_snapshot: u32,
    /// Who wrote the last of what was read.
    last_by: Option<Did>,
    /// That snapshot's number, as the broker says.
    snapshot_seen: i64,
}

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

/// A session as the broker lists it: a hint, until [`Session::load`] has checked it.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Listed {
    /// Its id.
    pub session: String,
    /// `active`, `detached`, `handing_off` or `ended`.
    pub phase: String,
    /// Its epoch.
    pub epoch: i64,
}

impl Device {
    /// The sessions this device may see.
    pub async fn sessions(&self) -> Result<Vec<Listed>, Error> {
        let answer = self.broker("GET", "/v1/sessions", "session:read", None, None).await?;
        serde_json::from_value(answer["sessions"].clone()).map_err(|_| Error::Answer("sessions"))
    }
}

impl Session {
    /// Opens a session on this device, with its first content.
    pub async fn open(device: &Arc<Device>, content: &[u8]) -> Result<Self, Error> {
        Self::open_needing(device, content, Needs::default()).await
    }

    /// The same, for devices that have what it needs.
    pub async fn open_needing(device: &Arc<Device>, content: &[u8], needs: Needs) -> Result<Self, Error> {
        Self::open_as(device, content, needs, Mode::Exclusive).await
    }

    /// Opens a session that every full device of the person may write into, whoever holds it: for documents, whose edits come together.
    pub async fn open_shared(device: &Arc<Device>, content: &[u8]) -> Result<Self, Error> {
        Self::open_as(device, content, Needs::default(), Mode::Shared).await
    }

    async fn open_as(device: &Arc<Device>, content: &[u8], needs: Needs, mode: Mode) -> Result<Self, Error> {
        needs.check().map_err(baton_protocol::Refusal::from)?;
        let entropy = device.http.entropy();
        let id = SessionId::new(device.http.now(), entropy.bytes());
        let key = SessionKey { version: 1, key: Secret::new(entropy.bytes()) };
        let members = device.members().await?;
        let (envelope, recipients) = envelope(device, &members, &id, &key, None).await?;
        let app = members.log.app().to_owned();
        let act = Act::Open { app, subject: device.subject().into(), mode, envelope: hash(envelope.as_bytes()) };
        let statement = Statement { v: 1, session: id.clone(), epoch: 1, prev: None, device: device.did().clone(), act };
        let text = device.signing.seal(statement.draft()).await?;
        let (_, digest) = Statement::read(&text)?;
        let answer = device.broker("POST", "/v1/sessions", "session:write", None, Some(&json!({"statement": text, "envelope": envelope}))).await?;
        check_accepted(device, &answer, &id, &digest).await?;
        let chain = Chain::open(&statement, digest.clone())?;
        let head = Head { epoch: 1, seq: 0, hash: digest };
        let keys = BTreeMap::from([(1, key)]);
        let device = device.clone();
        let added = BTreeSet::new();
        let mut session = Self {
            device,
            id,
            chain,
            keys,
            head,
            content: Vec::new(),
            needs,
            held: Some(1),
            recipients,
            unanswered: None,
            added,
            heard: BTreeMap::new(),
            wrote: BTreeSet::new(),
            beside: Vec::new(),
            since_snapshot: 0,
            last_by: None,
            snapshot_seen: 0,
        };
        session.write_as(content, Kind::Snapshot).await?;
        Ok(session)
    }

    /// Reads a session with all its checks: the chain and its acceptances, keys from members of the log, every update after the last snapshot.
    pub async fn load(device: &Arc<Device>, id: &SessionId) -> Result<Self, Error> {
        match Self::load_once(device, id).await {
            // The session may have moved on between its chain and its content: then another look finds both together.
            Err(Error::Check(baton_protocol::Refusal::State(State::Rollback))) => Box::pin(Self::load_once(device, id)).await,
            other => other,
        }
    }

    async fn load_once(device: &Arc<Device>, id: &SessionId) -> Result<Self, Error> {
        let path = format!("/v1/sessions/{id}");
        let shown = device.broker("GET", &path, "session:read", None, None).await?;
        let members = device.members().await?;
        let chain = read_chain(device, &members, id).await?;
        if chain.subject() != device.subject() {
            return Err(Handoff::Statement.into());
        }
        let pin = device.pin(id.as_str());
        if let Some(pin) = &pin {
            chain.continues(&pin.chain)?;
        }
        let Keys { keys, recipients, added } = read_keys(device, &members, &chain, pin.as_ref()).await?;
        let head = Head { epoch: 1, seq: 0, hash: chain.first().into() };
        let device = device.clone();
        let content = Vec::new();
        let mut session = Self {
            device,
            id: id.clone(),
            head,
            content,
            needs: Needs::default(),
            chain,
            keys,
            held: None,
            recipients,
            unanswered: None,
            added,
            heard: BTreeMap::new(),
            wrote: BTreeSet::new(),
            beside: Vec::new(),
            since_snapshot: 0,
            last_by: None,
            snapshot_seen: 0,
        };
        let snapshot = shown["last_snapshot"].as_i64().unwrap_or(0);
        session.read_from(&members, snapshot, pin.as_ref()).await?;
        if pin.is_some_and(|pin| session.head.seq < pin.seq) {
            return Err(State::Rollback.into());
        }
        let me = session.device.did();
        let holds = session.chain.holder() == me && session.chain.released_to().is_none() && shown["holder"].as_str() == Some(me.as_str());
        session.held = holds.then(|| session.chain.epoch());
        session.keep_pin()?;
        session.snapshot_seen = snapshot;
        Ok(session)
    }

    /// Tells the broker, once for each snapshot, that this device has made use of what it read: what that covers may go. Whether the broker heard is its own affair: it
    /// keeps more, that is all. A [`Document`](crate::Document) does it by itself.
    pub async fn acknowledge(&self) {
        if self.snapshot_seen > 0 && self.device.is_new_snapshot(self.id.as_str(), self.snapshot_seen) {
            let body = json!({"seq": self.head.seq, "hash": self.head.hash});
            let _ = self.post("acknowledge", "session:read", &body).await;
        }
    }

    /// Who wrote its content.
    pub(crate) fn writer(&self) -> &Did {
        self.last_by.as_ref().unwrap_or(self.chain.holder())
    }

    /// Its id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }
    /// The content as this device knows it.
    pub fn content(&self) -> &[u8] {
        &self.content
    }
    /// The epoch.
    pub fn epoch(&self) -> i64 {
        self.chain.epoch()
    }
    /// Where its content stands.
    pub fn head(&self) -> &Head {
        &self.head
    }
    /// Whether this device may write, as far as it knows.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether every full device of the person writes into it.
    pub fn is_shared(&self) -> bool {
        self.chain.mode() == Mode::Shared
    }

    /// Whether this device may write though it does not hold the session.
    pub(crate) fn is_shared_here(&self) -> bool {
        self.is_shared() && self.device.tier() == Tier::Full
    }

    /// Writes the content. Acknowledged means durable. When the session has moved on, the write is kept as a branch; in a shared one the app reads on
    /// ([`Self::follow`]) and writes again.
    pub async fn write(&mut self, content: &[u8]) -> Result<Written, Error> {
        if self.held.is_none() && self.is_shared_here() {
            return Box::pin(self.write_along(content)).await;
        }
        if self.held.is_none() {
            // What was released or taken is not written any more, whatever a broker would take.
            return if self.chain.holder() == self.device.did() { self.late(content, None).await } else { Err(Handoff::NotHolder.into()) };
        }
        let unanswered = self.unanswered.take();
        // Under a new key everything is written anew: who has no other reads from there.
        let kind = if Box::pin(self.look_after_key()).await? { Kind::Snapshot } else { Kind::Update };
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
                self.follow().await?;
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

    /// Refuses to seal anything under a key that somebody has who is out, and for a session that was released.
    pub(crate) async fn needs_to_itself(&self) -> Result<(), Error> {
        if self.chain.released_to().is_some() {
            return Err(Handoff::Fenced.into());
        }
        let members = self.device.recent_members().await?;
        let all_may = self.recipients.iter().all(|device| self.may_have_key(&members, device));
        if all_may { Ok(()) } else { Err(State::RekeyRequired.into()) }
    }

    /// Brings in a new key where this device holds the session and somebody who is out has the present one: in a shared session the others wait for that.
    pub(crate) async fn keep_to_itself(&mut self) -> Result<(), Error> {
        if self.held.is_some() && self.is_shared() { Box::pin(self.look_after_key()).await.map(|_| ()) } else { Ok(()) }
    }

    fn may_have_key(&self, members: &Members, device: &Did) -> bool {
        let syncs =
            device == self.device.did() || device == self.chain.holder() || members.log.tier(device).is_some_and(|tier| members.syncs(device, tier));
        members.live.contains(device) && syncs
    }

    /// All of the present content, written anew under a key that is good.
    pub(crate) async fn snapshot(&mut self) -> Result<(), Error> {
        Box::pin(self.look_after_key()).await?;
        let content = self.content.clone();
        match self.write_as(&content, Kind::Snapshot).await {
            // The broker knows of somebody who left, and this device did not yet.
            Err(error) if error.is("state.rekey_required") => {
                self.rekey().await?;
                self.write_as(&content, Kind::Snapshot).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }

    async fn late(&mut self, content: &[u8], epoch: Option<i64>) -> Result<Written, Error> {
        self.held = None;
        self.branch(content).await?;
        Ok(Written::Branch { epoch: epoch.unwrap_or(self.chain.epoch() + 1) })
    }

    /// Nobody keeps a key who is out, whatever the broker says of it, and every full device has it: looks at the log, once a minute at most. True
    /// when there is a new key.
    async fn look_after_key(&mut self) -> Result<bool, Error> {
        let members = self.device.recent_members().await?;
        if self.recipients.iter().any(|device| !self.may_have_key(&members, device)) {
            self.rekey().await?;
            return Ok(true);
        }
        if let Err(refused) = self.let_in(&members).await {
            // Somebody of whom this device did not know is kept from it, or out; or the broker has not heard of a newcomer yet. Who may have it is
            // looked at anew, and once more with the next write: it holds up nobody's.
            if !refused.is("state.recipient") {
                return Err(refused);
            }
            let members = self.device.members().await?;
            if let Err(other) = self.let_in(&members).await
                && !other.is("state.recipient")
            {
                return Err(other);
            }
        }
        Ok(false)
    }

    /// Gives the key to members who lack it.
    async fn let_in(&mut self, members: &Members) -> Result<(), Error> {
        let lacks = |device: &Did, tier: Tier| members.syncs(device, tier) && !self.recipients.contains(device);
        let newcomers = members.recipients(lacks);
        if self.device.tier() == Tier::Full && !newcomers.is_empty() {
            let key = self.keys.get(&self.chain.key_version()).ok_or(Handoff::NoKey)?;
            let jws = self.device.signing.seal(key.draft(&self.id, members.log.head(), self.device.did())).await?;
            let body = json!({"key_version": key.version, "envelope": seal::seal(&jws, &newcomers)?});
            self.post("envelopes", "session:write", &body).await?;
            self.recipients.extend(newcomers.into_iter().map(|(device, _)| device));
        }
        Ok(())
    }

    /// Tells the broker that this device is still there.
    pub async fn heartbeat(&self) -> Result<(), Error> {
        let epoch = self.held.ok_or(Handoff::NotHolder)?;
        self.post("heartbeat", "session:write", &json!({"epoch": epoch})).await.map(|_| ())
    }

    /// Reads what others wrote since. What was read before is acknowledged.
    pub async fn follow(&mut self) -> Result<(), Error> {
        self.acknowledge().await;
        let fresh = Self::load(&self.device, &self.id).await?;
        let heard = std::mem::take(&mut self.heard);
        *self = Self { heard, ..fresh };
        Ok(())
    }

    /// Brings in a new key: required after a revocation, and when the session leaves a limited device.
    pub async fn rekey(&mut self) -> Result<(), Error> {
        let epoch = self.held.ok_or(Handoff::NotHolder)?;
        let key = SessionKey { version: self.chain.key_version() + 1, key: Secret::new(self.device.http.entropy().bytes()) };
        let (envelope, recipients) = envelope(&self.device, &*self.device.members().await?, &self.id, &key, None).await?;
        let act = Act::Rekey { key_version: key.version, envelope: hash(envelope.as_bytes()) };
        match self.say("rekey", "session:write", epoch, act, json!({"envelope": envelope})).await {
            // The answer to an earlier one may have been lost: then its key is there.
            Err(refused) if refused.is("handoff.statement") || refused.is("handoff.forked") => {
                Box::pin(self.follow()).await?;
                return if self.chain.key_version() < key.version { Err(refused) } else { Ok(()) };
            }
            other => other?,
        }
        self.keys.insert(key.version, key);
        self.recipients = recipients;
        Ok(())
    }

    /// Claims a session that nobody holds, from the head this device knows, with a new key.
    pub async fn claim(&mut self) -> Result<(), Error> {
        if !self.keys.contains_key(&self.chain.key_version()) {
            return Err(Handoff::NoKey.into());
        }
        let device = self.device.clone();
        let key = SessionKey { version: self.chain.key_version() + 1, key: Secret::new(device.http.entropy().bytes()) };
        let (envelope, recipients) = envelope(&device, &*device.members().await?, &self.id, &key, None).await?;
        let act = Act::Claim { from: self.head.clone(), also: None, key_version: key.version, envelope: hash(envelope.as_bytes()) };
        let (text, statement, digest) = self.sign(self.chain.epoch() + 1, act).await?;
        let nonce = device.nonce(&device.servers.broker).await?;
        let data = [claim_data(&self.id, &self.head, &digest)];
        let presentation = device.present(&device.servers.broker, &nonce, &data, &[]).await?;
        let body = json!({"statement": text, "envelope": envelope, "presentation": presentation});
        let answer = self.post("claim", "handoff:accept", &body).await?;
        self.take(&answer, &statement, digest).await?;
        self.keys.insert(key.version, key);
        self.recipients = recipients;
        self.held = Some(self.chain.epoch());
        let content = self.content.clone();
        self.write_as(&content, Kind::Snapshot).await.map(|_| ())
    }

    /// What a device does that missed a rekey: writes under the key before the present one. For demonstrations of the refusal.
    pub async fn write_under_old_key(&self, content: &[u8]) -> Result<(), Error> {
        let old = self.keys.get(&(self.chain.key_version() - 1)).ok_or(Handoff::NoKey)?;
        let update = self.sealed_under(content, Kind::Update, old).await?;
        self.post("updates", "session:write", &serde_json::to_value(&update).map_err(|_| Error::Answer("update"))?).await.map(|_| ())
    }

    /// A sealed update as [`Self::write`] would send it, for the caller to send: its answer never comes here.
    pub async fn draft_write(&mut self, content: &[u8]) -> Result<SealedUpdate, Error> {
        let update = self.sealed(content, Kind::Update).await?;
        self.unanswered = Some(update.hash());
        Ok(update)
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

    async fn branch(&mut self, content: &[u8]) -> Result<(), Error> {
        let update = self.sealed(content, Kind::Update).await?;
        self.post("branches", "session:write", &serde_json::to_value(&update).map_err(|_| Error::Answer("update"))?).await.map(|_| ())
    }

    async fn sealed(&self, content: &[u8], kind: Kind) -> Result<SealedUpdate, Error> {
        let key = self.keys.get(&self.chain.key_version()).ok_or(Handoff::NoKey)?;
        self.sealed_under(content, kind, key).await
    }

    async fn sealed_under(&self, content: &[u8], kind: Kind, key: &SessionKey) -> Result<SealedUpdate, Error> {
        let place = Place {
            session: self.id.clone(),
            epoch: self.chain.epoch(),
            seq: self.head.seq + 1,
            prev: self.head.hash.clone(),
            key_version: key.version,
            kind,
        };
        let jws = self.device.signing.seal(draft_update(&place, content, &self.needs, self.device.did())).await?;
        Ok(SealedUpdate::seal(place, content, &jws, key, self.device.http.entropy().bytes())?)
    }

    pub(crate) async fn write_as(&mut self, content: &[u8], kind: Kind) -> Result<Head, Error> {
        let kind = if self.since_snapshot < SNAPSHOT_EVERY { kind } else { Kind::Snapshot };
        let update = self.sealed(content, kind).await?;
        self.unanswered = Some(update.hash());
        self.post("updates", "session:write", &serde_json::to_value(&update).map_err(|_| Error::Answer("update"))?).await?;
        self.unanswered = None;
        self.head = Head { epoch: update.place.epoch, seq: update.place.seq, hash: update.hash() };
        self.content = content.to_vec();
        self.since_snapshot = if kind == Kind::Snapshot { 0 } else { self.since_snapshot + 1 };
        self.keep_pin()?;
        Ok(self.head.clone())
    }

    pub(crate) fn keep_pin(&self) -> Result<(), Error> {
        let pin = Pin {
            chain: self.chain.last().into(),
            n: self.chain.count(),
            seq: self.head.seq,
            hash: self.head.hash.clone(),
            added: self.added.clone(),
        };
        self.device.set_pin(self.id.as_str(), pin)
    }

    pub(crate) async fn post(&self, verb: &str, scope: &str, body: &Value) -> Result<Value, Error> {
        let path = format!("/v1/sessions/{}/{verb}", self.id);
        self.device.broker("POST", &path, scope, Some(self.id.as_str()), Some(body)).await
    }

    pub(crate) async fn sign(&self, epoch: i64, act: Act) -> Result<(String, Statement, String), Error> {
        let statement =
            Statement { v: 1, session: self.id.clone(), epoch, prev: Some(self.chain.last().into()), device: self.device.did().clone(), act };
        let text = self.device.signing.seal(statement.draft()).await?;
        let (_, digest) = Statement::read(&text)?;
        Ok((text, statement, digest))
    }

    async fn say(&mut self, verb: &str, scope: &str, epoch: i64, act: Act, mut body: Value) -> Result<(), Error> {
        let (text, statement, digest) = self.sign(epoch, act).await?;
        body["statement"] = text.into();
        let answer = self.post(verb, scope, &body).await?;
        self.take(&answer, &statement, digest).await
    }

    /// Acts on an own statement only now that the broker has accepted it.
    pub(crate) async fn take(&mut self, answer: &Value, statement: &Statement, digest: String) -> Result<(), Error> {
        check_accepted(&self.device, answer, &self.id, &digest).await?;
        self.chain = self.chain.clone().apply(statement, digest)?;
        self.keep_pin()
    }

    async fn read_from(&mut self, members: &Members, snapshot: i64, pin: Option<&Pin>) -> Result<(), Error> {
        // In a shared session what this device has seen must still be there, also before a snapshot that another made.
        let seen = pin.filter(|_| self.is_shared()).map_or(snapshot, |pin| pin.seq.min(snapshot));
        if !self.read_after(members, (seen - 1).max(0), snapshot, pin).await? {
            // All of that is of devices that are out: then what was before it, and where nothing was, theirs.
            let head = Head { epoch: 1, seq: 0, hash: self.chain.first().into() };
            self.head = head;
            if !self.read_after(members, 0, snapshot, pin).await?
                && let Some(last) = self.beside.pop()
            {
                self.content = last.content.unwrap_or_default();
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
                let is_new = pin.is_none_or(|pin| at.seq > pin.seq);
                self.last_by = Some(opened.by.clone());
                if opened.by != *self.device.did() && pin.is_none_or(|pin| at.seq > pin.seq) {
                    self.wrote.insert(opened.by.clone());
                }
                // Whoever is out may have sealed it yesterday or just now, and a broker that is with them shows either. What they wrote in good time is in what
                // others wrote after it; the last of it is for the person to look at.
                let is_out = self.is_shared() && is_new && !members.live.contains(&opened.by) && self.chain.holder_at(at.epoch) != Some(&opened.by);
                if is_out {
                    self.beside = vec![Branch { device: opened.by, epoch: at.epoch, content: Some(opened.content), counts: false }];
                } else {
                    (self.content, self.needs) = (opened.content, opened.needs);
                    self.beside.clear();
                    is_read = true;
                }
                self.since_snapshot = if place.kind == Kind::Snapshot { 0 } else { self.since_snapshot + 1 };
                (after, key_version) = (place.seq, place.key_version);
                last = Some(at.clone());
                self.head = at;
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("epoch", &self.chain.epoch()).field("seq", &self.head.seq).finish_non_exhaustive()
    }
}
