//! A request that is decoded slice by slice.

use bytes::Bytes;

use crate::model::log::LogRecord;
use crate::model::span::Span;
use crate::otlp::intake::{Intake, SliceBounds};
use crate::otlp::{DecodeLimits, Encoding, Malformed, Metric, Request, json, protobuf};

/// How far a body was read: offsets into it, so that reading can rest between two slices.
enum Walk {
    Protobuf(protobuf::Walk),
    Json(json::Walk),
}

/// Reads one slice of the body into the intake; whether it was the last.
type Read<T> = fn(&mut Walk, &[u8], &mut Intake<T>) -> Result<bool, Malformed>;

/// The slices of one request. Nothing of a slice is kept here once it was handed out, only the body is.
pub struct Slices<T> {
    body: Bytes,
    walk: Walk,
    intake: Intake<T>,
    read: Read<T>,
    count: fn(&Walk, &[u8]) -> Result<u64, Malformed>,
    is_done: bool,
}

impl Slices<Span> {
    /// Of an `ExportTraceServiceRequest`.
    pub fn of_traces(body: Bytes, encoding: Encoding, limits: DecodeLimits) -> Slices<Span> {
        slices(body, encoding, limits)
    }
}

impl Slices<LogRecord> {
    /// Of an `ExportLogsServiceRequest`.
    pub fn of_logs(body: Bytes, encoding: Encoding, limits: DecodeLimits) -> Slices<LogRecord> {
        slices(body, encoding, limits)
    }
}

impl Slices<Metric> {
    /// Of an `ExportMetricsServiceRequest`.
    pub fn of_metrics(body: Bytes, encoding: Encoding, limits: DecodeLimits) -> Slices<Metric> {
        slices(body, encoding, limits)
    }
}

impl<T> Slices<T> {
    /// The same in short slices, asked before the first one is read: others wait for each of them.
    pub fn short(mut self) -> Slices<T> {
        self.intake.set_bounds(SliceBounds::SHORT);
        self
    }

    /// The next slice. The first is the whole request, unless that is large: then [`Slices::is_done`] says no.
    pub fn next_slice(&mut self) -> Result<Request<T>, Malformed> {
        if !self.is_done {
            self.is_done = (self.read)(&mut self.walk, &self.body, &mut self.intake)?;
        }
        Ok(self.intake.take_slice())
    }

    /// Bytes of the body that the items of the slice before took.
    pub fn slice_bytes(&self) -> u64 {
        self.intake.slice_bytes() as u64
    }

    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Whether the slice before was the last.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Items in the whole request, good or bad, by a walk that builds nothing. What it lets pass is [`Malformed`] in no
    /// later slice: asked after the first one, it tells whether the request can be taken before any of it is stored.
    pub fn count(&self) -> Result<u64, Malformed> {
        (self.count)(&self.walk, &self.body)
    }
}

fn slices<T: protobuf::Readable + json::Readable>(body: Bytes, encoding: Encoding, limits: DecodeLimits) -> Slices<T> {
    let walk = match encoding {
        Encoding::Protobuf => Walk::Protobuf(protobuf::Walk::new(&body)),
        Encoding::Json => Walk::Json(json::Walk::default()),
    };
    let intake = Intake::new(body.len(), limits, SliceBounds::SLICE);
    Slices { body, walk, intake, read: read::<T>, count: count::<T>, is_done: false }
}

fn read<T: protobuf::Readable + json::Readable>(
    walk: &mut Walk,
    body: &[u8],
    intake: &mut Intake<T>,
) -> Result<bool, Malformed> {
    match walk {
        Walk::Protobuf(walk) => walk.read(body, intake),
        Walk::Json(walk) => walk.read(body, intake),
    }
}

fn count<T: protobuf::Readable + json::Readable>(walk: &Walk, body: &[u8]) -> Result<u64, Malformed> {
    match walk {
        Walk::Protobuf(_) => protobuf::count::<T>(body),
        Walk::Json(_) => json::count::<T>(body),
    }
}
