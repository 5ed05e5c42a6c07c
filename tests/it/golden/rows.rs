//! A run and its steps in few words: what a reader compares when a rule changes.

use serde_json::{Map, Value, json};

const RUN: [&str; 12] = [
    "name",
    "model",
    "agent",
    "service",
    "status",
    "session_id",
    "user_id",
    "tags",
    "final",
    "step_count",
    "error_count",
    "cost",
];
const STEP: [&str; 6] = ["error", "model", "provider", "agent", "cost", "status"];
const TEXTS: [&str; 3] = ["input", "output", "error"];
const COUNTS: [&str; 5] = ["tokens", "input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens"];

/// Of a step's metadata what assembly and mapping found, not what the sender sent: that is the fixture itself.
const FINDINGS: [&str; 22] = [
    "attempt",
    "cancelled",
    "control_flow",
    "cost_source",
    "counted",
    "duplicate_of",
    "error_source",
    "frame",
    "inferred",
    "inner_error",
    "input_source",
    "output_source",
    "plumbing",
    "price_missing",
    "redacted",
    "reported_usage",
    "root_missing",
    "timeout_reason",
    "tokens_source",
    "truncated",
    "type_source",
    "finish_reason",
];

pub fn of(detail: &Value) -> Value {
    let run = &detail["run"];
    let mut row = picked(run, &RUN);
    add_texts(&mut row, run);
    row.insert("tokens".to_owned(), counts(run));
    row.insert("metadata".to_owned(), run["metadata"].clone());
    let mut steps = Vec::new();
    flatten(&detail["tree"], &mut steps);
    json!({"run": row, "steps": steps})
}

fn flatten(nodes: &Value, into: &mut Vec<Value>) {
    for node in nodes.as_array().into_iter().flatten() {
        into.push(step(node));
        flatten(&node["children"], into);
    }
}

fn step(step: &Value) -> Value {
    let word = |field: &str| step[field].as_str().unwrap_or("-");
    let mut row = picked(step, &STEP);
    row.retain(|field, value| !(value.is_null() || field == "status" && value == "success"));
    add_texts(&mut row, step);
    row.retain(|_, value| !value.is_null());
    row.insert("step".to_owned(), json!(format!("{} {} < {}", word("type"), word("name"), word("parent_id"))));
    row.insert("id".to_owned(), step["id"].clone());
    if !step["tokens"].is_null() {
        row.insert("tokens".to_owned(), counts(step));
    }
    let findings = picked(&step["metadata"], &FINDINGS);
    row.extend(findings.into_iter().filter(|(_, finding)| !finding.is_null()));
    Value::Object(row)
}

fn picked(from: &Value, fields: &[&str]) -> Map<String, Value> {
    fields.iter().map(|field| ((*field).to_owned(), from[*field].clone())).collect()
}

fn counts(of: &Value) -> Value {
    COUNTS.iter().map(|field| of[*field].clone()).collect()
}

fn add_texts(row: &mut Map<String, Value>, of: &Value) {
    for field in TEXTS {
        row.insert(field.to_owned(), of[field].as_str().map_or(Value::Null, |text| Value::from(cut(text))));
    }
}

/// Enough of a text to know it again.
fn cut(text: &str) -> String {
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
