//! The steps of a run, nested. Nothing here recurses over the depth of a run: a chain of 100,000 spans is a legal
//! trace, and would be the end of a stack, ours or the client's.

use std::collections::BTreeMap;
use std::mem::take;

use chrono::DateTime;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{TokensView, time};
use crate::assembly::Node;
use crate::model::run::ShownStep;
use crate::model::step::{Status, Step};
use crate::native::STEP_DEPTH_MAX;

/// Levels of nested `children` in an answer, as many as a native run may have: common JSON readers stop at 128 levels
/// of JSON, two for each of ours. Steps below the last level stand on it, behind the step they belong to, in
/// depth-first order; their `parent_id` still tells where they belong.
pub const NESTING_MAX: usize = STEP_DEPTH_MAX;

/// A step is slow when its own time, without that of its children, is at least this long …
pub const SLOW_STEP_MIN_MS: f64 = 5_000.0;
/// … and at least this part of the run's time: it, and not its neighbours, is what to look at.
pub const SLOW_STEP_SHARE: f64 = 0.5;
/// A step is expensive when its own cost, without that of its children, is at least this …
pub const EXPENSIVE_STEP_MIN_USD: f64 = 0.05;
/// … and at least this part of the run's cost.
pub const EXPENSIVE_STEP_SHARE: f64 = 0.5;

/// A step of the query API with those below it.
#[derive(Clone, Debug, Serialize)]
pub struct StepView {
    pub id: String,
    pub parent_id: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub status: Status,
    pub error: Option<String>,
    pub latency_ms: Option<f64>,
    #[serde(flatten)]
    pub tokens: TokensView,
    /// USD.
    pub cost: Option<f64>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub agent: Option<String>,
    pub input: Option<String>,
    pub output: Option<String>,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    pub flags: StepFlags,
    pub metadata: Map<String, Value>,
    pub children: Vec<StepView>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepFlags {
    pub is_slow_step: bool,
    pub is_expensive_step: bool,
}

/// What the run as a whole took and cost: slow and expensive are said in comparison to it.
#[derive(Clone, Copy)]
pub(super) struct RunTotals {
    pub latency_s: Option<f64>,
    pub cost: Option<f64>,
}

/// All steps of a run, and what was counted on the way.
#[derive(Default)]
pub(super) struct Forest {
    pub steps: Vec<StepView>,
    pub total_steps: usize,
    pub total_latency_ms: f64,
    pub error_count: usize,
    pub max_depth: usize,
    pub has_slow_step: bool,
    pub has_expensive_step: bool,
    pub by_type: BTreeMap<String, usize>,
}

impl Forest {
    pub fn of(tree: Vec<Node>, run: RunTotals, metadata_of: &dyn Fn(&Step) -> Map<String, Value>) -> Forest {
        let own = flatten(tree);
        let yardstick = Yardstick::of(run, &own);
        let mut forest = Forest::default();
        let mut in_order = Vec::with_capacity(own.len());
        for mut flat in own {
            let flags = yardstick.flags(&flat);
            forest.count(&flat, flags);
            let metadata = marked(metadata_of(&flat.shown.step), take(&mut flat.shown.marks));
            in_order.push((flat.depth.min(NESTING_MAX), view(flat.shown.step, flags, metadata)));
        }
        forest.steps = nest(in_order);
        forest
    }

    fn count(&mut self, flat: &Flat, flags: StepFlags) {
        let step = &flat.shown.step;
        self.total_steps += 1;
        self.total_latency_ms += step.latency_ms.unwrap_or(0.0);
        self.error_count += usize::from(step.status == Status::Error);
        self.max_depth = self.max_depth.max(flat.depth);
        self.has_slow_step |= flags.is_slow_step;
        self.has_expensive_step |= flags.is_expensive_step;
        *self.by_type.entry(step.kind.as_str().to_owned()).or_default() += 1;
    }
}

/// A step out of its tree.
struct Flat {
    shown: ShownStep,
    /// From 1.
    depth: usize,
    own_latency_ms: f64,
    own_cost: f64,
}

/// Takes a forest apart, depth first. Its nodes are emptied before they are dropped, so that no drop goes deep.
fn flatten(tree: Vec<Node>) -> Vec<Flat> {
    let mut flat = Vec::new();
    let mut stack: Vec<(usize, Node)> = tree.into_iter().rev().map(|node| (1, node)).collect();
    while let Some((depth, mut node)) = stack.pop() {
        let children = take(&mut *node.children);
        let of_children =
            |of: fn(&Step) -> Option<f64>| -> f64 { children.iter().filter_map(|child| of(&child.shown.step)).sum() };
        let own = |of: fn(&Step) -> Option<f64>| of(&node.shown.step).unwrap_or(0.0) - of_children(of);
        let (own_latency_ms, own_cost) = (own(|step| step.latency_ms), own(|step| step.cost));
        stack.extend(children.into_iter().rev().map(|child| (depth + 1, child)));
        flat.push(Flat { shown: node.shown, depth, own_latency_ms, own_cost });
    }
    flat
}

/// What a step is measured against.
struct Yardstick {
    run_latency_ms: f64,
    run_cost: f64,
}

impl Yardstick {
    /// A run that does not tell its time took at least as long as its longest step; one that does not tell its cost
    /// cost what its steps did.
    fn of(run: RunTotals, steps: &[Flat]) -> Yardstick {
        let longest = || steps.iter().filter_map(|flat| flat.shown.step.latency_ms).fold(0.0, f64::max);
        let spent = || steps.iter().map(|flat| flat.own_cost.max(0.0)).sum();
        Yardstick {
            run_latency_ms: run.latency_s.map_or_else(longest, |seconds| seconds * 1000.0),
            run_cost: run.cost.unwrap_or_else(spent),
        }
    }

    fn flags(&self, step: &Flat) -> StepFlags {
        StepFlags {
            is_slow_step: step.own_latency_ms >= SLOW_STEP_MIN_MS
                && step.own_latency_ms >= SLOW_STEP_SHARE * self.run_latency_ms,
            is_expensive_step: step.own_cost >= EXPENSIVE_STEP_MIN_USD
                && step.own_cost >= EXPENSIVE_STEP_SHARE * self.run_cost,
        }
    }
}

fn view(step: Step, flags: StepFlags, metadata: Map<String, Value>) -> StepView {
    StepView {
        id: step.id,
        parent_id: step.parent_id,
        kind: step.kind.as_str().to_owned(),
        name: step.name,
        status: step.status,
        error: step.error,
        latency_ms: step.latency_ms,
        tokens: step.usage.into(),
        cost: step.cost,
        model: step.model,
        provider: step.provider,
        agent: step.agent,
        input: step.input,
        output: step.output,
        started_at: step.start_ns.and_then(time_of_ns),
        ended_at: step.end_ns.and_then(time_of_ns),
        flags,
        metadata,
        children: Vec::new(),
    }
}

/// Puts the marks of assembly into the metadata. A mark keeps its name; what the sender wrote under the same name
/// moves to `sent.NAME`, so that nothing is lost.
fn marked(mut metadata: Map<String, Value>, marks: Map<String, Value>) -> Map<String, Value> {
    for (name, mark) in marks {
        let Some(mut moved) = metadata.insert(name.clone(), mark) else { continue };
        if moved == metadata[&name] {
            continue;
        }
        let mut free = format!("sent.{name}");
        while let Some(other) = metadata.insert(free.clone(), moved) {
            moved = other;
            free.insert_str(0, "sent.");
        }
    }
    metadata
}

/// Builds the nesting from steps in depth-first order with their levels, from the last step to the first: whatever
/// waits one level below a step, when its turn comes, is its children.
fn nest(in_order: Vec<(usize, StepView)>) -> Vec<StepView> {
    let mut waiting: Vec<Vec<StepView>> = (0..NESTING_MAX + 2).map(|_| Vec::new()).collect();
    for (level, mut step) in in_order.into_iter().rev() {
        step.children = take(&mut waiting[level + 1]);
        step.children.reverse();
        waiting[level].push(step);
    }
    let mut top = take(&mut waiting[1]);
    top.reverse();
    top
}

fn time_of_ns(ns: u64) -> Option<String> {
    let seconds = i64::try_from(ns / 1_000_000_000).ok()?;
    DateTime::from_timestamp(seconds, (ns % 1_000_000_000) as u32).map(time)
}
