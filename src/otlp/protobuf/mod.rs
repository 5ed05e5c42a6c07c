//! OTLP/protobuf, read by wire tags. Field numbers: opentelemetry-proto, `trace/v1/trace.proto`.

mod span;
mod value;

use crate::otlp::fault::Fault;
use crate::otlp::intake::{Intake, Place, Producer};
use crate::otlp::wire::{Field, Reader};
use crate::otlp::{DecodeLimits, Malformed, TraceRequest};

/// Decodes an `ExportTraceServiceRequest`. A damaged span is a rejection; only when the messages around the spans are
/// damaged, so that nobody can say where spans begin, the request is [`Malformed`]. An empty body is an empty request.
pub fn decode_traces(body: &[u8], limits: DecodeLimits) -> Result<TraceRequest, Malformed> {
    let mut intake = Intake::new(body.len(), limits);
    let mut place = Place::default();
    for field in Reader::new(body) {
        let field = field.map_err(|e| framing("ExportTraceServiceRequest", e.into()))?;
        if field.number == 1 {
            let message = message(&field, "ExportTraceServiceRequest", "resource_spans")?;
            resource_spans(message, place, &mut intake)?;
            place.resource += 1;
        }
    }
    Ok(intake.finish())
}

fn resource_spans(body: &[u8], mut place: Place, intake: &mut Intake) -> Result<(), Malformed> {
    let parts = Parts::of(body, "ResourceSpans")?;
    let resource =
        intake.producer(Fault::Resource, |ledger| value::resource(parts.producers(), parts.schema_url, ledger));
    for message in parts.items() {
        scope_spans(message, place, &resource, intake)?;
        place.scope += 1;
    }
    Ok(())
}

fn scope_spans(
    body: &[u8],
    mut place: Place,
    resource: &Result<Producer, Fault>,
    intake: &mut Intake,
) -> Result<(), Malformed> {
    let parts = Parts::of(body, "ScopeSpans")?;
    let scope = intake.producer(Fault::Scope, |ledger| value::scope(parts.producers(), parts.schema_url, ledger));
    let mut group = intake.group(resource, scope);
    for message in parts.items() {
        intake.span(&mut group, place, |ledger| span::decode(message, ledger));
        place.span += 1;
    }
    intake.close(group);
    Ok(())
}

/// `ResourceSpans` and `ScopeSpans` have one shape: 1 the producer, 2 what it made, 3 the schema URL. Checked as a
/// whole before anything is built, because the producer may stand behind what it made.
struct Parts<'a> {
    body: &'a [u8],
    schema_url: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(body: &'a [u8], name: &'static str) -> Result<Parts<'a>, Malformed> {
        let mut schema_url: &[u8] = &[];
        for field in Reader::new(body) {
            let field = field.map_err(|e| framing(name, e.into()))?;
            match field.number {
                1 | 2 => {
                    message(&field, name, "a field")?;
                }
                3 => schema_url = message(&field, name, "schema_url")?,
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

fn message<'a>(field: &Field<'a>, parent: &str, name: &'static str) -> Result<&'a [u8], Malformed> {
    field.bytes(name).map_err(|fault| framing(parent, fault))
}

fn framing(message: &str, fault: Fault) -> Malformed {
    Malformed(format!("the body is not an OTLP trace request in protobuf: in {message}: {fault}"))
}
