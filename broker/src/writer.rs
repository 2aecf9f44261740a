//! Updates of many devices in one commit. What goes this way is plain: the holder's next update, or in a shared session a member's, with nothing else under way.
//! Everything else, what somebody else holds, and every refusal, is decided by [`crate::routes::updates`] alone, as if nobody had gathered: nothing here says no.

use crate::state::Broker;
use crate::store::updates::{self, Written};
use crate::store::{events, free, sessions, switches};
use baton_protocol::session::{Head, Kind, SealedUpdate};
use baton_service::gather::Commit;
use baton_service::guard::{Candidate, check_standing};
use baton_service::many::Together;
use baton_service::once::{self, Use};
use baton_service::problem::{InternalExt as _, Problem};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// One update, and who waits for it.
pub struct Job {
    candidate: Candidate,
    /// The proof's id, where there is one.
    once: Option<Use>,
    update: SealedUpdate,
    hash: String,
    told: oneshot::Sender<Told>,
}

/// What became of it.
pub enum Told {
    /// It is durable.
    Written,
    /// It is to be decided by itself, with the proof as it was.
    Alone(Box<Candidate>),
    /// Nobody knows: the commit itself failed.
    Unknown,
}

/// The broker, as one that commits what has gathered.
#[derive(Clone)]
pub struct Writing(pub Arc<Broker>);

/// Appends an update together with those of others. `Err` gives the candidate back, to be decided by itself.
pub async fn append(broker: &Arc<Broker>, candidate: Candidate, update: &SealedUpdate) -> Result<Result<(), Problem>, Box<Candidate>> {
    let (told, wait) = oneshot::channel();
    // A snapshot may let others go, and now and then there has to be one: that is looked at by itself.
    if update.place.kind != Kind::Update || updates::is_mark(update.place.seq) {
        return Err(Box::new(candidate));
    }
    let (once, hash) = (candidate.once(broker.base.now()), update.hash());
    let unavailable = || Problem::Unavailable("nothing was decided");
    if !broker.writes.add(&Writing(broker.clone()), Job { candidate, once, update: update.clone(), hash, told }) {
        return Ok(Err(unavailable()));
    }
    match wait.await {
        Ok(Told::Written) => Ok(Ok(())),
        Ok(Told::Alone(candidate)) => Err(candidate),
        Ok(Told::Unknown) | Err(_) => Ok(Err(unavailable())),
    }
}

/// How far a batch came.
enum Outcome {
    /// Those of these numbers are durable, and these events by subject.
    Committed(BTreeSet<usize>, BTreeMap<String, Vec<events::Row>>),
    /// Nothing is.
    Nothing,
    /// It is not known.
    Unknown,
}

impl Commit for Writing {
    type Job = Job;
    const MOST: usize = 144;

    async fn commit(&self, batch: Vec<Job>) {
        let outcome = self.write(&batch).await.unwrap_or_else(|why| {
            tracing::warn!(target: "baton", ?why, "updates are decided one by one");
            Outcome::Nothing
        });
        let (written, mut events, is_known) = match outcome {
            Outcome::Committed(written, events) => (written, events, true),
            Outcome::Nothing => (BTreeSet::new(), BTreeMap::new(), true),
            Outcome::Unknown => (BTreeSet::new(), BTreeMap::new(), false),
        };
        for (n, job) in batch.into_iter().enumerate() {
            // Right before its answer: then both go out together.
            if let Some(rows) = events.remove(&job.candidate.token().sub) {
                self.0.bell.tell(&job.candidate.token().sub, rows);
            }
            if !is_known {
                // It may be there.
                self.0.bell.ring(&job.candidate.token().sub);
            }
            let told = match (is_known, written.contains(&n)) {
                (false, _) => Told::Unknown,
                (true, true) => Told::Written,
                (true, false) => Told::Alone(Box::new(job.candidate)),
            };
            // Whoever went away is told nothing.
            let _ = job.told.send(told);
        }
    }
}

impl Writing {
    async fn write(&self, batch: &[Job]) -> Result<Outcome, Problem> {
        let base = &self.0.base;
        // What its token alone decides needs no database.
        let asks = |job: &Job| {
            let token = job.candidate.token();
            token.has_scope("session:write") && token.narrowed_to().is_none_or(|only| only == job.update.place.session.as_str())
        };
        let asking: Vec<_> = (0..batch.len()).filter(|n| asks(&batch[*n])).collect();
        let mut tx = base.db.begin_briefly().await.internal()?;
        let (proven, mut fresh): (Vec<_>, Vec<_>) = asking.into_iter().partition(|n| batch[*n].once.is_some());
        let uses: Vec<_> = proven.iter().filter_map(|n| batch[*n].once.clone()).collect();
        let consumed = once::consume_each(&mut tx, &uses).await.internal()?;
        fresh.extend(proven.into_iter().zip(consumed).filter_map(|(n, there)| there.then_some(n)));
        if fresh.is_empty() {
            return Ok(Outcome::Nothing);
        }
        // As they came.
        fresh.sort_unstable();
        let asked: BTreeSet<_> =
            fresh.iter().map(|n| (batch[*n].candidate.token().device.as_str(), batch[*n].update.place.session.as_str())).collect();
        let mut free = free::hold(&mut tx, &Vec::from_iter(asked), &self.0.freshness, base.now()).await?;
        // Whoever else held something may have taken a while.
        let now = base.now();
        let (mut written, mut not_plain) = (Vec::new(), Vec::new());
        let mut members = HashMap::new();
        for n in fresh {
            let job = &batch[n];
            let (place, token) = (&job.update.place, job.candidate.token());
            let standing = free.standings.get(&token.device).filter(|standing| check_standing(token, standing, now).is_ok());
            let (Some(standing), Some(session)) = (standing, free.sessions.get_mut(place.session.as_str())) else {
                not_plain.extend(&job.once);
                continue;
            };
            let is_member = session.is_shared()
                && match members.entry(&standing.device) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(unknown) => *unknown.insert(switches::is_member(&mut tx, standing).await.internal()?),
                };
            let own = session.log == standing.log && session.app == standing.app && session.open_handoff.is_none();
            let follows = session.head().hash == place.prev && session.head().seq + 1 == place.seq;
            if !(own && follows && session.may_write(&standing.device, is_member, place.epoch, place.key_version).is_ok()) {
                not_plain.extend(&job.once);
                continue;
            }
            let renews = session.is_held_by(&standing.device);
            session.written(&Head { epoch: place.epoch, seq: place.seq, hash: job.hash.clone() }, renews, now);
            written.push((n, Written { update: &job.update, hash: &job.hash, device: &standing.device, log: &standing.log }));
        }
        if written.is_empty() {
            return Ok(Outcome::Nothing);
        }
        once::give_back(&mut tx, &not_plain).await.internal()?;
        let (numbers, rows): (BTreeSet<_>, Vec<_>) = written.into_iter().unzip();
        let names: BTreeSet<_> = rows.iter().map(|row| row.update.place.session.as_str()).collect();
        let sessions: Vec<_> = names.into_iter().filter_map(|name| free.sessions.get(name)).collect();
        let events = events::of_updates(&rows, &free.events, now);
        let mut all = Together::default();
        updates::insert_each(&mut all, &tx, &rows, now);
        sessions::move_heads(&mut all, &tx, &sessions);
        events::append_each(&mut all, &tx, &events);
        if !all.run(&mut tx).await.internal()? {
            return Ok(Outcome::Nothing);
        }
        // What was decided on news that went stale meanwhile is not written.
        self.0.freshness.check(base.now())?;
        Ok(match tx.commit().await {
            Ok(()) => {
                self.0.gathered.fetch_add(numbers.len() as u64, Ordering::Relaxed);
                Outcome::Committed(numbers, events)
            }
            Err(error) => {
                tracing::error!(target: "baton", %error, "whether updates were written is not known");
                Outcome::Unknown
            }
        })
    }
}
