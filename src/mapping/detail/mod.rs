//! What of a span has no column of its own, as JSON text: written at mapping, read by the query API.
//!
//! `{"attributes": {…}, "events": […], "links": […], "logs": […], "otel": {…}, "in_columns": {"input": KEY, "output": KEY}}`,
//! empty parts left out. A string attribute that is the step's input or output word for word is stored once, in the
//! column, and `in_columns` names the attribute. Values that JSON in a database would change carry a tag (see [`crate::model::value::AnyValue`]); nothing is renamed, shortened or dropped.

use serde_json::{Map, Value};

use crate::model::id::run_id_of_trace;
use crate::model::span::{Origin, Span};
use crate::model::step::{Source, Step};
use crate::model::value::AnyValue;

pub(crate) mod log;
pub(crate) mod read;
pub(crate) mod write;

/// Words for the numbers of `SpanKind`.
pub(crate) const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
/// Words for the numbers of `Status.code`.
pub(crate) const STATUS_CODES: [&str; 3] = ["unset", "ok", "error"];

/// The repairs that decoding may note, so that they read back.
pub(crate) const REPAIRS: [&str; 10] = [
    "duplicate_key",
    "invalid_utf8",
    "link_dropped",
    "parent_id_length",
    "self_parent",
    "span_id_length",
    "string_index",
    "time_inverted",
    "too_deep",
    "trace_id_length",
];

/// The step's `metadata` as the API shows it: every attribute, event, link, resource and scope value, and the facts.
/// `origin_body` is the stored body of `step.origin`. A native step has the metadata that its sender gave it.
pub fn metadata(step: &Step, origin_body: Option<&str>) -> Map<String, Value> {
    let mut metadata = match serde_json::from_str(&step.detail) {
        Ok(Value::Object(detail)) => detail,
        _ => Map::new(),
    };
    if step.source == Source::Native {
        return metadata;
    }
    let in_columns = metadata.remove("in_columns");
    let columns = read::in_columns(in_columns.as_ref(), step);
    if !columns.is_empty() {
        put_back(&mut metadata, &columns);
    }
    link_runs(&mut metadata);
    let otel = metadata.entry("otel").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(otel) = otel {
        otel.entry("name").or_insert_with(|| Value::from(step.name.as_str()));
    }
    let producer = origin_body.map(origin).unwrap_or_default();
    let sources = span(step).map(|span| crate::mapping::sources(&span, &producer)).unwrap_or_default();
    metadata.insert("sources".to_owned(), sources.into_iter().map(|(field, key)| (field, Value::from(key))).collect());
    if let Some(Ok(Value::Object(origin))) = origin_body.map(serde_json::from_str::<Value>) {
        metadata.extend(origin);
    }
    if let Ok(Value::Object(mut facts)) = serde_json::to_value(&step.facts) {
        let more = facts.remove("more");
        metadata.extend(facts);
        if let Some(Value::Object(more)) = more {
            metadata.extend(more);
        }
    }
    metadata
}

/// Each link names the run that its trace became, should it be one.
fn link_runs(metadata: &mut Map<String, Value>) {
    for link in metadata.get_mut("links").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(link) = link else { continue };
        let trace_id: Option<[u8; 16]> = link.get("trace_id").and_then(Value::as_str).and_then(read::bytes_of);
        if let Some(trace_id) = trace_id {
            link.insert("run_id".to_owned(), Value::from(run_id_of_trace(trace_id).to_string()));
        }
    }
}

fn put_back(metadata: &mut Map<String, Value>, columns: &[(&str, &str)]) {
    let shown = metadata.entry("attributes").or_insert_with(|| Value::Object(Map::new()));
    match shown {
        Value::Object(attributes) if !attributes.contains_key("$kvlist") => {
            for (key, text) in columns {
                attributes.insert((*key).to_owned(), Value::from(*text));
            }
        }
        tagged => {
            let mut attributes = read::attributes_of(Some(tagged.take()));
            for (key, text) in columns {
                read::insert(&mut attributes, key, AnyValue::Str((*text).to_owned()));
            }
            *tagged = AnyValue::Kvlist(attributes).to_json();
        }
    }
}

/// The span that a step came from, exactly as it was decoded, apart from the order of keys in lists of key and value.
/// Of several versions the winning one. `None` for a native step.
pub fn span(step: &Step) -> Option<Span> {
    read::stored(step).map(|stored| stored.span)
}

/// The producer out of the stored body of `step.origin`.
pub fn origin(body: &str) -> Origin {
    crate::mapping::origin::read(body)
}
