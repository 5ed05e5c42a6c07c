//! Log records as JSON objects: rows of the table `logs`, and the list `logs` of the span they belong to.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::mapping::detail::REPAIRS;
use crate::mapping::detail::read::{Fields, attributes_of, bytes_of, decimal, list, pair};
use crate::mapping::detail::write::{Attributes, Text, Write};
use crate::model::id::hex;
use crate::model::log::{LogRecord, SpanLog};
use crate::model::value::AnyValue;

/// The JSON text of a record.
pub(crate) fn to_text(record: &LogRecord) -> String {
    serde_json::to_string(&Record { scope_name: "", record }).unwrap_or_else(|_| "{}".to_owned())
}

/// Reads a stored record back. What is not such a text reads as an empty record.
pub(crate) fn from_text(text: &str) -> LogRecord {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => read(fields).record,
        _ => LogRecord::default(),
    }
}

/// A record as it stands in the list of its span.
pub(super) struct LogJson;

impl Write<SpanLog> for LogJson {
    fn write<S: Serializer>(&self, log: &SpanLog, out: S) -> Result<S::Ok, S::Error> {
        Record { scope_name: &log.scope_name, record: &log.record }.serialize(out)
    }
}

struct Record<'a> {
    scope_name: &'a str,
    record: &'a LogRecord,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let record = self.record;
        let mut map = out.serialize_map(None)?;
        for (key, text) in
            [("scope", self.scope_name), ("event_name", &record.event_name), ("severity_text", &record.severity_text)]
        {
            if !text.is_empty() {
                map.serialize_entry(key, &Text(text))?;
            }
        }
        for (key, ns) in [("time_unix_nano", record.time_ns), ("observed_time_unix_nano", record.observed_ns)] {
            if ns != 0 {
                map.serialize_entry(key, &ns.to_string())?;
            }
        }
        if record.severity_number != 0 {
            map.serialize_entry("severity_number", &record.severity_number)?;
        }
        if record.body != AnyValue::Null {
            map.serialize_entry("body", &record.body)?;
        }
        if !record.attributes.is_empty() {
            map.serialize_entry("attributes", &Attributes::all(&record.attributes))?;
        }
        if !record.duplicate_attributes.is_empty() {
            let pairs: Vec<_> = record.duplicate_attributes.iter().map(|(key, value)| (Text(key), value)).collect();
            map.serialize_entry("duplicate_attributes", &pairs)?;
        }
        for (key, number) in [("dropped_attributes_count", record.dropped_attributes_count), ("flags", record.flags)] {
            if number != 0 {
                map.serialize_entry(key, &number)?;
            }
        }
        if let Some(id) = record.trace_id {
            map.serialize_entry("trace_id", &hex(&id))?;
        }
        if let Some(id) = record.span_id {
            map.serialize_entry("span_id", &hex(&id))?;
        }
        if !record.unknown_fields.is_empty() {
            map.serialize_entry("unknown_fields", &BASE64_STANDARD.encode(&record.unknown_fields))?;
        }
        if !record.repairs.is_empty() {
            map.serialize_entry("repairs", &record.repairs)?;
        }
        map.end()
    }
}

pub(super) fn read(mut fields: Map<String, Value>) -> SpanLog {
    let scope_name = fields.text("scope");
    let id = |text: Option<Value>| text.and_then(|text| text.as_str().map(str::to_owned));
    let severity = fields.get("severity_number").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    let repairs = list(fields.remove("repairs"));
    let unknown = fields.get("unknown_fields").and_then(Value::as_str);
    let record = LogRecord {
        time_ns: decimal(fields.get("time_unix_nano")).unwrap_or(0),
        observed_ns: decimal(fields.get("observed_time_unix_nano")).unwrap_or(0),
        severity_number: severity.unwrap_or(0),
        unknown_fields: unknown.and_then(|text| BASE64_STANDARD.decode(text).ok()).unwrap_or_default(),
        severity_text: fields.text("severity_text"),
        event_name: fields.text("event_name"),
        body: fields.remove("body").map(AnyValue::from_json).unwrap_or_default(),
        attributes: attributes_of(fields.remove("attributes")),
        duplicate_attributes: list(fields.remove("duplicate_attributes")).into_iter().filter_map(pair).collect(),
        dropped_attributes_count: fields.number("dropped_attributes_count"),
        flags: fields.number("flags"),
        trace_id: id(fields.remove("trace_id")).and_then(|text| bytes_of(&text)),
        span_id: id(fields.remove("span_id")).and_then(|text| bytes_of(&text)),
        repairs: REPAIRS.into_iter().filter(|word| repairs.iter().any(|it| it.as_str() == Some(word))).collect(),
    };
    SpanLog { scope_name, record }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was() {
        let pair = |key: &str, value: AnyValue| (key.to_owned(), value);
        let record = LogRecord {
            time_ns: u64::MAX,
            observed_ns: 7,
            severity_number: -3,
            severity_text: "W\0".into(),
            event_name: "gen_ai.choice".into(),
            body: AnyValue::Kvlist(vec![pair("$a", AnyValue::Bytes(vec![0])), pair("b", AnyValue::Null)]),
            attributes: vec![pair("k", AnyValue::Int(i64::MAX))],
            duplicate_attributes: vec![pair("k", AnyValue::Str("\0".into()))],
            dropped_attributes_count: 2,
            flags: 1,
            trace_id: Some([1; 16]),
            span_id: Some([2; 8]),
            unknown_fields: vec![1, 2],
            repairs: vec!["invalid_utf8", "span_id_length"],
        };
        let text = to_text(&record);
        assert!(!text.contains("\\u0000"), "{text}");
        assert_eq!(from_text(&text), record);
        assert_eq!(from_text(&to_text(&LogRecord::default())), LogRecord::default());
        assert_eq!(from_text("[]"), LogRecord::default());
    }
}
