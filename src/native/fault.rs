//! Faults of a native body, in the shape that FastAPI and pydantic 2 gave the clients of `POST /runs`.

use std::io;

use serde::Serialize;
use serde_json::Value;

/// More faults than this are counted, not listed.
pub const FAULTS_MAX: usize = 100;
/// An offending value is shown up to this size, so that the answer to a huge body stays small.
pub const FAULT_INPUT_MAX_BYTES: usize = 256;
/// Names of fields come from the sender too.
const FIELD_NAME_MAX_BYTES: usize = 128;

/// One fault: `{"type","loc":["body",…],"msg","input"}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// pydantic's word where one fits: `missing`, `string_type`, `int_parsing`, `extra_forbidden`, …
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Names and indexes from the body down to the value.
    pub loc: Vec<Value>,
    /// Names the field and says what is accepted.
    pub msg: String,
    /// The offending value, cut to [`FAULT_INPUT_MAX_BYTES`]; for a missing field the object that lacks it.
    pub input: Value,
}

/// Where a value stands in the body. Cheap to make and to copy; written out only when there is a fault.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The steps are the field `steps` of the body, not the body itself.
    steps_are_a_field: bool,
    /// Indexes from the list of steps down through `children`.
    path: &'a [usize],
    field: Option<&'a str>,
    index: Option<usize>,
}

impl<'a> Place<'a> {
    pub const BODY: Place<'static> = Place { steps_are_a_field: false, path: &[], field: None, index: None };
    /// Where the steps of a run stand.
    pub const RUN_STEPS: Place<'static> =
        Place { steps_are_a_field: true, path: &[], field: Some("steps"), index: None };

    /// A step, by its path under the steps that stand here.
    pub fn step(self, path: &'a [usize]) -> Place<'a> {
        Place { path, field: None, index: None, ..self }
    }

    pub fn field(self, name: &'a str) -> Place<'a> {
        Place { field: Some(name), index: None, ..self }
    }

    pub fn index(self, index: usize) -> Place<'a> {
        Place { index: Some(index), ..self }
    }

    fn segments(self) -> Vec<Value> {
        let mut segments = Vec::new();
        for (level, index) in self.path.iter().enumerate() {
            match level {
                0 if self.steps_are_a_field => segments.push(Value::from("steps")),
                0 => {}
                _ => segments.push(Value::from("children")),
            }
            segments.push(Value::from(*index));
        }
        segments.extend(self.field.map(|name| Value::from(cut(name, FIELD_NAME_MAX_BYTES))));
        segments.extend(self.index.map(Value::from));
        segments
    }
}

/// Gathers faults; lists the first [`FAULTS_MAX`] and counts the rest.
#[derive(Default)]
pub struct Faults {
    listed: Vec<Fault>,
    unlisted: usize,
}

impl Faults {
    /// `accepted` says what would be right; the name of the field is put before it.
    pub(super) fn add(&mut self, kind: &'static str, place: Place<'_>, accepted: &str, input: &Value) {
        if self.has_room() {
            self.list(kind, place.segments(), accepted, input);
        }
    }

    /// The same for a value of another body than that of a run, by the names and indexes down to it.
    pub fn add_at(&mut self, kind: &'static str, place: Vec<Value>, accepted: &str, input: &Value) {
        if self.has_room() {
            let named = |part: Value| match part {
                Value::String(name) => Value::from(cut(&name, FIELD_NAME_MAX_BYTES)),
                index => index,
            };
            self.list(kind, place.into_iter().map(named).collect(), accepted, input);
        }
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.listed.len() < FAULTS_MAX;
        self.unlisted += usize::from(!has_room);
        has_room
    }

    fn list(&mut self, kind: &'static str, segments: Vec<Value>, accepted: &str, input: &Value) {
        let name: Vec<String> =
            segments.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect();
        let msg = match name.is_empty() {
            true => format!("body: {accepted}"),
            false => format!("{}: {accepted}", name.join(".")),
        };
        let loc = std::iter::once(Value::from("body")).chain(segments).collect();
        self.listed.push(Fault { kind, loc, msg, input: bounded(input) });
    }

    pub fn into_result(self) -> Result<(), Vec<Fault>> {
        match self.listed.is_empty() {
            true => Ok(()),
            false => Err(self.into_list()),
        }
    }

    pub fn into_list(mut self) -> Vec<Fault> {
        if self.unlisted > 0 {
            self.listed.push(Fault {
                kind: "too_many_faults",
                loc: vec![Value::from("body")],
                msg: format!("body: {} more faults are not listed", self.unlisted),
                input: Value::Null,
            });
        }
        self.listed
    }
}

/// A copy of the value that is at most about [`FAULT_INPUT_MAX_BYTES`] long: long strings are cut, large lists and
/// objects are replaced by a description.
pub(super) fn bounded(input: &Value) -> Value {
    match input {
        Value::String(text) => Value::from(cut(text, FAULT_INPUT_MAX_BYTES)),
        Value::Array(items) if !is_short(input) => Value::from(format!("(a list of {} items)", items.len())),
        Value::Object(fields) if !is_short(input) => Value::from(format!("(an object of {} fields)", fields.len())),
        short => short.clone(),
    }
}

/// At most `max_bytes` of a text, cut on a character border and marked with an ellipsis.
pub(super) fn cut(text: &str, max_bytes: usize) -> String {
    match text.len() <= max_bytes {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(max_bytes)]),
    }
}

fn is_short(value: &Value) -> bool {
    serde_json::to_writer(Room(FAULT_INPUT_MAX_BYTES), value).is_ok()
}

/// Counts bytes and fails when they do not fit: a large value is not written out only to be measured.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_is_written_in_the_shape_of_fastapi() {
        let mut faults = Faults::default();
        faults.add("int_parsing", Place::RUN_STEPS.step(&[0, 1]).field("tokens"), "expected 0 or more", &json!("many"));
        let expected = json!([{
            "type": "int_parsing",
            "loc": ["body", "steps", 0, "children", 1, "tokens"],
            "msg": "steps.0.children.1.tokens: expected 0 or more",
            "input": "many",
        }]);
        assert_eq!(serde_json::to_value(faults.into_list()).unwrap(), expected);
    }

    #[test]
    fn the_hundredth_fault_is_listed_and_the_next_ones_are_counted() {
        for (added, listed, last) in [(100, 100, "model: wrong"), (103, 101, "body: 3 more faults are not listed")] {
            let mut faults = Faults::default();
            for _ in 0..added {
                faults.add("missing", Place::BODY.field("model"), "wrong", &Value::Null);
            }
            let list = faults.into_list();
            assert_eq!((list.len(), list.last().unwrap().msg.as_str()), (listed, last));
        }
    }

    #[test]
    fn an_input_is_cut_to_its_bound() {
        let exact = "x".repeat(FAULT_INPUT_MAX_BYTES);
        assert_eq!(bounded(&json!(exact)), json!(exact));
        assert_eq!(bounded(&json!(format!("{exact}x"))), json!(format!("{exact}…")));
        // A cut never falls inside a character.
        assert_eq!(bounded(&json!("é".repeat(200))), json!(format!("{}…", "é".repeat(128))));
        assert_eq!(bounded(&json!(["x".repeat(252)])), json!(["x".repeat(252)]));
        assert_eq!(bounded(&json!(["x".repeat(253)])), json!("(a list of 1 items)"));
        assert_eq!(bounded(&json!({"a": exact, "b": 1})), json!("(an object of 2 fields)"));
    }

    #[test]
    fn a_long_name_of_a_field_is_cut_everywhere() {
        let mut faults = Faults::default();
        faults.add("extra_forbidden", Place::BODY.field(&"k".repeat(10_000)), "unknown", &Value::Null);
        let text = serde_json::to_string(&faults.into_list()).unwrap();
        assert!(text.len() < 500, "{text}");
    }
}
