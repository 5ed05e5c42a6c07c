//! What the write algorithm asks of a database, inside one open transaction. Each call is a fixed number of
//! statements, however many rows it is given, and does nothing when given none.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::receipts::{ReceiptKey, Rejected};
use crate::assembly::{Call, Rest, Twin};
use crate::messages;
use crate::model::batch::OriginRow;
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::receipt::{Counts, DeadLetter};
use crate::model::run::Run;
use crate::model::step::Step;

/// The primary key of a step's row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StepKey {
    pub run: RunKey,
    pub id: String,
    pub day: NaiveDate,
}

impl StepKey {
    pub fn of(step: &Step) -> StepKey {
        StepKey { run: step.run, id: step.id.clone(), day: step.day }
    }
}

/// The primary key of a log record's row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LogKey {
    pub run: RunKey,
    pub day: NaiveDate,
    pub span_id: String,
    pub id: Uuid,
}

impl LogKey {
    pub fn of(log: &LogRow) -> LogKey {
        LogKey { run: log.run, day: log.day, span_id: log.span_id.clone(), id: log.id }
    }
}

/// A run and the days on which its steps and log records may lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunDays {
    pub key: RunKey,
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
}

impl RunDays {
    pub fn of(run: &Run) -> RunDays {
        RunDays { key: run.key, first_day: run.first_day, last_day: run.last_day }
    }
}

/// Which runs are looked through for steps that an older version of the mapping made.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldPage {
    pub after: Option<RunKey>,
    pub since: NaiveDate,
    pub project: Option<ProjectId>,
    pub runs_max: i64,
}

/// A run of such a page.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct OldRun {
    project_id: i64,
    run_id: Uuid,
    pub step_count: i64,
    /// It has such a step.
    pub is_old: bool,
}

impl OldRun {
    pub fn key(&self) -> RunKey {
        RunKey { project: ProjectId(self.project_id), run_id: self.run_id }
    }
}

/// A call of a run, asked for in other runs by the id of its response.
#[derive(Clone, Debug)]
pub(super) struct AskedCall {
    pub run: RunDays,
    pub response_id: String,
    /// Calls that start later are not meant. As the column holds it, bounded to its largest value.
    pub end_ns: i64,
}

impl AskedCall {
    /// `None` for a call without an id.
    pub fn new(run: RunDays, call: &Call) -> Option<AskedCall> {
        Some(AskedCall { run, response_id: call.response_id.clone()?, end_ns: bounded(call.window.1) })
    }
}

/// A call of a run, asked for in other runs by its process and time.
#[derive(Clone, Debug)]
pub(super) struct AskedMoment {
    pub run: RunDays,
    pub instance: String,
    pub latest_start_ns: i64,
    pub earliest_end_ns: i64,
    /// Found calls tell whether theirs is the same.
    pub input: Option<String>,
}

impl AskedMoment {
    /// `None` for a call that tells enough to be found by its id, or nothing to be found by.
    pub fn new(run: RunDays, call: &Call) -> Option<AskedMoment> {
        let moment = call.moment()?;
        Some(AskedMoment {
            run,
            instance: moment.instance,
            latest_start_ns: bounded(moment.latest_start_ns),
            earliest_end_ns: bounded(moment.earliest_end_ns),
            // Of a run that is held by seals of its texts, nobody can be asked for one.
            input: call.open_question.clone().filter(|text| messages::hidden(text).is_none()),
        })
    }
}

/// Nanoseconds as a column holds them. A call that has not ended reaches further.
fn bounded(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// Steps that one asked call is compared with, the latest first. Senders that repeat an id for ever are not read whole.
pub(super) const TWINS_MAX: i64 = 32;
/// Calls of one process that are looked through for those [`TWINS_MAX`], the latest first.
pub(super) const NEIGHBOURS_MAX: i64 = 256;

/// Log records of one run that are read; more are stored.
pub(super) const LOGS_MAX: i64 = 20_000;
/// Bytes of log records that are read at once.
pub(super) const LOGS_BYTES_MAX: usize = 32 << 20;

/// Log records up to the bound of bytes.
#[derive(Default)]
pub(super) struct LogsTaken {
    pub logs: Vec<LogRow>,
    bytes: usize,
}

impl LogsTaken {
    /// False when it is enough.
    pub fn take(&mut self, log: LogRow) -> bool {
        self.bytes = self.bytes.saturating_add(size_of::<LogRow>() + log.body.len());
        if self.bytes <= LOGS_BYTES_MAX || self.logs.is_empty() {
            self.logs.push(log);
        }
        self.bytes <= LOGS_BYTES_MAX
    }
}

/// Takes a step, and says whether another one is wanted.
pub(super) type Take<'t> = &'t mut (dyn FnMut(Step) -> bool + Send);

/// Where a step stands in its run.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Place {
    pub position: i32,
    /// When it began or, where that is unknown, ended; nanoseconds since 1970 as a column holds them.
    pub instant_ns: i64,
    pub step_id: String,
}

/// The part of it that writes receipts. Rows are given in the order of their keys, without repetitions.
#[async_trait]
pub(super) trait ReceiptTables: Send {
    /// Adds to what is counted already.
    async fn add_receipts(&mut self, counts: &BTreeMap<ReceiptKey, Counts>, shard: i16) -> sqlx::Result<()>;
    /// The same; of the examples the newest stay.
    async fn add_rejections(
        &mut self,
        rejected: &BTreeMap<(ReceiptKey, &'static str), Rejected>,
        shard: i16,
    ) -> sqlx::Result<()>;
    async fn insert_dead_letters(&mut self, letters: &[(ReceiptKey, &DeadLetter)]) -> sqlx::Result<()>;
}

/// Rows are given in the order of their keys, without repetitions.
#[async_trait]
pub(super) trait Tables: ReceiptTables {
    /// Those that are there already stay as they are.
    async fn insert_origins(&mut self, origins: &[(ProjectId, &OriginRow)]) -> sqlx::Result<()>;
    async fn origin_bodies(&mut self, origins: &[(ProjectId, Uuid)]) -> sqlx::Result<Vec<(Uuid, String)>>;

    /// As it is, locked or not.
    async fn run(&mut self, key: RunKey) -> sqlx::Result<Option<Run>>;
    /// Those that were not there before and now are; the others stay as they are.
    async fn insert_runs(&mut self, runs: &[Run]) -> sqlx::Result<HashSet<RunKey>>;
    /// Nobody else writes these runs until the transaction ends. Also makes an otherwise empty COMMIT a real one:
    /// it waits for the log, and so for an earlier COMMIT of the same rows whose reply was lost.
    async fn lock_runs(&mut self, keys: &[RunKey]) -> sqlx::Result<Vec<Run>>;
    /// Those due at `now`, longest due first, without those that another transaction holds.
    async fn lock_due_runs(&mut self, now: DateTime<Utc>, limit: u32) -> sqlx::Result<Vec<Run>>;
    /// The rows of the parts of these traces, those that were merged too. Who holds a trace's row is alone with them.
    async fn parts_of_runs(&mut self, traces: &[RunKey]) -> sqlx::Result<Vec<Run>>;
    /// Those that are not there are inserted.
    async fn update_runs(&mut self, runs: &[Run]) -> sqlx::Result<()>;

    /// Those that were not there before and now are; the others stay as they are.
    async fn insert_steps(&mut self, steps: &[&Step]) -> sqlx::Result<HashSet<StepKey>>;
    async fn update_steps(&mut self, steps: &[&Step]) -> sqlx::Result<()>;
    async fn steps_by_key(&mut self, keys: &[StepKey]) -> sqlx::Result<Vec<Step>>;
    /// Gives the steps of these runs to `take` one by one, without their detail, until it says that it is enough; of a
    /// single run those up to the place `last`. Whether it were all.
    async fn each_step(&mut self, runs: &[RunDays], last: Option<&Place>, take: Take<'_>) -> sqlx::Result<bool>;
    /// How many rows of steps each of these runs has.
    async fn step_counts(&mut self, runs: &[RunDays]) -> sqlx::Result<Vec<(RunKey, i64)>>;
    /// Where the step stands that is `number` in the order of time, from 1.
    async fn place_of_step(&mut self, run: RunDays, number: i64) -> sqlx::Result<Option<Place>>;
    /// Sums over the steps behind the place `last`.
    async fn rest_of_run(&mut self, run: RunDays, last: &Place) -> sqlx::Result<Rest>;
    /// Gives at most `limit` of one run to `take`, the earliest, whole, until it says that it is enough. Whether it did not.
    async fn first_steps(&mut self, run: RunDays, limit: u32, take: Take<'_>) -> sqlx::Result<bool>;

    /// Those that were not there before and now are.
    async fn insert_logs(&mut self, logs: &[&LogRow]) -> sqlx::Result<HashSet<LogKey>>;
    /// At most [`LOGS_MAX`] of each run, the first in the order of their keys, up to [`LOGS_BYTES_MAX`]; and whether these
    /// bytes were enough.
    async fn logs_of_runs(&mut self, runs: &[RunDays]) -> sqlx::Result<(Vec<LogRow>, bool)>;
    /// The rows of these runs with all their log records.
    async fn delete_runs_of_logs(&mut self, runs: &[RunDays]) -> sqlx::Result<()>;
    /// Up to `limit` records of no trace that were received before `before`.
    async fn delete_loose_logs(&mut self, before: DateTime<Utc>, limit: i64) -> sqlx::Result<()>;

    /// The page in the order of the keys; fewer than its bound when there are no more.
    async fn runs_after(&mut self, page: &OldPage) -> sqlx::Result<Vec<OldRun>>;
    /// Steps of these runs that an older version of the mapping made of spans, since that day, at most `limit`.
    async fn old_steps(&mut self, runs: &[RunDays], since: NaiveDate, limit: i64) -> sqlx::Result<Vec<Step>>;
    /// Calls with the same response id in other runs of the project, with the run that asked; at most [`TWINS_MAX`] for
    /// each asked call.
    async fn twins(&mut self, calls: &[AskedCall]) -> sqlx::Result<Vec<(RunKey, Twin)>>;
    /// Calls without a response id of the same process around the same time in other runs, with the run that asked; at
    /// most [`TWINS_MAX`] of [`NEIGHBOURS_MAX`] for each asked moment.
    async fn neighbours(&mut self, moments: &[AskedMoment]) -> sqlx::Result<Vec<(RunKey, Twin)>>;
}
