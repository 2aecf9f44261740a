//! An enrolled device: it presents itself, gets tokens, reads its log, and speaks to the broker.

use crate::enroll::{check_issued, fetch_issued};
use crate::error::Error;
use crate::http::{Http, Request};
use crate::keys::SoftKey;
use crate::keystore::{Enrolled, Handing, Kept, Keystore, Pin};
use crate::line::Line;
use crate::servers::Servers;
use baton_protocol::credential::Tier;
use baton_protocol::device_log::{DeviceLog, RootConsent};
use baton_protocol::handoff::chain::Chain;
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::key::{Did, PublicKey};
use baton_protocol::presentation::{self, TransactionData};
use baton_protocol::refusal::{Handoff, Log, Status as StatusRefusal};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::signer::Signer as _;
use baton_protocol::time::Millis;
use futures_util::future::try_join;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A device.
pub struct Device {
    pub(crate) http: Http,
    pub(crate) servers: Servers,
    pub(crate) signing: SoftKey,
    pub(crate) agreement: SoftKey,
    did: Did,
    tier: Mutex<Tier>,
    subject: String,
    status_uri: String,
    kept: Mutex<(Keystore, Kept)>,
    /// The last snapshot of each session that it told the broker it has.
    acknowledged: Mutex<BTreeMap<String, i64>>,
    /// Held by who changes what is kept beside this device.
    replicas_turn: Mutex<()>,
    /// By what they are for, and until when they are used.
    pub(crate) tokens: Mutex<HashMap<String, (String, i64)>>,
    /// The streams it writes on, while they are there.
    pub(crate) lines: Mutex<Vec<Weak<Line>>>,
    keys: Mutex<HashMap<String, Keys>>,
    /// The log as it was last read, and when.
    recent: Mutex<Option<(Millis, Arc<Members>)>>,
}

/// A service's own keys, by name, and when it was asked for them.
type Keys = (Millis, Vec<(String, PublicKey)>);

/// How long a service's key is believed without asking again: one that was dropped or replaced counts no longer than this.
const KEYS_SECS: i64 = 3600;

/// How old what is known of the log may be when something is sealed.
const RECENT_SECS: i64 = 60;

/// The log as this device checked it, and who of it identity says is live.
#[derive(Debug)]
pub struct Members {
    /// The log.
    pub log: DeviceLog,
    /// Live devices. Identity may leave some out; it cannot add any.
    pub live: Vec<Did>,
    /// For full devices: what the person called each, and what it said of itself. Not evidence.
    pub labels: Vec<Label>,
    /// Devices whose person keeps the sessions of the others from them.
    pub without_sync: BTreeSet<Did>,
    /// What the person lets this device do unasked.
    pub unasked: Unasked,
    /// Whether the person lets the others see what this device shows.
    pub shows: bool,
    /// The person is replacing the root; told to full devices.
    pub replace_root: Option<ReplaceRoot>,
}

/// What the person switched for their devices.
#[derive(Default, Deserialize)]
struct Switches {
    without_sync: BTreeSet<Did>,
    #[serde(default)]
    unasked: Unasked,
    /// Not said by an older broker.
    #[serde(default = "yes")]
    shows: bool,
}

const fn yes() -> bool {
    true
}

/// What the person lets a device do without asking at it, by the broker's word: it moves no session to anybody who is not theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Unasked {
    /// Hand over what another full device asks for.
    pub gives: bool,
    /// Go on with what is handed to it.
    pub takes: bool,
}

/// What a full device is asked to agree to: that the log goes on under another root's issuer key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReplaceRoot {
    /// The issuer key's DID so far.
    pub from: Did,
    /// The new one.
    pub to: Did,
}

impl Members {
    /// Log members that are live: the only ones keys are sealed to.
    pub fn recipients(&self, wanted: impl Fn(&Did, Tier) -> bool) -> Vec<(Did, PublicKey)> {
        let live = |device: &Did| self.live.contains(device);
        self.log
            .members()
            .filter(|(device, member)| live(device) && wanted(device, member.tier))
            .map(|(device, member)| (device.clone(), member.agreement.clone()))
            .collect()
    }
    /// Whether a device of this tier is given the keys of every session.
    pub fn syncs(&self, device: &Did, tier: Tier) -> bool {
        tier == Tier::Full && !self.without_sync.contains(device)
    }
    /// The device of that label, the first if several have it.
    pub fn by_label(&self, label: &str) -> Option<&Did> {
        self.labels.iter().find(|one| one.name == label).map(|one| &one.device)
    }
    /// The devices of that label.
    pub fn labelled<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a Did> {
        self.labels.iter().filter(move |one| one.name == label).map(|one| &one.device)
    }
    /// What the person calls this device.
    pub fn name_of(&self, device: &Did) -> Option<&str> {
        self.labels.iter().find(|one| one.device == *device).map(|one| one.name.as_str())
    }
}

impl Device {
    /// A device from what it kept; `None` when it is not enrolled yet.
    pub fn from_kept(keystore: Keystore, kept: Kept, http: Http) -> Result<Option<Self>, Error> {
        let Some(enrolled) = &kept.enrolled else { return Ok(None) };
        let (signing, agreement) = (kept.signing()?, kept.agreement()?);
        let claims = unverified_claims(&enrolled.credential)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(Error::Answer("credential"));
        let tier = Tier::parse(&text("tier")?).ok_or(Error::Answer("credential"))?;
        let status_uri =
            claims.get("status").and_then(|s| s.pointer("/status_list/uri")).and_then(Value::as_str).ok_or(Error::Answer("credential"))?.to_owned();
        Ok(Some(Self {
            did: signing.key().did(),
            subject: text("log")?,
            tier: Mutex::new(tier),
            status_uri,
            servers: kept.servers.clone(),
            http,
            signing,
            agreement,
            kept: Mutex::new((keystore, kept)),
            acknowledged: Mutex::default(),
            replicas_turn: Mutex::default(),
            tokens: Mutex::default(),
            lines: Mutex::default(),
            keys: Mutex::default(),
            recent: Mutex::default(),
        }))
    }

    /// Its DID.
    pub fn did(&self) -> &Did {
        &self.did
    }
    /// What it may do.
    pub fn tier(&self) -> Tier {
        *self.tier.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The person, as this app sees them.
    pub fn subject(&self) -> &str {
        &self.subject
    }
    /// Where its services are.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }
    /// Its signing key.
    pub fn signer(&self) -> &SoftKey {
        &self.signing
    }
    /// Its HTTP client.
    pub fn http(&self) -> &Http {
        &self.http
    }
    /// What identity issued to it.
    pub fn enrolled(&self) -> Enrolled {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.enrolled.clone().expect("a device is enrolled")
    }
    /// Everything it keeps, as a restored copy would have it.
    pub fn kept(&self) -> Kept {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// A presentation: its credential with the named claims, and a key-binding JWT for this audience, nonce and transaction.
    pub async fn present(&self, audience: &str, nonce: &str, data: &[TransactionData], disclose: &[&str]) -> Result<String, Error> {
        let enrolled = self.enrolled();
        let shown = Compact::parse(&enrolled.credential)?.select(|name| disclose.contains(&name));
        let draft = presentation::draft(&shown, audience, nonce, data, self.http.now());
        let kb = self.signing.seal(draft).await?;
        Ok(format!("{shown}{kb}"))
    }

    /// Whether its credential has a claim of this name to disclose.
    pub fn can_disclose(&self, name: &str) -> bool {
        Compact::parse(&self.enrolled().credential).is_ok_and(|credential| credential.disclosures.iter().any(|one| one.name() == Some(name)))
    }

    /// A nonce for a presentation to a service.
    pub async fn nonce(&self, service: &str) -> Result<String, Error> {
        let body = json!({"jkt": self.signing.key().thumbprint()}).to_string().into_bytes();
        let request = Request { method: "POST", url: format!("{service}/v1/nonces"), service, token: None, body: Some(("application/json", body)) };
        let answer = self.http.plain(&request).await?;
        Ok(answer["nonce"].as_str().ok_or(Error::Answer("nonce"))?.to_owned())
    }

    /// Whether a presentation was refused that was signed by a clock which is known to be off since: then it is signed anew, once.
    pub(crate) fn signs_anew(&self, why: &Error, offset: &mut Option<i64>) -> bool {
        offset.take().is_some_and(|before| why.is("kb.invalid") && self.http.has_learnt(before))
    }

    /// Takes in what was signed for this device since; false when there is nothing new.
    pub(crate) async fn take_renewed(&self) -> Result<bool, Error> {
        let before = self.kept();
        let answer = fetch_issued(&self.http, &before).await?;
        let (enrolled, tier) = check_issued(&before, &answer, self.http.now())?;
        let old = before.enrolled.ok_or(Log::NotMember)?;
        let entries: Vec<String> = serde_json::from_value(answer["device_log"].clone()).map_err(|_| Error::Answer("device_log"))?;
        DeviceLog::replay(&entries)?.continues(&old.log_head)?;
        if enrolled.credential == old.credential {
            return Ok(false);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.enrolled = Some(enrolled);
        kept.0.save(&kept.1)?;
        *self.tier.lock().unwrap_or_else(PoisonError::into_inner) = tier;
        Ok(true)
    }

    /// Calls the broker.
    pub(crate) async fn broker(&self, method: &str, path: &str, scope: &str, session: Option<&str>, body: Option<&Value>) -> Result<Value, Error> {
        self.call(&self.servers.broker, (method, path), scope, session, body).await
    }

    /// Calls identity.
    async fn identity(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        self.call(&self.servers.identity, (method, path), "log:read", None, body).await
    }

    /// Calls a service, presenting anew once when the token turns out dead.
    async fn call(&self, service: &str, what: (&str, &str), scope: &str, session: Option<&str>, body: Option<&Value>) -> Result<Value, Error> {
        let (method, path) = what;
        let url = format!("{service}{path}");
        for attempt in 0..2 {
            let token = self.token(service, scope, session).await?;
            let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
            let request = Request { method, url: url.clone(), service, token: Some(token), body };
            match self.http.proven(&request, &self.signing).await {
                Err(error) if attempt == 0 && error.is("invalid_token") => self.forget_tokens(),
                other => return other,
            }
        }
        Err(Error::Answer("token"))
    }

    /// [`Self::members`], as read within the last minute.
    pub(crate) async fn recent_members(&self) -> Result<Arc<Members>, Error> {
        let known = self.recent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known.filter(|(at, _)| self.http.now() < at.plus_secs(RECENT_SECS)) {
            Some((_, members)) => Ok(members),
            None => self.members().await,
        }
    }

    /// Reads the device log, checks all of it, and checks that it goes on from what this device saw before; and who of it may be sealed to.
    pub async fn members(&self) -> Result<Arc<Members>, Error> {
        let (read, Switches { without_sync, unasked, shows }) = try_join(self.log(), self.switches()).await?;
        let (log, answer) = read;
        let labels = answer.directory.unwrap_or_default();
        let members = Arc::new(Members { log, live: answer.live, labels, without_sync, unasked, shows, replace_root: answer.replace_root });
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.http.now(), members.clone()));
        Ok(members)
    }

    /// The log, as identity alone gives it.
    async fn log(&self) -> Result<(DeviceLog, LogAnswer), Error> {
        let answer = self.identity("GET", "/v1/log", None).await?;
        let answer: LogAnswer = serde_json::from_value(answer).map_err(|_| Error::Answer("log"))?;
        let log = DeviceLog::replay(&answer.entries)?;
        if log.subject() != self.subject {
            return Err(Log::Fork.into());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = kept.1.enrolled.as_ref().map(|enrolled| enrolled.log_head.clone()).ok_or(Log::NotMember)?;
        log.continues(&pinned)?;
        if log.head() != pinned {
            if let Some(enrolled) = kept.1.enrolled.as_mut() {
                enrolled.log_head = log.head();
            }
            kept.0.save(&kept.1)?;
        }
        Ok((log, answer))
    }

    /// Whom the person switched sync off for. Like identity the broker may leave devices out of what is sealed; it adds none.
    async fn switches(&self) -> Result<Switches, Error> {
        match self.broker("GET", "/v1/switches", "session:read", None, None).await {
            Ok(answer) => serde_json::from_value(answer).map_err(|_| Error::Answer("switches")),
            // It has no part in sessions, and seals nothing.
            Err(refused) if refused.is("invalid_scope") => Ok(Switches::default()),
            Err(other) => Err(other),
        }
    }

    /// Agrees that another root replaces the one so far. Ask the person first, showing [`issuer_fingerprint`](crate::enroll::issuer_fingerprint) of
    /// [`ReplaceRoot::to`], which their page shows as well: whoever stole a root waits for just this.
    pub async fn agree(&self, asked: &ReplaceRoot) -> Result<(), Error> {
        let (log, _) = self.log().await?;
        if *log.issuer() != asked.from {
            return Err(Log::Consent.into());
        }
        let consent = RootConsent { v: 1, log: self.subject.clone(), from: asked.from.clone(), to: asked.to.clone() };
        let consent = self.signing.seal(consent.draft(&self.did)).await?;
        self.identity("POST", "/v1/log/consent", Some(&json!({"consent": consent}))).await.map(|_| ())
    }

    /// A service's key of that name. Keys change while devices run: one that is not known, or was known long ago, is asked for.
    pub(crate) async fn key_of(&self, service: &str, kid: Option<&str>) -> Result<Option<PublicKey>, Error> {
        let named = |keys: &[(String, PublicKey)]| keys.iter().find(|(name, _)| Some(name.as_str()) == kid).map(|(_, key)| key.clone());
        let now = self.http.local_now();
        let recent = |(at, _): &&Keys| (at.0..at.plus_secs(KEYS_SECS).0).contains(&now.0);
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(service).filter(recent).and_then(|(_, keys)| named(keys));
        if known.is_some() {
            return Ok(known);
        }
        let request = Request { method: "GET", url: format!("{service}/jwks"), service, token: None, body: None };
        let answer = self.http.plain(&request).await?;
        let keys: Vec<_> = answer["keys"]
            .as_array()
            .ok_or(Error::Answer("jwks"))?
            .iter()
            .filter_map(|jwk| Some((jwk.get("kid")?.as_str()?.to_owned(), PublicKey::from_jwk(jwk).ok()?)))
            .collect();
        let found = named(&keys);
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(service.to_owned(), (now, keys));
        Ok(found)
    }

    /// The present status of a credential of this identity service, from its signed list.
    pub(crate) async fn status(&self, idx: u32, uri: &str) -> Result<baton_protocol::status_list::Status, Error> {
        if uri != self.status_uri {
            return Err(baton_protocol::Refusal::from(StatusRefusal::Uri).into());
        }
        let identity = &self.servers.identity;
        let request = Request { method: "GET", url: uri.to_owned(), service: identity, token: None, body: None };
        let token = self.http.plain(&request).await?;
        let token = token.as_str().ok_or(Error::Answer("status list"))?;
        let kid = Unverified::parse(token, Typ::StatusList)
            .map_err(|_| baton_protocol::Refusal::from(StatusRefusal::Token))?
            .unverified_header()
            .kid
            .clone();
        let key = self.key_of(identity, kid.as_deref()).await?.ok_or(Error::Answer("status list key"))?;
        let seen = self.kept.lock().unwrap_or_else(PoisonError::into_inner).1.status_seen;
        let list = baton_protocol::status_list::check(token, uri, &key, seen, self.http.now()).map_err(baton_protocol::Refusal::from)?;
        self.set_status_seen(list.iat)?;
        Ok(list.status(idx).map_err(baton_protocol::Refusal::from)?)
    }

    fn set_status_seen(&self, iat: i64) -> Result<(), Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1.status_seen >= iat {
            return Ok(());
        }
        kept.1.status_seen = iat;
        kept.0.save(&kept.1)
    }

    /// The names of what [`Self::keep_replica`] keeps.
    pub(crate) fn replicas(&self) -> Result<Vec<String>, Error> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.documents()
    }

    pub(crate) fn replica(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.document(name)
    }

    /// Whether this snapshot of a session is newer than the last that this was asked of.
    pub(crate) fn is_new_snapshot(&self, session: &str, seq: i64) -> bool {
        let mut all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.entry(session.to_owned()).or_insert(0);
        let is_new = seq > *last;
        *last = seq.max(*last);
        is_new
    }

    /// Runs `act` while nobody else changes what is kept beside this device.
    pub(crate) fn alone_with_replicas<T>(&self, act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let _turn = self.replicas_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.lock_documents()?;
        act()
    }

    /// Keeps something sealed beside the device, or no more.
    pub(crate) fn keep_replica(&self, name: &str, sealed: Option<&[u8]>) -> Result<(), Error> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.keep_document(name, sealed)
    }

    /// What it saw last of a session.
    pub(crate) fn pin(&self, session: &str) -> Option<Pin> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).1.pins.get(session).cloned()
    }

    /// Keeps what it saw of a session: what was seen before is never unseen, and another history takes its place only where that one is over.
    pub(crate) fn set_pin(&self, session: &str, pin: Pin, chain: &Chain, over: Option<&str>) -> Result<(), Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.1.pins.get(session) {
            Some(known) if chain.continues(&known.chain).is_ok() && known.seq > pin.seq && known.n == pin.n => return Ok(()),
            Some(known) if chain.continues(&known.chain).is_ok() || over == Some(&known.chain) => {}
            // Of the same history, and seen before: or of another, and then whoever reads next finds out.
            Some(known) if known.n > pin.n && over.is_none() => return Ok(()),
            Some(_) => return Err(Handoff::Forked.into()),
            None => {}
        }
        kept.1.pins.insert(session.to_owned(), pin);
        kept.0.save(&kept.1)
    }

    /// What it hands over of a session.
    pub(crate) fn handing(&self, session: &str) -> Option<Handing> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).1.handing.get(session).cloned()
    }

    /// Keeps that, or that there is nothing any more.
    pub(crate) fn set_handing(&self, session: &str, handing: Option<Handing>) -> Result<(), Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match handing {
            Some(handing) => drop(kept.1.handing.insert(session.to_owned(), handing)),
            None => drop(kept.1.handing.remove(session)),
        }
        kept.0.save(&kept.1)
    }
}

/// What full devices are told of each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Label {
    /// Which.
    pub device: Did,
    /// What the person calls it.
    pub name: String,
    /// What it said of itself when it was enrolled.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

#[derive(Deserialize)]
struct LogAnswer {
    entries: Vec<String>,
    live: Vec<Did>,
    directory: Option<Vec<Label>>,
    replace_root: Option<ReplaceRoot>,
}

/// Claims of a credential this device already checked when it got it.
pub(crate) fn unverified_claims(credential: &str) -> Result<serde_json::Map<String, Value>, Error> {
    let compact = Compact::parse(credential)?;
    Ok(Unverified::parse(compact.jwt, Typ::Credential)?.unverified_claims().to_map())
}
