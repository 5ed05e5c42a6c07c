//! AgentOps (`agentops.span.kind`, `agentops.entity.*`), with the plain words that it writes for agents, tools and
//! workflows. Source: the package `agentops`, its `semconv` and its instrumentations.

use crate::mapping::draft::{Content, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::tags;
use crate::model::step::StepType;

const KIND: &str = "agentops.span.kind";
const END_STATE: &str = "agentops.session.end_state";
const TOOL_STATUS: &str = "tool.status";
const TAGS: [&str; 2] = ["agentops.tags", "tags"];
const FIRST_TOKEN_S: [&str; 2] = ["gen_ai.streaming.time_to_first_token", "gen_ai.time_to_first_token"];

/// Input and output of what was decorated: under one name, or under that of its kind.
const ENTITIES: [(&str, &str); 10] = [
    ("agentops.entity.input", "agentops.entity.output"),
    ("agentops.session.input", "agentops.session.output"),
    ("agentops.workflow.input", "agentops.workflow.output"),
    ("agentops.task.input", "agentops.task.output"),
    ("agentops.operation.input", "agentops.operation.output"),
    ("agentops.agent.input", "agentops.agent.output"),
    ("agentops.tool.input", "agentops.tool.output"),
    ("agentops.chain.input", "agentops.chain.output"),
    ("agentops.llm.input", "agentops.llm.output"),
    ("agentops.guardrail.input", "agentops.guardrail.output"),
];

const TEXTS: [(Text, u8, &str); 12] = [
    (Text::Agent, field::SECONDARY, "agent.name"),
    (Text::ToolCallId, field::SECONDARY, "tool.call.id"),
    (Text::ToolCallId, field::SECONDARY + 1, "tool.call_id"),
    (Text::ToolCallId, field::SECONDARY + 2, "tool.id"),
    (Text::Failure, error_text::MESSAGE, "error.message"),
    (Text::Failure, error_text::MESSAGE + 4, "tool.error"),
    (Text::Failure, error_text::MESSAGE + 5, "tool.execution_error"),
    (Text::SessionId, identity::METADATA + 11, "team.session_id"),
    (Text::RunName, field::SECONDARY, "workflow.name"),
    (Text::SessionId, identity::METADATA + 10, "workflow.session_id"),
    (Text::UserId, identity::METADATA + 10, "workflow.user_id"),
    (Text::UserId, identity::METADATA + 11, "gen_ai.user"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("agentops.")
        || sent.origin.scope_name.starts_with("agentops")
        || sent.text("instrumentation.name") == Some("agentops")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    match sent.text(KIND) {
        // It lasts until the process ends, whatever the agent does: a frame, unless it stands for a function.
        Some("session") if entity(sent).is_none() => choice.offer(kind::GENERIC, StepType::Workflow, KIND),
        Some(word) => {
            if let Some(typed) = span_kind(word) {
                choice.offer(kind::VENDOR_KIND, typed, KIND);
            }
        }
        None => {}
    }
    for key in ["to_agent", "from_agent"] {
        if sent.has(key) {
            choice.offer(kind::METHOD, StepType::Handoff, key);
        }
    }
    if sent.has("workflow.step.type") {
        choice.offer(kind::METHOD, StepType::Workflow, "workflow.step.type");
    }
    if sent.has("tool.name") && (sent.has("tool.call.id") || sent.has("tool.parameters")) {
        choice.offer(kind::TOOL_KEYS, StepType::ToolCall, "tool.name");
    }
}

fn span_kind(word: &str) -> Option<StepType> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "session" | "workflow" | "workflow.step" | "task" | "operation" | "chain" | "text" => StepType::Workflow,
        "agent" | "agent.action" | "agent.thinking" | "agent.decision" | "team" => StepType::Agent,
        "tool" => StepType::ToolCall,
        "llm" | "llm.call" => StepType::ModelCall,
        "guardrail" => StepType::Guardrail,
        "http" => StepType::HttpRequest,
        _ => return None,
    })
}

fn entity(sent: &Sent<'_>) -> Option<&'static str> {
    ENTITIES.into_iter().flat_map(|(input, output)| [input, output]).find(|key| sent.has(key))
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    name(sent, kind, draft);
    for (input, output) in ENTITIES {
        draft.offer_attribute(Side::Input, Family::AgentOps, sent, input);
        draft.offer_attribute(Side::Output, Family::AgentOps, sent, output);
    }
    draft.offer_attribute(Side::Output, Family::AgentOps, sent, "chain.outputs");
    draft.offer_content(Side::Input, Family::ToolValues, || {
        // A description of parameters is not the arguments of a call.
        let text = sent.text("tool.parameters").filter(|text| !text.contains("\"properties\""))?;
        Some(Content { source: "tool.parameters", text: text.into() })
    });
    draft.offer_attribute(Side::Output, Family::ToolValues, sent, "tool.result");
    draft.offer_attribute(Side::Input, Family::ToolValues, sent, "langchain.tool.input");
    draft.offer_attribute(Side::Output, Family::ToolValues, sent, "langchain.tool.output");
    draft.offer_attribute(Side::Input, Family::Workflow, sent, "workflow.input");
    draft.offer_attribute(Side::Output, Family::Workflow, sent, "workflow.final_output");
    draft.offer_attribute(Side::Output, Family::Workflow, sent, "workflow.output");
    for key in FIRST_TOKEN_S {
        let ms = sent.number(key).map(|seconds| seconds * 1000.0);
        draft.offer_time_to_first_token_ms(key, ms);
    }
    for key in TAGS {
        draft.tags.extend(tags::read(sent.get(key)));
    }
    for key in [END_STATE, TOOL_STATUS] {
        let ends_badly = sent
            .text(key)
            .is_some_and(|word| matches!(word.to_ascii_lowercase().as_str(), "fail" | "failed" | "failure" | "error"));
        if ends_badly {
            draft.failed = draft.failed.or(Some(key));
        }
    }
}

fn name<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    match kind {
        StepType::ToolCall => draft.offer_texts(
            sent,
            &[(Text::Name, field::SECONDARY, "tool.name"), (Text::Name, field::SECONDARY + 1, "langchain.tool.name")],
        ),
        StepType::Agent => draft.offer_texts(
            sent,
            &[(Text::Name, field::SECONDARY, "agent.name"), (Text::Name, field::SECONDARY + 1, "team.name")],
        ),
        _ if kind.is_call() => return,
        _ => {}
    }
    let declared = ["agentops.entity.name", "agentops.operation.name", "operation.name"];
    if !sent.has(KIND) || sent.text(KIND) == Some("session") {
        return;
    }
    for (rank, key) in (field::METADATA..).zip(declared) {
        draft.offer_texts(sent, &[(Text::Name, rank, key)]);
    }
}
