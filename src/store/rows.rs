//! The row of a run, made by assembly from the steps that are stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::storable;
use super::tables::{RunDays, StepKey, Tables};
use crate::assembly::{LifeCycle, Receipt, assemble};
use crate::mapping;
use crate::model::id::{ProjectId, RunKey};
use crate::model::run::{Assembled, Declared, Run};
use crate::model::step::Step;

/// The row of a run of which nothing is stored yet. It was received first and last at `received`.
pub(super) fn first_row(
    key: RunKey,
    steps: Vec<Step>,
    origin_of: &dyn Fn(Uuid) -> Option<String>,
    declared: Option<Declared>,
    received: (DateTime<Utc>, DateTime<Utc>),
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<Run> {
    let (created_at, received_at) = received;
    let receipt = Receipt { created_at, updated_at: now, received_at };
    let days: Vec<NaiveDate> = steps.iter().map(|step| step.day).collect();
    let mut run = storable::run(assemble(key, one_per_id(steps, origin_of), declared, receipt, life, now).run)?;
    days.into_iter().for_each(|day| include_day(&mut run, day));
    Ok(run)
}

/// The row that takes the place of `old`; `grown` is `old` with what is newly known about it but its steps.
/// `None` when nothing changes. `updated_at` moves only when a reader could see a difference.
pub(super) fn next_row(
    old: &Run,
    grown: Run,
    steps: Vec<Step>,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Run>> {
    let days = (grown.first_day, grown.last_day);
    let mut next = assembled_again(grown, steps, life, now).run;
    next.set_original(old.duplicate_of);
    include_day(&mut next, days.0);
    include_day(&mut next, days.1);
    let was_final = old.is_final(now);
    let mut next = replacing(old, next, now)?;
    if let Some(next) = next.as_mut().filter(|next| was_final && !storable::same_run(old, next)) {
        next.set_revision(old.revision + 1);
    }
    Ok(next)
}

/// The run as its steps and the known part of its row make it now.
pub(super) fn assembled_again(known: Run, steps: Vec<Step>, life: &LifeCycle, now: DateTime<Utc>) -> Assembled {
    let (created_at, updated_at, received_at) = (known.created_at, known.updated_at, known.received_at);
    assemble(known.key, steps, known.declared, Receipt { created_at, updated_at, received_at }, life, now)
}

/// `next` as the row that takes the place of `old`, unless it is the same.
pub(super) fn replacing(old: &Run, next: Run, now: DateTime<Utc>) -> sqlx::Result<Option<Run>> {
    let mut next = storable::run(next)?;
    next.set_revision(old.revision);
    next.updated_at = if storable::same_run(old, &next) { old.updated_at } else { now };
    Ok((next != *old).then_some(next))
}

/// A step with versions of several days is one to assembly, but reads must look for all its rows.
pub(super) fn include_day(run: &mut Run, day: NaiveDate) {
    run.first_day = run.first_day.min(day);
    run.last_day = run.last_day.max(day);
}

/// All stored steps of each run, as assembly needs them: without their detail.
pub(super) async fn steps_by_run(
    tables: &mut impl Tables,
    runs: &[RunDays],
) -> sqlx::Result<HashMap<RunKey, Vec<Step>>> {
    let mut steps = tables.steps_of_runs(runs).await?;
    let split = split_over_days(&steps);
    let mut origins = Vec::new();
    if !split.is_empty() {
        // To merge versions more is needed than assembly looks at.
        steps.retain(|step| !split.contains(&StepKey::of(step)));
        let versions = tables.steps_by_key(&split.into_iter().collect::<Vec<_>>()).await?;
        origins.extend(versions.iter().filter_map(|step| Some((step.run.project, step.origin?))));
        steps.extend(versions);
    }
    let bodies = bodies_of(tables, origins).await?;
    let mut by_run: HashMap<RunKey, Vec<Step>> = HashMap::with_capacity(runs.len());
    for step in one_per_id(steps, &|id| bodies.get(&id).cloned()) {
        by_run.entry(step.run).or_default().push(step);
    }
    Ok(by_run)
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

/// The steps that have several rows: their versions start on different days, and so lie in different partitions.
fn split_over_days(steps: &[Step]) -> BTreeSet<StepKey> {
    let mut rows: HashMap<(RunKey, &str), u32> = HashMap::with_capacity(steps.len());
    for step in steps {
        *rows.entry((step.run, &step.id)).or_default() += 1;
    }
    let is_split = |step: &&Step| rows.get(&(step.run, step.id.as_str())).is_some_and(|count| *count > 1);
    steps.iter().filter(is_split).map(StepKey::of).collect()
}

/// One step for each id of each run, merged where there are several versions, in order of their keys.
pub(super) fn one_per_id(steps: Vec<Step>, origin_of: &dyn Fn(Uuid) -> Option<String>) -> Vec<Step> {
    let mut by_id: BTreeMap<(RunKey, String), Step> = BTreeMap::new();
    for step in steps {
        let key = (step.run, step.id.clone());
        let merged = match by_id.remove(&key) {
            Some(version) => mapping::merge(version, step, origin_of),
            None => step,
        };
        by_id.insert(key, merged);
    }
    by_id.into_values().collect()
}
