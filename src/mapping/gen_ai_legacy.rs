//! OpenTelemetry's GenAI conventions 1.25 to 1.36: `gen_ai.system`, prompt and completion tokens, and messages as
//! span events with a body in attributes.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::mapping::canonical::{self, Json, Message, Part};
use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::span::{self, Event};
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const CHOICE: &str = "gen_ai.choice";
const TOOL_MESSAGE: &str = "gen_ai.tool.message";

const COUNTS: [(Count, u8, &str); 2] = [
    (Count::Input, field::GEN_AI_LEGACY, "gen_ai.usage.prompt_tokens"),
    (Count::Output, field::GEN_AI_LEGACY, "gen_ai.usage.completion_tokens"),
];

/// Rank of `gen_ai.system` among the attributes that name a provider.
const PROVIDER_RANK: u8 = 60;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    let keys = ["gen_ai.system", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"];
    keys.iter().any(|key| sent.has(key))
        || sent.has("gen_ai.prompt")
        || sent.has("gen_ai.completion")
        || sent.events().iter().any(|event| event.name.starts_with("gen_ai."))
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let has_model = sent.has("gen_ai.request.model") || sent.has("gen_ai.response.model");
    if has_model && (sent.has("gen_ai.prompt") || sent.events().iter().any(|event| event.name == CHOICE)) {
        choice.offer(kind::MODEL_KEYS, StepType::ModelCall, "gen_ai.request.model");
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, _kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_counts(sent, &COUNTS);
    if let Some(name) = sent.get("gen_ai.system").and_then(AnyValue::as_str) {
        draft.offer_provider(PROVIDER_RANK, "gen_ai.system", name);
    }
    draft.offer_attribute(Side::Input, Family::GenAiPrompt, sent, "gen_ai.prompt");
    draft.offer_attribute(Side::Output, Family::GenAiPrompt, sent, "gen_ai.completion");
    let events = sent.events();
    if events.is_empty() {
        return;
    }
    draft.offer_content(Side::Input, Family::MessageEvents, || {
        let messages = told_once(events.iter().filter_map(prompt_message).collect());
        Some(Content { source: "gen_ai.*.message", text: canonical::write(&messages)?.into() })
    });
    draft.offer_content(Side::Output, Family::MessageEvents, || {
        let choices: Vec<Message<'_>> =
            (events.iter()).filter(|event| event.name == CHOICE).map(|event| choice(Body::of(event).0)).collect();
        Some(Content { source: "gen_ai.choice*", text: canonical::write(&choices)?.into() })
    });
    offer_from_event(draft, Side::Input, Family::ToolEvents, events, (TOOL_MESSAGE, "content"), "gen_ai.tool.message*");
    offer_from_event(draft, Side::Output, Family::ToolEvents, events, (CHOICE, "message"), "gen_ai.choice*");
    let (prompt, completion) = ("gen_ai.content.prompt", "gen_ai.content.completion");
    offer_from_event(
        draft,
        Side::Input,
        Family::ContentEvents,
        events,
        (prompt, "gen_ai.prompt"),
        "gen_ai.content.prompt*",
    );
    offer_from_event(
        draft,
        Side::Output,
        Family::ContentEvents,
        events,
        (completion, "gen_ai.completion"),
        "gen_ai.content.completion*",
    );
    if let Some(reason) = events.iter().filter(|event| event.name == CHOICE).find_map(|event| {
        let body = Body::of(event);
        body.text("finish_reason")
    }) {
        draft.offer_text(Text::FinishReason, field::GEN_AI_LEGACY, "gen_ai.choice*", reason.into());
    }
    let chunk = events.iter().find(|event| event.name == "gen_ai.content.completion.chunk");
    let ms = chunk.and_then(|event| span_offset_ms(sent, event));
    draft.offer_time_to_first_token_ms("gen_ai.content.completion.chunk", ms);
}

/// Milliseconds from the start of the span to an event in it.
pub(super) fn span_offset_ms(sent: &Sent<'_>, event: &Event) -> Option<f64> {
    let start = sent.span.start_ns;
    (start > 0 && event.time_ns >= start).then(|| (event.time_ns - start) as f64 / 1e6)
}

fn offer_from_event<'a>(
    draft: &mut Draft<'a>,
    side: Side,
    family: Family,
    events: &'a [Event],
    (name, key): (&str, &str),
    source: &'static str,
) {
    draft.offer_content(side, family, || {
        let event = events.iter().find(|event| event.name == name)?;
        Some(Content { source, text: usable::content_text(span::get(&event.attributes, key)?)? })
    });
}

/// The message of `gen_ai.<role>.message`; the role stands in the body or in the event's name.
fn prompt_message(event: &Event) -> Option<Message<'_>> {
    let role = event.name.strip_prefix("gen_ai.")?.strip_suffix(".message")?;
    let body = Body::of(event);
    let role = body.text("role").unwrap_or_else(|| role.to_owned());
    Some(message(role, body.0))
}

/// Bedrock's instrumentation tells each result of a tool twice, as the tool's message and as a block of the user's: the
/// first stays.
fn told_once(mut messages: Vec<Message<'_>>) -> Vec<Message<'_>> {
    let mut told: HashSet<String> = HashSet::new();
    messages.retain_mut(|message| {
        let before = message.parts.len();
        message.parts.retain(|part| match part {
            Part::ToolCallResponse { id: Some(id), .. } => told.insert(id.to_string()),
            _ => true,
        });
        before == message.parts.len() || !message.parts.is_empty()
    });
    messages
}

/// The message of `gen_ai.choice`: in the body, or the body itself.
pub(super) fn choice<'a>(mut body: Map<String, Value>) -> Message<'a> {
    let reason = body.get("finish_reason").and_then(Value::as_str).map(|text| Cow::Owned(text.to_owned()));
    let inner = match body.remove("message") {
        Some(Value::Object(inner)) => inner,
        Some(content) => Map::from_iter([("content".to_owned(), content)]),
        None => body,
    };
    let role = inner.get("role").and_then(Value::as_str).unwrap_or("assistant").to_owned();
    Message { finish_reason: reason, ..message(role, inner) }
}

/// The message of any other event.
pub(super) fn message<'a>(role: String, mut body: Map<String, Value>) -> Message<'a> {
    let content = body.remove("content").unwrap_or_default();
    let body = Value::Object(body);
    let answered = canonical::owned(&body, "id").or_else(|| canonical::owned(&body, "tool_call_id"));
    let mut parts = if role == "tool" {
        vec![Part::ToolCallResponse { id: answered, response: Json::Value(content) }]
    } else {
        canonical::parts_of(content)
    };
    if let Some(Value::Array(calls)) = body.get("tool_calls") {
        for call in calls.iter().map(canonical::chat_tool_call) {
            // Bedrock's instrumentation repeats the calls that stand among the blocks of the content.
            if !parts.iter().any(|part| part.is_same_call(&call)) {
                parts.push(call);
            }
        }
    }
    Message { role: role.into(), name: canonical::owned(&body, "name"), parts, finish_reason: None }
}

/// The body of a message event: its attributes, or the JSON text that some senders put into one of them.
struct Body(Map<String, Value>);

impl Body {
    fn of(event: &Event) -> Body {
        // `event_body` is Logfire's word, around the instrumentation of google-genai.
        for key in ["gen_ai.event.content", "event_body"] {
            if let Some(AnyValue::Str(text)) = span::get(&event.attributes, key)
                && let Ok(Value::Object(body)) = serde_json::from_str(text)
            {
                return Body(body);
            }
        }
        Body(event.attributes.iter().map(|(key, value)| (key.clone(), usable::opened_structure(value))).collect())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).and_then(Value::as_str).filter(|text| usable::is_usable_text(text)).map(str::to_owned)
    }
}
