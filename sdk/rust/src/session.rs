//! A session on this device: opened here, taken over, claimed or followed. State is bytes the app gives; each write is the whole of it.

use crate::content::Branch;
use crate::device::{Device, Members};
use crate::error::Error;
use crate::keystore::Pin;
use crate::reading::{Keys, check_accepted, envelope};
use crate::seal;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::handoff::wire::claim_data;
use baton_protocol::id::SessionId;
use baton_protocol::key::{Did, hash};
use baton_protocol::needs::Needs;
use baton_protocol::refusal::{Handoff, State};
use baton_protocol::secret::Secret;
use baton_protocol::session::{Head, Kind, Mode, SealedUpdate, SessionKey};
use baton_protocol::signer::Signer as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// It was held here until somebody else was found to have it: what was meant for it goes beside.
    pub(crate) is_late: bool,
    /// Who wrote what this device had not seen before it was last read.
    pub(crate) wrote: BTreeSet<Did>,
    /// In a shared session, what devices that are out wrote last and this one had not seen: no part of the content.
    pub(crate) beside: Vec<Branch>,
    /// The last of that, as it stands in the session: it goes beside it before anything is written over it.
    pub(crate) aside: Option<SealedUpdate>,
    /// How many updates there are after the last snapshot: whoever reads reads them all.
    pub(crate) since_snapshot: u32,
    /// Number of the last update that is content.
    pub(crate) used: i64,
    /// Who wrote the last of what was read.
    pub(crate) last_by: Option<Did>,
    /// That snapshot's number, as the broker says.
    pub(crate) snapshot_seen: i64,
    pub(crate) fork: Fork,
    /// The last statement that this device had seen of another history, which is over.
    pub(crate) over: Option<String>,
    /// And its document has not been brought over yet.
    pub(crate) was_other: bool,
}

/// Whether this device has seen two histories of a session: then it writes nothing into either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Fork {
    /// It has not, or a claim has ended the other one.
    #[default]
    None,
    /// This is the one it knew, and the broker has another.
    Known,
    /// This is the broker's; the last statement of the one it knew.
    Other(String),
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
    /// Who holds it, by the broker's word.
    pub holder: Option<String>,
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
        let keys = Keys { keys: BTreeMap::from([(1, key)]), recipients, added: BTreeSet::new() };
        let mut session = Self { needs, held: Some(1), ..Self::begun(device.clone(), id, chain, keys) };
        session.write_as(content, Kind::Snapshot).await?;
        Ok(session)
    }

    /// As far as its chain and its keys say, before any of its content.
    pub(crate) fn begun(device: Arc<Device>, id: SessionId, chain: Chain, Keys { keys, recipients, added }: Keys) -> Self {
        let head = Head { epoch: 1, seq: 0, hash: chain.first().into() };
        Self {
            device,
            id,
            chain,
            keys,
            head,
            content: Vec::new(),
            needs: Needs::default(),
            held: None,
            recipients,
            unanswered: None,
            added,
            heard: BTreeMap::new(),
            is_late: false,
            wrote: BTreeSet::new(),
            beside: Vec::new(),
            aside: None,
            since_snapshot: 0,
            used: 0,
            last_by: None,
            snapshot_seen: 0,
            fork: Fork::None,
            over: None,
            was_other: false,
        }
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

    /// What is no part of the content and not lost: in a shared session what devices that are out wrote last and this one had not seen; and after a fork what
    /// this device had in the other history, where it follows this one.
    pub fn beside(&self) -> &[Branch] {
        &self.beside
    }

    /// Whether this device has seen another history of it than this one: nothing is written until a full device's [`Self::claim`] has named both.
    pub fn is_forked(&self) -> bool {
        self.fork != Fork::None
    }

    pub(crate) fn needs_one_history(&self) -> Result<(), Handoff> {
        if self.is_forked() { Err(Handoff::Forked) } else { Ok(()) }
    }

    /// Whether every full device of the person writes into it.
    pub fn is_shared(&self) -> bool {
        self.chain.mode() == Mode::Shared
    }

    /// Whether this device may write though it does not hold the session.
    pub(crate) fn is_shared_here(&self) -> bool {
        self.is_shared() && self.device.tier() == Tier::Full
    }

    /// Refuses to seal anything under a key that somebody has who is out, and for a session that was released.
    pub(crate) async fn needs_to_itself(&self) -> Result<(), Error> {
        if self.chain.released_to().is_some() {
            return Err(Handoff::Fenced.into());
        }
        if self.is_to_itself().await? { Ok(()) } else { Err(State::RekeyRequired.into()) }
    }

    pub(crate) async fn is_to_itself(&self) -> Result<bool, Error> {
        let members = self.device.recent_members().await?;
        Ok(self.recipients.iter().all(|device| self.may_have_key(&members, device)))
    }

    /// Brings in a new key where this device holds the session and somebody who is out has the present one, and writes everything anew under it: in a shared
    /// session the others wait for that.
    pub(crate) async fn keep_to_itself(&mut self) -> Result<(), Error> {
        if self.held.is_some() && self.is_shared() && Box::pin(self.look_after_key()).await? {
            let content = self.content.clone();
            self.write_as(&content, Kind::Snapshot).await?;
        }
        Ok(())
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

    /// Nobody keeps a key who is out, whatever the broker says of it, and every full device has it: looks at the log, once a minute at most. True
    /// when there is a new key.
    pub(crate) async fn look_after_key(&mut self) -> Result<bool, Error> {
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
        self.wrote.clear();
        let (known, epoch, content) = (self.chain.last().to_owned(), self.epoch(), self.content.clone());
        self.reread().await?;
        // What stood in another history, which is over, is not in this one, and not lost either.
        if self.chain.continues(&known).is_err() {
            self.beside.push(Branch { device: self.device.did().clone(), epoch, content: Some(content), counts: false });
        }
        Ok(())
    }

    /// [`Self::follow`], of what is acknowledged elsewhere.
    pub(crate) async fn reread(&mut self) -> Result<(), Error> {
        let fresh = Self::load(&self.device, &self.id).await.inspect_err(|why| {
            if why.is("handoff.forked") && self.fork == Fork::None {
                (self.fork, self.held) = (Fork::Known, None);
            }
        })?;
        let (heard, mut wrote) = (std::mem::take(&mut self.heard), std::mem::take(&mut self.wrote));
        wrote.extend(fresh.wrote);
        let is_late = self.is_late && fresh.held.is_none();
        *self = Self { heard, is_late, wrote, ..fresh };
        Ok(())
    }

    /// From here on this device holds it.
    pub(crate) fn hold(&mut self, epoch: i64) {
        (self.held, self.is_late) = (Some(epoch), false);
    }

    /// What is written is at the head that whoever wrote it had read: looking after the key may have read on.
    pub(crate) fn is_still_at(&self, head: &str) -> Result<(), Error> {
        if self.head.hash == head { Ok(()) } else { Err(State::Conflict.into()) }
    }

    /// Brings in a new key: required after a revocation, and when the session leaves a limited device.
    pub async fn rekey(&mut self) -> Result<(), Error> {
        self.needs_one_history()?;
        let epoch = self.held.ok_or(Handoff::NotHolder)?;
        let key = SessionKey { version: self.chain.key_version() + 1, key: Secret::new(self.device.http.entropy().bytes()) };
        let (envelope, recipients) = envelope(&self.device, &*self.device.members().await?, &self.id, &key, None).await?;
        let act = Act::Rekey { key_version: key.version, envelope: hash(envelope.as_bytes()) };
        match self.say("rekey", "session:write", epoch, act, json!({"envelope": envelope})).await {
            // The answer to an earlier one may have been lost: then its key is there.
            Err(refused) if refused.is("handoff.statement") || refused.is("handoff.forked") => {
                Box::pin(self.reread()).await?;
                return if self.chain.key_version() < key.version { Err(refused) } else { Ok(()) };
            }
            other => other?,
        }
        self.keys.insert(key.version, key);
        self.recipients = recipients;
        Ok(())
    }

    /// Claims a session that nobody holds, from the head this device knows, with a new key. On [another history](Self::load_other) it ends the fork.
    pub async fn claim(&mut self) -> Result<(), Error> {
        let also = match &self.fork {
            Fork::None => None,
            Fork::Known => return Err(Handoff::Forked.into()),
            Fork::Other(known) => Some(known.clone()),
        };
        if !self.keys.contains_key(&self.chain.key_version()) {
            return Err(Handoff::NoKey.into());
        }
        let device = self.device.clone();
        let key = SessionKey { version: self.chain.key_version() + 1, key: Secret::new(device.http.entropy().bytes()) };
        let (envelope, recipients) = envelope(&device, &*device.members().await?, &self.id, &key, None).await?;
        let act = Act::Claim { from: self.head.clone(), also, key_version: key.version, envelope: hash(envelope.as_bytes()) };
        let (text, statement, digest) = self.sign(self.chain.epoch() + 1, act).await?;
        let data = [claim_data(&self.id, &self.head, &digest)];
        let mut offset = Some(device.http.offset());
        let answer = loop {
            let nonce = device.nonce(&device.servers.broker).await?;
            let presentation = device.present(&device.servers.broker, &nonce, &data, &[]).await?;
            let body = json!({"statement": text, "envelope": envelope, "presentation": presentation});
            match self.post("claim", "handoff:accept", &body).await {
                Err(refused) if device.signs_anew(&refused, &mut offset) => {}
                other => break other?,
            }
        };
        // It is ended once the broker's acceptance was seen, and not before.
        check_accepted(&self.device, &answer, &self.id, &digest).await?;
        if let Fork::Other(known) = &self.fork {
            (self.over, self.was_other) = (Some(known.clone()), true);
        }
        self.go_on(&statement, digest)?;
        (self.fork, self.over) = (Fork::None, None);
        self.keys.insert(key.version, key);
        self.recipients = recipients;
        self.hold(self.chain.epoch());
        let content = self.content.clone();
        self.write_as(&content, Kind::Snapshot).await.map(|_| ())
    }

    pub(crate) fn keep_pin(&self) -> Result<(), Error> {
        let pin = Pin {
            chain: self.chain.last().into(),
            n: self.chain.count(),
            seq: self.head.seq,
            hash: self.head.hash.clone(),
            used: self.used,
            added: self.added.clone(),
            was_other: self.was_other,
        };
        self.device.set_pin(self.id.as_str(), pin, &self.chain, self.over.as_deref())
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
        self.go_on(statement, digest)
    }

    /// The broker's acceptance was seen.
    fn go_on(&mut self, statement: &Statement, digest: String) -> Result<(), Error> {
        self.chain = self.chain.clone().apply(statement, digest)?;
        self.keep_pin()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("epoch", &self.chain.epoch()).field("seq", &self.head.seq).finish_non_exhaustive()
    }
}
