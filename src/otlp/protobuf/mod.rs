//! OTLP/protobuf, read by wire tags. Field numbers: opentelemetry-proto, `trace/v1/trace.proto`, `logs/v1/logs.proto`,
//! `metrics/v1/metrics.proto`. Requests of all signals have one shape around their items.

mod log;
mod metric;
mod span;
mod value;

use crate::otlp::fault::Fault;
use crate::otlp::intake::{Intake, Item, Ledger, Place, Producer};
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

/// An item that is read from its own slice of the body.
trait Readable: Item + Sized {
    fn read(message: &[u8], ledger: &mut Ledger) -> Result<Self, Fault>;
}

fn decode<T: Readable>(body: &[u8], limits: DecodeLimits) -> Result<Request<T>, Malformed> {
    let mut intake = Intake::new(body.len(), limits);
    let mut place = Place::default();
    let [request, ..] = T::MESSAGES;
    for field in Reader::new(body) {
        let field = field.map_err(|e| framing::<T>(request, e.into()))?;
        if field.number == 1 {
            resource_items::<T>(message::<T>(&field, request)?, place, &mut intake)?;
            place.resource += 1;
        }
    }
    Ok(intake.finish())
}

fn resource_items<T: Readable>(body: &[u8], mut place: Place, intake: &mut Intake<T>) -> Result<(), Malformed> {
    let parts = Parts::of::<T>(body, T::MESSAGES[1])?;
    let resource =
        intake.producer(Fault::Resource, |ledger| value::resource(parts.producers(), parts.schema_url, ledger));
    for message in parts.items() {
        scope_items(message, place, &resource, intake)?;
        place.scope += 1;
    }
    Ok(())
}

fn scope_items<T: Readable>(
    body: &[u8],
    mut place: Place,
    resource: &Result<Producer, Fault>,
    intake: &mut Intake<T>,
) -> Result<(), Malformed> {
    let parts = Parts::of::<T>(body, T::MESSAGES[2])?;
    let scope = intake.producer(Fault::Scope, |ledger| value::scope(parts.producers(), parts.schema_url, ledger));
    let mut group = intake.group(resource, scope);
    for message in parts.items() {
        intake.item(&mut group, place, |ledger| T::read(message, ledger));
        place.item += 1;
    }
    intake.close(group);
    Ok(())
}

/// `ResourceSpans`, `ScopeSpans` and their like have one shape: 1 the producer, 2 what it made, 3 the schema URL.
/// Checked as a whole before anything is built, because the producer may stand behind what it made.
struct Parts<'a> {
    body: &'a [u8],
    schema_url: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of<T: Item>(body: &'a [u8], name: &'static str) -> Result<Parts<'a>, Malformed> {
        let mut schema_url: &[u8] = &[];
        for field in Reader::new(body) {
            let field = field.map_err(|e| framing::<T>(name, e.into()))?;
            match field.number {
                1 | 2 => {
                    message::<T>(&field, name)?;
                }
                3 => schema_url = message::<T>(&field, name)?,
                _ => {}
            }
        }
        Ok(Parts { body, schema_url })
    }

    fn producers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        messages(self.body, 1)
    }

    fn items(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
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
