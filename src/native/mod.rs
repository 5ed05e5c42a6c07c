//! `POST /runs`: the body of a native run, read, checked and normalised. All faults are found, not only the first.
//!
//! [`run`] reads the fields of a run, [`step`] those of each step at every depth, both through the [`scalar`] readers;
//! [`tree`] gives ids, parents and positions to the steps; [`fault`] is what the sender is told; [`batch`] takes the
//! body of `POST /runs/batch` apart. Everything is pure: the clock and the new run id are arguments.

mod fault;
mod scalar;
mod run;
mod step;
mod tree;
mod batch;

#[cfg(test)]
mod tests;

use crate::model::id::{ProjectId, RunKey};
use crate::model::run::Declared;
use crate::model::step::Step;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

pub use batch::{BATCH_RUNS_MAX, BatchForm, Unreadable, split_batch};
pub use fault::{FAULT_INPUT_MAX_BYTES, FAULTS_MAX, Fault, Faults};
pub use step::{STEP_DEPTH_MAX, STEPS_MAX};
pub use tree::STEP_ID_MAX_BYTES;

use fault::Place;
use step::Steps;

/// A run that may be stored.
#[derive(Clone, Debug)]
pub struct Submission {
    pub run_id: Uuid,
    pub declared: Declared,
    /// In depth-first order, which is also their `position`.
    pub steps: Vec<Step>,
}

/// Reads the body of `POST /runs`: one run object. `new_run_id` is used when the body has none.
///
/// `declared.hash` covers everything the sender said and nothing else: an equal body gives an equal hash at any time,
/// under any `new_run_id`. Errors: every fault of the body, at most [`FAULTS_MAX`] of them listed.
pub fn submission(
    project: ProjectId,
    body: &Value,
    new_run_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Submission, Vec<Fault>> {
    let mut faults = Faults::default();
    let Some(fields) = body.as_object() else {
        faults.add("model_attributes_type", Place::BODY, "expected a JSON object that describes one run", body);
        return Err(faults.into_list());
    };
    let (run_id, mut declared) = run::read(fields, body, &mut faults);
    let run_id = run_id.unwrap_or(new_run_id);
    let mut steps = Steps::new(RunKey { project, run_id }, now.date_naive(), Place::RUN_STEPS);
    if let Some(value) = fields.get("steps") {
        steps.read(value, &mut faults);
    }
    let steps = tree::arrange(steps, &tree::Naming::Submitted, &mut faults);
    faults.into_result()?;
    declared.hash = hash_of(&declared, &steps);
    Ok(Submission { run_id, declared, steps })
}

/// Reads the body of `POST /runs/{run_id}/steps`: the same forms as the field `steps`, or an object that holds only
/// that field. A parent may be a step that is stored already, so an unknown `parent_id` is no fault here.
///
/// Positions follow those of any submission and rise with `now`, one second a number: steps that come later stand
/// later. Steps without an id are named by the content of the whole body, so a resend gives the same ids; a sender
/// that appends equal bodies on purpose gives ids of its own.
pub fn appended_steps(
    project: ProjectId,
    run_id: Uuid,
    body: &Value,
    now: DateTime<Utc>,
) -> Result<Vec<Step>, Vec<Fault>> {
    let wrapped = body.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.get("steps"));
    let (value, place) = match wrapped {
        Some(inner) => (inner, Place::RUN_STEPS),
        None => (body, Place::BODY),
    };
    let mut faults = Faults::default();
    let mut steps = Steps::new(RunKey { project, run_id }, now.date_naive(), place);
    steps.read(value, &mut faults);
    let naming = tree::Naming::Appended { body_hash: xxh3_128(value.to_string().as_bytes()), now };
    let steps = tree::arrange(steps, &naming, &mut faults);
    faults.into_result()?;
    Ok(steps)
}

/// The hash over the declared run and its steps, without the hash field itself, the run id and the clock.
fn hash_of(declared: &Declared, steps: &[Step]) -> Uuid {
    let unhashed = Declared { hash: Uuid::nil(), ..declared.clone() };
    // Strings, numbers and maps with string keys: writing them as JSON cannot fail.
    let mut bytes = serde_json::to_vec(&unhashed).unwrap_or_default();
    for step in steps {
        bytes.extend_from_slice(step.content_hash.as_bytes());
    }
    Uuid::from_u128(xxh3_128(&bytes))
}
