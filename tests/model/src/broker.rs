//! The broker: each request that arrives is one step, decided by the protocol's own rules.

use crate::Defect;
use crate::device::name;
use baton_protocol::Refusal;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::{Act as Says, Chain, Statement};
use baton_protocol::handoff::machine::{Act, By, Declining, Handoff, Reason, State, Target};
use baton_protocol::handoff::seat::Seat;
use baton_protocol::id::HandoffId;
use baton_protocol::key::Did;
use baton_protocol::refusal::{Handoff as Refused, State as StateRefusal};
use baton_protocol::session::Head;
use baton_protocol::time::Millis;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

/// An update as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Update {
    /// Who wrote it.
    pub by: u8,
    /// At which epoch.
    pub epoch: i64,
    /// Its number.
    pub seq: i64,
    /// The hash of the one before.
    pub prev: String,
    /// Under which key.
    pub key_version: i64,
}

impl Update {
    /// Where the content stands with it. Two that differ hash differently.
    pub fn head(&self) -> Head {
        Head { epoch: self.epoch, seq: self.seq, hash: digest(self) }
    }
}

/// An update that was acknowledged, and how things were then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Taken {
    /// It.
    pub update: Update,
    /// The session's epoch.
    pub epoch: i64,
    /// Its holder.
    pub holder: Option<Did>,
    /// Who was revoked.
    pub revoked: BTreeSet<u8>,
    /// Who had its key, is limited, and does not hold the session. (Who is given it later may read what was before.)
    pub limited: BTreeSet<u8>,
}

/// What a device asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Write this.
    Write(Update),
    /// Keep this beside the session.
    Branch(Update),
    /// Offer it at this epoch: to one device, or to any full one.
    Offer(i64, Option<u8>),
    /// Ask who holds it for it.
    Request,
    /// Offer what was asked for.
    Agree(u8),
    /// Take this handoff.
    Accept(u8),
    /// Not this one.
    Decline(u8),
    /// Withdraw it.
    Cancel(u8),
    /// A statement; with a key, who it is sealed to.
    Say(Box<Statement>, BTreeSet<u8>),
}

/// What it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broker {
    /// The session's row.
    pub seat: Seat,
    /// The chain it accepted.
    pub chain: Chain,
    /// The handoffs there were.
    pub handoffs: Vec<Handoff>,
    /// The one under way.
    pub open: Option<usize>,
    /// Updates it acknowledged, in order.
    pub updates: Vec<Taken>,
    /// Updates it keeps beside the session.
    pub branches: BTreeSet<Update>,
    /// Who is out.
    pub revoked: BTreeSet<u8>,
    /// Who was given which key.
    pub keys: BTreeMap<i64, BTreeSet<u8>>,
    /// Who ever held the session.
    pub holders: BTreeSet<u8>,
}

/// The model's handoffs, by number.
pub fn handoff_id(n: usize) -> HandoffId {
    HandoffId::new(Millis(0), [n as u8; 10])
}

fn number(id: &HandoffId, of: usize) -> Option<usize> {
    (0..of).find(|n| handoff_id(*n) == *id)
}

impl Broker {
    /// Takes one request in, whole or not at all.
    pub fn take(&self, from: u8, ask: &Ask, now: Millis, defect: Option<Defect>) -> Result<Self, Refusal> {
        let mut next = self.clone();
        next.settle(now, defect);
        if next.revoked.contains(&from) {
            return Err(Refused::OfferVoid.into());
        }
        let by = By { device: name(from), tier: tier(from) };
        match ask {
            Ask::Write(update) => next.write(from, update, now, defect)?,
            Ask::Branch(update) => {
                if !next.holders.contains(&from) {
                    return Err(Refused::NotHolder.into());
                }
                next.branches.insert(update.clone());
            }
            Ask::Offer(epoch, to) => {
                next.seat.may_offer(&by.device, *epoch)?;
                if let Some(open) = next.open.filter(|open| matches!(next.handoffs[*open].state, State::Requested { .. })) {
                    next.handoffs[open] = next.handoffs[open].clone().void(Reason::Elsewhere);
                    next.open = None;
                }
                if next.open.is_some() || to.is_some_and(|to| next.revoked.contains(&to)) {
                    return Err(Refused::State.into());
                }
                let to = to.map_or(Target::AnyFull, |to| Target::Device(name(to)));
                next.open = Some(next.handoffs.len());
                next.handoffs.push(Handoff::offer(by.device, *epoch, to, now));
            }
            Ask::Request => {
                let holder = next.seat.may_request(&by.device, now)?;
                if next.open.is_some() || by.tier == Tier::Limited {
                    return Err(Refused::State.into());
                }
                next.open = Some(next.handoffs.len());
                next.handoffs.push(Handoff::request(by.device, holder, next.seat.epoch, now));
            }
            Ask::Agree(n) => {
                let asked = next.handoffs.get(usize::from(*n)).ok_or(Refused::State)?;
                next.seat.may_offer(&by.device, asked.epoch)?;
                next.step(*n, &by, Act::Offer, now)?;
            }
            Ask::Accept(n) => next.step(*n, &by, Act::Accept, now)?,
            Ask::Decline(n) => next.step(*n, &by, Act::Decline { why: Declining::Unwanted }, now)?,
            Ask::Cancel(n) => next.step(*n, &by, Act::Cancel, now)?,
            Ask::Say(statement, recipients) => next.hear(&by, statement, recipients, now, defect)?,
        }
        Ok(next)
    }

    fn write(&mut self, from: u8, update: &Update, now: Millis, defect: Option<Defect>) -> Result<(), Refusal> {
        // A repeat after a lost answer.
        if self.updates.iter().any(|known| known.update == *update) {
            return Ok(());
        }
        let ever = defect == Some(Defect::NoFence) && self.holders.contains(&from);
        if !ever {
            self.seat.may_write(&name(from), update.epoch, update.key_version)?;
        }
        if update.seq != self.seat.head.seq + 1 || update.prev != self.seat.head.hash {
            return Err(StateRefusal::Conflict.into());
        }
        self.seat = self.seat.clone().written(update.head(), now);
        let Seat { epoch, holder, .. } = self.seat.clone();
        let limited = (0..8).filter(|one| tier(*one) == Tier::Limited && holder != Some(name(*one)));
        let given = self.keys.get(&update.key_version).cloned().unwrap_or_default();
        let limited = limited.filter(|one| given.contains(one)).collect();
        self.updates.push(Taken { update: update.clone(), epoch, holder, revoked: self.revoked.clone(), limited });
        Ok(())
    }

    fn step(&mut self, n: u8, by: &By, act: Act, now: Millis) -> Result<(), Refusal> {
        let at = usize::from(n);
        let handoff = self.handoffs.get(at).ok_or(Refused::State)?;
        let (next, _) = handoff.clone().apply(by, act, now)?;
        if next.state.is_over() && self.open == Some(at) {
            self.open = None;
        }
        self.handoffs[at] = next;
        Ok(())
    }

    fn hear(&mut self, by: &By, statement: &Statement, recipients: &BTreeSet<u8>, now: Millis, defect: Option<Defect>) -> Result<(), Refusal> {
        let hash = hash(statement);
        if self.chain.continues(&hash).is_ok() {
            return Ok(());
        }
        if statement.device != by.device || recipients.iter().any(|device| self.revoked.contains(device)) {
            return Err(StateRefusal::Recipient.into());
        }
        let release = statement.prev.clone().unwrap_or_default();
        match &statement.act {
            Says::Release { handoff, head, key_version, to, .. } => {
                let at = number(handoff, self.handoffs.len()).ok_or(Refused::Statement)?;
                let (next, _) = self.handoffs[at].clone().apply(by, Act::Seal { release: hash.clone() }, now)?;
                if !matches!(&next.state, State::Sealed { by, .. } if by == to) {
                    return Err(Refused::Statement.into());
                }
                let from = if defect == Some(Defect::ReleaseFromAnywhere) { self.seat.head.clone() } else { head.clone() };
                self.seat.may_release(&by.device, statement.epoch, &from, *key_version)?;
                self.handoffs[at] = next;
            }
            Says::Receipt { handoff, .. } => {
                let at = number(handoff, self.handoffs.len()).ok_or(Refused::Statement)?;
                self.step(at as u8, by, Act::Complete { release }, now)?;
            }
            Says::Reclaim { handoff } => {
                let at = number(handoff, self.handoffs.len()).ok_or(Refused::Statement)?;
                let target_revoked = matches!(&self.handoffs[at].state, State::Sealed { by, .. } if self.revoked.iter().any(|out| name(*out) == *by));
                self.step(at as u8, by, Act::Reclaim { release, target_revoked }, now)?;
            }
            Says::Claim { from, .. } => {
                self.seat.may_claim(from, now)?;
                if let Some(open) = self.open.take() {
                    self.handoffs[open] = self.handoffs[open].clone().void(Reason::Claimed);
                }
            }
            Says::Rekey { .. } => self.seat.may_rekey(&by.device, statement.epoch)?,
            Says::Open { .. } => return Err(Refused::Exists.into()),
        }
        let chain = self.chain.clone().apply(statement, hash)?;
        let left = self.chain.holder().clone();
        // A receipt leaves its source, a reclaim the device it had been sealed to.
        let left = if matches!(statement.act, Says::Reclaim { .. }) { self.chain.released_to().cloned().unwrap_or(left) } else { left };
        self.seat = self.seat.clone().after(statement, &chain, now);
        if matches!(statement.act, Says::Receipt { .. } | Says::Reclaim { .. }) && defect != Some(Defect::LimitedKeepsKey) {
            self.seat = self.seat.clone().left_by(which(&left).is_some_and(|left| tier(left) == Tier::Full));
        }
        self.chain = chain;
        self.keys.entry(self.seat.key_version).or_default().extend(recipients);
        self.holders.extend((0..8).filter(|n| self.seat.is_held_by(&name(*n))));
        Ok(())
    }

    /// Ends a handoff whose time is over.
    pub fn settle(&mut self, now: Millis, defect: Option<Defect>) {
        let Some(open) = self.open else { return };
        if defect != Some(Defect::NothingLapses) {
            self.handoffs[open] = self.handoffs[open].clone().at(now);
        }
        if self.handoffs[open].state.is_over() {
            self.open = None;
        }
    }

    /// A device is out: what it held is nobody's, what it was to get or give is void, what is sealed stays.
    pub fn revoke(&mut self, device: u8, defect: Option<Defect>) {
        self.revoked.insert(device);
        let seat = self.seat.clone().without(&name(device));
        let needs_rekey = if defect == Some(Defect::KeyOutlivesRevocation) { self.seat.needs_rekey } else { seat.needs_rekey };
        self.seat = Seat { needs_rekey, ..seat };
        let Some(open) = self.open else { return };
        let handoff = &self.handoffs[open];
        let named = handoff.from == name(device) || handoff.to == Target::Device(name(device));
        let accepted = matches!(&handoff.state, State::Accepted { by, .. } if *by == name(device));
        if (named || accepted) && !matches!(handoff.state, State::Sealed { .. }) {
            self.handoffs[open] = handoff.clone().void(Reason::Revoked);
            self.open = None;
        }
    }
}

/// A statement's hash.
pub fn hash(statement: &Statement) -> String {
    digest(statement)
}

/// The same for the same thing, in every run.
fn digest(of: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

/// Every third device is limited.
pub fn tier(device: u8) -> Tier {
    if device % 3 == 2 { Tier::Limited } else { Tier::Full }
}

/// Which device has this DID.
pub fn which(did: &Did) -> Option<u8> {
    (0..8).find(|n| name(*n) == *did)
}
