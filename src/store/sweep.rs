//! Runs whose time has come although nothing arrives: assembled again, inside the caller's transaction.

use chrono::{DateTime, Utc};

use super::rows::{next_row, steps_by_run};
use super::storable;
use super::tables::{RunDays, Tables};
use crate::assembly::LifeCycle;
use crate::model::run::Run;

/// Steps held in memory at a time; a single run may have more.
const STEPS_AT_ONCE_MAX: i64 = 10_000;
/// Steps read in one transaction, while writers of these runs wait; a single run may have more.
const STEPS_MAX: i64 = 50_000;

/// Assembles again up to `limit` runs that are due at `now`, fewer when they are long. How many it were.
pub(super) async fn sweep(
    tables: &mut impl Tables,
    life: &LifeCycle,
    now: DateTime<Utc>,
    limit: u32,
) -> sqlx::Result<u32> {
    let now = storable::time(now);
    let mut due = tables.lock_due_runs(now, limit).await?;
    due.truncate(within(STEPS_MAX, &due));
    let count = u32::try_from(due.len()).unwrap_or(u32::MAX);
    for mut runs in portions(due) {
        runs.sort_by_key(|run| run.key);
        let days: Vec<RunDays> = runs.iter().map(RunDays::of).collect();
        let mut steps = steps_by_run(tables, &days).await?;
        let mut updated = Vec::new();
        for old in &runs {
            updated.extend(match steps.remove(&old.key) {
                None if old.declared.is_none() => Some(without_steps(old)),
                steps => next_row(old, old.clone(), steps.unwrap_or_default(), life, now)?,
            });
        }
        tables.update_runs(&updated).await?;
    }
    Ok(count)
}

/// A run whose steps are gone, as when their days were dropped, stays as it was last seen and is not due again.
fn without_steps(run: &Run) -> Run {
    Run { due_at: None, ..run.clone() }
}

/// Neighbours together until their steps reach the bound.
fn portions(mut runs: Vec<Run>) -> Vec<Vec<Run>> {
    let mut portions = Vec::new();
    while !runs.is_empty() {
        let rest = runs.split_off(within(STEPS_AT_ONCE_MAX, &runs));
        portions.push(std::mem::replace(&mut runs, rest));
    }
    portions
}

/// How many of the first runs have together no more than `steps_max` steps; one at least, if there is any.
fn within(steps_max: i64, runs: &[Run]) -> usize {
    let mut steps = 0_i64;
    let fits = |run: &&Run| {
        steps = steps.saturating_add(run.step_count);
        steps <= steps_max
    };
    runs.iter().take_while(fits).count().max(1).min(runs.len())
}
