//! Google's Agent Development Kit (scope `gcp.vertex.agent`), in three generations: spans `invocation`, `agent_run`,
//! `call_llm` with everything in JSON under `gcp.vertex.agent.*`; `call_llm` above a `generate_content` that repeats it;
//! and the GenAI conventions with messages in log records.

use std::borrow::Cow;

use crate::mapping::content_json;
use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const REQUEST: &str = "gcp.vertex.agent.llm_request";
const RESPONSE: &str = "gcp.vertex.agent.llm_response";
/// What a span stands for that repeats the results of tools called together.
const MERGED: &str = "(merged tools)";

const TEXTS: [(Text, u8, &str); 1] = [(Text::SessionId, identity::END_USER, "gcp.vertex.agent.session_id")];

const COUNTS: [(Count, u8, &str); 1] =
    [(Count::Reasoning, field::SECONDARY + 1, "gen_ai.usage.experimental.reasoning_tokens")];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("gcp.vertex.agent.") || sent.origin.scope_name == "gcp.vertex.agent"
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let name = sent.span.name.as_str();
    if name.ends_with(MERGED) || sent.text("gen_ai.tool.name") == Some(MERGED) {
        choice.offer(kind::STRUCTURE, StepType::Workflow, "name");
    } else if name == "call_llm" || sent.get(REQUEST).is_some_and(|_| sent.has("gen_ai.request.model")) {
        choice.offer(kind::METHOD, StepType::ModelCall, "name");
    } else if name == "invocation" {
        choice.offer(kind::METHOD, StepType::Workflow, "name");
    } else if agent_of(name).is_some() {
        choice.offer(kind::METHOD, StepType::Agent, "name");
    }
}

/// The agent of `agent_run [name]`.
fn agent_of(span_name: &str) -> Option<&str> {
    let rest = span_name.strip_prefix("agent_run")?.trim();
    let bare = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
    (!bare.is_empty()).then_some(bare)
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    if let Some(agent) = agent_of(&sent.span.name) {
        draft.offer_text(Text::Agent, field::SECONDARY, "name", Cow::Borrowed(agent));
        draft.offer_text(Text::Name, field::SECONDARY, "name", Cow::Borrowed(agent));
    }
    match kind {
        StepType::ModelCall => {
            draft.offer_attribute(Input, Family::Adk, sent, REQUEST);
            draft.offer_attribute(Output, Family::Adk, sent, RESPONSE);
            if let Some(answer) = sent.text(RESPONSE) {
                content_json::read_answer(draft, RESPONSE, answer);
            }
        }
        StepType::ToolCall => {
            draft.offer_attribute(Input, Family::Adk, sent, "gcp.vertex.agent.tool_call_args");
            draft.offer_attribute(Output, Family::Adk, sent, "gcp.vertex.agent.tool_response");
        }
        _ => draft.offer_attribute(Output, Family::Adk, sent, "gcp.vertex.agent.data"),
    }
}
