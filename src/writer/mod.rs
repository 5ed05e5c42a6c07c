//! The loop that owns a store connection: takes whatever is queued the moment it is free, commits it, then answers.
//! No timer: while one transaction commits, the next batch gathers.

mod letter;
mod poison;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::assembly::LifeCycle;
use crate::circuit::{Busy, Circuit, Disagreement};
use crate::model::batch::{Batch, Native, Written};
use crate::model::receipt::Receipt;
use crate::queue::{Answer, Job, Overdue, Queue};
use crate::store::{StoreError, StoreWriter, Writable};
use crate::telemetry::Counters;

pub use poison::Guard;

/// Bounds of one transaction; `ingest.*` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct BatchBounds {
    pub steps_max: usize,
    pub bytes_max: u64,
}

/// With less room for requests than this, batches are smaller in proportion.
const FULL_ROOM_BYTES: u64 = 256 << 20;

impl BatchBounds {
    /// These bounds where requests may take `room_bytes` of memory: a batch is held several times while it is sent, so
    /// whoever gives requests less of it wants smaller batches, too.
    pub fn within(self, room_bytes: u64) -> BatchBounds {
        let room_bytes = u128::from(room_bytes.min(FULL_ROOM_BYTES));
        let part = |of: u64| (u128::from(of) * room_bytes / u128::from(FULL_ROOM_BYTES)).max(1);
        // A part of what was given, or 1.
        BatchBounds { steps_max: part(self.steps_max as u64) as usize, bytes_max: part(self.bytes_max) as u64 }
    }
}

/// Pauses between tries while the store is away, each twice the one before.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Writer {
    pub queue: Arc<Queue>,
    pub store: Arc<dyn Writable>,
    pub counters: Arc<Counters>,
    pub circuit: Arc<Circuit>,
    pub guard: Arc<Guard>,
    pub life: LifeCycle,
    pub bounds: BatchBounds,
}

type Connection = Option<Box<dyn StoreWriter>>;

impl Writer {
    /// Writes until the queue is closed and empty. A panic costs the jobs that were held, whose senders are told to come
    /// again, and a connection; the next ones find another writer.
    pub async fn keep_writing(self) {
        // Ended with this future, where a task by itself would go on.
        let mut running = JoinSet::new();
        running.spawn(self.clone().run());
        while let Some(Err(error)) = running.join_next().await {
            tracing::error!(%error, "a writer ended by a panic, starting another");
            running.spawn(self.clone().run());
        }
    }

    /// Every job that was taken is answered.
    async fn run(self) {
        let mut connection = None;
        while let Some(mut taken) = self.queue.take(self.bounds.steps_max, self.bounds.bytes_max).await {
            self.commit(&mut connection, std::mem::take(&mut taken.jobs)).await;
        }
    }

    /// Tries the same jobs again while the store is away and somebody still waits for them. When it refuses them for
    /// anything else, each is tried by itself.
    async fn commit(&self, connection: &mut Connection, jobs: Vec<Job>) {
        let (mut groups, mut pause) = (self.guard.groups(jobs), BACKOFF_FIRST);
        let busy = self.circuit.begin();
        while let Some(jobs) = groups.pop_front() {
            let jobs = self.wanted(jobs, Instant::now());
            if jobs.is_empty() {
                continue;
            }
            let tried = self.attempt(connection, &busy, &jobs).await;
            if tried.is_err() {
                self.counters.commit_failures.inc();
            }
            match tried {
                Ok(answers) => {
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        // The sender may be gone; what it sent is stored all the same.
                        let _ = job.reply.send(answer.ok_or(Overdue));
                    }
                }
                Err(error @ StoreError::Unavailable(_)) => {
                    self.circuit.failed();
                    if let Some(left_out) = self.due("commit") {
                        tracing::warn!(%error, jobs = jobs.len(), left_out, "commit failed, trying again");
                    }
                    groups.push_front(jobs);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF_MAX);
                }
                Err(StoreError::Data(_) | StoreError::Broken(_)) if jobs.len() > 1 => {
                    jobs.into_iter().rev().for_each(|job| groups.push_front(vec![job]));
                }
                Err(error) => self.blame_us(&busy, &error, jobs),
            }
        }
    }

    /// Nothing of it is a dead letter: the data is good as far as anybody knows.
    fn blame_us(&self, busy: &Busy<'_>, error: &StoreError, jobs: Vec<Job>) {
        let disagreement = Disagreement { code: error.code() };
        if let Some(left_out) = self.due("statement") {
            // These texts are of statements. Others may quote values.
            let is_harmless = disagreement.is_of_the_schema() || disagreement.code == "26000";
            let text = is_harmless.then(|| error.to_string());
            tracing::error!(text, left_out, "{disagreement}: senders are told to come again");
        }
        busy.disagreed(disagreement);
        for job in jobs {
            let _ = job.reply.send(Err(Overdue));
        }
    }

    /// One transaction for all jobs, and the answer to each. `None`: what it holds was refused, and that is taken for our
    /// fault.
    async fn attempt(
        &self,
        connection: &mut Connection,
        busy: &Busy<'_>,
        jobs: &[Job],
    ) -> Result<Vec<Option<Answer>>, StoreError> {
        let writer = match connection {
            Some(writer) => writer,
            None => connection.insert(self.store.writer().await?),
        };
        let batches: Vec<&Batch> = jobs.iter().map(|job| &job.batch).collect();
        match self.write(writer.as_mut(), &batches).await {
            Err(error @ StoreError::Data(_)) => {
                if let Some(left_out) = self.due("data") {
                    tracing::warn!(%error, left_out, "the store refused data, looking for the offender");
                }
                match jobs {
                    [job] => Ok(vec![self.isolate(writer.as_mut(), busy, &job.batch).await?]),
                    _ => Err(error),
                }
            }
            done => Ok(done?.into_iter().map(|written| Some(Answer { written, ..Answer::default() })).collect()),
        }
    }

    /// Halves the items of one request until only those that the store refuses are left out; they become dead letters. A
    /// native run is stored whole or not at all: its sender reads one answer for all of it. `None`: so much is refused that
    /// it must be our fault; what of the request was stored does no harm when it comes again.
    async fn isolate(
        &self,
        writer: &mut dyn StoreWriter,
        busy: &Busy<'_>,
        batch: &Batch,
    ) -> Result<Option<Answer>, StoreError> {
        let mut answer = Answer::default();
        // What is to be accounted for beside the items goes with the first part that is written.
        let mut receipt = batch.receipt.clone();
        let mut letters = Vec::new();
        let can_part = |start: usize, end: usize| end - start > 1 && batch.native.is_none();
        let halves = |start: usize, end: usize| {
            let middle = start + (end - start) / 2;
            [(middle, end), (start, middle)]
        };
        // The whole was just refused.
        let mut parts = match batch.items() {
            items if can_part(0, items) => halves(0, items).to_vec(),
            items => vec![(0, items)],
        };
        while let Some((start, end)) = parts.pop() {
            let part = Batch { receipt: receipt.clone(), ..batch.part(start..end) };
            match self.write(writer, &[&part]).await {
                Ok(written) => {
                    add(&mut answer.written, written.first().copied().unwrap_or_default());
                    receipt = Receipt { key_id: receipt.key_id, ..Receipt::default() };
                }
                Err(StoreError::Data(_)) if can_part(start, end) => parts.extend(halves(start, end)),
                Err(error @ StoreError::Data(_)) if end > start || batch.native.is_some() => {
                    let run = usize::from(matches!(batch.native, Some(Native::Submit { .. })));
                    let items = (end - start + run).max(1) as u64;
                    if self.guard.refused(batch.project, items) {
                        if let Some(left_out) = self.due("poison") {
                            tracing::error!(
                                %error, left_out,
                                "the database refuses much of what is sent: look for a trigger or a constraint that is not \
                                 the program's. Senders are told to come again, and nothing becomes a dead letter"
                            );
                        }
                        busy.disagreed(Disagreement { code: error.code() });
                        return Ok(None);
                    }
                    if let Some(left_out) = self.due("refused item") {
                        tracing::warn!(%error, left_out, "a step or record was refused by the store");
                    }
                    answer.rejections.add_many("database", items, || letter::told(batch, start));
                    letters.push(letter::letter(batch, start, error.code(), Uuid::now_v7()));
                }
                Err(error) => return Err(error),
            }
        }
        if !answer.rejections.is_empty() {
            self.counters.dead_letters.inc_by(letters.len() as u64);
            receipt.rejections.append(answer.rejections.clone());
            receipt.dead_letters = letters;
            let (origins, native) = (Vec::new(), None);
            self.write(writer, &[&Batch { origins, native, receipt, ..batch.part(0..0) }]).await?;
        }
        Ok(Some(answer))
    }

    async fn write(&self, writer: &mut dyn StoreWriter, batches: &[&Batch]) -> Result<Vec<Written>, StoreError> {
        let started = Instant::now();
        let written = writer.write(batches, &self.life, Utc::now()).await?;
        self.circuit.committed();
        self.guard.stored(batches.iter().map(|batch| batch.items() as u64).sum());
        self.counters.commits.inc();
        self.counters.commit_seconds.observe(started.elapsed().as_secs_f64());
        self.counters.inserted.inc_by(written.iter().map(|w| w.inserted).sum());
        self.counters.duplicates.inc_by(written.iter().map(|w| w.duplicates).sum());
        Ok(written)
    }

    /// Answers the jobs that nobody waits for any more and keeps the rest, without those that were withdrawn.
    fn wanted(&self, jobs: Vec<Job>, now: Instant) -> Vec<Job> {
        let is_over = self.queue.is_over();
        let needed = jobs.into_iter().filter(|job| !job.withdrawn.is_set());
        let (waiting, overdue): (Vec<Job>, Vec<Job>) = needed.partition(|job| now < job.deadline && !is_over);
        for job in overdue {
            let _ = job.reply.send(Err(Overdue));
        }
        waiting
    }

    /// How many lines about `what` were left out, when one is due.
    fn due(&self, what: &'static str) -> Option<u64> {
        self.counters.lines.due(what, Instant::now().into_std())
    }
}

fn add(sum: &mut Written, part: Written) {
    sum.inserted += part.inserted;
    sum.duplicates += part.duplicates;
    sum.native = sum.native.or(part.native);
}
