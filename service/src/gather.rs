//! Group commit: whoever asks while a commit is under way gathers, and shares the one after it. A lone caller waits for nobody, and nobody's going away takes
//! another's commit along.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most that may wait; the rest is told to come again.
const MOST_WAITING: usize = 4096;

/// Commits what has gathered.
pub trait Commit: Clone + Send + Sync + 'static {
    /// What one caller wants.
    type Job: Send;
    /// Most that share a commit.
    const MOST: usize;
    /// Those of the waiting that may share the next commit, in their order; at most [`Self::MOST`]. What it leaves waits for the one after.
    fn choose(waiting: &mut VecDeque<Self::Job>) -> Vec<Self::Job> {
        waiting.drain(..waiting.len().min(Self::MOST)).collect()
    }
    /// Decides and commits; every caller is told.
    fn commit(&self, batch: Vec<Self::Job>) -> impl Future<Output = ()> + Send;
}

struct Queue<J> {
    waiting: VecDeque<J>,
    is_worked: bool,
}

/// Those who wait.
pub struct Gather<J>(Arc<Mutex<Queue<J>>>);

impl<J> Default for Gather<J> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Queue { waiting: VecDeque::new(), is_worked: false })))
    }
}

impl<J> Clone for Gather<J> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J: Send + 'static> Gather<J> {
    fn queue(&self) -> MutexGuard<'_, Queue<J>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next commit; false when too many do already.
    pub fn add<C: Commit<Job = J>>(&self, by: &C, job: J) -> bool {
        let mut queue = self.queue();
        if queue.waiting.len() >= MOST_WAITING {
            return false;
        }
        queue.waiting.push_back(job);
        if !std::mem::replace(&mut queue.is_worked, true) {
            tokio::spawn(work(self.clone(), by.clone()));
        }
        true
    }

    /// Takes out of the waiting those for whom there is an answer already.
    pub fn take<A>(&self, mut answered: impl FnMut(&J) -> Option<A>) -> Vec<(J, A)> {
        let mut queue = self.queue();
        let mut taken = Vec::new();
        for job in std::mem::take(&mut queue.waiting) {
            match answered(&job) {
                Some(answer) => taken.push((job, answer)),
                None => queue.waiting.push_back(job),
            }
        }
        taken
    }

    /// Whoever is ready to ask at this moment asks first: until nobody came, or it is full.
    async fn gathered(&self, most: usize) {
        let mut before = self.queue().waiting.len();
        loop {
            tokio::task::yield_now().await;
            let now = self.queue().waiting.len();
            if now <= before || now >= most {
                return;
            }
            before = now;
        }
    }

    /// `None` ends the work.
    fn next<C: Commit<Job = J>>(&self) -> Option<Vec<J>> {
        let mut queue = self.queue();
        let batch = C::choose(&mut queue.waiting);
        queue.is_worked = !batch.is_empty();
        queue.is_worked.then_some(batch)
    }
}

async fn work<C: Commit>(gather: Gather<C::Job>, by: C)
where
    C::Job: 'static,
{
    let _working = Working { gather: gather.clone(), by: by.clone() };
    gather.gathered(C::MOST).await;
    while let Some(batch) = gather.next::<C>() {
        by.commit(batch).await;
        gather.gathered(C::MOST).await;
    }
}

/// Should a commit panic, the work goes on with whoever waits.
struct Working<C: Commit>
where
    C::Job: 'static,
{
    gather: Gather<C::Job>,
    by: C,
}

impl<C: Commit> Drop for Working<C>
where
    C::Job: 'static,
{
    fn drop(&mut self) {
        if std::thread::panicking() {
            tokio::spawn(work(self.gather.clone(), self.by.clone()));
        }
    }
}
