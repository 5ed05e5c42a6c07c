//! What a run was asked and what it answered, as plain text.

use crate::assembly::copies::Copies;
use crate::assembly::forest::Forest;
use crate::assembly::roles::Roles;
use crate::messages::{self, OutputText};
use crate::model::run::ShownStep;
use crate::model::step::{Facts, Step, StepType, Wrapped};

pub(super) struct Texts<'a> {
    pub steps: &'a [ShownStep],
    pub forest: &'a Forest,
    pub roles: &'a Roles,
    pub copies: &'a Copies,
}

impl Texts<'_> {
    /// The first text on the way down from the step that speaks; else that of the first model call that has one; else
    /// the first input as it stands, however opaque.
    pub fn input(&self) -> Option<String> {
        if let Some(told) = self.told(|facts| facts.run_input.as_deref()) {
            return Some(messages::input_text(told).unwrap_or_else(|| told.to_owned()));
        }
        let from = self.roles.primary.or_else(|| self.first_top())?;
        let way = self.way_down(from);
        let text = |index: usize| messages::input_text(self.step(index).input.as_deref()?);
        let calls = || self.model_calls();
        let raw = |index: usize| self.step(index).input.clone().filter(|input| messages::is_usable(input));
        way.iter()
            .find_map(|index| text(*index))
            .or_else(|| calls().find_map(text))
            .or_else(|| way.iter().copied().chain(calls()).find_map(raw))
    }

    /// The first text on the way down from the step that speaks last; else what the last agent turn or model call said.
    /// A failed run has no answer but its own.
    pub fn output(&self, failed: bool) -> Option<String> {
        if let Some(told) = self.told(|facts| facts.run_output.as_deref()) {
            return Some(messages::output_text(told).unwrap_or_else(|| told.to_owned()));
        }
        let last_top = || self.roles.tops.iter().copied().max_by_key(|top| self.ended(*top));
        let from = self.roles.primary.or_else(last_top)?;
        let way = self.way_down(from);
        // What a model said on the way to a failure is no answer of the run.
        let speaks = |index: usize| !failed || index == from || self.step(index).kind != StepType::ModelCall;
        let own = way.iter().filter(|index| speaks(**index)).find_map(|index| match self.said(*index) {
            OutputText::Text(text) => Some(text),
            _ => None,
        });
        if own.is_some() || failed {
            return own;
        }
        self.last_words().or_else(|| {
            way.iter().find_map(|index| match self.said(*index) {
                OutputText::ToolCalls(calls) => Some(calls),
                // A structured answer is an object of the user's own; a dump of an object is nobody's answer.
                _ => self.step(*index).output.clone().filter(|output| messages::is_structured(output)),
            })
        })
    }

    /// What the sender called the text of the whole run, the primary step first; of several steps the last one's word.
    fn told(&self, of: fn(&Facts) -> Option<&str>) -> Option<&str> {
        let primary = self.roles.primary.and_then(|index| of(&self.steps[index].step.facts));
        primary.or_else(|| self.steps.iter().rev().find_map(|shown| of(&shown.step.facts)))
    }

    /// The first top that is asked something; documents that are embedded before are no question.
    fn first_top(&self) -> Option<usize> {
        use StepType::{Agent, ModelCall, Workflow};
        let asked = |top: &&usize| {
            let step = self.step(**top);
            matches!(step.kind, Agent | Workflow | ModelCall) && step.facts.wraps != Some(Wrapped::Embedding)
        };
        self.roles.tops.iter().find(asked).or(self.roles.tops.first()).copied()
    }

    fn step(&self, index: usize) -> &Step {
        &self.steps[index].step
    }

    fn said(&self, index: usize) -> OutputText {
        self.step(index).output.as_deref().map_or(OutputText::Opaque, messages::output_view)
    }

    fn ended(&self, index: usize) -> (u64, usize) {
        (self.step(index).end_ns.unwrap_or(u64::MAX), index)
    }

    /// Copies count too: a call that failed outside may have been recorded inside.
    fn model_calls(&self) -> impl Iterator<Item = usize> {
        (0..self.steps.len()).filter(|index| self.step(*index).kind == StepType::ModelCall)
    }

    /// What was said last by an agent or a model, whatever was asked for after it; else by a workflow.
    fn last_words(&self) -> Option<String> {
        let last = |speaks: fn(&StepType) -> bool| {
            let mut turns: Vec<usize> = (0..self.steps.len())
                .filter(|index| speaks(&self.step(*index).kind) && self.step(*index).output.is_some())
                .collect();
            turns.sort_by_key(|index| std::cmp::Reverse(self.ended(*index)));
            turns.into_iter().find_map(|index| match self.said(index) {
                OutputText::Text(text) => Some(text),
                _ => None,
            })
        };
        last(|kind| matches!(kind, StepType::Agent | StepType::ModelCall))
            .or_else(|| last(|kind| *kind == StepType::Workflow))
    }

    /// `from`, and while an agent or workflow has exactly one GenAI step below it, that one: wrappers are looked through.
    fn way_down(&self, from: usize) -> Vec<usize> {
        let mut way = vec![from];
        let mut at = from;
        while matches!(self.step(at).kind, StepType::Agent | StepType::Workflow) {
            let Some(only) = self.only_genai_below(at) else { break };
            way.push(only);
            at = only;
        }
        way
    }

    fn only_genai_below(&self, index: usize) -> Option<usize> {
        let mut stack: Vec<usize> = self.forest.children[index].clone();
        let mut found = None;
        while let Some(child) = stack.pop() {
            if self.copies.is_copy(child) {
                continue;
            }
            if !self.roles.genai[child] {
                stack.extend(&self.forest.children[child]);
            } else if found.replace(child).is_some() {
                return None;
            }
        }
        found
    }
}
