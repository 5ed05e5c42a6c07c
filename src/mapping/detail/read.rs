//! Reading: a stored step back to the span it came from. Text from elsewhere reads as far as it makes sense.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::mapping::detail::write::Version;
use crate::mapping::detail::{KINDS, REPAIRS, STATUS_CODES, log};
use crate::model::id::hex;
use crate::model::span::{Attributes, Event, Link, Span, Status};
use crate::model::step::{Source, Step};
use crate::model::value::AnyValue;

/// A step's span as it was sent, and the versions that stood behind it.
pub(crate) struct Stored {
    /// Without what the versions added.
    pub span: Span,
    pub versions: Vec<Version>,
}

/// `None` for a native step and for ids that are no span's.
pub(crate) fn stored(step: &Step) -> Option<Stored> {
    if step.source != Source::Otlp {
        return None;
    }
    let span_id = bytes_of(&step.id)?;
    let Ok(Value::Object(mut detail)) = serde_json::from_str(&step.detail) else { return None };
    let mut attributes = attributes_of(detail.remove("attributes"));
    for (key, text) in in_columns(detail.get("in_columns"), step) {
        insert(&mut attributes, key, AnyValue::Str(text.to_owned()));
    }
    let mut otel = detail.remove("otel").and_then(object).unwrap_or_default();
    let added: Vec<String> = list(otel.remove("added")).into_iter().filter_map(text_of).collect();
    attributes.retain(|(key, _)| !added.contains(key));

    let trace_id = *step.run.run_id.as_bytes();
    let versions = list(otel.remove("versions"));
    let versions = versions.into_iter().filter_map(|it| version(trace_id, span_id, object(it)?)).collect();
    let base = Span {
        trace_id,
        span_id,
        parent_span_id: step.parent_id.as_deref().and_then(bytes_of),
        name: step.name.clone(),
        start_ns: step.start_ns.unwrap_or(0),
        end_ns: step.end_ns.unwrap_or(0),
        attributes,
        ..Span::default()
    };
    Some(Stored { span: with_otel(base, detail, otel), versions })
}

/// The attributes that stand in columns, by key.
pub(crate) fn in_columns<'a>(in_columns: Option<&'a Value>, step: &'a Step) -> Vec<(&'a str, &'a str)> {
    let key_of = |column: &str| in_columns?.get(column)?.as_str();
    let columns = [("input", step.input.as_deref()), ("output", step.output.as_deref())];
    columns.into_iter().filter_map(|(column, text)| Some((key_of(column)?, text?))).collect()
}

pub(crate) fn insert(attributes: &mut Attributes, key: &str, value: AnyValue) {
    if let Err(place) = attributes.binary_search_by(|(known, _)| known.as_str().cmp(key)) {
        attributes.insert(place, (key.to_owned(), value));
    }
}

fn with_otel(mut span: Span, mut detail: Map<String, Value>, mut otel: Map<String, Value>) -> Span {
    span.events = list(detail.remove("events")).into_iter().filter_map(|it| Some(event(object(it)?))).collect();
    span.links = list(detail.remove("links")).into_iter().filter_map(|it| link(object(it)?)).collect();
    span.logs = list(detail.remove("logs")).into_iter().filter_map(|it| Some(log::read(object(it)?))).collect();
    if let Some(name) = otel.remove("name").and_then(text_of) {
        span.name = name;
    }
    span.kind = word(otel.remove("kind"), &KINDS);
    span.trace_state = otel.text("trace_state");
    span.flags = otel.number("flags");
    if let Some(mut status) = otel.remove("status").and_then(object) {
        span.status = Status { code: word(status.remove("code"), &STATUS_CODES), message: status.text("message") };
    }
    for (key, ns) in [("start_ns", &mut span.start_ns), ("end_ns", &mut span.end_ns)] {
        *ns = decimal(otel.get(key)).unwrap_or(*ns);
    }
    if let Some(mut dropped) = otel.remove("dropped").and_then(object) {
        span.dropped_attributes_count = dropped.number("attributes");
        span.dropped_events_count = dropped.number("events");
        span.dropped_links_count = dropped.number("links");
    }
    span.duplicate_attributes = list(otel.remove("duplicate_attributes")).into_iter().filter_map(pair).collect();
    let unknown = otel.get("unknown_fields").and_then(Value::as_str);
    span.unknown_fields = unknown.and_then(|text| BASE64_STANDARD.decode(text).ok()).unwrap_or_default();
    let repairs = list(otel.remove("repairs"));
    span.repairs = REPAIRS.into_iter().filter(|word| repairs.iter().any(|it| it.as_str() == Some(word))).collect();
    span
}

fn version(trace_id: [u8; 16], span_id: [u8; 8], mut fields: Map<String, Value>) -> Option<Version> {
    let mut detail = fields.remove("detail").and_then(object)?;
    let otel = detail.remove("otel").and_then(object).unwrap_or_default();
    let base = Span {
        trace_id,
        span_id,
        parent_span_id: fields.get("parent_id").and_then(Value::as_str).and_then(bytes_of),
        start_ns: decimal(fields.get("start_ns")).unwrap_or(0),
        end_ns: decimal(fields.get("end_ns")).unwrap_or(0),
        name: fields.text("name"),
        attributes: attributes_of(detail.remove("attributes")),
        ..Span::default()
    };
    let origin = fields.get("origin").and_then(Value::as_str).and_then(|text| text.parse().ok());
    Some(Version { span: with_otel(base, detail, otel), origin })
}

fn event(mut fields: Map<String, Value>) -> Event {
    Event {
        name: fields.text("name"),
        time_ns: decimal(fields.get("time_unix_nano")).unwrap_or(0),
        attributes: attributes_of(fields.remove("attributes")),
        dropped_attributes_count: fields.number("dropped_attributes_count"),
    }
}

fn link(mut fields: Map<String, Value>) -> Option<Link> {
    Some(Link {
        trace_id: bytes_of(fields.get("trace_id")?.as_str()?)?,
        span_id: bytes_of(fields.get("span_id")?.as_str()?)?,
        trace_state: fields.text("trace_state"),
        flags: fields.number("flags"),
        attributes: attributes_of(fields.remove("attributes")),
        dropped_attributes_count: fields.number("dropped_attributes_count"),
    })
}

/// Attributes in the order of their keys.
pub(crate) fn attributes_of(stored: Option<Value>) -> Attributes {
    match stored.map(AnyValue::from_json) {
        Some(AnyValue::Kvlist(mut pairs)) => {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            pairs
        }
        _ => Vec::new(),
    }
}

pub(super) fn pair(pair: Value) -> Option<(String, AnyValue)> {
    let mut items = list(Some(pair)).into_iter();
    Some((text_of(items.next()?)?, AnyValue::from_json(items.next()?)))
}

/// Fields of a stored object, taken out one by one.
pub(crate) trait Fields {
    fn text(&mut self, key: &str) -> String;
    fn number(&mut self, key: &str) -> u32;
}

impl Fields for Map<String, Value> {
    fn text(&mut self, key: &str) -> String {
        self.remove(key).and_then(text_of).unwrap_or_default()
    }

    fn number(&mut self, key: &str) -> u32 {
        self.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }
}

fn text_of(value: Value) -> Option<String> {
    match AnyValue::from_json(value) {
        AnyValue::Str(text) => Some(text),
        _ => None,
    }
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

pub(super) fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

pub(super) fn decimal(value: Option<&Value>) -> Option<u64> {
    value?.as_str()?.parse().ok()
}

fn word(value: Option<Value>, words: &[&str]) -> i32 {
    match value {
        Some(Value::String(text)) => words.iter().position(|word| *word == text).map_or(0, |index| index as i32),
        Some(number) => number.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        None => 0,
    }
}

/// Exactly `N` bytes from their lower-case hexadecimal text.
pub(crate) fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    (hex(&bytes) == text).then_some(bytes)
}
