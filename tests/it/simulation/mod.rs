//! Deterministic simulation: devices that run the SDK, a network that loses, repeats, delays and cuts, clocks that differ, devices that die, and the server
//! itself, which answers one request at a time and starts anew between two (F10, F26 to F30). Each seed is one life of one session; the same seed is the same life.
//!
//! `make sim SEEDS=10000` runs more; a seed that fails is named, and `BATON_SEED=n` runs it by itself.

mod actor;
mod net;

use crate::faults::checker;
use crate::support::Server;
use actor::{Actor, Deed, Phase, Plugged, Written};
use baton::person::Person;
use baton_protocol::id::SessionId;
use baton_protocol::ports::{Clock, Entropy};
use baton_protocol::time::Millis;
use baton_sdk::keystore::Kept;
use baton_sdk::wire::{Came, Network, Sent, Wire as _};
use baton_sdk::{Document, Error};
use baton_service::testing::{ManualClock, On};
use net::{Chance, Waits, lost};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::task::unconstrained;

/// Lives in `make test`, and what happens in each.
const SEEDS: u64 = 200;
const STEPS: usize = 300;
/// Full devices; one life in four has another that is revoked.
const DEVICES: usize = 3;
/// One life in so many has a device that is revoked.
const REVOKED: u64 = 4;
/// Lives on one server; the next ones begin on another.
const TOGETHER: u64 = 20;

/// What the lives of one server share.
struct Stage {
    /// None only while it is started anew.
    server: Option<Server>,
    clock: ManualClock,
    person: Person,
    devices: Vec<Kept>,
    network: Network,
}

impl Stage {
    async fn set() -> Self {
        let clock = ManualClock::start();
        let server = Server::start_at(On::Sqlite, clock.clock()).await;
        let mut person = server.person().await;
        let mut devices = Vec::new();
        for n in 0..DEVICES {
            devices.push(server.full(&mut person, &format!("Device {n}")).await.kept());
        }
        Self { server: Some(server), clock, person, devices, network: Network::new().unwrap() }
    }
}

impl Stage {
    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// The server goes between two requests, with all that it has in memory, and comes back.
    async fn start_server_anew(&mut self) {
        let server = self.server.take().unwrap();
        self.server = Some(server.restart().await);
        self.server().running.identity.pump().await.unwrap();
    }

    /// To the server and back, at the server's time.
    async fn carry(&self, sent: Sent) -> Result<Came, Error> {
        let date = Some(self.clock.clock().now().secs());
        self.network.carry(sent).await.map(|came| Came { date, ..came })
    }
}

type Acting = Pin<Box<dyn Future<Output = Actor> + Send>>;

enum Doing {
    Nothing(Box<Actor>),
    Something(Acting),
    /// Only while it is looked at.
    Changing,
}

struct Slot {
    plugged: Plugged,
    written: Arc<Mutex<Written>>,
    doing: Doing,
    /// For so many steps nobody hears it.
    cut: usize,
    is_out: bool,
}

/// One life.
struct World<'a> {
    stage: &'a mut Stage,
    chance: Chance,
    session: SessionId,
    slots: Vec<Slot>,
    /// Requests that arrive when nobody waits for their answer any more.
    stray: Vec<Sent>,
    words: usize,
    /// All write into it.
    shared: bool,
    /// Of so many requests two come to nothing, another's answer is lost, and another comes twice.
    weather: usize,
    phase: Phase,
    out: Option<(usize, String)>,
    /// What happened, for whoever compares two lives.
    story: String,
}

/// Chance of a device's own, from the life's.
fn entropy(seed: u64) -> Entropy {
    let chance = Mutex::new(Chance::of(seed));
    Entropy::new(move |bytes| {
        let mut chance = chance.lock().unwrap();
        for byte in bytes {
            *byte = chance.below(256) as u8;
        }
    })
}

fn skewed(clock: &ManualClock, secs: i64) -> Clock {
    let clock = clock.clock();
    Clock::new(move || Millis(clock.now().0 + secs * 1000))
}

impl<'a> World<'a> {
    async fn begin(stage: &'a mut Stage, seed: u64) -> Self {
        let mut chance = Chance::of(seed);
        let mut all = stage.devices.clone();
        let mut out = None;
        if seed.is_multiple_of(REVOKED) {
            // Approving wants a passkey, and a person who has just shown it.
            stage.person.unlock().await.unwrap();
            let leaves = stage.server.as_ref().unwrap().full(&mut stage.person, &format!("Leaves {seed}")).await;
            out = Some((all.len(), leaves.enrolled().device_id));
            all.push(leaves.kept());
        }
        // Half of them, of those with a revocation as of the others, are of sessions that all write into.
        let shared = (seed / REVOKED).is_multiple_of(2);
        let plugs: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(n, kept)| Plugged::new(kept, skewed(&stage.clock, [0, 90, -90, 240][n]), entropy(seed * 100 + n as u64)))
            .collect();
        // Opened while all is well.
        let opening = plugs[chance.below(DEVICES)].device.clone();
        let session = with_network(stage, &plugs, async move {
            let opened = if shared { Document::open_shared(&opening).await } else { Document::open(&opening).await };
            opened.unwrap().session().id().clone()
        })
        .await;
        let slots = plugs.into_iter().map(|plugged| Slot::new(plugged, session.clone())).collect();
        let weather = [16, 64, 256][chance.below(3)];
        Self { stage, chance, session, slots, stray: Vec::new(), words: 0, shared, weather, phase: Phase::Nothing, out, story: String::new() }
    }

    async fn step(&mut self) {
        let n = self.chance.below(self.slots.len());
        self.slots[n].cut = self.slots[n].cut.saturating_sub(1);
        match self.chance.below(120) {
            0 => {
                let secs = 1 + self.chance.below(20) as i64;
                self.pass(secs).await;
            }
            1 if self.chance.one_in(4) => self.pass(50).await,
            2 => self.die(n),
            3 => self.slots[n].cut = 1 + self.chance.below(12),
            4 if !self.stray.is_empty() => {
                let at = self.chance.below(self.stray.len());
                let stray = self.stray.remove(at);
                let _ = self.deliver(stray).await;
            }
            5 if self.words > 4 => self.revoke().await,
            6 if self.chance.one_in(4) => {
                self.stage.start_server_anew().await;
                let _ = writeln!(self.story, "the server starts anew");
            }
            _ => self.live(n).await,
        }
    }

    /// Time goes by, and identity says that nothing is new.
    async fn pass(&mut self, secs: i64) {
        self.stage.clock.advance_secs(secs);
        self.stage.server().running.identity.pump().await.unwrap();
        let _ = writeln!(self.story, "{secs} s");
    }

    /// A device dies in the middle of what it does. What it sent may still arrive.
    fn die(&mut self, n: usize) {
        let slot = &mut self.slots[n];
        while let Some(waits) = slot.plugged.link.take() {
            if let Waits::Answer(sent, _) = waits
                && self.chance.one_in(2)
            {
                self.stray.push(sent);
            }
        }
        slot.doing = Doing::Changing;
        slot.plugged.start_anew();
        slot.doing = Doing::Nothing(Box::new(Actor::started(slot.plugged.device.clone(), self.session.clone(), slot.written.clone())));
        let _ = writeln!(self.story, "{n} dies");
    }

    async fn revoke(&mut self) {
        let Some((n, id)) = self.out.take_if(|_| true) else { return };
        self.stage.person.unlock().await.unwrap();
        self.stage.person.revoke(&id).await.unwrap();
        self.slots[n].is_out = true;
        let _ = writeln!(self.story, "{n} is out");
    }

    /// A device goes on with what it does, or begins something.
    async fn live(&mut self, n: usize) {
        let doing = std::mem::replace(&mut self.slots[n].doing, Doing::Changing);
        match doing {
            Doing::Nothing(actor) => {
                let other = (n + 1 + self.chance.below(self.slots.len() - 1)) % self.slots.len();
                let to = self.slots[other].plugged.device.did().clone();
                let word = format!("w{}", self.words);
                let deed = Deed::any(&mut self.chance, word, &to, (&actor, self.phase));
                self.words += usize::from(matches!(deed, Deed::Edit(_)));
                let _ = writeln!(self.story, "{n} begins {}", name(&deed));
                self.slots[n].doing = Doing::Something(Box::pin(unconstrained(actor.act(deed))));
                self.poll(n);
            }
            something => {
                self.slots[n].doing = something;
                let Some(waits) = self.slots[n].plugged.link.take() else { return };
                match waits {
                    Waits::Time(..) => drop(waits),
                    Waits::Answer(sent, answer) => {
                        let fate = if self.slots[n].cut > 0 { 0 } else { self.chance.below(self.weather) };
                        let came = match fate {
                            0 => Err(lost()),
                            1 => {
                                self.stray.push(sent);
                                Err(lost())
                            }
                            2 => self.deliver(sent).await.and_then(|_| Err(lost())),
                            3 => {
                                let _ = self.deliver(sent.clone()).await;
                                self.deliver(sent).await
                            }
                            _ => self.deliver(sent).await,
                        };
                        let _ = answer.send(came);
                    }
                }
                self.poll(n);
            }
        }
    }

    async fn deliver(&mut self, sent: Sent) -> Result<Came, Error> {
        let path = sent.url.split("://").nth(1).and_then(|rest| rest.split_once('/')).map(|(_, path)| nameless(path)).unwrap_or_default();
        let came = self.stage.carry(sent.clone()).await;
        if sent.method == "POST" && came.as_ref().is_ok_and(|came| came.status < 300) {
            self.phase = Phase::after(&path).unwrap_or(self.phase);
        }
        let _ = writeln!(self.story, "{} {path} {}", sent.method, came.as_ref().map_or(0, |came| came.status));
        came
    }

    /// Lets a device run until it waits for somebody.
    fn poll(&mut self, n: usize) {
        let slot = &mut self.slots[n];
        let Doing::Something(acting) = &mut slot.doing else { return };
        if let Poll::Ready(actor) = acting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            slot.doing = Doing::Nothing(Box::new(actor));
        }
    }

    /// All is well: a device does this, and everything arrives.
    async fn calmly(&mut self, n: usize, deed: Option<Deed>) {
        let is_new = deed.is_some();
        if let Some(deed) = deed {
            let Doing::Nothing(actor) = std::mem::replace(&mut self.slots[n].doing, Doing::Changing) else { panic!("busy") };
            self.slots[n].doing = Doing::Something(Box::pin(unconstrained(actor.act(deed))));
            self.poll(n);
        }
        while let Some(waits) = self.slots[n].plugged.link.take() {
            match waits {
                Waits::Answer(sent, answer) => drop(answer.send(self.deliver(sent).await)),
                Waits::Time(passed) => drop(passed),
            }
            self.poll(n);
        }
        assert!(matches!(self.slots[n].doing, Doing::Nothing(_)), "{n} waits for nobody and is not done\n{}", self.story);
        // In a shared session whoever holds it brings in a new key, or whoever takes it receives it, and the others wait for that.
        let waits = |why: &str| ["state.rekey_required", "handoff.fenced"].iter().any(|code| why.contains(code));
        let shared = self.shared;
        let failed = self.at(n).failed.take().filter(|why| is_new && !(shared && waits(why)));
        assert_eq!(failed, None, "{n}, all being well");
    }

    fn at(&mut self, n: usize) -> &mut Actor {
        let Doing::Nothing(actor) = &mut self.slots[n].doing else { panic!("busy") };
        actor
    }

    /// Everything is whole again: every handoff ends, somebody holds the session, everybody sees the same, and nothing that was acknowledged, or that a device
    /// kept, is missing.
    async fn end(mut self) -> String {
        for sent in std::mem::take(&mut self.stray) {
            let _ = self.deliver(sent).await;
        }
        let all: Vec<_> = (0..self.slots.len()).collect();
        let here: Vec<_> = all.iter().copied().filter(|n| !self.slots[*n].is_out).collect();
        for n in &all {
            self.calmly(*n, None).await;
            self.at(*n).forget_handoffs();
        }
        for _ in 0..5 {
            self.pass(40).await;
        }
        self.stage.server().running.broker.sweep().await.unwrap();
        let mut holder = None;
        for n in &here {
            self.calmly(*n, Some(Deed::Follow)).await;
            if self.at(*n).holds() {
                holder = Some(*n);
            }
        }
        let holder = holder.unwrap_or(here[0]);
        if !self.at(holder).holds() {
            self.calmly(holder, Some(Deed::Claim)).await;
        }
        assert!(self.at(holder).holds(), "nobody can hold it any more");
        // What others wrote beside it comes in through whoever holds it, and reaches them from there.
        for round in 0..4 {
            let mut texts = BTreeSet::new();
            for n in here.iter().copied().filter(|n| *n != holder).chain([holder]) {
                self.calmly(n, Some(Deed::Follow)).await;
                texts.insert(self.at(n).text());
            }
            if round > 0 && texts.len() == 1 {
                break;
            }
        }
        let text = self.at(holder).text();
        for n in &here {
            assert_eq!(self.at(*n).text(), text, "{n} sees something else\n{}", self.story);
        }
        let last = text.rsplit('[').next().unwrap().trim_end_matches(']');
        assert!(last.is_empty() || text.contains(&format!("{last} ")), "{last:?} was written by nobody: {text:?}");
        // What a device set last reached the others, or somebody was told that it does not stand.
        let seen: BTreeSet<_> = self.slots.iter().flat_map(|slot| slot.written.lock().unwrap().seen.clone()).collect();
        for n in &here {
            let set = self.slots[*n].written.lock().unwrap().set.clone();
            let is_told = |word: &String| word == last || seen.contains(word);
            assert!(set.as_ref().is_none_or(is_told), "{set:?}, set by {n}, is gone without a word\n{}", self.story);
        }
        let beside = self.slots[holder].written.lock().unwrap().beside.concat();
        for n in all {
            let written = self.slots[n].written.lock().unwrap();
            let (must, of) = if self.slots[n].is_out { (&written.acknowledged, "acknowledged") } else { (&written.kept, "kept") };
            for word in must {
                let word = format!("{word} ");
                assert!(text.matches(&word).count() <= 1, "{word} is there twice in {text:?}");
                assert!(
                    text.contains(&word) || (self.slots[n].is_out && beside.contains(&word)),
                    "{word}, {of} by {n}, is missing in {text:?}, {beside:?}\n{}",
                    self.story
                );
            }
        }
        self.story
    }
}

impl Slot {
    fn new(plugged: Plugged, session: SessionId) -> Self {
        let written = Arc::new(Mutex::new(Written::default()));
        let doing = Doing::Nothing(Box::new(Actor::started(plugged.device.clone(), session, written.clone())));
        Self { plugged, written, doing, cut: 0, is_out: false }
    }
}

/// Runs something of one of these devices, and everything arrives.
async fn with_network<T>(stage: &Stage, plugs: &[Plugged], doing: impl Future<Output = T> + Send) -> T {
    let mut doing = Box::pin(unconstrained(doing));
    loop {
        if let Poll::Ready(done) = doing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
        for plugged in plugs {
            if let Some(Waits::Answer(sent, answer)) = plugged.link.take() {
                let _ = answer.send(stage.carry(sent).await);
            }
        }
    }
}

/// A path without what differs from life to life.
fn nameless(path: &str) -> String {
    let parts: Vec<_> = path.split(['/', '?']).filter(|part| !part.contains('=')).map(|part| if part.len() > 30 { "*" } else { part }).collect();
    parts.join("/")
}

fn name(deed: &Deed) -> &'static str {
    match deed {
        Deed::Edit(_) => "edit",
        Deed::Follow => "follow",
        Deed::ReadOn => "read on",
        Deed::Offer(_) => "offer",
        Deed::Accept => "accept",
        Deed::Decline => "decline",
        Deed::Cancel => "cancel",
        Deed::Seal => "seal",
        Deed::Complete => "complete",
        Deed::Reclaim => "reclaim",
        Deed::Claim => "claim",
        Deed::Heartbeat => "heartbeat",
    }
}

/// One life, to its end; gives its story.
async fn live(stage: &mut Stage, seed: u64) -> String {
    let named = Named(seed);
    let mut world = World::begin(stage, seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    let story = world.end().await;
    std::mem::forget(named);
    story
}

/// Says which seed it was when a life fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        eprintln!("BATON_SEED={} cargo test --test it -- simulation::lives --nocapture", self.0);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Those with this remainder, on a server of their own: so that two run at once.
async fn lives(odd: u64) {
    let (first, last) = match number("BATON_SEED") {
        // With those before it on the same server.
        Some(seed) => (seed / TOGETHER * TOGETHER, seed),
        None => (1, number("BATON_SEEDS").unwrap_or(SEEDS)),
    };
    if number("BATON_SEED").is_some_and(|seed| seed % 2 != odd) {
        return;
    }
    for together in first / TOGETHER..=last / TOGETHER {
        let mut stage = Stage::set().await;
        for seed in (together * TOGETHER..(together + 1) * TOGETHER).filter(|seed| seed % 2 == odd && (first..=last).contains(seed)) {
            live(&mut stage, seed).await;
        }
        // I1, I2, I5, I7 to I9, over everything that these lives left.
        checker::check(stage.server().dir()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_of_even_seeds() {
    lives(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_of_odd_seeds() {
    lives(1).await;
}

/// The same seed is the same life, request for request.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_can_be_lived_again() {
    // Each on a stage of its own: chance of the same seed is the same chance, and no proof counts twice.
    let lived = async |seed| live(&mut Stage::set().await, seed).await;
    for seed in [3, 8] {
        let first = lived(seed).await;
        assert!(first.lines().count() > STEPS);
        assert_eq!(lived(seed).await, first, "seed {seed}");
    }
    assert_ne!(lived(5).await, lived(7).await);
}
