//! Updates of many devices in one commit. What goes this way is plain: the holder's next update, or in a shared session a member's, with nothing else under way.
//! Everything else, what somebody else holds, and every refusal, is decided by [`crate::routes::updates`] alone, as if nobody had gathered: nothing here says no.

use crate::state::Broker;
use crate::store::updates::{self, Written};
use crate::store::{events, sessions, switches};
use baton_protocol::session::{Head, Kind, SealedUpdate};
use baton_service::gather::Commit;
use baton_service::guard::{Candidate, check_standing};
use baton_service::once::{self, Use};
use baton_service::problem::{InternalExt as _, Problem};
use baton_service::standing;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
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
    // A snapshot may let others go: that is looked at by itself.
    if update.place.kind != Kind::Update {
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
        let now = base.now();
        let mut tx = base.db.begin().await.internal()?;
        let devices: Vec<_> = batch.iter().map(|job| &job.candidate.token().device).collect::<BTreeSet<_>>().into_iter().collect();
        let held = standing::hold_free(&mut tx, &devices, &self.0.freshness, now).await?;
        let held: HashMap<_, _> = held.into_iter().map(|standing| (standing.device.clone(), standing)).collect();
        let standing = |job: &Job| {
            let token = job.candidate.token();
            held.get(&token.device).filter(|standing| token.has_scope("session:write") && check_standing(token, standing, now).is_ok())
        };
        let live: Vec<_> = (0..batch.len()).filter(|n| standing(&batch[*n]).is_some()).collect();
        let (proven, mut fresh): (Vec<_>, Vec<_>) = live.into_iter().partition(|n| batch[*n].once.is_some());
        let uses: Vec<_> = proven.iter().filter_map(|n| batch[*n].once.clone()).collect();
        let consumed = once::consume_each(&mut tx, &uses).await.internal()?;
        fresh.extend(proven.into_iter().zip(consumed).filter_map(|(n, there)| there.then_some(n)));
        // As they came.
        fresh.sort_unstable();

        let ids: BTreeSet<_> = fresh.iter().map(|n| batch[*n].update.place.session.as_str()).collect();
        let mut found: HashMap<_, _> =
            sessions::hold_free(&mut tx, &ids).await.internal()?.into_iter().map(|one| (one.session_id.clone(), one)).collect();
        let mut written = Vec::new();
        let mut heads = BTreeMap::new();
        for n in fresh {
            let job = &batch[n];
            let (place, standing) = (&job.update.place, &held[&job.candidate.token().device]);
            let is_plain = match found.get(place.session.as_str()) {
                None => false,
                Some(session) => {
                    let is_member = session.is_shared() && switches::is_member(&mut tx, standing).await.internal()?;
                    let narrowed = job.candidate.token().narrowed_to().is_none_or(|only| only == session.session_id);
                    let own = session.log == standing.log && session.app == standing.app && session.open_handoff.is_none() && narrowed;
                    let follows = session.head().hash == place.prev && session.head().seq + 1 == place.seq;
                    own && follows && session.may_write(&standing.device, is_member, place.epoch, place.key_version).is_ok()
                }
            };
            if !is_plain {
                if let Some(once) = &job.once {
                    once::give_back(&mut tx, once).await.internal()?;
                }
                continue;
            }
            let head = Head { epoch: place.epoch, seq: place.seq, hash: job.hash.clone() };
            if let Some(session) = found.get_mut(place.session.as_str()) {
                let renews = session.is_held_by(&standing.device);
                session.written(&head, renews, now);
                heads.insert(session.session_id.clone(), session.clone());
            }
            written.push((n, Written { update: &job.update, hash: &job.hash, device: &standing.device, log: &standing.log }));
        }
        if written.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let rows: Vec<_> = written.iter().map(|(_, row)| row).collect();
        updates::insert_each(&mut tx, &rows, now).await.internal()?;
        if !updates::move_heads(&mut tx, &heads.into_values().collect::<Vec<_>>()).await.internal()? {
            return Ok(Outcome::Nothing);
        }
        let events = events::append_updated(&mut tx, &rows, now).await.internal()?;
        // What was decided on news that went stale meanwhile is not written.
        self.0.freshness.check(base.now())?;
        Ok(match tx.commit().await {
            Ok(()) => Outcome::Committed(written.into_iter().map(|(n, _)| n).collect(), events),
            Err(error) => {
                tracing::error!(target: "baton", %error, "whether updates were written is not known");
                Outcome::Unknown
            }
        })
    }
}
