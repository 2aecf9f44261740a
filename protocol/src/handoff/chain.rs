//! A session's chain: signed statements, each naming its predecessor, that say who may write. Devices check it themselves.
//!
//! One counts once the broker accepted it under its own signature. Two accepted successors of one statement prove a fork.

use crate::Refusal;
use crate::id::{HandoffId, SessionId};
use crate::jose::{Draft, Typ, Unverified};
use crate::key::{Did, PublicKey};
use crate::refusal::Handoff as Refused;
use crate::session::{Head, Mode};
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        /// The other head, when a fork is being ended.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    epoch: i64,
    holder: Did,
    released: Option<(HandoffId, Did)>,
    key_version: i64,
    hashes: Vec<String>,
}

impl Chain {
    /// Begins with an `open`.
    pub fn open(statement: &Statement, hash: String) -> Result<Self, Refusal> {
        let Statement { session, epoch: 1, prev: None, device, act: Act::Open { app, subject, .. }, .. } = statement else {
            return Err(Refused::Statement.into());
        };
        let (session, app, subject) = (session.clone(), app.clone(), subject.clone());
        Ok(Self { session, app, subject, epoch: 1, holder: device.clone(), released: None, key_version: 1, hashes: vec![hash] })
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
            (Act::Release { handoff, to, .. }, None) if is_holder && stays => self.released = Some((handoff.clone(), to.clone())),
            (Act::Receipt { handoff, .. }, Some((released, to))) if handoff == released && statement.device == *to && moves => {
                self.take_over(statement);
            }
            (Act::Reclaim { handoff }, Some((released, _))) if handoff == released && is_holder && moves => self.take_over(statement),
            (Act::Claim { key_version, .. }, _) if moves && *key_version == self.key_version + 1 => {
                self.key_version += 1;
                self.take_over(statement);
            }
            (Act::Rekey { key_version, .. }, None) if is_holder && stays && *key_version == self.key_version + 1 => self.key_version += 1,
            _ => return Err(Refused::Statement.into()),
        }
        self.hashes.push(hash);
        Ok(self)
    }

    fn take_over(&mut self, statement: &Statement) {
        self.epoch = statement.epoch;
        self.holder = statement.device.clone();
        self.released = None;
    }

    /// Without its history but the last statement: all that is needed to take in the next one.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        self.hashes.drain(..self.hashes.len() - 1);
        self
    }

    /// Whether this chain continues one whose last statement was `known`; if not, both branches are to be kept.
    pub fn continues(&self, known: &str) -> Result<(), Refused> {
        if self.hashes.iter().any(|hash| hash == known) { Ok(()) } else { Err(Refused::Forked) }
    }
    /// The session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }
    /// The app.
    pub fn app(&self) -> &str {
        &self.app
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
