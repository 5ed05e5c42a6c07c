//! One call that several instrumentations saw is one call: which step shows it, and which steps repeat it.

use std::collections::HashMap;

use crate::assembly::forest::Forest;
use crate::assembly::streams;
use crate::messages;
use crate::model::run::ShownStep;
use crate::model::step::{Facts, Status, Step, StepType};

/// Clocks of two instrumentations in one process differ by less than this.
pub(super) const WINDOW_SLACK_NS: u64 = 2_000_000;

/// How many calls that were open at the time a call without content is compared with.
const OPEN_CALLS_MAX: usize = 32;

/// For each step that repeats another, the one that is shown for both.
pub(super) struct Copies {
    pub copy_of: Vec<Option<usize>>,
    /// Steps that a shown step stands for, in order.
    pub copies: HashMap<usize, Vec<usize>>,
}

impl Copies {
    /// Copies that can be told by themselves: equal response ids, windows, equal tool calls. Nested model calls without
    /// comparable ids are weighed with their usage, in [`crate::assembly::usage`].
    pub fn find(steps: &[ShownStep], forest: &Forest) -> Copies {
        let mut found = Copies { copy_of: vec![None; steps.len()], copies: HashMap::new() };
        for (record, call) in streams::records(steps) {
            found.add(record, call);
        }
        found.by_response_id(steps, forest);
        found.without_content(steps, forest);
        found.instants(steps, forest);
        found.by_two_instrumentations(steps);
        found.nested_tools(steps, forest);
        found.tools_by_call_id(steps);
        found.tools_by_protocol(steps);
        for index in 0..steps.len() {
            let kept = found.shown_by(index);
            if kept != index {
                found.copy_of[index] = Some(kept);
                found.copies.entry(kept).or_default().push(index);
            }
        }
        found
    }

    pub fn is_copy(&self, index: usize) -> bool {
        self.copy_of[index].is_some()
    }

    /// The first answer among the copies of a step and the copies that those stand for.
    fn first<T>(&self, kept: usize, of: impl Fn(usize) -> Option<T>) -> Option<T> {
        let below = |index: usize| self.copies.get(&index).into_iter().flatten().rev().copied();
        let mut stack: Vec<usize> = below(kept).collect();
        // Nothing is a copy of itself, however long the chain: no more looks than there are steps.
        for _ in 0..self.copy_of.len() {
            let copy = stack.pop()?;
            if let Some(found) = of(copy) {
                return Some(found);
            }
            stack.extend(below(copy));
        }
        None
    }

    /// A copy of a copy is a copy of what that one shows.
    fn shown_by(&self, mut index: usize) -> usize {
        while let Some(kept) = self.copy_of[index] {
            index = kept;
        }
        index
    }

    fn add(&mut self, copy: usize, kept: usize) {
        let kept = self.shown_by(kept);
        if copy != kept && self.copy_of[copy].is_none() {
            self.copy_of[copy] = Some(kept);
        }
    }

    /// Equal response id and overlapping windows. Without overlap a cache answered again: two calls.
    fn by_response_id(&mut self, steps: &[ShownStep], forest: &Forest) {
        let mut same_id: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (index, shown) in steps.iter().enumerate() {
            if let Some(id) = response_id(&shown.step.kind, &shown.step.facts) {
                same_id.entry((shown.step.kind.as_str(), id)).or_default().push(index);
            }
        }
        // In order of start, as the steps are.
        for indices in same_id.values() {
            let mut cluster: Vec<usize> = Vec::new();
            let mut around: Option<Window> = None;
            for &index in indices {
                let own = window(&steps[index].step);
                around = match around {
                    Some(around) if overlap(around, own) => Some((around.0, around.1.max(own.1))),
                    _ => {
                        self.keep_outermost(steps, forest, &cluster);
                        cluster.clear();
                        Some(own)
                    }
                };
                cluster.push(index);
            }
            self.keep_outermost(steps, forest, &cluster);
        }
    }

    /// The step nearest to the root is shown; among equals the longest, which surrounds the others.
    fn keep_outermost(&mut self, steps: &[ShownStep], forest: &Forest, cluster: &[usize]) {
        let is_below = |index: usize| cluster.iter().any(|other| forest.below(*other).contains(&forest.place(index)));
        let rank = |index: &usize| {
            let step = &steps[*index].step;
            let (start, end) = window(step);
            (has_content(step), end - start, std::cmp::Reverse(*index))
        };
        if cluster.len() < 2 {
            return;
        }
        // Clusters are small: as many as there are instrumentations. A hostile one is not compared pair by pair.
        let outer = cluster.iter().copied().filter(|index| cluster.len() > OPEN_CALLS_MAX || !is_below(*index));
        let Some(kept) = outer.max_by_key(|index| rank(index)) else { return };
        for &index in cluster {
            self.add(index, kept);
        }
    }

    /// A call without content and without an id of its own, inside the window of a call of the same model in the same
    /// process, is that call as the transport saw it. Each call takes one.
    fn without_content(&mut self, steps: &[ShownStep], forest: &Forest) {
        let mut open: HashMap<(&str, Option<&str>, &str), Vec<usize>> = HashMap::new();
        let mut taken = vec![false; steps.len()];
        let mut hollow = Vec::new();
        for (index, shown) in steps.iter().enumerate() {
            let step = &shown.step;
            if !step.kind.is_call() || self.is_copy(index) {
                continue;
            }
            let Some(model) = step.model.as_deref().or(step.facts.request_model.as_deref()) else { continue };
            let key = (step.kind.as_str(), step.facts.instance.as_deref(), model);
            match has_content(step) {
                true => open.entry(key).or_default().push(index),
                false => hollow.push((key, index)),
            }
        }
        for (key, index) in hollow {
            let Some(candidates) = open.get(&key) else { continue };
            let (start, end) = window(&steps[index].step);
            let before = candidates
                .partition_point(|other| window(&steps[*other].step).0 <= start.saturating_add(WINDOW_SLACK_NS));
            let near = candidates[before.saturating_sub(OPEN_CALLS_MAX)..before].iter().rev().copied();
            let around = near.filter(|other| !taken[*other]).find(|other| {
                let step = &steps[*other].step;
                let inside = end <= window(step).1.saturating_add(WINDOW_SLACK_NS);
                let related = forest.below(*other).contains(&forest.place(index))
                    || forest.below(index).contains(&forest.place(*other));
                inside && !related && may_be_one_call(step, &steps[index].step)
            });
            if let Some(kept) = around {
                taken[kept] = true;
                self.add(index, kept);
            }
        }
    }

    /// A call without any length, beside a call that was open at the time or had just ended and spent exactly the same,
    /// only reports the usage of that one.
    fn instants(&mut self, steps: &[ShownStep], forest: &Forest) {
        let is_instant = |step: &Step| step.start_ns.is_some() && step.start_ns == step.end_ns;
        let mut calls: HashMap<(&str, Option<usize>, i64), Vec<usize>> = HashMap::new();
        let mut instants = Vec::new();
        for (index, shown) in steps.iter().enumerate() {
            let step = &shown.step;
            let Some(total) = step.usage.total.filter(|total| step.kind.is_call() && *total > 0) else { continue };
            if self.is_copy(index) {
                continue;
            }
            let key = (step.kind.as_str(), forest.parent[index], total);
            if is_instant(step) { instants.push((key, index)) } else { calls.entry(key).or_default().push(index) }
        }
        let mut taken = vec![false; steps.len()];
        for (key, index) in instants {
            let (at, _) = window(&steps[index].step);
            let beside = calls.get(&key).into_iter().flatten().copied().take(OPEN_CALLS_MAX);
            let reported = beside.filter(|other| !taken[*other]).find(|other| {
                let (start, end) = window(&steps[*other].step);
                let near = start <= at && at <= end.saturating_add(WINDOW_SLACK_NS);
                near && steps[*other].step.usage == steps[index].step.usage
                    && may_be_one_call(&steps[*other].step, &steps[index].step)
            });
            if let Some(kept) = reported {
                taken[kept] = true;
                self.add(index, kept);
            }
        }
    }

    /// Two instrumentations of one process that say the same of calls at the same time, one within the other, speak of one
    /// call: equal usage and equal answer.
    fn by_two_instrumentations(&mut self, steps: &[ShownStep]) {
        let mut calls: HashMap<(&str, Option<&str>, i64), Vec<usize>> = HashMap::new();
        for (index, shown) in steps.iter().enumerate() {
            let step = &shown.step;
            let Some(total) = step.usage.total.filter(|total| step.kind.is_call() && *total > 0) else { continue };
            if self.is_copy(index) {
                continue;
            }
            let alike = calls.entry((step.kind.as_str(), step.facts.instance.as_deref(), total)).or_default();
            let latest = alike[alike.len().saturating_sub(OPEN_CALLS_MAX)..].iter().rev().copied();
            if let Some(other) =
                latest.filter(|other| !self.is_copy(*other)).find(|other| is_same_call(&steps[*other].step, step))
            {
                let length = |index: usize| {
                    let (start, end) = window(&steps[index].step);
                    end - start
                };
                let (kept, copy) = if length(other) >= length(index) { (other, index) } else { (index, other) };
                self.add(copy, kept);
            }
            alike.push(index);
        }
    }

    /// The same tool below itself, directly or through transport: the framework and the protocol under it.
    fn nested_tools(&mut self, steps: &[ShownStep], forest: &Forest) {
        let mut tool_above: Vec<Option<usize>> = vec![None; steps.len()];
        for &index in &forest.top_down {
            let Some(parent) = forest.parent[index] else { continue };
            use StepType::*;
            tool_above[index] = match &steps[parent].step.kind {
                ToolCall => Some(parent),
                HttpRequest | Rpc | Messaging | Function | Event | Unknown => tool_above[parent],
                _ => None,
            };
            let step = &steps[index].step;
            if step.kind == ToolCall
                && let Some(outer) = tool_above[index]
                && same_tool(&steps[outer].step, step)
            {
                self.add(index, outer);
            }
        }
    }

    /// Equal call ids at the same time: the request as a span beside the execution.
    fn tools_by_call_id(&mut self, steps: &[ShownStep]) {
        let mut by_id: HashMap<(&str, &str), usize> = HashMap::new();
        for (index, shown) in steps.iter().enumerate() {
            let step = &shown.step;
            if step.kind != StepType::ToolCall || self.is_copy(index) {
                continue;
            }
            let Some(id) = step.facts.tool_call_id.as_deref() else { continue };
            let key = (id, short_name(&step.name));
            let Some(&known) = by_id.get(&key) else {
                by_id.insert(key, index);
                continue;
            };
            let (start, end) = window(&steps[known].step);
            let is_request = start == end || step.start_ns == step.end_ns;
            if !is_request && window(step).0 >= end {
                continue;
            }
            let execution = |index: usize| {
                let step = &steps[index].step;
                let (start, end) = window(step);
                (end > start, has_content(step), end - start)
            };
            if execution(index) > execution(known) {
                self.add(known, index);
                by_id.insert(key, index);
            } else {
                self.add(index, known);
            }
        }
    }

    /// A tool call as the protocol (MCP) saw it, beside the framework's own span of the same tool: known by its method,
    /// or by having neither content nor id where the framework's name tells the server too.
    fn tools_by_protocol(&mut self, steps: &[ShownStep]) {
        let is_protocol = |step: &Step| step.facts.more.get("mcp_method").is_some_and(|method| method == "tools/call");
        let is_hollow = |step: &Step| !has_content(step) && step.facts.tool_call_id.is_none();
        let mut calls: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut views = Vec::new();
        for (index, shown) in steps.iter().enumerate() {
            let step = &shown.step;
            if step.kind != StepType::ToolCall || self.is_copy(index) {
                continue;
            }
            if is_protocol(step) || is_hollow(step) {
                views.push(index);
            }
            if !is_protocol(step) {
                calls.entry(short_name(&step.name)).or_default().push(index);
            }
        }
        let mut taken = vec![false; steps.len()];
        for index in views {
            let step = &steps[index].step;
            let Some(candidates) = calls.get(short_name(&step.name)) else { continue };
            let (start, end) = window(step);
            let before = candidates
                .partition_point(|other| window(&steps[*other].step).0 <= start.saturating_add(WINDOW_SLACK_NS));
            let near = candidates[before.saturating_sub(OPEN_CALLS_MAX)..before].iter().rev().copied();
            let around = near.filter(|other| !taken[*other]).find(|other| {
                let other = &steps[*other].step;
                let names_server = short_name(&other.name) != other.name && short_name(&step.name) == step.name;
                end <= window(other).1.saturating_add(WINDOW_SLACK_NS) && (is_protocol(step) || names_server)
            });
            if let Some(kept) = around {
                taken[kept] = true;
                self.add(index, kept);
            }
        }
    }
}

/// A call is shown by its outermost step, which may not know what the steps nearer to the wire do.
pub(super) fn complete_calls(steps: &mut [ShownStep], copies: &Copies) {
    for &kept in copies.copies.keys() {
        let step = &steps[kept].step;
        if !step.kind.is_call() || (step.model.is_some() && step.provider.is_some()) {
            continue;
        }
        let model = copies.first(kept, |copy| steps[copy].step.model.clone());
        let provider = copies.first(kept, |copy| steps[copy].step.provider.clone());
        let step = &mut steps[kept].step;
        step.model = step.model.take().or(model);
        step.provider = step.provider.take().or(provider);
    }
}

/// Start and end in nanoseconds since 1970.
pub(super) type Window = (u64, u64);

pub(super) fn window(step: &Step) -> Window {
    window_of(step.start_ns, step.end_ns)
}

/// A step that has not ended reaches to the end of time.
pub(super) fn window_of(start_ns: Option<u64>, end_ns: Option<u64>) -> Window {
    let start = start_ns.or(end_ns).unwrap_or(0);
    (start, end_ns.unwrap_or(u64::MAX).max(start))
}

/// Have they an instant in common? Windows that only touch have none, unless one of them is an instant itself.
pub(super) fn overlap(one: Window, other: Window) -> bool {
    let is_instant_in = |(start, end): Window, (from, to): Window| start == end && from <= start && start <= to;
    (one.0 < other.1 && other.0 < one.1) || is_instant_in(one, other) || is_instant_in(other, one)
}

/// The id of the response of a call; some senders fill the field with a word that identifies nothing.
pub(super) fn response_id<'a>(kind: &StepType, facts: &'a Facts) -> Option<&'a str> {
    let id = facts.response_id.as_deref().filter(|id| !id.is_empty() && *id != "unknown");
    id.filter(|_| kind.is_call())
}

pub(super) fn has_content(step: &Step) -> bool {
    let holds = |text: &Option<String>| text.as_deref().is_some_and(messages::is_usable);
    holds(&step.input) || holds(&step.output)
}

/// Response ids and usage do not say that these are two calls.
fn may_be_one_call(one: &Step, other: &Step) -> bool {
    let ids = (one.facts.response_id.as_deref(), other.facts.response_id.as_deref());
    let both_failed = one.status != Status::Success && other.status != Status::Success;
    let ids_agree = match ids {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    let same_usage = one.usage.total == other.usage.total;
    ids_agree && (both_failed || same_usage || one.usage.is_empty() != other.usage.is_empty())
}

fn is_same_call(one: &Step, other: &Step) -> bool {
    let (own, others) = (window(one), window(other));
    let within = |inner: Window, outer: Window| {
        outer.0 <= inner.0.saturating_add(WINDOW_SLACK_NS) && inner.1 <= outer.1.saturating_add(WINDOW_SLACK_NS)
    };
    one.origin != other.origin
        && (within(own, others) || within(others, own))
        && (one.usage.input, one.usage.output) == (other.usage.input, other.usage.output)
        && may_be_one_call(one, other)
        && (is_same_answer(one.output.as_deref(), other.output.as_deref()) || is_same_question(one, other))
}

/// One of them did not record the answer, such as a request for tools.
fn is_same_question(one: &Step, other: &Step) -> bool {
    let asked = |step: &Step| step.input.as_deref().and_then(messages::input_text);
    let is_silent = |step: &Step| step.output.as_deref().and_then(messages::output_text).is_none();
    (is_silent(one) || is_silent(other)) && asked(one).is_some() && asked(one) == asked(other)
}

fn is_same_answer(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    one == other || messages::output_text(one).is_some_and(|text| messages::output_text(other).as_ref() == Some(&text))
}

fn same_tool(outer: &Step, inner: &Step) -> bool {
    let ids = (outer.facts.tool_call_id.as_deref(), inner.facts.tool_call_id.as_deref());
    matches!(ids, (Some(a), Some(b)) if a == b) || short_name(&outer.name) == short_name(&inner.name)
}

/// The tool's own name: MCP clients put the server in front (`mcp__server__name`).
pub(super) fn short_name(name: &str) -> &str {
    let name = name.strip_prefix("mcp__").and_then(|rest| rest.split_once("__")).map_or(name, |(_, tool)| tool);
    name.strip_prefix("tools/call ").unwrap_or(name)
}
