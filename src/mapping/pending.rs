//! Logfire's announcement of a span that has started: a span of its own (`logfire.span_type` = `pending_span`) whose
//! parent is the span that it announces, and whose `logfire.pending_parent_id` is the parent of that one. Read here as
//! what it means, the real span before its end, so that the versions of a span merge as they always do: the ended one
//! wins, whichever came first.

use std::borrow::Cow;

use crate::mapping::detail::read::bytes_of;
use crate::model::id::hex;
use crate::model::span::{self, Span};
use crate::model::value::AnyValue;

const SPAN_TYPE: &str = "logfire.span_type";
const PENDING: &str = "pending_span";
const PARENT: &str = "logfire.pending_parent_id";

/// What of the announcement itself has no place in the span that it announces: its own id and end.
const OWN_ID: &str = "vectoros.pending.span_id";
const OWN_END: &str = "vectoros.pending.end_time_unix_nano";

/// The span as it is mapped. An announcement of nothing, one without a parent, stays the span that it is.
pub(super) fn announced(sent: &Span) -> Cow<'_, Span> {
    if span::get(&sent.attributes, SPAN_TYPE).and_then(AnyValue::as_str) != Some(PENDING) {
        return Cow::Borrowed(sent);
    }
    let Some(span_id) = sent.parent_span_id else { return Cow::Borrowed(sent) };
    let parent = span::get(&sent.attributes, PARENT).and_then(AnyValue::as_str).and_then(bytes_of);
    // Zeros stand where the announced span is the root.
    let parent_span_id = parent.filter(|id| *id != [0; 8] && *id != span_id);
    let mut span = Span { span_id, parent_span_id, end_ns: 0, ..sent.clone() };
    for (key, text) in [(OWN_ID, hex(&sent.span_id)), (OWN_END, sent.end_ns.to_string())] {
        if let Err(place) = span.attributes.binary_search_by(|(known, _)| known.as_str().cmp(key)) {
            span.attributes.insert(place, (key.to_owned(), AnyValue::Str(text)));
        }
    }
    Cow::Owned(span)
}
