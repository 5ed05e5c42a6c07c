//! Logfire: rendered messages for names, levels for failures, `request_data` and `response_data` of model clients, the
//! usage as the provider reported it, and MCP requests. Its bridge of the OpenAI Agents SDK is a dialect of its own.

use serde_json::Value;

use crate::mapping::content_json;
use crate::mapping::draft::{Content, Draft, KindChoice, Side, Text};
use crate::mapping::event_list;
use crate::mapping::precedence::{Family, error_text, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;

const MESSAGE: &str = "logfire.msg";
const TEMPLATE: &str = "logfire.msg_template";
const LEVEL: &str = "logfire.level_num";
/// From here on levels are errors.
const ERROR_LEVEL: f64 = 17.0;
const REQUEST: &str = "request_data";
const RESPONSE: &str = "response_data";
const RAW_USAGE: &str = "gen_ai.usage.raw";
const EVENTS: &str = "events";

/// How the templates of the model clients begin.
const CLIENTS: [(&str, StepType); 7] = [
    ("Chat Completion with ", StepType::ModelCall),
    ("Responses API with ", StepType::ModelCall),
    ("Completion with ", StepType::ModelCall),
    ("Message with ", StepType::ModelCall),
    ("Image Generation with ", StepType::ModelCall),
    (STREAM, StepType::ModelCall),
    ("Embedding Creation with ", StepType::Embedding),
];
/// The record of a stream that was read after its call had ended.
const STREAM: &str = "streaming response from ";

const TEXTS: [(Text, u8, &str); 2] =
    [(Text::SessionId, identity::METADATA + 5, "session_id"), (Text::UserId, identity::METADATA + 5, "user_id")];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    [MESSAGE, TEMPLATE, "logfire.span_type", LEVEL].iter().any(|key| sent.has(key)) || is_own_scope(sent)
}

/// Integrations of Logfire use plain words for attributes, which mean nothing elsewhere.
pub(super) fn is_own_scope(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name.starts_with("logfire")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let template = template(sent);
    if let Some((_, typed)) = CLIENTS.iter().find(|(start, _)| template.starts_with(start))
        && is_own_scope(sent)
    {
        choice.offer(kind::METHOD, typed.clone(), TEMPLATE);
    }
    if mcp_method(sent).as_deref() == Some("tools/call") {
        choice.offer(kind::METHOD, StepType::ToolCall, "rpc.method");
    }
}

/// The name of the span is the template too.
fn template<'a>(sent: &Sent<'a>) -> &'a str {
    sent.text(TEMPLATE).unwrap_or(&sent.span.name)
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if sent.span.name.contains('{') || sent.span.name.is_empty() {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY + 5, MESSAGE)]);
    }
    draft.offer_tags(sent.get("logfire.tags"));
    if let Some(level) = sent.number(LEVEL).filter(|level| *level >= ERROR_LEVEL) {
        draft.failed = draft.failed.or(Some(LEVEL));
        if level >= ERROR_LEVEL && *kind == StepType::Unknown {
            draft.offer_texts(sent, &[(Text::Failure, error_text::HTTP_STATUS + 10, MESSAGE)]);
        }
    }
    if is_own_scope(sent) {
        draft.offer_texts(sent, &TEXTS);
        error(sent, draft);
        mcp(sent, draft);
    }
    contents(sent, kind, draft);
    if let Some(report) = sent.has(RAW_USAGE).then(|| sent.json(RAW_USAGE)).flatten()
        && kind.is_call()
    {
        content_json::read_usage_report(draft, RAW_USAGE, &report);
    }
}

/// `{"message", "data": {"error"}}`, or a text.
fn error<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    const KEY: &str = "error";
    if !sent.has(KEY) {
        return;
    }
    let said = match sent.json(KEY) {
        Some(error) => ["/data/error", "/message"].iter().find_map(|place| {
            let text = error.pointer(place)?.as_str()?;
            usable::is_usable_text(text).then(|| text.to_owned())
        }),
        None => sent.text(KEY).map(str::to_owned),
    };
    if let Some(said) = said {
        draft.failed = draft.failed.or(Some(KEY));
        draft.offer_text(Text::Failure, error_text::MESSAGE, KEY, said.into());
    }
}

fn contents<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    // Newer versions keep nothing but the model in it.
    let says_something =
        |text: &str| ["\"messages\"", "\"prompt\"", "\"input\"", "\"contents\""].iter().any(|word| text.contains(word));
    if sent.text(REQUEST).is_some_and(says_something) {
        draft.offer_attribute(Input, Family::LogfireRequest, sent, REQUEST);
        if *kind == StepType::Embedding {
            draft.offer_attribute(Input, Family::PlainValue, sent, REQUEST);
        }
    }
    if let Some(text) = sent.text(RESPONSE) {
        if *kind != StepType::Embedding {
            draft.offer_attribute(Output, Family::LogfireRequest, sent, RESPONSE);
        }
        if kind.is_call() {
            content_json::read_answer(draft, RESPONSE, text);
        }
    }
    if is_own_scope(sent) && sent.has(EVENTS) {
        let event_list::Sides { input, output } = sent.json(EVENTS).map(event_list::sides).unwrap_or_default();
        for (side, text) in [(Input, input), (Output, output)] {
            draft.offer_content(side, Family::EventList, || Some(Content { source: EVENTS, text: text?.into() }));
        }
    }
    if is_own_scope(sent) {
        for (side, key) in [(Input, "input"), (Output, "output"), (Input, "prompt")] {
            draft.offer_attribute(side, Family::PlainValue, sent, key);
        }
    }
    stream(sent, kind, draft);
}

/// Seconds that the record of a stream looks back on.
fn stream(sent: &Sent<'_>, kind: &StepType, draft: &mut Draft<'_>) {
    if *kind == StepType::ModelCall
        && template(sent).starts_with(STREAM)
        && let Some(seconds) = sent.number("duration").filter(|seconds| *seconds >= 0.0)
    {
        draft.streaming = Some(true);
        draft.stream_took_ms = Some(seconds * 1000.0);
    }
}

/// The method of an MCP request on either side of it.
fn mcp_method(sent: &Sent<'_>) -> Option<String> {
    if sent.origin.scope_name != "logfire.mcp" && sent.text("rpc.system") != Some("jsonrpc") {
        return None;
    }
    if let Some(method) = sent.text("rpc.method") {
        return Some(method.to_owned());
    }
    Some(sent.json("request")?.get("method")?.as_str()?.to_owned())
}

fn mcp<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    if !sent.has("request") || mcp_method(sent).as_deref() != Some("tools/call") {
        return;
    }
    draft.more.insert("mcp_method".to_owned(), Value::from("tools/call"));
    let request = sent.json("request").unwrap_or_default();
    if let Some(name) = request.pointer("/params/name").and_then(Value::as_str) {
        draft.offer_text(Text::Name, field::GEN_AI_LEGACY, "request", name.to_owned().into());
    }
    draft.offer_content(Side::Input, Family::Mcp, || {
        let arguments = request.pointer("/params/arguments").filter(|arguments| !arguments.is_null())?;
        Some(Content { source: "request*", text: arguments.to_string().into() })
    });
    draft.offer_attribute(Side::Output, Family::Mcp, sent, "response");
    if sent.json("response").is_some_and(|response| response.get("isError") == Some(&Value::Bool(true))) {
        draft.failed = draft.failed.or(Some("response"));
    }
}
