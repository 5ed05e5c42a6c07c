//! The fields of a run, but for its steps.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::fault::{Faults, Place};
use super::scalar::{self, Problem};
use crate::model::run::Declared;
use crate::model::step::Status;

/// Every field that a run may have. Whatever else a body holds is refused: nothing passes silently.
const FIELDS: [&str; 19] = [
    "run_id",
    "model",
    "input",
    "output",
    "tokens",
    "cost",
    "latency",
    "status",
    "error",
    "steps",
    "name",
    "agent",
    "session_id",
    "user_id",
    "tags",
    "metadata",
    "input_tokens",
    "output_tokens",
    "trace_id",
];

/// The run id, if the body has one, and the declared run, its hash still to be filled in. Where there are faults the
/// values are defaults, and the caller uses none of them.
pub(super) fn read(fields: &Map<String, Value>, body: &Value, faults: &mut Faults) -> (Option<Uuid>, Declared) {
    let mut reader = Reader { fields, body, faults };
    reader.refuse_unknown();
    let run_id = reader.optional("run_id", scalar::uuid);
    let model = reader.required("model", scalar::text).map(|model| model.trim().to_owned());
    if model.as_deref() == Some("") {
        reader.fault("string_too_short", "model", "expected the name of a model, not blank");
    }
    let input = reader.required("input", scalar::text);
    let status = reader.required("status", scalar::status);
    let declared = Declared {
        model: model.unwrap_or_default(),
        input: input.unwrap_or_default(),
        output: reader.optional("output", scalar::text),
        tokens: reader.optional("tokens", scalar::token_count),
        cost: reader.optional("cost", scalar::amount),
        latency: reader.optional("latency", scalar::amount),
        status: status.unwrap_or_default(),
        error: reader.error(status),
        name: reader.named("name"),
        agent: reader.named("agent"),
        session_id: reader.named("session_id"),
        user_id: reader.named("user_id"),
        tags: reader.tags(),
        metadata: reader.metadata(),
        input_tokens: reader.optional("input_tokens", scalar::token_count),
        output_tokens: reader.optional("output_tokens", scalar::token_count),
        trace_id: reader.optional("trace_id", scalar::trace_id),
        hash: Uuid::nil(),
    };
    (run_id, declared)
}

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    body: &'a Value,
    faults: &'a mut Faults,
}

impl<'a> Reader<'a> {
    fn refuse_unknown(&mut self) {
        for (name, value) in self.fields {
            if !FIELDS.contains(&name.as_str()) {
                let accepted =
                    format!("not a field of a run; accepted are {}. `metadata` takes anything else", FIELDS.join(", "));
                self.faults.add("extra_forbidden", Place::BODY.field(name), &accepted, value);
            }
        }
    }

    /// The field, `None` where it is absent or null or has a fault.
    fn optional<T>(&mut self, name: &str, read: impl Fn(&Value) -> Result<T, Problem>) -> Option<T> {
        self.fields.get(name).filter(|value| !value.is_null()).and_then(|value| self.understood(name, value, read))
    }

    /// An optional string that says nothing when it is empty.
    fn named(&mut self, name: &str) -> Option<String> {
        self.optional(name, scalar::text).filter(|text| !text.is_empty())
    }

    fn required<T>(&mut self, name: &str, read: impl Fn(&Value) -> Result<T, Problem>) -> Option<T> {
        match self.fields.get(name) {
            Some(value) => self.understood(name, value, read),
            None => {
                self.faults.add("missing", Place::BODY.field(name), "this field is required", self.body);
                None
            }
        }
    }

    fn understood<T>(&mut self, name: &str, value: &Value, read: impl Fn(&Value) -> Result<T, Problem>) -> Option<T> {
        read(value).map_err(|p| self.faults.add(p.kind, Place::BODY.field(name), p.accepted, value)).ok()
    }

    fn fault(&mut self, kind: &'static str, name: &str, accepted: &str) {
        self.faults.add(kind, Place::BODY.field(name), accepted, self.fields.get(name).unwrap_or(&Value::Null));
    }

    /// Required and not blank exactly when the status is error; a blank one elsewhere is none. Nothing is asked of it
    /// but to be a string while the status itself is not known.
    fn error(&mut self, status: Option<Status>) -> Option<String> {
        const REQUIRED: &str = "required, and not blank, when status is error";
        let present = self.fields.get("error").filter(|value| !value.is_null());
        let text = match present {
            Some(value) => self.understood("error", value, scalar::text)?,
            None => String::new(),
        };
        let blank = text.trim().is_empty();
        match (status?, present) {
            (Status::Error, None) => {
                self.faults.add("missing", Place::BODY.field("error"), REQUIRED, self.body);
            }
            (Status::Error, Some(_)) if blank => self.fault("value_error", "error", REQUIRED),
            (Status::Error, Some(_)) => return Some(text),
            (_, _) if blank => {}
            (_, _) => self.fault("value_error", "error", "must be absent, null or blank unless status is error"),
        }
        None
    }

    fn tags(&mut self) -> Vec<String> {
        let Some(value) = self.fields.get("tags").filter(|value| !value.is_null()) else { return Vec::new() };
        let Some(items) = value.as_array() else {
            self.fault("list_type", "tags", "expected a list of strings, or null");
            return Vec::new();
        };
        let mut tags = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match scalar::text(item) {
                Ok(tag) => tags.push(tag),
                Err(p) => self.faults.add(p.kind, Place::BODY.field("tags").index(index), p.accepted, item),
            }
        }
        tags
    }

    fn metadata(&mut self) -> Map<String, Value> {
        match self.fields.get("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(metadata)) => metadata.clone(),
            Some(_) => {
                self.fault("dict_type", "metadata", "expected an object, or null");
                Map::new()
            }
        }
    }
}
