//! OTLP requests of all three signals, both encodings, decoded item by item: a bad span or record costs itself and
//! nothing else. A large request is decoded in slices, so that what is built at a time does not grow with it.
//!
//! `protobuf` and `json` know how a request is written and where they stand in it; `intake` counts and bounds what is
//! built from it; `rules` says what a span or a record must have and how it is mended, so that both encodings of a
//! request give equal values.

mod fault;
mod intake;
mod rules;
mod slices;
mod wire;
pub mod protobuf;
pub mod json;
#[cfg(test)]
mod tests;

use crate::model::batch::Rejections;
use crate::model::log::LogRecord;
use crate::model::span::{Origin, Span};

pub use slices::Slices;

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

/// An export request after decoding, or a slice of one. The items of all groups and `rejections.count` make the number
/// that was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<T> {
    pub groups: Vec<Group<T>>,
    pub rejections: Rejections,
    pub notes: Notes,
}

/// The items of one resource and scope, in the order they were sent. Never without items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group<T> {
    pub origin: Origin,
    /// How many items of the same scope stand in earlier slices.
    pub position: usize,
    pub items: Vec<T>,
}

/// What was not taken exactly as it was sent, although nothing was rejected for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Items that had to be mended, and all the ways in which they were.
    pub mended: u64,
    pub repairs: Vec<&'static str>,
    /// Names of OTLP/JSON in snake case, which the specification has us ignore.
    pub ignored_names: Vec<&'static str>,
    /// An enum came by its name, where OTLP/JSON has numbers only.
    pub has_enum_names: bool,
}

impl Notes {
    /// One item more, unless nothing had to be mended in it.
    fn add_mended(&mut self, repairs: &[&'static str]) {
        if !repairs.is_empty() {
            self.mended += 1;
            add_words(&mut self.repairs, repairs);
        }
    }

    /// Adds those of the next slice.
    pub fn append(&mut self, later: Notes) {
        self.mended += later.mended;
        add_words(&mut self.repairs, &later.repairs);
        add_words(&mut self.ignored_names, &later.ignored_names);
        self.has_enum_names |= later.has_enum_names;
    }
}

/// Each word once. All of them come from short lists of ours.
fn add_words(words: &mut Vec<&'static str>, more: &[&'static str]) {
    for word in more {
        if !words.contains(word) {
            words.push(word);
        }
    }
}

/// An `ExportTraceServiceRequest`.
pub type TraceRequest = Request<Span>;
pub type SpanGroup = Group<Span>;
/// An `ExportLogsServiceRequest`.
pub type LogsRequest = Request<LogRecord>;
pub type LogGroup = Group<LogRecord>;
/// An `ExportMetricsServiceRequest`: only walked, because metrics are not stored.
pub type MetricsRequest = Request<Metric>;

/// A metric that is well formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metric {
    pub points: u64,
}

impl<T> Default for Request<T> {
    fn default() -> Request<T> {
        Request { groups: Vec::new(), rejections: Rejections::default(), notes: Notes::default() }
    }
}

impl<T> Request<T> {
    /// How many items were taken.
    pub fn items(&self) -> u64 {
        self.groups.iter().map(|group| group.items.len() as u64).sum()
    }
}

/// Bounds on what one request may make us build; from `limits.*` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// More spans, log records or metrics than this in one request: the ones after it are rejected, each counted.
    pub spans_max: usize,
    /// Attributes (those of events and links too), events and links of one span or record together; one beyond it is
    /// rejected.
    pub span_items_max: usize,
    /// Arrays and key-value lists inside each other in one attribute; deeper ones are replaced by a marker string.
    pub depth_max: usize,
}

/// The request as a whole cannot be decoded: answer 400 or INVALID_ARGUMENT. Says where, never what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);
