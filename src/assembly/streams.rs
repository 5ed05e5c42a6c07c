//! Streams that are recorded in two steps: the call up to the first byte of its answer, and later a record of what came
//! and how long that took. Both are one call, which ends when its stream does.

use std::collections::HashMap;

use crate::assembly::copies::Copies;
use crate::messages;
use crate::model::run::ShownStep;
use crate::model::step::{Step, StepType};

/// How many calls before a record are compared with it.
const CALLS_MAX: usize = 32;

/// Each record of a stream with its call: of the same model and input, nearest to where the stream began.
pub(super) fn records(steps: &[ShownStep]) -> Vec<(usize, usize)> {
    let mut calls: HashMap<(Option<&str>, &str), Vec<usize>> = HashMap::new();
    let mut taken = vec![false; steps.len()];
    let mut found = Vec::new();
    for (index, shown) in steps.iter().enumerate() {
        let step = &shown.step;
        let Some(model) = step.facts.request_model.as_deref().or(step.model.as_deref()) else { continue };
        if step.kind != StepType::ModelCall {
            continue;
        }
        let key = (step.facts.instance.as_deref(), model);
        let Some(took_ms) = step.facts.stream_took_ms else {
            calls.entry(key).or_default().push(index);
            continue;
        };
        let began = step.start_ns.unwrap_or(0).saturating_sub((took_ms * 1e6) as u64);
        let candidates = calls.get(&key).map(Vec::as_slice).unwrap_or_default();
        let near = candidates.iter().rev().take(CALLS_MAX).copied();
        let call = near
            .filter(|call| !taken[*call] && may_be_input_of(&steps[*call].step, step))
            .min_by_key(|call| steps[*call].step.end_ns.unwrap_or(0).abs_diff(began));
        if let Some(call) = call {
            taken[call] = true;
            found.push((index, call));
        }
    }
    found
}

fn may_be_input_of(call: &Step, record: &Step) -> bool {
    match (&call.input, &record.input) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// What the record knows goes to the call. Its usage is weighed where all usage is.
pub(super) fn complete(steps: &mut [ShownStep], copies: &Copies) {
    for (&call, others) in &copies.copies {
        for &record in others {
            if steps[record].step.facts.stream_took_ms.is_none() {
                continue;
            }
            let Ok([call, record]) = steps.get_disjoint_mut([call, record]) else { continue };
            let (step, known) = (&mut call.step, &record.step);
            let fill = |field: &mut Option<String>, value: &Option<String>| {
                if !field.as_deref().is_some_and(messages::is_usable) {
                    *field = value.as_ref().filter(|value| messages::is_usable(value)).cloned();
                }
            };
            fill(&mut step.input, &known.input);
            fill(&mut step.output, &known.output);
            if step.facts.finish_reason.is_none() {
                step.facts.finish_reason.clone_from(&known.facts.finish_reason);
            }
            step.facts.streaming = Some(true);
            if known.end_ns > step.end_ns {
                step.end_ns = known.end_ns;
                let took_ns = step.end_ns.zip(step.start_ns).map(|(end, start)| end.saturating_sub(start));
                step.latency_ms = took_ns.map(|ns| ns as f64 / 1e6);
            }
        }
    }
}
