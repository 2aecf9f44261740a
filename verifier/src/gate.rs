//! The one write path of verifying: standing held, the verdict, single-use things consumed, and one commit for all who wait (group commit).
//!
//! A lone caller waits for nobody. While a commit is under way the next callers gather, and share the one after it. Each is decided by
//! itself: a refusal consumes nothing and touches no other.

use baton_protocol::Refusal;
use baton_protocol::key::Did;
use baton_protocol::refusal::Vc;
use baton_protocol::standing::Standing;
use baton_service::base::Base;
use baton_service::gather::{Commit, Gather};
use baton_service::once::{self, Use};
use baton_service::problem::{InternalExt as _, Problem};
use baton_service::standing::{self, Freshness};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// One caller's question.
pub struct Job {
    device: Did,
    /// What is consumed, and what a second use is refused as.
    uses: Vec<(Use, Refusal)>,
    /// Decides on the standing; a refusal is told at once, a verdict once [`Answer`] is called.
    decide: Box<dyn FnOnce(Result<Standing, Problem>) -> Option<Answer> + Send>,
}

/// Tells the caller that its verdict stands, or why not.
type Answer = Box<dyn FnOnce(Result<(), Problem>) + Send>;

/// The gate.
#[derive(Clone)]
pub struct Gate {
    base: Arc<Base>,
    freshness: Arc<Freshness>,
    gather: Gather<Job>,
}

impl Gate {
    /// Over this database and feed.
    pub fn new(base: Arc<Base>, freshness: Arc<Freshness>) -> Self {
        Self { base, freshness, gather: Gather::default() }
    }

    /// Decides on the device's live standing and consumes `uses`, all or nothing, durably.
    pub async fn pass<T, F>(&self, device: Did, uses: Vec<(Use, Refusal)>, decide: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Standing) -> Result<T, Refusal> + Send + 'static,
    {
        let (told, wait) = oneshot::channel();
        let decide = Box::new(|standing: Result<Standing, Problem>| match standing.and_then(|standing| Ok(decide(&standing)?)) {
            Ok(verdict) => Some(Box::new(|outcome: Result<(), Problem>| drop(told.send(outcome.map(|()| verdict)))) as Answer),
            Err(why) => {
                drop(told.send(Err(why)));
                None
            }
        });
        if !self.gather.add(self, Job { device, uses, decide }) {
            return Err(Problem::Unavailable("too many wait"));
        }
        wait.await.unwrap_or(Err(Problem::Unavailable("the commit was given up")))
    }

    /// Whoever waits to use what has just been used need not wait for a commit of its own.
    fn refuse_twins(&self, consumed: &HashSet<Use>) {
        let twin = |job: &Job| job.uses.iter().find(|(one, _)| consumed.contains(one)).map(|(_, refusal)| *refusal);
        for (job, refusal) in self.gather.take(twin) {
            (job.decide)(Err(refusal.into()));
        }
    }

    async fn decide(&self, batch: Vec<Job>, open: &mut Open) -> Result<(), Problem> {
        open.undecided = batch;
        let mut tx = self.base.db.begin().await.internal()?;
        let devices: Vec<_> = open.undecided.iter().map(|job| &job.device).collect();
        let held = standing::hold_each(&mut tx, &devices, &self.freshness, self.base.now()).await?;
        let held: HashMap<_, _> = held.into_iter().map(|standing| (standing.device.clone(), standing)).collect();
        let mut uses = Vec::new();
        for job in open.undecided.drain(..) {
            let standing = held.get(&job.device).cloned().ok_or_else(|| Vc::DeviceNotActive.into());
            if let Some(answer) = (job.decide)(standing) {
                uses.push(job.uses);
                open.decided.push((answer, None));
            }
        }
        let all: Vec<_> = uses.iter().flatten().map(|(one, _)| one.clone()).collect();
        let mut were_there = once::consume_each(&mut tx, &all).await.internal()?.into_iter();
        let mut in_vain = Vec::new();
        for (uses, (_, refused)) in uses.iter().zip(&mut open.decided) {
            let there: Vec<_> = were_there.by_ref().take(uses.len()).collect();
            *refused = uses.iter().zip(&there).find(|(_, there)| !**there).map(|((_, refusal), _)| *refusal);
            if refused.is_none() {
                open.consumed.extend(uses.iter().map(|(one, _)| one.clone()));
                continue;
            }
            in_vain.extend(uses.iter().zip(&there).filter_map(|((one, _), there)| there.then_some(one)));
        }
        once::give_back(&mut tx, &in_vain).await.internal()?;
        tx.commit().await.internal()
    }
}

impl Commit for Gate {
    type Job = Job;
    const MOST: usize = 64;

    /// No two that want the same thing share a commit.
    fn choose(waiting: &mut VecDeque<Job>) -> Vec<Job> {
        let mut wanted = HashSet::new();
        let (mut batch, mut later) = (Vec::new(), VecDeque::new());
        for job in waiting.drain(..) {
            if batch.len() < Self::MOST && !job.uses.iter().any(|(one, _)| wanted.contains(one)) {
                wanted.extend(job.uses.iter().map(|(one, _)| one.clone()));
                batch.push(job);
            } else {
                later.push_back(job);
            }
        }
        *waiting = later;
        batch
    }

    async fn commit(&self, batch: Vec<Job>) {
        let mut open = Open::default();
        let outcome = self.decide(batch, &mut open).await;
        match &outcome {
            Ok(()) => self.refuse_twins(&open.consumed),
            Err(why) => tracing::error!(target: "baton", error = ?why, "nothing was decided"),
        }
        let failed = || Problem::Unavailable("standing could not be read");
        for job in open.undecided {
            (job.decide)(Err(failed()));
        }
        for (answer, refused) in open.decided {
            answer(match (&outcome, refused) {
                (Err(_), _) => Err(failed()),
                (Ok(()), Some(refusal)) => Err(refusal.into()),
                (Ok(()), None) => Ok(()),
            });
        }
    }
}

/// A batch under way: whoever is still owed an answer when it fails.
#[derive(Default)]
struct Open {
    undecided: Vec<Job>,
    decided: Vec<(Answer, Option<Refusal>)>,
    consumed: HashSet<Use>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::credential::Tier;
    use baton_protocol::key::Thumbprint;
    use baton_protocol::refusal::{Dpop, Kb};
    use baton_protocol::time::Millis;
    use baton_service::base::{system_clock, system_entropy};
    use baton_service::database::Database;
    use baton_service::key_ring::KeyRing;

    const DID: &str = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169";

    async fn gate(dir: &std::path::Path) -> Gate {
        let db = Database::open(&Database::sqlite_url(&dir.join("verifier.db")), crate::SCHEMA, crate::migrations()).await.unwrap();
        let keys = KeyRing::open(&dir.join("verifier.key"), true).unwrap();
        let nonces = baton_protocol::nonce::NonceKey::new(keys.nonce_secret());
        let base = Base { url: String::new(), db, keys, nonces, clock: system_clock(), entropy: system_entropy() };
        let did = Did::parse(DID).unwrap();
        let standing = Standing {
            device: did.clone(),
            jkt: Thumbprint("jkt".into()),
            app: "app".into(),
            iss: did,
            log: "log".into(),
            client_id: "client".into(),
            tier: Tier::Full,
            credential_hash: "hash".into(),
            dev_epoch: 1,
            grant: "grant".into(),
            scopes: "session:read".into(),
            grant_until: i64::MAX,
            revoked_at: None,
        };
        let mut tx = base.db.begin().await.unwrap();
        standing::take(&mut tx, &standing).await.unwrap();
        tx.commit().await.unwrap();
        let freshness = Freshness::default();
        freshness.renew(i64::MAX, base.now());
        Gate::new(Arc::new(base), Arc::new(freshness))
    }

    fn uses(proof: &str, nonce: &str, until: i64) -> Vec<(Use, Refusal)> {
        vec![(Use::new("dpop", proof, Millis(until)), Dpop::Replay.into()), (Use::new("presentation", nonce, Millis(until)), Kb::Replay.into())]
    }

    async fn pass(gate: &Gate, uses: Vec<(Use, Refusal)>) -> Result<(), Option<Refusal>> {
        match gate.pass(Did::parse(DID).unwrap(), uses, |_| Ok(())).await {
            Ok(()) => Ok(()),
            Err(Problem::Refused { refusal, .. }) => Err(Some(refusal)),
            Err(_) => Err(None),
        }
    }

    /// On one thread all callers of a `join!` are queued before the first commit begins.
    #[tokio::test]
    async fn twins_in_one_commit_pass_once_however_they_are_dated() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path()).await;
        let outcomes = tokio::join!(pass(&gate, uses("p", "n", 1)), pass(&gate, uses("p", "n", 2)), pass(&gate, uses("q", "m", 3)));
        assert_eq!(outcomes, (Ok(()), Err(Some(Dpop::Replay.into())), Ok(())));
        assert_eq!(pass(&gate, uses("r", "n", 4)).await, Err(Some(Kb::Replay.into())), "and never again");
    }

    #[tokio::test]
    async fn a_refusal_consumes_nothing_and_touches_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path()).await;
        assert_eq!(pass(&gate, uses("p", "n", 1)).await, Ok(()));
        // The nonce is used up: the proof that came with it is not.
        let outcomes = tokio::join!(pass(&gate, uses("q", "n", 1)), pass(&gate, uses("r", "o", 1)));
        assert_eq!(outcomes, (Err(Some(Kb::Replay.into())), Ok(())));
        assert_eq!(pass(&gate, uses("q", "s", 1)).await, Ok(()));
        let refused = gate.pass(Did::parse(DID).unwrap(), uses("t", "u", 1), |_| Err::<(), _>(Vc::DeviceNotActive.into())).await;
        assert!(matches!(refused, Err(Problem::Refused { .. })));
        assert_eq!(pass(&gate, uses("t", "u", 1)).await, Ok(()));
    }

    #[tokio::test]
    async fn more_than_one_statement_holds() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path()).await;
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..150 {
            let gate = gate.clone();
            // Every third wants what the one before it wants.
            callers.spawn(async move { pass(&gate, uses(&format!("p{n}"), &format!("n{}", n - n % 3 / 2), n)).await });
        }
        let outcomes = callers.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 100);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(Some(_)))));
    }

    #[tokio::test]
    async fn a_panic_in_a_decision_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path()).await;
        let panics = gate.pass::<(), _>(Did::parse(DID).unwrap(), uses("p", "n", 1), |_| panic!("a defect"));
        // The twin waits for the commit after the one that panics.
        let (panicked, other) = tokio::join!(panics, pass(&gate, uses("p", "n", 2)));
        assert!(panicked.is_err());
        assert_eq!(other, Ok(()));
    }
}
