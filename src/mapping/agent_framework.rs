//! Microsoft Agent Framework (scopes `agent_framework`, `Microsoft.Agents.AI*`): GenAI conventions for agents, calls and
//! tools, and spans of its own for workflows. Names and keys as in its observability modules for Python and .NET.

use serde_json::Value;

use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

/// Starts of the names of workflow spans; `executor.process` is followed by the executor's id.
const WORKFLOWS: [&str; 7] = [
    "workflow.run",
    "workflow_invoke",
    "workflow.session",
    "executor.process",
    "edge_group.process",
    "message.send",
    BUILD,
];
/// Puts a workflow together and runs nothing.
const BUILD: &str = "workflow.build";
/// Keys that only these spans have.
const KEYS: [&str; 5] = ["workflow.id", "executor.id", "edge_group.type", "message.type", "workflow.definition"];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    is_framework(sent) || KEYS.iter().any(|key| sent.has(key))
}

fn is_framework(sent: &Sent<'_>) -> bool {
    let scope = sent.origin.scope_name.trim_start_matches("Experimental.");
    scope.starts_with("agent_framework") || scope.starts_with("Microsoft.Agents.AI")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let name = sent.span.name.as_str();
    let is_named =
        |start: &&&str| name.strip_prefix(**start).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let Some(start) = WORKFLOWS.iter().find(is_named) else { return };
    choice.offer(kind::METHOD, StepType::Workflow, "name");
    choice.setup |= *start == BUILD;
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if *kind == StepType::Workflow {
        draft.offer_texts(
            sent,
            &[
                (Text::RunName, field::SECONDARY, "workflow.name"),
                (Text::Failure, error_text::MESSAGE, "build.error.message"),
            ],
        );
        draft.offer_attribute(Side::Input, Family::Workflow, sent, "executor.input");
        draft.offer_attribute(Side::Output, Family::Workflow, sent, "executor.output");
        if let Some(id) = sent.text("executor.id").filter(|_| sent.span.name == "executor.process") {
            draft.offer_text(Text::Name, field::SECONDARY, "executor.id", format!("executor.process {id}").into());
        }
    }
    const DURATION: &str = "agent_framework.function.invocation.duration";
    if let Some(seconds) = sent.number(DURATION) {
        draft.more.insert("function_duration_ms".to_owned(), Value::from(seconds * 1000.0));
    }
}
