//! AG2 through Logfire: conversations, turns of agents and tools by the names of their spans, with `ag2.*` keys.

use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const SUCCESS: &str = "ag2.execution.success";
const RESULT: &str = "ag2.tool_result";

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("ag2.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let typed = match sent.span.name.as_str() {
        "AG2 agent turn" => StepType::Agent,
        "AG2 tool execution" => StepType::ToolCall,
        name if name.starts_with("AG2 ") => StepType::Workflow,
        _ => return,
    };
    choice.offer(kind::METHOD, typed, "name");
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(
        sent,
        &[(Text::Agent, field::SECONDARY, "ag2.agent_name"), (Text::ToolCallId, field::SECONDARY, "ag2.call_id")],
    );
    match kind {
        StepType::Agent => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "ag2.agent_name")]),
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "ag2.tool_name")]),
        _ => {}
    }
    for key in ["ag2.user_message", "ag2.message_content", "ag2.tool_args"] {
        draft.offer_attribute(Side::Input, Family::PlainValue, sent, key);
    }
    draft.offer_attribute(Side::Output, Family::PlainValue, sent, RESULT);
    if sent.boolean(SUCCESS) == Some(false) {
        draft.failed = draft.failed.or(Some(SUCCESS));
        draft.offer_texts(sent, &[(Text::Failure, error_text::MESSAGE + 10, RESULT)]);
    }
}
