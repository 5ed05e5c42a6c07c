//! The row of a run, made by assembly from the steps that are stored.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::parts::part_rows;
use super::plan::Merge;
use super::storable;
use super::tables::{RunDays, StepKey, Tables};
use crate::assembly::{LifeCycle, Parts, Receipt, RunLogs, assemble, parts};
use crate::mapping;
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::run::{Assembled, Declared, Run};
use crate::model::step::Step;
use crate::prices::Prices;

/// What is stored of a run beside its row: its steps with their log records, and the other records.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub steps: Vec<Step>,
    pub logs: RunLogs,
}

impl Contents {
    /// Versions of one step that lie on different days are one step; the records that belong to a step are folded in.
    pub fn new(
        steps: Vec<Step>,
        logs: Vec<LogRow>,
        prices: &Prices,
        origin_of: &dyn Fn(Uuid) -> Option<String>,
    ) -> Contents {
        let count = logs.len();
        let steps = one_per_id(steps, &|one, other| mapping::merge(one, other, prices, origin_of));
        let (steps, loose) = mapping::with_logs(steps, logs, prices, origin_of);
        Contents { steps, logs: RunLogs { count, loose } }
    }

    fn assembled(
        self,
        key: RunKey,
        declared: Option<Declared>,
        receipt: Receipt,
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> (Assembled, Option<Parts>) {
        // Which service's trace it is, only its run can tell.
        let steps = (declared.is_none() && life.scopes.any()).then(|| self.steps.clone());
        let mut assembled = assemble(key, self.steps, declared, receipt, life, now);
        self.logs.note(&mut assembled, life);
        let is_split = assembled.run.worthy && life.scopes.splits(assembled.run.service.as_deref());
        (assembled, steps.filter(|_| is_split).map(|steps| parts(key, steps)))
    }
}

/// The row of a run of which nothing is stored yet, and those of its parts. It was received first and last at `received`;
/// `days` are those of all that is stored with it.
pub(super) fn first_row(
    key: RunKey,
    contents: Contents,
    days: &[NaiveDate],
    declared: Option<Declared>,
    received: (DateTime<Utc>, DateTime<Utc>),
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<(Run, Vec<Run>)> {
    let (created_at, received_at) = received;
    let receipt = Receipt { created_at, updated_at: now, received_at };
    let (assembled, parts) = contents.assembled(key, declared, receipt, life, now);
    let mut run = assembled.run;
    let part_rows = part_rows(&mut run, parts, Vec::new(), life, now)?;
    let mut run = storable::run(run)?;
    days.iter().for_each(|day| include_day(&mut run, *day));
    Ok((run, part_rows))
}

/// The row that takes the place of `old`; `grown` is `old` with what is newly known about it but its steps.
/// `None` when nothing changes; beside it the rows of parts that change, of those `stored`. `updated_at` moves only when a reader could see a difference.
pub(super) fn next_row(
    old: &Run,
    grown: Run,
    contents: Contents,
    stored: Vec<Run>,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<(Option<Run>, Vec<Run>)> {
    let days = (grown.first_day, grown.last_day);
    let (assembled, parts) = assembled_again(grown, contents, life, now);
    let mut next = assembled.run;
    let part_rows = part_rows(&mut next, parts, stored, life, now)?;
    next.set_original(old.duplicate_of);
    include_day(&mut next, days.0);
    include_day(&mut next, days.1);
    Ok((revising(old, next, now, now)?, part_rows))
}

/// The run as its steps and the known part of its row make it now.
pub(super) fn assembled_again(
    known: Run,
    contents: Contents,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> (Assembled, Option<Parts>) {
    let (created_at, updated_at, received_at) = (known.created_at, known.updated_at, known.received_at);
    let receipt = Receipt { created_at, updated_at, received_at };
    contents.assembled(known.key, known.declared, receipt, life, now)
}

/// `next` as the row that takes the place of `old`, unless it is the same.
pub(super) fn replacing(old: &Run, next: Run, now: DateTime<Utc>) -> sqlx::Result<Option<Run>> {
    let mut next = storable::run(next)?;
    next.set_revision(old.revision);
    next.updated_at = if storable::same_run(old, &next) { old.updated_at } else { now };
    Ok((next != *old).then_some(next))
}

/// The same where news came at `news_at`: what had been final by then is another revision, if a reader can tell.
pub(super) fn revising(old: &Run, next: Run, news_at: DateTime<Utc>, now: DateTime<Utc>) -> sqlx::Result<Option<Run>> {
    let mut next = replacing(old, next, now)?;
    if let Some(next) = next.as_mut().filter(|next| old.is_final(news_at) && !storable::same_run(old, next)) {
        next.set_revision(old.revision + 1);
    }
    Ok(next)
}

/// A step with versions of several days is one to assembly, but reads must look for all its rows.
pub(super) fn include_day(run: &mut Run, day: NaiveDate) {
    run.first_day = run.first_day.min(day);
    run.last_day = run.last_day.max(day);
}

/// Everything of each run that assembly looks at.
pub(super) async fn contents_by_run(
    tables: &mut impl Tables,
    runs: &[RunDays],
    prices: &Prices,
) -> sqlx::Result<HashMap<RunKey, Contents>> {
    let mut steps = tables.steps_of_runs(runs).await?;
    let logs = tables.logs_of_runs(runs).await?;
    let again = mapped_again(&steps, &logs);
    let mut origins: Vec<(ProjectId, Uuid)> = logs.iter().map(|log| (log.run.project, log.origin)).collect();
    if !again.is_empty() {
        // They need their detail, which assembly does not look at.
        steps.retain(|step| !again.contains(&StepKey::of(step)));
        let whole = tables.steps_by_key(&again.into_iter().collect::<Vec<_>>()).await?;
        origins.extend(whole.iter().filter_map(|step| Some((step.run.project, step.origin?))));
        steps.extend(whole);
    }
    let bodies = bodies_of(tables, origins).await?;
    let mut by_run: HashMap<RunKey, (Vec<Step>, Vec<LogRow>)> = HashMap::with_capacity(runs.len());
    for step in steps {
        by_run.entry(step.run).or_default().0.push(step);
    }
    for log in logs {
        by_run.entry(log.run).or_default().1.push(log);
    }
    let contents = by_run
        .into_iter()
        .map(|(key, (steps, logs))| (key, Contents::new(steps, logs, prices, &|id| bodies.get(&id).cloned())));
    Ok(contents.collect())
}

/// The stored bodies of origins.
pub(super) async fn bodies_of(
    tables: &mut impl Tables,
    mut origins: Vec<(ProjectId, Uuid)>,
) -> sqlx::Result<HashMap<Uuid, String>> {
    origins.sort_unstable();
    origins.dedup();
    Ok(tables.origin_bodies(&origins).await?.into_iter().collect())
}

/// The steps that are mapped again before assembly: those of runs with log records, and those that have several rows
/// because their versions start on different days and so lie in different partitions.
fn mapped_again(steps: &[Step], logs: &[LogRow]) -> BTreeSet<StepKey> {
    let mut rows: HashMap<(RunKey, &str), u32> = HashMap::with_capacity(steps.len());
    for step in steps {
        *rows.entry((step.run, &step.id)).or_default() += 1;
    }
    let with_logs: HashSet<RunKey> = logs.iter().map(|log| log.run).collect();
    let is_needed = |step: &&Step| {
        with_logs.contains(&step.run) || rows.get(&(step.run, step.id.as_str())).is_some_and(|count| *count > 1)
    };
    steps.iter().filter(is_needed).map(StepKey::of).collect()
}

/// One step for each id of each run, merged where there are several versions, in order of their keys.
pub(super) fn one_per_id(mut steps: Vec<Step>, merge: Merge<'_>) -> Vec<Step> {
    steps.sort_by(|a, b| (a.run, &a.id).cmp(&(b.run, &b.id)));
    let mut single: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        let step = match single.pop_if(|last| last.run == step.run && last.id == step.id) {
            Some(version) => merge(version, step),
            None => step,
        };
        single.push(step);
    }
    single
}

/// How many of the first runs have together no more than `steps_max` steps; one at least, if there is any.
pub(super) fn fitting(steps_max: i64, step_counts: impl ExactSizeIterator<Item = i64>) -> usize {
    let runs = step_counts.len();
    let sums = step_counts.scan(0_i64, |sum, steps| {
        *sum = sum.saturating_add(steps);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= steps_max).count().max(1).min(runs)
}
