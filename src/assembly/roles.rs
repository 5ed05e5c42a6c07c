//! Which steps speak for the run: its tops, the one primary step if there is one, and the frame around them.

use crate::assembly::forest::Forest;
use crate::model::run::ShownStep;
use crate::model::step::{Step, StepType};

pub(super) struct Roles {
    /// Is this step about GenAI (and no mere creation of an agent)?
    pub genai: Vec<bool>,
    /// GenAI steps without a GenAI ancestor, in order.
    pub tops: Vec<usize>,
    /// The step whose name, texts, times and status are the run's.
    pub primary: Option<usize>,
    /// Steps around the tops: a web server, a consumer, a user's function.
    pub frame: Vec<bool>,
}

/// A GenAI step, without those that only create an agent or a store. A workflow counts when a GenAI dialect typed it.
pub(super) fn is_genai(step: &Step) -> bool {
    (step.kind.is_genai() || (step.kind == StepType::Workflow && step.facts.genai)) && !step.facts.setup
}

impl Roles {
    /// `is_copy` marks steps that show a call a second time: they are no tops.
    pub fn new(steps: &[ShownStep], forest: &Forest, is_copy: impl Fn(usize) -> bool) -> Roles {
        let genai: Vec<bool> = steps.iter().map(|shown| is_genai(&shown.step)).collect();
        let mut below_genai = vec![false; steps.len()];
        let mut tops = Vec::new();
        for &index in &forest.top_down {
            below_genai[index] = forest.parent[index].is_some_and(|parent| below_genai[parent] || genai[parent]);
            if genai[index] && !below_genai[index] && !is_copy(index) {
                tops.push(index);
            }
        }
        tops.sort_unstable();
        let primary = boundary(steps, forest).or(match tops.as_slice() {
            [only] => Some(*only),
            _ => None,
        });
        Roles { frame: frame(steps.len(), forest, &tops), genai, tops, primary }
    }

    pub fn is_worthy(&self) -> bool {
        !self.tops.is_empty()
    }

    /// The primary step, else the tops.
    pub fn speakers(&self) -> Vec<usize> {
        self.primary.map_or_else(|| self.tops.clone(), |primary| vec![primary])
    }
}

/// The step that the sender marked as the run's boundary, when exactly one mark is outermost.
fn boundary(steps: &[ShownStep], forest: &Forest) -> Option<usize> {
    let mut marked_above = vec![false; steps.len()];
    let mut found = None;
    for &index in &forest.top_down {
        let above = forest.parent[index].is_some_and(|parent| marked_above[parent]);
        let marked = steps[index].step.facts.run_root;
        marked_above[index] = above || marked;
        if marked && !above && found.replace(index).is_some() {
            return None;
        }
    }
    found
}

fn frame(len: usize, forest: &Forest, tops: &[usize]) -> Vec<bool> {
    let mut frame = vec![false; len];
    for &top in tops {
        let mut above = forest.parent[top];
        // Stops where an earlier top has already been.
        while let Some(index) = above.filter(|index| !frame[*index]) {
            frame[index] = true;
            above = forest.parent[index];
        }
    }
    frame
}
