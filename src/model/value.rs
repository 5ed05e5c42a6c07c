//! OpenTelemetry's AnyValue, and the JSON form in which it is stored without loss.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Number, Value};

/// The largest integer that a JSON reader built on doubles still gets right: 2^53 - 1.
const INT_PLAIN_MAX: u64 = (1 << 53) - 1;

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

    /// The JSON value without loss, see [`Serialize`] below for the tagged forms.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The JSON value as a person would write it: no tags, large integers as numbers, bytes as base64 text.
    pub fn to_plain_json(&self) -> Value {
        match self {
            AnyValue::Null => Value::Null,
            AnyValue::Bool(b) => Value::Bool(*b),
            AnyValue::Int(n) => Value::from(*n),
            AnyValue::Double(d) => Number::from_f64(*d).map_or_else(|| Value::from(d.to_string()), Value::Number),
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

/// The stored form (mapping.md §9): JSON as it stands where JSON can say it, else an object with one tag:
/// `$int` beyond ±(2^53 - 1), `$double` where a jsonb number would lose the value or its type, `$bytes`,
/// `$text` for a string with U+0000, `$kvlist` for keys that are repeated, tagged or hold U+0000.
impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            AnyValue::Null => out.serialize_unit(),
            AnyValue::Bool(b) => out.serialize_bool(*b),
            AnyValue::Int(n) if n.unsigned_abs() <= INT_PLAIN_MAX => out.serialize_i64(*n),
            AnyValue::Int(n) => tag(out, "$int", &n.to_string()),
            AnyValue::Double(d) if is_plain_double(*d) => out.serialize_f64(*d),
            AnyValue::Double(d) => tag(out, "$double", &d.to_string()),
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
    if pairs.iter().any(|(k, _)| k.starts_with('$') || k.contains('\0')) || has_duplicates(pairs) {
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

fn tag<S: Serializer>(out: S, name: &'static str, value: &str) -> Result<S::Ok, S::Error> {
    let mut map = out.serialize_map(Some(1))?;
    map.serialize_entry(name, value)?;
    map.end()
}
