//! What waits for a writer: bounded in bytes, which are reserved at the socket before anything is decoded.

pub mod memory;
mod turns;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::model::batch::{Batch, Rejections, Written};
use crate::model::id::ProjectId;
use crate::telemetry::Counters;

use turns::{Size, Turns};

/// Bytes are counted in units of this, so that a semaphore of 32-bit permits covers any budget.
const UNIT_BYTES: u64 = 1024;

/// Room for requests in memory. A reservation is given back when the answer has been sent.
#[derive(Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    units_max: u32,
    counters: Arc<Counters>,
}

/// Bytes held for one request; dropping it gives them back.
pub struct Reservation {
    permit: OwnedSemaphorePermit,
    counters: Arc<Counters>,
}

/// No room came free in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Budget {
    pub fn new(bytes_max: u64, counters: Arc<Counters>) -> Budget {
        let units_max = u32::try_from(bytes_max.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        Budget { units: Arc::new(Semaphore::new(units_max as usize)), units_max, counters }
    }

    /// Waits in line for `bytes` until `deadline`. More than the whole budget is cut to it: such a request runs alone.
    pub async fn reserve(&self, bytes: u64, deadline: Instant) -> Result<Reservation, Full> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units_max);
        let waiting = self.units.clone().acquire_many_owned(units);
        match tokio::time::timeout_at(deadline, waiting).await {
            Ok(Ok(permit)) => {
                self.counters.queue_bytes.inc_by(bytes_of(&permit));
                Ok(Reservation { permit, counters: self.counters.clone() })
            }
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }
}

impl Reservation {
    /// Adds what another reservation holds.
    pub fn absorb(&mut self, other: Reservation) {
        let mut other = other;
        if let Some(units) = other.permit.split(other.permit.num_permits()) {
            self.permit.merge(units);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.counters.queue_bytes.dec_by(bytes_of(&self.permit));
    }
}

fn bytes_of(permit: &OwnedSemaphorePermit) -> i64 {
    i64::try_from(permit.num_permits() as u64 * UNIT_BYTES).unwrap_or(i64::MAX)
}

/// One request, or a slice of a large one, on its way to the store.
pub struct Job {
    pub batch: Batch,
    /// Roughly what the batch occupies, for the bound of one transaction.
    pub bytes: u64,
    /// After this nobody waits any more: the sender was told to try again.
    pub deadline: Instant,
    pub reply: oneshot::Sender<Result<Answer, Overdue>>,
    /// Set when its request was put into the spool instead.
    pub withdrawn: Withdrawn,
    /// Of the whole request, which may have more jobs.
    pub reservation: Arc<Reservation>,
}

/// Says that a job needs no try any more, because what it holds is kept elsewhere. Its sender going away does not say so.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn(Arc<AtomicBool>);

impl Withdrawn {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the store did with a request, and the items it could not take.
#[derive(Debug, Default)]
pub struct Answer {
    pub written: Written,
    pub rejections: Rejections,
}

/// The store did not take a request in time: its sender must try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue;

/// Jobs, of which tenants take turns. Their bytes are bounded by the [`Budget`] that each holds a part of.
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
    /// How many writers take from it.
    writers: usize,
    /// Nobody waits any more.
    is_over: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    jobs: Turns<Job>,
    /// Writers that are at work for a tenant.
    at_work: HashMap<ProjectId, usize>,
    closed: bool,
}

/// Jobs that a writer has taken. Their tenants count as being worked for until it is dropped.
pub struct Taken {
    pub jobs: Vec<Job>,
    projects: BTreeSet<ProjectId>,
    queue: Arc<Queue>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        for project in &self.projects {
            let at_work = state.at_work.get_mut(project);
            if let Some(count) = at_work
                && *count > 1
            {
                *count -= 1;
            } else {
                state.at_work.remove(project);
            }
        }
        drop(state);
        self.queue.changed.notify_one();
    }
}

impl Queue {
    pub fn new(writers: usize) -> Queue {
        Queue { state: Mutex::default(), changed: Notify::new(), writers, is_over: watch::Sender::new(false) }
    }

    /// Gives the job back when the queue is closed.
    pub fn offer(&self, job: Job) -> Result<(), Box<Job>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Box::new(job));
        }
        let size = Size { items: job.batch.items(), bytes: job.bytes };
        state.jobs.push(job.batch.project, job, size, Instant::now());
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for what a writer says of a job. It is also overdue when the writer went away with it, and when nobody waits
    /// any more.
    pub async fn wait(
        &self,
        answer: oneshot::Receiver<Result<Answer, Overdue>>,
        deadline: Instant,
    ) -> Result<Answer, Overdue> {
        let mut is_over = self.is_over.subscribe();
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(Overdue)),
            _ = is_over.wait_for(|is_over| *is_over) => Err(Overdue),
            () = tokio::time::sleep_until(deadline) => Err(Overdue),
        }
    }

    /// Whether nothing waits for a writer.
    pub fn is_idle(&self) -> bool {
        self.lock().jobs.is_empty()
    }

    /// Waits for work and takes what is there, at least one job, at most `steps_max` and `bytes_max` in all. While several
    /// tenants send, none of them has all writers. `None`: closed and empty.
    pub async fn take(self: &Arc<Self>, steps_max: usize, bytes_max: u64) -> Option<Taken> {
        loop {
            let changed = self.changed.notified();
            let max = Size { items: steps_max, bytes: bytes_max };
            let (jobs, more, closed) = self.lock().take(max, self.writers, Instant::now());
            if closed || (more && !jobs.is_empty()) {
                // Another writer may be free for the rest, or must see the end.
                self.changed.notify_one();
            }
            if !jobs.is_empty() {
                let projects = jobs.iter().map(|job| job.batch.project).collect();
                return Some(Taken { jobs, projects, queue: self.clone() });
            }
            if closed {
                return None;
            }
            changed.await;
        }
    }

    /// Whether more than one tenant sends: then requests had better come in short slices.
    pub fn is_shared(&self) -> bool {
        self.lock().jobs.is_shared(Instant::now())
    }

    /// No more jobs are taken in; those inside are still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Closes it at once: who waits is told to come again, and what no writer has taken is dropped.
    pub fn give_up(&self) {
        self.is_over.send_replace(true);
        let mut state = self.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.jobs);
        drop(state);
        drop(dropped);
        self.changed.notify_one();
    }

    /// Nobody waits any more for what a writer still holds.
    pub fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement below, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Jobs, whether there are more, and whether no more will come.
    fn take(&mut self, max: Size, writers: usize, now: Instant) -> (Vec<Job>, bool, bool) {
        let is_shared = writers > 1 && !self.closed && self.jobs.is_shared(now);
        let at_work = &self.at_work;
        let may = |project| !is_shared || at_work.get(&project).is_none_or(|count| count + 1 < writers);
        let jobs = self.jobs.take(max, now, may);
        for project in jobs.iter().map(|job| job.batch.project).collect::<BTreeSet<_>>() {
            *self.at_work.entry(project).or_default() += 1;
        }
        (jobs, !self.jobs.is_empty(), self.closed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    async fn job(budget: &Budget, bytes: u64) -> Job {
        job_of(1, budget, bytes).await
    }

    async fn job_of(project: i64, budget: &Budget, bytes: u64) -> Job {
        let batch = Batch {
            project: ProjectId(project),
            received_at: chrono::DateTime::UNIX_EPOCH,
            origins: vec![],
            steps: vec![],
            logs: vec![],
            native: None,
            receipt: Default::default(),
        };
        let reservation = budget.reserve(bytes, soon()).await.unwrap();
        let (reply, withdrawn) = (oneshot::channel().0, Withdrawn::default());
        Job { batch, bytes, deadline: soon(), reply, withdrawn, reservation: Arc::new(reservation) }
    }

    #[tokio::test]
    async fn the_budget_is_exact_at_its_edge_and_gives_back() {
        let counters = Arc::new(Counters::default());
        let budget = Budget::new(8 * UNIT_BYTES, counters.clone());
        let mut first = budget.reserve(5 * UNIT_BYTES, soon()).await.unwrap();
        let second = budget.reserve(3 * UNIT_BYTES, soon()).await.unwrap();
        assert_eq!(budget.reserve(1, soon()).await.err(), Some(Full));
        first.absorb(second);
        assert_eq!(counters.queue_bytes.get(), 8192);
        drop(first);
        assert_eq!(counters.queue_bytes.get(), 0);
        assert!(budget.reserve(u64::MAX, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn a_batch_is_bounded_but_never_empty() {
        let budget = Budget::new(1 << 20, Arc::default());
        let queue = Arc::new(Queue::new(1));
        for bytes in [100, 100, 100, 5000] {
            queue.offer(job(&budget, bytes).await).map_err(|_| "closed").unwrap();
        }
        assert_eq!(queue.take(10, 200).await.unwrap().jobs.len(), 2);
        assert_eq!(queue.take(10, 200).await.unwrap().jobs.len(), 1);
        assert_eq!(queue.take(10, 200).await.unwrap().jobs.len(), 1, "larger than the bound, but alone");
    }

    #[tokio::test]
    async fn while_others_send_nobody_has_all_writers() {
        let budget = Budget::new(1 << 20, Arc::default());
        let queue = Arc::new(Queue::new(2));
        let offer = async |project| queue.offer(job_of(project, &budget, 1).await).map_err(|_| "closed").unwrap();
        for project in [2, 1, 1, 1] {
            offer(project).await;
        }
        let projects = |taken: &Taken| taken.jobs.iter().map(|job| job.batch.project.0).collect::<Vec<_>>();
        let first = queue.take(10, 2).await.unwrap();
        assert_eq!(projects(&first), [2, 1]);
        let nothing = tokio::time::timeout(Duration::from_millis(50), queue.take(10, 2)).await;
        assert!(nothing.is_err(), "the other writer is kept for others");
        offer(3).await;
        assert_eq!(projects(&queue.take(10, 2).await.unwrap()), [3]);
        drop(first);
        assert_eq!(projects(&queue.take(10, 2).await.unwrap()), [1, 1]);
    }

    #[tokio::test]
    async fn giving_up_tells_everybody_at_once() {
        let counters = Arc::new(Counters::default());
        let budget = Budget::new(1 << 20, counters.clone());
        let queue = Arc::new(Queue::new(1));
        let (reply, taken_answer) = oneshot::channel();
        queue.offer(Job { reply, ..job(&budget, 1).await }).map_err(|_| "closed").unwrap();
        let taken = queue.take(10, 10).await.unwrap();
        let (reply, waiting_answer) = oneshot::channel();
        queue.offer(Job { reply, ..job(&budget, 1).await }).map_err(|_| "closed").unwrap();
        let deadline = Instant::now() + Duration::from_secs(3600);
        let told = async { tokio::join!(queue.wait(taken_answer, deadline), queue.wait(waiting_answer, deadline)) };
        let (told, ()) = tokio::join!(told, async { queue.give_up() });
        assert!(matches!(told, (Err(Overdue), Err(Overdue))));
        assert!(queue.is_over() && queue.take(10, 10).await.is_none());
        drop(taken);
        assert_eq!(counters.queue_bytes.get(), 0);
        assert!(queue.offer(job(&budget, 1).await).is_err());
    }

    #[tokio::test]
    async fn a_closed_queue_is_drained_and_then_ends_every_writer() {
        let budget = Budget::new(1 << 20, Arc::default());
        let queue = Arc::new(Queue::new(3));
        queue.offer(job(&budget, 1).await).map_err(|_| "closed").unwrap();
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut taken = 0;
                    while let Some(took) = queue.take(1, 1).await {
                        taken += took.jobs.len();
                    }
                    taken
                })
            })
            .collect();
        queue.close();
        let mut taken = 0;
        for writer in writers {
            taken += tokio::time::timeout(Duration::from_secs(5), writer).await.unwrap().unwrap();
        }
        assert_eq!(taken, 1);
        assert!(queue.offer(job(&budget, 1).await).is_err());
    }
}
