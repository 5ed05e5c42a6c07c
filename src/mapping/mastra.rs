//! Mastra: `mastra.span.type` beside the GenAI conventions, whatever exporter sent it. A `model_generation` spans every
//! turn of an agent's model, a `model_inference` is one request of it; which of them has the usage differs by exporter.

use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::{StepType, Wrapped};

const TYPE: &str = "mastra.span.type";
const METADATA: &str = "mastra.metadata.";
/// More of it on one span is left to the attributes.
const RUN_METADATA_MAX: usize = 64;

const TEXTS: [(Text, u8, &str); 8] = [
    (Text::SessionId, 52, "mastra.metadata.sessionId"),
    (Text::SessionId, 53, "mastra.metadata.threadId"),
    (Text::SessionId, identity::METADATA + 1, "threadId"),
    (Text::UserId, 52, "mastra.metadata.userId"),
    (Text::Agent, field::SECONDARY, "mastra.span.entityName"),
    (Text::ToolCallId, field::SECONDARY, "mastra.metadata.toolCallId"),
    (Text::Model, field::SECONDARY, "mastra.attributes.model"),
    (Text::RequestModel, field::SECONDARY, "mastra.attributes.model"),
];

const COUNTS: [(Count, u8, &str); 2] = [
    (Count::CacheRead, field::SECONDARY + 2, "gen_ai.usage.cached_input_tokens"),
    (Count::CacheWrite, field::SECONDARY + 2, "gen_ai.usage.cache_write_tokens"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has(TYPE)
}

/// Before the kinds of other conventions: exporters call steps and chunks of a generation calls too.
pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let typed = match sent.text(TYPE).map(str::to_ascii_lowercase).as_deref() {
        Some("agent_run") => StepType::Agent,
        Some("model_generation" | "llm_generation" | "model_inference") => StepType::ModelCall,
        Some("tool_call" | "mcp_tool_call" | "provider_tool_call" | "client_tool_call") => StepType::ToolCall,
        Some("rag_embedding") => StepType::Embedding,
        Some("rag_vector_operation") => StepType::Retrieval,
        Some("memory_operation") => StepType::Memory,
        Some("eval" | "scorer_run") => StepType::Evaluator,
        Some(_) => StepType::Workflow,
        None => return,
    };
    choice.offer(kind::STRUCTURE, typed, TYPE);
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    draft.offer_tags(sent.get("mastra.tags"));
    if *kind == StepType::Agent {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY + 1, "agent.id")]);
    }
    let typed = sent.text(TYPE).unwrap_or_default();
    if typed.ends_with("_generation") {
        draft.wraps = Some(Wrapped::Turns);
    }
    // The error of a stream arrives as one of its chunks.
    if typed == "model_chunk"
        && let Some(chunk) = sent.text("output").filter(|chunk| chunk.starts_with(r#"{"type":"error""#))
        && let Ok(chunk) = serde_json::from_str::<serde_json::Value>(chunk)
    {
        draft.failed = draft.failed.or(Some("output"));
        if let Some(message) = chunk.pointer("/error/message").and_then(serde_json::Value::as_str) {
            draft.offer_text(Text::Failure, error_text::MESSAGE, "output", message.to_owned().into());
        }
    }
    if sent.boolean("gen_ai.tool.success") == Some(false) {
        draft.failed = draft.failed.or(Some("gen_ai.tool.success"));
    }
    // `mastra.agent_run.input`: the type stands in the middle of the key.
    for (side, end) in [(Side::Input, ".input"), (Side::Output, ".output")] {
        if *kind == StepType::Embedding && side == Side::Output {
            continue;
        }
        let family = if *kind == StepType::Embedding { Family::PlainValue } else { Family::Mastra };
        let key = format!("mastra.{}{end}", typed.to_ascii_lowercase());
        draft.offer_content(side, family, || {
            let source = if side == Side::Input { "mastra.*.input" } else { "mastra.*.output" };
            Some(Content { source, text: usable::content_text(sent.get(&key)?)? })
        });
    }
    for (side, key) in [(Side::Input, "mastra.input"), (Side::Output, "mastra.output")] {
        draft.offer_attribute(side, Family::Mastra, sent, key);
    }
    for (side, key) in [(Side::Input, "input"), (Side::Output, "output")] {
        draft.offer_attribute(side, Family::PlainValue, sent, key);
    }
    run_metadata(sent, draft);
}

fn run_metadata(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    let attributes = &sent.span.attributes;
    let first = attributes.partition_point(|(key, _)| key.as_str() < METADATA);
    let under = attributes[first..].iter().map_while(|(key, value)| Some((key.strip_prefix(METADATA)?, value)));
    let known = ["sessionId", "threadId", "userId", "toolCallId"];
    for (key, value) in under.filter(|(key, _)| !known.contains(key)).take(RUN_METADATA_MAX) {
        draft.run_metadata.insert(key.to_owned(), value.to_plain_json());
    }
}
