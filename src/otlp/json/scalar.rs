//! Numbers, enums, ids and bytes as OTLP/JSON writes them.
//!
//! Source: OTLP specification, "JSON Protobuf Encoding", on top of ProtoJSON
//! (<https://protobuf.dev/programming-guides/json/>).

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::json::cursor::Cursor;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// An integer of any width: a number or a decimal string, also `5.0` and `5e0`. `null` is 0.
pub(super) fn int<N: TryFrom<i128>>(cursor: &mut Cursor<'_>, field: &'static str) -> Result<N, Fault> {
    let fault = Fault::JsonType { field, expected: "an integer in the range of its type, as a number or a string" };
    let text = number_text(cursor).ok_or(fault)?;
    integral(text).and_then(|n| N::try_from(n).ok()).ok_or(fault)
}

/// An enum: its number, or its name although OTLP/JSON does not allow names, because people write them by hand.
pub(super) fn enumeration(
    cursor: &mut Cursor<'_>,
    field: &'static str,
    names: &[&str],
    ledger: &mut Ledger,
) -> Result<i32, Fault> {
    let fault = Fault::JsonType { field, expected: "a number or a name of its enum" };
    let text = number_text(cursor).ok_or(fault)?;
    if let Some(number) = names.iter().position(|name| name.as_bytes() == text) {
        ledger.enum_by_name();
        return i32::try_from(number).map_err(|_| fault);
    }
    integral(text).and_then(|n| i32::try_from(n).ok()).ok_or(fault)
}

/// A double: a number, or a string of one, where `NaN`, `Infinity` and `-Infinity` are strings.
pub(super) fn double(cursor: &mut Cursor<'_>, field: &'static str) -> Result<f64, Fault> {
    let fault = Fault::JsonType { field, expected: "a number, \"NaN\", \"Infinity\" or \"-Infinity\"" };
    match number_text(cursor).ok_or(fault)? {
        b"NaN" => Ok(f64::NAN),
        b"Infinity" => Ok(f64::INFINITY),
        b"-Infinity" => Ok(f64::NEG_INFINITY),
        text => {
            let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            number.filter(|number: &f64| number.is_finite()).ok_or(fault)
        }
    }
}

pub(super) fn boolean(cursor: &mut Cursor<'_>, field: &'static str) -> Result<bool, Fault> {
    match cursor.skip() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Fault::JsonType { field, expected: "true or false" }),
    }
}

/// Base64 of either alphabet, padded or not.
pub(super) fn bytes(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Vec<u8>, Fault> {
    let fault = Fault::JsonType { field, expected: "base64 text" };
    let text = cursor.quoted(field)?.unwrap_or_default();
    // JSON may escape the slash, a letter of base64.
    let unescaped: Vec<u8>;
    let text = if text.contains(&b'\\') {
        unescaped = text.iter().copied().filter(|&byte| byte != b'\\').collect();
        &unescaped
    } else {
        text
    };
    let engine = if text.contains(&b'-') || text.contains(&b'_') { &BASE64_URL } else { &BASE64 };
    engine.decode(text).map_err(|_| fault)
}

/// The bytes of an id in hexadecimal of any case; its length is judged elsewhere. `null` is empty.
pub(super) fn hex(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Vec<u8>, Fault> {
    let fault = Fault::JsonType { field, expected: "hexadecimal text" };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let text = cursor.quoted(field)?.unwrap_or_default();
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    bytes.filter(|_| rest.is_empty()).ok_or(fault)
}

/// An id that may be wrong without costing its item: text that is not hexadecimal counts as an id of one byte, which
/// is no length an id may have.
pub(super) fn hex_or_none(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Vec<u8>, Fault> {
    match cursor.peek() {
        b'"' => Ok(hex(cursor, field).unwrap_or_else(|_| vec![0])),
        _ => hex(cursor, field),
    }
}

/// The text of a number, quoted or not; `null` is 0.
fn number_text<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    match cursor.peek() {
        b'"' => cursor.quoted("").ok().flatten(),
        b'n' => {
            cursor.skip();
            Some(b"0")
        }
        b'-' | b'0'..=b'9' => Some(cursor.skip()),
        _ => None,
    }
}

/// The value of a decimal number that is whole and has at most 20 digits: exact, without going through a double.
fn integral(text: &[u8]) -> Option<i128> {
    const DIGITS_MAX: i64 = 20;
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let significant = digits.trim_end_matches('0');
    let trimmed = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let zeros = exponent.checked_add(i64::try_from(trimmed).ok()?)?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let length = i64::try_from(significant.len()).ok()?.checked_add(zeros)?;
    if zeros < 0 || length > DIGITS_MAX {
        return None;
    }
    let value = significant.parse::<i128>().ok()? * 10_i128.pow(u32::try_from(zeros).ok()?);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::DecodeLimits;
    use proptest::prelude::*;

    fn read_int(json: &str) -> Option<i64> {
        int(&mut Cursor::new(json.as_bytes()), "intValue").ok()
    }

    #[test]
    fn integers_in_all_their_spellings() {
        for json in ["5", "\"5\"", "5.0", "5e0", "50e-1", "0.5E+1", "\"5.0\"", "5.000"] {
            assert_eq!(read_int(json), Some(5), "{json}");
        }
        assert_eq!(read_int("null"), Some(0));
        assert_eq!(read_int("-0"), Some(0));
        assert_eq!(read_int("0e999999999999"), Some(0));
        assert_eq!(read_int("\"-9223372036854775808\""), Some(i64::MIN));
        assert_eq!(read_int("9223372036854775807.0"), Some(i64::MAX));
        for json in
            ["5.5", "\"\"", "\"x\"", "true", "{}", "9223372036854775808", "1e40", "1e9223372036854775807", "5e-1"]
        {
            assert_eq!(read_int(json), None, "{json}");
        }
        let unsigned = |json: &str| int::<u64>(&mut Cursor::new(json.as_bytes()), "").ok();
        assert_eq!(unsigned("\"18446744073709551615\""), Some(u64::MAX));
        assert_eq!(unsigned("-1"), None);
    }

    #[test]
    fn enums_by_number_and_by_name() {
        let mut ledger = Ledger::new(DecodeLimits { spans_max: 1, span_items_max: 1, depth_max: 1 });
        let mut read =
            |json: &str| enumeration(&mut Cursor::new(json.as_bytes()), "kind", &["ZERO", "ONE"], &mut ledger).ok();
        assert_eq!(read("1"), Some(1));
        assert_eq!(read("\"ONE\""), Some(1));
        assert_eq!(read("99"), Some(99));
        assert_eq!(read("null"), Some(0));
        assert_eq!(read("\"TWO\""), None);
    }

    #[test]
    fn doubles_and_their_names() {
        let read = |json: &str| double(&mut Cursor::new(json.as_bytes()), "doubleValue").ok();
        assert!(read("\"NaN\"").is_some_and(f64::is_nan));
        assert_eq!(read("\"-Infinity\""), Some(f64::NEG_INFINITY));
        assert_eq!(read("-0.0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert_eq!(read("\"1.5\""), Some(1.5));
        for json in ["1e999", "\"inf\"", "\"nan\"", "true", "\"\""] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn bytes_in_both_alphabets_padded_or_not() {
        let read = |json: &str| bytes(&mut Cursor::new(json.as_bytes()), "bytesValue").ok();
        for json in ["\"+/8=\"", "\"+/8\"", "\"-_8=\"", "\"-_8\"", "\"+\\/8=\""] {
            assert_eq!(read(json), Some(vec![0xfb, 0xff]), "{json}");
        }
        assert_eq!(read("\"\""), Some(vec![]));
        assert_eq!(read("\"*\""), None);
        assert_eq!(read("5"), None);
    }

    #[test]
    fn hexadecimal_in_any_case() {
        let read = |json: &str| hex(&mut Cursor::new(json.as_bytes()), "traceId").ok();
        assert_eq!(read("\"aBCd\""), Some(vec![0xab, 0xcd]));
        assert_eq!(read("null"), Some(vec![]));
        assert_eq!(read("\"abc\""), None);
        assert_eq!(read("\"0g\""), None);
    }

    proptest! {
        #[test]
        fn every_integer_is_exact(n in any::<i64>()) {
            prop_assert_eq!(read_int(&n.to_string()), Some(n));
            prop_assert_eq!(read_int(&format!("\"{n}\"")), Some(n));
        }

        #[test]
        fn no_text_panics(text in "[0-9.eE+\\-\"]{0,30}") {
            let _ = integral(text.as_bytes());
        }
    }
}
