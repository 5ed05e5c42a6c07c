//! Ids, parents and order of native steps: nesting and `parent_id` may be mixed as long as they agree.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::fault::{Faults, Place, cut};
use super::step::{Draft, STEPS_MAX, Steps};
use crate::model::step::Step;

/// An id is part of a primary key, whose entries Postgres bounds.
pub const STEP_ID_MAX_BYTES: usize = 256;
/// So much of an id is repeated in a message.
const ID_SHOWN_MAX_BYTES: usize = 64;
/// So many ids of a cycle are named.
const CYCLE_IDS_SHOWN_MAX: usize = 5;

/// How steps without an id get one.
pub(super) enum Naming {
    /// By position: `s0.2.1` is the second child of the third child of the first step.
    Submitted,
    /// By content and position, so that one append never takes the names of another.
    Appended { body_hash: u128, now: DateTime<Utc> },
}

impl Naming {
    fn name(&self, path: &[usize]) -> String {
        let prefix = match self {
            Naming::Submitted => "s".to_owned(),
            Naming::Appended { body_hash, .. } => format!("a{:015x}.", body_hash >> 68),
        };
        let numbers: Vec<String> = path.iter().map(usize::to_string).collect();
        prefix + &numbers.join(".")
    }

    /// Position of the first step.
    fn first_position(&self) -> i32 {
        match self {
            Naming::Submitted => 0,
            Naming::Appended { now, .. } => {
                /// 2025-01-01T00:00:00Z: seconds since then fit a position until 2093.
                const EPOCH_SECONDS: i64 = 1_735_689_600;
                let seconds = now.timestamp().saturating_sub(EPOCH_SECONDS).max(0);
                let room = i32::MAX - STEPS_MAX as i32;
                i32::try_from(seconds + STEPS_MAX as i64).unwrap_or(room).min(room)
            }
        }
    }
}

/// Settles ids and parents, and gives the steps in depth-first order with their positions and hashes.
pub(super) fn arrange(steps: Steps, naming: &Naming, faults: &mut Faults) -> Vec<Step> {
    let Steps { mut drafts, place, .. } = steps;
    let index_of = settle_ids(&mut drafts, place, naming, faults);
    let parents = settle_parents(&mut drafts, &index_of, place, naming, faults);
    find_cycles(&drafts, &parents, place, faults);
    let order = depth_first(&parents);
    let mut steps: Vec<Option<Step>> = drafts.into_iter().map(|draft| Some(draft.step)).collect();
    let in_order = order.into_iter().filter_map(|index| steps[index].take());
    in_order
        .zip(naming.first_position()..)
        .map(|(mut step, position)| {
            step.position = position;
            step.content_hash = content_hash(&step, matches!(naming, Naming::Submitted));
            step
        })
        .collect()
}

/// Gives every step its id; the index of each id's first holder.
fn settle_ids(drafts: &mut [Draft], top: Place<'_>, naming: &Naming, faults: &mut Faults) -> HashMap<String, usize> {
    let mut index_of = HashMap::with_capacity(drafts.len());
    for (index, draft) in drafts.iter_mut().enumerate() {
        let Some(id) = &draft.id else { continue };
        let place = top.step(&draft.path).field("id");
        if let Err(accepted) = check_id(id) {
            faults.add("value_error", place, &accepted, &Value::from(id.as_str()));
        }
        if let Some(first) = index_of.get(id) {
            let accepted = format!("{} is the id of an earlier step too (step {first})", shown(id));
            faults.add("value_error", place, &accepted, &Value::from(id.as_str()));
            continue;
        }
        index_of.insert(id.clone(), index);
        draft.step.id.clone_from(id);
    }
    for (index, draft) in drafts.iter_mut().enumerate().filter(|(_, draft)| draft.id.is_none()) {
        let mut id = naming.name(&draft.path);
        // A sender may use such names itself; only explicit ids can be in the way, paths differ among themselves.
        while index_of.contains_key(&id) {
            id.push('_');
        }
        index_of.insert(id.clone(), index);
        draft.step.id = id;
    }
    index_of
}

fn check_id(id: &str) -> Result<(), String> {
    if id.len() > STEP_ID_MAX_BYTES {
        return Err(format!("an id has at most {STEP_ID_MAX_BYTES} bytes, this one has {}", id.len()));
    }
    if id.contains('\0') {
        return Err("an id holds no U+0000".to_owned());
    }
    Ok(())
}

/// The parent of each step inside this body. A nested step belongs to the step around it.
fn settle_parents(
    drafts: &mut [Draft],
    index_of: &HashMap<String, usize>,
    top: Place<'_>,
    naming: &Naming,
    faults: &mut Faults,
) -> Vec<Option<usize>> {
    let ids: Vec<String> = drafts.iter().map(|draft| draft.step.id.clone()).collect();
    let mut parents = Vec::with_capacity(drafts.len());
    for draft in drafts.iter_mut() {
        let said = draft.parent_id.as_deref();
        let place = top.step(&draft.path).field("parent_id");
        let mut fault = |accepted: String| faults.add("value_error", place, &accepted, &json!(said));
        let parent = match (draft.container, said) {
            (Some(container), Some(said)) if ids[container] != said => {
                fault(format!(
                    "{} contradicts the nesting: this step stands among the children of {}",
                    shown(said),
                    shown(&ids[container])
                ));
                Some(container)
            }
            (Some(container), _) => Some(container),
            (None, None) => None,
            (None, Some(said)) => {
                let parent = index_of.get(said).copied();
                match (parent, naming) {
                    (Some(_), _) => {}
                    (None, Naming::Submitted) => fault(format!("{} is the id of no step of this run", shown(said))),
                    (None, Naming::Appended { .. }) => {
                        if let Err(accepted) = check_id(said) {
                            fault(accepted);
                        }
                    }
                }
                parent
            }
        };
        draft.step.parent_id = parent.map(|index| ids[index].clone()).or_else(|| draft.parent_id.clone());
        parents.push(parent);
    }
    parents
}

/// One fault for each cycle, at one step of it, naming the ids.
fn find_cycles(drafts: &[Draft], parents: &[Option<usize>], top: Place<'_>, faults: &mut Faults) {
    const NEW: usize = usize::MAX;
    let mut seen_from = vec![NEW; parents.len()];
    for start in 0..parents.len() {
        let mut next = Some(start);
        while let Some(index) = next
            && seen_from[index] == NEW
        {
            seen_from[index] = start;
            next = parents[index];
        }
        // The walk ran into itself: `index` is on a cycle.
        let Some(index) = next.filter(|index| seen_from[*index] == start) else { continue };
        let mut ids = vec![shown(&drafts[index].step.id)];
        let mut above = parents[index];
        let mut length = 1;
        while let Some(other) = above.filter(|other| *other != index) {
            if ids.len() < CYCLE_IDS_SHOWN_MAX {
                ids.push(shown(&drafts[other].step.id));
            }
            length += 1;
            above = parents[other];
        }
        let place = top.step(&drafts[index].path).field("parent_id");
        let more = if length > ids.len() { " → …" } else { "" };
        let accepted = format!("a cycle of {length} steps: {}{more} → {}", ids.join(" → "), ids[0]);
        faults.add("value_error", place, &accepted, &json!(drafts[index].step.parent_id));
    }
}

/// Depth first, siblings in the order of the document. Steps on a cycle, which are refused, are left out.
fn depth_first(parents: &[Option<usize>]) -> Vec<usize> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut stack = Vec::new();
    // From the last to the first, because the stack gives back the last one first.
    for (index, parent) in parents.iter().enumerate().rev() {
        match parent {
            Some(parent) => children[*parent].push(index),
            None => stack.push(index),
        }
    }
    let mut order = Vec::with_capacity(parents.len());
    while let Some(index) = stack.pop() {
        order.push(index);
        stack.append(&mut children[index]);
    }
    order
}

/// Hash of what was sent for this step. Appended steps have their position from the clock, so it does not count there.
fn content_hash(step: &Step, with_position: bool) -> Uuid {
    let said = json!([
        [step.id, step.parent_id, step.kind.as_str(), step.name, step.status, step.error],
        [step.start_ns, step.end_ns, step.latency_ms, step.cost, step.usage],
        [step.model, step.input, step.output, step.detail],
        with_position.then_some(step.position),
    ]);
    Uuid::from_u128(xxh3_128(said.to_string().as_bytes()))
}

fn shown(id: &str) -> String {
    format!("{:?}", cut(id, ID_SHOWN_MAX_BYTES))
}
