//! What of a span has no column of its own, as JSON text: written at mapping, read by the query API.
use crate::model::step::Step;
use serde_json::{Map, Value};
/// The step's `metadata` as the API shows it: every attribute, event, link, resource and scope value, and the facts.
/// `origin_body` is the stored body of `step.origin`.
pub fn metadata(_step: &Step, _origin_body: Option<&str>) -> Map<String, Value> {
    unimplemented!()
}
