//! Where a run is in its life, and how it ended. Pure in (steps, times of receipt, now): nothing is sticky.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::assembly::forest::Forest;
use crate::assembly::roles::Roles;
use crate::assembly::{LifeCycle, Receipt};
use crate::messages;
use crate::model::run::ShownStep;
use crate::model::step::{Status, Step, StepType};

/// What the life cycle says at one instant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Life {
    pub phase: Phase,
    /// Every step above the speakers that should have come did not.
    pub root_missing: bool,
    /// When it counts as final, once it has ended.
    pub final_at: Option<DateTime<Utc>>,
    /// The next instant at which the answer changes although nothing arrives.
    pub due_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    Running,
    /// Known to be started, and silent or old: why.
    TimedOut(String),
    Ended,
}

pub(super) fn after(from: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    // A wait beyond the calendar is as good as never.
    TimeDelta::from_std(wait).ok().and_then(|wait| from.checked_add_signed(wait)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Why a run that was started and never ended is given up, if it is.
pub(super) fn given_up(
    started: DateTime<Utc>,
    receipt: &Receipt,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> Option<String> {
    if now >= after(receipt.received_at, life.idle_limit) {
        return Some(format!("no activity for {} s", life.idle_limit.as_secs_f64()));
    }
    (now >= after(started, life.max_duration)).then(|| format!("not ended after {} s", life.max_duration.as_secs_f64()))
}

/// When [`given_up`] will say yes.
pub(super) fn gives_up_at(started: DateTime<Utc>, receipt: &Receipt, life: &LifeCycle) -> DateTime<Utc> {
    after(receipt.received_at, life.idle_limit).min(after(started, life.max_duration))
}

impl Life {
    pub fn new(
        steps: &[ShownStep],
        forest: &Forest,
        roles: &Roles,
        is_unfinished: bool,
        (started, receipt): (DateTime<Utc>, &Receipt),
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> Life {
        if !roles.is_worthy() {
            // In no list: nobody waits for its end.
            let final_at = Some(receipt.received_at);
            return Life { phase: Phase::Ended, root_missing: false, final_at, due_at: None };
        }
        let root = forest.root_of_each();
        let orphaned = roles.speakers().iter().any(|index| is_orphan(steps, forest, root[*index]));
        let phase = if is_unfinished {
            match given_up(started, receipt, life, now) {
                None => Phase::Running,
                Some(why) => Phase::TimedOut(why),
            }
        } else if orphaned && !all_agents(steps, roles) && now < after(receipt.received_at, life.orphan_idle) {
            Phase::Running
        } else {
            Phase::Ended
        };
        let final_at = (phase != Phase::Running).then(|| after(receipt.received_at, life.settle));
        let due_at = match phase {
            Phase::Running if orphaned && !is_unfinished => Some(after(receipt.received_at, life.orphan_idle)),
            Phase::Running => Some(gives_up_at(started, receipt, life)),
            Phase::TimedOut(_) | Phase::Ended => None,
        };
        let root_missing = orphaned && phase != Phase::Running;
        Life { phase, root_missing, final_at, due_at }
    }
}

/// Does this root wait for a parent? One in another process may be uninstrumented or another tenant's: nobody waits for
/// it. A step that was cut off a circle has its parent.
pub(super) fn is_orphan(steps: &[ShownStep], forest: &Forest, root: usize) -> bool {
    let step = &steps[root].step;
    step.parent_id.is_some() && !step.facts.remote_parent && !forest.is_cut[root]
}

/// A step of the run proper that has not ended. A frame that outlives its run, and what stands beside, do not matter.
pub(super) fn has_unfinished(steps: &[ShownStep], forest: &Forest, roles: &Roles) -> bool {
    let mut inside = vec![false; steps.len()];
    for &index in &forest.top_down {
        inside[index] =
            (roles.genai[index] && !roles.frame[index]) || forest.parent[index].is_some_and(|parent| inside[parent]);
        if inside[index] && steps[index].step.end_ns.is_none() {
            return true;
        }
    }
    false
}

fn all_agents(steps: &[ShownStep], roles: &Roles) -> bool {
    roles.tops.iter().all(|top| matches!(steps[*top].step.kind, StepType::Agent | StepType::Workflow))
}

/// An agent that only repeats the error of a tool below it, and has an answer of its own, did not fail.
pub(super) fn forgive_childs_errors(steps: &mut [ShownStep], forest: &Forest) {
    let mut tool_errors: HashMap<String, Vec<usize>> = HashMap::new();
    for &index in &forest.top_down {
        let step = &steps[index].step;
        if step.kind == StepType::ToolCall
            && let Some(error) = &step.error
        {
            tool_errors.entry(error.clone()).or_default().push(forest.place(index));
        }
    }
    for (index, shown) in steps.iter_mut().enumerate() {
        let step = &mut shown.step;
        let may_be_childs = step.facts.error_may_be_childs
            && !step.facts.exception
            && step.status == Status::Error
            && matches!(step.kind, StepType::Agent | StepType::Workflow)
            && has_output(step.output.as_deref());
        let Some(places) = step.error.as_ref().filter(|_| may_be_childs).and_then(|error| tool_errors.get(error))
        else {
            continue;
        };
        let below = forest.below(index);
        let next = places.partition_point(|place| *place < below.start);
        if places.get(next).is_some_and(|place| below.contains(place)) {
            step.status = Status::Success;
            step.error = None;
            shown.marks.insert("child_error_propagated".to_owned(), Value::Bool(true));
        }
    }
}

fn has_output(output: Option<&str>) -> bool {
    output.is_some_and(messages::is_answer)
}

/// The step that made the run fail, if one did: the base itself, or what came last below a base without an answer.
pub(super) fn failed_step(steps: &[ShownStep], forest: &Forest, base: usize) -> Option<usize> {
    let mut at = base;
    loop {
        let step = &steps[at].step;
        if matches!(step.status, Status::Error | Status::Timeout) {
            return Some(at);
        }
        let speaks_for_itself = match step.kind {
            StepType::Agent | StepType::Workflow => has_output(step.output.as_deref()),
            StepType::ModelCall | StepType::ToolCall => true,
            _ if step.kind.is_genai() => true,
            _ => has_output(step.output.as_deref()),
        };
        if speaks_for_itself {
            return None;
        }
        at = last_turn_below(steps, forest, at)?;
    }
}

/// The agent, workflow or model call below `index` that ended last; plain steps between are looked through.
fn last_turn_below(steps: &[ShownStep], forest: &Forest, index: usize) -> Option<usize> {
    let mut stack: Vec<usize> = forest.children[index].clone();
    let mut last: Option<usize> = None;
    while let Some(child) = stack.pop() {
        let step = &steps[child].step;
        match step.kind {
            StepType::Agent | StepType::Workflow | StepType::ModelCall
                if !steps[child].marks.contains_key("duplicate_of") =>
            {
                let key = |i: usize| (steps[i].step.end_ns.unwrap_or(u64::MAX), i);
                if last.is_none_or(|known| key(child) > key(known)) {
                    last = Some(child);
                }
            }
            _ if step.kind.is_genai() => {}
            _ => stack.extend(&forest.children[child]),
        }
    }
    last
}

/// The step from which the failure of the run is judged.
pub(super) fn base(steps: &[ShownStep], forest: &Forest, roles: &Roles) -> Option<usize> {
    if roles.primary.is_some() {
        return roles.primary;
    }
    let root = forest.root_of_each();
    let (first, rest) = roles.tops.split_first()?;
    let common = rest.iter().all(|top| root[*top] == root[*first]).then(|| root[*first]);
    common.or_else(|| roles.tops.iter().copied().max_by_key(|top| (steps[*top].step.end_ns.unwrap_or(u64::MAX), *top)))
}

/// The error text of a failed run, at most 8 KiB: the failing step's own, unless that says nothing and a failing step
/// below says more.
pub(super) fn error_text(steps: &[ShownStep], forest: &Forest, failed: usize) -> String {
    let own = steps[failed].step.error.as_deref().unwrap_or("error");
    let better = || {
        let below = &forest.top_down[forest.below(failed)];
        let telling = below.iter().copied().filter(|index| {
            let step = &steps[*index].step;
            step.status == Status::Error && !says_nothing(step)
        });
        let last = telling.max_by_key(|index| (steps[*index].step.end_ns.unwrap_or(u64::MAX), *index))?;
        steps[last].step.error.as_deref()
    };
    let text = if says_nothing(&steps[failed].step) { better().unwrap_or(own) } else { own };
    error_view(text).to_owned()
}

/// As much of an error as a run shows.
pub fn error_view(text: &str) -> &str {
    cut(text, ERROR_BYTES_MAX)
}

pub(super) const ERROR_BYTES_MAX: usize = 8 * 1024;

pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// An error that only says that there was one, or which type it had.
pub(super) fn says_nothing(step: &Step) -> bool {
    step.error.as_deref().is_none_or(is_generic) || step.facts.more.get("error_source").is_some_and(|it| it == "type")
}

fn is_generic(error: &str) -> bool {
    const GENERIC: [&str; 9] = [
        "error",
        "internal error",
        "tool_error",
        "_other",
        "unknown",
        "failed",
        "failure",
        "unknown error",
        "run status: error",
    ];
    GENERIC.contains(&error.trim().to_ascii_lowercase().as_str())
}
