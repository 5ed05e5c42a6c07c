//! The steps of a native run at every depth: known free fields are lifted, everything else is kept in `metadata`.

use chrono::NaiveDate;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fault::{Faults, Place};
use super::scalar::{self, Problem};
use crate::model::id::RunKey;
use crate::model::step::{Facts, Source, Status, Step, StepType};

/// Steps inside steps, counted from 1. Parents named by `parent_id` may reach deeper. Two levels of JSON each, so that
/// one step too deep is still read by a JSON reader that stops at 128 levels, and gets its fault.
pub const STEP_DEPTH_MAX: usize = 60;
/// Steps of one request, at all depths together. A longer run is sent as running, and then in parts.
pub const STEPS_MAX: usize = 10_000;

/// A step as it was read: what only its neighbours can tell, id, parent and position, is still to be settled.
pub(super) struct Draft {
    pub step: Step,
    pub id: Option<String>,
    pub parent_id: Option<String>,
    /// Index of the step whose `children` hold this one.
    pub container: Option<usize>,
    /// Indexes from the top through `children`.
    pub path: Vec<usize>,
}

/// The steps of one body, in the order of the document.
pub(super) struct Steps {
    pub drafts: Vec<Draft>,
    /// Where the top steps stand.
    pub place: Place<'static>,
    run: RunKey,
    day: NaiveDate,
    is_full: bool,
}

impl Steps {
    pub fn new(run: RunKey, day: NaiveDate, place: Place<'static>) -> Steps {
        Steps { drafts: Vec::new(), place, run, day, is_full: false }
    }

    /// Reads the top steps: null, `""`, `{}` (no step), an object (one step) or a list.
    pub fn read(&mut self, value: &Value, faults: &mut Faults) {
        self.read_list(value, self.place, None, &[], faults);
    }

    /// `at` is the place of the list itself, `path` that of the step above it.
    fn read_list(
        &mut self,
        value: &Value,
        at: Place<'_>,
        container: Option<usize>,
        path: &[usize],
        faults: &mut Faults,
    ) {
        let items = match value {
            Value::Null => return,
            Value::String(text) if text.is_empty() => return,
            Value::Object(fields) if fields.is_empty() => return,
            Value::Object(_) => std::slice::from_ref(value),
            Value::Array(items) => items.as_slice(),
            _ => return faults.add("list_type", at, "expected a list of steps, one step as an object, or null", value),
        };
        if path.len() == STEP_DEPTH_MAX && !items.is_empty() {
            let accepted = format!(
                "steps may be nested {STEP_DEPTH_MAX} deep; name the parents of deeper ones with parent_id instead"
            );
            return faults.add("recursion_loop", at, &accepted, value);
        }
        for (index, item) in items.iter().enumerate() {
            if self.is_full {
                return;
            }
            self.read_step(item, container, [path, &[index]].concat(), faults);
        }
    }

    fn read_step(&mut self, value: &Value, container: Option<usize>, path: Vec<usize>, faults: &mut Faults) {
        if self.drafts.len() == STEPS_MAX {
            self.is_full = true;
            let accepted = format!(
                "at most {STEPS_MAX} steps in one request; send the run as running first and append the others"
            );
            return faults.add("too_long", self.place, &accepted, &Value::Null);
        }
        let top = self.place;
        let place = top.step(&path);
        let Some(fields) = value.as_object() else {
            return faults.add("dict_type", place, "expected a step, which is an object", value);
        };
        let mut reader = Reader { fields, place, faults };
        let step = reader.step(self.run, self.day);
        let (id, parent_id) = (reader.id("id"), reader.id("parent_id"));
        let own = self.drafts.len();
        self.drafts.push(Draft { step, id, parent_id, container, path: path.clone() });
        if let Some(children) = fields.get("children") {
            self.read_list(children, place.field("children"), Some(own), &path, faults);
        }
    }
}

/// Free fields of a step that have a column of their own; `type`, `metadata` and `children` are no free fields.
const LIFTED: [&str; 19] = [
    "type",
    "metadata",
    "children",
    "id",
    "parent_id",
    "name",
    "status",
    "error",
    "tokens",
    "input_tokens",
    "output_tokens",
    "cost",
    "model",
    "input",
    "output",
    "latency",
    "latency_ms",
    "started_at",
    "ended_at",
];

/// What stands for the text of an error that came without one: a failed step always has a text.
const ERROR_WITHOUT_TEXT: &str = "error";

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    place: Place<'a>,
    faults: &'a mut Faults,
}

impl<'a> Reader<'a> {
    fn step(&mut self, run: RunKey, day: NaiveDate) -> Step {
        let kind = self.field("type", scalar::scalar_text).flatten();
        let kind = kind.map_or(StepType::Unknown, |word| StepType::from_word(&word));
        let mut metadata = self.metadata();
        let (status, error) = self.outcome(&mut metadata);
        for (name, value) in self.fields {
            if !LIFTED.contains(&name.as_str()) {
                keep(&mut metadata, name, value);
            }
        }
        let start_ns = self.field("started_at", scalar::instant_ns);
        let end_ns = self.field("ended_at", scalar::instant_ns);
        let name = self.field("name", scalar::scalar_text).flatten();
        let mut step = Step {
            run,
            id: String::new(),
            parent_id: None,
            source: Source::Native,
            position: 0,
            name: name.unwrap_or_else(|| kind.as_str().to_owned()),
            kind,
            status,
            error,
            start_ns,
            end_ns,
            latency_ms: self.latency_ms(start_ns, end_ns),
            usage: Default::default(),
            cost: self.field("cost", scalar::amount),
            model: self.field("model", scalar::scalar_text).flatten(),
            provider: None,
            agent: None,
            input: self.payload("input"),
            output: self.payload("output"),
            facts: Facts::default(),
            detail: Value::Object(metadata).to_string(),
            origin: None,
            content_hash: Uuid::nil(),
            day,
        };
        step.usage.input = self.field("input_tokens", scalar::token_count);
        step.usage.output = self.field("output_tokens", scalar::token_count);
        let parts = step.usage.input.zip(step.usage.output).and_then(|(input, output)| input.checked_add(output));
        step.usage.total = self.field("tokens", scalar::token_count).or(parts);
        step
    }

    fn present(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn field<T>(&mut self, name: &str, read: impl Fn(&Value) -> Result<T, Problem>) -> Option<T> {
        let value = self.present(name)?;
        read(value).map_err(|p| self.faults.add(p.kind, self.place.field(name), p.accepted, value)).ok()
    }

    /// An id is a string or an integer; empty or null is none.
    fn id(&mut self, name: &str) -> Option<String> {
        self.field(name, |value| match value {
            Value::Number(number) if number.is_f64() => {
                Err(Problem { kind: "string_type", accepted: "expected a string or an integer" })
            }
            Value::Bool(_) => Err(Problem { kind: "string_type", accepted: "expected a string or an integer" }),
            value => scalar::scalar_text(value),
        })
        .flatten()
    }

    fn metadata(&mut self) -> Map<String, Value> {
        match self.present("metadata") {
            None => Map::new(),
            Some(Value::Object(metadata)) => metadata.clone(),
            Some(other) => {
                self.faults.add("dict_type", self.place.field("metadata"), "expected an object, or null", other);
                Map::new()
            }
        }
    }

    /// Status and error text. One of the four words (in any case) is taken at its word; anything else stays in the
    /// metadata, and the step has failed exactly when it has an error text. The text of a step that did not fail stays
    /// in the metadata too: a step has an error when, and only when, its status is error.
    fn outcome(&mut self, metadata: &mut Map<String, Value>) -> (Status, Option<String>) {
        let text = match self.present("error") {
            Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
            Some(Value::Bool(false)) | None => None,
            Some(structured) => Some(structured.to_string()),
        };
        let said = self.present("status");
        let known = said.and_then(Value::as_str).and_then(Status::from_word);
        if let (Some(word), None) = (said, known) {
            keep(metadata, "status", word);
        }
        let status = known.unwrap_or(if text.is_some() { Status::Error } else { Status::Success });
        match (status, text) {
            (Status::Error, text) => (status, Some(text.unwrap_or_else(|| ERROR_WITHOUT_TEXT.to_owned()))),
            (_, Some(text)) => {
                keep(metadata, "error", &Value::from(text));
                (status, None)
            }
            (_, None) => (status, None),
        }
    }

    /// `latency` and `latency_ms` are both milliseconds; without either it is what lies between the two times.
    fn latency_ms(&mut self, start_ns: Option<u64>, end_ns: Option<u64>) -> Option<f64> {
        let short = self.field("latency", scalar::amount);
        let long = self.field("latency_ms", scalar::amount);
        if let (Some(short), Some(long)) = (short, long)
            && short != long
        {
            let accepted = "differs from latency_ms; both are milliseconds, send one of them";
            self.faults.add("value_error", self.place.field("latency"), accepted, &self.fields["latency"]);
        }
        let measured = || Some(end_ns?.checked_sub(start_ns?)? as f64 / 1e6);
        long.or(short).or_else(measured)
    }

    /// A string as it stands, anything else as compact JSON text.
    fn payload(&self, name: &str) -> Option<String> {
        match self.present(name)? {
            Value::String(text) => Some(text.clone()),
            structured => Some(structured.to_string()),
        }
    }
}

/// Puts a free field into the metadata. What the sender wrote into `metadata` itself keeps its name; a free field that
/// says something else under the same name is kept as `step.NAME`. Nothing is lost.
fn keep(metadata: &mut Map<String, Value>, name: &str, value: &Value) {
    let mut name = name.to_owned();
    while metadata.get(&name).is_some_and(|kept| kept != value) {
        name.insert_str(0, "step.");
    }
    metadata.insert(name, value.clone());
}
