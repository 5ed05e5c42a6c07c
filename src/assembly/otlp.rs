//! A run out of the spans of a trace.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::assembly::copies::{self, Copies};
use crate::assembly::forest::Forest;
use crate::assembly::identity::Identity;
use crate::assembly::roles::Roles;
use crate::assembly::status::{self, Life, Phase};
use crate::assembly::texts::Texts;
use crate::assembly::usage::{self, Totals};
use crate::assembly::{LifeCycle, Receipt, Rest, graphs, native, streams, tools, tree, twins, wrappers};
use crate::model::id::{RunKey, trace_id_of_run};
use crate::model::run::{Assembled, Kinship, Run, ShownStep};
use crate::model::step::{Source, Status};

pub(super) fn assemble(
    key: RunKey,
    mut shown: Vec<ShownStep>,
    rest: &Rest,
    receipt: Receipt,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> Assembled {
    sort(&mut shown);
    let (first_day, last_day) = native::days(&shown, receipt.created_at);
    let stored = shown.len();
    let forest = Forest::new(shown.iter().map(|shown| &shown.step));
    cut_circles(&mut shown, &forest);
    wrappers::settle(&mut shown, &forest);
    graphs::name_agents(&mut shown, &forest);
    let mut copies = Copies::find(&shown, &forest);
    tools::take_outcomes(&mut shown, &forest);
    tools::merge_copies(&mut shown, &copies);
    streams::complete(&mut shown, &copies);
    status::forgive_childs_errors(&mut shown, &forest);
    let roles = Roles::new(&shown, &forest, |index| copies.is_copy(index));
    let mut totals = usage::count(&mut shown, &forest, &mut copies, roles.primary);
    totals.spent.add(rest.spent());
    copies::complete_calls(&mut shown, &copies);
    let calls = tools::calls(&shown, &copies);
    let answer = roles.primary.and_then(|index| shown[index].step.output.clone());
    let inferred = tools::complete(&mut shown, &copies, &calls, key.run_id, answer.as_deref());

    let times = Times::new(&shown, &roles, rest);
    let started_at = times.start_ns.and_then(instant).unwrap_or(receipt.created_at);
    let bare = rest.is_empty() && twins::is_bare(&shown, &forest, &roles);
    let look_at = if bare { twins::due_at(&shown, &receipt, life, now) } else { None };
    let is_unfinished = rest.is_unfinished || status::has_unfinished(&shown, &forest, &roles);
    let life = Life::new(&shown, &forest, &roles, is_unfinished, (started_at, &receipt), life, now);
    let end = End::new(&shown, &forest, &roles, &life.phase);
    let texts = Texts { steps: &shown, forest: &forest, roles: &roles, copies: &copies };
    let input = texts.input();
    let output = texts.output(end.status == Status::Error);
    let identity = Identity { steps: &shown, forest: &forest, roles: &roles };

    let errors = shown
        .iter()
        .chain(&inferred)
        .filter(|shown| shown.step.status == Status::Error && !shown.marks.contains_key("duplicate_of"));
    let error_count = native::count(errors.count()).saturating_add(rest.errors);
    let mut metadata = identity.metadata();
    if input.is_none() && output.is_none() {
        metadata.insert("content_captured".to_owned(), Value::Bool(false));
    }
    metadata.insert("error_count".to_owned(), Value::from(error_count));
    describe_rest(&mut metadata, rest);
    describe_life(&mut metadata, &life, &end);
    describe_cost(&mut metadata, &totals);
    times.describe_frame(&mut metadata, &shown, &roles, end.status);

    let is_over = end.status != Status::Running;
    let end_ns = match life.phase {
        Phase::Running => None,
        Phase::TimedOut(_) => times.last_activity_ns,
        Phase::Ended => times.end_ns,
    };
    let latency_s = times.latency_s(end_ns, &mut metadata);
    let run = Run {
        key,
        source: Source::Otlp,
        worthy: roles.is_worthy(),
        bare,
        duplicate_of: None,
        name: identity.name(),
        model: identity.model(),
        agent: identity.agent(),
        service: identity.service(),
        status: end.status,
        input: input.unwrap_or_default(),
        output,
        error: end.error,
        usage: totals.spent.usage.unwrap_or_default(),
        cost: totals.spent.cost_usd(),
        latency_s,
        session_id: identity.session_id(),
        user_id: identity.user_id(),
        tags: identity.tags(),
        step_count: native::count(stored).saturating_add(rest.steps),
        error_count,
        trace_id: Some(trace_id_of_run(key.run_id)),
        started_at,
        ended_at: end_ns.filter(|_| is_over).and_then(instant).map(|end| end.max(started_at)),
        final_at: life.final_at,
        metadata,
        first_day,
        last_day,
        due_at: life.due_at.or(look_at),
        kinship: Kinship::default(),
        revision: 0,
        created_at: receipt.created_at,
        updated_at: receipt.updated_at,
        received_at: receipt.received_at,
        declared: None,
    };
    mark_frame(&mut shown, &roles);
    shown.extend(inferred);
    shown.sort_unstable_by(|a, b| tree::reading_order(&a.step).cmp(&tree::reading_order(&b.step)));
    Assembled { run, steps: shown }
}

/// By start, then id. Steps that know no start stand where they ended, or last.
pub(super) fn sort(steps: &mut [ShownStep]) {
    fn key(shown: &ShownStep) -> (u64, &str, Option<u64>, Uuid) {
        let step = &shown.step;
        (step.start_ns.or(step.end_ns).unwrap_or(u64::MAX), &step.id, step.end_ns, step.content_hash)
    }
    // Ids are unique, so that no order is left to chance.
    steps.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
}

/// A step that was cut off a circle shows no parent; the id that was sent stays in sight.
fn cut_circles(steps: &mut [ShownStep], forest: &Forest) {
    for (index, shown) in steps.iter_mut().enumerate() {
        if forest.is_cut[index]
            && let Some(parent) = shown.step.parent_id.take()
        {
            shown.marks.insert("circular_parent_id".to_owned(), Value::from(parent));
        }
    }
}

fn mark_frame(steps: &mut [ShownStep], roles: &Roles) {
    for (shown, is_frame) in steps.iter_mut().zip(&roles.frame) {
        if *is_frame && !shown.step.kind.is_genai() {
            shown.marks.insert("frame".to_owned(), Value::Bool(true));
        }
    }
}

/// Nanoseconds since 1970 of the run proper: the primary step's, else from the first top to the last.
struct Times {
    start_ns: Option<u64>,
    end_ns: Option<u64>,
    last_activity_ns: Option<u64>,
}

impl Times {
    /// The rest of a run that no one step speaks for belongs to its time.
    fn new(steps: &[ShownStep], roles: &Roles, rest: &Rest) -> Times {
        let rest_end_ns = rest.latest_end_ns;
        let speakers = if roles.is_worthy() { roles.speakers() } else { (0..steps.len()).collect() };
        let of = |index: &usize| &steps[*index].step;
        Times {
            start_ns: speakers.iter().filter_map(|index| of(index).start_ns).min(),
            end_ns: speakers
                .iter()
                .filter_map(|index| of(index).end_ns)
                .chain(rest_end_ns.filter(|_| roles.primary.is_none()))
                .max(),
            last_activity_ns: steps
                .iter()
                .filter_map(|shown| shown.step.end_ns.max(shown.step.start_ns))
                .chain(rest_end_ns)
                .max(),
        }
    }

    /// Seconds; an end before the start is a clock that was set back, and counts as no time.
    fn latency_s(&self, end_ns: Option<u64>, metadata: &mut Map<String, Value>) -> Option<f64> {
        let (start, end) = (self.start_ns?, end_ns?);
        if end < start {
            metadata.insert("clock_skew".to_owned(), Value::Bool(true));
        }
        Some(end.saturating_sub(start) as f64 / 1e9)
    }

    /// The window of the steps around the run proper, and their failure where the run itself did not fail.
    fn describe_frame(&self, metadata: &mut Map<String, Value>, steps: &[ShownStep], roles: &Roles, status: Status) {
        let frame = || steps.iter().zip(&roles.frame).filter(|(_, framed)| **framed).map(|(shown, _)| &shown.step);
        let mut put = |key: &str, ns: Option<u64>| {
            if let Some(at) = ns.and_then(instant) {
                let text = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
                metadata.insert(key.to_owned(), Value::from(text));
            }
        };
        put("frame_started_at", frame().filter_map(|step| step.start_ns).min());
        put("frame_ended_at", frame().filter_map(|step| step.end_ns).max());
        let failed = frame().find(|step| matches!(step.status, Status::Error | Status::Timeout));
        if let Some(step) = failed.filter(|_| status == Status::Success) {
            metadata.insert("frame_status".to_owned(), Value::from(step.status.as_str()));
        }
    }
}

/// Every `u64` of nanoseconds is a date before the year 2555.
fn instant(ns: u64) -> Option<DateTime<Utc>> {
    let seconds = i64::try_from(ns / 1_000_000_000).ok()?;
    DateTime::from_timestamp(seconds, (ns % 1_000_000_000) as u32)
}

/// How the run ended, if it did.
struct End {
    status: Status,
    error: Option<String>,
    timeout_reason: Option<String>,
    /// The step that failed, when it is not the one that speaks for the run.
    failed_below: Option<String>,
}

impl End {
    fn new(steps: &[ShownStep], forest: &Forest, roles: &Roles, phase: &Phase) -> End {
        let mut end = End { status: Status::Success, error: None, timeout_reason: None, failed_below: None };
        match phase {
            Phase::Running => end.status = Status::Running,
            Phase::TimedOut(why) => {
                end.status = Status::Timeout;
                end.timeout_reason = Some(why.clone());
            }
            Phase::Ended => end.judge(steps, forest, roles),
        }
        end
    }

    fn judge(&mut self, steps: &[ShownStep], forest: &Forest, roles: &Roles) {
        let Some(base) = status::base(steps, forest, roles) else { return };
        let Some(failed) = status::failed_step(steps, forest, base) else { return };
        let step = &steps[failed].step;
        self.status = step.status;
        self.failed_below = (failed != base).then(|| step.id.clone());
        if step.status == Status::Error {
            self.error = Some(status::error_text(steps, forest, failed));
        } else {
            self.timeout_reason = step.facts.timeout_reason.clone();
        }
    }
}

/// Says that the latest steps are not assembled, and counts their calls.
fn describe_rest(metadata: &mut Map<String, Value>, rest: &Rest) {
    if rest.is_empty() {
        return;
    }
    metadata.insert("summed_steps".to_owned(), Value::from(rest.steps));
    let calls = metadata.get("model_calls").and_then(Value::as_i64).unwrap_or(0);
    metadata.insert("model_calls".to_owned(), Value::from(calls.saturating_add(rest.model_calls)));
}

fn describe_life(metadata: &mut Map<String, Value>, life: &Life, end: &End) {
    if life.root_missing {
        metadata.insert("root_missing".to_owned(), Value::Bool(true));
        metadata.insert("complete".to_owned(), Value::Bool(false));
    }
    if let Some(why) = &end.timeout_reason {
        metadata.insert("timeout_reason".to_owned(), Value::from(why.as_str()));
    }
    if let Some(step) = &end.failed_below {
        metadata.insert("status_inferred".to_owned(), Value::Bool(true));
        metadata.insert("failed_step".to_owned(), Value::from(step.as_str()));
    }
}

fn describe_cost(metadata: &mut Map<String, Value>, totals: &Totals) {
    if totals.cost_is_aggregate {
        metadata.insert("cost_source".to_owned(), Value::from("aggregate"));
    }
    if totals.cost_is_partial {
        metadata.insert("cost_complete".to_owned(), Value::Bool(false));
    }
}
