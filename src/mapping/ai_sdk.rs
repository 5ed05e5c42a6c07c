//! Vercel's AI SDK up to version 6 (scope `ai`): `ai.operationId`, prompts, responses and tool calls as JSON text.
//! `ai.generateText` and its siblings wrap the calls of the model, the tools between them, and repeat the sum of their
//! usage: what such a wrapper is, assembly decides by the steps below it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::mapping::canonical::{self, Json, Message, Part};
use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::gen_ai_legacy::span_offset_ms;
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::{StepType, Wrapped};

const OPERATION: &str = "ai.operationId";
/// What the SDK wrote before there was [`OPERATION`]: the operation, a space, and the name of the function.
const OLD_OPERATION: &str = "operation.name";
const TOOL: &str = "ai.toolCall.name";
const TEXT: &str = "ai.response.text";
const CALLS: &str = "ai.response.toolCalls";
const REASONING: &str = "ai.response.reasoning";
const OBJECT: &str = "ai.response.object";
const PROVIDER_METADATA: &str = "ai.response.providerMetadata";
/// What the caller attached: for the session, the user, the tags, and everything else for the run.
const METADATA: &str = "ai.telemetry.metadata.";
/// More of it on one span is left to the attributes.
const RUN_METADATA_MAX: usize = 64;

const TEXTS: [(Text, u8, &str); 24] = [
    (Text::Model, 30, "ai.response.model"),
    (Text::Model, field::GEN_AI_REQUEST + 1, "ai.model.id"),
    (Text::Model, field::SECONDARY, "aisdk.model.id"),
    (Text::RequestModel, field::GEN_AI_REQUEST + 1, "ai.model.id"),
    (Text::ResponseId, field::GEN_AI_LEGACY, "ai.response.id"),
    (Text::ToolCallId, field::GEN_AI_LEGACY, "ai.toolCall.id"),
    (Text::FinishReason, field::GEN_AI_LEGACY, "ai.response.finishReason"),
    (Text::FinishReason, field::SECONDARY, "ai.finishReason"),
    (Text::SessionId, SESSION, "ai.telemetry.metadata.sessionId"),
    (Text::SessionId, SESSION, "ai.telemetry.metadata.session_id"),
    (Text::SessionId, SESSION + 1, "ai.telemetry.metadata.conversationId"),
    (Text::SessionId, SESSION + 1, "ai.telemetry.metadata.conversation_id"),
    (Text::SessionId, SESSION + 2, "ai.telemetry.metadata.threadId"),
    (Text::SessionId, SESSION + 2, "ai.telemetry.metadata.thread_id"),
    (Text::SessionId, SESSION + 3, "ai.telemetry.metadata.chatId"),
    (Text::UserId, SESSION, "ai.telemetry.metadata.userId"),
    (Text::UserId, SESSION, "ai.telemetry.metadata.user_id"),
    // The context of a call in version 7.
    (Text::SessionId, SESSION + 4, "ai.settings.context.sessionId"),
    (Text::SessionId, SESSION + 5, "ai.settings.context.conversationId"),
    (Text::SessionId, SESSION + 6, "ai.settings.context.threadId"),
    (Text::UserId, SESSION + 4, "ai.settings.context.userId"),
    // OpenInference's processor takes the prefix off.
    (Text::SessionId, identity::METADATA, "metadata.sessionId"),
    (Text::UserId, identity::METADATA, "metadata.userId"),
    (Text::RequestModel, field::SECONDARY, "aisdk.model.id"),
];

/// Rank of a session or user in [`METADATA`].
const SESSION: u8 = 50;

/// The members of [`METADATA`] that [`TEXTS`] reads, and the tags.
const KNOWN: [&str; 11] = [
    "sessionId",
    "session_id",
    "conversationId",
    "conversation_id",
    "threadId",
    "thread_id",
    "chatId",
    "userId",
    "user_id",
    "tags",
    "langfusePrompt",
];

const COUNTS: [(Count, u8, &str); 11] = [
    (Count::Input, COUNT, "ai.usage.inputTokens"),
    (Count::Input, COUNT + 1, "ai.usage.promptTokens"),
    (Count::Input, COUNT + 2, "ai.usage.tokens"),
    (Count::Output, COUNT, "ai.usage.outputTokens"),
    (Count::Output, COUNT + 1, "ai.usage.completionTokens"),
    (Count::Total, COUNT, "ai.usage.totalTokens"),
    (Count::CacheRead, COUNT, "ai.usage.inputTokenDetails.cacheReadTokens"),
    (Count::CacheRead, COUNT + 1, "ai.usage.cachedInputTokens"),
    (Count::CacheWrite, COUNT, "ai.usage.inputTokenDetails.cacheWriteTokens"),
    (Count::Reasoning, COUNT, "ai.usage.outputTokenDetails.reasoningTokens"),
    (Count::Reasoning, COUNT + 1, "ai.usage.reasoningTokens"),
];

/// Rank of the counts: after those of the GenAI conventions and of OpenInference on the same span.
const COUNT: u8 = 90;

/// Rank of `ai.model.provider`: before `llm.provider` and `gen_ai.system`.
const PROVIDER_RANK: u8 = 30;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    [OPERATION, "ai.model.id", "aisdk.model.id", TOOL].iter().any(|key| sent.has(key))
        || sent.has_under("ai.settings.context.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if let Some((key, operation)) = operation(sent)
        && let Some(typed) = type_of(operation)
    {
        choice.offer(kind::METHOD, typed, key);
    } else if sent.has(TOOL) {
        choice.offer(kind::METHOD, StepType::ToolCall, TOOL);
    }
}

fn operation<'a>(sent: &Sent<'a>) -> Option<(&'static str, &'a str)> {
    if let Some(word) = sent.text(OPERATION) {
        return Some((OPERATION, word));
    }
    let old = sent.text(OLD_OPERATION).filter(|text| text.starts_with("ai."))?;
    Some((OLD_OPERATION, old.split(' ').next().unwrap_or(old)))
}

/// Frameworks on top of the SDK put words of their own before the operation: the end tells.
fn type_of(operation: &str) -> Option<StepType> {
    Some(match operation.rsplit('.').next().unwrap_or(operation) {
        "doGenerate" | "doStream" => StepType::ModelCall,
        "doEmbed" => StepType::Embedding,
        "doRerank" | "rerank" => StepType::Rerank,
        "toolCall" => StepType::ToolCall,
        "generateText" | "streamText" | "generateObject" | "streamObject" | "embed" | "embedMany" => StepType::Workflow,
        _ => return None,
    })
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    match kind {
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::GEN_AI_LEGACY, TOOL)]),
        _ => draft.offer_texts(
            sent,
            &[
                (Text::Name, field::GEN_AI_LEGACY, "ai.telemetry.functionId"),
                (Text::Name, field::SECONDARY, "resource.name"),
            ],
        ),
    }
    if let Some(name) = sent.text("ai.model.provider") {
        draft.offer_provider(PROVIDER_RANK, "ai.model.provider", name);
    }
    for key in ["ai.telemetry.metadata.tags", "metadata.tags"] {
        draft.offer_tags(sent.get(key));
    }
    run_metadata(sent, draft);
    streaming(sent, draft);
    contents(sent, kind, draft);
    if kind.is_call()
        && let Some(text) = sent.text(PROVIDER_METADATA)
    {
        provider_metadata(text, sent, draft);
    }
    if let Some((_, operation)) = operation(sent) {
        let is_embedding = operation.ends_with(".embed") || operation.ends_with(".embedMany");
        draft.wraps = Some(if is_embedding { Wrapped::Embedding } else { Wrapped::ModelCall });
    }
}

fn run_metadata(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    let attributes = &sent.span.attributes;
    let first = attributes.partition_point(|(key, _)| key.as_str() < METADATA);
    let under = attributes[first..].iter().map_while(|(key, value)| Some((key.strip_prefix(METADATA)?, value)));
    for (key, value) in under.filter(|(key, _)| !KNOWN.contains(key)).take(RUN_METADATA_MAX) {
        draft.run_metadata.insert(key.to_owned(), value.to_plain_json());
    }
}

fn streaming(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    if let Some((_, operation)) = operation(sent)
        && operation.to_ascii_lowercase().contains("stream")
    {
        draft.streaming = draft.streaming.or(Some(true));
    }
    for key in ["ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"] {
        draft.offer_time_to_first_token_ms(key, sent.number(key));
    }
    let first = sent.events().iter().find(|event| event.name == "ai.stream.firstChunk");
    draft.offer_time_to_first_token_ms("ai.stream.firstChunk", first.and_then(|event| span_offset_ms(sent, event)));
}

fn contents<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    draft.offer_attribute(Input, Family::AiSdkMessages, sent, "ai.prompt.messages");
    draft.offer_attribute(Input, Family::AiSdkPrompt, sent, "ai.prompt");
    draft.offer_attribute(Input, Family::ToolCall, sent, "ai.toolCall.args");
    draft.offer_attribute(Output, Family::ToolCall, sent, "ai.toolCall.result");
    for key in ["ai.values", "ai.value"] {
        draft.offer_attribute(Input, Family::EmbeddedTexts, sent, key);
        if *kind == StepType::Workflow {
            draft.offer_attribute(Input, Family::AiSdkPrompt, sent, key);
        }
    }
    draft.offer_attribute(Input, Family::PlainValue, sent, "ai.documents");
    draft.offer_attribute(Output, Family::Retrieval, sent, "ai.ranking");

    draft.offer_content(Output, Family::AiSdkMessages, || response(sent));
    for key in ["ai.result.text", "ai.result.object", "ai.result.toolCalls"] {
        draft.offer_attribute(Output, Family::AiSdkPrompt, sent, key);
    }
    draft.offer_attribute(Output, Family::PlainValue, sent, "ai.response.files");
}

/// A text or an object as it stands; with reasoning or requests for tools beside it, all of them as one message.
fn response<'a>(sent: &Sent<'a>) -> Option<Content<'a>> {
    let as_sent = |key: &'static str| Some(Content { source: key, text: sent.text(key)?.into() });
    let calls: Vec<Value> = sent.text(CALLS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let (text, reasoning) = (sent.text(TEXT), sent.text(REASONING));
    if calls.is_empty() && reasoning.is_none() {
        return as_sent(TEXT).or_else(|| as_sent(OBJECT)).or_else(|| as_sent(CALLS));
    }
    let said = text.or_else(|| sent.text(OBJECT));
    let mut parts: Vec<Part<'a>> = reasoning.map(|text| Part::Reasoning(text.into())).into_iter().collect();
    parts.extend(said.map(|text| Part::Text(text.into())));
    parts.extend(calls.iter().map(tool_call));
    let finish_reason = sent.text("ai.response.finishReason").map(Cow::Borrowed);
    let message = Message { role: "assistant".into(), name: None, parts, finish_reason };
    Some(Content { source: "ai.response.*", text: canonical::write(&[message])?.into() })
}

fn tool_call<'a>(call: &Value) -> Part<'a> {
    let arguments = Json::of(call.get("input").or_else(|| call.get("args")));
    let name = canonical::owned(call, "toolName").unwrap_or_default();
    Part::ToolCall { id: canonical::owned(call, "toolCallId"), name, arguments }
}

/// What providers report beyond the counts of the SDK. Anthropic and Bedrock count the cache beside the input; before
/// version 6 the SDK took their input as it was, since then it says how much of the input came from no cache.
fn provider_metadata(text: &str, sent: &Sent<'_>, draft: &mut Draft<'_>) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Providers {
        anthropic: Option<Value>,
        bedrock: Option<Value>,
        openai: Option<Value>,
        azure: Option<Value>,
    }
    if ["ache", "reasoningTokens"].iter().all(|word| !text.contains(word)) {
        return;
    }
    let Ok(providers) = serde_json::from_str::<Providers>(text) else { return };
    let mut offer = |count, rank, n: Option<i64>| {
        if let Some(n) = n.filter(|n| *n >= 0) {
            draft.offer_count(count, rank, PROVIDER_METADATA, n);
        }
    };
    if let Some(report) = providers.openai.or(providers.azure) {
        offer(Count::CacheRead, COUNT + 5, number(&report, "/cachedPromptTokens"));
        offer(Count::Reasoning, COUNT + 5, number(&report, "/reasoningTokens"));
    }
    let Some(report) = providers.anthropic.or(providers.bedrock) else { return };
    let any = |places: &[&str]| places.iter().find_map(|place| number(&report, place));
    let read = any(&["/usage/cache_read_input_tokens", "/usage/cacheReadInputTokens", "/cacheReadInputTokens"]);
    let write = any(&[
        "/usage/cache_creation_input_tokens",
        "/usage/cacheWriteInputTokens",
        "/cacheCreationInputTokens",
        "/cacheWriteInputTokens",
    ]);
    offer(Count::CacheRead, COUNT + 5, read);
    offer(Count::CacheWrite, COUNT + 5, write);
    let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
    if cached > 0 && !sent.has("ai.usage.inputTokenDetails.noCacheTokens") {
        let own = ["ai.usage.inputTokens", "ai.usage.promptTokens", "gen_ai.usage.input_tokens"];
        let told = own.iter().find_map(|key| sent.get(key).map(usable::count)?.ok().flatten());
        let uncached = number(&report, "/usage/input_tokens").or(told);
        offer(Count::Input, field::CORRECTED, uncached.map(|n| n.saturating_add(cached)));
    }
}

fn number(report: &Value, place: &str) -> Option<i64> {
    report.pointer(place).and_then(Value::as_i64).filter(|n| *n >= 0)
}
