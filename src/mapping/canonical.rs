//! Messages that came in pieces, written as one JSON text in the shape of the GenAI semantic conventions:
//! `[{"role", "parts": [{"type": "text", "content"}, …], "finish_reason"}]`.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mapping::usable;
use crate::model::value::AnyValue;

/// More brackets than this in the arguments of a call, and they stay a string: readers of JSON stop at some depth.
const BRACKETS_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pub role: Cow<'a, str>,
    pub name: Option<Cow<'a, str>>,
    pub parts: Vec<Part<'a>>,
    pub finish_reason: Option<Cow<'a, str>>,
}

#[derive(Debug)]
pub(super) enum Part<'a> {
    Text(Cow<'a, str>),
    Reasoning(Cow<'a, str>),
    ToolCall {
        id: Option<Cow<'a, str>>,
        name: Cow<'a, str>,
        arguments: Json<'a>,
    },
    ToolCallResponse {
        id: Option<Cow<'a, str>>,
        response: Json<'a>,
    },
    /// Kept as it stands.
    Other(Value),
}

/// A value inside a message.
#[derive(Debug)]
pub(super) enum Json<'a> {
    Text(Cow<'a, str>),
    /// JSON text, taken over byte for byte.
    Raw(Box<RawValue>),
    Value(Value),
}

impl Part<'_> {
    /// Both are tool calls, and of one id.
    pub(super) fn is_same_call(&self, other: &Part<'_>) -> bool {
        match (self, other) {
            (Part::ToolCall { id: Some(one), .. }, Part::ToolCall { id: Some(other), .. }) => one == other,
            _ => false,
        }
    }
}

impl<'a> Json<'a> {
    /// Opens a string that holds a JSON object or list; any other value stays what it is.
    pub(super) fn open(value: &'a AnyValue) -> Json<'a> {
        match value {
            AnyValue::Str(text) => Json::open_text(Cow::Borrowed(text)),
            other => Json::Value(other.to_plain_json()),
        }
    }

    /// The same of a value that is JSON already; one that is absent is null.
    pub(super) fn of(value: Option<&Value>) -> Json<'a> {
        match value {
            Some(Value::String(text)) => Json::open_text(Cow::Owned(text.clone())),
            other => Json::Value(other.cloned().unwrap_or_default()),
        }
    }

    /// The answer of a tool: one text as it is, anything else as the list of its parts.
    pub(super) fn answer(mut parts: Vec<Part<'a>>) -> Json<'a> {
        if let [Part::Text(_)] = parts.as_slice()
            && let Some(Part::Text(answer)) = parts.pop()
        {
            return Json::Text(answer);
        }
        Json::Value(serde_json::to_value(&parts).unwrap_or_default())
    }

    pub(super) fn open_text(text: Cow<'a, str>) -> Json<'a> {
        let is_structure = text.starts_with(['{', '[']);
        if is_structure
            && text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= BRACKETS_MAX
            && let Ok(raw) = RawValue::from_string(text.clone().into_owned())
        {
            return Json::Raw(raw);
        }
        Json::Text(text)
    }
}

/// The messages as JSON text. `None` when they hold no text and no tool call: then another source may know more.
pub(super) fn write(messages: &[Message<'_>]) -> Option<String> {
    if messages.iter().all(|message| message.parts.is_empty()) {
        return None;
    }
    serde_json::to_string(messages).ok()
}

/// A usable string, for a role, an id or a text.
pub(super) fn text(value: Option<&AnyValue>) -> Option<Cow<'_, str>> {
    value.and_then(usable::scalar_text)
}

/// Parts of a message body: a text, or a list of blocks in the shapes that model providers use.
pub(super) fn parts_of<'a>(content: Value) -> Vec<Part<'a>> {
    match content {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![Part::Text(text.into())],
        Value::Array(blocks) => blocks.into_iter().map(block).collect(),
        // Gemini puts the parts one level deeper.
        Value::Object(mut turn) if turn.get("parts").is_some_and(Value::is_array) => {
            parts_of(turn.remove("parts").unwrap_or_default())
        }
        Value::Object(_) => vec![block(content)],
        scalar => vec![Part::Text(scalar.to_string().into())],
    }
}

/// One block: `{"text"}`, `{"type": "text", …}`, a tool call or a tool result of OpenAI, Anthropic or Bedrock.
fn block<'a>(block: Value) -> Part<'a> {
    let Value::Object(mut fields) = block else {
        return match block {
            Value::String(text) => Part::Text(text.into()),
            other => Part::Other(other),
        };
    };
    if let Some(call) = fields.get_mut("toolUse").map(Value::take) {
        return tool_use(call, "toolUseId");
    }
    if let Some(result) = fields.get_mut("toolResult").map(Value::take) {
        return tool_result(result, "toolUseId");
    }
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or("text").to_owned();
    match (kind.as_str(), fields.get("text"), fields.get("content")) {
        ("text" | "input_text" | "output_text", Some(Value::String(text)), _)
        | ("text", _, Some(Value::String(text))) => Part::Text(text.clone().into()),
        ("tool_use", ..) => tool_use(Value::Object(fields), "id"),
        ("tool_result", ..) => tool_result(Value::Object(fields), "tool_use_id"),
        _ => Part::Other(Value::Object(fields)),
    }
}

fn tool_use<'a>(call: Value, id: &str) -> Part<'a> {
    Part::ToolCall {
        id: owned(&call, id),
        name: owned(&call, "name").unwrap_or_default(),
        arguments: Json::Value(call.get("input").cloned().unwrap_or_default()),
    }
}

fn tool_result<'a>(result: Value, id: &str) -> Part<'a> {
    Part::ToolCallResponse {
        id: owned(&result, id),
        response: Json::Value(result.get("content").cloned().unwrap_or_default()),
    }
}

/// A call in the chat shape of OpenAI: `{"id", "function": {"name", "arguments"}}`.
pub(super) fn chat_tool_call<'a>(call: &Value) -> Part<'a> {
    let function = call.get("function").unwrap_or(call);
    let arguments = Json::of(function.get("arguments"));
    Part::ToolCall { id: owned(call, "id"), name: owned(function, "name").unwrap_or_default(), arguments }
}

pub(super) fn owned<'a>(object: &Value, key: &str) -> Option<Cow<'a, str>> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(|text| Cow::Owned(text.to_owned()))
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("role", &self.role)?;
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        map.serialize_entry("parts", &self.parts)?;
        if let Some(reason) = &self.finish_reason {
            map.serialize_entry("finish_reason", reason)?;
        }
        map.end()
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = match self {
            Part::Other(value) => return value.serialize(out),
            _ => out.serialize_map(None)?,
        };
        match self {
            Part::Text(text) => {
                map.serialize_entry("type", "text")?;
                map.serialize_entry("content", text)?;
            }
            Part::Reasoning(text) => {
                map.serialize_entry("type", "reasoning")?;
                map.serialize_entry("content", text)?;
            }
            Part::ToolCall { id, name, arguments } => {
                map.serialize_entry("type", "tool_call")?;
                if let Some(id) = id {
                    map.serialize_entry("id", id)?;
                }
                map.serialize_entry("name", name)?;
                map.serialize_entry("arguments", arguments)?;
            }
            Part::ToolCallResponse { id, response } => {
                map.serialize_entry("type", "tool_call_response")?;
                if let Some(id) = id {
                    map.serialize_entry("id", id)?;
                }
                map.serialize_entry("response", response)?;
            }
            Part::Other(_) => {}
        }
        map.end()
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Text(text) => out.serialize_str(text),
            Json::Raw(raw) => raw.serialize(out),
            Json::Value(value) => value.serialize(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_take_the_shape_of_the_conventions() {
        let call = AnyValue::Str(r#"{"city": "Paris"}"#.into());
        let messages = [
            Message { role: "user".into(), parts: vec![Part::Text("Weather?".into())], ..Message::default() },
            Message {
                role: "assistant".into(),
                parts: vec![Part::ToolCall {
                    id: Some("call_1".into()),
                    name: "get_weather".into(),
                    arguments: Json::open(&call),
                }],
                finish_reason: Some("tool_calls".into()),
                ..Message::default()
            },
        ];
        assert_eq!(
            write(&messages).unwrap(),
            r#"[{"role":"user","parts":[{"type":"text","content":"Weather?"}]},{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{"city": "Paris"}}],"finish_reason":"tool_calls"}]"#
        );
    }

    #[test]
    fn messages_that_say_nothing_are_no_source() {
        assert_eq!(write(&[Message { role: "assistant".into(), ..Message::default() }]), None);
        assert_eq!(write(&[]), None);
    }

    #[test]
    fn arguments_that_are_no_json_or_too_deep_stay_text() {
        let deep = AnyValue::Str("[".repeat(101) + &"]".repeat(101));
        assert!(matches!(Json::open(&deep), Json::Text(_)));
        let edge = AnyValue::Str("[".repeat(100) + &"]".repeat(100));
        assert!(matches!(Json::open(&edge), Json::Raw(_)));
        assert!(matches!(Json::open(&AnyValue::Str("{city".into())), Json::Text(_)));
    }

    #[test]
    fn blocks_of_the_providers_become_parts() {
        let blocks: Value = serde_json::from_str(
            r#"[{"text":"a"},{"type":"text","text":"b"},{"toolUse":{"toolUseId":"1","name":"f","input":{"x":1}}},
               {"type":"tool_result","tool_use_id":"1","content":"ok"},{"type":"image","source":{}}]"#,
        )
        .unwrap();
        let message = Message { role: "user".into(), parts: parts_of(blocks), ..Message::default() };
        assert_eq!(
            write(&[message]).unwrap(),
            r#"[{"role":"user","parts":[{"type":"text","content":"a"},{"type":"text","content":"b"},{"type":"tool_call","id":"1","name":"f","arguments":{"x":1}},{"type":"tool_call_response","id":"1","response":"ok"},{"source":{},"type":"image"}]}]"#
        );
    }
}
