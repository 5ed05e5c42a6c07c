//! Flue (scope `@flue/opentelemetry`): runs of a workflow, operations and tasks in it, turns of the model and tools,
//! each with keys of its own group. Newer versions write the GenAI conventions instead.

use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

/// The key that only spans of a group have, and what they are. Ids of the groups around a span are on it too.
const GROUPS: [(&str, StepType); 5] = [
    ("flue.tool.name", StepType::ToolCall),
    ("flue.turn.purpose", StepType::ModelCall),
    ("flue.task.prompt", StepType::Workflow),
    ("flue.operation.kind", StepType::Workflow),
    ("flue.workflow.name", StepType::Workflow),
];

const TEXTS: [(Text, u8, &str); 6] = [
    (Text::ToolCallId, field::SECONDARY, "flue.tool.call_id"),
    (Text::Agent, field::SECONDARY, "flue.task.agent"),
    (Text::RunName, field::SECONDARY, "flue.workflow.name"),
    (Text::SessionId, identity::METADATA + 3, "flue.session.name"),
    (Text::FinishReason, field::SECONDARY, "flue.response.finish_reason"),
    (Text::SessionId, identity::METADATA + 4, "flue.instance_id"),
];

const COUNTS: [(Count, u8, &str); 8] = [
    (Count::CacheRead, field::SECONDARY + 3, "gen_ai.usage.cache_read_tokens"),
    (Count::CacheWrite, field::SECONDARY + 3, "gen_ai.usage.cache_write_tokens"),
    (Count::Total, field::SECONDARY, "flue.usage.total_tokens"),
    (Count::Input, field::SECONDARY, "flue.operation.usage.input_tokens"),
    (Count::Output, field::SECONDARY, "flue.operation.usage.output_tokens"),
    (Count::CacheRead, field::SECONDARY, "flue.operation.usage.cache_read_tokens"),
    (Count::CacheWrite, field::SECONDARY, "flue.operation.usage.cache_write_tokens"),
    (Count::Total, field::SECONDARY + 1, "flue.operation.usage.total_tokens"),
];

const INPUTS: [&str; 7] = [
    "flue.turn.input",
    "flue.tool.arguments",
    "flue.tool.input",
    "flue.task.prompt",
    "flue.task.input",
    "flue.operation.input",
    "flue.workflow.payload",
];
const OUTPUTS: [&str; 6] = [
    "flue.turn.output",
    "flue.tool.result",
    "flue.tool.output",
    "flue.task.result",
    "flue.operation.result",
    "flue.workflow.result",
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("flue.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let group = sent.span.name.strip_prefix("flue.").and_then(|rest| rest.split([' ', '.']).next());
    let typed = match group {
        Some("tool") => StepType::ToolCall,
        Some("turn") => StepType::ModelCall,
        Some("task" | "operation" | "workflow" | "compaction") => StepType::Workflow,
        _ => {
            if let Some((key, typed)) = GROUPS.iter().find(|(key, _)| sent.has(key)) {
                choice.offer(kind::METHOD, typed.clone(), key);
            }
            return;
        }
    };
    choice.offer(kind::METHOD, typed, "name");
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    match kind {
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "flue.tool.name")]),
        StepType::Workflow => draft.offer_texts(
            sent,
            &[(Text::Name, field::SECONDARY, "flue.workflow.name"), (Text::Name, field::METADATA, "flue.task.agent")],
        ),
        _ => {}
    }
    for key in ["gen_ai.usage.cost_total", "flue.operation.usage.cost_total"] {
        draft.offer_cost(key, sent.get(key));
    }
    INPUTS.into_iter().for_each(|key| draft.offer_attribute(Side::Input, Family::Flue, sent, key));
    OUTPUTS.into_iter().for_each(|key| draft.offer_attribute(Side::Output, Family::Flue, sent, key));
}
