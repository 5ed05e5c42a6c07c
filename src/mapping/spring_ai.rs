//! Spring AI: GenAI conventions on its model spans, keys of its own on chat clients, advisors, tools and vector stores.
//! Every value is a string: its observations know no other type. Keys as in its observation conventions.

use serde_json::Value;

use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const KIND: &str = "spring.ai.kind";
const TOOL: &str = "spring.ai.tool.definition.name";
const VECTOR_QUERY: &str = "db.vector.query.content";

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("spring.ai.") || sent.has_under("db.vector.query.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let word = sent.text(KIND).unwrap_or_default();
    match word {
        "tool_call" => choice.offer(kind::METHOD, StepType::ToolCall, KIND),
        "chat_client" | "advisor" => choice.offer(kind::METHOD, StepType::Workflow, KIND),
        "vector_store" if is_query(sent) => choice.offer(kind::METHOD, StepType::Retrieval, KIND),
        "vector_store" => choice.offer(kind::METHOD, StepType::DbQuery, KIND),
        _ if sent.has(TOOL) => choice.offer(kind::METHOD, StepType::ToolCall, TOOL),
        _ if sent.has_under("db.vector.query.") && is_query(sent) => {
            choice.offer(kind::METHOD, StepType::Retrieval, VECTOR_QUERY);
        }
        _ => {}
    }
}

/// A store is asked, or filled and emptied.
fn is_query(sent: &Sent<'_>) -> bool {
    let operation = ["db.operation.name", "db.operation"].iter().find_map(|key| sent.text(key));
    match operation {
        Some(word) => ["query", "search", "retrieve", "find"].iter().any(|it| word.to_ascii_lowercase().contains(it)),
        None => sent.has(VECTOR_QUERY) || sent.has("db.vector.query.top_k"),
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    const CONVERSATION: &str = "spring.ai.chat.client.conversation.id";
    // What Spring AI calls a conversation that nobody named.
    if sent.text(CONVERSATION) != Some("default") {
        draft.offer_texts(sent, &[(Text::SessionId, identity::METADATA + 4, CONVERSATION)]);
    }
    draft.offer_texts(sent, &[(Text::ToolCallId, field::SECONDARY, "spring.ai.tool.call.id")]);
    if *kind == StepType::ToolCall {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, TOOL)]);
    }
    draft.offer_attribute(Side::Input, Family::SpringAi, sent, "spring.ai.tool.call.arguments");
    draft.offer_attribute(Side::Output, Family::SpringAi, sent, "spring.ai.tool.call.result");
    draft.offer_attribute(Side::Input, Family::Retrieval, sent, VECTOR_QUERY);
    draft.offer_attribute(Side::Output, Family::Retrieval, sent, "db.vector.query.response.documents");
    for (side, key) in [
        (Side::Input, "spring.ai.chat.client.input"),
        (Side::Output, "spring.ai.chat.client.output"),
        (Side::Input, "spring.ai.model.request.messages"),
        (Side::Output, "spring.ai.model.response.messages"),
    ] {
        draft.offer_attribute(side, Family::PlainPrompt, sent, key);
    }
    draft.streaming = draft.streaming.or_else(|| sent.boolean("spring.ai.chat.client.stream"));
    if let Some(collection) = sent.text("db.collection.name").filter(|_| *kind == StepType::Retrieval) {
        draft.more.insert("collection".to_owned(), Value::from(collection));
    }
}
