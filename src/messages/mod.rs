//! Chat messages in every shape that instrumentations send, read into one, and their plain text views.
//!
//! Readers are tolerant: a part that nobody knows becomes [`Part::Other`], a broken one never costs its neighbours.
//! JSON inside strings is opened up to [`LEVELS_MAX`] levels. Dumps of Python or Java objects stay closed.

mod part;
mod seal;
mod shape;
mod text;
mod tool;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use seal::{fingerprint, hidden, is_structure, is_structured, reveal, seal, without_tools};
pub use text::{OutputText, is_answer, is_usable, output_view};
pub use tool::{result_text, same_arguments, tool_arguments};

/// How many layers of wrapping (JSON in a string, an envelope, a nested list) are opened.
pub const LEVELS_MAX: usize = 4;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or the sender's own word.
    pub role: String,
    pub name: Option<String>,
    pub parts: Vec<Part>,
    /// As sent.
    pub finish_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Part {
    Text(String),
    Reasoning(String),
    ToolCall {
        id: Option<String>,
        name: String,
        arguments: Value,
    },
    ToolResult {
        id: Option<String>,
        name: Option<String>,
        content: Value,
        is_error: bool,
    },
    /// image, audio, video, file, uri and whatever is not known: kept as it stands.
    Other(Value),
}

impl Message {
    /// The texts of the message, one below the other; `None` when it has none. Reasoning is not text.
    pub fn text(&self) -> Option<String> {
        let texts: Vec<&str> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) if !text.is_empty() => Some(text.as_str()),
                _ => None,
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }
}

/// The messages of a step's stored input or output; `None` when it holds no messages.
///
/// Read are: the parts of the OpenTelemetry GenAI conventions, the chat and response forms of OpenAI, Anthropic,
/// Gemini and Bedrock Converse, the serialised messages of LangChain, LangGraph, Haystack, Pydantic AI and the AI SDK,
/// the events of the first GenAI conventions, and the envelopes around them (`choices`, `messages`, `generations`, …).
pub fn parse(stored: &str) -> Option<Vec<Message>> {
    if let Some(seal) = seal::Seal::read(stored) {
        return seal.messages();
    }
    shape::messages(&open(stored)?, 0).filter(|messages| !messages.is_empty())
}

/// Plain text of an input: the last user message, or what an object says. A plain string is itself. `None`: opaque.
pub fn input_text(stored: &str) -> Option<String> {
    text::input(stored)
}

/// Plain text of an output: the last assistant message, or what an object says. A plain string is itself; a message
/// that only asks for tools is the compact JSON of its calls. `None`: opaque.
pub fn output_text(stored: &str) -> Option<String> {
    match output_view(stored) {
        OutputText::Text(text) | OutputText::ToolCalls(text) => Some(text),
        OutputText::Opaque => None,
    }
}

/// The JSON value in a text that looks like an object, a list or a quoted string. The JSON reader itself refuses
/// nesting beyond 128, so what comes out is safe to recurse into.
fn open(text: &str) -> Option<Value> {
    let trimmed = text.trim();
    if !trimmed.starts_with(['{', '[', '"']) {
        return None;
    }
    serde_json::from_str(trimmed).ok()
}

/// Follows JSON inside strings down to a value that is no string of JSON.
fn open_fully(mut value: Value) -> Value {
    for _ in 0..LEVELS_MAX {
        let Value::String(text) = &value else { break };
        match open(text) {
            Some(inner) => value = inner,
            None => break,
        }
    }
    value
}

/// The text of a value: a string as it is, anything else as compact JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first of `keys` that holds something other than null.
fn first<'a>(object: &'a serde_json::Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| object.get(*key).filter(|value| !value.is_null()))
}

/// The first of `keys` that holds a string with something in it.
fn first_str<'a>(object: &'a serde_json::Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| object.get(*key)?.as_str().filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests;
