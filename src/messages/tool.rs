//! Arguments and results of tools without what frameworks wrap around them. The stored values stay as sent.

use serde_json::{Map, Value};

use super::part::{is_block, parts};
use super::seal::Seal;
use super::{LEVELS_MAX, Part, open_fully, plain};

/// The arguments in a stored tool input: JSON in strings opened, `{"args": [], "kwargs": {…}}` taken off.
pub fn tool_arguments(stored: &str) -> Value {
    if let Some(seal) = Seal::read(stored) {
        return seal.arguments();
    }
    let mut value = open_fully(Value::String(stored.to_owned()));
    for _ in 0..LEVELS_MAX {
        match unwrapped(&value) {
            Some(inner) => value = open_fully(inner),
            None => break,
        }
    }
    value
}

/// What stands inside the wrapping of a decorator (keyword arguments, or a single positional one), of a list of one
/// object, or of a request that names the tool too.
fn unwrapped(value: &Value) -> Option<Value> {
    if let Some([only @ Value::Object(_)]) = value.as_array().map(Vec::as_slice) {
        return Some(only.clone());
    }
    let object = value.as_object()?;
    if let Some(arguments) = of_request(object) {
        return Some(arguments.clone());
    }
    let is_wrapping = object.keys().all(|key| matches!(key.as_str(), "args" | "kwargs"));
    if object.is_empty() || !is_wrapping {
        return None;
    }
    match (
        object.get("args").and_then(Value::as_array).map(Vec::as_slice),
        object.get("kwargs").and_then(Value::as_object),
    ) {
        (None | Some([]), Some(kwargs)) => Some(Value::Object(kwargs.clone())),
        (Some([only]), kwargs) if kwargs.is_none_or(Map::is_empty) => Some(only.clone()),
        _ => None,
    }
    .filter(|inner| inner != value)
}

/// `{"name": "f", "arguments": {…}}`, with nothing beside that a tool could be told.
fn of_request(object: &Map<String, Value>) -> Option<&Value> {
    const BESIDE: [&str; 8] = ["name", "tool_name", "id", "call_id", "tool_call_id", "type", "description", "index"];
    const ARGUMENTS: [&str; 4] = ["arguments", "args", "parameters", "input"];
    let names_tool = ["name", "tool_name"].iter().any(|key| object.get(*key).is_some_and(Value::is_string));
    let is_known = |key: &String| BESIDE.contains(&key.as_str()) || ARGUMENTS.contains(&key.as_str());
    let arguments = ARGUMENTS.iter().find_map(|key| object.get(*key))?;
    let is_structure = matches!(super::open_fully(arguments.clone()), Value::Object(_));
    (names_tool && is_structure && object.keys().all(is_known)).then_some(arguments)
}

/// Do two values name the same arguments? Nulls do not count, JSON in strings is opened, and a tool with one
/// argument may have been handed that alone (`Paris` for `{"city": "Paris"}`).
pub fn same_arguments(one: &Value, other: &Value) -> bool {
    let (one, other) = (without_nulls(one), without_nulls(other));
    one == other || is_only_value(&one, &other) || is_only_value(&other, &one)
}

pub(super) fn without_nulls(value: &Value) -> Value {
    match open_fully(value.clone()) {
        Value::Object(object) => Value::Object(object.into_iter().filter(|(_, v)| !v.is_null()).collect()),
        Value::Null => Value::Object(Map::new()),
        Value::String(text) if text.is_empty() => Value::Object(Map::new()),
        Value::Array(mut items) if items.len() == 1 => items.remove(0),
        other => other,
    }
}

fn is_only_value(object: &Value, value: &Value) -> bool {
    let Some(object) = object.as_object().filter(|object| object.len() == 1) else { return false };
    object.values().all(|only| open_fully(only.clone()) == *value)
}

/// The text of a tool's result: serialised tool messages, lists of blocks and typed outputs give their content.
pub fn result_text(content: &Value) -> String {
    view(content, 0).unwrap_or_else(|| plain(content))
}

fn view(content: &Value, level: usize) -> Option<String> {
    if level > LEVELS_MAX {
        return None;
    }
    match content {
        Value::String(text) => {
            let opened = super::open(text)?;
            if opened.is_string() {
                Some(view(&opened, level + 1).unwrap_or_else(|| plain(&opened)))
            } else {
                view(&opened, level + 1)
            }
        }
        Value::Array(items) => {
            let all_blocks = !items.is_empty() && items.iter().all(|item| item.as_object().is_some_and(is_block));
            if !all_blocks {
                return None;
            }
            let texts: Vec<String> = items.iter().flat_map(|item| parts(item, 0)).filter_map(text_of).collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        Value::Object(object) => of_object(object, level),
        _ => None,
    }
}

/// `{"id": "c1", "name": "f", "response": …}`: a result that names its call, with nothing beside that the tool said.
fn of_response(object: &Map<String, Value>) -> Option<&Value> {
    const BESIDE: [&str; 7] = ["name", "tool_name", "id", "call_id", "tool_call_id", "status", "role"];
    const RESULTS: [&str; 4] = ["response", "result", "output", "content"];
    let is_known = |key: &String| BESIDE.contains(&key.as_str()) || RESULTS.contains(&key.as_str());
    let names_call = ["name", "tool_name", "tool_call_id", "call_id"].iter().any(|key| object.contains_key(*key));
    let result = RESULTS.iter().find_map(|key| object.get(*key))?;
    (names_call && object.keys().all(is_known)).then_some(result)
}

fn text_of(part: Part) -> Option<String> {
    match part {
        Part::Text(text) => Some(text),
        _ => None,
    }
}

fn of_object(object: &Map<String, Value>, level: usize) -> Option<String> {
    // LangChain's serialised tool message, the AI SDK's typed output, the content list of MCP, single-field envelopes.
    let inner = match object.get("type").and_then(Value::as_str) {
        Some("tool") => object.get("data").and_then(|data| data.get("content")).or_else(|| object.get("content")),
        Some("constructor") => object.get("kwargs").and_then(|kwargs| kwargs.get("content")),
        Some("text" | "json" | "error-text" | "error-json") => object.get("value").or_else(|| object.get("text")),
        _ if object.len() == 1 => ["output", "result", "content", "text"].iter().find_map(|key| object.get(*key)),
        _ => of_response(object).or_else(|| object.get("content").filter(|content| content.is_array())),
    }?;
    Some(view(inner, level + 1).unwrap_or_else(|| plain(inner)))
}
