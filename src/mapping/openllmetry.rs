//! OpenLLMetry and the Traceloop SDKs: `traceloop.*`, `llm.request.type`, `gen_ai.task.*`. Newer releases write the
//! messages of the GenAI conventions, older ones number them (`indexed_prompts`). Sources: the packages
//! `opentelemetry-semantic-conventions-ai`, `traceloop-sdk` and `opentelemetry-instrumentation-*` of Traceloop.

use serde_json::Value;

use crate::mapping::association;
use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::tags;
use crate::mapping::vector_db;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const KIND: &str = "traceloop.span.kind";
const ENTITY: &str = "traceloop.entity.name";
const OPERATION: &str = "gen_ai.operation.name";
const MCP_SESSION: &str = "mcp.client.session";
const TASK_STATUS: &str = "gen_ai.task.status";
const ASSOCIATION: &str = "traceloop.association.properties.";
const AGENT_OF_LANGCHAIN: &str = "traceloop.association.properties.lc_agent_name";
const PROVIDER_OF_LANGCHAIN: &str = "traceloop.association.properties.ls_provider";
const TAGS: &str = "traceloop.association.properties.tags";

const REQUEST_TYPES: [&str; 4] =
    ["llm.request.type", "traceloop.llm.request.type", "gen_ai.request.type", "litellm.request.type"];
/// LlamaIndex: the tool that a step of an agent's workflow runs.
const TOOL: &str = "tool.name";
const TOOL_ARGUMENTS: &str = "tool.arguments";
const ENTITY_OUTPUT: &str = "traceloop.entity.output";
/// Longer outputs are not searched for the name and the error of a tool.
const SEARCHED_BYTES_MAX: usize = 1 << 20;
const HANDOFF: [&str; 2] = ["gen_ai.handoff.to_agent", "gen_ai.handoff.from_agent"];
const STREAMING: [&str; 2] = ["gen_ai.is_streaming", "llm.is_streaming"];

/// Rank of Traceloop's association properties among what may be known of session and user.
const ASSOCIATED: u8 = 40;
/// `traceloop.workflow.name` comes before `gen_ai.workflow.name`.
const WORKFLOW_NAME: u8 = field::GEN_AI - 5;

const TEXTS: [(Text, u8, &str); 20] = [
    (Text::RunName, WORKFLOW_NAME, "traceloop.workflow.name"),
    (Text::SessionId, ASSOCIATED, "traceloop.association.properties.session_id"),
    (Text::SessionId, ASSOCIATED + 1, "traceloop.association.properties.sessionId"),
    (Text::SessionId, ASSOCIATED + 2, "traceloop.association.properties.conversation_id"),
    (Text::SessionId, ASSOCIATED + 3, "traceloop.association.properties.thread_id"),
    (Text::SessionId, ASSOCIATED + 4, "traceloop.association.properties.threadId"),
    (Text::SessionId, ASSOCIATED + 5, "traceloop.association.properties.chat_id"),
    (Text::SessionId, ASSOCIATED + 6, "traceloop.association.properties.session.id"),
    (Text::UserId, ASSOCIATED, "traceloop.association.properties.user_id"),
    (Text::UserId, ASSOCIATED + 1, "traceloop.association.properties.userId"),
    (Text::UserId, ASSOCIATED + 2, "traceloop.association.properties.user.id"),
    (Text::UserId, identity::METADATA + 1, "llm.user"),
    (Text::UserId, identity::METADATA + 2, "traceloop.association.properties.customer_id"),
    (Text::Agent, field::METADATA, AGENT_OF_LANGCHAIN),
    (Text::Model, field::METADATA, "traceloop.association.properties.ls_model_name"),
    (Text::FinishReason, field::SECONDARY, "llm.response.finish_reason"),
    (Text::FinishReason, field::SECONDARY + 1, "llm.response.stop_reason"),
    (Text::RequestModel, field::SECONDARY, "llm.request.model"),
    (Text::Model, field::SECONDARY, "llm.response.model"),
    (Text::Model, field::SECONDARY + 1, "llm.request.model"),
];

/// Association properties with a field of their own.
const KNOWN: [&str; 13] = [
    "session_id",
    "sessionId",
    "conversation_id",
    "thread_id",
    "threadId",
    "user_id",
    "userId",
    "customer_id",
    "tags",
    "ls_provider",
    "chat_id",
    "session.id",
    "user.id",
];

const COUNTS: [(Count, u8, &str); 5] = [
    (Count::Input, field::SECONDARY, "llm.usage.prompt_tokens"),
    (Count::Output, field::SECONDARY, "llm.usage.completion_tokens"),
    (Count::Total, field::SECONDARY, "llm.usage.total_tokens"),
    (Count::Reasoning, field::SECONDARY + 1, "llm.usage.reasoning_tokens"),
    (Count::CacheRead, field::SECONDARY + 2, "llm.usage.cache_read_input_tokens"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("traceloop.")
        || REQUEST_TYPES.iter().chain(&STREAMING).chain(&HANDOFF).any(|key| sent.has(key))
        || sent.has_under("llm.usage.")
        || sent.has_under("gen_ai.task.")
        || sent.has("mcp.response.value")
        || sent.get(OPERATION).and_then(AnyValue::as_str).is_some_and(|word| operation(word).is_some())
        || vector_db::is_one(sent)
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if let Some(typed) = sent.text(KIND).and_then(entity_kind) {
        // A connection to a server of tools lasts as long as it likes: a frame, whatever runs in it.
        let rank = if sent.span.name == MCP_SESSION { kind::GENERIC } else { kind::VENDOR_KIND };
        choice.offer(rank, typed, KIND);
    }
    // A task or workflow may be anything: what the same span says of a call, tool or retrieval is more.
    let is_vague = matches!(sent.text(KIND), Some("workflow" | "task"));
    if let Some(typed) = sent.text(OPERATION).and_then(operation) {
        choice.offer(if is_vague { kind::STRUCTURE } else { kind::OPERATION }, typed, OPERATION);
    }
    if is_vague && let Some(typed) = sent.text(OPERATION).and_then(exact_operation) {
        choice.offer(kind::STRUCTURE, typed, OPERATION);
    }
    for key in REQUEST_TYPES {
        if let Some(typed) = sent.text(key).and_then(request_type) {
            choice.offer(if is_vague { kind::STRUCTURE } else { kind::METHOD }, typed, key);
        }
    }
    if sent.has(TOOL) && sent.has(TOOL_ARGUMENTS) {
        choice.offer(kind::STRUCTURE, StepType::ToolCall, TOOL);
    }
    if let Some(key) = HANDOFF.into_iter().find(|key| sent.has(key)) {
        choice.offer(kind::METHOD, StepType::Handoff, key);
    }
    if let Some(key) = vector_db::searches(sent) {
        choice.offer(kind::METHOD, StepType::Retrieval, key);
    }
    // A graph node that carries the agent's own name is the agent.
    let is_agent = sent.text(AGENT_OF_LANGCHAIN).is_some_and(|agent| sent.text(ENTITY) == Some(agent));
    if is_agent && choice.is(&StepType::Workflow) {
        choice.refine(StepType::Agent, AGENT_OF_LANGCHAIN);
    }
}

fn entity_kind(word: &str) -> Option<StepType> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "workflow" | "task" | "session" => StepType::Workflow,
        "agent" => StepType::Agent,
        "tool" => StepType::ToolCall,
        "handoff" => StepType::Handoff,
        _ => return None,
    })
}

/// Operations beyond those of the GenAI conventions.
fn operation(word: &str) -> Option<StepType> {
    Some(match word {
        "execute_task" => StepType::Workflow,
        "llm_request" => StepType::ModelCall,
        "vector_db_retrieve" => StepType::Retrieval,
        _ => return None,
    })
}

/// Operations of the GenAI conventions that no framework writes onto a wrapper.
fn exact_operation(word: &str) -> Option<StepType> {
    Some(match word {
        "chat" | "text_completion" | "generate_content" => StepType::ModelCall,
        "embeddings" => StepType::Embedding,
        "rerank" => StepType::Rerank,
        "execute_tool" => StepType::ToolCall,
        _ => return None,
    })
}

/// What was asked of a model. LiteLLM has a twin with an `a` in front of each for its asynchronous calls.
pub(super) fn request_type(word: &str) -> Option<StepType> {
    let lower = word.trim().to_ascii_lowercase();
    let plain = |word: &str| {
        Some(match word {
            "chat"
            | "completion"
            | "responses"
            | "anthropic_messages"
            | "text_completion"
            | "image_generation"
            | "transcription"
            | "speech"
            | "generate_content"
            | "generate_content_stream"
            | "image_edit" => StepType::ModelCall,
            "embedding" | "embeddings" => StepType::Embedding,
            "rerank" => StepType::Rerank,
            _ => return None,
        })
    };
    plain(&lower).or_else(|| plain(lower.strip_prefix('a')?))
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    if *kind == StepType::ToolCall {
        tool(sent, draft);
    }
    if !kind.is_call() {
        name(sent, draft);
    }
    if let Some(provider) = sent.text(PROVIDER_OF_LANGCHAIN) {
        draft.offer_provider(80, PROVIDER_OF_LANGCHAIN, provider);
    }
    for key in STREAMING {
        draft.streaming = draft.streaming.or_else(|| sent.boolean(key));
    }
    if let Some(status) = sent.text(TASK_STATUS)
        && matches!(status.to_ascii_lowercase().as_str(), "failure" | "failed" | "error")
    {
        draft.failed = draft.failed.or(Some(TASK_STATUS));
    }
    if sent.has_under(ASSOCIATION) {
        draft.tags.extend(tags::read(sent.get(TAGS)));
        association::read_rest(sent, ASSOCIATION, &KNOWN, draft);
    }
    draft.offer_attribute(Side::Input, Family::TraceloopEntity, sent, "traceloop.entity.input");
    draft.offer_attribute(Side::Output, Family::TraceloopEntity, sent, ENTITY_OUTPUT);
    draft.offer_attribute(Side::Input, Family::GenAiTask, sent, "gen_ai.task.input");
    draft.offer_attribute(Side::Output, Family::GenAiTask, sent, "gen_ai.task.output");
    draft.offer_attribute(Side::Input, Family::Mcp, sent, "mcp.request.argument");
    draft.offer_attribute(Side::Output, Family::Mcp, sent, "mcp.response.value");
    vector_db::fields(sent, kind, draft);
}

/// The name of an entity or of its span, without the end that says what it was declared as.
fn name<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    let bare = |name: &'a str| {
        let declared = [".workflow", ".task", ".agent", ".tool", ".team", ".handoff"];
        declared.iter().find_map(|end| name.strip_suffix(end)).filter(|bare| !bare.is_empty()).unwrap_or(name)
    };
    if let Some(name) = sent.text(ENTITY) {
        draft.offer_text(Text::Name, field::SECONDARY, ENTITY, bare(name).into());
    } else if sent.has(KIND) {
        draft.offer_text(Text::Name, field::GUESS, KIND, bare(&sent.span.name).into());
    }
}

/// What LlamaIndex says of a tool: its name where the span is called like a class, and an error only in the output.
fn tool<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &[(Text::Name, field::SECONDARY - 1, TOOL)]);
    draft.offer_attribute(Side::Input, Family::ToolValues, sent, TOOL_ARGUMENTS);
    let Some(output) = sent.text(ENTITY_OUTPUT).filter(|output| output.len() <= SEARCHED_BYTES_MAX) else { return };
    if !output.starts_with('{') || !output.contains("\"tool_name\"") {
        return;
    }
    let Ok(result) = serde_json::from_str::<Value>(output) else { return };
    let inner = result.get("tool_output").unwrap_or(&result);
    let text = |key: &str| result.get(key).or_else(|| inner.get(key)).and_then(Value::as_str);
    if let Some(name) = text("tool_name") {
        draft.offer_text(Text::Name, field::SECONDARY - 1, ENTITY_OUTPUT, name.to_owned().into());
    }
    if let Some(id) = text("tool_id") {
        draft.offer_text(Text::ToolCallId, field::CONTENT, ENTITY_OUTPUT, id.to_owned().into());
    }
    if inner.get("is_error") == Some(&Value::Bool(true)) {
        draft.failed = draft.failed.or(Some(ENTITY_OUTPUT));
        let said = inner.pointer("/blocks/0/text").or_else(|| inner.get("content")).or_else(|| inner.get("raw_output"));
        if let Some(said) = said.and_then(Value::as_str) {
            draft.offer_text(Text::Failure, error_text::MESSAGE + 3, ENTITY_OUTPUT, said.to_owned().into());
        }
    }
}
