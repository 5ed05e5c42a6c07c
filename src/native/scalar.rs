//! Readers of single values, as lenient as pydantic's lax mode, but for booleans: they are not numbers.

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;
use uuid::Uuid;

use crate::model::step::Status;

/// Why a value was not understood: pydantic's word for it, and what would be accepted.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    pub kind: &'static str,
    pub accepted: &'static str,
}

type Read<T> = Result<T, Problem>;

fn problem<T>(kind: &'static str, accepted: &'static str) -> Read<T> {
    Err(Problem { kind, accepted })
}

/// A string, byte for byte.
pub(super) fn text(value: &Value) -> Read<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => problem("string_type", "expected a string"),
    }
}

/// A string, or another scalar's JSON text. The empty string says nothing and reads as `None`, as null does.
pub(super) fn scalar_text(value: &Value) -> Read<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => problem("string_type", "expected a string"),
    }
}

/// A count of tokens: an integral number or a numeric string (`5`, `5.0`, `"5"`, `"5.0"`), 0 to 2^63 - 1.
pub(super) fn token_count(value: &Value) -> Read<i64> {
    const ACCEPTED: &str = "expected an integer from 0 to 9223372036854775807, or null";
    let count = match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => int,
            (None, Some(float)) if float.fract() != 0.0 => return problem("int_from_float", ACCEPTED),
            (None, Some(float)) => match integral(float) {
                Some(int) => int,
                None => return problem("less_than_equal", ACCEPTED),
            },
            (None, None) => return problem("int_type", ACCEPTED),
        },
        Value::String(text) => match integer_in(text.trim()) {
            Some(int) => int,
            None => return problem("int_parsing", ACCEPTED),
        },
        _ => return problem("int_type", ACCEPTED),
    };
    if count < 0 {
        return problem("greater_than_equal", ACCEPTED);
    }
    Ok(count)
}

/// `"12"`, `"+12"`, `"12.000"`, and `"1e3"`; `None` for what is no integer of 64 bits.
fn integer_in(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    };
    whole.parse().ok().or_else(|| integral(decimal_in(text)?))
}

/// `f64::from_str` also reads "inf" and "nan"; they are no decimals, but a reader of amounts tells them apart.
fn decimal_in(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn integral(float: f64) -> Option<i64> {
    /// 2^63, the first double that an i64 cannot hold.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    (float.fract() == 0.0 && (-BEYOND..BEYOND).contains(&float)).then_some(float as i64)
}

/// A cost or a latency: a finite number ≥ 0, or a numeric string.
pub(super) fn amount(value: &Value) -> Read<f64> {
    const ACCEPTED: &str = "expected a finite number, 0 or more, or null";
    let amount = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match decimal_in(text.trim()) {
            None => return problem("float_parsing", ACCEPTED),
            some => some,
        },
        _ => None,
    };
    match amount {
        None => problem("float_type", ACCEPTED),
        Some(amount) if !amount.is_finite() => problem("finite_number", ACCEPTED),
        Some(amount) if amount < 0.0 => problem("greater_than_equal", ACCEPTED),
        // Adding zero turns -0.0 into 0.0.
        Some(amount) => Ok(amount + 0.0),
    }
}

/// A UUID in any of its usual spellings: with or without hyphens, in braces, as a URN, in any case.
pub(super) fn uuid(value: &Value) -> Read<Uuid> {
    const ACCEPTED: &str = "expected a UUID such as 018f3f5e-7b1a-7c3d-9e2f-0123456789ab, or nothing";
    match value {
        Value::String(text) => Uuid::parse_str(text).or_else(|_| problem("uuid_parsing", ACCEPTED)),
        _ => problem("uuid_type", ACCEPTED),
    }
}

/// A trace id as W3C Trace Context writes it: 32 hexadecimal digits, not all zero. Read in any case, kept lower.
pub(super) fn trace_id(value: &Value) -> Read<String> {
    const ACCEPTED: &str = "expected 32 hexadecimal digits that are not all zero, or null";
    match value {
        Value::String(text) if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            match text.bytes().all(|b| b == b'0') {
                true => problem("value_error", ACCEPTED),
                false => Ok(text.to_ascii_lowercase()),
            }
        }
        Value::String(_) => problem("value_error", ACCEPTED),
        _ => problem("string_type", ACCEPTED),
    }
}

/// The status of a run, in any case.
pub(super) fn status(value: &Value) -> Read<Status> {
    const ACCEPTED: &str = "expected success, error, running or timeout, in any case";
    match value {
        Value::String(word) => match Status::from_word(word) {
            Some(status) => Ok(status),
            None => problem("literal_error", ACCEPTED),
        },
        _ => problem("string_type", ACCEPTED),
    }
}

/// A time in nanoseconds since 1970: RFC 3339 (without an offset it is UTC, as Python's `isoformat` leaves it), or
/// Unix time as a number or numeric string, in seconds up to 2e10 and in milliseconds beyond, as pydantic reads them;
/// numbers count to the microsecond. 1970 to 2262, what a signed 64-bit count of nanoseconds holds.
pub(super) fn instant_ns(value: &Value) -> Read<u64> {
    const ACCEPTED: &str = "expected a time from 1970 to 2262: RFC 3339 text or Unix seconds";
    const SECONDS_MAX: f64 = 2e10;
    let unix = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            if let Some(time) = rfc3339_ns(text.trim()) {
                return u64::try_from(time).or_else(|_| problem("datetime_parsing", ACCEPTED));
            }
            decimal_in(text.trim())
        }
        _ => return problem("datetime_type", ACCEPTED),
    };
    let Some(unix) = unix else { return problem("datetime_parsing", ACCEPTED) };
    let micros = if unix.abs() <= SECONDS_MAX { unix * 1e6 } else { unix * 1e3 };
    // NaN and what is out of range become a time that is refused, never another time.
    let ns = integral(micros.round()).and_then(|us| us.checked_mul(1000)).and_then(|ns| u64::try_from(ns).ok());
    ns.map_or_else(|| problem("datetime_parsing", ACCEPTED), Ok)
}

fn rfc3339_ns(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return time.timestamp_nanos_opt();
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    naive.and_utc().timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind<T>(read: Read<T>) -> Result<T, &'static str> {
        read.map_err(|problem| problem.kind)
    }

    #[test]
    fn token_counts() {
        for (value, expected) in [
            (json!(0), Ok(0)),
            (json!(5.0), Ok(5)),
            (json!("5"), Ok(5)),
            (json!(" 5.0 "), Ok(5)),
            (json!("1e3"), Ok(1000)),
            (json!(i64::MAX), Ok(i64::MAX)),
            (json!("9223372036854775807.0"), Ok(i64::MAX)),
            (json!(u64::MAX), Err("less_than_equal")),
            (json!(1e30), Err("less_than_equal")),
            (json!(5.5), Err("int_from_float")),
            (json!(-1), Err("greater_than_equal")),
            (json!("-1"), Err("greater_than_equal")),
            (json!("5.5"), Err("int_parsing")),
            (json!("many"), Err("int_parsing")),
            (json!(""), Err("int_parsing")),
            (json!("inf"), Err("int_parsing")),
            (json!("9223372036854775808"), Err("int_parsing")),
            (json!(true), Err("int_type")),
            (json!([1]), Err("int_type")),
        ] {
            assert_eq!(kind(token_count(&value)), expected, "{value}");
        }
    }

    #[test]
    fn amounts() {
        for (value, expected) in [
            (json!(0), Ok(0.0)),
            (json!(0.25), Ok(0.25)),
            (json!(u64::MAX), Ok(u64::MAX as f64)),
            (json!("1.5"), Ok(1.5)),
            (json!(" 2 "), Ok(2.0)),
            (json!("NaN"), Err("finite_number")),
            (json!("-inf"), Err("finite_number")),
            (json!("1e999"), Err("finite_number")),
            (json!(-0.001), Err("greater_than_equal")),
            (json!("free"), Err("float_parsing")),
            (json!(""), Err("float_parsing")),
            (json!(false), Err("float_type")),
            (json!({}), Err("float_type")),
        ] {
            assert_eq!(kind(amount(&value)), expected, "{value}");
        }
        assert!(amount(&json!(-0.0)).unwrap().is_sign_positive());
    }

    #[test]
    fn uuids_in_every_usual_spelling() {
        let id = Uuid::from_u128(0x018f_3f5e_7b1a_7c3d_9e2f_0123_4567_89ab);
        for spelling in [
            id.to_string(),
            id.to_string().to_uppercase(),
            id.simple().to_string(),
            id.braced().to_string(),
            id.urn().to_string(),
        ] {
            assert_eq!(uuid(&json!(spelling)), Ok(id), "{spelling}");
        }
        assert_eq!(kind(uuid(&json!("run-1"))), Err("uuid_parsing"));
        assert_eq!(kind(uuid(&json!(1))), Err("uuid_type"));
    }

    #[test]
    fn trace_ids() {
        let id = "4BF92F3577B34DA6A3CE929D0E0E4736";
        assert_eq!(trace_id(&json!(id)), Ok(id.to_lowercase()));
        for bad in ["", "0".repeat(32).as_str(), &id[1..], "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"] {
            assert_eq!(kind(trace_id(&json!(bad))), Err("value_error"), "{bad}");
        }
    }

    #[test]
    fn times() {
        const NOON_NS: u64 = 1_704_110_400_000_000_000;
        for (value, expected) in [
            (json!("2024-01-01T12:00:00Z"), Ok(NOON_NS)),
            (json!("2024-01-01T14:00:00.000000001+02:00"), Ok(NOON_NS + 1)),
            (json!("2024-01-01T12:00:00.5"), Ok(NOON_NS + 500_000_000)),
            (json!("2024-01-01 12:00:00"), Ok(NOON_NS)),
            (json!(1_704_110_400), Ok(NOON_NS)),
            (json!(1_704_110_400.25), Ok(NOON_NS + 250_000_000)),
            (json!(1_704_110_400_000i64), Ok(NOON_NS)),
            (json!("1704110400"), Ok(NOON_NS)),
            (json!(0), Ok(0)),
            (json!(-1), Err("datetime_parsing")),
            (json!("1969-12-31T23:59:59Z"), Err("datetime_parsing")),
            (json!("2300-01-01T00:00:00Z"), Err("datetime_parsing")),
            (json!(1e300), Err("datetime_parsing")),
            (json!("nan"), Err("datetime_parsing")),
            (json!("yesterday"), Err("datetime_parsing")),
            (json!(true), Err("datetime_type")),
        ] {
            assert_eq!(kind(instant_ns(&value)), expected, "{value}");
        }
    }
}
