//! Span to step: pure, by the rules of the dialects in order of trust.
pub mod detail;
use crate::model::batch::OriginRow;
use crate::model::id::ProjectId;
use crate::model::step::Step;
use crate::otlp::SpanGroup;
use chrono::{DateTime, Utc};

/// Version of the rules: raises when a release maps the same span differently.
pub const MAPPING_VERSION: i32 = 1;

/// Maps every span; never fails, never loses an attribute. `received_at` only stands in for an unusable start time
/// when the partition day is chosen.
pub fn map_traces(
    _project: ProjectId,
    _groups: Vec<SpanGroup>,
    _received_at: DateTime<Utc>,
) -> (Vec<Step>, Vec<OriginRow>) {
    unimplemented!()
}

/// One step out of two versions of it: commutative, associative, idempotent (mapping.md §1.6), so that neither order
/// nor number of copies matters.
pub fn merge(_one: Step, _other: Step, _origin_of: &dyn Fn(uuid::Uuid) -> Option<String>) -> Step {
    unimplemented!()
}
