//! What a span or a record must have and how it is mended, the same for both encodings.

use crate::model::span::Attributes;
use crate::model::value::{AnyValue, STORED_LEVELS_MAX};
use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;

/// A trace or span id: exactly `N` bytes, not all zero (opentelemetry-proto, trace.proto: an all-zero id is invalid).
pub(super) fn id<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], Fault> {
    let id: [u8; N] = bytes.try_into().map_err(|_| Fault::IdLength { field, expected: N, got: bytes.len() })?;
    if id == [0; N] { Err(Fault::IdZero { field }) } else { Ok(id) }
}

/// An id that may be missing: empty and all-zero mean that there is none. One that cannot be is dropped and noted.
pub(super) fn id_or_none<const N: usize>(bytes: &[u8], wrong: &'static str, ledger: &mut Ledger) -> Option<[u8; N]> {
    match <[u8; N]>::try_from(bytes) {
        Ok(id) if id == [0; N] => None,
        Ok(id) => Some(id),
        Err(_) => {
            if !bytes.is_empty() {
                ledger.repaired(wrong);
            }
            None
        }
    }
}

/// The parent: empty and all-zero mean a root. A parent that cannot be is dropped and noted, the span kept.
pub(super) fn parent_id(bytes: &[u8], own: [u8; 8], ledger: &mut Ledger) -> Option<[u8; 8]> {
    let parent = id_or_none(bytes, "parent_id_length", ledger)?;
    if parent == own {
        ledger.repaired("self_parent");
        return None;
    }
    Some(parent)
}

/// The ids of a link, or `None` where the link must be dropped because it points nowhere.
pub(super) fn link_ids(trace_id: &[u8], span_id: &[u8], ledger: &mut Ledger) -> Option<([u8; 16], [u8; 8])> {
    let ids = id("link.traceId", trace_id).ok().zip(id("link.spanId", span_id).ok());
    if ids.is_none() {
        ledger.repaired("link_dropped");
    }
    ids
}

/// A span that ended before it began keeps both times; it is only noted. An end of 0 is none yet.
pub(super) fn check_times(start_ns: u64, end_ns: u64, ledger: &mut Ledger) {
    if end_ns != 0 && end_ns < start_ns {
        ledger.repaired("time_inverted");
    }
}

/// Text that should be UTF-8; what is not becomes U+FFFD and is noted.
pub(super) fn text(bytes: &[u8], ledger: &mut Ledger) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            ledger.repaired("invalid_utf8");
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

/// What stands in place of an array or list below the deepest level that is read.
pub(super) fn too_deep(ledger: &mut Ledger) -> AnyValue {
    ledger.repaired("too_deep");
    AnyValue::Str(format!("(nested deeper than {} levels)", ledger.depth_max))
}

/// Keeps out a value that could be stored but not read back, because its repeated or reserved keys nest it too deep.
pub(super) fn storable(value: AnyValue, ledger: &mut Ledger) -> AnyValue {
    if value.stored_levels() > STORED_LEVELS_MAX { too_deep(ledger) } else { value }
}

/// Sorts attributes by key. Of a repeated key the last value stays; returns the earlier ones in the order sent.
pub(super) fn settle(attributes: &mut Attributes) -> Vec<(String, AnyValue)> {
    if attributes.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Vec::new();
    }
    // A stable sort: among equal keys the order sent decides which is the last.
    attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
    if attributes.windows(2).all(|pair| pair[0].0 != pair[1].0) {
        return Vec::new();
    }
    let mut earlier = Vec::new();
    let mut kept: Attributes = Vec::with_capacity(attributes.len());
    for attribute in attributes.drain(..) {
        match kept.last_mut() {
            Some(last) if last.0 == attribute.0 => earlier.push(std::mem::replace(last, attribute)),
            _ => kept.push(attribute),
        }
    }
    *attributes = kept;
    earlier
}

/// The same where there is no place for the earlier values: events, links, resources and scopes.
pub(super) fn settle_dropping(attributes: &mut Attributes, ledger: &mut Ledger) {
    if !settle(attributes).is_empty() {
        ledger.repaired("duplicate_key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::DecodeLimits;

    fn ledger() -> Ledger {
        Ledger::new(DecodeLimits { spans_max: 1, span_items_max: 1, depth_max: 1 })
    }

    #[test]
    fn ids_have_their_length_and_are_not_zero() {
        for length in [0, 1, 8, 15, 17, 32] {
            let fault = Fault::IdLength { field: "traceId", expected: 16, got: length };
            assert_eq!(id::<16>("traceId", &vec![1; length]), Err(fault));
        }
        assert_eq!(id::<8>("spanId", &[0; 8]), Err(Fault::IdZero { field: "spanId" }));
        assert_eq!(id::<8>("spanId", &[7; 8]), Ok([7; 8]));
    }

    #[test]
    fn an_impossible_parent_makes_a_root_and_is_noted() {
        let check = |bytes: &[u8], parent, repairs: &[&str]| {
            let mut ledger = ledger();
            assert_eq!(parent_id(bytes, [9; 8], &mut ledger), parent);
            assert_eq!(ledger.take_repairs(), repairs);
        };
        check(&[], None, &[]);
        check(&[0; 8], None, &[]);
        check(&[1; 8], Some([1; 8]), &[]);
        check(&[1; 7], None, &["parent_id_length"]);
        check(&[9; 8], None, &["self_parent"]);
    }

    #[test]
    fn the_last_of_equal_keys_stays_and_the_others_keep_their_order() {
        let pair = |key: &str, n| (key.to_owned(), AnyValue::Int(n));
        let mut attributes = vec![pair("b", 1), pair("a", 2), pair("b", 3), pair("b", 4), pair("c", 5)];
        assert_eq!(settle(&mut attributes), [pair("b", 1), pair("b", 3)]);
        assert_eq!(attributes, [pair("a", 2), pair("b", 4), pair("c", 5)]);
    }
}
