//! OTLP/JSON, by the OTLP specification, "JSON Protobuf Encoding": lowerCamelCase names only, others are ignored.
//!
//! Not by serde: legal OTLP/JSON has repeated names, lone surrogates, `5.0` for integers and spans that must fail
//! alone, and a tree of a hostile body is many times its size. The body is checked once as a whole (`syntax`), then
//! read in place (`cursor`).

mod cursor;
mod log;
mod metric;
mod names;
mod scalar;
mod span;
mod syntax;
mod value;

use crate::otlp::fault::Fault;
use crate::otlp::intake::{Intake, Item, Ledger, Place, SliceBounds};
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
pub(super) trait Readable: Item + Sized {
    fn read(cursor: Cursor<'_>, ledger: &mut Ledger) -> Result<Self, Fault>;
}

fn decode<T: Readable>(body: &[u8], limits: DecodeLimits) -> Result<Request<T>, Malformed> {
    let mut intake = Intake::new(body.len(), limits, SliceBounds::WHOLE);
    Walk::default().read(body, &mut intake)?;
    Ok(intake.take_slice())
}

/// How far a body was read. One offset is enough: everything around the items is entered and left in turn.
#[derive(Default)]
pub(super) struct Walk {
    at: usize,
    inside: Inside,
    place: Place,
}

/// What the offset stands in.
#[derive(Clone, Copy, Default)]
enum Inside {
    #[default]
    Body,
    Request,
    Resources,
    Resource,
    Scopes,
    Scope,
    Items,
    End,
}

impl Walk {
    /// Reads on until the intake has no room for the next item. Whether that was the end of the request.
    pub fn read<T: Readable>(&mut self, body: &[u8], intake: &mut Intake<T>) -> Result<bool, Malformed> {
        let mut cursor = match self.inside {
            Inside::Body => checked(body)?,
            _ => Cursor::at(body, self.at),
        };
        let is_done = self.steps(&mut cursor, intake).map_err(framing::<T>)?;
        self.at = cursor.offset();
        Ok(is_done)
    }

    fn steps<T: Readable>(&mut self, cursor: &mut Cursor<'_>, intake: &mut Intake<T>) -> Result<bool, Fault> {
        let [resources, scopes, items] = T::LISTS;
        loop {
            self.inside = match self.inside {
                Inside::Body => {
                    open_body(cursor)?;
                    Inside::Request
                }
                Inside::Request => match next_list(cursor, resources, intake) {
                    Some(()) if cursor.open_array(resources)? => Inside::Resources,
                    Some(()) => Inside::Request,
                    None => Inside::End,
                },
                Inside::Resources if cursor.next_element() => {
                    let parts = Parts::of(cursor.clone(), resources, "resource")?;
                    intake.open_resource(parts.bytes, |ledger| {
                        value::producer(parts.producer, parts.schema_url, false, ledger)
                    });
                    if cursor.open_object(resources)? { Inside::Resource } else { self.end_resource() }
                }
                Inside::Resources => Inside::Request,
                Inside::Resource => match next_list(cursor, scopes, intake) {
                    Some(()) if cursor.open_array(scopes)? => Inside::Scopes,
                    Some(()) => Inside::Resource,
                    None => self.end_resource(),
                },
                Inside::Scopes if cursor.next_element() => {
                    let parts = Parts::of(cursor.clone(), scopes, "scope")?;
                    intake.open_scope(parts.bytes, |ledger| {
                        value::producer(parts.producer, parts.schema_url, true, ledger)
                    });
                    if cursor.open_object(scopes)? { Inside::Scope } else { self.end_scope(intake) }
                }
                Inside::Scopes => Inside::Resource,
                Inside::Scope => match next_list(cursor, items, intake) {
                    Some(()) if cursor.open_array(items)? => Inside::Items,
                    Some(()) => Inside::Scope,
                    None => self.end_scope(intake),
                },
                Inside::Items => {
                    while cursor.next_element() {
                        let before = cursor.clone();
                        let text = cursor.skip();
                        if !intake.has_room(text.len()) {
                            *cursor = before;
                            return Ok(false);
                        }
                        intake.item(self.place, text.len(), |ledger| T::read(Cursor::new(text), ledger));
                        self.place.item += 1;
                    }
                    Inside::Scope
                }
                Inside::End => return Ok(true),
            };
        }
    }

    fn end_resource(&mut self) -> Inside {
        self.place = Place { resource: self.place.resource + 1, scope: 0, item: 0 };
        Inside::Resources
    }

    fn end_scope<T>(&mut self, intake: &mut Intake<T>) -> Inside {
        intake.close_scope();
        self.place = Place { scope: self.place.scope + 1, item: 0, ..self.place };
        Inside::Scopes
    }
}

/// Items in the whole body. Fails where reading it would; that it is JSON is known already.
pub(super) fn count<T: Item>(body: &[u8]) -> Result<u64, Malformed> {
    count_items::<T>(&mut Cursor::at(body, text_start(body))).map_err(framing::<T>)
}

fn count_items<T: Item>(cursor: &mut Cursor<'_>) -> Result<u64, Fault> {
    let [resources, scopes, items] = T::LISTS;
    let mut count = 0;
    open_body(cursor)?;
    cursor.members(resources, |cursor| {
        cursor.array(resources, |resource| {
            if !resource.open_object(resources)? {
                return Ok(());
            }
            resource.members(scopes, |cursor| {
                cursor.array(scopes, |scope| {
                    if !scope.open_object(scopes)? {
                        return Ok(());
                    }
                    scope.members(items, |cursor| {
                        cursor.array(items, |item| {
                            item.skip();
                            count += 1;
                            Ok(())
                        })
                    })
                })
            })
        })
    })?;
    Ok(count)
}

/// A cursor at the start of the body's text, which is JSON.
fn checked(body: &[u8]) -> Result<Cursor<'_>, Malformed> {
    let start = text_start(body);
    syntax::check(&body[start..]).map_err(|e| {
        let at_byte = start + e.at_byte;
        Malformed(format!("the body is not JSON: at byte {at_byte}; send OTLP/JSON or the right Content-Type"))
    })?;
    Ok(Cursor::at(body, start))
}

fn text_start(body: &[u8]) -> usize {
    if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// Only here is `null` no object: it would be an empty request.
fn open_body(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    if cursor.peek() != b'{' {
        return Err(Fault::JsonType { field: "the body", expected: "an object" });
    }
    cursor.open_object("the body").map(drop)
}

/// Goes to the value of the next member called `list`, or behind the end of the object when there is none.
fn next_list<T>(cursor: &mut Cursor<'_>, list: &str, intake: &mut Intake<T>) -> Option<()> {
    while let Some(name) = cursor.next_member() {
        if name == list {
            return Some(());
        }
        names::pass_over(&name, cursor, intake.ledger());
    }
    None
}

/// The producer of a `ResourceSpans`, `ScopeSpans` and their like, found before anything is built, because names come in
/// any order. Of a repeated name the last counts here; of repeated lists of items all do, so that no item is lost.
struct Parts<'a> {
    producer: Option<Cursor<'a>>,
    schema_url: Option<Cursor<'a>>,
    bytes: usize,
}

impl<'a> Parts<'a> {
    fn of(mut cursor: Cursor<'a>, field: &'static str, producer: &str) -> Result<Parts<'a>, Fault> {
        let mut parts = Parts { producer: None, schema_url: None, bytes: 0 };
        cursor.object(field, |name, value| {
            let part = value.skip();
            if name == producer {
                parts.bytes = part.len();
                parts.producer = Some(Cursor::new(part));
            } else if name == "schemaUrl" {
                parts.schema_url = Some(Cursor::new(part));
            }
            Ok(())
        })?;
        Ok(parts)
    }
}

fn framing<T: Item>(fault: Fault) -> Malformed {
    Malformed(format!("the body is not an OTLP {} request in JSON: {fault}", T::SIGNAL))
}
