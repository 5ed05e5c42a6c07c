//! One part of a message: text, reasoning, a tool call, a tool result, or something else that is kept.

use serde_json::{Map, Value};

use super::{LEVELS_MAX, Part, first, first_str, open};

/// Reads `content` in any form into parts: a string, a block, or a list of both. Null is nothing.
pub(super) fn parts(content: &Value, level: usize) -> Vec<Part> {
    match content {
        Value::Null => Vec::new(),
        Value::String(text) => text_or_blocks(text, level),
        Value::Array(items) => items.iter().flat_map(|item| block(item, level)).collect(),
        other => block(other, level),
    }
}

/// Some senders put the list of blocks into the content as JSON text. It counts only when every item is a known block:
/// a user may well write JSON.
fn text_or_blocks(text: &str, level: usize) -> Vec<Part> {
    if level < LEVELS_MAX
        && text.trim_start().starts_with('[')
        && let Some(Value::Array(items)) = open(text)
        && !items.is_empty()
        && items.iter().all(|item| item.as_object().is_some_and(is_block))
    {
        return items.iter().flat_map(|item| block(item, level + 1)).collect();
    }
    if text.is_empty() { Vec::new() } else { vec![Part::Text(text.to_owned())] }
}

/// Does this object look like a block of content, and not like data of the user's own?
pub(super) fn is_block(object: &Map<String, Value>) -> bool {
    const BLOCK_KEYS: [&str; 14] = [
        "toolUse",
        "toolResult",
        "toolRequest",
        "toolResponse",
        "functionCall",
        "functionResponse",
        "function_call",
        "function_response",
        "reasoningContent",
        "tool_call",
        "tool_call_result",
        "inline_data",
        "inlineData",
        "image",
    ];
    const BLOCK_TYPES: [&str; 23] = [
        "text",
        "input_text",
        "output_text",
        "refusal",
        "reasoning",
        "thinking",
        "redacted_thinking",
        "tool_call",
        "toolcall",
        "tool_use",
        "tool_result",
        "tool_call_response",
        "tool_return",
        "server_tool_call",
        "server_tool_use",
        "server_tool_call_response",
        "image",
        "image_url",
        "input_image",
        "file",
        "blob",
        "uri",
        "audio",
    ];
    match kind_of(object) {
        Some(kind) => BLOCK_TYPES.contains(&kind.as_str()),
        None => {
            (object.get("text").is_some_and(Value::is_string) && object.len() <= 2)
                || BLOCK_KEYS.iter().any(|key| object.contains_key(*key))
        }
    }
}

/// `type`, with the spellings of the AI SDK (`tool-call`) and Pydantic AI (`part_kind`) made one.
fn kind_of(object: &Map<String, Value>) -> Option<String> {
    first_str(object, &["type", "part_kind"]).map(|kind| kind.to_ascii_lowercase().replace('-', "_"))
}

fn block(value: &Value, level: usize) -> Vec<Part> {
    if level > LEVELS_MAX {
        return vec![Part::Other(value.clone())];
    }
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![Part::Text(text.clone())],
        Value::Array(items) => items.iter().flat_map(|item| block(item, level + 1)).collect(),
        Value::Object(object) => vec![object_part(object).unwrap_or_else(|| Part::Other(value.clone()))],
        other => vec![Part::Other(other.clone())],
    }
}

fn object_part(object: &Map<String, Value>) -> Option<Part> {
    match kind_of(object) {
        Some(kind) => typed(object, &kind).or_else(|| untyped(object)),
        None => untyped(object),
    }
}

fn typed(object: &Map<String, Value>, kind: &str) -> Option<Part> {
    match kind {
        "text" | "input_text" | "output_text" | "refusal" | "summary_text" | "user_prompt" | "system_prompt" => {
            let text = first(object, &["text", "content", "value", "refusal"])?;
            // The first Assistants API puts the text one level deeper: {"text": {"value": …}}.
            text.as_str().or_else(|| text.get("value")?.as_str()).map(|text| Part::Text(text.to_owned()))
        }
        "reasoning" | "thinking" => Some(reasoning(object)),
        "tool_call" | "toolcall" | "tool_use" | "function_call" | "function" | "server_tool_call"
        | "server_tool_use" | "custom_tool_call" | "mcp_call" | "builtin_tool_call" => tool_call(object),
        "tool_call_response"
        | "tool_result"
        | "function_call_output"
        | "custom_tool_call_output"
        | "server_tool_call_response"
        | "tool_return"
        | "tool_response"
        | "builtin_tool_return" => Some(tool_result(object)),
        _ => None,
    }
}

fn untyped(object: &Map<String, Value>) -> Option<Part> {
    let inner = |keys: &[&str]| first(object, keys).and_then(Value::as_object);
    if let Some(call) = inner(&["functionCall", "function_call", "toolUse", "tool_call", "toolRequest"]) {
        return tool_call(call);
    }
    if let Some(result) =
        inner(&["functionResponse", "function_response", "toolResult", "tool_call_result", "toolResponse"])
    {
        return Some(tool_result(result));
    }
    if let Some(thought) = inner(&["reasoningContent"]) {
        let text = thought.get("reasoningText").and_then(Value::as_object).unwrap_or(thought);
        return Some(reasoning(text));
    }
    // {"text": {"value": …}} without a type: the threads of assistants.
    let text = object.get("text")?;
    let text = text.as_str().or_else(|| text.get("value")?.as_str())?.to_owned();
    Some(if object.get("thought") == Some(&Value::Bool(true)) { Part::Reasoning(text) } else { Part::Text(text) })
}

fn reasoning(object: &Map<String, Value>) -> Part {
    let text = match first(object, &["content", "text", "thinking", "reasoning", "summary"]) {
        Some(Value::Array(items)) => {
            let texts: Vec<&str> =
                items.iter().filter_map(|item| item.as_str().or_else(|| item.get("text")?.as_str())).collect();
            texts.join("\n")
        }
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    Part::Reasoning(text)
}

/// A request for a tool in any form. Without a name it is none.
pub(super) fn tool_call(object: &Map<String, Value>) -> Option<Part> {
    let function = object.get("function").and_then(Value::as_object);
    let tool_call = object.get("tool_call").and_then(Value::as_object);
    let source = function.or_else(|| tool_call?.get("function")?.as_object()).unwrap_or(object);
    let name = first_str(source, &["name", "toolName", "tool_name"])
        .or_else(|| first_str(object, &["name", "toolName", "tool_name"]))?;
    let keys = ["arguments", "args", "input", "parameters"];
    let arguments = first(source, &keys).or_else(|| first(object, &keys)).cloned().unwrap_or(Value::Null);
    // The response form of OpenAI has both: `id` names the item, `call_id` the call.
    let ids = ["call_id", "toolCallId", "tool_call_id", "toolUseId", "tool_use_id", "id", "ref"];
    let id = first_str(object, &ids).or_else(|| first_str(tool_call?, &ids));
    Some(Part::ToolCall { id: id.map(str::to_owned), name: name.to_owned(), arguments })
}

pub(super) fn tool_result(object: &Map<String, Value>) -> Part {
    // Haystack keeps the request beside the result.
    let origin = object.get("origin").and_then(Value::as_object);
    let ids = ["tool_use_id", "toolUseId", "tool_call_id", "toolCallId", "call_id", "id", "ref"];
    let id = first_str(object, &ids).or_else(|| first_str(origin?, &ids));
    let names = ["name", "toolName", "tool_name"];
    let name = first_str(object, &names).or_else(|| first_str(origin?, &names));
    let content = first(object, &["response", "result", "output", "content", "text"]).cloned().unwrap_or(Value::Null);
    let is_error = says_error(object) || content.as_object().is_some_and(says_error_in_output);
    Part::ToolResult { id: id.map(str::to_owned), name: name.map(str::to_owned), content, is_error }
}

/// Anthropic `is_error`, Bedrock and LangChain `status`, Haystack `error`, the AI SDK's `isError`.
pub(super) fn says_error(object: &Map<String, Value>) -> bool {
    let flag = |key: &str| object.get(key) == Some(&Value::Bool(true));
    flag("is_error")
        || flag("isError")
        || flag("error")
        || object.get("status").and_then(Value::as_str) == Some("error")
}

/// The AI SDK types the output of a tool: `error-text` and `error-json` are failures.
fn says_error_in_output(output: &Map<String, Value>) -> bool {
    output.contains_key("value") && first_str(output, &["type"]).is_some_and(|kind| kind.starts_with("error"))
}
