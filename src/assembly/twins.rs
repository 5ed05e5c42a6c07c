//! One call recorded in two traces, because one instrumentation does not see the other's context: a client library's
//! span beside the step of the framework that called it. A run that holds nothing but such calls is a copy.
//!
//! The store finds the candidates by their response ids, and for calls that tell too little by the process and the time
//! ([`asked_calls`]); [`original_of`] decides.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::assembly::copies::{WINDOW_SLACK_NS, Window, has_content, overlap, response_id, window_of};
use crate::assembly::forest::Forest;
use crate::assembly::roles::Roles;
use crate::assembly::status::{after, is_orphan};
use crate::assembly::{LifeCycle, Receipt};
use crate::messages;
use crate::model::run::{Assembled, Run, ShownStep};
use crate::model::step::{Facts, Status, Step, StepType};

/// A run with more calls than this is not compared with others: a record of one call beside its framework has few.
const CALLS_MAX: usize = 100;

/// A record of a streamed answer says when the call began only as exactly as its sender measured.
const STREAM_SLACK_NS: u64 = 50_000_000;
/// The longest stream whose record is looked for.
const STREAM_MAX_NS: u64 = 600_000_000_000;

/// What tells whether two call steps are one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub kind: StepType,
    pub response_id: Option<String>,
    /// Nanoseconds since 1970; a call that has not ended reaches to the end of time.
    pub window: Window,
    pub instance: Option<String>,
    service: Option<String>,
    /// The model that answered and the one that was asked, as far as they are told.
    models: [Option<String>; 2],
    /// What was asked, where the call has it and its answer is missing.
    pub open_question: Option<String>,
    pub said: Said,
    failed: bool,
    tokens: Option<i64>,
    /// When the call began whose answer this step records.
    streamed_from: Option<u64>,
}

/// What of a call's texts was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Said {
    pub any: bool,
    /// The input is the one that was asked for.
    pub same_question: bool,
}

/// What a call step has in columns of its own.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    pub start_ns: Option<u64>,
    pub end_ns: Option<u64>,
    pub model: Option<String>,
    pub tokens: Option<i64>,
    pub status: Status,
    pub said: Said,
}

impl Call {
    /// `None` for a step that is no call.
    pub fn new(kind: &StepType, facts: &Facts, columns: Columns) -> Option<Call> {
        let window = window_of(columns.start_ns, columns.end_ns);
        let streamed = facts.stream_took_ms.filter(|ms| (0.0..1e12).contains(ms)).map(|ms| (ms * 1e6) as u64);
        kind.is_call().then(|| Call {
            response_id: response_id(kind, facts).map(str::to_owned),
            kind: kind.clone(),
            window,
            instance: facts.instance.clone(),
            service: facts.service.clone(),
            models: [columns.model, facts.request_model.clone()],
            open_question: None,
            said: columns.said,
            failed: columns.status != Status::Success,
            tokens: columns.tokens,
            streamed_from: streamed.map(|ns| window.0.saturating_sub(ns)),
        })
    }

    fn of(shown: &ShownStep) -> Option<Call> {
        let step = &shown.step;
        let columns = Columns {
            start_ns: step.start_ns,
            end_ns: step.end_ns,
            model: step.model.clone(),
            tokens: step.usage.total,
            status: step.status,
            said: Said { any: has_content(step), same_question: false },
        };
        let open_question = open_question(step).map(str::to_owned);
        Some(Call { open_question, ..Call::new(&step.kind, &step.facts, columns)? })
    }

    /// Can the same call be found in another trace?
    fn is_comparable(&self) -> bool {
        self.response_id.is_some() || self.moment().is_some()
    }

    /// Where to look for another record of a call that is told by its process and time alone: one without any text, or
    /// one whose answer is missing. `None` for any other.
    pub fn moment(&self) -> Option<Moment> {
        let instance = self.instance.clone()?;
        let (start, end) = self.window;
        let latest_start_ns = match (&self.open_question, self.said.any) {
            (Some(_), _) => end.saturating_add(STREAM_MAX_NS),
            (None, false) => start.saturating_add(WINDOW_SLACK_NS),
            (None, true) => return None,
        };
        Some(Moment { instance, latest_start_ns, earliest_end_ns: end.saturating_sub(WINDOW_SLACK_NS) })
    }

    /// Is `other` a record of this call too?
    fn is_same(&self, other: &Twin) -> bool {
        let call = &other.call;
        if self.kind != call.kind {
            return false;
        }
        match (&self.response_id, &call.response_id) {
            (Some(one), Some(other)) => one == other && self.is_of_process(call) && overlap(self.window, call.window),
            _ => self.is_inside(other) || self.is_answered_by(call),
        }
    }

    /// One response, received by one process at one time. Without overlap a cache answered again: two calls.
    fn is_of_process(&self, other: &Call) -> bool {
        match (&self.instance, &other.instance) {
            (None, None) => self.service == other.service,
            (one, other) => one == other,
        }
    }

    /// No text of its own, in the middle of a call of the same model by the same process that tells more.
    fn is_inside(&self, twin: &Twin) -> bool {
        let other = &twin.call;
        let (around, inside) = (other.window, self.window);
        let in_window = around.0 <= inside.0.saturating_add(WINDOW_SLACK_NS)
            && inside.1 <= around.1.saturating_add(WINDOW_SLACK_NS);
        let same_outcome = (self.failed && other.failed) || self.tokens.is_none() || self.tokens == other.tokens;
        !self.said.any
            && (other.said.any || !twin.run_is_bare)
            && self.instance.is_some()
            && self.instance == other.instance
            && self.is_of_model(other)
            && in_window
            && same_outcome
    }

    /// A question without answer, and the record of the streamed answer that began with it.
    fn is_answered_by(&self, record: &Call) -> bool {
        let Some(began) = record.streamed_from else { return false };
        self.open_question.is_some()
            && record.said.same_question
            && self.instance.is_some()
            && self.instance == record.instance
            && self.is_of_model(record)
            && began.abs_diff(self.window.0) <= STREAM_SLACK_NS
    }

    fn is_of_model(&self, other: &Call) -> bool {
        self.models.iter().flatten().any(|model| other.models.iter().flatten().any(|known| known == model))
    }
}

/// The input of a call that ended well, and yet says nothing of its answer.
fn open_question(step: &Step) -> Option<&str> {
    let is_open = step.status == Status::Success
        && step.usage.is_empty()
        && !step.output.as_deref().is_some_and(messages::is_usable);
    step.input.as_deref().filter(|input| is_open && messages::is_usable(input))
}

/// A process, and the time in which another record of a call stands: it starts before and ends after these.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    pub instance: String,
    pub latest_start_ns: u64,
    pub earliest_end_ns: u64,
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
pub fn asked_calls(assembled: &Assembled) -> Vec<Call> {
    if !assembled.run.bare {
        return Vec::new();
    }
    let records = records(&assembled.steps).filter(is_comparable);
    records.into_iter().flat_map(BTreeMap::into_values).flatten().filter(Call::is_comparable).collect()
}

/// The run that `assembled` is a copy of: another run holds every call of it, and is more than calls. Of two runs that
/// are both mere calls the one with texts is the original, else the longer one, of equally long ones that with the
/// smaller id.
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
    let own = Rank::of(run, records.values().flatten().any(|call| call.said.any));
    let holds_all = |twins: &Vec<&Twin>| {
        records.values().all(|calls| calls.iter().any(|call| twins.iter().any(|twin| call.is_same(twin))))
    };
    let originals = by_run.into_values().filter(holds_all).filter_map(|twins| Rank::of_twins(&twins));
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

/// The records of each call of a run: of the step that shows the call and of those that repeat it.
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

/// Only when every call tells enough can all of them be found in another run.
fn is_comparable(records: &Records<'_>) -> bool {
    !records.is_empty() && records.values().all(|calls| calls.iter().any(Call::is_comparable))
}

/// Which of two runs shows a call that both hold.
#[derive(Clone, Copy)]
struct Rank {
    is_bare: bool,
    /// Does any of the calls have a text? The record of a stream has the answer, which is more than the question.
    has_content: bool,
    is_answer: bool,
    latency_s: Option<f64>,
    run_id: Uuid,
}

impl Rank {
    fn of(run: &Run, has_content: bool) -> Rank {
        let (is_bare, latency_s, run_id) = (run.bare, run.latency_s, run.key.run_id);
        Rank { is_bare, has_content, is_answer: false, latency_s, run_id }
    }

    fn of_twins(twins: &[&Twin]) -> Option<Rank> {
        let run = twins.first()?;
        Some(Rank {
            is_bare: run.run_is_bare,
            has_content: twins.iter().any(|twin| twin.call.said.any),
            is_answer: twins.iter().any(|twin| twin.call.streamed_from.is_some() && twin.call.said.same_question),
            latency_s: run.run_latency_s,
            run_id: run.run_id,
        })
    }

    fn cmp(&self, other: &Rank) -> Ordering {
        let length = |rank: &Rank| rank.latency_s.unwrap_or(-1.0);
        (!self.is_bare)
            .cmp(&!other.is_bare)
            .then_with(|| self.is_answer.cmp(&other.is_answer))
            .then_with(|| self.has_content.cmp(&other.has_content))
            .then_with(|| length(self).total_cmp(&length(other)))
            .then_with(|| Reverse(self.run_id).cmp(&Reverse(other.run_id)))
    }
}
