//! The one way in which steps and runs are written, the same on both databases. Runs inside the caller's transaction.
//!
//! Every writer inserts or locks the rows of its runs first, in the order of their keys, before it touches a step.
//! So two writers never wait for each other in a circle, and who holds a run's row is alone with its steps.
//!
//! A run that is new is assembled from the write alone and inserted finished. If the row is there already, the steps
//! decide: only when one is really new, or better than the stored version, the run is assembled again from all its
//! steps. Running the same write again after a lost COMMIT reply therefore changes nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::Tuning;
use super::contents::{Contents, Sized, bodies_of, contents_by_run};
use super::parts::stored_parts;
use super::plan::{Arrivals, Logs, RunPlan, arrivals, loose_logs, settle};
use super::receipts;
use super::rows::{first_row, fitting, include_day, next_row};
use super::storable;
use super::sweep::STEPS_AT_ONCE_MAX;
use super::tables::{RunDays, StepKey, Tables};
use crate::assembly::{LifeCycle, weight};
use crate::mapping;
use crate::model::batch::{Batch, OriginRow, Written};
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::run::Run;
use crate::model::step::Step;
use crate::prices::Prices;

/// A run that grew beyond the inline bound is assembled again once nothing came for it this long: after a burst.
const QUIET: Duration = Duration::from_millis(200);
/// And for each of its steps this long, about what assembling one takes: where commits are slow, the pause between two of
/// them is no end of a burst. The root ends last: behind it nothing more is expected.
const QUIET_PER_STEP: Duration = Duration::from_micros(20);
/// In a burst that does not end it waits this long for each of its steps since it was assembled last: the time spent on
/// a trace that keeps growing stays a fixed share, whatever its length.
const DEFER_PER_STEP: Duration = Duration::from_micros(300);
const DEFER_MAX: Duration = Duration::from_secs(60);

/// Writes all batches; one [`Written`] for each. `asked` was at `now`, before anything was waited for.
/// A run with more stored steps than [`Tuning::inline_steps_max`] is not assembled here but becomes due for the sweeper.
/// `shard`: of the receipts, the writer's own.
pub(super) async fn write(
    tables: &mut impl Tables,
    batches: &[&Batch],
    life: &LifeCycle,
    (now, asked): (DateTime<Utc>, Instant),
    tuning: &Tuning,
    prices: &Prices,
    shard: i16,
) -> sqlx::Result<Vec<Written>> {
    let now = storable::time(now);
    let mut origins = Origins::of(batches, prices);
    tables.insert_origins(&origins.rows()).await?;

    let arrivals = arrivals(batches);
    let Claimed { mut plans, fresh, created, stored } = claim_runs(tables, &arrivals, &origins, life, now).await?;
    for (key, plan) in plans.iter_mut().filter(|(key, _)| !created.contains(key)) {
        let stored = stored.get(key);
        if stored.is_none() && !plan.is_empty() {
            return Err(vanished());
        }
        *plan = RunPlan::new(&arrivals[key], stored);
    }

    let mut written = vec![Written::default(); batches.len()];
    let mut changed = write_steps(tables, &plans, &created, &mut origins, &mut written).await?;
    let loose = loose_logs(batches);
    let grown = write_logs(tables, plans.values().map(|plan| &plan.logs).chain([&loose]), &mut written).await?;
    // The row of a new run was made with its records.
    changed.extend(grown.into_iter().filter(|key| !created.contains(key)));
    for plan in plans.values() {
        for (batch, outcome) in &plan.outcomes {
            written[*batch].native = Some(*outcome);
        }
        for (batch, steps) in &plan.repeated {
            written[*batch].duplicates += steps;
        }
    }

    let mut deferred = Vec::new();
    let mut grown = Vec::new();
    for key in &changed {
        let Some(old) = stored.get(key).or_else(|| fresh.get(key)) else { continue };
        let next = grow(old, &plans[key]);
        if weight(old) > i64::from(tuning.inline_steps_max) && plans[key].declared.is_none() {
            // Writers wait for the sweeper where it holds a run: their own waiting is no silence of the sender.
            let is_last = plans[key].steps.values().flatten().any(|version| is_ended_root(&version.step));
            deferred.push(defer(next, is_last, storable::time(now + asked.elapsed())));
        } else {
            grown.push((old, next));
        }
    }
    tables.update_runs(&deferred).await?;
    while !grown.is_empty() {
        let steps_max = |(old, _): &(&Run, Run)| weight(old).saturating_add(plans[&old.key].steps.len() as i64);
        let rest = grown.split_off(fitting(STEPS_AT_ONCE_MAX, grown.iter().map(steps_max)));
        let sized = |run: &(&Run, Run)| Sized { days: RunDays::of(&run.1), steps: steps_max(run) };
        let sized: Vec<Sized> = grown.iter().map(sized).collect();
        let mut contents = contents_by_run(tables, &sized, prices, tuning).await?;
        let mut parts = stored_parts(tables, grown.iter().map(|(old, _)| *old), life).await?;
        let mut updated = Vec::new();
        for (old, next) in std::mem::replace(&mut grown, rest) {
            let contents = contents.remove(&old.key).unwrap_or_default();
            let stored = parts.remove(&old.key).unwrap_or_default();
            let (row, parts) = next_row(tables, old, next, contents, stored, life, now).await?;
            updated.extend(row);
            updated.extend(parts);
        }
        tables.update_runs(&updated).await?;
    }
    receipts::record(tables, batches, &written, shard).await?;
    Ok(written)
}

/// The runs of a write, each inserted or locked by it.
struct Claimed<'a> {
    /// What to do if the run is new.
    plans: BTreeMap<RunKey, RunPlan<'a>>,
    /// The rows that this write made for new runs.
    fresh: HashMap<RunKey, Run>,
    created: HashSet<RunKey>,
    /// Those that were there before, as they are stored.
    stored: HashMap<RunKey, Run>,
}

async fn claim_runs<'a>(
    tables: &mut impl Tables,
    arrivals: &Arrivals<'a>,
    origins: &Origins<'_>,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> sqlx::Result<Claimed<'a>> {
    let plans: BTreeMap<RunKey, RunPlan> =
        arrivals.iter().map(|(key, arrivals)| (*key, RunPlan::new(arrivals, None))).collect();
    let mut fresh = Vec::new();
    let mut fresh_parts = Vec::new();
    for (key, plan) in &plans {
        let Some(received) = plan.received else { continue };
        let steps = plan.steps.values().filter_map(|versions| settle(None, versions, &origins.merge(), |_, _| {}));
        let steps: Vec<Step> = steps.map(Cow::into_owned).collect();
        let logs: Vec<LogRow> = plan.logs.values().map(|(log, _)| (*log).clone()).collect();
        let days: Vec<NaiveDate> = steps.iter().map(|step| step.day).chain(logs.iter().map(|log| log.day)).collect();
        let declared = plan.declared.cloned();
        let contents = Contents::new(steps, logs, origins.prices, &origins.lookup());
        let (row, parts) = first_row(*key, contents, &days, declared, received, life, now)?;
        fresh.push(row);
        fresh_parts.extend(parts.into_iter().map(|part| (*key, part)));
    }
    let created = tables.insert_runs(&fresh).await?;
    let is_created = |(key, part): (RunKey, Run)| created.contains(&key).then_some(part);
    tables.update_runs(&fresh_parts.into_iter().filter_map(is_created).collect::<Vec<_>>()).await?;
    let others: Vec<RunKey> = plans.keys().filter(|key| !created.contains(key)).copied().collect();
    let stored = tables.lock_runs(&others).await?.into_iter().map(|run| (run.key, run)).collect();
    let fresh = fresh.into_iter().filter(|run| created.contains(&run.key)).map(|run| (run.key, run)).collect();
    Ok(Claimed { plans, fresh, created, stored })
}

/// Inserts or replaces steps and counts them by batch. The runs whose stored steps are no longer what their row says.
async fn write_steps(
    tables: &mut impl Tables,
    plans: &BTreeMap<RunKey, RunPlan<'_>>,
    created: &HashSet<RunKey>,
    origins: &mut Origins<'_>,
    written: &mut [Written],
) -> sqlx::Result<BTreeSet<RunKey>> {
    let versions = || plans.values().flat_map(|plan| &plan.steps);
    let settled: Vec<Cow<'_, Step>> =
        versions().filter_map(|(_, versions)| settle(None, versions, &origins.merge(), |_, _| {})).collect();
    let rows: Vec<&Step> = settled.iter().map(Cow::as_ref).collect();
    let inserted = tables.insert_steps(&rows).await?;

    let known: Vec<StepKey> = versions().map(|(key, _)| key).filter(|key| !inserted.contains(key)).cloned().collect();
    let mut stored: HashMap<StepKey, Step> =
        tables.steps_by_key(&known).await?.into_iter().map(|step| (StepKey::of(&step), step)).collect();
    origins.load(tables, stored.values()).await?;

    let mut changed: BTreeSet<RunKey> = plans
        .iter()
        .filter(|(key, plan)| plan.declared.is_some() && !created.contains(key))
        .map(|(key, _)| *key)
        .collect();
    let mut replaced = Vec::new();
    for (key, versions) in versions() {
        let old = stored.remove(key);
        let was_stored = old.is_some();
        if !was_stored && !inserted.contains(key) {
            return Err(vanished());
        }
        let settled = settle(old, versions, &origins.merge(), |batch, is_better| {
            let written = &mut written[batch];
            *(if is_better { &mut written.inserted } else { &mut written.duplicates }) += 1;
        });
        // The row of a new run was made without the steps that were stored before it; they are rare leftovers.
        let is_news = if created.contains(&key.run) { was_stored } else { settled.is_some() };
        if is_news {
            changed.insert(key.run);
        }
        replaced.extend(settled.filter(|_| was_stored));
    }
    let rows: Vec<&Step> = replaced.iter().map(Cow::as_ref).collect();
    tables.update_steps(&rows).await?;
    Ok(changed)
}

/// Inserts log records and counts them by batch: of the copies of one record the first is it, the others are none. The
/// runs that have new ones.
async fn write_logs<'a>(
    tables: &mut impl Tables,
    of_runs: impl Iterator<Item = &'a Logs<'a>>,
    written: &mut [Written],
) -> sqlx::Result<BTreeSet<RunKey>> {
    let logs: Vec<_> = of_runs.flatten().collect();
    let rows: Vec<&LogRow> = logs.iter().map(|(_, (log, _))| *log).collect();
    let inserted = tables.insert_logs(&rows).await?;
    let mut grown = BTreeSet::new();
    for (key, (_, batches)) in logs {
        let mut is_new = inserted.contains(key);
        if is_new && key.run.run_id != LogRow::NO_RUN {
            grown.insert(key.run);
        }
        for batch in batches {
            let written = &mut written[*batch];
            *(if is_new { &mut written.inserted } else { &mut written.duplicates }) += 1;
            is_new = false;
        }
    }
    Ok(grown)
}

/// Nothing but retention takes rows away under a writer; the next attempt finds a settled state.
fn vanished() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other("a row was deleted while it was being written"))
}

/// The row with what the plan tells about it apart from its steps.
fn grow(old: &Run, plan: &RunPlan<'_>) -> Run {
    let mut run = old.clone();
    if let Some((_, newest)) = plan.received {
        run.received_at = run.received_at.max(newest);
    }
    for key in plan.steps.keys() {
        include_day(&mut run, key.day);
    }
    for key in plan.logs.keys() {
        include_day(&mut run, key.day);
    }
    if let Some(declared) = plan.declared {
        run.declared = Some(declared.clone());
    }
    run
}

fn is_ended_root(step: &Step) -> bool {
    step.parent_id.is_none() && step.end_ns.is_some()
}

/// Leaves the run to the sweeper. A run whose turn has come keeps it, or a steady stream would put it off for ever. One
/// that counted as final does no more.
fn defer(mut run: Run, is_last: bool, now: DateTime<Utc>) -> Run {
    let steps = u32::try_from(weight(&run)).unwrap_or(u32::MAX);
    let in_proportion = |each: Duration| each.saturating_mul(steps).min(DEFER_MAX);
    let latest = (run.updated_at + in_proportion(DEFER_PER_STEP)).max(now);
    let quiet = if is_last { QUIET } else { in_proportion(QUIET_PER_STEP).max(QUIET) };
    let turn = storable::time(latest.min(now + quiet));
    run.due_at = Some(run.due_at.filter(|due_at| *due_at <= now).unwrap_or(turn));
    if run.is_final(now) {
        run.final_at = None;
        run.set_revision(run.revision + 1);
    }
    run
}

/// What versions of a step are merged with: the prices, and the bodies of origins, those of the write itself and others
/// as they are needed.
struct Origins<'a> {
    prices: &'a Prices,
    of_batches: BTreeMap<(ProjectId, Uuid), &'a OriginRow>,
    bodies: HashMap<Uuid, Cow<'a, str>>,
}

impl<'a> Origins<'a> {
    fn of(batches: &[&'a Batch], prices: &'a Prices) -> Origins<'a> {
        let rows = batches.iter().flat_map(|batch| batch.origins.iter().map(|origin| (batch.project, origin)));
        let of_batches: BTreeMap<_, _> = rows.map(|(project, origin)| ((project, origin.id), origin)).collect();
        let bodies = of_batches.values().map(|origin| (origin.id, Cow::Borrowed(origin.body.as_str()))).collect();
        Origins { prices, of_batches, bodies }
    }

    fn rows(&self) -> Vec<(ProjectId, &'a OriginRow)> {
        self.of_batches.iter().map(|((project, _), origin)| (*project, *origin)).collect()
    }

    async fn load<'s>(&mut self, tables: &mut impl Tables, steps: impl Iterator<Item = &'s Step>) -> sqlx::Result<()> {
        let missing: Vec<(ProjectId, Uuid)> = steps
            .filter_map(|step| Some((step.run.project, step.origin?)))
            .filter(|(_, id)| !self.bodies.contains_key(id))
            .collect();
        for (id, body) in bodies_of(tables, missing).await? {
            self.bodies.insert(id, Cow::Owned(body));
        }
        Ok(())
    }

    /// Two versions of one step to one. An id is the hash of its body, so it says the same in every project.
    fn merge(&self) -> impl Fn(Step, Step) -> Step + '_ {
        |one, other| mapping::merge(one, other, self.prices, &self.lookup())
    }

    fn lookup(&self) -> impl Fn(Uuid) -> Option<String> + '_ {
        |id| self.bodies.get(&id).map(|body| body.clone().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::step::{Source, Status, Usage};

    fn run(step_count: i64, due_at: Option<DateTime<Utc>>) -> Run {
        let epoch = DateTime::UNIX_EPOCH;
        let day = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        Run {
            key: RunKey { project: ProjectId(1), run_id: Uuid::nil() },
            source: Source::Otlp,
            worthy: true,
            bare: false,
            duplicate_of: None,
            name: String::new(),
            model: String::new(),
            agent: None,
            service: None,
            status: Status::Success,
            input: String::new(),
            output: None,
            error: None,
            usage: Usage::default(),
            cost: None,
            latency_s: None,
            session_id: None,
            user_id: None,
            tags: vec![],
            step_count,
            error_count: 0,
            trace_id: None,
            started_at: epoch,
            ended_at: None,
            final_at: None,
            metadata: Default::default(),
            first_day: day,
            last_day: day,
            due_at,
            kinship: Default::default(),
            revision: 0,
            created_at: epoch,
            updated_at: epoch,
            received_at: epoch,
            declared: None,
        }
    }

    #[test]
    fn a_run_waits_in_proportion_to_its_length_and_never_loses_its_turn() {
        let at = |ms: i64| DateTime::UNIX_EPOCH + chrono::TimeDelta::milliseconds(ms);
        let at_end = |is_last, steps, due_ms: Option<i64>, now_ms| {
            defer(run(steps, due_ms.map(at)), is_last, at(now_ms)).due_at.unwrap()
        };
        let due = |steps, due_ms, now_ms| at_end(false, steps, due_ms, now_ms);
        assert_eq!(due(300, None, 0), at(90));
        assert_eq!(due(300, Some(900_000), 0), at(90), "earlier than its idle limit");
        assert_eq!(due(300, Some(-5), 0), at(-5), "keeps its turn");
        assert_eq!(due(10_000, None, 0), at(200), "when the burst ends");
        assert_eq!(due(10_000, Some(200), 150), at(350), "it has not ended");
        assert_eq!(due(100_000, None, 0), at(2_000), "its pauses may be long");
        assert_eq!(at_end(true, 100_000, None, 0), at(200), "nothing more is expected");
        assert_eq!(due(100_000, Some(30_050), 29_900), at(30_000), "in the middle of a long one");
        assert_eq!(due(i64::MAX, Some(60_050), 59_900), at(60_000), "bounded");
        assert_eq!(due(300, Some(9_050), 9_000), at(9_000), "quiet for long before");
    }
}
