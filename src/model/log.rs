//! A log record as OpenTelemetry defines it, and as it waits in the store for its span.

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::model::id::RunKey;
use crate::model::span::Attributes;
use crate::model::value::AnyValue;

/// One record, decoded without loss from either encoding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRecord {
    /// Nanoseconds since 1970, as sent. 0 means unknown: then only `observed_ns` tells when it was.
    pub time_ns: u64,
    pub observed_ns: u64,
    /// 1 to 24, 0 unspecified; other numbers are kept.
    pub severity_number: i32,
    pub severity_text: String,
    pub event_name: String,
    pub body: AnyValue,
    /// In the order of their keys, as those of a span.
    pub attributes: Attributes,
    pub duplicate_attributes: Vec<(String, AnyValue)>,
    pub dropped_attributes_count: u32,
    pub flags: u32,
    /// `None` where the sender was in no trace.
    pub trace_id: Option<[u8; 16]>,
    pub span_id: Option<[u8; 8]>,
    /// Fields of the protobuf message that no known version of it has, as received.
    pub unknown_fields: Vec<u8>,
    /// As those of a span; `trace_id_length` and `span_id_length` say that an id could not be one and was dropped.
    pub repairs: Vec<&'static str>,
}

impl LogRecord {
    /// When it happened, as far as the sender tells.
    pub fn moment_ns(&self) -> u64 {
        if self.time_ns == 0 { self.observed_ns } else { self.time_ns }
    }
}

/// A record that belongs to a span, and the scope that wrote it: often another than the span's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanLog {
    pub scope_name: String,
    pub record: LogRecord,
}

/// A record as stored: a row of the table `logs`, written once and never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow {
    /// The run of its trace. A record of no trace has [`LogRow::NO_RUN`].
    pub run: RunKey,
    /// 16 hexadecimal digits, or empty.
    pub span_id: String,
    /// UTC day of its own time: the partition.
    pub day: NaiveDate,
    /// Hash of all that was sent, its producer included: two copies of one record are equal exactly when these are.
    pub id: Uuid,
    pub time_ns: u64,
    /// Place among the records of its request and scope: some senders give one time to all messages of a call.
    pub position: i32,
    /// Key of the [`crate::model::batch::OriginRow`] that tells resource and scope.
    pub origin: Uuid,
    /// The record as a JSON object, as text (`mapping::detail` writes and reads it).
    pub body: String,
    pub received_at: DateTime<Utc>,
}

impl LogRow {
    pub const NO_RUN: Uuid = Uuid::nil();

    pub fn has_run(&self) -> bool {
        self.run.run_id != LogRow::NO_RUN
    }
}
