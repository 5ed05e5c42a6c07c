//! The loop that owns a store connection: takes whatever is queued the moment it is free, commits it, then answers.
//! No timer: while one transaction commits, the next batch gathers.

mod letter;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use uuid::Uuid;

use crate::assembly::LifeCycle;
use crate::circuit::Circuit;
use crate::model::batch::{Batch, Native, Written};
use crate::model::receipt::Receipt;
use crate::queue::{Answer, Job, Overdue, Queue};
use crate::store::{Store, StoreError, StoreWriter};
use crate::telemetry::Counters;

/// Bounds of one transaction; `ingest.*` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct BatchBounds {
    pub steps_max: usize,
    pub bytes_max: u64,
}

/// Pauses between tries while the store is away, each twice the one before.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

pub struct Writer {
    pub queue: Arc<Queue>,
    pub store: Arc<dyn Store>,
    pub counters: Arc<Counters>,
    pub circuit: Arc<Circuit>,
    pub life: LifeCycle,
    pub bounds: BatchBounds,
}

impl Writer {
    /// Runs until the queue is closed and empty. Every job that was taken is answered.
    pub async fn run(self) {
        let mut connection = None;
        while let Some(mut taken) = self.queue.take(self.bounds.steps_max, self.bounds.bytes_max).await {
            self.commit(&mut connection, std::mem::take(&mut taken.jobs)).await;
        }
    }

    /// Tries the same jobs again while the store is away and somebody still waits for them.
    async fn commit(&self, connection: &mut Option<Box<dyn StoreWriter>>, mut jobs: Vec<Job>) {
        let mut pause = BACKOFF_FIRST;
        let _busy = self.circuit.begin();
        loop {
            jobs = refuse_overdue(jobs, Instant::now());
            if jobs.is_empty() {
                return;
            }
            match self.attempt(connection, &jobs).await {
                Ok(answers) => {
                    self.circuit.committed();
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        // The sender may be gone; what it sent is stored all the same.
                        let _ = job.reply.send(Ok(answer));
                    }
                    return;
                }
                Err(error) => {
                    self.counters.commit_failures.inc();
                    match &error {
                        StoreError::Unavailable(_) => {
                            self.circuit.failed();
                            if let Some(left_out) = self.counters.lines.due("commit", Instant::now()) {
                                tracing::warn!(%error, jobs = jobs.len(), left_out, "commit failed, trying again");
                            }
                        }
                        _ => {
                            tracing::error!(%error, jobs = jobs.len(), "commit failed for a reason that no data explains")
                        }
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// One transaction for all jobs; when the store refuses the data, smaller ones until the offender stands alone.
    async fn attempt(
        &self,
        connection: &mut Option<Box<dyn StoreWriter>>,
        jobs: &[Job],
    ) -> Result<Vec<Answer>, StoreError> {
        let writer = match connection {
            Some(writer) => writer,
            None => connection.insert(self.store.writer().await?),
        };
        let batches: Vec<&Batch> = jobs.iter().map(|job| &job.batch).collect();
        match self.write(writer.as_mut(), &batches).await {
            Err(error @ StoreError::Data(_)) => {
                tracing::warn!(%error, jobs = jobs.len(), "the store refused a batch for its data, looking for the offender");
                let mut answers = Vec::with_capacity(jobs.len());
                for job in jobs {
                    answers.push(self.isolate(writer.as_mut(), &job.batch).await?);
                }
                Ok(answers)
            }
            done => Ok(done?.into_iter().map(|written| Answer { written, ..Answer::default() }).collect()),
        }
    }

    /// Halves the items of one request until only those that the store refuses are left out; they become dead letters. A
    /// native run is stored whole or not at all: its sender reads one answer for all of it.
    async fn isolate(&self, writer: &mut dyn StoreWriter, batch: &Batch) -> Result<Answer, StoreError> {
        let mut answer = Answer::default();
        // What is to be accounted for beside the items goes with the first part that is written.
        let mut receipt = batch.receipt.clone();
        let mut letters = Vec::new();
        let mut parts = vec![(0, batch.items())];
        while let Some((start, end)) = parts.pop() {
            let part = Batch { receipt: receipt.clone(), ..batch.part(start..end) };
            match self.write(writer, &[&part]).await {
                Ok(written) => {
                    add(&mut answer.written, written.first().copied().unwrap_or_default());
                    receipt = Receipt { key_id: receipt.key_id, ..Receipt::default() };
                }
                Err(StoreError::Data(_)) if end - start > 1 && batch.native.is_none() => {
                    let middle = start + (end - start) / 2;
                    parts.extend([(middle, end), (start, middle)]);
                }
                Err(error @ StoreError::Data(_)) if end > start || batch.native.is_some() => {
                    tracing::warn!(%error, "a step or record was refused by the store");
                    let run = usize::from(matches!(batch.native, Some(Native::Submit { .. })));
                    let items = (end - start + run).max(1) as u64;
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
        Ok(answer)
    }

    async fn write(&self, writer: &mut dyn StoreWriter, batches: &[&Batch]) -> Result<Vec<Written>, StoreError> {
        let started = Instant::now();
        let written = writer.write(batches, &self.life, Utc::now()).await?;
        self.counters.commits.inc();
        self.counters.commit_seconds.observe(started.elapsed().as_secs_f64());
        self.counters.inserted.inc_by(written.iter().map(|w| w.inserted).sum());
        self.counters.duplicates.inc_by(written.iter().map(|w| w.duplicates).sum());
        Ok(written)
    }
}

fn add(sum: &mut Written, part: Written) {
    sum.inserted += part.inserted;
    sum.duplicates += part.duplicates;
    sum.native = sum.native.or(part.native);
}

/// Answers the jobs that nobody waits for any more and keeps the rest, without those that were withdrawn.
fn refuse_overdue(jobs: Vec<Job>, now: Instant) -> Vec<Job> {
    let needed = jobs.into_iter().filter(|job| !job.withdrawn.is_set());
    let (waiting, overdue): (Vec<Job>, Vec<Job>) = needed.partition(|job| now < job.deadline);
    for job in overdue {
        let _ = job.reply.send(Err(Overdue));
    }
    waiting
}
