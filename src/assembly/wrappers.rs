//! What a step is that an SDK opened around a call: an agent when tools ran in it, when the model was called again
//! after an answer, or when it is a tool of another agent; the call itself when no other step shows it; else a workflow.

use crate::assembly::forest::Forest;
use crate::model::run::ShownStep;
use crate::model::step::{Status, StepType, Wrapped};

/// What stands below a wrapper, and not below an agent or another wrapper inside it.
#[derive(Clone, Copy, Default)]
struct Below {
    genai: bool,
    tools: bool,
    /// Failed calls are attempts.
    answered_calls: usize,
    counted_calls: usize,
}

pub(super) fn settle(steps: &mut [ShownStep], forest: &Forest) {
    let is_wrapper = |shown: &ShownStep| match shown.step.facts.wraps {
        Some(Wrapped::Turns) => shown.step.kind == StepType::ModelCall,
        Some(_) => shown.step.kind == StepType::Workflow,
        None => false,
    };
    if !steps.iter().any(is_wrapper) {
        return;
    }
    let mut owner: Vec<Option<usize>> = vec![None; steps.len()];
    let mut is_tool = vec![false; steps.len()];
    let mut below = vec![Below::default(); steps.len()];
    for &index in &forest.top_down {
        owner[index] = forest.parent[index].and_then(|parent| {
            let owns = is_wrapper(&steps[parent]) || steps[parent].step.kind == StepType::Agent;
            if owns { Some(parent) } else { owner[parent] }
        });
        // Through plain steps, such as the function behind the tool.
        is_tool[index] = forest.parent[index].is_some_and(|parent| match steps[parent].step.kind {
            StepType::ToolCall => true,
            ref kind => !kind.is_genai() && !steps[parent].step.facts.genai && is_tool[parent],
        });
        let Some(owner) = owner[index] else { continue };
        let (step, seen) = (&steps[index].step, &mut below[owner]);
        seen.genai |= step.kind.is_genai() || step.facts.genai;
        seen.tools |= step.kind == StepType::ToolCall;
        seen.counted_calls += usize::from(step.kind == StepType::ModelCall && !step.usage.is_empty());
        seen.answered_calls += usize::from(step.kind == StepType::ModelCall && step.status == Status::Success);
    }
    for ((shown, below), is_tool) in steps.iter_mut().zip(below).zip(is_tool) {
        if !is_wrapper(shown) {
            continue;
        }
        let step = &mut shown.step;
        let has_ended = step.end_ns.is_some();
        match step.facts.wraps {
            Some(Wrapped::ModelCall) if below.tools || below.answered_calls > 1 => step.kind = StepType::Agent,
            Some(Wrapped::ModelCall) if is_tool && below.genai => step.kind = StepType::Agent,
            Some(Wrapped::ModelCall) if !below.genai && has_ended => step.kind = StepType::ModelCall,
            Some(Wrapped::Turns) if below.counted_calls > 1 => step.kind = StepType::Workflow,
            Some(Wrapped::Embedding) if !below.genai && has_ended => step.kind = StepType::Embedding,
            _ => {}
        }
    }
}
