//! OTLP trace requests, both encodings, decoded span by span: a bad span costs itself and nothing else.
//!
//! `protobuf` and `json` know how a request is written; `intake` counts and bounds what is built from it; `rules`
//! says what a span must have and how it is mended, so that both encodings of a request give equal values.

mod fault;
mod intake;
mod rules;
mod wire;
pub mod protobuf;
pub mod json;
#[cfg(test)]
mod tests;

use crate::model::batch::Rejections;
use crate::model::span::{Origin, Span};

/// An `ExportTraceServiceRequest` after decoding. The spans of all groups and `rejections.count` make the number that
/// was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRequest {
    pub groups: Vec<SpanGroup>,
    pub rejections: Rejections,
}

/// The spans of one resource and scope, in the order they were sent. Never without spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanGroup {
    pub origin: Origin,
    pub spans: Vec<Span>,
}

/// Bounds on what one request may make us build; from `limits.*` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// More spans than this in one request: the ones after it are rejected, each counted.
    pub spans_max: usize,
    /// Attributes (those of events and links too), events and links of one span together; a span beyond it is
    /// rejected.
    pub span_items_max: usize,
    /// Arrays and key-value lists inside each other in one attribute; deeper ones are replaced by a marker string.
    pub depth_max: usize,
}

/// The request as a whole cannot be decoded: answer 400 or INVALID_ARGUMENT. Says where, never what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);
