//! The hash of everything a sender said of a span. It does not depend on how the span is mapped or stored, so a
//! resend is known as such by any release; lists of key and value hash equal in any order.

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::model::log::LogRecord;
use crate::model::span::Span;
use crate::model::value::AnyValue;

/// Hashes spans one after another, with one buffer.
#[derive(Default)]
pub(super) struct SpanHasher {
    bytes: Vec<u8>,
}

impl SpanHasher {
    pub(super) fn hash(&mut self, span: &Span, origin: Option<Uuid>) -> Uuid {
        self.bytes.clear();
        self.raw(origin.unwrap_or_default().as_bytes());
        self.raw(&span.trace_id);
        self.raw(&span.span_id);
        self.raw(&span.parent_span_id.unwrap_or_default());
        for number in [u64::from(span.flags), span.kind as u64, span.start_ns, span.end_ns, span.status.code as u64] {
            self.number(number);
        }
        for text in [&span.name, &span.trace_state, &span.status.message] {
            self.text(text);
        }
        self.pairs(&span.attributes);
        self.pairs(&span.duplicate_attributes);
        for count in [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count] {
            self.number(count.into());
        }
        self.number(span.events.len() as u64);
        for event in &span.events {
            self.number(event.time_ns);
            self.text(&event.name);
            self.pairs(&event.attributes);
            self.number(event.dropped_attributes_count.into());
        }
        self.number(span.links.len() as u64);
        for link in &span.links {
            self.raw(&link.trace_id);
            self.raw(&link.span_id);
            self.text(&link.trace_state);
            self.number(link.flags.into());
            self.pairs(&link.attributes);
            self.number(link.dropped_attributes_count.into());
        }
        self.number(span.unknown_fields.len() as u64);
        self.raw(&span.unknown_fields);
        Uuid::from_u128(xxh3_128(&self.bytes))
    }

    pub(super) fn hash_log(&mut self, record: &LogRecord, origin: Uuid) -> Uuid {
        self.bytes.clear();
        self.raw(origin.as_bytes());
        self.raw(&record.trace_id.unwrap_or_default());
        self.raw(&record.span_id.unwrap_or_default());
        for number in [record.time_ns, record.observed_ns, record.severity_number as u64, u64::from(record.flags)] {
            self.number(number);
        }
        self.text(&record.severity_text);
        self.text(&record.event_name);
        self.value(&record.body);
        self.pairs(&record.attributes);
        self.pairs(&record.duplicate_attributes);
        self.number(record.dropped_attributes_count.into());
        self.number(record.unknown_fields.len() as u64);
        self.raw(&record.unknown_fields);
        Uuid::from_u128(xxh3_128(&self.bytes))
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.raw(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }

    fn pairs(&mut self, pairs: &[(String, AnyValue)]) {
        self.number(pairs.len() as u64);
        if pairs.is_sorted_by(|a, b| a.0 <= b.0) {
            return pairs.iter().for_each(|pair| self.pair(pair));
        }
        let mut sorted: Vec<&(String, AnyValue)> = pairs.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.into_iter().for_each(|pair| self.pair(pair));
    }

    fn pair(&mut self, (key, value): &(String, AnyValue)) {
        self.text(key);
        self.value(value);
    }

    fn value(&mut self, value: &AnyValue) {
        match value {
            AnyValue::Null => self.raw(&[0]),
            AnyValue::Bool(b) => self.raw(&[1, u8::from(*b)]),
            AnyValue::Int(n) => {
                self.raw(&[2]);
                self.raw(&n.to_le_bytes());
            }
            AnyValue::Double(d) => {
                self.raw(&[3]);
                // Every NaN is stored as the same one.
                let bits = if d.is_nan() { f64::NAN.to_bits() } else { d.to_bits() };
                self.number(bits);
            }
            AnyValue::Str(text) => {
                self.raw(&[4]);
                self.text(text);
            }
            AnyValue::Bytes(bytes) => {
                self.raw(&[5]);
                self.number(bytes.len() as u64);
                self.raw(bytes);
            }
            AnyValue::Array(items) => {
                self.raw(&[6]);
                self.number(items.len() as u64);
                items.iter().for_each(|item| self.value(item));
            }
            AnyValue::Kvlist(pairs) => {
                self.raw(&[7]);
                self.pairs(pairs);
            }
        }
    }
}
