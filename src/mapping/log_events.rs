//! Log records as the events of their span: what GenAI instrumentations put into records, dialects read as if it stood
//! in the span itself.
//!
//! Source: GenAI semantic conventions 1.26 and later, where messages and the operation's details are log records with
//! an event name. Records of other names, such as the debug lines of a framework, are kept and never feed content.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::mapping::usable;
use crate::model::log::{LogRecord, LogRow, SpanLog};
use crate::model::span::{self, Attributes, Event, Span};
use crate::model::value::AnyValue;

/// Beginnings of the event names that are about GenAI.
const PREFIXES: [&str; 4] = ["gen_ai.", "claude_code.", "gemini_cli.", "codex."];

/// Contents, which are read from the events: nothing else is told by them.
const CONTENTS: [&str; 4] =
    ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions"];

/// Scopes whose events are named by a bare word in `event.name`, and the prefix that the word stands for.
const SCOPES: [(&str, &str); 1] = [("com.anthropic.claude_code", "claude_code.")];

/// The events of the span, then its GenAI records in the order in which they stand there.
pub(super) fn events(span: &Span) -> Cow<'_, [Event]> {
    if span.logs.is_empty() {
        return Cow::Borrowed(&span.events);
    }
    let records = span.logs.iter().filter_map(|log| event(log, &name(log)?));
    Cow::Owned(span.events.iter().cloned().chain(records).collect())
}

/// The attributes of the convention's own records, of each key the first: values that an instrumentation puts there and
/// not into the span. Records of other names describe other things than their span.
pub(super) fn attributes(span: &Span) -> Attributes {
    let mut all = Attributes::new();
    for log in span.logs.iter().filter(|log| name(log).is_some_and(|name| name.starts_with("gen_ai."))) {
        for (key, value) in log.record.attributes.iter().filter(|(key, _)| !CONTENTS.contains(&key.as_str())) {
            if let Err(place) = all.binary_search_by(|(known, _)| known.cmp(key))
                && usable::is_usable(value)
            {
                all.insert(place, (key.clone(), value.clone()));
            }
        }
    }
    all
}

pub(super) fn is_genai(log: &SpanLog) -> bool {
    name(log).is_some()
}

/// What orders the records of a span: their times, then the number that some senders give to messages of one moment, then
/// the order in which they came.
pub(super) fn place(record: &LogRecord, row: &LogRow) -> Place {
    let index = ["chat_message_index", "CHAT_MESSAGE_INDEX"].into_iter().find_map(|key| {
        match span::get(&record.attributes, key)? {
            AnyValue::Int(index) => Some(*index),
            _ => None,
        }
    });
    (record.moment_ns(), record.observed_ns, index.unwrap_or(0), row.received_at, row.position, row.id)
}

pub(super) type Place = (u64, u64, i64, DateTime<Utc>, i32, Uuid);

/// The name of a record that is about GenAI: its own field, the attribute that stood for it before there was one, or
/// its body.
pub(super) fn name(log: &SpanLog) -> Option<Cow<'_, str>> {
    let record = &log.record;
    let told = |key| span::get(&record.attributes, key).and_then(AnyValue::as_str);
    let attribute = told("event.name");
    let named = [Some(record.event_name.as_str()), attribute, told("event_name"), record.body.as_str()];
    let known = named.into_iter().flatten().find(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    if let Some(name) = known {
        return Some(Cow::Borrowed(name));
    }
    let (_, prefix) = SCOPES.iter().find(|(scope, _)| log.scope_name.starts_with(scope))?;
    attribute.map(|word| Cow::Owned(format!("{prefix}{word}")))
}

/// The body's fields, or those of the JSON object that it is as text, beside the attributes.
fn event(log: &SpanLog, name: &str) -> Option<Event> {
    let record = &log.record;
    let mut attributes = match &record.body {
        AnyValue::Kvlist(pairs) => pairs.clone(),
        AnyValue::Str(text) => body_of_text(text, name),
        _ => Vec::new(),
    };
    let body_len = attributes.len();
    for (key, value) in &record.attributes {
        if !attributes[..body_len].iter().any(|(known, _)| known == key) {
            attributes.push((key.clone(), value.clone()));
        }
    }
    attributes.sort_by(|a, b| a.0.cmp(&b.0));
    attributes.dedup_by(|later, first| later.0 == first.0);
    Some(Event {
        time_ns: record.moment_ns(),
        name: message_name(name, &attributes),
        attributes,
        dropped_attributes_count: record.dropped_attributes_count,
    })
}

/// LiteLLM writes a record for each message under the names that the convention had for whole prompts: they are read by
/// the names that it has for messages.
fn message_name(name: &str, attributes: &[(String, AnyValue)]) -> String {
    let has = |key: &str| span::get(attributes, key);
    match name {
        "gen_ai.content.prompt" => match has("role").and_then(AnyValue::as_str) {
            Some(role) => format!("gen_ai.{role}.message"),
            None => name.to_owned(),
        },
        "gen_ai.content.completion" if has("message").is_some() => "gen_ai.choice".to_owned(),
        _ => name.to_owned(),
    }
}

fn body_of_text(text: &str, name: &str) -> Vec<(String, AnyValue)> {
    if text.starts_with('{')
        && let Ok(json @ Value::Object(_)) = serde_json::from_str::<Value>(text)
        && let AnyValue::Kvlist(pairs) = plain(json)
    {
        return pairs;
    }
    let says_nothing = text == name || !usable::is_usable_text(text);
    if says_nothing { Vec::new() } else { vec![("content".to_owned(), AnyValue::Str(text.to_owned()))] }
}

/// JSON that a sender wrote, without the tags of the stored form.
fn plain(json: Value) -> AnyValue {
    match json {
        Value::Array(items) => AnyValue::Array(items.into_iter().map(plain).collect()),
        Value::Object(fields) => AnyValue::Kvlist(fields.into_iter().map(|(key, value)| (key, plain(value))).collect()),
        scalar => AnyValue::from_json(scalar),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> AnyValue {
        AnyValue::Str(text.to_owned())
    }

    fn log(scope: &str, event_name: &str, attribute: Option<&str>, body: AnyValue) -> SpanLog {
        let attributes = attribute.map(|name| ("event.name".to_owned(), text(name))).into_iter().collect();
        let record = LogRecord { event_name: event_name.to_owned(), attributes, body, ..LogRecord::default() };
        SpanLog { scope_name: scope.to_owned(), record }
    }

    #[test]
    fn a_record_is_named_by_field_attribute_body_or_scope() {
        let claude = "com.anthropic.claude_code.events";
        for (log, expected) in [
            (log("x", "gen_ai.choice", None, AnyValue::Null), Some("gen_ai.choice")),
            (log("x", "", Some("gen_ai.user.message"), text("{}")), Some("gen_ai.user.message")),
            (log(claude, "", Some("api_request"), text("claude_code.api_request")), Some("claude_code.api_request")),
            (log(claude, "", Some("api_request"), AnyValue::Null), Some("claude_code.api_request")),
            (log("x", "", Some("api_request"), text("calling get_weather")), None),
            (log("x", "", None, AnyValue::Null), None),
        ] {
            assert_eq!(name(&log).as_deref(), expected, "{log:?}");
        }
    }

    #[test]
    fn the_body_stands_beside_the_attributes() {
        let fields = |body: AnyValue| {
            let event = event(&log("x", "gen_ai.user.message", Some("n"), body), "gen_ai.user.message").unwrap();
            event.attributes.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(fields(AnyValue::Kvlist(vec![("role".into(), text("user"))])), ["event.name", "role"]);
        assert_eq!(fields(text(r#"{"$int": "5", "content": [1]}"#)), ["$int", "content", "event.name"]);
        assert_eq!(fields(text("Hello")), ["content", "event.name"]);
        assert_eq!(fields(text("")), ["event.name"]);
    }
}
