//! What single frameworks do their own way inside OpenInference: LlamaIndex types the preparation of a call as a call,
//! Agno keeps the names of agents and teams under keys of its own.

use crate::mapping::draft::{Draft, KindChoice, Text};
use crate::mapping::precedence::{field, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const PREPARES: [&str; 2] = ["_prepare_chat_with_tools", "_parse_chat_with_tools"];
const AGENTS: [(Text, u8, &str); 5] = [
    (Text::Name, field::SECONDARY + 1, "agno.agent.name"),
    (Text::Name, field::SECONDARY + 2, "agno.agent"),
    (Text::Name, field::SECONDARY + 3, "agno.team.name"),
    (Text::Name, field::SECONDARY + 4, "agno.team"),
    (Text::Name, field::METADATA, "graph.node.id"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name.starts_with("openinference.")
        || sent.has("openinference.span.kind")
        || sent.has_under("agno.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let is_bare = !sent.has_under("llm.token_count.") && !sent.has_under("llm.output_messages.");
    if is_bare && PREPARES.iter().any(|method| sent.span.name.ends_with(method)) {
        choice.offer(kind::STRUCTURE, StepType::Workflow, "name");
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if *kind == StepType::Agent {
        draft.offer_texts(sent, &AGENTS);
    }
}
