//! Plain text views of inputs and outputs.

use serde_json::{Map, Value};

use super::part::{is_block, parts};
use super::seal::Seal;
use super::{LEVELS_MAX, Message, Part, open, plain, shape};

/// What an output says to a reader.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputText {
    Text(String),
    /// The assistant only asked for tools: compact JSON of its calls.
    ToolCalls(String),
    /// An object that no rule knows, or nothing.
    Opaque,
}

/// Values that instrumentations write for "nothing": they hold no content.
pub fn is_usable(text: &str) -> bool {
    const NOTHING: [&str; 13] = [
        "",
        "null",
        "None",
        "undefined",
        "{}",
        "[]",
        "\"\"",
        "''",
        "N/A",
        "{\"output\":null}",
        "{\"output\": null}",
        "<not serializable>",
        "<not specified>",
    ];
    let trimmed = text.trim();
    let unquoted =
        trimmed.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\''])).map_or(trimmed, str::trim);
    trimmed != "[object Object]" && !NOTHING.contains(&trimmed) && !NOTHING.contains(&unquoted)
}

/// Whether a stored output holds an answer: not the shell of one, whose members are all empty, and not the report of an
/// error in its place.
pub fn is_answer(stored: &str) -> bool {
    if let Some(seal) = Seal::read(stored) {
        return seal.is_answer;
    }
    if !is_usable(stored) {
        return false;
    }
    let Some(Value::Object(object)) = stored.trim_start().starts_with('{').then(|| open(stored)).flatten() else {
        return true;
    };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let holds = |key: &str| object.get(key).is_some_and(|value| !is_empty(value));
    let is_error = holds("error_code") || holds("error_message") || object.get("type") == Some(&Value::from("error"));
    let has_content = ["content", "text", "output", "message", "messages", "result"].into_iter().any(holds);
    let is_shell = object.values().all(is_empty);
    !is_shell && (!is_error || has_content)
}

pub(super) fn input(stored: &str) -> Option<String> {
    if let Some(seal) = Seal::read(stored) {
        return seal.input();
    }
    of_text(stored, 0, Side::Input).and_then(View::said)
}

/// The text of an output, with the difference between what was said and what was only asked for.
pub fn output_view(stored: &str) -> OutputText {
    if let Some(seal) = Seal::read(stored) {
        return seal.output();
    }
    match of_text(stored, 0, Side::Output) {
        Some(View::Said(text)) => OutputText::Text(text),
        Some(View::Calls(calls)) => OutputText::ToolCalls(calls),
        None => OutputText::Opaque,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Input,
    Output,
}

enum View {
    Said(String),
    Calls(String),
}

impl View {
    fn said(self) -> Option<String> {
        match self {
            View::Said(text) => Some(text),
            View::Calls(_) => None,
        }
    }
}

fn said(text: &str) -> Option<View> {
    is_usable(text).then(|| View::Said(text.to_owned()))
}

fn of_text(text: &str, level: usize, side: Side) -> Option<View> {
    if !is_usable(text) {
        return None;
    }
    if level <= LEVELS_MAX
        && let Some(value) = open(text)
    {
        return of_value(&value, text, level, side);
    }
    if is_object_dump(text) { None } else { said(text) }
}

/// `as_sent` is the text of the value, shown when a list is nothing but plain data.
fn of_value(value: &Value, as_sent: &str, level: usize, side: Side) -> Option<View> {
    if level > LEVELS_MAX {
        return None;
    }
    match value {
        Value::Null => None,
        Value::String(text) => of_text(text, level + 1, side),
        Value::Bool(_) | Value::Number(_) => said(as_sent),
        Value::Array(items) => match shape::messages(value, level) {
            Some(messages) => of_messages(&messages, side),
            None => of_list(items, as_sent, level, side),
        },
        Value::Object(object) => match shape::messages(value, level) {
            Some(messages) => of_messages(&messages, side).or_else(|| of_object(object, level, side)),
            None => of_object(object, level, side),
        },
    }
}

fn of_messages(messages: &[Message], side: Side) -> Option<View> {
    let texts = |role: &str| messages.iter().rev().filter(move |m| m.role == role).find_map(Message::text);
    match side {
        Side::Input => {
            let any = || messages.iter().rev().filter(|m| m.role != "tool").find_map(Message::text);
            texts("user").or_else(any).map(View::Said)
        }
        Side::Output => last_turn(messages),
    }
}

/// What the assistant said after the last word of the user; else what it asked for; else what a tool answered.
fn last_turn(messages: &[Message]) -> Option<View> {
    let after = messages.iter().rposition(|m| m.role == "user" && m.text().is_some()).map_or(0, |i| i + 1);
    let turn = &messages[after..];
    let assistant = || turn.iter().rev().filter(|m| !matches!(m.role.as_str(), "tool" | "system" | "user"));
    if let Some(text) = assistant().find_map(Message::text) {
        return Some(View::Said(text));
    }
    if let Some(calls) = assistant().find_map(calls_json) {
        return Some(View::Calls(calls));
    }
    turn.iter().rev().find_map(|m| {
        m.parts.iter().rev().find_map(|part| match part {
            Part::ToolResult { content, .. } => said(&super::result_text(content)),
            _ => None,
        })
    })
}

fn calls_json(message: &Message) -> Option<String> {
    let calls: Vec<Value> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall { id, name, arguments } => {
                let arguments = super::open_fully(arguments.clone());
                let mut call = Map::new();
                call.extend(id.as_ref().map(|id| ("id".to_owned(), Value::from(id.as_str()))));
                call.insert("name".to_owned(), Value::from(name.as_str()));
                call.insert("arguments".to_owned(), arguments);
                Some(Value::Object(call))
            }
            _ => None,
        })
        .collect();
    (!calls.is_empty()).then(|| Value::Array(calls).to_string())
}

fn of_list(items: &[Value], as_sent: &str, level: usize, side: Side) -> Option<View> {
    if let [only] = items {
        return of_value(only, &plain(only), level + 1, side).or_else(|| of_blocks(items));
    }
    if !items.is_empty() && items.iter().all(Value::is_string) {
        let texts: Vec<&str> = items.iter().filter_map(Value::as_str).filter(|text| is_usable(text)).collect();
        return said(&texts.join("\n"));
    }
    if let Some(view) = of_blocks(items) {
        return Some(view);
    }
    let is_plain_data = items.iter().all(|item| !item.is_object() && !item.is_array());
    if is_plain_data { said(as_sent) } else { None }
}

/// Blocks of content without a message around them.
fn of_blocks(items: &[Value]) -> Option<View> {
    if !items.iter().all(|item| item.as_object().is_some_and(is_block)) {
        return None;
    }
    let parts = items.iter().flat_map(|item| parts(item, 0)).collect();
    let message = Message { role: "assistant".to_owned(), parts, ..Message::default() };
    message.text().map(View::Said).or_else(|| calls_json(&message).map(View::Calls))
}

const INPUT_KEYS: [&str; 19] = [
    "messages",
    "input_args",
    "input",
    "inputs",
    "query",
    "question",
    "prompt",
    "task",
    "text",
    "user_input",
    "user_msg",
    "user_message",
    "message",
    "request",
    "content",
    "contents",
    "args",
    "kwargs",
    "value",
];

const OUTPUT_KEYS: [&str; 19] = [
    "message",
    "messages",
    "output",
    "outputs",
    "answer",
    "result",
    "response",
    "content",
    "text",
    "final_output",
    "final_result",
    "final_answer",
    "completion",
    "generations",
    "replies",
    "blocks",
    "value",
    "combined_chunk_content",
    // CrewAI, beside the same in other forms.
    "raw",
];

fn of_object(object: &Map<String, Value>, level: usize, side: Side) -> Option<View> {
    let keys: &[&str] = if side == Side::Input { &INPUT_KEYS } else { &OUTPUT_KEYS };
    for key in keys {
        let Some(inside) = object.get(*key) else { continue };
        // Several positional arguments have no one text.
        if *key == "args" && inside.as_array().is_some_and(|args| args.len() != 1) {
            continue;
        }
        if let Some(view) = of_value(inside, &plain(inside), level + 1, side) {
            return Some(view);
        }
    }
    // An object with one text says that text.
    let mut texts = object.values();
    match (texts.next(), texts.next()) {
        (Some(Value::String(text)), None) => of_text(text, level + 1, side),
        _ => None,
    }
}

/// `<pkg.Thing object at 0x7f…>` and `Thing(field=…)`: what Python and Java print for an object.
fn is_object_dump(text: &str) -> bool {
    let text = text.trim();
    if text.starts_with('<') && text.ends_with('>') && text.contains(" at 0x") {
        return true;
    }
    if is_field_dump(text) {
        return true;
    }
    let Some((class, rest)) = text.split_once('(') else { return false };
    let is_class = class.starts_with(|c: char| c.is_ascii_uppercase())
        && class.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    let Some((field, _)) = rest.split_once('=') else { return false };
    is_class && is_identifier(field)
}

/// `id='7' source='user' metadata={}`: what Pydantic prints for a model.
fn is_field_dump(text: &str) -> bool {
    let Some((field, rest)) = text.split_once("='") else { return false };
    let next = rest.split_once("' ").and_then(|(_, rest)| rest.split_once('='));
    is_identifier(field) && next.is_some_and(|(field, _)| is_identifier(field))
}

fn is_identifier(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
