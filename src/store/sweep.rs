//! Runs whose time has come although nothing arrives: assembled again, inside the caller's transaction. Runs of log
//! records whose spans never came, and records of no trace, are dropped when they are old enough.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Tuning;
use super::contents::{Sized, contents_by_run};
use super::parts::{made_parts, part_rows, stored_parts};
use super::reveal::{reveal, reveal_parts};
use super::rows::{assembled_again, fitting, include_day, replacing};
use super::storable;
use super::tables::{AskedCall, AskedMoment, RunDays, Tables};
use crate::assembly::{LifeCycle, Twin, asked_calls, original_of, weight};
use crate::model::id::RunKey;
use crate::model::run::{Assembled, Run};
use crate::model::step::Status;
use crate::prices::Prices;

/// Steps held in memory at a time; a single run may have more.
pub(super) const STEPS_AT_ONCE_MAX: i64 = 10_000;
/// Steps read in one transaction, while writers of these runs wait; a single run may have more.
const STEPS_MAX: i64 = 50_000;

/// Log records of no trace that are dropped in one transaction.
const LOOSE_LOGS_MAX: i64 = 1_000;

/// Assembles again up to `limit` runs that are due at `now`, fewer when they are long. How many it were.
pub(super) async fn sweep(
    tables: &mut impl Tables,
    life: &LifeCycle,
    now: DateTime<Utc>,
    limit: u32,
    prices: &Prices,
    tuning: &Tuning,
) -> sqlx::Result<u32> {
    let now = storable::time(now);
    let age_limit = before(now, life.unmatched_logs);
    let due = tables.lock_due_runs(now, limit).await?;
    // The row of a run that grew beyond the inline bound does not know by how much.
    let days: Vec<RunDays> = due.iter().map(RunDays::of).collect();
    let counts: HashMap<RunKey, i64> = tables.step_counts(&days).await?.into_iter().collect();
    let steps = |run: &Run| counts.get(&run.key).copied().unwrap_or(0);
    let mut due: Vec<Due> =
        due.into_iter().map(|run| Due { steps: steps(&run), weight: weight(&run).max(steps(&run)), run }).collect();
    due.truncate(fitting(STEPS_MAX, due.iter().map(|due| due.weight)));
    let count = u32::try_from(due.len()).unwrap_or(u32::MAX);
    for mut portion in portions(due) {
        portion.sort_by_key(|due| due.run.key);
        let sizes: Vec<i64> = portion.iter().map(|due| due.steps).collect();
        let runs: Vec<Run> = portion.into_iter().map(|due| due.run).collect();
        assemble_runs(tables, (&runs, &sizes), &HashSet::new(), prices, tuning, life, now).await?;
    }
    tables.delete_loose_logs(age_limit, LOOSE_LOGS_MAX).await?;
    Ok(count)
}

/// A run whose time has come.
struct Due {
    run: Run,
    steps: i64,
    /// What reading it costs: its log records too.
    weight: i64,
}

/// Writes the rows of runs that the transaction holds as their stored steps make them now. In those of `changed` a reader
/// sees other steps, whatever their row says. `sizes`: how many rows of steps each has.
pub(super) async fn assemble_runs(
    tables: &mut impl Tables,
    (runs, sizes): (&[Run], &[i64]),
    changed: &HashSet<RunKey>,
    prices: &Prices,
    tuning: &Tuning,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let age_limit = before(now, life.unmatched_logs);
    let sized = |(run, steps): (&Run, &i64)| Sized { days: RunDays::of(run), steps: *steps };
    let sized: Vec<Sized> = runs.iter().zip(sizes).map(sized).collect();
    let mut contents = contents_by_run(tables, &sized, prices, tuning).await?;
    let mut parts = stored_parts(tables, runs.iter(), life).await?;
    let mut expired = Vec::new();
    let mut updated = Vec::new();
    let mut bare = Vec::new();
    for old in runs {
        let contents = contents.remove(&old.key).unwrap_or_default();
        if contents.steps.is_empty() && old.declared.is_none() {
            if contents.logs.count == 0 {
                updated.push(without_steps(old));
                continue;
            }
            if old.received_at <= age_limit {
                expired.push(RunDays::of(old));
                continue;
            }
        }
        let (mut assembled, parts_now) = assembled_again(old.clone(), contents, life, now);
        reveal(tables, &mut assembled).await?;
        let stored = parts.remove(&old.key).unwrap_or_default();
        let mut made = parts_now.map(|parts| made_parts(&assembled.run, parts, &stored, life, now));
        reveal_parts(tables, old.key, &mut made).await?;
        updated.extend(part_rows(&mut assembled.run, made, stored, now)?);
        include_day(&mut assembled.run, old.first_day);
        include_day(&mut assembled.run, old.last_day);
        if assembled.run.bare {
            bare.push((old, assembled));
        } else {
            updated.extend(replacing(old, assembled.run, now)?);
        }
    }
    updated.extend(with_originals(tables, bare, now).await?);
    let told: HashSet<RunKey> = updated.iter().map(|run| run.key).collect();
    let silent = runs.iter().filter(|run| changed.contains(&run.key) && !told.contains(&run.key));
    updated.extend(silent.cloned());
    updated.iter_mut().filter(|run| changed.contains(&run.key)).for_each(|run| run.updated_at = now);
    updated.sort_by_key(|run| run.key);
    tables.update_runs(&updated).await?;
    tables.delete_runs_of_logs(&expired).await
}

/// The rows of bare runs, each a copy if other traces hold its calls too.
async fn with_originals(
    tables: &mut impl Tables,
    runs: Vec<(&Run, Assembled)>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Run>> {
    let (mut by_id, mut by_moment) = (Vec::new(), Vec::new());
    for (_, assembled) in &runs {
        let days = RunDays::of(&assembled.run);
        let calls = asked_calls(assembled);
        by_id.extend(calls.iter().filter_map(|call| AskedCall::new(days, call)));
        by_moment.extend(calls.iter().filter_map(|call| AskedMoment::new(days, call)));
    }
    let mut found = tables.twins(&by_id).await?;
    found.extend(tables.neighbours(&by_moment).await?);
    let mut twins: HashMap<RunKey, Vec<Twin>> = HashMap::new();
    for (run, twin) in found {
        twins.entry(run).or_default().push(twin);
    }
    let mut updated = Vec::new();
    for (old, assembled) in runs {
        let original = twins.remove(&old.key).and_then(|twins| original_of(&assembled, &twins));
        let mut next = assembled.run;
        next.set_original(original);
        if next.duplicate_of.is_some() && next.status != Status::Running {
            // Found: nobody needs to look again.
            next.due_at = None;
        }
        updated.extend(replacing(old, next, now)?);
    }
    Ok(updated)
}

/// A run whose steps are gone, as when their days were dropped, stays as it was last seen and is not due again.
fn without_steps(run: &Run) -> Run {
    Run { due_at: None, ..run.clone() }
}

/// Neighbours together until their steps reach the bound.
fn portions(mut runs: Vec<Due>) -> Vec<Vec<Due>> {
    let mut portions = Vec::new();
    while !runs.is_empty() {
        let rest = runs.split_off(fitting(STEPS_AT_ONCE_MAX, runs.iter().map(|due| due.weight)));
        portions.push(std::mem::replace(&mut runs, rest));
    }
    portions
}

/// The instant that lies `age` before `now`; an age beyond the calendar reaches nothing.
fn before(now: DateTime<Utc>, age: Duration) -> DateTime<Utc> {
    let age = TimeDelta::from_std(age).ok();
    age.and_then(|age| now.checked_sub_signed(age)).unwrap_or(DateTime::<Utc>::MIN_UTC)
}
