//! A device: what an SDK knows of the session, what it does next, and what it makes of an answer.

use crate::broker::{Ask, Broker, Update, handoff_id, hash, tier};
use crate::{Bounds, Defect};
use baton_protocol::Refusal;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::handoff::machine::{State, Target};
use baton_protocol::key::Did;
use baton_protocol::refusal::{Handoff as Refused, State as StateRefusal};
use baton_protocol::session::Head;
use baton_protocol::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// The DID of a device of the model.
pub fn name(device: u8) -> Did {
    Did::stored(format!("did:key:z{device}"))
}

/// What it knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    me: u8,
    /// The chain as it last checked it; outlives a crash, as the SDK's pin does.
    pub knows: Chain,
    /// What it saw follow each statement.
    pub saw: BTreeMap<String, BTreeSet<String>>,
    /// Where the content stands that it has.
    pub head: Head,
    /// The epoch at which it writes, if it does.
    pub held: Option<i64>,
    keys: BTreeSet<i64>,
    /// Asked, and not answered yet.
    pub under_way: Option<Ask>,
    /// It must read before it goes on.
    pub is_unsure: bool,
    needs_rekey: bool,
    /// Written too late; to be kept beside the session.
    late: Option<Update>,
    wrote: u8,
    /// It saw a fork, and does nothing any more.
    pub is_frozen: bool,
}

impl Device {
    /// One that has read the session just opened.
    pub fn new(me: u8, chain: &Chain, head: Head) -> Self {
        let holds = *chain.holder() == name(me);
        Self {
            me,
            knows: chain.clone(),
            saw: BTreeMap::new(),
            head,
            held: holds.then_some(1),
            keys: if tier(me) == Tier::Full { BTreeSet::from([1]) } else { BTreeSet::new() },
            under_way: None,
            is_unsure: false,
            needs_rekey: false,
            late: None,
            wrote: 0,
            is_frozen: false,
        }
    }

    /// Everything it might ask for now, by what it knows, what the broker shows of handoffs, and what is left of the bounds.
    pub fn wants(&self, broker: &Broker, now: Millis, Bounds { devices, writes, .. }: Bounds, left: Bounds) -> Vec<Ask> {
        let mut asks = Vec::new();
        if self.is_frozen || self.under_way.is_some() || self.is_unsure {
            return asks;
        }
        if let Some(late) = &self.late {
            return vec![Ask::Branch(late.clone())];
        }
        let key_version = self.knows.key_version();
        if let Some(epoch) = self.held {
            if self.needs_rekey {
                let act = Act::Rekey { key_version: key_version + 1, envelope: "e".into() };
                return vec![self.say(epoch, act, Self::members(broker, devices, self.me))];
            }
            if self.wrote < writes && self.keys.contains(&key_version) {
                let update = Update { by: self.me, epoch, seq: self.head.seq + 1, prev: self.head.hash.clone(), key_version };
                asks.push(Ask::Write(update));
            }
            let open = broker.open.map(|open| broker.handoffs[open].clone().at(now).state);
            if left.handoffs > 0 && matches!(open, None | Some(State::Requested { .. })) {
                asks.extend((0..devices).filter(|to| *to != self.me).map(|to| Ask::Offer(epoch, Some(to))));
                asks.push(Ask::Offer(epoch, None));
            }
        }
        if left.requests > 0
            && self.held.is_none()
            && tier(self.me) == Tier::Full
            && broker.open.is_none()
            && broker.seat.may_request(&name(self.me), now).is_ok()
        {
            asks.push(Ask::Request);
        }
        if let Some(open) = broker.open {
            self.about_handoff(broker, open, now, devices, &mut asks);
        }
        let claimable = left.claims > 0 && tier(self.me) == Tier::Full && broker.seat.is_detached(now) && self.keys.contains(&key_version);
        if claimable && self.held.is_none() {
            let act = Act::Claim { from: self.head.clone(), also: None, key_version: key_version + 1, envelope: "e".into() };
            asks.push(self.say(self.knows.epoch() + 1, act, Self::members(broker, devices, self.me)));
        }
        asks
    }

    fn about_handoff(&self, broker: &Broker, open: usize, now: Millis, devices: u8, asks: &mut Vec<Ask>) {
        let handoff = broker.handoffs[open].clone().at(now);
        let (me, n, is_source) = (name(self.me), open as u8, handoff.from == name(self.me));
        let is_target = match &handoff.to {
            Target::Device(_) | Target::AnyOf(_) => handoff.to.named().contains(&me),
            Target::AnyFull => !is_source && tier(self.me) == Tier::Full,
        };
        match &handoff.state {
            State::Requested { .. } if is_target => asks.push(Ask::Cancel(n)),
            State::Requested { .. } if is_source && self.held == Some(handoff.epoch) => asks.extend([Ask::Agree(n), Ask::Decline(n)]),
            State::Offered { .. } if is_target => asks.extend([Ask::Accept(n), Ask::Decline(n)]),
            State::Offered { .. } if is_source => asks.push(Ask::Cancel(n)),
            // The source's own check of the target comes first.
            State::Accepted { by, .. } if is_source && !broker.revoked.iter().any(|out| name(*out) == *by) => {
                let (Some(epoch), Some(to)) = (self.held, (0..devices).find(|n| name(*n) == *by)) else { return };
                let key_version = self.knows.key_version();
                let lacks = !broker.keys.get(&key_version).is_some_and(|given| given.contains(&to));
                let envelope = lacks.then(|| "e".to_owned());
                let act = Act::Release { handoff: handoff_id(open), head: self.head.clone(), key_version, envelope, to: by.clone() };
                asks.push(self.say(epoch, act, if lacks { BTreeSet::from([to]) } else { BTreeSet::new() }));
            }
            State::Sealed { by, .. } if *by == me && self.knows.released_to() == Some(&me) && self.keys.contains(&self.knows.key_version()) => {
                let act = Act::Receipt { handoff: handoff_id(open), proof: "p".into() };
                asks.push(self.say(self.knows.epoch() + 1, act, BTreeSet::new()));
            }
            State::Sealed { by, reclaim_at, .. } if is_source && self.knows.released_to() == Some(by) => {
                let revoked = broker.revoked.iter().any(|out| name(*out) == *by);
                if revoked || now >= *reclaim_at {
                    asks.push(self.say(self.knows.epoch() + 1, Act::Reclaim { handoff: handoff_id(open) }, BTreeSet::new()));
                }
            }
            _ => {}
        }
    }

    /// Who a new key is sealed to: live full devices, and whoever brings it in.
    fn members(broker: &Broker, devices: u8, me: u8) -> BTreeSet<u8> {
        (0..devices).filter(|one| !broker.revoked.contains(one) && (tier(*one) == Tier::Full || *one == me)).collect()
    }

    fn say(&self, epoch: i64, act: Act, recipients: BTreeSet<u8>) -> Ask {
        let prev = Some(self.knows.last().to_owned());
        Ask::Say(Box::new(Statement { v: 1, session: self.knows.session().clone(), epoch, prev, device: name(self.me), act }), recipients)
    }

    /// It has sent this off.
    pub fn asked(&mut self, ask: &Ask) {
        self.under_way = Some(ask.clone());
        match ask {
            Ask::Write(_) => self.wrote += 1,
            // Unless it is refused outright, this device has released.
            Ask::Say(statement, _) if matches!(statement.act, Act::Release { .. }) => self.held = None,
            _ => {}
        }
    }

    /// What it makes of an answer.
    pub fn answered(&mut self, answer: Result<(), Refusal>) {
        let Some(ask) = self.under_way.take() else { return };
        match (ask, answer) {
            (Ask::Write(update), Ok(())) => self.head = update.head(),
            (Ask::Write(update), Err(Refusal::Handoff(Refused::Fenced))) => (self.held, self.late) = (None, Some(update)),
            (Ask::Write(_), Err(Refusal::State(StateRefusal::RekeyRequired))) => {
                self.wrote -= 1;
                self.needs_rekey = true;
            }
            // Kept, or refused for good: then the app is told.
            (Ask::Branch(_), _) => self.late = None,
            (Ask::Say(statement, _), Ok(())) => self.accepted(&statement),
            (Ask::Say(statement, _), Err(refused)) => {
                if matches!(statement.act, Act::Release { .. }) {
                    self.held = Some(statement.epoch);
                    self.needs_rekey = refused == Refusal::State(StateRefusal::RekeyRequired);
                }
                self.is_unsure = true;
            }
            (_, Ok(())) => {}
            (_, Err(_)) => self.is_unsure = true,
        }
    }

    fn accepted(&mut self, statement: &Statement) {
        let digest = hash(statement);
        let Ok(chain) = self.knows.clone().apply(statement, digest.clone()) else {
            self.is_unsure = true;
            return;
        };
        self.saw.entry(self.knows.last().to_owned()).or_default().insert(digest);
        self.knows = chain;
        match statement.act {
            Act::Release { .. } => self.held = None,
            Act::Rekey { key_version, .. } => {
                self.keys.insert(key_version);
                self.needs_rekey = false;
            }
            Act::Claim { key_version, .. } => {
                self.keys.insert(key_version);
                self.held = Some(statement.epoch);
            }
            _ => self.held = Some(statement.epoch),
        }
    }

    /// The answer did not come.
    pub fn gives_up(&mut self) {
        if let Some(Ask::Write(_)) = self.under_way.take() {
            // It may be there, or not: reading tells.
            self.wrote -= 1;
        }
        self.is_unsure = true;
    }

    /// It dies, and starts again with what it kept.
    pub fn crashes(&mut self) {
        (self.under_way, self.held, self.late, self.is_unsure, self.needs_rekey) = (None, None, None, true, false);
    }

    /// Reads the session. Every check is the protocol's; what does not hold is not taken in.
    pub fn reads(&mut self, chain: &Chain, broker: &Broker, defect: Option<Defect>) -> Result<(), Refusal> {
        if chain.continues(self.knows.last()).is_err() && defect != Some(Defect::ForksAreTakenIn) {
            (self.is_frozen, self.held) = (true, None);
            return Ok(());
        }
        let mut head = Head { epoch: 1, seq: 0, hash: chain.first().to_owned() };
        for update in broker.updates.iter().map(|taken| &taken.update) {
            chain.accepts_update(&name(update.by), &update.head())?;
            head = update.head();
        }
        chain.accepts_end(&head)?;
        let hashes = chain.hashes();
        for (one, next) in hashes.iter().zip(&hashes[1..]) {
            self.saw.entry(one.clone()).or_default().insert(next.clone());
        }
        self.keys.extend(broker.keys.iter().filter(|(_, given)| given.contains(&self.me)).map(|(version, _)| *version));
        let holds = *chain.holder() == name(self.me) && chain.released_to().is_none() && broker.seat.is_held_by(&name(self.me));
        self.held = holds.then(|| chain.epoch());
        self.needs_rekey = broker.seat.needs_rekey && holds;
        (self.knows, self.head, self.is_unsure) = (chain.clone(), head, false);
        Ok(())
    }

    /// Whether reading would tell it anything.
    pub fn is_behind(&self, broker: &Broker) -> bool {
        !self.is_frozen && self.under_way.is_none() && (self.is_unsure || self.knows != broker.chain || self.head != broker.seat.head)
    }
}
