//! A span as dialects read it: by the keys of its attributes.

use serde_json::Value;

use crate::mapping::usable;
use crate::model::span::{self, Event, Origin, Span};
use crate::model::value::AnyValue;

/// What a dialect reads: one span and its producer.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub span: &'a Span,
    events: &'a [Event],
    pub origin: &'a Origin,
    /// A bit for each attribute's key: most of the keys that dialects ask for are absent, and told so by one look.
    present: [u64; PLACES / 64],
    /// A bit for each beginning of a key.
    beginnings: u64,
}

/// Places among which the keys of a span are spread: so many that an absent key seldom meets a present one.
const PLACES: usize = 1024;
/// Bytes of a key that tell its family.
const BEGINNING_BYTES: usize = 3;

impl<'a> Sent<'a> {
    /// `events` are those of the span and of its log records.
    pub(super) fn new(span: &'a Span, events: &'a [Event], origin: &'a Origin) -> Sent<'a> {
        let mut present = [0; PLACES / 64];
        let mut beginnings = 0;
        for (key, _) in &span.attributes {
            let (word, bit) = place_of(key);
            present[word] |= bit;
            beginnings |= beginning_of(key);
        }
        Sent { span, events, origin, present, beginnings }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a AnyValue> {
        let (word, bit) = place_of(key);
        if self.present[word] & bit == 0 {
            return None;
        }
        let value = span::get(&self.span.attributes, key)?;
        // Sent twice, and the last time without saying anything: the last usable value counts.
        if !self.span.duplicate_attributes.is_empty() && !usable::is_usable(value) {
            let earlier = self.span.duplicate_attributes.iter().rev().filter(|(name, _)| name == key);
            return earlier.map(|(_, value)| value).find(|value| usable::is_usable(value)).or(Some(value));
        }
        Some(value)
    }

    /// The string under `key`, if it says something.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(AnyValue::as_str).filter(|text| usable::is_usable_text(text))
    }

    /// The finite number under `key`, also as decimal text.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(usable::number)
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(usable::boolean)
    }

    /// The value under `key` as JSON: structure as it is, text that begins like structure opened.
    pub(super) fn json(&self, key: &str) -> Option<Value> {
        match self.get(key)? {
            AnyValue::Str(text) if text.trim_start().starts_with(['{', '[', '"']) => serde_json::from_str(text).ok(),
            value @ (AnyValue::Array(_) | AnyValue::Kvlist(_)) => Some(value.to_plain_json()),
            _ => None,
        }
    }

    /// What happened in the span, in order; then what log records say of it.
    pub(super) fn events(&self) -> &'a [Event] {
        self.events
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(usable::is_usable)
    }

    /// The attributes whose keys are `base`, a point, and something: that something and the value.
    pub(super) fn under(&self, base: &'static str) -> impl Iterator<Item = (&'a str, &'a AnyValue)> + use<'a> {
        let attributes = &self.span.attributes;
        let first = attributes.partition_point(|(key, _)| key.as_str() <= base);
        let rest = attributes[first..].iter().take_while(move |(key, _)| key.starts_with(base));
        rest.filter_map(move |(key, value)| Some((key[base.len()..].strip_prefix('.')?, value)))
    }

    /// Whether any attribute's key starts with `prefix`.
    pub(super) fn has_under(&self, prefix: &str) -> bool {
        if prefix.len() >= BEGINNING_BYTES && self.beginnings & beginning_of(prefix) == 0 {
            return false;
        }
        let attributes = &self.span.attributes;
        let first = attributes.partition_point(|(key, _)| key.as_str() < prefix);
        attributes.get(first).is_some_and(|(key, _)| key.starts_with(prefix))
    }
}

/// Keys of one family share their beginning, so that length, middle and end tell them apart.
fn place_of(key: &str) -> (usize, u64) {
    let bytes = key.as_bytes();
    let (middle, late, last) = (bytes.get(bytes.len() / 2), bytes.get(bytes.len() * 3 / 4), bytes.last());
    let byte = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or_default());
    let place = (bytes.len() * 31 + byte(middle) * 7 + byte(late) * 67 + byte(last) * 13) % PLACES;
    (place / 64, 1 << (place % 64))
}

/// A shorter key begins with nothing that is asked for by so many bytes.
fn beginning_of(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let sum = bytes.iter().take(BEGINNING_BYTES).fold(0_usize, |sum, byte| sum * 5 + usize::from(*byte));
    1 << (sum % 64)
}
