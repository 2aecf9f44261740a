//! A session's chain: signed statements, each naming its predecessor, that say who may write. Devices check it themselves.
//!
//! One counts once the broker accepted it under its own signature. Two accepted successors of one statement prove a fork.

use crate::Refusal;
use crate::id::{HandoffId, SessionId};
use crate::jose::{Draft, Typ, Unverified};
use crate::key::{Did, PublicKey};
use crate::refusal::{Handoff as Refused, State};
use crate::session::{Head, Mode};
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Act {
    /// Begins the session; its device holds it at epoch 1.
    Open {
        /// The app.
        app: String,
        /// The subject.
        subject: String,
        /// How it treats several writers.
        mode: Mode,
        /// Digest of the envelope with key version 1.
        envelope: String,
    },
    /// The holder stops writing for good at this epoch.
    Release {
        /// In this handoff.
        handoff: HandoffId,
        /// Where the content stands, last snapshot included.
        head: Head,
        /// The key version it is sealed under.
        key_version: i64,
        /// Digest of the envelope that brings the key to the target, if it lacked it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        envelope: Option<String>,
        /// The device that may take over.
        to: Did,
    },
    /// The target has opened what was sealed; it holds the session from now on.
    Receipt {
        /// In this handoff.
        handoff: HandoffId,
        /// [`crate::session::SessionKey::receipt_proof`].
        proof: String,
    },
    /// The source takes a released session back.
    Reclaim {
        /// Of this handoff.
        handoff: HandoffId,
    },
    /// A full device takes over a detached session.
    Claim {
        /// The content it goes on from.
        from: Head,
        /// The last statement of the other history, when a fork is being ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        also: Option<String>,
        /// A new key version.
        key_version: i64,
        /// Digest of the envelope with it.
        envelope: String,
    },
    /// The holder brings in a new key.
    Rekey {
        /// A new key version.
        key_version: i64,
        /// Digest of the envelope with it.
        envelope: String,
    },
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Statement {
    /// Version: 1.
    pub v: u8,
    /// The session.
    pub session: SessionId,
    /// The epoch that holds once it counts.
    pub epoch: i64,
    /// Hash of the statement before; absent in `open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<String>,
    /// Who says it.
    pub device: Did,
    /// What it does.
    #[serde(flatten)]
    pub act: Act,
}

impl Statement {
    /// The statement to sign.
    pub fn draft(&self) -> Draft {
        Draft::new(Typ::Statement, &self.device.url(), self)
    }

    /// Reads a signed statement: the signature is by the very device it names. Gives its hash with it.
    pub fn read(jws: &str) -> Result<(Self, String), Refused> {
        let jws = Unverified::parse(jws, Typ::Statement).map_err(|_| Refused::Statement)?;
        let by = jws.unverified_header().kid.as_deref().and_then(|kid| Did::from_url(kid).ok()).ok_or(Refused::Statement)?;
        let verified = jws.verify(&by.key().map_err(|_| Refused::Statement)?).map_err(|_| Refused::Statement)?;
        let hash = verified.payload_hash();
        let statement: Self = verified.exact().map_err(|_| Refused::Statement)?;
        if statement.v == 1 && statement.device == by { Ok((statement, hash)) } else { Err(Refused::Statement) }
    }
}

/// The broker's acceptance of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Version: 1.
    pub v: u8,
    /// The session.
    pub session: SessionId,
    /// Hash of the statement.
    pub statement: String,
    /// When, by the broker's clock.
    pub at: Millis,
}

impl Accepted {
    /// The acceptance to sign, by the broker's key `kid`.
    pub fn draft(&self, kid: &str) -> Draft {
        Draft::new(Typ::Accepted, kid, self)
    }
    /// Reads an acceptance under the broker's key.
    pub fn read(jws: &str, key: &PublicKey) -> Result<Self, Refused> {
        let verified = Unverified::parse(jws, Typ::Accepted).and_then(|jws| jws.verify(key)).map_err(|_| Refused::Statement)?;
        let accepted: Self = verified.exact().map_err(|_| Refused::Statement)?;
        if accepted.v == 1 { Ok(accepted) } else { Err(Refused::Statement) }
    }
}

/// What a chain says once all its statements are taken in. Serialisable, so that a broker need not replay it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chain {
    session: SessionId,
    app: String,
    subject: String,
    #[serde(default = "exclusive", skip_serializing_if = "is_exclusive")]
    mode: Mode,
    epoch: i64,
    holder: Did,
    released: Option<(HandoffId, Did)>,
    /// Where the content stood when it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    released_at: Option<Head>,
    key_version: i64,
    hashes: Vec<String>,
    /// Epochs that are over: who held each, and the last update of it that counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    over: Vec<Over>,
    /// Which envelopes brought which key version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    envelopes: Vec<(i64, String)>,
    /// Where other histories stood that claims have ended, and whose claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<(String, Did)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Over {
    epoch: i64,
    holder: Did,
    end: Head,
}

const fn exclusive() -> Mode {
    Mode::Exclusive
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
const fn is_exclusive(mode: &Mode) -> bool {
    matches!(mode, Mode::Exclusive)
}

impl Chain {
    /// Begins with an `open`.
    pub fn open(statement: &Statement, hash: String) -> Result<Self, Refusal> {
        let Statement { session, epoch: 1, prev: None, device, act: Act::Open { app, subject, mode, envelope }, .. } = statement else {
            return Err(Refused::Statement.into());
        };
        let (session, app, subject) = (session.clone(), app.clone(), subject.clone());
        Ok(Self {
            session,
            app,
            subject,
            mode: *mode,
            epoch: 1,
            holder: device.clone(),
            released: None,
            released_at: None,
            key_version: 1,
            hashes: vec![hash],
            over: Vec::new(),
            envelopes: vec![(1, envelope.clone())],
            ended: Vec::new(),
        })
    }

    /// Replays statements from the first.
    pub fn replay<'a>(statements: impl IntoIterator<Item = &'a str>) -> Result<Self, Refusal> {
        let mut statements = statements.into_iter();
        let (first, hash) = Statement::read(statements.next().ok_or(Refused::Statement)?)?;
        let mut chain = Self::open(&first, hash)?;
        for jws in statements {
            let (statement, hash) = Statement::read(jws)?;
            chain = chain.apply(&statement, hash)?;
        }
        Ok(chain)
    }

    /// Takes one more statement in, or says why it cannot follow.
    pub fn apply(mut self, statement: &Statement, hash: String) -> Result<Self, Refusal> {
        if statement.session != self.session {
            return Err(Refused::Statement.into());
        }
        if statement.prev.as_ref() != self.hashes.last() {
            let known = statement.prev.as_ref().is_some_and(|prev| self.hashes.contains(prev));
            return Err(if known { Refused::Forked } else { Refused::Statement }.into());
        }
        let is_holder = statement.device == self.holder;
        let moves = statement.epoch == self.epoch + 1;
        let stays = statement.epoch == self.epoch;
        match (&statement.act, &self.released) {
            (Act::Release { handoff, to, head, key_version, envelope }, None) if is_holder && stays && *key_version == self.key_version => {
                self.released = Some((handoff.clone(), to.clone()));
                self.released_at = Some(head.clone());
                self.envelopes.extend(envelope.clone().map(|digest| (*key_version, digest)));
            }
            (Act::Receipt { handoff, .. }, Some((released, to))) if handoff == released && statement.device == *to && moves => {
                let end = self.released_at.take();
                self.take_over(statement, end);
            }
            (Act::Reclaim { handoff }, Some((released, _))) if handoff == released && is_holder && moves => {
                let end = self.released_at.take();
                self.take_over(statement, end);
            }
            // What is part of this history is none of another.
            (Act::Claim { also: Some(also), .. }, _) if self.hashes.contains(also) => return Err(Refused::Statement.into()),
            (Act::Claim { key_version, from, envelope, also }, _) if moves && *key_version == self.key_version + 1 => {
                self.key_version += 1;
                self.ended.extend(also.clone().map(|also| (also, statement.device.clone())));
                self.envelopes.push((*key_version, envelope.clone()));
                self.take_over(statement, Some(from.clone()));
            }
            (Act::Rekey { key_version, envelope }, None) if is_holder && stays && *key_version == self.key_version + 1 => {
                self.key_version += 1;
                self.envelopes.push((*key_version, envelope.clone()));
            }
            _ => return Err(Refused::Statement.into()),
        }
        self.hashes.push(hash);
        Ok(self)
    }

    fn take_over(&mut self, statement: &Statement, end: Option<Head>) {
        if let Some(end) = end {
            self.over.push(Over { epoch: self.epoch, holder: self.holder.clone(), end });
        }
        self.epoch = statement.epoch;
        self.holder = statement.device.clone();
        self.released = None;
        self.released_at = None;
    }

    /// Without its history but the last statement: all that is needed to take in the next one.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        self.hashes.drain(..self.hashes.len() - 1);
        self.over.clear();
        self.envelopes.clear();
        self.ended.clear();
        self
    }

    /// Whether an update by `by` at this place may be part of the content: by who held the session then, or in a shared one by anybody (whether it is a
    /// member is the log's to say), and not past where that epoch ended.
    pub fn accepts_update(&self, by: &Did, at: &Head) -> Result<(), Refusal> {
        let over = self.over.iter().find(|over| over.epoch == at.epoch);
        let (holder, end) = match over {
            Some(over) => (&over.holder, Some(&over.end)),
            None if at.epoch == self.epoch => (&self.holder, self.released_at.as_ref()),
            None => return Err(State::Rollback.into()),
        };
        if holder != by && self.mode == Mode::Exclusive {
            return Err(State::Sender.into());
        }
        // An epoch may end before it wrote anything: then the end is one of an epoch before.
        let past = end.is_some_and(|end| at.seq > end.seq || (at.seq == end.seq && at != end));
        if past { Err(State::Rollback.into()) } else { Ok(()) }
    }

    /// Who held it at that epoch.
    pub fn holder_at(&self, epoch: i64) -> Option<&Did> {
        let over = self.over.iter().find(|over| over.epoch == epoch).map(|over| &over.holder);
        over.or((epoch == self.epoch).then_some(&self.holder))
    }

    /// The last epoch at which that device held it.
    pub fn last_held_by(&self, device: &Did) -> Option<i64> {
        let over = self.over.iter().rfind(|over| over.holder == *device).map(|over| over.epoch);
        (self.holder == *device).then_some(self.epoch).or(over)
    }

    /// Whether content that ends here is all that was signed for: nothing that a release or a claim named is missing.
    pub fn accepts_end(&self, head: &Head) -> Result<(), Refusal> {
        let right = match (&self.released_at, self.over.last()) {
            (Some(released), _) => head == released,
            (None, Some(over)) => head == &over.end || (head.epoch == self.epoch && head.seq > over.end.seq),
            (None, None) => head.epoch == self.epoch,
        };
        if right { Ok(()) } else { Err(State::Rollback.into()) }
    }

    /// Digests of the envelopes that brought a key version in.
    pub fn envelopes(&self, key_version: i64) -> impl Iterator<Item = &str> {
        self.envelopes.iter().filter(move |(version, _)| *version == key_version).map(|(_, digest)| digest.as_str())
    }
    /// Hash of the first statement, which the first update follows.
    pub fn first(&self) -> &str {
        &self.hashes[0]
    }
    /// The hashes of all statements, in order.
    pub fn hashes(&self) -> &[String] {
        &self.hashes
    }
    /// How many statements there are.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Whether this chain continues one whose last statement was `known`. If not, both are to be kept, and nothing is written.
    pub fn continues(&self, known: &str) -> Result<(), Refused> {
        if self.hashes.iter().any(|hash| hash == known) { Ok(()) } else { Err(Refused::Forked) }
    }
    /// Whether a claim of a device that `may` say so says that another history stood there, and is over.
    pub fn has_ended(&self, known: &str, may: impl Fn(&Did) -> bool) -> bool {
        self.ended.iter().any(|(also, by)| also == known && may(by))
    }
    /// The session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }
    /// The app.
    pub fn app(&self) -> &str {
        &self.app
    }
    /// How it treats several writers.
    pub fn mode(&self) -> Mode {
        self.mode
    }
    /// The subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }
    /// The epoch.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
    /// The device that holds or last held it.
    pub fn holder(&self) -> &Did {
        &self.holder
    }
    /// The device it was released to, while no one took over.
    pub fn released_to(&self) -> Option<&Did> {
        self.released.as_ref().map(|(_, to)| to)
    }
    /// The newest key version.
    pub fn key_version(&self) -> i64 {
        self.key_version
    }
    /// Hash of the last statement.
    pub fn last(&self) -> &str {
        &self.hashes[self.hashes.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAPTOP: &str = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169";
    const PHONE: &str = "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv";

    fn did(text: &str) -> Did {
        Did::parse(text).unwrap()
    }
    fn at(epoch: i64, seq: i64) -> Head {
        Head { epoch, seq, hash: format!("update {seq}") }
    }

    struct Told(Chain, usize);

    impl Told {
        fn open() -> Self {
            let act = Act::Open { app: "a".into(), subject: "s".into(), mode: Mode::Exclusive, envelope: "first".into() };
            let session = SessionId::new(Millis(0), [1; 10]);
            let open = Statement { v: 1, session, epoch: 1, prev: None, device: did(LAPTOP), act };
            Self(Chain::open(&open, "0".into()).unwrap(), 0)
        }
        fn says(&mut self, device: &str, epoch: i64, act: Act) -> Result<(), Refusal> {
            let prev = Some(self.0.last().to_owned());
            let statement = Statement { v: 1, session: self.0.session().clone(), epoch, prev, device: did(device), act };
            self.0 = self.0.clone().apply(&statement, (self.1 + 1).to_string())?;
            self.1 += 1;
            Ok(())
        }
        fn release(&mut self, seq: i64, key_version: i64) -> Result<(), Refusal> {
            let handoff = HandoffId::new(Millis(0), [2; 10]);
            let envelope = Some("for the phone".into());
            self.says(LAPTOP, 1, Act::Release { handoff, head: at(1, seq), key_version, envelope, to: did(PHONE) })
        }
        fn receipt(&mut self) {
            self.says(PHONE, 2, Act::Receipt { handoff: HandoffId::new(Millis(0), [2; 10]), proof: "p".into() }).unwrap();
        }
    }

    #[test]
    fn content_ends_where_the_chain_says() {
        let mut told = Told::open();
        let first = Head { epoch: 1, seq: 0, hash: "0".into() };
        told.0.accepts_end(&first).unwrap();
        told.0.accepts_end(&at(1, 9)).unwrap();
        assert!(told.release(4, 2).is_err(), "a key that is not there");
        told.release(4, 1).unwrap();
        told.0.accepts_end(&at(1, 4)).unwrap();
        for wrong in [first, at(1, 3), at(1, 5), at(2, 4), Head { hash: "another".into(), ..at(1, 4) }] {
            assert_eq!(told.0.accepts_end(&wrong), Err(State::Rollback.into()), "{wrong:?}");
        }
        told.receipt();
        for right in [at(1, 4), at(2, 5)] {
            told.0.accepts_end(&right).unwrap();
        }
        for wrong in [at(1, 3), at(1, 5), at(2, 4)] {
            assert_eq!(told.0.accepts_end(&wrong), Err(State::Rollback.into()), "{wrong:?}");
        }
    }

    #[test]
    fn an_update_is_by_the_holder_of_its_epoch_and_not_past_its_end() {
        let mut told = Told::open();
        told.release(4, 1).unwrap();
        told.receipt();
        let chain = &told.0;
        chain.accepts_update(&did(LAPTOP), &at(1, 4)).unwrap();
        chain.accepts_update(&did(PHONE), &at(2, 5)).unwrap();
        assert_eq!(chain.accepts_update(&did(PHONE), &at(1, 3)), Err(State::Sender.into()));
        assert_eq!(chain.accepts_update(&did(LAPTOP), &at(2, 5)), Err(State::Sender.into()));
        assert_eq!(chain.accepts_update(&did(LAPTOP), &at(1, 5)), Err(State::Rollback.into()));
        assert_eq!(chain.accepts_update(&did(LAPTOP), &Head { hash: "another".into(), ..at(1, 4) }), Err(State::Rollback.into()));
        assert_eq!(chain.accepts_update(&did(PHONE), &at(3, 6)), Err(State::Rollback.into()), "an epoch to come");
    }

    #[test]
    fn every_envelope_of_a_key_is_known_by_its_digest() {
        let mut told = Told::open();
        told.release(4, 1).unwrap();
        told.receipt();
        told.says(PHONE, 2, Act::Rekey { key_version: 2, envelope: "second".into() }).unwrap();
        let of = |version| told.0.envelopes(version).collect::<Vec<_>>();
        assert_eq!((of(1), of(2), of(3)), (vec!["first", "for the phone"], vec!["second"], vec![]));
    }

    #[test]
    fn a_chain_that_was_stored_before_reads_as_it_is() {
        let mut told = Told::open();
        told.release(4, 1).unwrap();
        let trimmed = told.0.trimmed();
        let text = serde_json::to_string(&trimmed).unwrap();
        assert_eq!(serde_json::from_str::<Chain>(&text).unwrap(), trimmed);
        let before = text.replace(r#","released_at":{"epoch":1,"seq":4,"hash":"update 4"}"#, "");
        assert_ne!(before, text);
        assert!(serde_json::from_str::<Chain>(&before).is_ok());
    }
}
