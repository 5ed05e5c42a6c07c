//! VoltAgent: `span.type` of the steps below an agent, `entity.type` of the agent or workflow itself, plain words for
//! input, output and usage.

use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const TYPE: &str = "span.type";
const ENTITY: &str = "entity.type";

const TEXTS: [(Text, u8, &str); 10] = [
    (Text::SessionId, identity::METADATA - 20, "voltagent.conversation_id"),
    (Text::SessionId, identity::METADATA - 19, "conversation.id"),
    (Text::UserId, identity::PLAIN, "user.id"),
    (Text::Model, field::SECONDARY, "llm.model"),
    (Text::Model, field::SECONDARY + 1, "ai.model.name"),
    (Text::RequestModel, field::SECONDARY, "llm.model"),
    (Text::ToolCallId, field::SECONDARY, "tool.call.id"),
    (Text::FinishReason, field::SECONDARY, "ai.response.finish_reason"),
    (Text::FinishReason, field::SECONDARY, "llm.finish_reason"),
    (Text::Failure, crate::mapping::precedence::error_text::MESSAGE, "error.message"),
];

const COUNTS: [(Count, u8, &str); 10] = [
    (Count::Input, field::SECONDARY, "llm.usage.prompt_tokens"),
    (Count::Output, field::SECONDARY, "llm.usage.completion_tokens"),
    (Count::Total, field::SECONDARY, "llm.usage.total_tokens"),
    (Count::CacheRead, field::SECONDARY, "llm.usage.cached_tokens"),
    (Count::Reasoning, field::SECONDARY, "llm.usage.reasoning_tokens"),
    (Count::Input, field::SECONDARY + 1, "usage.prompt_tokens"),
    (Count::Output, field::SECONDARY + 1, "usage.completion_tokens"),
    (Count::Total, field::SECONDARY + 1, "usage.total_tokens"),
    (Count::CacheRead, field::SECONDARY + 1, "usage.cached_tokens"),
    (Count::Reasoning, field::SECONDARY + 1, "usage.reasoning_tokens"),
];

/// Others have entities and types too: one sign of the framework must stand beside them.
pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    (sent.has(ENTITY) || sent.has(TYPE))
        && (sent.has_under("voltagent.")
            || sent.has("agent.state")
            || sent.has("operation.id")
            || sent.origin.scope_name.contains("voltagent"))
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    for key in [TYPE, ENTITY] {
        let typed = match sent.text(key) {
            Some("agent") => StepType::Agent,
            Some("llm") => StepType::ModelCall,
            Some("tool") => StepType::ToolCall,
            Some("memory") => StepType::Memory,
            Some("retriever" | "vector") => StepType::Retrieval,
            Some("embedding") => StepType::Embedding,
            Some("guardrail") => StepType::Guardrail,
            Some("scorer") => StepType::Evaluator,
            Some("workflow" | "workflow-step" | "middleware" | "summary") => StepType::Workflow,
            _ => continue,
        };
        choice.offer(kind::VENDOR_KIND, typed, key);
        return;
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    // Below an agent every span carries the agent's entity.
    let agent = [(Text::Agent, field::SECONDARY, "subagent.name"), (Text::Agent, field::SECONDARY + 1, "entity.name")];
    draft.offer_texts(sent, &agent);
    // `llm.usage.*` is of the last turn only, while one span stands for all of them.
    draft.claim_is_sum = *kind == StepType::Agent;
    match kind {
        StepType::Agent => draft.offer_texts(
            sent,
            &[(Text::Name, field::SECONDARY, "subagent.name"), (Text::Name, field::SECONDARY + 1, "entity.name")],
        ),
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "tool.name")]),
        _ => {}
    }
    if let Some(name) = sent.get("llm.provider").and_then(AnyValue::as_str) {
        draft.offer_provider(field::SECONDARY, "llm.provider", name);
    }
    draft.streaming = draft.streaming.or_else(|| sent.boolean("llm.stream"));
    for key in ["llm.messages", "agent.messages"] {
        draft.offer_attribute(Side::Input, Family::VoltAgent, sent, key);
    }
    draft.offer_attribute(Side::Input, Family::PlainValue, sent, "input");
    if *kind != StepType::Embedding {
        draft.offer_attribute(Side::Output, Family::PlainValue, sent, "output");
    }
}
