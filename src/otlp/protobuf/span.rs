//! One span on its own slice.

use crate::model::span::{Event, Link, Span, Status};
use crate::model::value::AnyValue;
use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::protobuf::Readable;
use crate::otlp::protobuf::value::{key_value, reserve};
use crate::otlp::rules::{check_times, id, link_ids, parent_id, settle, settle_dropping, text};
use crate::otlp::wire::{Field, Reader};

impl Readable for Span {
    fn read(message: &[u8], ledger: &mut Ledger) -> Result<Span, Fault> {
        decode(message, ledger)
    }
}

/// Two passes: the first only counts and finds the ids, so that a span that must be rejected allocates nothing and
/// every list of a good one is allocated once.
fn decode(message: &[u8], ledger: &mut Ledger) -> Result<Span, Fault> {
    let outline = Outline::of(message)?;
    let span_id = id("spanId", outline.span_id)?;
    let mut span = Span { trace_id: id("traceId", outline.trace_id)?, span_id, ..Span::default() };
    span.parent_span_id = parent_id(outline.parent_span_id, span_id, ledger);
    ledger.spend_items::<(String, AnyValue)>(outline.attributes)?;
    ledger.spend_items::<Event>(outline.events)?;
    ledger.spend_items::<Link>(outline.links)?;
    span.attributes.reserve_exact(outline.attributes);
    span.events.reserve_exact(outline.events);
    span.links.reserve_exact(outline.links);
    for field in Reader::new(message) {
        read(&mut span, &field?, ledger)?;
    }
    check_times(span.start_ns, span.end_ns, ledger);
    span.duplicate_attributes = settle(&mut span.attributes);
    span.repairs = ledger.take_repairs();
    Ok(span)
}

#[derive(Default)]
struct Outline<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_span_id: &'a [u8],
    attributes: usize,
    events: usize,
    links: usize,
}

impl<'a> Outline<'a> {
    fn of(message: &'a [u8]) -> Result<Outline<'a>, Fault> {
        let mut outline = Outline::default();
        for field in Reader::new(message) {
            let field = field?;
            match field.number {
                1 => outline.trace_id = field.bytes("traceId")?,
                2 => outline.span_id = field.bytes("spanId")?,
                4 => outline.parent_span_id = field.bytes("parentSpanId")?,
                9 => outline.attributes += 1,
                11 => outline.events += 1,
                13 => outline.links += 1,
                _ => {}
            }
        }
        Ok(outline)
    }
}

fn read(span: &mut Span, field: &Field<'_>, ledger: &mut Ledger) -> Result<(), Fault> {
    match field.number {
        1 | 2 | 4 => {} // in the outline
        3 => span.trace_state = text(field.bytes("traceState")?, ledger),
        5 => span.name = text(field.bytes("name")?, ledger),
        6 => span.kind = field.int32("kind")?,
        7 => span.start_ns = field.fixed64("startTimeUnixNano")?,
        8 => span.end_ns = field.fixed64("endTimeUnixNano")?,
        9 => span.attributes.push(key_value(field.bytes("attributes")?, 0, ledger)?),
        10 => span.dropped_attributes_count = field.uint32("droppedAttributesCount")?,
        11 => span.events.push(event(field.bytes("events")?, ledger)?),
        12 => span.dropped_events_count = field.uint32("droppedEventsCount")?,
        13 => span.links.extend(link(field.bytes("links")?, ledger)?),
        14 => span.dropped_links_count = field.uint32("droppedLinksCount")?,
        15 => status(&mut span.status, field.bytes("status")?, ledger)?,
        16 => span.flags = field.fixed32("flags")?,
        _ => span.unknown_fields.extend_from_slice(field.raw),
    }
    Ok(())
}

fn event(message: &[u8], ledger: &mut Ledger) -> Result<Event, Fault> {
    let mut event = Event::default();
    reserve(&mut event.attributes, message, 3, ledger)?;
    for field in Reader::new(message) {
        let field = field?;
        match field.number {
            1 => event.time_ns = field.fixed64("event.timeUnixNano")?,
            2 => event.name = text(field.bytes("event.name")?, ledger),
            3 => event.attributes.push(key_value(field.bytes("event.attributes")?, 0, ledger)?),
            4 => event.dropped_attributes_count = field.uint32("event.droppedAttributesCount")?,
            _ => {}
        }
    }
    settle_dropping(&mut event.attributes, ledger);
    Ok(event)
}

/// `None` for a link that points nowhere.
fn link(message: &[u8], ledger: &mut Ledger) -> Result<Option<Link>, Fault> {
    let mut link = Link::default();
    let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
    reserve(&mut link.attributes, message, 4, ledger)?;
    for field in Reader::new(message) {
        let field = field?;
        match field.number {
            1 => trace_id = field.bytes("link.traceId")?,
            2 => span_id = field.bytes("link.spanId")?,
            3 => link.trace_state = text(field.bytes("link.traceState")?, ledger),
            4 => link.attributes.push(key_value(field.bytes("link.attributes")?, 0, ledger)?),
            5 => link.dropped_attributes_count = field.uint32("link.droppedAttributesCount")?,
            6 => link.flags = field.fixed32("link.flags")?,
            _ => {}
        }
    }
    let Some(ids) = link_ids(trace_id, span_id, ledger) else { return Ok(None) };
    (link.trace_id, link.span_id) = ids;
    settle_dropping(&mut link.attributes, ledger);
    Ok(Some(link))
}

fn status(status: &mut Status, message: &[u8], ledger: &mut Ledger) -> Result<(), Fault> {
    for field in Reader::new(message) {
        let field = field?;
        match field.number {
            2 => status.message = text(field.bytes("status.message")?, ledger),
            3 => status.code = field.int32("status.code")?,
            _ => {}
        }
    }
    Ok(())
}
