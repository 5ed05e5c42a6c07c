//! One call recorded in two traces, because one instrumentation does not see the other's context: a client library's
//! span beside the step of the framework that called it. A run that holds nothing but such calls is a copy.
//!
//! The store finds the candidates by their response ids ([`identified_calls`]); [`original_of`] decides.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::assembly::copies::{Window, overlap, response_id, window_of};
use crate::assembly::forest::Forest;
use crate::assembly::roles::Roles;
use crate::assembly::status::{after, is_orphan};
use crate::assembly::{LifeCycle, Receipt};
use crate::model::run::{Assembled, Run, ShownStep};
use crate::model::step::{Facts, StepType};

/// A run with more calls than this is not compared with others: a record of one call beside its framework has few.
const CALLS_MAX: usize = 100;

/// What tells whether two call steps are one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub kind: StepType,
    pub response_id: String,
    /// Nanoseconds since 1970; a call that has not ended reaches to the end of time.
    pub window: Window,
    instance: Option<String>,
    service: Option<String>,
}

impl Call {
    /// `None` for a step that is no call or has no id of a response.
    pub fn new(kind: &StepType, facts: &Facts, start_ns: Option<u64>, end_ns: Option<u64>) -> Option<Call> {
        Some(Call {
            response_id: response_id(kind, facts)?.to_owned(),
            kind: kind.clone(),
            window: window_of(start_ns, end_ns),
            instance: facts.instance.clone(),
            service: facts.service.clone(),
        })
    }

    fn of(shown: &ShownStep) -> Option<Call> {
        let step = &shown.step;
        Call::new(&step.kind, &step.facts, step.start_ns, step.end_ns)
    }

    /// One response, received by one process at one time. Without overlap a cache answered again: two calls.
    fn is_same(&self, other: &Call) -> bool {
        let one_process = match (&self.instance, &other.instance) {
            (None, None) => self.service == other.service,
            (one, other) => one == other,
        };
        self.kind == other.kind
            && self.response_id == other.response_id
            && one_process
            && overlap(self.window, other.window)
    }
}

/// A call of another run of the same project.
#[derive(Clone, Debug)]
pub struct Twin {
    pub run_id: Uuid,
    /// [`Run::bare`] of that run.
    pub run_is_bare: bool,
    /// [`Run::latency_s`] of that run.
    pub run_latency_s: Option<f64>,
    pub call: Call,
}

impl Twin {
    /// The calls of an assembled run as another run sees them.
    pub fn all_of(assembled: &Assembled) -> Vec<Twin> {
        let run = &assembled.run;
        let twin = |call| Twin { run_id: run.key.run_id, run_is_bare: run.bare, run_latency_s: run.latency_s, call };
        assembled.steps.iter().filter_map(Call::of).map(twin).collect()
    }
}

/// Calls whose records in other runs tell whether this run is a copy; none when it cannot be one.
pub fn identified_calls(assembled: &Assembled) -> Vec<Call> {
    if !assembled.run.bare {
        return Vec::new();
    }
    records(&assembled.steps).filter(is_comparable).into_iter().flat_map(BTreeMap::into_values).flatten().collect()
}

/// The run that `assembled` is a copy of: another run holds every call of it, and is more than calls. Of two runs that
/// are both mere calls the longer one is the original, of equally long ones that with the smaller id.
pub fn original_of(assembled: &Assembled, twins: &[Twin]) -> Option<Uuid> {
    let run = &assembled.run;
    if !run.bare {
        return None;
    }
    let records = records(&assembled.steps).filter(is_comparable)?;
    let mut by_run: BTreeMap<Uuid, Vec<&Twin>> = BTreeMap::new();
    for twin in twins.iter().filter(|twin| twin.run_id != run.key.run_id) {
        by_run.entry(twin.run_id).or_default().push(twin);
    }
    let own = Rank::of(run);
    let holds_all = |twins: &Vec<&Twin>| {
        records.values().all(|calls| calls.iter().any(|call| twins.iter().any(|twin| twin.call.is_same(call))))
    };
    let originals = by_run.into_values().filter(holds_all).filter_map(|twins| Some(Rank::of_twin(twins.first()?)));
    originals.filter(|rank| rank.cmp(&own) == Ordering::Greater).max_by(Rank::cmp).map(|rank| rank.run_id)
}

/// Is every GenAI step a call, and no step waiting for a parent, which may be an agent's?
pub(super) fn is_bare(steps: &[ShownStep], forest: &Forest, roles: &Roles) -> bool {
    let is_call_or_foreign = |shown: &ShownStep| {
        let (kind, genai) = (&shown.step.kind, shown.step.facts.genai);
        kind.is_call() || !(kind.is_genai() || genai)
    };
    roles.is_worthy()
        && steps.iter().all(is_call_or_foreign)
        && !forest.roots.iter().any(|root| is_orphan(steps, forest, *root))
}

/// When to look for the original of a bare run: once its steps have settled, and once more when all that is late has
/// come. `None` when nothing can be found or all has been done.
pub(super) fn due_at(
    steps: &[ShownStep],
    receipt: &Receipt,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let looks = [life.settle, life.orphan_idle].map(|wait| after(receipt.received_at, wait));
    let next = looks.into_iter().filter(|at| *at > now).min()?;
    records(steps).filter(is_comparable).map(|_| next)
}

/// The records of each call of a run, with ids: of the step that shows the call and of those that repeat it.
type Records<'a> = BTreeMap<&'a str, Vec<Call>>;

/// `None` when there are too many calls. Attempts below a call are no calls of their own.
fn records(steps: &[ShownStep]) -> Option<Records<'_>> {
    let calls = || steps.iter().filter(|shown| shown.step.kind.is_call());
    if calls().count() > CALLS_MAX {
        return None;
    }
    let mut copy_of: HashMap<&str, &str> = HashMap::new();
    let mut attempts: HashSet<&str> = HashSet::new();
    for shown in calls() {
        if let Some(kept) = shown.marks.get("duplicate_of").and_then(|id| id.as_str()) {
            copy_of.insert(&shown.step.id, kept);
        }
        if shown.marks.contains_key("attempt") {
            attempts.insert(&shown.step.id);
        }
    }
    let mut records = Records::new();
    for shown in calls() {
        let mut id = shown.step.id.as_str();
        // A copy may repeat a copy; no chain is longer than the run.
        for _ in 0..CALLS_MAX {
            let Some(kept) = copy_of.get(id) else { break };
            id = kept;
        }
        if !attempts.contains(id) {
            records.entry(id).or_default().extend(Call::of(shown));
        }
    }
    Some(records)
}

/// Only when every call has an id can all of them be found in another run.
fn is_comparable(records: &Records<'_>) -> bool {
    !records.is_empty() && records.values().all(|calls| !calls.is_empty())
}

/// Which of two runs shows a call that both hold.
#[derive(Clone, Copy)]
struct Rank {
    is_bare: bool,
    latency_s: Option<f64>,
    run_id: Uuid,
}

impl Rank {
    fn of(run: &Run) -> Rank {
        Rank { is_bare: run.bare, latency_s: run.latency_s, run_id: run.key.run_id }
    }

    fn of_twin(twin: &Twin) -> Rank {
        Rank { is_bare: twin.run_is_bare, latency_s: twin.run_latency_s, run_id: twin.run_id }
    }

    fn cmp(&self, other: &Rank) -> Ordering {
        let length = |rank: &Rank| rank.latency_s.unwrap_or(-1.0);
        (!self.is_bare)
            .cmp(&!other.is_bare)
            .then_with(|| length(self).total_cmp(&length(other)))
            .then_with(|| Reverse(self.run_id).cmp(&Reverse(other.run_id)))
    }
}
