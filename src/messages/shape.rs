//! Lists and envelopes of messages.

use serde_json::{Map, Value};

use super::part::{parts, says_error, tool_call, tool_result};
use super::{LEVELS_MAX, Message, Part, first, first_str, open};

/// Envelopes may stand inside each other; this many are opened (a string of JSON counts as one).
const ENVELOPES_MAX: usize = 2 * LEVELS_MAX;

/// The messages in a value, or `None` when it is something else.
pub(super) fn messages(value: &Value, level: usize) -> Option<Vec<Message>> {
    if level > ENVELOPES_MAX {
        return None;
    }
    match value {
        Value::String(text) => messages(&open(text)?, level + 1),
        Value::Array(items) => list(items, level),
        Value::Object(object) => {
            message(object).map(|m| vec![m]).or_else(|| by_role(object)).or_else(|| envelope(object, level))
        }
        _ => None,
    }
}

/// `{"system": "…", "user": "…"}`: what each role said, under its name.
fn by_role(object: &Map<String, Value>) -> Option<Vec<Message>> {
    const ROLES: [&str; 6] = ["system", "user", "human", "assistant", "ai", "developer"];
    if object.is_empty() || object.len() > ROLES.len() {
        return None;
    }
    let said = |(role, text): (&String, &Value)| {
        let text = text.as_str().filter(|_| ROLES.contains(&role.as_str()))?;
        Some(self::said(canonical_role(role), text))
    };
    object.iter().map(said).collect()
}

/// A list counts when at least one item is a message; the others are kept as they are.
fn list(items: &[Value], level: usize) -> Option<Vec<Message>> {
    let mut found = false;
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        let read = match item {
            Value::Object(object) => {
                message(object).map(|m| vec![m]).or_else(|| by_role(object)).or_else(|| envelope(object, level + 1))
            }
            Value::Array(pair) => spoken(pair).map(|m| vec![m]).or_else(|| messages(item, level + 1)),
            Value::String(text) if text.starts_with('{') => messages(item, level + 1),
            _ => None,
        };
        match read {
            Some(read) => {
                found = true;
                all.extend(read);
            }
            None => all.push(Message {
                role: "unknown".to_owned(),
                parts: vec![Part::Other(item.clone())],
                ..Message::default()
            }),
        }
    }
    found.then_some(all)
}

/// `["human", "Hi"]`: LangChain takes a pair of role and text for a message.
fn spoken(pair: &[Value]) -> Option<Message> {
    const ROLES: [&str; 8] = ["human", "user", "ai", "assistant", "system", "developer", "tool", "function"];
    let [Value::String(role), Value::String(text)] = pair else { return None };
    ROLES.contains(&role.as_str()).then(|| said(canonical_role(role), text))
}

/// An object that holds messages somewhere inside.
fn envelope(object: &Map<String, Value>, level: usize) -> Option<Vec<Message>> {
    let mut found = None;
    if let Some(Value::Array(choices)) = object.get("choices") {
        // Further choices are alternatives to the first, not later messages.
        found = choices.first().and_then(|choice| choice_message(choice, level));
    }
    if found.is_none()
        && let Some(Value::Array(candidates)) = object.get("candidates")
    {
        found = candidates.first().and_then(|candidate| choice_message(candidate, level));
    }
    const INSIDE: [&str; 22] = [
        "messages",
        "contents",
        "message",
        "generations",
        "update",
        "replies",
        "output",
        "outputs",
        "response",
        "result",
        "content",
        "input",
        "inputs",
        "request",
        "chat_history",
        "items",
        "value",
        "data",
        "kwargs",
        "args",
        "llm",
        "raw",
    ];
    let found = found.or_else(|| {
        INSIDE.iter().find_map(|key| match object.get(*key)? {
            inside @ (Value::Array(_) | Value::Object(_)) => {
                let mut read = messages(inside, level + 1)?;
                finish(&mut read, object);
                Some(read)
            }
            inside @ Value::String(text) if text.starts_with(['{', '[']) => messages(inside, level + 1),
            // The response form of OpenAI: a bare string is what the user says.
            Value::String(text) if *key == "input" && object.contains_key("instructions") => {
                Some(vec![said("user", text)])
            }
            _ => None,
        })
    })?;
    Some(with_system(object, found))
}

fn choice_message(choice: &Value, level: usize) -> Option<Vec<Message>> {
    let choice = choice.as_object()?;
    let mut read = match first(choice, &["message", "delta", "content"]) {
        Some(inside) => messages(inside, level + 1)?,
        None => vec![said("assistant", choice.get("text")?.as_str()?)],
    };
    finish(&mut read, choice);
    Some(read)
}

/// The reason to stop stands beside the message in most envelopes.
fn finish(read: &mut [Message], beside: &Map<String, Value>) {
    if let Some(last) = read.last_mut()
        && last.finish_reason.is_none()
    {
        last.finish_reason = finish_reason(beside);
    }
}

fn finish_reason(object: &Map<String, Value>) -> Option<String> {
    let keys = ["finish_reason", "stop_reason", "stopReason", "finishReason"];
    let inside = |key: &str| object.get(key).and_then(Value::as_object).and_then(|inner| first_str(inner, &keys));
    first_str(object, &keys)
        .or_else(|| inside("response_metadata"))
        .or_else(|| inside("generation_info"))
        .or_else(|| inside("meta"))
        .map(str::to_owned)
}

/// Providers that keep the system text beside the messages get it in front, unless the list starts with one.
fn with_system(object: &Map<String, Value>, mut found: Vec<Message>) -> Vec<Message> {
    if found.first().is_some_and(|message| message.role == "system") {
        return found;
    }
    let keys = ["system", "system_instruction", "systemInstruction", "instructions"];
    let beside = first(object, &keys).or_else(|| first(object.get("config")?.as_object()?, &keys));
    let Some(system) = beside else { return found };
    let system = system.get("parts").unwrap_or(system);
    let parts: Vec<Part> = parts(system, 0).into_iter().filter(|part| matches!(part, Part::Text(_))).collect();
    if !parts.is_empty() {
        found.insert(0, Message { role: "system".to_owned(), parts, ..Message::default() });
    }
    found
}

/// One message, or `None` when the object is none.
fn message(object: &Map<String, Value>) -> Option<Message> {
    if let Some(kwargs) = langchain_body(object) {
        return langchain(object, kwargs);
    }
    if let Some(event) = first_str(object, &["event.name", "event_name"]) {
        return event_message(object, event);
    }
    if let Some(Value::Object(inner)) = object.get("message")
        && !object.contains_key("content")
    {
        // {"message": {…}}: choices, OpenInference's unflattened lists, pieces of a generation.
        let mut read = message(inner).or_else(|| bodied(inner, "assistant"))?;
        if read.finish_reason.is_none() {
            read.finish_reason = finish_reason(object);
        }
        return Some(read);
    }
    if let Some(role) = object.get("role").and_then(Value::as_str)
        && let Some(read) = bodied(object, role)
    {
        return Some(read);
    }
    if let Some(kind) = object.get("type").and_then(Value::as_str) {
        return typed(object, kind);
    }
    // A call of the AI SDK before its parts had types.
    if object.contains_key("toolCallId") && object.contains_key("toolName") {
        let has_result = object.contains_key("result") || object.contains_key("output");
        return if has_result {
            Some(of("tool", tool_result(object)))
        } else {
            Some(of("assistant", tool_call(object)?))
        };
    }
    // Gemini leaves the role out of a lone turn.
    let is_turn =
        object.get("parts").is_some_and(Value::is_array) && !object.contains_key("messages") && object.len() <= 2;
    is_turn.then(|| with_role(object, "user"))
}

/// The items of OpenAI's response form, and messages that tell their role by `type`.
fn typed(object: &Map<String, Value>, kind: &str) -> Option<Message> {
    match kind {
        "message" => Some(with_role(object, "assistant")),
        "function_call" | "custom_tool_call" | "mcp_call" | "tool_call" | "tool-call" | "tool_use" => {
            Some(of("assistant", tool_call(object)?))
        }
        // A bare list of calls in the chat form.
        "function" if object.get("function").is_some_and(Value::is_object) => Some(of("assistant", tool_call(object)?)),
        "function_call_output" | "custom_tool_call_output" | "tool_result" | "tool-result" | "tool_call_response" => {
            Some(of("tool", tool_result(object)))
        }
        "reasoning" => Some(Message {
            role: "assistant".to_owned(),
            parts: parts(&Value::Object(object.clone()), 0),
            ..Message::default()
        }),
        other => {
            let role = langchain_role(other)?;
            object.contains_key("content").then(|| with_role(object, role))
        }
    }
}

fn of(role: &str, part: Part) -> Message {
    Message { role: role.to_owned(), parts: vec![part], ..Message::default() }
}

fn said(role: &str, text: &str) -> Message {
    of(role, Part::Text(text.to_owned()))
}

/// `kwargs` of a serialised constructor, `data` of a message dictionary.
fn langchain_body(object: &Map<String, Value>) -> Option<&Map<String, Value>> {
    if object.contains_key("lc") {
        return object.get("kwargs")?.as_object();
    }
    langchain_role(object.get("type")?.as_str()?)?;
    object.get("data")?.as_object()
}

fn langchain(object: &Map<String, Value>, body: &Map<String, Value>) -> Option<Message> {
    let class = object.get("id").and_then(Value::as_array).and_then(|path| path.last()).and_then(Value::as_str);
    let role = first_str(body, &["type"])
        .and_then(langchain_role)
        .or_else(|| langchain_role(object.get("type")?.as_str()?))
        .or_else(|| langchain_role(class?))?;
    Some(with_role(body, first_str(body, &["role"]).unwrap_or(role)))
}

/// The words of LangChain and its classes.
fn langchain_role(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "human" | "HumanMessage" | "HumanMessageChunk" => "user",
        "ai" | "AIMessage" | "AIMessageChunk" => "assistant",
        "system" | "SystemMessage" | "SystemMessageChunk" => "system",
        "tool" | "ToolMessage" | "ToolMessageChunk" | "function" | "FunctionMessage" => "tool",
        "chat" | "ChatMessage" => "user",
        _ => return None,
    })
}

/// The events of the first GenAI conventions: `gen_ai.user.message`, `gen_ai.choice`. The body may be the event itself.
fn event_message(object: &Map<String, Value>, event: &str) -> Option<Message> {
    let body = match first(object, &["body", "attributes"]) {
        Some(Value::String(text)) => open(text)?,
        Some(Value::Object(body)) => Value::Object(body.clone()),
        _ => Value::Object(object.clone()),
    };
    let body = body.as_object()?;
    let word = event.strip_prefix("gen_ai.")?;
    if word == "choice" {
        let inner = match body.get("message") {
            Some(Value::Object(inner)) => inner,
            _ => body,
        };
        let mut read = with_role(inner, first_str(inner, &["role"]).unwrap_or("assistant"));
        if let Some(Value::String(text)) = body.get("message") {
            read.parts.extend(parts(&Value::String(text.clone()), 0));
        }
        read.finish_reason = read.finish_reason.or_else(|| finish_reason(body));
        return Some(read);
    }
    let role = word.strip_suffix(".message")?;
    Some(with_role(body, first_str(body, &["role"]).unwrap_or(role)))
}

fn bodied(object: &Map<String, Value>, role: &str) -> Option<Message> {
    const BODY: [&str; 7] = ["content", "parts", "contents", "blocks", "tool_calls", "function_call", "tool_call_id"];
    // `{"role":"assistant"}` is an empty answer; `{"role":"admin","id":7}` is data of the user's own.
    let is_message = BODY.iter().any(|key| object.contains_key(*key))
        || matches!(canonical_role(role), "system" | "user" | "assistant" | "tool") && object.len() <= 2;
    is_message.then(|| with_role(object, role))
}

/// Reads what a message says. Nothing in it can make it fail.
fn with_role(object: &Map<String, Value>, role: &str) -> Message {
    let role = canonical_role(role);
    let mut read = Message {
        role: role.to_owned(),
        name: first_str(object, &["name"]).map(str::to_owned),
        parts: Vec::new(),
        finish_reason: finish_reason(object),
    };
    for key in ["reasoning_content", "reasoning"] {
        if let Some(thought) = object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            read.parts.push(Part::Reasoning(thought.to_owned()));
        }
    }
    for key in ["parts", "content", "contents", "blocks"] {
        let Some(content) = object.get(key).filter(|content| !content.is_null()) else { continue };
        let content = content.get("parts").unwrap_or(content);
        read.parts.extend(unwrapped_parts(content));
        // A message that has both repeats itself.
        if !read.parts.is_empty() {
            break;
        }
    }
    if read.parts.is_empty()
        && let Some(refusal) = object.get("refusal").and_then(Value::as_str).filter(|text| !text.is_empty())
    {
        read.parts.push(Part::Text(refusal.to_owned()));
    }
    add_tool_calls(&mut read, object);
    if role == "tool" {
        turn_into_result(&mut read, object);
    }
    read
}

/// OpenInference's own lists wrap each block: {"message_content": {…}}.
fn unwrapped_parts(content: &Value) -> Vec<Part> {
    match content {
        Value::Array(items) => {
            items.iter().flat_map(|item| parts(item.get("message_content").unwrap_or(item), 0)).collect()
        }
        other => parts(other, 0),
    }
}

/// Calls beside the content. LangChain repeats those of Anthropic's blocks here: equal ids are one call.
fn add_tool_calls(read: &mut Message, object: &Map<String, Value>) {
    let beside = |key: &str| match object.get(key) {
        Some(Value::Array(calls)) if !calls.is_empty() => Some(calls.clone()),
        Some(Value::String(text)) => match open(text) {
            Some(Value::Array(calls)) => Some(calls),
            _ => None,
        },
        _ => None,
    };
    let calls = beside("tool_calls").or_else(|| beside("toolCalls")).or_else(|| {
        let kwargs = object.get("additional_kwargs")?.as_object()?;
        kwargs.get("tool_calls")?.as_array().cloned()
    });
    for call in calls.unwrap_or_default() {
        let Some(part) = call.as_object().and_then(tool_call) else {
            read.parts.push(Part::Other(call));
            continue;
        };
        if !has_call(read, &part) {
            read.parts.push(part);
        }
    }
    let single = object.get("function_call").and_then(Value::as_object).and_then(tool_call);
    if let Some(part) = single.filter(|part| !has_call(read, part)) {
        read.parts.push(part);
    }
}

fn has_call(read: &Message, call: &Part) -> bool {
    let Part::ToolCall { id: Some(id), .. } = call else { return read.parts.contains(call) };
    read.parts.iter().any(|part| matches!(part, Part::ToolCall { id: Some(known), .. } if known == id))
}

/// A message of a tool is the result of a call, whatever its content looks like.
fn turn_into_result(read: &mut Message, object: &Map<String, Value>) {
    if read.parts.iter().any(|part| matches!(part, Part::ToolResult { .. })) {
        return;
    }
    // LangChain's `id` is the message's own.
    let is_langchain = object.contains_key("tool_call_id") || object.contains_key("additional_kwargs");
    let id = first_str(object, &["tool_call_id", "call_id", "toolCallId", "tool_use_id"])
        .or_else(|| first_str(object, &["id"]).filter(|_| !is_langchain));
    let content = match read.text() {
        Some(text) => Value::String(text),
        None => first(object, &["content", "response", "result", "output"]).cloned().unwrap_or(Value::Null),
    };
    read.parts = vec![Part::ToolResult {
        id: id.map(str::to_owned),
        name: read.name.clone(),
        content,
        is_error: says_error(object),
    }];
}

/// One word for each role; those nobody knows stay.
fn canonical_role(role: &str) -> &str {
    match role {
        "human" | "HUMAN" | "USER" | "User" => "user",
        "ai" | "model" | "ASSISTANT" | "Assistant" | "tool-call" | "tool_call" | "bot" | "chatbot" => "assistant",
        "developer" | "SYSTEM" | "System" => "system",
        "function" | "tool-response" | "tool_response" | "toolResult" | "TOOL" | "Tool" => "tool",
        other => other,
    }
}
