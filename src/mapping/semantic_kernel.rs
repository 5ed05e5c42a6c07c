//! Semantic Kernel. Its messages come as events or log records of the GenAI conventions; beside them it has the loop
//! that calls functions, and functions named `Plugin-function`.

use serde_json::Value;

use crate::mapping::draft::{Draft, KindChoice};
use crate::mapping::precedence::kind;
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const AVAILABLE: &str = "sk.available_functions";

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    let scope = &sent.origin.scope_name;
    scope.starts_with("semantic_kernel") || scope.starts_with("Microsoft.SemanticKernel")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if sent.span.name == "AutoFunctionInvocationLoop" || sent.get(AVAILABLE).is_some() {
        choice.offer(kind::METHOD, StepType::Workflow, AVAILABLE);
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if *kind == StepType::ToolCall
        && let Some((_, function)) = sent.text("gen_ai.tool.name").and_then(|name| name.split_once('-'))
    {
        draft.more.insert("tool_short_name".to_owned(), Value::from(function));
    }
}
