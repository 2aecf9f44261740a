//! Everything that can happen, one thing after another, and what must hold at every moment.

use crate::broker::{Ask, Broker, Taken, hash, which};
use crate::device::{Device, name};
use crate::{Bounds, Defect};
use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::handoff::machine::State;
use baton_protocol::handoff::seat::Seat;
use baton_protocol::id::SessionId;
use baton_protocol::session::Mode;
use baton_protocol::time::Millis;
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};

/// How long one step of time is: past the time to seal; two are past a lease and the time to complete, four past an offer.
const TICK_SECS: i64 = 31;

/// A request on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Request {
    from: u8,
    ask: Ask,
    /// A second copy, which nobody waits for.
    is_repeat: bool,
}

/// All there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    tick: u8,
    broker: Broker,
    devices: Vec<Device>,
    requests: Vec<Request>,
    /// The chains there were, for a broker that lies.
    past: Vec<Chain>,
    left: Bounds,
    /// Something that was acknowledged could not be read by a device that had all of it.
    unreadable: bool,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// A device asks for something.
    Asks(u8, Ask),
    /// A request arrives, and its answer.
    Arrives(usize),
    /// A request arrives; its answer is lost.
    ArrivesUnanswered(usize),
    /// A request arrives twice: once now, once whenever.
    ArrivesTwice(usize),
    /// A request is lost.
    IsLost(usize),
    /// A device waits no longer.
    GivesUp(u8),
    /// A device reads the session.
    Reads(u8),
    /// Time passes.
    Ticks,
    /// A device is revoked.
    Revoked(u8),
    /// A device dies and starts again.
    Crashes(u8),
    /// The broker accepts a statement that it refused, for the one who said it alone.
    Lies(usize),
}

/// The model: how far it goes, and what is left out of it.
#[derive(Debug, Clone)]
pub struct Handing {
    /// How far.
    pub bounds: Bounds,
    /// What is left out.
    pub defect: Option<Defect>,
}

impl World {
    fn now(&self) -> Millis {
        Millis(0).plus_secs(i64::from(self.tick) * TICK_SECS)
    }

    fn deliver(&mut self, at: usize, answered: bool, defect: Option<Defect>) {
        let Request { from, ask, is_repeat } = self.requests.remove(at);
        let outcome = self.broker.take(from, &ask, self.now(), defect);
        let answer = match outcome {
            Ok(next) => {
                if next.chain != self.broker.chain {
                    self.past.push(self.broker.chain.clone());
                }
                self.broker = next;
                Ok(())
            }
            Err(refusal) => Err(refusal),
        };
        let waits = self.devices[usize::from(from)].under_way.as_ref() == Some(&ask);
        if answered && !is_repeat && waits {
            self.devices[usize::from(from)].answered(answer);
        }
    }

    /// Whether a lying broker could accept this as another successor of what has one already, or had.
    fn could_be_forked(&self, ask: &Ask) -> bool {
        let Ask::Say(statement, _) = ask else { return false };
        let from = self.past.iter().find(|chain| Some(chain.last()) == statement.prev.as_deref());
        from.is_some_and(|chain| chain.clone().apply(statement, hash(statement)).is_ok())
    }

    fn is_waited_for(&self, device: u8) -> bool {
        self.requests.iter().any(|request| request.from == device && !request.is_repeat)
    }
}

impl Handing {
    /// What waits for somebody lapses; what is sealed is completed, or taken back by whoever is not out, who still can or has asked.
    fn ends(&self, world: &World) -> bool {
        let mut broker = world.broker.clone();
        broker.settle(world.now(), self.defect);
        let Some(open) = broker.open else { return true };
        let handoff = &broker.handoffs[open];
        match &handoff.state {
            State::Requested { until } | State::Offered { until } | State::Accepted { until, .. } => world.now() < *until,
            State::Sealed { by, reclaim_at, .. } => {
                let is_out = |party| which(party).is_none_or(|one| broker.revoked.contains(&one) || world.devices[usize::from(one)].is_frozen);
                let mut steps = Vec::new();
                self.actions(world, &mut steps);
                // Only what its two parties do about it counts; or the claim of another.
                let (source, target) = (which(&handoff.from), which(by));
                let is_party = |one: u8| Some(one) == source || Some(one) == target;
                let goes_on = steps.iter().any(|step| match step {
                    Step::Asks(one, Ask::Say(statement, _)) => is_party(*one) || matches!(statement.act, Act::Claim { .. }),
                    // An answer that a party waits for comes, or is given up.
                    Step::Arrives(at) => {
                        let Request { from, ask, is_repeat } = &world.requests[*at];
                        matches!(ask, Ask::Say(..)) || (is_party(*from) && !is_repeat)
                    }
                    // What a party wrote too late it puts beside the session first, once; what it can do then is looked at then.
                    Step::Asks(one, Ask::Branch(_)) | Step::Reads(one) | Step::GivesUp(one) => is_party(*one),
                    _ => false,
                });
                // With both out it is left to a claim.
                goes_on || world.now() < *reclaim_at || (is_out(by) && is_out(&handoff.from))
            }
            State::Completed { .. } | State::Ended { .. } => true,
        }
    }
}

impl Model for Handing {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let session = SessionId::new(Millis(0), [1; 10]);
        let act = Act::Open { app: "a".into(), subject: "s".into(), mode: Mode::Exclusive, envelope: "e".into() };
        let open = Statement { v: 1, session, epoch: 1, prev: None, device: name(0), act };
        let chain = Chain::open(&open, hash(&open)).expect("an opening");
        let seat = Seat::opened(&chain, Millis(0));
        let devices: Vec<_> = (0..self.bounds.devices).map(|me| Device::new(me, &chain, seat.head.clone())).collect();
        let given = (0..self.bounds.devices).filter(|one| crate::broker::tier(*one) == baton_protocol::credential::Tier::Full).collect();
        let broker = Broker {
            seat,
            chain,
            handoffs: Vec::new(),
            open: None,
            updates: Vec::new(),
            branches: BTreeSet::new(),
            revoked: BTreeSet::new(),
            keys: BTreeMap::from([(1, given)]),
            holders: BTreeSet::from([0]),
        };
        vec![World { tick: 0, broker, devices, requests: Vec::new(), past: Vec::new(), left: self.bounds, unreadable: false }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let left = &world.left;
        for me in 0..self.bounds.devices {
            let device = &world.devices[usize::from(me)];
            if world.broker.revoked.contains(&me) {
                continue;
            }
            let asks = device.wants(&world.broker, world.now(), self.bounds, *left);
            steps.extend(asks.into_iter().map(|ask| Step::Asks(me, ask)));
            if device.under_way.is_some() && (!world.is_waited_for(me) || left.losses > 0) {
                steps.push(Step::GivesUp(me));
            }
            if device.is_behind(&world.broker) {
                steps.push(Step::Reads(me));
            }
            if left.crashes > 0 {
                steps.push(Step::Crashes(me));
            }
            if left.revocations > 0 {
                steps.push(Step::Revoked(me));
            }
        }
        for (at, request) in world.requests.iter().enumerate() {
            steps.push(Step::Arrives(at));
            if !request.is_repeat && left.losses > 0 {
                steps.extend([Step::ArrivesUnanswered(at), Step::IsLost(at)]);
            }
            if !request.is_repeat && left.repeats > 0 {
                steps.push(Step::ArrivesTwice(at));
            }
            if !request.is_repeat && left.lies > 0 && world.could_be_forked(&request.ask) {
                steps.push(Step::Lies(at));
            }
        }
        if left.ticks > 0 {
            steps.push(Step::Ticks);
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Asks(me, ask) => {
                match &ask {
                    Ask::Offer(..) => world.left.handoffs -= 1,
                    Ask::Request => world.left.requests -= 1,
                    Ask::Say(statement, _) if matches!(statement.act, Act::Claim { .. }) => world.left.claims -= 1,
                    _ => {}
                }
                world.devices[usize::from(me)].asked(&ask);
                world.requests.push(Request { from: me, ask, is_repeat: false });
            }
            Step::Arrives(at) => world.deliver(at, true, self.defect),
            Step::ArrivesUnanswered(at) => {
                world.left.losses -= 1;
                world.deliver(at, false, self.defect);
            }
            Step::ArrivesTwice(at) => {
                world.left.repeats -= 1;
                let again = Request { is_repeat: true, ..world.requests[at].clone() };
                world.deliver(at, true, self.defect);
                world.requests.push(again);
            }
            Step::IsLost(at) => {
                world.left.losses -= 1;
                world.requests.remove(at);
            }
            Step::GivesUp(me) => {
                world.left.losses -= u8::from(world.is_waited_for(me));
                world.devices[usize::from(me)].gives_up();
                // Still on its way: it arrives whenever, and nobody waits for the answer.
                for request in world.requests.iter_mut().filter(|request| request.from == me) {
                    request.is_repeat = true;
                }
            }
            Step::Reads(me) => {
                let (chain, broker) = (world.broker.chain.clone(), world.broker.clone());
                if world.devices[usize::from(me)].reads(&chain, &broker, self.defect).is_err() {
                    world.unreadable = true;
                }
            }
            Step::Ticks => {
                world.left.ticks -= 1;
                world.tick += 1;
            }
            Step::Revoked(device) => {
                world.left.revocations -= 1;
                world.broker.settle(world.now(), self.defect);
                world.broker.revoke(device, self.defect);
            }
            Step::Crashes(me) => {
                world.left.crashes -= 1;
                world.devices[usize::from(me)].crashes();
                for request in world.requests.iter_mut().filter(|request| request.from == me) {
                    request.is_repeat = true;
                }
            }
            Step::Lies(at) => {
                world.left.lies -= 1;
                let Request { from, .. } = world.requests.remove(at);
                world.devices[usize::from(from)].answered(Ok(()));
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one writer in each epoch", |_: &Self, world: &World| {
                let updates = &world.broker.updates;
                let mut writers: BTreeMap<i64, BTreeSet<u8>> = BTreeMap::new();
                for Taken { update, .. } in updates {
                    writers.entry(update.epoch).or_default().insert(update.by);
                }
                let by_its_holder = |taken: &Taken| taken.update.epoch == taken.epoch && taken.holder == Some(name(taken.update.by));
                writers.values().all(|by| by.len() == 1) && updates.iter().all(by_its_holder)
            }),
            Property::always("nothing acknowledged is lost", |_: &Self, world: &World| {
                let Broker { chain, updates, .. } = &world.broker;
                !world.unreadable && updates.iter().all(|Taken { update, .. }| chain.accepts_update(&name(update.by), &update.head()).is_ok())
            }),
            Property::always("nobody opens what is sealed once they are out", |_: &Self, world: &World| {
                let given = |version: i64, device: &u8| world.broker.keys.get(&version).is_some_and(|given| given.contains(device));
                world
                    .broker
                    .updates
                    .iter()
                    .all(|taken| taken.limited.is_empty() && !taken.revoked.iter().any(|device| given(taken.update.key_version, device)))
            }),
            Property::always("every handoff ends", |model: &Self, world: &World| model.ends(world)),
            Property::always("who saw a fork does nothing any more", |_: &Self, world: &World| {
                world.devices.iter().all(|device| device.is_frozen || device.saw.values().all(|next| next.len() == 1))
            }),
            Property::sometimes("a handoff completes", |_: &Self, world: &World| {
                world.broker.handoffs.iter().any(|handoff| matches!(handoff.state, State::Completed { .. }))
            }),
            Property::sometimes("the new holder writes", |_: &Self, world: &World| world.broker.updates.iter().any(|taken| taken.update.epoch > 1)),
        ]
    }
}
