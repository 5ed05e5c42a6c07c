//! OTLP/JSON, by the OTLP specification, "JSON Protobuf Encoding": lowerCamelCase names only, others are ignored.
//!
//! Not by serde: legal OTLP/JSON has repeated names, lone surrogates, `5.0` for integers and spans that must fail
//! alone, and a tree of a hostile body is many times its size. The body is checked once as a whole (`syntax`), then
//! read in place (`cursor`).

mod cursor;
mod log;
mod metric;
mod scalar;
mod span;
mod syntax;
mod value;

use crate::otlp::fault::Fault;
use crate::otlp::intake::{Intake, Item, Ledger, Place, Producer};
use crate::otlp::json::cursor::Cursor;
use crate::otlp::{DecodeLimits, LogsRequest, Malformed, MetricsRequest, Request, TraceRequest};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Decodes an `ExportTraceServiceRequest`. A span that does not fit is a rejection; a body that is not JSON, or whose
/// objects around the spans have wrong types, is [`Malformed`]. `{}` is an empty request, an empty body is not JSON.
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
trait Readable: Item + Sized {
    fn read(cursor: Cursor<'_>, ledger: &mut Ledger) -> Result<Self, Fault>;
}

fn decode<T: Readable>(body: &[u8], limits: DecodeLimits) -> Result<Request<T>, Malformed> {
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    syntax::check(text).map_err(|e| {
        let at_byte = body.len() - text.len() + e.at_byte;
        Malformed(format!("the body is not JSON: at byte {at_byte}; send OTLP/JSON or the right Content-Type"))
    })?;
    let mut cursor = Cursor::new(text);
    if cursor.peek() != b'{' {
        return Err(framing::<T>(Fault::JsonType { field: "the body", expected: "an object" }));
    }
    let [resources, ..] = T::LISTS;
    let mut intake = Intake::new(body.len(), limits);
    let mut place = Place::default();
    cursor
        .object("the body", |name, value| {
            if name != resources {
                value.skip();
                return Ok(());
            }
            value.array(resources, |item| {
                resource_items::<T>(item, place, &mut intake)?;
                place.resource += 1;
                Ok(())
            })
        })
        .map_err(framing::<T>)?;
    Ok(intake.finish())
}

fn resource_items<T: Readable>(cursor: &mut Cursor<'_>, mut place: Place, intake: &mut Intake<T>) -> Result<(), Fault> {
    let [resources, scopes, _] = T::LISTS;
    let parts = Parts::of(cursor, resources, "resource", scopes)?;
    let resource =
        intake.producer(Fault::Resource, |ledger| value::producer(parts.producer, parts.schema_url, false, ledger));
    for mut items in parts.items {
        items.array(scopes, |item| {
            scope_items(item, place, &resource, intake)?;
            place.scope += 1;
            Ok(())
        })?;
    }
    Ok(())
}

fn scope_items<T: Readable>(
    cursor: &mut Cursor<'_>,
    mut place: Place,
    resource: &Result<Producer, Fault>,
    intake: &mut Intake<T>,
) -> Result<(), Fault> {
    let [_, scopes, list] = T::LISTS;
    let parts = Parts::of(cursor, scopes, "scope", list)?;
    let scope = intake.producer(Fault::Scope, |ledger| value::producer(parts.producer, parts.schema_url, true, ledger));
    let mut group = intake.group(resource, scope);
    for mut items in parts.items {
        items.array(list, |item| {
            let text = Cursor::new(item.skip());
            intake.item(&mut group, place, |ledger| T::read(text, ledger));
            place.item += 1;
            Ok(())
        })?;
    }
    intake.close(group);
    Ok(())
}

/// The parts of a `ResourceSpans`, `ScopeSpans` and their like, found before anything is built, because names come in any order.
/// A repeated name: the last producer and schema URL count, and all items, so that no item is lost.
struct Parts<'a> {
    producer: Option<Cursor<'a>>,
    schema_url: Option<Cursor<'a>>,
    items: Vec<Cursor<'a>>,
}

impl<'a> Parts<'a> {
    fn of(cursor: &mut Cursor<'a>, field: &'static str, producer: &str, items: &str) -> Result<Parts<'a>, Fault> {
        let mut parts = Parts { producer: None, schema_url: None, items: Vec::new() };
        cursor.object(field, |name, value| {
            let part = Cursor::new(value.skip());
            if name == producer {
                parts.producer = Some(part);
            } else if name == items {
                parts.items.push(part);
            } else if name == "schemaUrl" {
                parts.schema_url = Some(part);
            }
            Ok(())
        })?;
        Ok(parts)
    }
}

fn framing<T: Item>(fault: Fault) -> Malformed {
    Malformed(format!("the body is not an OTLP {} request in JSON: {fault}", T::SIGNAL))
}
