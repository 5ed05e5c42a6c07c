//! The OpenAI Agents SDK through Logfire (scope `logfire.openai_agents`), where the template of the message tells what
//! kind of span the SDK had; and the few keys that the contrib instrumentation adds to the GenAI conventions. Through
//! OpenInference and OpenLLMetry the SDK speaks those dialects.

use serde_json::Value;

use crate::mapping::content_json;
use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const SCOPE: &str = "logfire.openai_agents";
const TEMPLATE: &str = "logfire.msg_template";
const USAGE: &str = "usage";

const TEMPLATES: [(&str, StepType); 15] = [
    ("OpenAI Agents trace", StepType::Workflow),
    ("Task", StepType::Workflow),
    ("Turn ", StepType::Workflow),
    ("Agent run", StepType::Agent),
    ("Function:", StepType::ToolCall),
    ("Handoff", StepType::Handoff),
    ("Guardrail", StepType::Guardrail),
    ("Responses API", StepType::ModelCall),
    ("Chat completion", StepType::ModelCall),
    ("Speech → Text", StepType::ModelCall),
    ("Text → Speech group", StepType::Workflow),
    ("Text → Speech", StepType::ModelCall),
    ("Transcription", StepType::ModelCall),
    ("Custom span", StepType::Workflow),
    ("MCP: list tools", StepType::Rpc),
];

const TEXTS: [(Text, u8, &str); 5] = [
    (Text::ResponseId, field::SECONDARY, "response_id"),
    (Text::SessionId, identity::METADATA + 4, "group_id"),
    (Text::Agent, field::SECONDARY, "agent_name"),
    (Text::Agent, field::SECONDARY + 1, "from_agent"),
    (Text::RunName, field::METADATA, "gen_ai.workflow.name"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name == SCOPE || sent.has_under("gen_ai.guardrail.") || sent.has("gen_ai.transcription.text")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if sent.origin.scope_name != SCOPE {
        if sent.has_under("gen_ai.guardrail.") {
            choice.offer(kind::METHOD, StepType::Guardrail, "gen_ai.guardrail.name");
        }
        return;
    }
    let template = sent.text(TEMPLATE).unwrap_or(&sent.span.name);
    if let Some((_, typed)) = TEMPLATES.iter().find(|(start, _)| template.starts_with(start)) {
        choice.offer(kind::VENDOR_KIND, typed.clone(), TEMPLATE);
    } else if ["task", "turn"].iter().any(|word| sent.text("sdk_span_type") == Some(word)) {
        choice.offer(kind::VENDOR_KIND, StepType::Workflow, "sdk_span_type");
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if *kind == StepType::Guardrail {
        draft.offer_texts(sent, &[(Text::Name, field::GEN_AI, "gen_ai.guardrail.name")]);
        draft.offer_attribute(Side::Output, Family::PlainValue, sent, "gen_ai.guardrail.triggered");
    }
    draft.offer_attribute(Side::Output, Family::PlainValue, sent, "gen_ai.transcription.text");
    if sent.origin.scope_name != SCOPE {
        return;
    }
    draft.offer_texts(sent, &TEXTS);
    if matches!(kind, StepType::Agent | StepType::ToolCall | StepType::Guardrail) {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "name")]);
    }
    for (side, key) in [(Side::Input, "raw_input"), (Side::Output, "response")] {
        draft.offer_attribute(side, Family::LogfireRaw, sent, key);
    }
    if *kind == StepType::ModelCall {
        // Chat completions put the answer into `request_data` as well: the plain pair knows the sides apart.
        for (side, key) in [(Side::Input, "input"), (Side::Output, "output")] {
            draft.offer_attribute(side, Family::LogfireRaw, sent, key);
        }
    }
    draft.offer_attribute(Side::Output, Family::PlainValue, sent, "triggered");
    if *kind == StepType::Handoff {
        draft.offer_attribute(Side::Output, Family::PlainValue, sent, "to_agent");
    }
    // Of tasks and turns it is what their calls spent together.
    if sent.has(USAGE)
        && let Some(usage @ Value::Object(_)) = sent.json(USAGE)
    {
        content_json::read_usage_report(draft, USAGE, &usage);
    }
    if let Some(id) = sent.text("agent_trace_id") {
        draft.run_metadata.insert("agent_trace_id".to_owned(), Value::from(id));
    }
}
