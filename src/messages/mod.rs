//! Chat messages in every shape that instrumentations send (mapping.md §5), read into one, and their plain text views.
use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub role: String,
    pub name: Option<String>,
    pub parts: Vec<Part>,
    pub finish_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
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

/// The messages of a step's stored input or output; `None` when it holds no messages (mapping.md §5 M1 to M14).
pub fn parse(_stored: &str) -> Option<Vec<Message>> {
    unimplemented!()
}
/// Plain text of an input: the last user message, or what an object says (mapping.md §4.3). `None`: opaque.
pub fn input_text(_stored: &str) -> Option<String> {
    unimplemented!()
}
/// Plain text of an output: the last assistant message, or what an object says. `None`: opaque.
pub fn output_text(_stored: &str) -> Option<String> {
    unimplemented!()
}
