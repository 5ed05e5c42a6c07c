//! OTLP/protobuf, read by wire tags. Field numbers: opentelemetry-proto, `trace/v1/trace.proto`, `logs/v1/logs.proto`,
//! `metrics/v1/metrics.proto`. Requests of all signals have one shape around their items.

mod log;
mod metric;
mod span;
mod value;

use std::ops::Range;

use crate::otlp::fault::Fault;
use crate::otlp::intake::{Intake, Item, Ledger, Place, SliceBounds};
use crate::otlp::wire::{Field, Reader};
use crate::otlp::{DecodeLimits, LogsRequest, Malformed, MetricsRequest, Request, TraceRequest};

/// Decodes an `ExportTraceServiceRequest`. A damaged span is a rejection; only when the messages around the spans are
/// damaged, so that nobody can say where spans begin, the request is [`Malformed`]. An empty body is an empty request.
pub fn decode_traces(body: &[u8], limits: DecodeLimits) -> Result<TraceRequest, Malformed> {
    decode(body, limits)
}

/// Decodes an `ExportLogsServiceRequest` by the same rules.
pub fn decode_logs(body: &[u8], limits: DecodeLimits) -> Result<LogsRequest, Malformed> {
    decode(body, limits)
}

/// Walks an `ExportMetricsServiceRequest` by the same rules.
pub fn decode_metrics(body: &[u8], limits: DecodeLimits) -> Result<MetricsRequest, Malformed> {
    decode(body, limits)
}

/// An item that is read from its own part of the body.
pub(super) trait Readable: Item + Sized {
    fn read(message: &[u8], ledger: &mut Ledger) -> Result<Self, Fault>;
}

fn decode<T: Readable>(body: &[u8], limits: DecodeLimits) -> Result<Request<T>, Malformed> {
    let mut intake = Intake::new(body.len(), limits, SliceBounds::WHOLE);
    Walk::new(body).read(body, &mut intake)?;
    Ok(intake.take_slice())
}

/// How far a body was read: what is left of the request, and of the messages of the resource and scope at hand.
pub(super) struct Walk {
    request: Range<usize>,
    resource: Option<Range<usize>>,
    scope: Option<Range<usize>>,
    place: Place,
}

impl Walk {
    pub fn new(body: &[u8]) -> Walk {
        Walk { request: 0..body.len(), resource: None, scope: None, place: Place::default() }
    }

    /// Reads on until the intake has no room for the next item. Whether that was the end of the request.
    pub fn read<T: Readable>(&mut self, body: &[u8], intake: &mut Intake<T>) -> Result<bool, Malformed> {
        loop {
            if let Some(scope) = &mut self.scope {
                while let Some((message, rest)) = next_message(body, scope, 2) {
                    if !intake.has_room(message.len()) {
                        return Ok(false);
                    }
                    intake.item(self.place, message.len(), |ledger| T::read(message, ledger));
                    self.place.item += 1;
                    *scope = rest;
                }
                intake.close_scope();
                self.scope = None;
                self.place = Place { item: 0, scope: self.place.scope + 1, ..self.place };
            } else if let Some(resource) = &mut self.resource {
                if let Some((message, rest)) = next_message(body, resource, 2) {
                    let parts = Parts::of::<T>(message, T::MESSAGES[2])?;
                    let decode = |ledger: &mut Ledger| value::scope(parts.producers(), parts.schema_url, ledger);
                    intake.open_scope(parts.producer_bytes, decode);
                    self.scope = Some(rest.start - message.len()..rest.start);
                    *resource = rest;
                } else {
                    self.resource = None;
                    self.place = Place { scope: 0, resource: self.place.resource + 1, ..self.place };
                }
            } else if let Some((message, rest)) = next_resource::<T>(body, &self.request)? {
                let parts = Parts::of::<T>(message, T::MESSAGES[1])?;
                let decode = |ledger: &mut Ledger| value::resource(parts.producers(), parts.schema_url, ledger);
                intake.open_resource(parts.producer_bytes, decode);
                self.resource = Some(rest.start - message.len()..rest.start);
                self.request = rest;
            } else {
                return Ok(true);
            }
        }
    }
}

/// Items in the whole body. Fails where reading it would.
pub(super) fn count<T: Item>(body: &[u8]) -> Result<u64, Malformed> {
    let mut request = 0..body.len();
    let mut items = 0;
    while let Some((resource, rest)) = next_resource::<T>(body, &request)? {
        for scope in Parts::of::<T>(resource, T::MESSAGES[1])?.scopes() {
            items += Parts::of::<T>(scope, T::MESSAGES[2])?.items;
        }
        request = rest;
    }
    Ok(items)
}

/// A message, and the place of what stands behind it.
type Next<'a> = (&'a [u8], Range<usize>);

/// The next message under field 1 of the request.
fn next_resource<'a, T: Item>(body: &'a [u8], rest: &Range<usize>) -> Result<Option<Next<'a>>, Malformed> {
    let [request, ..] = T::MESSAGES;
    let mut reader = Reader::new(&body[rest.clone()]);
    while let Some(field) = reader.next() {
        let field = field.map_err(|e| framing::<T>(request, e.into()))?;
        if field.number == 1 {
            return Ok(Some((message::<T>(&field, request)?, rest.end - reader.left()..rest.end)));
        }
    }
    Ok(None)
}

/// The same under field `number` of a message that was checked.
fn next_message<'a>(body: &'a [u8], rest: &Range<usize>, number: u32) -> Option<Next<'a>> {
    let mut reader = Reader::new(&body[rest.clone()]);
    while let Some(Ok(field)) = reader.next() {
        if field.number == number {
            return Some((field.bytes("").ok()?, rest.end - reader.left()..rest.end));
        }
    }
    None
}

/// `ResourceSpans`, `ScopeSpans` and their like have one shape: 1 the producer, 2 what it made, 3 the schema URL.
/// Checked as a whole before anything is built, because the producer may stand behind what it made.
struct Parts<'a> {
    body: &'a [u8],
    schema_url: &'a [u8],
    producer_bytes: usize,
    /// How many things it made.
    items: u64,
}

impl<'a> Parts<'a> {
    fn of<T: Item>(body: &'a [u8], name: &'static str) -> Result<Parts<'a>, Malformed> {
        let mut parts = Parts { body, schema_url: &[], producer_bytes: 0, items: 0 };
        for field in Reader::new(body) {
            let field = field.map_err(|e| framing::<T>(name, e.into()))?;
            match field.number {
                1 => parts.producer_bytes += message::<T>(&field, name)?.len(),
                2 => {
                    message::<T>(&field, name)?;
                    parts.items += 1;
                }
                3 => parts.schema_url = message::<T>(&field, name)?,
                _ => {}
            }
        }
        Ok(parts)
    }

    fn producers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        messages(self.body, 1)
    }

    fn scopes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        messages(self.body, 2)
    }
}

/// The messages under field `number` of a body that was checked.
fn messages(body: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Reader::new(body)
        .filter_map(Result::ok)
        .filter(move |field| field.number == number)
        .filter_map(|f| f.bytes("").ok())
}

fn message<'a, T: Item>(field: &Field<'a>, parent: &str) -> Result<&'a [u8], Malformed> {
    field.bytes("a field").map_err(|fault| framing::<T>(parent, fault))
}

fn framing<T: Item>(message: &str, fault: Fault) -> Malformed {
    Malformed(format!("the body is not an OTLP {} request in protobuf: in {message}: {fault}", T::SIGNAL))
}
