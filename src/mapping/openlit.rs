//! OpenLIT: the GenAI conventions with words of its own for frameworks, retrievals and times. A cost of 0 says that it
//! had no price; the time to the first token is in seconds, and of a call that did not stream it is the whole duration.
//! Source: the packages `openlit` for Python and JavaScript.

use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;

const OPERATION: &str = "gen_ai.operation.name";
const AGENT: &str = "gen_ai.agent.name";
const SDK: &str = "telemetry.sdk.name";

const COUNTS: [(Count, u8, &str); 4] = [
    (Count::Total, field::SECONDARY + 2, "gen_ai.client.token.usage"),
    (Count::CacheRead, field::SECONDARY + 3, "gen_ai.usage.prompt_tokens_details.cached_tokens"),
    (Count::CacheWrite, field::SECONDARY + 3, "gen_ai.usage.prompt_tokens_details.cache_creation_tokens"),
    (Count::Reasoning, field::SECONDARY + 3, "gen_ai.usage.completion_tokens_details.reasoning_tokens"),
];

const TEXTS: [(Text, u8, &str); 2] = [
    (Text::Failure, error_text::MESSAGE + 2, "gen_ai.framework.error.message"),
    (Text::Agent, field::SECONDARY + 2, "gen_ai.agent.role"),
];

/// Attribute → member of the run's metadata.
const RUN_METADATA: [(&str, &str); 2] =
    [("gen_ai.environment", "environment"), ("gen_ai.application_name", "application_name")];

const CONTENTS: [(Side, Family, &str); 17] = [
    (Side::Input, Family::ContentEvents, "gen_ai.content.prompt"),
    (Side::Output, Family::ContentEvents, "gen_ai.content.completion"),
    (Side::Input, Family::GenAiTask, "gen_ai.workflow.input"),
    (Side::Output, Family::GenAiTask, "gen_ai.workflow.output"),
    (Side::Input, Family::GenAiTask, "gen_ai.framework.pipeline.input_data"),
    (Side::Output, Family::GenAiTask, "gen_ai.framework.pipeline.output_data"),
    (Side::Input, Family::GenAiTask, "gen_ai.agent.task"),
    (Side::Output, Family::GenAiTask, "gen_ai.agent.actual_output"),
    (Side::Input, Family::GenAiTask, "gen_ai.task.description"),
    (Side::Output, Family::GenAiTask, "gen_ai.task.output"),
    (Side::Input, Family::ToolValues, "gen_ai.tool.args"),
    (Side::Input, Family::ToolValues, "gen_ai.tool.input"),
    (Side::Output, Family::ToolValues, "gen_ai.tool.output"),
    (Side::Output, Family::ToolValues, "gen_ai.tool.result"),
    (Side::Input, Family::Retrieval, "gen_ai.retrieval.query"),
    (Side::Output, Family::Retrieval, "gen_ai.retrieval.source"),
    (Side::Input, Family::EmbeddedTexts, "gen_ai.embeddings.input"),
];

/// `Status.code` of OTLP.
const ERROR: i32 = 2;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.text(SDK) == Some("openlit") || sent.origin.scope_name.starts_with("openlit") || sent.has(COUNTS[0].2)
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if sent.has("gen_ai.agent.source") && sent.has("gen_ai.agent.target") {
        choice.offer(kind::STRUCTURE, StepType::Handoff, "gen_ai.agent.target");
    }
    if is_graph_part(sent) {
        choice.offer(kind::STRUCTURE, StepType::Workflow, AGENT);
    }
    if sent.text(OPERATION).is_none() && failed_call(sent).is_some() {
        choice.offer(kind::METHOD, StepType::ModelCall, "span name");
        return;
    }
    let typed = match sent.text(OPERATION) {
        Some(
            "execute_task"
            | "model_request"
            | "tool_coordination"
            | "graph"
            | "framework"
            | "user_prompt_processing"
            | "task"
            | "execution",
        ) => StepType::Workflow,
        Some("agent") => StepType::Agent,
        Some("image" | "audio" | "vision" | "translate" | "speech_to_text" | "text_to_speech") => StepType::ModelCall,
        _ => return,
    };
    choice.offer(kind::OPERATION, typed, OPERATION);
}

/// A call that failed before OpenLIT wrote its attributes is told by its name alone: `chat MODEL`.
fn failed_call<'a>(sent: &Sent<'a>) -> Option<&'a str> {
    let model = sent.span.name.strip_prefix("chat ").filter(|model| !model.is_empty() && !model.contains(' '))?;
    (sent.span.status.code == ERROR && sent.origin.scope_name.starts_with("openlit.")).then_some(model)
}

/// Every node of a LangGraph calls itself an agent. Those that LangChain itself puts into the graph of an agent are parts
/// of one.
fn is_graph_part(sent: &Sent<'_>) -> bool {
    const PARTS: [&str; 5] = ["model", "tools", "agent", "call_model", "__start__"];
    const HOOKS: [&str; 4] = [".before_model", ".after_model", ".before_agent", ".after_agent"];
    sent.text("gen_ai.provider.name") == Some("langgraph")
        && sent.text(AGENT).is_some_and(|name| PARTS.contains(&name) || HOOKS.iter().any(|hook| name.ends_with(hook)))
}

/// A compiled graph that was given a name is the agent of that name.
fn graph_name<'a>(sent: &Sent<'a>) -> Option<&'a str> {
    let name = sent.text("gen_ai.workflow.name").filter(|name| !matches!(*name, "LangGraph" | "graph"))?;
    (sent.text("gen_ai.provider.name") == Some("langgraph")).then_some(name)
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    if is_graph_part(sent) {
        draft.take(Text::Agent);
    }
    if let Some(name) = graph_name(sent) {
        draft.offer_text(Text::Agent, field::SECONDARY + 3, "gen_ai.workflow.name", name.into());
    }
    if let Some(model) = failed_call(sent) {
        draft.offer_text(Text::Model, field::GUESS, "span name", model.into());
    }
    draft.offer_counts(sent, &COUNTS);
    if *kind == StepType::Agent {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY + 2, "gen_ai.agent.role")]);
    }
    for (side, family, key) in CONTENTS {
        draft.offer_attribute(side, family, sent, key);
    }
    for (key, name) in RUN_METADATA {
        if let Some(value) = sent.get(key).filter(|value| usable::is_usable(value)) {
            draft.run_metadata.insert(name.to_owned(), value.to_plain_json());
        }
    }
}
