//! One span in OTLP/JSON.

use crate::model::span::{Event, Link, Span, Status};
use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::json::Readable;
use crate::otlp::json::cursor::Cursor;
use crate::otlp::json::names::pass_over;
use crate::otlp::json::scalar::{enumeration, hex, hex_or_none, int};
use crate::otlp::json::value::attributes;
use crate::otlp::rules::{check_times, id, link_ids, parent_id, settle, settle_dropping};

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

impl Readable for Span {
    fn read(cursor: Cursor<'_>, ledger: &mut Ledger) -> Result<Span, Fault> {
        decode(cursor, ledger)
    }
}

fn decode(mut cursor: Cursor<'_>, ledger: &mut Ledger) -> Result<Span, Fault> {
    if cursor.peek() != b'{' {
        return Err(Fault::JsonType { field: "a span", expected: "an object" });
    }
    let mut span = Span::default();
    let (mut trace_id, mut span_id, mut parent) = (Vec::new(), Vec::new(), Vec::new());
    cursor.object("a span", |name, value| {
        match name {
            "traceId" => trace_id = hex(value, "traceId")?,
            "spanId" => span_id = hex(value, "spanId")?,
            "parentSpanId" => parent = hex_or_none(value, "parentSpanId")?,
            "traceState" => span.trace_state = value.string("traceState", ledger)?,
            "flags" => span.flags = int(value, "flags")?,
            "name" => span.name = value.string("name", ledger)?,
            "kind" => span.kind = enumeration(value, "kind", &KINDS, ledger)?,
            "startTimeUnixNano" => span.start_ns = int(value, "startTimeUnixNano")?,
            "endTimeUnixNano" => span.end_ns = int(value, "endTimeUnixNano")?,
            "attributes" => attributes(&mut span.attributes, value, ledger)?,
            "droppedAttributesCount" => span.dropped_attributes_count = int(value, "droppedAttributesCount")?,
            "events" => value.array("events", |item| {
                ledger.spend_items::<Event>(1)?;
                span.events.push(event(item, ledger)?);
                Ok(())
            })?,
            "droppedEventsCount" => span.dropped_events_count = int(value, "droppedEventsCount")?,
            "links" => value.array("links", |item| {
                ledger.spend_items::<Link>(1)?;
                span.links.extend(link(item, ledger)?);
                Ok(())
            })?,
            "droppedLinksCount" => span.dropped_links_count = int(value, "droppedLinksCount")?,
            "status" => status(&mut span.status, value, ledger)?,
            _ => pass_over(name, value, ledger),
        }
        Ok(())
    })?;
    span.span_id = id("spanId", &span_id)?;
    span.trace_id = id("traceId", &trace_id)?;
    span.parent_span_id = parent_id(&parent, span.span_id, ledger);
    check_times(span.start_ns, span.end_ns, ledger);
    span.duplicate_attributes = settle(&mut span.attributes);
    span.repairs = ledger.take_repairs();
    Ok(span)
}

fn event(cursor: &mut Cursor<'_>, ledger: &mut Ledger) -> Result<Event, Fault> {
    let mut event = Event::default();
    cursor.object("an event", |name, value| {
        match name {
            "timeUnixNano" => event.time_ns = int(value, "event.timeUnixNano")?,
            "name" => event.name = value.string("event.name", ledger)?,
            "attributes" => attributes(&mut event.attributes, value, ledger)?,
            "droppedAttributesCount" => event.dropped_attributes_count = int(value, "event.droppedAttributesCount")?,
            _ => pass_over(name, value, ledger),
        }
        Ok(())
    })?;
    settle_dropping(&mut event.attributes, ledger);
    Ok(event)
}

/// `None` for a link that points nowhere.
fn link(cursor: &mut Cursor<'_>, ledger: &mut Ledger) -> Result<Option<Link>, Fault> {
    let mut link = Link::default();
    let (mut trace_id, mut span_id) = (Vec::new(), Vec::new());
    cursor.object("a link", |name, value| {
        match name {
            "traceId" => trace_id = hex_or_none(value, "link.traceId")?,
            "spanId" => span_id = hex_or_none(value, "link.spanId")?,
            "traceState" => link.trace_state = value.string("link.traceState", ledger)?,
            "attributes" => attributes(&mut link.attributes, value, ledger)?,
            "droppedAttributesCount" => link.dropped_attributes_count = int(value, "link.droppedAttributesCount")?,
            "flags" => link.flags = int(value, "link.flags")?,
            _ => pass_over(name, value, ledger),
        }
        Ok(())
    })?;
    let Some(ids) = link_ids(&trace_id, &span_id, ledger) else { return Ok(None) };
    (link.trace_id, link.span_id) = ids;
    settle_dropping(&mut link.attributes, ledger);
    Ok(Some(link))
}

fn status(status: &mut Status, cursor: &mut Cursor<'_>, ledger: &mut Ledger) -> Result<(), Fault> {
    cursor.object("status", |name, value| {
        match name {
            "message" => status.message = value.string("status.message", ledger)?,
            "code" => status.code = enumeration(value, "status.code", &STATUS_CODES, ledger)?,
            _ => pass_over(name, value, ledger),
        }
        Ok(())
    })
}
