//! Which attribute values say something, and tolerant reading of numbers that SDKs send as text.

use std::borrow::Cow;

use crate::model::value::AnyValue;

/// What instrumentations write when they have nothing to say: the text forms of "no value" of several languages.
const SENTINELS: [&str; 10] = [
    "null",
    "None",
    "undefined",
    "{}",
    "[]",
    "N/A",
    r#"{"output":null}"#,
    r#"{"output": null}"#,
    "<not serializable>",
    "<not specified>",
];

/// Longer than any sentinel with its quotes and the marks of objects that JavaScript could not print.
const SENTINEL_BYTES_MAX: usize = 24;

/// Written by instrumentations in place of content that the user chose to hide.
const REDACTIONS: [&str; 4] = ["__REDACTED__", "<REDACTED>", "[REDACTED]", "***"];

/// False for an empty value and for the text forms of "nothing", also inside one pair of quotes.
pub(super) fn is_usable_text(text: &str) -> bool {
    let text = text.trim();
    if text.len() > SENTINEL_BYTES_MAX {
        return true;
    }
    let bare = unquote(text);
    !bare.is_empty() && bare != "[object Object]" && !SENTINELS.contains(&text) && !SENTINELS.contains(&bare)
}

/// False for what carries no information: unset, empty text, array or list, and sentinels.
pub(super) fn is_usable(value: &AnyValue) -> bool {
    match value {
        AnyValue::Null => false,
        AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_) => true,
        AnyValue::Str(text) => is_usable_text(text),
        AnyValue::Bytes(bytes) => !bytes.is_empty(),
        AnyValue::Array(items) => !items.is_empty(),
        AnyValue::Kvlist(pairs) => !pairs.is_empty(),
    }
}

pub(super) fn is_redaction(text: &str) -> bool {
    text.len() <= 12 && REDACTIONS.contains(&text)
}

/// A usable scalar as text; `None` for structures and bytes.
pub(super) fn scalar_text(value: &AnyValue) -> Option<Cow<'_, str>> {
    match value {
        AnyValue::Str(text) if is_usable_text(text) => Some(Cow::Borrowed(text)),
        AnyValue::Int(n) => Some(Cow::Owned(n.to_string())),
        AnyValue::Double(d) => Some(Cow::Owned(d.to_string())),
        AnyValue::Bool(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
        _ => None,
    }
}

/// A usable value as the text of a step's input or output: a string as it stands, anything else as compact JSON.
pub(super) fn content_text(value: &AnyValue) -> Option<Cow<'_, str>> {
    match value {
        AnyValue::Str(text) => is_usable_text(text).then_some(Cow::Borrowed(text)),
        other => is_usable(other).then(|| Cow::Owned(other.to_plain_json().to_string())),
    }
}

/// A count of tokens: an integer, an integral double or a decimal string, and never negative.
/// `Ok(None)` where nothing was said, `Err` tells what is wrong with the value.
pub(super) fn count(value: &AnyValue) -> Result<Option<i64>, &'static str> {
    match value {
        AnyValue::Int(n) if *n >= 0 => Ok(Some(*n)),
        AnyValue::Int(_) => Err("negative"),
        AnyValue::Double(d) => whole(*d).map(Some),
        AnyValue::Str(text) if !is_usable_text(text) => Ok(None),
        AnyValue::Str(text) => match text.trim().parse::<i64>() {
            Ok(n) if n >= 0 => Ok(Some(n)),
            Ok(_) => Err("negative"),
            Err(_) => text.trim().parse().map_err(|_| "not a number").and_then(whole).map(Some),
        },
        AnyValue::Null => Ok(None),
        AnyValue::Bool(_) | AnyValue::Bytes(_) | AnyValue::Array(_) | AnyValue::Kvlist(_) => Err("not a number"),
    }
}

/// Doubles are exact up to 2^53: a count beyond it is no count.
fn whole(d: f64) -> Result<i64, &'static str> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match d {
        d if d.is_nan() => Err("not a number"),
        d if d < 0.0 => Err("negative"),
        d if d > EXACT_MAX => Err("too large"),
        d if d.fract() != 0.0 => Err("not a whole number"),
        d => Ok(d as i64),
    }
}

/// A finite number, also as decimal text.
pub(super) fn number(value: &AnyValue) -> Option<f64> {
    let number = match value {
        AnyValue::Int(n) => *n as f64,
        AnyValue::Double(d) => *d,
        AnyValue::Str(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

pub(super) fn boolean(value: &AnyValue) -> Option<bool> {
    match value {
        AnyValue::Bool(b) => Some(*b),
        AnyValue::Str(text) if text.eq_ignore_ascii_case("true") => Some(true),
        AnyValue::Str(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A value as JSON: a string that holds a JSON object, list or quoted string is opened once.
pub(super) fn opened(value: &AnyValue) -> serde_json::Value {
    opened_at(value, &['{', '[', '"'])
}

/// A value as JSON: a string that holds a JSON object or list is that structure.
pub(super) fn opened_structure(value: &AnyValue) -> serde_json::Value {
    opened_at(value, &['{', '['])
}

fn opened_at(value: &AnyValue, beginnings: &[char]) -> serde_json::Value {
    match value {
        AnyValue::Str(text) if text.starts_with(beginnings) => {
            serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text.as_str()))
        }
        other => other.to_plain_json(),
    }
}

/// A usable scalar without the quotes that senders leave around strings which they wrote as JSON.
pub(super) fn bare_text(value: &AnyValue) -> Option<Cow<'_, str>> {
    match value {
        AnyValue::Str(text) if text.starts_with('"') => match opened(value) {
            serde_json::Value::String(inner) if is_usable_text(&inner) => Some(inner.into()),
            _ => None,
        },
        AnyValue::Str(text) if text.starts_with(['{', '[']) => None,
        other => scalar_text(other),
    }
}

/// The texts of a list, of the JSON text of one, or the one text that stands in its place.
pub(super) fn list_of_texts(value: &AnyValue) -> Vec<String> {
    match opened(value) {
        serde_json::Value::Array(items) => {
            items.iter().filter_map(serde_json::Value::as_str).map(str::to_owned).collect()
        }
        serde_json::Value::String(text) => vec![text],
        _ => Vec::new(),
    }
}

/// Text columns of Postgres cannot hold U+0000: a view shows U+FFFD, the exact text stays in the attributes.
pub(super) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The longest start of `text` within `bytes_max` that ends between two characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn unquote(text: &str) -> &str {
    let bytes = text.as_bytes();
    match bytes {
        [first @ (b'"' | b'\''), .., last] if first == last => &text[1..text.len() - 1],
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_no_values_whatever_the_quotes() {
        for text in ["", "  ", "null", " null\n", "\"null\"", "'None'", "None", "undefined", "{}", "[]", "\"\"", "N/A"]
        {
            assert!(!is_usable_text(text), "{text:?}");
        }
        for text in ["{\"output\":null}", "{\"output\": null}", "<not serializable>", "[object Object]", "\"{}\""] {
            assert!(!is_usable_text(text), "{text:?}");
        }
        for text in ["0", "nullable", "[1]", "\"", "'", "Nobody", "{\"output\": 1}", "***", "a\0b"] {
            assert!(is_usable_text(text), "{text:?}");
        }
    }

    #[test]
    fn empty_structures_are_unusable_and_zero_is_not() {
        assert!(!is_usable(&AnyValue::Array(vec![])));
        assert!(!is_usable(&AnyValue::Kvlist(vec![])));
        assert!(!is_usable(&AnyValue::Null));
        assert!(is_usable(&AnyValue::Int(0)));
        assert!(is_usable(&AnyValue::Bool(false)));
    }

    #[test]
    fn counts_are_read_tolerantly_and_never_wrongly() {
        assert_eq!(count(&AnyValue::Int(7)), Ok(Some(7)));
        assert_eq!(count(&AnyValue::Double(7.0)), Ok(Some(7)));
        assert_eq!(count(&AnyValue::Str(" 7 ".into())), Ok(Some(7)));
        assert_eq!(count(&AnyValue::Str("7.0".into())), Ok(Some(7)));
        assert_eq!(count(&AnyValue::Str("None".into())), Ok(None));
        assert_eq!(count(&AnyValue::Null), Ok(None));
        assert_eq!(count(&AnyValue::Int(i64::MAX)), Ok(Some(i64::MAX)));
        for wrong in [
            AnyValue::Int(-1),
            AnyValue::Double(0.5),
            AnyValue::Double(f64::NAN),
            AnyValue::Double(1e17),
            AnyValue::Bool(true),
            AnyValue::Str("many".into()),
            AnyValue::Str("-3".into()),
            AnyValue::Array(vec![AnyValue::Int(1)]),
        ] {
            assert!(count(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn cutting_never_splits_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 9), "aé");
    }
}
