//! Whole runs out of spans: what mapping and assembly make of them together.

use crate::assembly::tests::builder::run_of;
use crate::mapping::map_traces;
use crate::model::id::ProjectId;
use crate::model::run::Assembled;
use crate::model::span::{Event, Origin, Span, Status};
use crate::model::value::AnyValue;
use crate::otlp::SpanGroup;

const EPOCH_NS: u64 = 1_750_000_000_000_000_000;

/// A span from `start` to `end`, both in milliseconds. Ids are small numbers; parent 0 is none.
pub fn span(id: u8, parent: u8, name: &str, (start_ms, end_ms): (u64, u64), pairs: &[(&str, &str)]) -> Span {
    let ns = |ms: u64| EPOCH_NS + ms * 1_000_000;
    Span {
        trace_id: [7; 16],
        span_id: [id; 8],
        parent_span_id: (parent != 0).then_some([parent; 8]),
        name: name.to_owned(),
        kind: 1,
        start_ns: ns(start_ms),
        end_ns: ns(end_ms),
        attributes: attributes(pairs),
        ..Span::default()
    }
}

/// Text that looks like a whole number is one; anything else is a string.
pub fn attributes(pairs: &[(&str, &str)]) -> Vec<(String, AnyValue)> {
    let value = |text: &str| text.parse().map_or_else(|_| AnyValue::Str(text.to_owned()), AnyValue::Int);
    let mut attributes: Vec<_> = pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    attributes.sort_by(|a, b| a.0.cmp(&b.0));
    attributes
}

pub fn failed(mut span: Span, message: &str) -> Span {
    span.status = Status { code: 2, message: message.to_owned() };
    span
}

pub fn raised(mut span: Span, kind: &str, message: &str) -> Span {
    let attributes = attributes(&[("exception.type", kind), ("exception.message", message)]);
    span.events.push(Event { name: "exception".to_owned(), attributes, ..Event::default() });
    span
}

/// The name of the step that a span becomes.
pub fn step_id(id: u8) -> String {
    format!("{id:02x}").repeat(8)
}

pub fn run(scope: &str, spans: Vec<Span>) -> Assembled {
    let origin = Origin { scope_name: scope.to_owned(), ..Origin::default() };
    let (steps, _) = map_traces(
        ProjectId(1),
        vec![SpanGroup { position: 0, origin, items: spans }],
        super::builder::epoch(),
        &crate::prices::Prices::none(),
    );
    run_of(steps)
}
