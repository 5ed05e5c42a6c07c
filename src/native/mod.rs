//! `POST /runs`: the body of a native run, read, checked and normalised. All faults are found, not only the first.
use crate::model::id::ProjectId;
use crate::model::run::Declared;
use crate::model::step::Step;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// A run that may be stored.
#[derive(Clone, Debug)]
pub struct Submission {
    pub run_id: Uuid,
    pub declared: Declared,
    pub steps: Vec<Step>,
}

/// One fault in FastAPI's shape: `{"type","loc":["body",…],"msg","input"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub kind: &'static str,
    pub loc: Vec<Value>,
    pub msg: String,
    pub input: Value,
}

/// `body` is one run object. `new_run_id` is used when the body has none.
pub fn submission(
    _project: ProjectId,
    _body: &Value,
    _new_run_id: Uuid,
    _now: DateTime<Utc>,
) -> Result<Submission, Vec<Fault>> {
    unimplemented!()
}
/// `body` is what `POST /runs/{run_id}/steps` takes: the same forms as the field `steps`.
pub fn appended_steps(
    _project: ProjectId,
    _run_id: Uuid,
    _body: &Value,
    _now: DateTime<Utc>,
) -> Result<Vec<Step>, Vec<Fault>> {
    unimplemented!()
}
