//! The AI SDK from version 7 on (`@ai-sdk/otel`, scope `gen_ai`): the GenAI conventions, with an operation of its own
//! for each turn of an agent. A stream that the caller breaks off ends without an error and without an answer.

use serde_json::Value;

use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::precedence::kind;
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const OPERATION: &str = "gen_ai.operation.name";
/// `Status.code` of OTLP.
const ERROR: i32 = 2;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name == "gen_ai" || sent.text(OPERATION) == Some("agent_step")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if sent.text(OPERATION) == Some("agent_step") {
        // The processor of OpenInference calls every turn a model call.
        choice.offer(kind::STRUCTURE, StepType::Workflow, OPERATION);
    }
}

/// Where inputs are recorded outputs are too, unless there is none.
pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    let has_ended = sent.span.end_ns != 0 && sent.span.status.code != ERROR;
    let speaks_up = matches!(kind, StepType::Agent | StepType::ModelCall);
    let is_silent = draft.content(Side::Output).is_none() && draft.text(Text::FinishReason).is_none();
    if has_ended && speaks_up && is_silent && draft.content(Side::Input).is_some() {
        draft.more.insert("incomplete".to_owned(), Value::Bool(true));
    }
}
