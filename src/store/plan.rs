//! What a write means for each run it touches: pure. The batches of one write count as if they came one after the other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::storable;
use super::tables::{LogKey, StepKey};
use crate::model::batch::{Batch, Native, NativeOutcome};
use crate::model::id::RunKey;
use crate::model::log::LogRow;
use crate::model::run::{Declared, Run};
use crate::model::step::{Status, Step};

/// What one batch brings for one run.
pub(super) struct Arrival<'a> {
    /// Its place among the batches of the write.
    batch: usize,
    received_at: DateTime<Utc>,
    native: Option<&'a Native>,
    steps: Vec<&'a Step>,
    logs: Vec<&'a LogRow>,
}

/// In the order in which runs are locked.
pub(super) type Arrivals<'a> = BTreeMap<RunKey, Vec<Arrival<'a>>>;

pub(super) fn arrivals<'a>(batches: &[&'a Batch]) -> Arrivals<'a> {
    let mut arrivals = Arrivals::new();
    for (index, batch) in batches.iter().enumerate() {
        let arrival =
            |native, steps, logs| Arrival { batch: index, received_at: batch.received_at, native, steps, logs };
        if let Some(native) = &batch.native {
            let (Native::Submit { run_id, .. } | Native::Append { run_id }) = native;
            let key = RunKey { project: batch.project, run_id: *run_id };
            arrivals.entry(key).or_default().push(arrival(Some(native), Vec::new(), Vec::new()));
        }
        for step in &batch.steps {
            let of_run = arrivals.entry(step.run).or_default();
            match of_run.last_mut() {
                Some(last) if last.batch == index => last.steps.push(step),
                _ => of_run.push(arrival(None, vec![step], Vec::new())),
            }
        }
        for log in batch.logs.iter().filter(|log| log.has_run()) {
            let of_run = arrivals.entry(log.run).or_default();
            match of_run.last_mut() {
                Some(last) if last.batch == index => last.logs.push(log),
                _ => of_run.push(arrival(None, Vec::new(), vec![log])),
            }
        }
    }
    arrivals
}

/// Log records, each with the batches that brought it.
pub(super) type Logs<'a> = BTreeMap<LogKey, (&'a LogRow, Vec<usize>)>;

/// Those of no trace, which touch no run.
pub(super) fn loose_logs<'a>(batches: &[&'a Batch]) -> Logs<'a> {
    let mut loose = Logs::new();
    for (index, batch) in batches.iter().enumerate() {
        for log in batch.logs.iter().filter(|log| !log.has_run()) {
            add_log(&mut loose, log, index);
        }
    }
    loose
}

fn add_log<'a>(logs: &mut Logs<'a>, log: &'a LogRow, batch: usize) {
    logs.entry(LogKey::of(log)).or_insert_with(|| (log, Vec::new())).1.push(batch);
}

/// One version of a step, and the batch that brought it.
pub(super) struct Version<'a> {
    batch: usize,
    pub step: Cow<'a, Step>,
    /// A native sender says what the step is now; spans are merged instead.
    replaces: bool,
}

/// What is to be done for one run.
#[derive(Default)]
pub(super) struct RunPlan<'a> {
    /// By batch.
    pub outcomes: Vec<(usize, NativeOutcome)>,
    /// Steps, by batch, of submissions that are stored already.
    pub repeated: Vec<(usize, u64)>,
    /// What the run is declared to be from now on, when that changes.
    pub declared: Option<&'a Declared>,
    pub steps: BTreeMap<StepKey, Vec<Version<'a>>>,
    pub logs: Logs<'a>,
    /// When the first and the newest of what is accepted were received; `None` when nothing is.
    pub received: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl<'a> RunPlan<'a> {
    /// The plan for `arrivals` at the run as it is stored.
    pub fn new(arrivals: &[Arrival<'a>], stored: Option<&Run>) -> RunPlan<'a> {
        let mut plan = RunPlan::default();
        let mut standing = stored.map_or(Standing::Absent, Standing::of);
        for arrival in arrivals {
            if let Some(native) = arrival.native {
                let outcome = decide(standing, native);
                plan.outcomes.push((arrival.batch, outcome));
                match outcome {
                    NativeOutcome::Created | NativeOutcome::Updated => {}
                    NativeOutcome::Unchanged => {
                        plan.repeated.push((arrival.batch, arrival.steps.len() as u64));
                        continue;
                    }
                    NativeOutcome::Conflict | NativeOutcome::NotFound => continue,
                }
                if let Native::Submit { declared, .. } = native {
                    standing = Standing::Native(declared);
                    plan.declared = Some(declared);
                }
            } else if matches!(standing, Standing::Absent) {
                standing = Standing::Otlp;
            }
            plan.accept(arrival, stored);
        }
        plan
    }

    pub fn is_empty(&self) -> bool {
        self.received.is_none()
    }

    fn accept(&mut self, arrival: &Arrival<'a>, stored: Option<&Run>) {
        let received_at = storable::time(arrival.received_at);
        let (first, newest) = self.received.unwrap_or((received_at, received_at));
        self.received = Some((first, newest.max(received_at)));
        let created_day = stored.map_or(first, |run| run.created_at).date_naive();
        for step in &arrival.steps {
            let mut step = storable::step(step);
            // A native step has no time that every resend carries: it lies on the day its run was created.
            if arrival.native.is_some() && step.day != created_day {
                step.to_mut().day = created_day;
            }
            let version = Version { batch: arrival.batch, step, replaces: arrival.native.is_some() };
            self.steps.entry(StepKey::of(&version.step)).or_default().push(version);
        }
        for log in &arrival.logs {
            add_log(&mut self.logs, log, arrival.batch);
        }
    }
}

/// What a run is before an arrival.
#[derive(Clone, Copy)]
enum Standing<'a> {
    Absent,
    Otlp,
    Native(&'a Declared),
}

impl<'a> Standing<'a> {
    fn of(run: &'a Run) -> Standing<'a> {
        run.declared.as_ref().map_or(Standing::Otlp, Standing::Native)
    }
}

fn decide(standing: Standing<'_>, native: &Native) -> NativeOutcome {
    match (native, standing) {
        (Native::Submit { .. }, Standing::Absent) => NativeOutcome::Created,
        (Native::Submit { declared, .. }, Standing::Native(stored)) if stored.hash == declared.hash => {
            NativeOutcome::Unchanged
        }
        (Native::Append { .. }, Standing::Absent) => NativeOutcome::NotFound,
        (_, Standing::Native(stored)) if stored.status == Status::Running => NativeOutcome::Updated,
        (_, Standing::Native(_) | Standing::Otlp) => NativeOutcome::Conflict,
    }
}

/// Two versions of one step to one.
pub(super) type Merge<'a> = &'a dyn Fn(Step, Step) -> Step;

/// The step after all `versions` came to what is stored, or `None` when nothing changes. `count` hears of each
/// version, in order, by its batch and whether it made the step better. One that loses counts as a duplicate, though
/// the row may keep a note of it.
pub(super) fn settle<'a>(
    stored: Option<Step>,
    versions: &[Version<'a>],
    merge: Merge<'_>,
    mut count: impl FnMut(usize, bool),
) -> Option<Cow<'a, Step>> {
    let mut current: Option<Cow<'a, Step>> = stored.map(Cow::Owned);
    let mut is_changed = false;
    for version in versions {
        let (next, is_better) = match &current {
            None => (Some(version.step.clone()), true),
            Some(step) if step.content_hash == version.step.content_hash => (None, false),
            Some(_) if version.replaces => (Some(version.step.clone()), true),
            Some(step) => {
                let merged = merge(step.clone().into_owned(), version.step.clone().into_owned());
                let is_better = !storable::same_columns(&merged, step);
                ((!storable::same_step(&merged, step)).then_some(Cow::Owned(merged)), is_better)
            }
        };
        count(version.batch, is_better);
        if next.is_some() {
            is_changed = true;
            current = next;
        }
    }
    current.filter(|_| is_changed)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn declared(hash: u128, status: Status) -> Declared {
        Declared { hash: Uuid::from_u128(hash), status, ..Declared::default() }
    }

    fn submit(hash: u128, status: Status) -> Native {
        Native::Submit { run_id: Uuid::nil(), declared: Box::new(declared(hash, status)) }
    }

    #[test]
    fn the_table_of_native_outcomes() {
        use NativeOutcome::*;
        let append = Native::Append { run_id: Uuid::nil() };
        let finished = declared(1, Status::Success);
        let running = declared(2, Status::Running);
        let cases = [
            (Standing::Absent, submit(1, Status::Success), Created),
            (Standing::Native(&finished), submit(1, Status::Success), Unchanged),
            (Standing::Native(&finished), submit(3, Status::Success), Conflict),
            (Standing::Native(&running), submit(2, Status::Running), Unchanged),
            (Standing::Native(&running), submit(3, Status::Running), Updated),
            (Standing::Native(&running), submit(3, Status::Error), Updated),
            (Standing::Otlp, submit(1, Status::Success), Conflict),
            (Standing::Absent, append.clone(), NotFound),
            (Standing::Native(&finished), append.clone(), Conflict),
            (Standing::Native(&running), append.clone(), Updated),
            (Standing::Otlp, append, Conflict),
        ];
        for (place, (standing, native, expected)) in cases.into_iter().enumerate() {
            assert_eq!(decide(standing, &native), expected, "case {place}");
        }
    }

    #[test]
    fn batches_of_one_write_count_one_after_the_other() {
        let project = crate::model::id::ProjectId(1);
        let batch = |native| Batch {
            project,
            received_at: DateTime::UNIX_EPOCH,
            origins: vec![],
            steps: vec![],
            logs: vec![],
            native: Some(native),
            receipt: Default::default(),
        };
        let batches = [
            batch(Native::Append { run_id: Uuid::nil() }),
            batch(submit(1, Status::Running)),
            batch(Native::Append { run_id: Uuid::nil() }),
            batch(submit(2, Status::Success)),
            batch(submit(2, Status::Success)),
            batch(submit(3, Status::Success)),
        ];
        let arrivals = arrivals(&batches.iter().collect::<Vec<_>>());
        let plan = RunPlan::new(&arrivals[&RunKey { project, run_id: Uuid::nil() }], None);
        let outcomes: Vec<NativeOutcome> = plan.outcomes.iter().map(|(_, outcome)| *outcome).collect();
        use NativeOutcome::*;
        assert_eq!(outcomes, [NotFound, Created, Updated, Updated, Unchanged, Conflict]);
        assert_eq!(plan.declared.map(|declared| declared.hash), Some(Uuid::from_u128(2)));
    }
}
