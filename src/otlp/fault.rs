//! Why one span or record was not taken, in words that hold nothing of the payload.

use crate::otlp::wire::WireError;

/// Small and without allocation: a request may hold millions of bad spans, and only the first few are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the protobuf message is damaged: {0}; send it again or check the exporter")]
    Wire(#[from] WireError),
    #[error("{field} has the wrong protobuf wire type; check the exporter's version of opentelemetry-proto")]
    WireType { field: &'static str },
    #[error("{field} must be {expected} in OTLP/JSON; check the exporter")]
    JsonType { field: &'static str, expected: &'static str },
    #[error("{field} must have {expected} bytes but has {got}; leave the ids to the SDK")]
    IdLength { field: &'static str, expected: usize, got: usize },
    #[error("{field} must not be all zeros; leave the ids to the SDK")]
    IdZero { field: &'static str },
    #[error("more than {max} spans, log records or metrics in one request; send smaller batches")]
    TooManySpans { max: usize },
    #[error("more than {max} attributes, events and links in one span or record; set the SDK's span limits lower")]
    TooManyItems { max: usize },
    #[error("the request holds more tiny or empty values than its size allows; send smaller batches")]
    TooManyValues,
    #[error("the metric has no kind of data that OTLP knows; check the exporter")]
    MetricKind,
    #[error("its resource cannot be read; check the exporter")]
    Resource,
    #[error("its scope cannot be read; check the exporter")]
    Scope,
}

impl Fault {
    /// The word by which rejections are counted.
    pub fn class(&self) -> &'static str {
        match self {
            Fault::Wire(_) | Fault::WireType { .. } => "undecodable",
            Fault::JsonType { .. } => "wrong_type",
            Fault::IdLength { field, .. } | Fault::IdZero { field } => match *field {
                "traceId" => "bad_trace_id",
                "spanId" => "bad_span_id",
                _ => "bad_id",
            },
            Fault::TooManySpans { .. } => "too_many_items",
            Fault::TooManyItems { .. } => "too_many_attributes",
            Fault::TooManyValues => "too_many_values",
            Fault::MetricKind => "unknown_metric",
            Fault::Resource => "bad_resource",
            Fault::Scope => "bad_scope",
        }
    }
}
