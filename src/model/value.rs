//! OpenTelemetry's AnyValue, and the JSON form in which it is stored without loss.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Number, Value};

/// The largest integer that a JSON reader built on doubles still gets right: 2^53 - 1.
const INT_PLAIN_MAX: u64 = (1 << 53) - 1;

/// JSON levels of the stored form of one value that every reader can follow: serde_json stops at 128, and the value
/// stands some levels deep in its document.
pub const STORED_LEVELS_MAX: usize = 100;

/// A value of an attribute. `Null` is an AnyValue without a value: legal, and not the same as an absent attribute.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum AnyValue {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Str(String),
    Bytes(Vec<u8>),
    Array(Vec<AnyValue>),
    Kvlist(Vec<(String, AnyValue)>),
}

impl AnyValue {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            AnyValue::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The stored form, see the tags at `Serialize` below. Nothing is lost but the order of the keys of a list.
    pub fn to_json(&self) -> Value {
        // Cannot fail: every key is a string, and no value brings an error of its own.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// JSON levels of the stored form: 0 for a scalar, 1 for an array of scalars. A tagged list takes three.
    pub fn stored_levels(&self) -> usize {
        let deepest = |levels: &mut dyn Iterator<Item = usize>| levels.max().unwrap_or(0);
        match self {
            AnyValue::Array(items) => 1 + deepest(&mut items.iter().map(AnyValue::stored_levels)),
            AnyValue::Kvlist(pairs) => {
                let own = if needs_tag(pairs) { 3 } else { 1 };
                own + deepest(&mut pairs.iter().map(|(_, value)| value.stored_levels()))
            }
            _ => 0,
        }
    }

    /// The JSON value as a person would write it: no tags, large integers as numbers, bytes as base64 text.
    pub fn to_plain_json(&self) -> Value {
        match self {
            AnyValue::Null => Value::Null,
            AnyValue::Bool(b) => Value::Bool(*b),
            AnyValue::Int(n) => Value::from(*n),
            AnyValue::Double(d) => Number::from_f64(*d).map_or_else(|| Value::from(double_text(*d)), Value::Number),
            AnyValue::Str(s) => Value::from(s.as_str()),
            AnyValue::Bytes(b) => Value::from(BASE64_STANDARD.encode(b)),
            AnyValue::Array(items) => Value::Array(items.iter().map(AnyValue::to_plain_json).collect()),
            AnyValue::Kvlist(pairs) => {
                Value::Object(pairs.iter().map(|(k, v)| (k.clone(), v.to_plain_json())).collect())
            }
        }
    }

    /// Reads the stored form back. Every JSON value has a meaning: what carries no known tag is taken as it stands.
    pub fn from_json(json: Value) -> AnyValue {
        match json {
            Value::Null => AnyValue::Null,
            Value::Bool(b) => AnyValue::Bool(b),
            Value::Number(n) => match n.as_i64() {
                Some(int) => AnyValue::Int(int),
                None => AnyValue::Double(n.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(s) => AnyValue::Str(s),
            Value::Array(items) => AnyValue::Array(items.into_iter().map(AnyValue::from_json).collect()),
            Value::Object(map) => from_object(map),
        }
    }
}

fn from_object(map: Map<String, Value>) -> AnyValue {
    if map.len() == 1
        && let Some((tag, value)) = map.iter().next()
        && tag.starts_with('$')
        && let Some(tagged) = from_tag(tag, value)
    {
        return tagged;
    }
    AnyValue::Kvlist(map.into_iter().map(|(k, v)| (k, AnyValue::from_json(v))).collect())
}

fn from_tag(tag: &str, value: &Value) -> Option<AnyValue> {
    match tag {
        "$int" => value.as_str()?.parse().ok().map(AnyValue::Int),
        "$double" => value.as_str()?.parse().ok().map(AnyValue::Double),
        "$bytes" => BASE64_STANDARD.decode(value.as_str()?).ok().map(AnyValue::Bytes),
        // A string that JSON in Postgres cannot hold, because U+0000 is in it.
        "$text" => {
            BASE64_STANDARD.decode(value.as_str()?).ok().and_then(|b| String::from_utf8(b).ok()).map(AnyValue::Str)
        }
        "$kvlist" => value.as_array()?.iter().map(pair_from_json).collect::<Option<_>>().map(AnyValue::Kvlist),
        _ => None,
    }
}

fn pair_from_json(pair: &Value) -> Option<(String, AnyValue)> {
    let [key, value] = pair.as_array()?.as_slice() else { return None };
    let AnyValue::Str(key) = AnyValue::from_json(key.clone()) else { return None };
    Some((key, AnyValue::from_json(value.clone())))
}

/// The stored form: JSON as it stands where JSON can say it, else an object with one tag:
/// `$int` beyond ±(2^53 - 1), `$double` where a jsonb number would lose the value or its type, `$bytes` in base64,
/// `$text` (base64 of UTF-8) for a string with U+0000, `$kvlist` (`[[key, value], …]`) for keys that are repeated,
/// start with `$` or hold U+0000.
impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            AnyValue::Null => out.serialize_unit(),
            AnyValue::Bool(b) => out.serialize_bool(*b),
            AnyValue::Int(n) if n.unsigned_abs() <= INT_PLAIN_MAX => out.serialize_i64(*n),
            AnyValue::Int(n) => tag(out, "$int", &n.to_string()),
            AnyValue::Double(d) if is_plain_double(*d) => out.serialize_f64(*d),
            AnyValue::Double(d) => tag(out, "$double", &double_text(*d)),
            AnyValue::Str(s) if s.contains('\0') => tag(out, "$text", &BASE64_STANDARD.encode(s)),
            AnyValue::Str(s) => out.serialize_str(s),
            AnyValue::Bytes(b) => tag(out, "$bytes", &BASE64_STANDARD.encode(b)),
            AnyValue::Array(items) => {
                let mut seq = out.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            AnyValue::Kvlist(pairs) => serialize_pairs(pairs, out),
        }
    }
}

/// Attributes as a JSON object, in the given order; `$kvlist` where an object could not hold the keys.
pub fn serialize_pairs<S: Serializer>(pairs: &[(String, AnyValue)], out: S) -> Result<S::Ok, S::Error> {
    if needs_tag(pairs) {
        let list: Vec<(AnyValue, &AnyValue)> = pairs.iter().map(|(k, v)| (AnyValue::Str(k.clone()), v)).collect();
        let mut map = out.serialize_map(Some(1))?;
        map.serialize_entry("$kvlist", &list)?;
        return map.end();
    }
    let mut map = out.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// Whether a plain object could not hold these keys, or not be told from a tag.
fn needs_tag(pairs: &[(String, AnyValue)]) -> bool {
    pairs.iter().any(|(k, _)| k.starts_with('$') || k.contains('\0')) || has_duplicates(pairs)
}

fn has_duplicates(pairs: &[(String, AnyValue)]) -> bool {
    if pairs.len() <= 8 {
        return pairs.iter().enumerate().any(|(i, (k, _))| pairs[..i].iter().any(|(earlier, _)| earlier == k));
    }
    let mut keys: Vec<&str> = pairs.iter().map(|(k, _)| k.as_str()).collect();
    keys.sort_unstable();
    keys.windows(2).any(|w| w[0] == w[1])
}

/// jsonb turns numbers into numeric: it keeps `1.0` but drops the sign of -0.0 and writes 1e300 as an integer.
fn is_plain_double(d: f64) -> bool {
    d.is_finite() && (d == 0.0 && d.is_sign_positive() || (1e-5..1e15).contains(&d.abs()))
}

/// The shortest text that reads back equal, with the names that OTLP/JSON has for what is no number.
fn double_text(d: f64) -> String {
    match d {
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => format!("{d:e}"),
    }
}

fn tag<S: Serializer>(out: S, name: &'static str, value: &str) -> Result<S::Ok, S::Error> {
    let mut map = out.serialize_map(Some(1))?;
    map.serialize_entry(name, value)?;
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(s: &str) -> AnyValue {
        AnyValue::Str(s.to_owned())
    }

    fn list(pairs: &[(&str, AnyValue)]) -> AnyValue {
        AnyValue::Kvlist(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    /// The stored form of `value`, which must read back equal.
    fn check(value: AnyValue, stored: Value) {
        assert_eq!(value.to_json(), stored);
        let back = AnyValue::from_json(serde_json::from_str(&stored.to_string()).unwrap());
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
    }

    #[test]
    fn plain_json_stays_plain() {
        check(AnyValue::Null, json!(null));
        check(AnyValue::Bool(true), json!(true));
        check(AnyValue::Int(-5), json!(-5));
        check(AnyValue::Double(1.0), json!(1.0));
        check(text(""), json!(""));
        check(AnyValue::Array(vec![]), json!([]));
        check(list(&[]), json!({}));
        check(list(&[("a", AnyValue::Null), ("b", text("$int"))]), json!({"a": null, "b": "$int"}));
    }

    #[test]
    fn integers_are_tagged_beyond_what_a_double_holds() {
        check(AnyValue::Int((1 << 53) - 1), json!(9007199254740991_i64));
        check(AnyValue::Int(1 << 53), json!({"$int": "9007199254740992"}));
        check(AnyValue::Int(1 - (1 << 53)), json!(-9007199254740991_i64));
        check(AnyValue::Int(i64::MIN), json!({"$int": "-9223372036854775808"}));
    }

    #[test]
    fn doubles_are_tagged_where_a_jsonb_number_changes() {
        check(AnyValue::Double(f64::NAN), json!({"$double": "NaN"}));
        check(AnyValue::Double(f64::NEG_INFINITY), json!({"$double": "-Infinity"}));
        check(AnyValue::Double(-0.0), json!({"$double": "-0e0"}));
        check(AnyValue::Double(f64::MAX), json!({"$double": "1.7976931348623157e308"}));
        check(AnyValue::Double(1e15), json!({"$double": "1e15"}));
        check(AnyValue::Double(999999999999999.9), json!(999999999999999.9));
        check(AnyValue::Double(1e-5), json!(1e-5));
        check(AnyValue::Double(9e-6), json!({"$double": "9e-6"}));
    }

    #[test]
    fn what_jsonb_cannot_hold_is_base64() {
        check(AnyValue::Bytes(vec![0, 255]), json!({"$bytes": "AP8="}));
        check(text("a\0"), json!({"$text": "YQA="}));
    }

    #[test]
    fn keys_that_an_object_cannot_hold_become_pairs() {
        check(list(&[("a", AnyValue::Int(1)), ("a", AnyValue::Int(2))]), json!({"$kvlist": [["a", 1], ["a", 2]]}));
        check(list(&[("$int", text("5"))]), json!({"$kvlist": [["$int", "5"]]}));
        check(list(&[("\0", AnyValue::Null)]), json!({"$kvlist": [[{"$text": "AA=="}, null]]}));
    }

    #[test]
    fn a_tag_that_makes_no_sense_is_an_ordinary_key() {
        let check = |stored: Value| {
            let AnyValue::Kvlist(pairs) = AnyValue::from_json(stored.clone()) else { panic!("{stored} was a tag") };
            assert_eq!(pairs.len(), 1);
        };
        check(json!({"$int": "many"}));
        check(json!({"$int": 5}));
        check(json!({"$bytes": "*"}));
        check(json!({"$text": "/w=="}));
        check(json!({"$kvlist": [["a"]]}));
        check(json!({"$other": 1}));
    }

    #[test]
    fn plain_json_is_for_people() {
        let value = AnyValue::Array(vec![AnyValue::Int(i64::MAX), AnyValue::Double(f64::INFINITY), text("a\0")]);
        assert_eq!(value.to_plain_json(), json!([i64::MAX, "Infinity", "a\0"]));
        assert_eq!(list(&[("$int", AnyValue::Bytes(vec![1]))]).to_plain_json(), json!({"$int": "AQ=="}));
    }

    #[test]
    fn levels_are_those_of_the_stored_form() {
        fn levels(json: &Value) -> usize {
            match json {
                Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
                Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or(0),
                _ => 0,
            }
        }
        let plain = AnyValue::Array(vec![list(&[("a", AnyValue::Array(vec![]))])]);
        assert_eq!((plain.stored_levels(), levels(&plain.to_json())), (3, 3));
        let tagged = list(&[("$a", list(&[("b", AnyValue::Int(1)), ("b", AnyValue::Null)]))]);
        assert_eq!((tagged.stored_levels(), levels(&tagged.to_json())), (6, 6));
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof!["[ab]", Just("$int".to_owned()), Just("$kvlist".to_owned()), Just("\0".to_owned()), any::<String>()]
    }

    fn any_value() -> impl Strategy<Value = AnyValue> {
        let leaf = prop_oneof![
            Just(AnyValue::Null),
            any::<bool>().prop_map(AnyValue::Bool),
            any::<i64>().prop_map(AnyValue::Int),
            (-9_i64..9).prop_map(AnyValue::Int),
            any::<u64>().prop_map(|bits| AnyValue::Double(f64::from_bits(bits))),
            (-1e16..1e16).prop_map(AnyValue::Double),
            any::<String>().prop_map(AnyValue::Str),
            any::<Vec<u8>>().prop_map(AnyValue::Bytes),
        ];
        leaf.prop_recursive(5, 30, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(AnyValue::Array),
                vec((key(), inner), 0..4).prop_map(AnyValue::Kvlist),
            ]
        })
    }

    /// With the keys of every list in order: what a JSON object does not keep.
    fn in_order(value: AnyValue) -> AnyValue {
        match value {
            AnyValue::Array(items) => AnyValue::Array(items.into_iter().map(in_order).collect()),
            AnyValue::Kvlist(pairs) => {
                let mut pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (k, in_order(v))).collect();
                pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
                AnyValue::Kvlist(pairs)
            }
            other => other,
        }
    }

    proptest! {
        /// Compared as text: NaN is not equal to itself, and -0.0 is equal to 0.0.
        #[test]
        fn nothing_is_lost_by_storing(value in any_value()) {
            let stored = serde_json::to_string(&value).unwrap();
            prop_assert!(!stored.contains("\\u0000"), "jsonb refuses it: {}", stored);
            let back = AnyValue::from_json(serde_json::from_str(&stored).unwrap());
            prop_assert_eq!(format!("{:?}", in_order(back)), format!("{:?}", in_order(value)));
        }
    }
}
