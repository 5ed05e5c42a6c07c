//! Steps that an older version of the mapping made, made anew from the spans that they keep, and their runs assembled
//! again. Runs inside the caller's transaction, a small one of many.
//!
//! Progress is what is stored: a step that was made anew carries the present version. So a stop at any moment loses
//! nothing, and the next time only what is left is done. Like every writer it locks the rows of its runs first, in the
//! order of their keys, and reads their steps after that: no write of a collector is lost or waited for in a circle.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};

use super::Tuning;
use super::contents::bodies_of;
use super::rows::fitting;
use super::storable;
use super::sweep::assemble_runs;
use super::tables::{OldPage, OldRun, RunDays, StepKey, Tables};
use super::{Remap, Remapped};
use crate::assembly::LifeCycle;
use crate::mapping;
use crate::model::id::RunKey;
use crate::model::run::Run;
use crate::model::step::Step;
use crate::prices::Prices;

/// Runs that one transaction looks through for old steps.
const RUNS_MAX: i64 = 200;
/// Steps that one transaction makes anew, while writers of their runs wait.
const STEPS_MAX: usize = 500;

/// Does the next part, after run `after` in the order of the keys.
pub(super) async fn remap(
    tables: &mut impl Tables,
    which: &Remap,
    after: Option<RunKey>,
    prices: &Prices,
    tuning: &Tuning,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<Remapped> {
    let now = storable::time(now);
    // No step lies on an earlier day than the first that nanoseconds since 1970 can name.
    let since = which.since.unwrap_or_default();
    let page = OldPage { after, since, project: which.project, runs_max: RUNS_MAX };
    let found = tables.runs_after(&page).await?;
    let old: Vec<OldRun> = found.iter().copied().filter(|run| run.is_old).collect();
    let taken = fitting(STEPS_MAX as i64, old.iter().map(|run| run.step_count.max(1)));
    let last = if taken < old.len() { old[..taken].last() } else { found.last() };
    let seen = Remapped {
        after: last.map(OldRun::key).or(after),
        is_done: taken == old.len() && (found.len() as i64) < RUNS_MAX,
        ..Remapped::default()
    };
    let keys: Vec<RunKey> = old[..taken].iter().map(OldRun::key).collect();
    if keys.is_empty() {
        return Ok(seen);
    }

    let mut runs = tables.lock_runs(&keys).await?;
    let mut steps = old_steps(tables, &runs, since).await?;
    if steps.len() > STEPS_MAX {
        // Their rows told fewer steps than there are. One alone may take several transactions.
        runs.sort_by_key(|run| run.key);
        runs.truncate(1);
        steps = old_steps(tables, &runs, since).await?;
    }
    let is_part = steps.len() > STEPS_MAX;
    steps.truncate(STEPS_MAX);
    let changed = map_again(tables, &steps, prices).await?;
    let done = Remapped { steps: steps.len() as u64, changed: changed.len() as u64, ..seen };
    let changed: HashSet<RunKey> = changed.into_iter().collect();
    if is_part {
        // An old step is left, and so the run will be found again; then it is assembled.
        let told = runs.into_iter().filter(|run| changed.contains(&run.key));
        let told: Vec<Run> = told.map(|run| Run { updated_at: now, ..run }).collect();
        tables.update_runs(&told).await?;
        return Ok(Remapped { after, is_done: false, ..done });
    }
    let days: Vec<RunDays> = runs.iter().map(RunDays::of).collect();
    let counts: HashMap<RunKey, i64> = tables.step_counts(&days).await?.into_iter().collect();
    let sizes: Vec<i64> = runs.iter().map(|run| counts.get(&run.key).copied().unwrap_or(0)).collect();
    assemble_runs(tables, (&runs, &sizes), &changed, prices, tuning, life, now).await?;
    let is_shortened = runs.len() < keys.len();
    let last = runs.iter().map(|run| run.key).max().filter(|_| is_shortened);
    Ok(Remapped { runs: runs.len() as u64, after: last.or(done.after), is_done: done.is_done && !is_shortened, ..done })
}

/// One more than the bound when there are more.
async fn old_steps(tables: &mut impl Tables, runs: &[Run], since: NaiveDate) -> sqlx::Result<Vec<Step>> {
    let days: Vec<RunDays> = runs.iter().map(RunDays::of).collect();
    tables.old_steps(&days, since, STEPS_MAX as i64 + 1).await
}

/// Writes all `steps` with the present version. The run of each that is another now.
async fn map_again(tables: &mut impl Tables, steps: &[Step], prices: &Prices) -> sqlx::Result<Vec<RunKey>> {
    let versions = steps.iter().flat_map(|step| mapping::origins_of(step).into_iter().map(|id| (step.run.project, id)));
    let bodies = bodies_of(tables, versions.collect()).await?;
    let mut changed = Vec::new();
    let mut written: Vec<Cow<'_, Step>> = Vec::with_capacity(steps.len());
    for step in steps {
        let again = mapping::remap(step, prices, &|id| bodies.get(&id).cloned());
        match again.map(|again| storable::step(&again).into_owned()) {
            Some(again) if !storable::same_step(&again, step) => {
                changed.push(step.run);
                written.push(Cow::Owned(again));
            }
            // Nothing of it can be told better: only the version moves.
            _ => written.push(Cow::Borrowed(step)),
        }
    }
    written.sort_by(|a, b| StepKey::of(a).cmp(&StepKey::of(b)));
    tables.update_steps(&written.iter().map(Cow::as_ref).collect::<Vec<_>>()).await?;
    Ok(changed)
}
