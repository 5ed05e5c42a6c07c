//! A span as OpenTelemetry defines it, decoded without loss from either encoding.

use crate::model::log::SpanLog;
use crate::model::value::AnyValue;

/// Attributes in ascending order of their keys. A repeated key keeps its last value here
/// (the SDKs' own rule); the earlier ones stand in [`Span::duplicate_attributes`].
pub type Attributes = Vec<(String, AnyValue)>;

/// The value of `key`, by binary search.
pub fn get<'a>(attributes: &'a [(String, AnyValue)], key: &str) -> Option<&'a AnyValue> {
    attributes.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok().map(|i| &attributes[i].1)
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// `None` for a root, also where the sender wrote eight zero bytes.
    pub parent_span_id: Option<[u8; 8]>,
    pub trace_state: String,
    pub flags: u32,
    pub name: String,
    /// 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer; other numbers are kept.
    pub kind: i32,
    /// Nanoseconds since 1970, as sent. 0 means unknown.
    pub start_ns: u64,
    /// Nanoseconds since 1970, as sent. 0 means that the span has not ended.
    pub end_ns: u64,
    pub attributes: Attributes,
    pub duplicate_attributes: Vec<(String, AnyValue)>,
    pub dropped_attributes_count: u32,
    pub events: Vec<Event>,
    pub dropped_events_count: u32,
    pub links: Vec<Link>,
    pub dropped_links_count: u32,
    /// Log records that belong to this span, in the order of their times. They come apart from it, so a span that was
    /// just decoded has none, and they do not count when two copies of it are compared.
    pub logs: Vec<SpanLog>,
    pub status: Status,
    /// Fields of the protobuf message that no known version of it has, as received.
    pub unknown_fields: Vec<u8>,
    /// What had to be mended to keep the span, in itself or in its resource and scope. Each at most once of
    /// `parent_id_length`, `self_parent`, `link_dropped`, `invalid_utf8` (U+FFFD stands in a text), `too_deep`,
    /// `duplicate_key` (an earlier value was dropped in an event, link, resource or scope), `string_index` (an index into
    /// a table that traces do not have; read as no value) and `time_inverted` (it ended before it began; both are kept).
    pub repairs: Vec<&'static str>,
}

/// 0 unset, 1 ok, 2 error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub code: i32,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub time_ns: u64,
    pub name: String,
    pub attributes: Attributes,
    pub dropped_attributes_count: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub trace_state: String,
    pub flags: u32,
    pub attributes: Attributes,
    pub dropped_attributes_count: u32,
}

/// The producer of a span: what thousands of spans share. Stored once, referred to by [`Origin::id`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    pub resource: Attributes,
    pub resource_dropped_attributes_count: u32,
    pub resource_schema_url: String,
    pub scope_name: String,
    pub scope_version: String,
    pub scope_attributes: Attributes,
    pub scope_dropped_attributes_count: u32,
    pub scope_schema_url: String,
}
