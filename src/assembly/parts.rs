//! The runs of a trace that is not one run: one for each outermost GenAI step, with everything below it.
//!
//! A long trace may hold many independent invocations: a queue worker, a voice session, a batch job. A sub-agent is a
//! step of its caller and never a run. What stands around the invocations belongs to none of them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::assembly::copies::Copies;
use crate::assembly::forest::Forest;
use crate::assembly::roles::{Roles, is_genai};
use crate::assembly::{LifeCycle, Receipt, Rest, graphs, otlp, status, wrappers};
use crate::messages;
use crate::model::id::{RunKey, run_id_of_root, trace_id_of_run};
use crate::model::run::{Assembled, Run, ShownStep};
use crate::model::step::StepType;

/// What one run is: a whole trace, or each outermost GenAI step of it.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    /// Every trace holds a run for each of its outermost GenAI steps.
    pub genai_root: bool,
    /// Services whose traces do; a `*` at the end stands for anything.
    pub genai_root_services: Vec<String>,
}

impl Scopes {
    /// Is there any trace that is not one run?
    pub fn any(&self) -> bool {
        self.genai_root || !self.genai_root_services.is_empty()
    }

    /// Is the trace of this service not one run?
    pub fn splits(&self, service: Option<&str>) -> bool {
        let is_meant = |service: &str| {
            self.genai_root_services.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => service.starts_with(start),
                None => service == pattern,
            })
        };
        self.genai_root || service.is_some_and(is_meant)
    }
}

/// A trace taken apart.
#[derive(Clone, Debug)]
pub struct Parts {
    trace: RunKey,
    /// In the order of their keys.
    pub parts: Vec<Part>,
    /// The run of each step's id as if the step were the root of one, and the run that holds the step.
    holders: HashMap<Uuid, Option<Uuid>>,
}

/// The steps of one run of a trace.
#[derive(Clone, Debug)]
pub struct Part {
    pub key: RunKey,
    trace: RunKey,
    steps: Vec<ShownStep>,
}

/// The parts of the trace `trace` that consists of these steps, in any order.
pub fn parts(trace: RunKey, steps: Vec<impl Into<ShownStep>>) -> Parts {
    let mut shown: Vec<ShownStep> = steps.into_iter().map(Into::into).collect();
    otlp::sort(&mut shown);
    // All that changes in them until their parts are known.
    let kinds: Vec<StepType> = shown.iter().map(|shown| shown.step.kind.clone()).collect();
    let forest = Forest::new(shown.iter().map(|shown| &shown.step));
    wrappers::settle(&mut shown, &forest);
    graphs::name_agents(&mut shown, &forest);
    let copies = Copies::find(&shown, &forest);
    let roles = Roles::new(&shown, &forest, |index| copies.is_copy(index));
    let owner = owners(&shown, &forest, &roles);
    let run_ids: Vec<Uuid> = shown.iter().map(|shown| run_id_of_root(trace.run_id, &shown.step.id)).collect();
    let holders = run_ids.iter().zip(&owner).map(|(id, owner)| (*id, owner.map(|owner| run_ids[owner]))).collect();

    // What is above came, so nobody waits for it. Where the trace itself waits for its root, so does its part.
    let root = forest.root_of_each();
    let is_whole = |index: usize| {
        owner[index] == Some(index)
            && forest.parent[index].is_some()
            && !status::is_orphan(&shown, &forest, root[index])
    };
    let is_whole: Vec<bool> = (0..shown.len()).map(is_whole).collect();
    let mut by_owner: BTreeMap<Uuid, Vec<ShownStep>> = BTreeMap::new();
    for (index, (mut shown, kind)) in shown.into_iter().zip(kinds).enumerate() {
        let Some(owner) = owner[index] else { continue };
        let key = RunKey { project: trace.project, run_id: run_ids[owner] };
        shown.step.run = key;
        shown.step.kind = kind;
        if is_whole[index] {
            shown.step.parent_id = None;
        }
        by_owner.entry(key.run_id).or_default().push(shown);
    }
    let part = |(run_id, steps): (Uuid, Vec<ShownStep>)| Part { key: RunKey { run_id, ..trace }, trace, steps };
    Parts { trace, parts: by_owner.into_iter().map(part).collect(), holders }
}

impl Parts {
    /// The run that holds the steps of an earlier run of this trace: another part, or the trace itself.
    pub fn holder(&self, run_id: Uuid) -> Uuid {
        self.holders.get(&run_id).copied().flatten().unwrap_or(self.trace.run_id)
    }

    pub fn take(self, run_id: Uuid) -> Option<Part> {
        self.parts.into_iter().find(|part| part.key.run_id == run_id)
    }
}

impl Part {
    /// Tells one content from another: what is received for another part of the trace is no news of this one.
    pub fn contents(&self) -> Uuid {
        let mut bytes = Vec::new();
        for ShownStep { step, .. } in &self.steps {
            let told = [Some(&step.id), step.parent_id.as_ref(), step.input.as_ref(), step.output.as_ref()];
            for text in told.into_iter().chain([Some(&step.name), step.error.as_ref(), step.model.as_ref()]) {
                bytes.extend_from_slice(messages::fingerprint(text.map_or("", String::as_str)).as_bytes());
                bytes.push(0);
            }
            bytes.extend_from_slice(step.content_hash.as_bytes());
        }
        Uuid::new_v5(&self.trace.run_id, &bytes)
    }

    /// The run of this part. Nobody looks for copies of its calls in other traces.
    pub fn assembled(self, receipt: Receipt, life: &LifeCycle, now: DateTime<Utc>) -> Assembled {
        let contents = self.contents();
        let mut assembled = otlp::assemble(self.key, self.steps, &Rest::default(), receipt, life, now);
        let run = &mut assembled.run;
        run.bare = false;
        belong(run, self.trace.run_id);
        run.kinship.contents = Some(contents);
        assembled
    }
}

/// Siblings tell that they are by the id of their trace.
fn belong(run: &mut Run, trace: Uuid) {
    let trace_id = trace_id_of_run(trace);
    run.metadata.insert("trace_id".to_owned(), Value::from(trace_id.as_str()));
    run.trace_id = Some(trace_id);
    run.kinship.part_of = Some(trace);
}

/// For each step the root of the run that it belongs to: the nearest step above that a sender marked as one, else the
/// top. A mark without a GenAI step below starts no run.
fn owners(steps: &[ShownStep], forest: &Forest, roles: &Roles) -> Vec<Option<usize>> {
    let mut holds_genai: Vec<bool> = steps.iter().map(|shown| is_genai(&shown.step)).collect();
    for &index in forest.top_down.iter().rev() {
        if let Some(parent) = forest.parent[index] {
            holds_genai[parent] |= holds_genai[index];
        }
    }
    let mut is_top = vec![false; steps.len()];
    roles.tops.iter().for_each(|top| is_top[*top] = true);
    let mut owner: Vec<Option<usize>> = vec![None; steps.len()];
    for &index in &forest.top_down {
        let above = forest.parent[index].and_then(|above| owner[above]);
        let is_marked = steps[index].step.facts.run_root && holds_genai[index];
        owner[index] = if is_marked { Some(index) } else { above.or(is_top[index].then_some(index)) };
    }
    owner
}
