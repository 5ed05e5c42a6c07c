//! Spans in, steps out: worked examples by dialect, and the laws that hold for any span.

mod ag2;
mod any_prefix;
mod ai_sdk;
mod crewai;
mod cost;
mod dialects;
mod frameworks;
mod langfuse;
mod langsmith;
mod agentops;
mod braintrust;
mod haystack;
mod laminar;
mod langwatch;
mod laws;
mod logs;
mod litellm;
mod openinference_frameworks;
mod openlit;
mod openllmetry;
mod mlflow;
mod flue;
mod genkit;
mod livekit;
mod logfire;
mod mastra;
mod outcomes;
mod pending;
mod pydantic_ai;
mod sentry;
mod voltagent;

use chrono::{DateTime, Utc};

use crate::mapping::map_traces;
use crate::model::batch::OriginRow;
use crate::model::id::ProjectId;
use crate::model::span::{Event, Origin, Span, Status};
use crate::model::step::Step;
use crate::model::value::AnyValue;
use crate::otlp::SpanGroup;
use crate::prices::Prices;

pub(super) const START_NS: u64 = 1_750_000_000_000_000_000;

pub(super) fn received_at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default()
}

/// Text that looks like a whole number is one; anything else is a string.
pub(super) fn value(text: &str) -> AnyValue {
    text.parse().map_or_else(|_| AnyValue::Str(text.to_owned()), AnyValue::Int)
}

pub(super) fn attributes(pairs: &[(&str, &str)]) -> Vec<(String, AnyValue)> {
    let mut attributes: Vec<_> = pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    attributes.sort_by(|a, b| a.0.cmp(&b.0));
    attributes
}

pub(super) fn span(name: &str, pairs: &[(&str, &str)]) -> Span {
    Span {
        trace_id: [7; 16],
        span_id: [1; 8],
        name: name.to_owned(),
        kind: 1,
        start_ns: START_NS,
        end_ns: START_NS + 143_000_000,
        attributes: attributes(pairs),
        ..Span::default()
    }
}

pub(super) fn failed(mut span: Span, message: &str) -> Span {
    span.status = Status { code: 2, message: message.to_owned() };
    span
}

pub(super) fn event(name: &str, pairs: &[(&str, &str)]) -> Event {
    Event { time_ns: START_NS + 5_000_000, name: name.to_owned(), attributes: attributes(pairs), ..Event::default() }
}

pub(super) fn map_from(span: Span, origin: Origin) -> (Step, OriginRow) {
    let groups = vec![SpanGroup { position: 0, origin, items: vec![span] }];
    let (mut steps, mut origins) = map_traces(ProjectId(3), groups, received_at(), &Prices::none());
    (steps.remove(0), origins.remove(0))
}

pub(super) fn map(span: Span) -> Step {
    map_from(span, Origin::default()).0
}

pub(super) fn source(step: &Step, field: &str) -> Option<&'static str> {
    let span = crate::mapping::detail::span(step)?;
    crate::mapping::sources(&span, &Origin::default()).get(field).copied()
}

/// Whether a JSON text holds U+0000 in a key or string: databases refuse it.
pub(super) fn holds_nul(json: &str) -> bool {
    fn within(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => text.contains('\0'),
            serde_json::Value::Array(items) => items.iter().any(within),
            serde_json::Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || within(value)),
            _ => false,
        }
    }
    within(&serde_json::from_str(json).unwrap())
}
