//! The row of a run, made by assembly from the steps that are stored.

use chrono::{DateTime, NaiveDate, Utc};

use super::contents::Contents;
use super::parts::{made_parts, part_rows};
use super::reveal::{reveal, reveal_parts};
use super::storable;
use super::tables::Tables;
use crate::assembly::{LifeCycle, Parts, Receipt};
use crate::model::id::RunKey;
use crate::model::run::{Assembled, Declared, Run};

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
    let parts = parts.map(|parts| made_parts(&run, parts, &[], life, now));
    let part_rows = part_rows(&mut run, parts, Vec::new(), now)?;
    let mut run = storable::run(run)?;
    days.iter().for_each(|day| include_day(&mut run, *day));
    Ok((run, part_rows))
}

/// The row that takes the place of `old`; `grown` is `old` with what is newly known about it but its steps.
/// `None` when nothing changes; beside it the rows of parts that change, of those `stored`. `updated_at` moves only when a reader could see a difference.
pub(super) async fn next_row(
    tables: &mut impl Tables,
    old: &Run,
    grown: Run,
    contents: Contents,
    stored: Vec<Run>,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<(Option<Run>, Vec<Run>)> {
    let days = (grown.first_day, grown.last_day);
    let (mut assembled, parts) = assembled_again(grown, contents, life, now);
    reveal(tables, &mut assembled).await?;
    let mut next = assembled.run;
    let mut parts = parts.map(|parts| made_parts(&next, parts, &stored, life, now));
    reveal_parts(tables, old.key, &mut parts).await?;
    let part_rows = part_rows(&mut next, parts, stored, now)?;
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

/// How many of the first runs have together no more than `steps_max` steps; one at least, if there is any.
pub(super) fn fitting(steps_max: i64, step_counts: impl ExactSizeIterator<Item = i64>) -> usize {
    let runs = step_counts.len();
    let sums = step_counts.scan(0_i64, |sum, steps| {
        *sum = sum.saturating_add(steps);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= steps_max).count().max(1).min(runs)
}
