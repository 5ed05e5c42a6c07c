//! Python values that were printed into an attribute: `{'total_tokens': 522, 'cached': None}`, and the fields of a
//! printed object: `total_tokens=522 prompt_tokens=460`. Nothing is evaluated; what is no plain literal is not read.

use std::str::Chars;

use serde_json::{Map, Value};

/// Deeper than this, and it is not read.
const DEPTH_MAX: usize = 32;

/// The literal that `text` is.
pub(super) fn read(text: &str) -> Option<Value> {
    let (value, rest) = read_start(text)?;
    rest.trim().is_empty().then_some(value)
}

/// The literal that `text` begins with, and what follows it.
pub(super) fn read_start(text: &str) -> Option<(Value, &str)> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    Some((value, reader.rest))
}

/// JSON or a Python literal.
pub(super) fn read_json_or_literal(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| read(text))
}

/// The whole-number fields of a printed object: `a=1 b=2`, also inside `Class(a=1, b=2)`.
pub(super) fn count_fields(text: &str) -> Option<Value> {
    let inside = text.split_once('(').map_or(text, |(_, inside)| inside);
    let counts: Map<String, Value> = (inside.split([' ', ',', ')']))
        .filter_map(|field| field.split_once('='))
        .filter_map(|(name, count)| Some((name.to_owned(), Value::from(count.parse::<i64>().ok()?))))
        .collect();
    (!counts.is_empty()).then_some(Value::Object(counts))
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            '{' => self.dict(depth),
            '[' => self.items(']', depth),
            '(' => self.items(')', depth),
            quote @ ('\'' | '"') => self.string(quote).map(Value::String),
            _ => self.word(),
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        let mut fields = Map::new();
        self.take('{')?;
        while !self.ends_with('}')? {
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            self.take(':')?;
            fields.insert(key, self.value(depth + 1)?);
        }
        Some(Value::Object(fields))
    }

    fn items(&mut self, close: char, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.rest = &self.rest[1..];
        while !self.ends_with(close)? {
            items.push(self.value(depth + 1)?);
        }
        Some(Value::Array(items))
    }

    /// Takes a closing bracket, or the comma before the next item.
    fn ends_with(&mut self, close: char) -> Option<bool> {
        self.skip_space();
        if let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest;
            self.skip_space();
        }
        if let Some(rest) = self.rest.strip_prefix(close) {
            self.rest = rest;
            return Some(true);
        }
        (!self.rest.is_empty()).then_some(false)
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest[1..].chars();
        loop {
            match chars.next()? {
                '\\' => text.push(escaped(&mut chars)?),
                end if end == quote => break,
                other => text.push(other),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }

    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find([',', ':', '}', ']', ')', ' ', '\n']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let value = match word {
            "None" => Value::Null,
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            number => {
                let whole = number.parse::<i64>().ok().map(Value::from);
                whole.or_else(|| number.parse::<f64>().ok().filter(|float| float.is_finite()).map(Value::from))?
            }
        };
        self.rest = rest;
        Some(value)
    }

    fn take(&mut self, expected: char) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

fn escaped(chars: &mut Chars<'_>) -> Option<char> {
    let digits = match chars.next()? {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        other => return Some(other),
    };
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + chars.next()?.to_digit(16)?;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_are_read_and_nothing_else() {
        for (text, value) in [
            (
                "{'a': 1, 'b': None, 'c': [True, 1.5], 'd': (1,)}",
                json!({"a": 1, "b": null, "c": [true, 1.5], "d": [1]}),
            ),
            (r#"{'it\'s': "\"x\"\n\xe9\u00e9"}"#, json!({"it's": "\"x\"\néé"})),
            ("{}", json!({})),
            ("'x'", json!("x")),
        ] {
            assert_eq!(read(text), Some(value), "{text}");
        }
        for text in ["", "{", "{'a'", "{'a':", "<Role.USER: 'user'>", "Thing(a=1)", "{'a': Thing()}", "'x", "[1"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"[".repeat(100_000)), None);
        assert_eq!(read_start("{'a': 1}) and more"), Some((json!({"a": 1}), ") and more")));
    }

    #[test]
    fn printed_objects_give_their_counts() {
        let counts = json!({"total_tokens": 522, "prompt_tokens": 460});
        assert_eq!(count_fields("total_tokens=522 prompt_tokens=460 name='x'"), Some(counts.clone()));
        assert_eq!(count_fields("UsageMetrics(total_tokens=522, prompt_tokens=460)"), Some(counts));
        assert_eq!(count_fields("None"), None);
    }
}
