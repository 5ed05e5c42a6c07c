//! Gemini CLI: operations of its own beside those of the GenAI conventions. Its log events `gemini_cli.*` are kept as
//! they are.

use crate::mapping::draft::{Draft, KindChoice};
use crate::mapping::precedence::kind;
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const OPERATION: &str = "gen_ai.operation.name";

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.text("gen_ai.agent.name") == Some("gemini-cli") || sent.origin.scope_name == "gemini-cli"
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let typed = match sent.text(OPERATION) {
        Some("llm_call") => StepType::ModelCall,
        Some("tool_call") => StepType::ToolCall,
        Some("agent_call") => StepType::Agent,
        Some("user_prompt" | "system_prompt" | "schedule_tool_calls") => StepType::Workflow,
        _ => return,
    };
    choice.offer(kind::OPERATION, typed, OPERATION);
}

pub(super) fn fields<'a>(_sent: &Sent<'a>, _kind: &StepType, _draft: &mut Draft<'a>) {}
