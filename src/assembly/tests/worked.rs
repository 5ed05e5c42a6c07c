//! Whole runs from spans, for the worked examples: mapped, then assembled, as a request would be.

use chrono::{DateTime, Utc};

use super::builder::{LIFE, after_s, key, receipt};
use crate::assembly::assemble;
use crate::mapping::map_traces;
use crate::model::id::trace_id_of_run;
use crate::model::run::Assembled;
use crate::model::span::{Event, Origin, Span, Status};
use crate::model::value::AnyValue;
use crate::otlp::SpanGroup;

const START_NS: u64 = 1_750_000_000_000_000_000;

/// A span from `start` to `end` in milliseconds; ids are one byte, repeated. A text that is a whole number is one.
pub fn span(id: u8, parent: Option<u8>, name: &str, (start, end): (u64, u64), pairs: &[(&str, &str)]) -> Span {
    let trace = hex::<16>(&trace_id_of_run(key().run_id));
    Span {
        trace_id: trace,
        span_id: [id; 8],
        parent_span_id: parent.map(|id| [id; 8]),
        name: name.to_owned(),
        kind: 1,
        start_ns: START_NS + start * 1_000_000,
        end_ns: START_NS + end * 1_000_000,
        attributes: attributes(pairs),
        ..Span::default()
    }
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let byte = |at: usize| text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    std::array::from_fn(|at| byte(at).unwrap_or_default())
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<(String, AnyValue)> {
    let value = |text: &str| match text {
        "true" => AnyValue::Bool(true),
        text => text.parse().map_or_else(|_| AnyValue::Str(text.to_owned()), AnyValue::Int),
    };
    let mut attributes: Vec<_> = pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    attributes.sort_by(|a, b| a.0.cmp(&b.0));
    attributes
}

pub trait Sent {
    fn status(self, code: i32, message: &str) -> Self;
    fn event(self, name: &str, pairs: &[(&str, &str)]) -> Self;
    fn kind(self, kind: i32) -> Self;
}

impl Sent for Span {
    fn status(mut self, code: i32, message: &str) -> Span {
        self.status = Status { code, message: message.to_owned() };
        self
    }

    fn event(mut self, name: &str, pairs: &[(&str, &str)]) -> Span {
        let attributes = attributes(pairs);
        self.events.push(Event { time_ns: self.start_ns, name: name.to_owned(), attributes, ..Event::default() });
        self
    }

    fn kind(mut self, kind: i32) -> Span {
        self.kind = kind;
        self
    }
}

/// The id of the step of a span.
pub fn id(id: u8) -> String {
    format!("{id:02x}").repeat(8)
}

/// The run of spans of one scope, long after its end.
pub fn run_from(scope: &str, spans: Vec<Span>) -> Assembled {
    run_from_scopes(vec![(scope, spans)])
}

pub fn run_from_scopes(scopes: Vec<(&str, Vec<Span>)>) -> Assembled {
    let received: DateTime<Utc> = after_s(1);
    let groups = scopes.into_iter().map(|(scope, spans)| SpanGroup {
        position: 0,
        origin: Origin { scope_name: scope.to_owned(), ..Origin::default() },
        items: spans,
    });
    let (steps, _) = map_traces(key().project, groups.collect(), received, &crate::prices::Prices::none());
    assemble(key(), steps, None, receipt(), &LIFE, after_s(1_000))
}
