//! OpenTelemetry's semantic conventions for generative AI as they stand since 1.37: `gen_ai.operation.name`,
//! messages as attributes, and the operation's details as an event.

use serde_json::Value;

use crate::mapping::canonical;
use crate::mapping::content_json;
use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::span;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const OPERATION: &str = "gen_ai.operation.name";
const INPUT: &str = "gen_ai.input.messages";
const OUTPUT: &str = "gen_ai.output.messages";
const INSTRUCTIONS: &str = "gen_ai.system_instructions";
/// Source of an input that begins with the system instructions.
const INPUT_WITH_INSTRUCTIONS: &str = "gen_ai.system_instructions+gen_ai.input.messages";
const DETAILS_EVENT: &str = "gen_ai.client.inference.operation.details";
const EVALUATION_EVENT: &str = "gen_ai.evaluation.result";

const TEXTS: [(Text, u8, &str); 16] = [
    (Text::Agent, field::GEN_AI, "gen_ai.agent.name"),
    (Text::Model, field::GEN_AI_RESPONSE, "gen_ai.response.model"),
    (Text::Model, field::GEN_AI_REQUEST, "gen_ai.request.model"),
    (Text::RequestModel, field::GEN_AI_REQUEST, "gen_ai.request.model"),
    (Text::ResponseId, field::GEN_AI, "gen_ai.response.id"),
    (Text::ToolCallId, field::GEN_AI, "gen_ai.tool.call.id"),
    (Text::SessionId, identity::GEN_AI, "gen_ai.conversation.id"),
    (Text::SessionId, identity::PLAIN, "session.id"),
    (Text::UserId, identity::PLAIN, "user.id"),
    (Text::UserId, identity::END_USER, "enduser.id"),
    (Text::UserId, identity::METADATA, "gen_ai.request.user"),
    (Text::RunName, field::GEN_AI, "gen_ai.workflow.name"),
    (Text::FinishReason, field::GEN_AI, "gen_ai.response.finish_reason"),
    (Text::Failure, crate::mapping::precedence::error_text::MESSAGE, "error.message"),
    (Text::Framework, field::GEN_AI, "gen_ai.framework"),
    (Text::SessionId, identity::METADATA, "thread_id"),
];

const COUNTS: [(Count, u8, &str); 11] = [
    (Count::Input, field::GEN_AI, "gen_ai.usage.input_tokens"),
    (Count::Output, field::GEN_AI, "gen_ai.usage.output_tokens"),
    (Count::Total, field::GEN_AI, "gen_ai.usage.total_tokens"),
    (Count::CacheRead, field::GEN_AI, "gen_ai.usage.cache_read.input_tokens"),
    (Count::CacheRead, field::SECONDARY, "gen_ai.usage.cache_read_input_tokens"),
    (Count::CacheWrite, field::GEN_AI, "gen_ai.usage.cache_creation.input_tokens"),
    (Count::CacheWrite, field::GEN_AI + 1, "gen_ai.usage.cache_write.input_tokens"),
    (Count::CacheWrite, field::SECONDARY, "gen_ai.usage.cache_creation_input_tokens"),
    (Count::CacheWrite, field::SECONDARY + 1, "gen_ai.usage.cache_write_input_tokens"),
    (Count::Reasoning, field::GEN_AI, "gen_ai.usage.reasoning.output_tokens"),
    (Count::Reasoning, field::SECONDARY, "gen_ai.usage.reasoning_tokens"),
];

/// Seconds until the first chunk of a stream.
const FIRST_CHUNK_S: [&str; 4] = [
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.response.time_to_first_token",
    "gen_ai.streaming.time_to_first_token",
];
pub(super) const STRANDS_SCOPE: &str = "strands.telemetry.tracer";
/// Milliseconds with Strands, seconds with OpenLIT, which fills it for calls that do not stream too.
const FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("gen_ai.") || sent.events().iter().any(|event| event.name.starts_with("gen_ai."))
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if let Some(word) = sent.text(OPERATION)
        && let Some((typed, is_setup)) = operation(word)
    {
        choice.offer(kind::OPERATION, typed, OPERATION);
        choice.setup |= is_setup;
    }
    for key in ["gen_ai.tool.call.id", "gen_ai.tool.name"] {
        if sent.has(key) {
            choice.offer(kind::TOOL_KEYS, StepType::ToolCall, key);
        }
    }
    for key in ["gen_ai.response.model", "gen_ai.request.model"] {
        if sent.has(key) && (sent.has_under("gen_ai.usage.") || sent.has(INPUT) || sent.has(OUTPUT)) {
            choice.offer(kind::MODEL_KEYS, StepType::ModelCall, key);
        }
    }
}

/// The type of a known operation, in any case, and whether it only sets something up.
fn operation(word: &str) -> Option<(StepType, bool)> {
    let lower = word.trim().to_ascii_lowercase();
    let typed = match lower.as_str() {
        "chat" | "generate_content" | "text_completion" | "transcription" | "speech_generation" => StepType::ModelCall,
        "retrieval" => StepType::Retrieval,
        "execute_tool" => StepType::ToolCall,
        "invoke_agent" => StepType::Agent,
        "invoke_workflow" | "plan" => StepType::Workflow,
        "create_agent" => return Some((StepType::Workflow, true)),
        "guardrail_check" => StepType::Guardrail,
        "handoff" => StepType::Handoff,
        "rerank" => StepType::Rerank,
        _ if lower.starts_with("embed") => StepType::Embedding,
        _ if lower.ends_with("_memory_store") => return Some((StepType::Memory, true)),
        _ if lower.ends_with("_memory") => StepType::Memory,
        _ => return None,
    };
    Some((typed, false))
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    match kind {
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::GEN_AI, "gen_ai.tool.name")]),
        StepType::Agent => draft.offer_texts(sent, &[(Text::Name, field::GEN_AI, "gen_ai.agent.name")]),
        _ => {}
    }
    if let Some(name) = sent.get("gen_ai.provider.name").and_then(AnyValue::as_str) {
        draft.offer_provider(10, "gen_ai.provider.name", name);
    }
    finish_reasons(sent, draft);
    for key in FIRST_CHUNK_S {
        let ms = sent.number(key).map(|seconds| seconds * 1000.0);
        draft.offer_time_to_first_token_ms(key, ms);
    }
    for key in ["gen_ai.request.stream", "gen_ai.request.streaming", "gen_ai.request.is_stream"] {
        draft.streaming = draft.streaming.or_else(|| sent.boolean(key));
    }
    if draft.time_to_first_token_ms.is_none() && draft.streaming != Some(false) {
        draft.offer_time_to_first_token_ms(FIRST_TOKEN, first_token_ms(sent));
    }
    for key in ["operation.cost", "gen_ai.cost.total_cost", "gen_ai.usage.cost", "gen_ai.usage.total_cost"] {
        draft.offer_cost(key, sent.get(key));
    }
    contents(sent, draft);
    evaluations(sent, draft);
    if draft.wants(Text::FinishReason, field::CONTENT)
        && let Some(reason) = sent.text(OUTPUT).and_then(content_json::finish_reason)
    {
        draft.offer_text(Text::FinishReason, field::CONTENT, OUTPUT, reason.into());
    }
}

fn first_token_ms(sent: &Sent<'_>) -> Option<f64> {
    let value = sent.get(FIRST_TOKEN)?;
    let is_ms = matches!(value, AnyValue::Int(_)) || sent.origin.scope_name == STRANDS_SCOPE;
    let ms = usable::number(value)? * if is_ms { 1.0 } else { 1000.0 };
    let latency_ms = sent.span.end_ns.saturating_sub(sent.span.start_ns) as f64 / 1e6;
    (sent.span.end_ns == 0 || ms < latency_ms).then_some(ms)
}

/// A list, or the text of one: the first reason stands for the call.
fn finish_reasons<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    const KEY: &str = "gen_ai.response.finish_reasons";
    let first = match sent.get(KEY) {
        Some(AnyValue::Array(reasons)) => reasons.iter().find_map(usable::scalar_text),
        Some(AnyValue::Str(text)) if text.starts_with('[') => {
            serde_json::from_str::<Vec<String>>(text).ok().and_then(|list| list.into_iter().next()).map(Into::into)
        }
        Some(other) => usable::scalar_text(other),
        None => None,
    };
    if let Some(reason) = first {
        draft.offer_text(Text::FinishReason, field::GEN_AI_RESPONSE, KEY, reason);
    }
}

fn contents<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    let attributes = &sent.span.attributes;
    draft.offer_content(Input, Family::GenAiMessages, || messages_with_instructions(attributes));
    draft.offer_attribute(Output, Family::GenAiMessages, sent, OUTPUT);

    draft.offer_attribute(Input, Family::ToolCall, sent, "gen_ai.tool.call.arguments");
    draft.offer_attribute(Output, Family::ToolCall, sent, "gen_ai.tool.call.result");

    draft.offer_attribute(Input, Family::Retrieval, sent, "gen_ai.retrieval.query.text");
    draft.offer_attribute(Output, Family::Retrieval, sent, "gen_ai.retrieval.documents");
    draft.offer_attribute(Input, Family::Memory, sent, "gen_ai.memory.query.text");
    draft.offer_attribute(Output, Family::Memory, sent, "gen_ai.memory.records");

    // Some senders split one exchange into an event for the input and one for the output.
    for event in sent.events().iter().filter(|event| event.name == DETAILS_EVENT) {
        draft.offer_content(Input, Family::OperationDetails, || {
            let Content { text, .. } = messages_with_instructions(&event.attributes)?;
            Some(Content { source: "gen_ai.client.inference.operation.details/gen_ai.input.messages", text })
        });
        draft.offer_content(Output, Family::OperationDetails, || {
            let text = usable::content_text(span::get(&event.attributes, OUTPUT)?)?;
            Some(Content { source: "gen_ai.client.inference.operation.details/gen_ai.output.messages", text })
        });
    }
}

/// The messages verbatim where there are no instructions, else with them as the first, system message.
fn messages_with_instructions(attributes: &span::Attributes) -> Option<Content<'_>> {
    let text = usable::content_text(span::get(attributes, INPUT)?)?;
    let verbatim = |text| Some(Content { source: INPUT, text });
    let Some(instructions) = span::get(attributes, INSTRUCTIONS).filter(|value| usable::is_usable(value)) else {
        return verbatim(text);
    };
    let Some(parts) = instruction_parts(instructions) else { return verbatim(text) };
    match prepend(&parts, &text) {
        Some(joined) => Some(Content { source: INPUT_WITH_INSTRUCTIONS, text: joined.into() }),
        None => verbatim(text),
    }
}

/// Instructions are a list of parts; some senders write plain text.
fn instruction_parts(instructions: &AnyValue) -> Option<Value> {
    let text_part = |text: &str| serde_json::json!([{"type": "text", "content": text}]);
    match instructions {
        AnyValue::Str(text) => match serde_json::from_str::<Value>(text) {
            Ok(parts @ Value::Array(_)) => Some(parts),
            Ok(Value::String(inner)) => Some(text_part(&inner)),
            _ => Some(text_part(text)),
        },
        AnyValue::Array(_) => Some(instructions.to_plain_json()),
        _ => None,
    }
}

/// `None` where the messages are no list, or begin with the same system message already.
fn prepend(parts: &Value, messages: &str) -> Option<String> {
    let rest = messages.trim().strip_prefix('[')?;
    let mut following = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    let is_empty = rest.trim_start().starts_with(']');
    if !is_empty {
        let first = following.next()?.ok()?;
        if canonical::owned(&first, "role").as_deref() == Some("system") && first.get("parts") == Some(parts) {
            return None;
        }
        serde_json::from_str::<serde::de::IgnoredAny>(messages).ok()?;
    }
    let separator = if is_empty { "" } else { "," };
    Some(format!(r#"[{{"role":"system","parts":{parts}}}{separator}{rest}"#))
}

/// Events that judge the step's output, shown with it.
fn evaluations(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    let results: Vec<Value> = (sent.events().iter())
        .filter(|event| event.name == EVALUATION_EVENT)
        .map(|event| {
            let pairs = event.attributes.iter().map(|(key, value)| (key.clone(), value.to_plain_json()));
            Value::Object(pairs.collect())
        })
        .collect();
    if !results.is_empty() {
        draft.more.insert("evaluations".to_owned(), Value::Array(results));
    }
}
