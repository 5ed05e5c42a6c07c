//! Writing: the parts of a span that have no column of their own, as JSON text. Empty parts are left out.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use uuid::Uuid;

use crate::mapping::detail::log::LogJson;
use crate::mapping::detail::{KINDS, STATUS_CODES};
use crate::model::id::hex;
use crate::model::span::{Event, Link, Span, Status};
use crate::model::value::{AnyValue, serialize_pairs};

/// A span that lost to a better version of itself, and who produced it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub span: Span,
    pub origin: Option<Uuid>,
}

/// What of a span a step does not say in its columns.
pub(crate) struct Detail<'a> {
    pub span: &'a Span,
    /// The step's name; the span's own is written when it differs.
    pub step_name: &'a str,
    /// Attributes whose whole value stands in the columns `input` and `output`.
    pub input_key: Option<&'a str>,
    pub output_key: Option<&'a str>,
    /// Keys that came from versions, not from this span.
    pub added: &'a [String],
    /// The other versions of the span, best first.
    pub versions: &'a [Version],
}

impl Detail<'_> {
    pub(crate) fn to_text(&self) -> String {
        // Writing to memory fails only for map keys that are no strings, and all of ours are.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl Serialize for Detail<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let span = self.span;
        let mut map = out.serialize_map(None)?;
        let attributes = Attributes { pairs: &span.attributes, without: [self.input_key, self.output_key] };
        if !attributes.is_empty() {
            map.serialize_entry("attributes", &attributes)?;
        }
        if !span.events.is_empty() {
            map.serialize_entry("events", &Each(&span.events, EventJson))?;
        }
        if !span.links.is_empty() {
            map.serialize_entry("links", &Each(&span.links, LinkJson))?;
        }
        if !span.logs.is_empty() {
            map.serialize_entry("logs", &Each(&span.logs, LogJson))?;
        }
        let otel = Otel(self);
        if !otel.is_empty() {
            map.serialize_entry("otel", &otel)?;
        }
        if self.input_key.is_some() || self.output_key.is_some() {
            map.serialize_entry("in_columns", &InColumns { input: self.input_key, output: self.output_key })?;
        }
        map.end()
    }
}

/// Columns that hold an attribute word for word, and its key.
#[derive(Serialize)]
struct InColumns<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
}

/// Attributes as an object, without those that stand in columns.
pub(crate) struct Attributes<'a> {
    pairs: &'a [(String, AnyValue)],
    without: [Option<&'a str>; 2],
}

impl<'a> Attributes<'a> {
    pub(crate) fn all(pairs: &'a [(String, AnyValue)]) -> Attributes<'a> {
        Attributes { pairs, without: [None, None] }
    }

    fn kept(&self) -> impl Iterator<Item = &'a (String, AnyValue)> {
        self.pairs.iter().filter(|(key, _)| !self.without.contains(&Some(key.as_str())))
    }

    fn is_empty(&self) -> bool {
        self.kept().next().is_none()
    }

    /// A JSON object can hold the keys: none is reserved, holds U+0000 or stands twice (the pairs are sorted).
    fn is_plain(&self) -> bool {
        let mut last = None;
        self.pairs.iter().all(|(key, _)| {
            let is_new = last.replace(key) != Some(key);
            is_new && !key.starts_with('$') && !key.contains('\0')
        })
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.is_plain() {
            return out.collect_map(self.kept().map(|(key, value)| (key, value)));
        }
        let kept: Vec<(String, AnyValue)> = self.kept().cloned().collect();
        serialize_pairs(&kept, out)
    }
}

/// A text of the span; one with U+0000 is tagged like an attribute's.
pub(crate) struct Text<'a>(pub &'a str);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.0.contains('\0') {
            return AnyValue::Str(self.0.to_owned()).serialize(out);
        }
        out.serialize_str(self.0)
    }
}

struct Otel<'a>(&'a Detail<'a>);

impl Otel<'_> {
    fn is_empty(&self) -> bool {
        let (detail, span) = (self.0, self.0.span);
        span.name == detail.step_name
            && span.kind == 0
            && span.trace_state.is_empty()
            && span.flags == 0
            && span.status == Status::default()
            && is_representable(span.start_ns)
            && is_representable(span.end_ns)
            && !has_dropped(span)
            && span.duplicate_attributes.is_empty()
            && span.unknown_fields.is_empty()
            && span.repairs.is_empty()
            && detail.added.is_empty()
            && detail.versions.is_empty()
    }
}

/// Whether a time has a place in a column of 64 bits with sign.
pub(crate) fn is_representable(ns: u64) -> bool {
    i64::try_from(ns).is_ok()
}

fn has_dropped(span: &Span) -> bool {
    span.dropped_attributes_count > 0 || span.dropped_events_count > 0 || span.dropped_links_count > 0
}

impl Serialize for Otel<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let (detail, span) = (self.0, self.0.span);
        let mut map = out.serialize_map(None)?;
        if span.name != detail.step_name {
            map.serialize_entry("name", &Text(&span.name))?;
        }
        if span.kind != 0 {
            map.serialize_entry("kind", &Word(span.kind, &KINDS))?;
        }
        if !span.trace_state.is_empty() {
            map.serialize_entry("trace_state", &Text(&span.trace_state))?;
        }
        if span.flags != 0 {
            map.serialize_entry("flags", &span.flags)?;
        }
        if span.status != Status::default() {
            map.serialize_entry("status", &StatusJson(&span.status))?;
        }
        for (key, ns) in [("start_ns", span.start_ns), ("end_ns", span.end_ns)] {
            if !is_representable(ns) {
                map.serialize_entry(key, &ns.to_string())?;
            }
        }
        if has_dropped(span) {
            map.serialize_entry("dropped", &Dropped(span))?;
        }
        if !span.duplicate_attributes.is_empty() {
            let pairs: Vec<_> = span.duplicate_attributes.iter().map(|(key, value)| (Text(key), value)).collect();
            map.serialize_entry("duplicate_attributes", &pairs)?;
        }
        if !span.unknown_fields.is_empty() {
            map.serialize_entry("unknown_fields", &BASE64_STANDARD.encode(&span.unknown_fields))?;
        }
        if !span.repairs.is_empty() {
            map.serialize_entry("repairs", &span.repairs)?;
        }
        if !detail.added.is_empty() {
            map.serialize_entry("added", &detail.added.iter().map(|key| Text(key)).collect::<Vec<_>>())?;
        }
        if !detail.versions.is_empty() {
            map.serialize_entry("versions", &Each(detail.versions, VersionJson))?;
        }
        map.end()
    }
}

/// A number that OpenTelemetry has a word for; one that it has none for stays a number.
struct Word<'a>(i32, &'a [&'static str]);

impl Serialize for Word<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match usize::try_from(self.0).ok().and_then(|index| self.1.get(index)) {
            Some(word) => out.serialize_str(word),
            None => out.serialize_i32(self.0),
        }
    }
}

struct StatusJson<'a>(&'a Status);

impl Serialize for StatusJson<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("code", &Word(self.0.code, &STATUS_CODES))?;
        if !self.0.message.is_empty() {
            map.serialize_entry("message", &Text(&self.0.message))?;
        }
        map.end()
    }
}

struct Dropped<'a>(&'a Span);

impl Serialize for Dropped<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let counts = [
            ("attributes", self.0.dropped_attributes_count),
            ("events", self.0.dropped_events_count),
            ("links", self.0.dropped_links_count),
        ];
        out.collect_map(counts.into_iter().filter(|(_, count)| *count > 0))
    }
}

/// A list whose items are written by a function.
struct Each<'a, T, W>(&'a [T], W);

pub(super) trait Write<T> {
    fn write<S: Serializer>(&self, item: &T, out: S) -> Result<S::Ok, S::Error>;
}

impl<T, W: Write<T>> Serialize for Each<'_, T, W> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut list = out.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            list.serialize_element(&One(item, &self.1))?;
        }
        list.end()
    }
}

struct One<'a, T, W>(&'a T, &'a W);

impl<T, W: Write<T>> Serialize for One<'_, T, W> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.1.write(self.0, out)
    }
}

struct EventJson;

impl Write<Event> for EventJson {
    fn write<S: Serializer>(&self, event: &Event, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("name", &Text(&event.name))?;
        map.serialize_entry("time_unix_nano", &event.time_ns.to_string())?;
        if !event.attributes.is_empty() {
            map.serialize_entry("attributes", &Attributes::all(&event.attributes))?;
        }
        if event.dropped_attributes_count > 0 {
            map.serialize_entry("dropped_attributes_count", &event.dropped_attributes_count)?;
        }
        map.end()
    }
}

struct LinkJson;

impl Write<Link> for LinkJson {
    fn write<S: Serializer>(&self, link: &Link, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("trace_id", &hex(&link.trace_id))?;
        map.serialize_entry("span_id", &hex(&link.span_id))?;
        if !link.trace_state.is_empty() {
            map.serialize_entry("trace_state", &Text(&link.trace_state))?;
        }
        if link.flags != 0 {
            map.serialize_entry("flags", &link.flags)?;
        }
        if !link.attributes.is_empty() {
            map.serialize_entry("attributes", &Attributes::all(&link.attributes))?;
        }
        if link.dropped_attributes_count > 0 {
            map.serialize_entry("dropped_attributes_count", &link.dropped_attributes_count)?;
        }
        map.end()
    }
}

/// A version is written whole: nothing of it stands in a column.
struct VersionJson;

impl Write<Version> for VersionJson {
    fn write<S: Serializer>(&self, version: &Version, out: S) -> Result<S::Ok, S::Error> {
        let span = &version.span;
        let mut map = out.serialize_map(None)?;
        if let Some(origin) = version.origin {
            map.serialize_entry("origin", &origin)?;
        }
        if let Some(parent) = span.parent_span_id {
            map.serialize_entry("parent_id", &hex(&parent))?;
        }
        map.serialize_entry("name", &Text(&span.name))?;
        map.serialize_entry("start_ns", &span.start_ns.to_string())?;
        map.serialize_entry("end_ns", &span.end_ns.to_string())?;
        let rest = Detail { span, step_name: &span.name, input_key: None, output_key: None, added: &[], versions: &[] };
        map.serialize_entry("detail", &rest)?;
        map.end()
    }
}
