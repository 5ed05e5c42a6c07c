//! LangSmith's OpenTelemetry exporter (scope `langsmith`): run types, runs' inputs and outputs as one JSON text each,
//! metadata flattened into attributes. It writes the status OK on runs that failed. Keys as in the exporter's source.

use std::borrow::Cow;

use serde_json::Value;

use crate::mapping::content_json;
use crate::mapping::draft::{Draft, KindChoice, Text};
use crate::mapping::langchain;
use crate::mapping::precedence::{field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;

const KIND: &str = "langsmith.span.kind";
const METADATA: &str = "langsmith.metadata";
/// Usage in the words of LangChain, with the details that the GenAI keys leave out.
const USAGE: [&str; 3] = ["langsmith.metadata.usage_metadata", "langsmith.usage_metadata", "langsmith.usage"];
const AGENT_TYPE: &str = "langsmith.metadata.ls_agent_type";
const INTEGRATION: &str = "langsmith.metadata.ls_integration";
const OPENAI_AGENTS: &str = "openai-agents-sdk";
const AGENT_NAME: &str = "langsmith.metadata.lc_agent_name";

const TEXTS: [(Text, u8, &str); 7] = [
    (Text::SessionId, identity::LANGSMITH, "langsmith.metadata.session_id"),
    (Text::SessionId, identity::LANGSMITH + 1, "langsmith.metadata.conversation_id"),
    (Text::SessionId, identity::LANGSMITH + 2, "langsmith.metadata.thread_id"),
    (Text::SessionId, identity::LANGSMITH + 3, "langsmith.trace.session_id"),
    (Text::UserId, identity::LANGSMITH, "langsmith.metadata.user_id"),
    (Text::ToolCallId, field::METADATA, "langsmith.metadata.tool_call_id"),
    (Text::Agent, field::SECONDARY, AGENT_NAME),
];

/// More of the sender's metadata than this is left to the attributes.
const RUN_METADATA_MAX: usize = 64;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("langsmith.")
}

/// The exporter calls a retriever's operation `embeddings`: its own kind comes first.
pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let Some(word) = sent.text(KIND) else { return };
    let typed = match word.trim().to_ascii_lowercase().as_str() {
        "llm" => StepType::ModelCall,
        "tool" => StepType::ToolCall,
        "retriever" => StepType::Retrieval,
        "embedding" => StepType::Embedding,
        "agent" => StepType::Agent,
        "chain" if sent.text(INTEGRATION) == Some(OPENAI_AGENTS) => openai_agents_run(sent),
        "chain" if is_outermost_agent(sent) => StepType::Agent,
        "chain" | "prompt" | "parser" => StepType::Workflow,
        _ => return,
    };
    choice.offer(kind::VENDOR_KIND, typed, KIND);
}

/// The tracer of the OpenAI Agents SDK calls everything but calls and tools a chain: its root is the workflow, a turn is a
/// `Span`, and an agent has its own name.
fn openai_agents_run(sent: &Sent<'_>) -> StepType {
    let name = sent.span.name.as_str();
    match name.split(' ').next().unwrap_or(name) {
        _ if sent.span.parent_span_id.is_none() => StepType::Workflow,
        "Handoff" => StepType::Handoff,
        "Guardrail" => StepType::Guardrail,
        "Span" | "" => StepType::Workflow,
        _ => StepType::Agent,
    }
}

/// The mark is handed down to every run below: it names the agent on the run that has no other above.
fn is_outermost_agent(sent: &Sent<'_>) -> bool {
    sent.text(AGENT_TYPE) == Some("root")
        && sent.span.parent_span_id.is_none()
        && !sent.has("langsmith.metadata.langgraph_node")
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    // The exporter repeats the run's name on each span: only the root's is the name of the whole.
    if sent.span.parent_span_id.is_none() {
        draft.offer_texts(sent, &[(Text::RunName, field::SECONDARY, "langsmith.trace.name")]);
    }
    if kind.is_call() {
        for key in USAGE {
            if let Some(text) = sent.text(key).filter(|text| text.starts_with('{'))
                && let Ok(report) = serde_json::from_str::<Value>(text)
            {
                content_json::read_usage(draft, field::METADATA, key, &report);
            }
        }
        for key in ["gen_ai.completion", "gen_ai.prompt"] {
            if let Some(answer) = sent.text(key) {
                content_json::read_answer(draft, key, answer);
            }
        }
        draft.streaming = draft.streaming.or_else(|| sent.boolean("langsmith.request.streaming"));
    }
    if *kind == StepType::ToolCall
        && draft.wants(Text::ToolCallId, field::CONTENT)
        && let Some(id) = sent.text("gen_ai.completion").and_then(content_json::tool_call_id)
    {
        draft.offer_text(Text::ToolCallId, field::CONTENT, "gen_ai.completion", id.into());
    }
    if sent.has(KIND) && sent.events().iter().any(|event| event.name == "exception") {
        draft.failed = draft.failed.or(Some(KIND));
    }
    if let Some(tags) = sent.text("langsmith.span.tags") {
        draft.tags.extend(tags.split(',').map(|tag| tag.trim().to_owned()));
    }
    for (key, name) in [("langsmith.trace.session_name", "project"), ("langsmith.trace.id", "langsmith_trace_id")] {
        if let Some(text) = sent.text(key) {
            draft.run_metadata.insert(name.to_owned(), Value::from(text));
        }
    }
    for (name, value) in sent.under(METADATA) {
        let is_own = !langchain::is_machinery(name) && !name.starts_with("LANGSMITH_") && name != "usage_metadata";
        if is_own && usable::is_usable(value) && draft.run_metadata.len() < RUN_METADATA_MAX {
            draft.run_metadata.entry(name.to_owned()).or_insert_with(|| usable::opened(value));
        }
    }
    if let Some(name) = sent.text("gen_ai.serialized.name").filter(|_| sent.span.name.is_empty()) {
        draft.offer_text(Text::Name, field::SECONDARY, "gen_ai.serialized.name", Cow::Borrowed(name));
    }
}
