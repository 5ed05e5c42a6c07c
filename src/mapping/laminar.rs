//! Laminar (`lmnr.*`): its SDKs say the type of a span themselves; model calls come from instrumentations that number
//! their prompts or write the messages of the GenAI conventions. Source: the packages `lmnr` and `@lmnr-ai/lmnr`.

use serde_json::Value;

use crate::mapping::association;
use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, kind};
use crate::mapping::sent::Sent;
use crate::mapping::tags;
use crate::model::step::StepType;

const KIND: &str = "lmnr.span.type";
const ORIGINAL_KIND: &str = "lmnr.span.original_type";
const INPUT: &str = "lmnr.span.input";
/// What the bridge to OpenAI's agents marks as tools and functions.
const OPENAI_AGENTS: [(&str, StepType); 4] = [
    ("openai.agents.handoff.to", StepType::Handoff),
    ("openai.agents.handoff.from", StepType::Handoff),
    ("openai.agents.guardrail.name", StepType::Guardrail),
    ("openai.agents.mcp.server", StepType::Rpc),
];
const METADATA: &str = "lmnr.association.properties.metadata.";
const TAGS: [&str; 2] = ["lmnr.association.properties.tags", "lmnr.association.properties.labels"];
const COSTS: (&str, &str) = ("gen_ai.usage.input_cost", "gen_ai.usage.output_cost");

/// Rank of Laminar's association properties among what may be known of session and user.
const ASSOCIATED: u8 = 50;

const TEXTS: [(Text, u8, &str); 2] = [
    (Text::SessionId, ASSOCIATED, "lmnr.association.properties.session_id"),
    (Text::UserId, ASSOCIATED, "lmnr.association.properties.user_id"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("lmnr.") || sent.has(COSTS.0)
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let of = |key: &'static str| Some((span_type(sent.text(key)?)?, key));
    // A call that was answered from a cache keeps its type beside.
    for (mark, typed) in OPENAI_AGENTS {
        if sent.has(mark) {
            return choice.offer(kind::OVERRIDE, typed, mark);
        }
    }
    if describes_agent(sent) {
        return choice.offer(kind::STRUCTURE, StepType::Agent, INPUT);
    }
    if let Some((typed, key)) = of(KIND).or_else(|| of(ORIGINAL_KIND)) {
        // Embeddings are marked as calls of a language model, too.
        let typed = if typed == StepType::ModelCall && embeds(sent) { StepType::Embedding } else { typed };
        choice.offer(kind::OVERRIDE, typed, key);
    }
}

/// The bridge to OpenAI's agents types an agent's span like any function's, and puts the agent's description into its
/// input: `{"name", "handoffs", "tools", "output_type"}`.
fn describes_agent(sent: &Sent<'_>) -> bool {
    let Some(text) = sent.text(INPUT).filter(|text| text.starts_with("{\"name\"")) else { return false };
    let Ok(Value::Object(members)) = serde_json::from_str(text) else { return false };
    members.get("name").and_then(Value::as_str) == Some(&sent.span.name)
        && members.keys().all(|name| matches!(name.as_str(), "name" | "handoffs" | "tools" | "output_type"))
}

fn embeds(sent: &Sent<'_>) -> bool {
    let words = ["llm.request.type", "gen_ai.request.type", "gen_ai.operation.name"];
    words.iter().any(|key| sent.text(key).is_some_and(|word| word.starts_with("embed")))
        || sent.span.name.ends_with(".embeddings")
}

fn span_type(word: &str) -> Option<StepType> {
    Some(match word.trim().to_ascii_uppercase().as_str() {
        "LLM" => StepType::ModelCall,
        "TOOL" => StepType::ToolCall,
        "EXECUTOR" | "EVALUATION" | "PIPELINE" => StepType::Workflow,
        "EVALUATOR" | "HUMAN_EVALUATOR" => StepType::Evaluator,
        _ => return None,
    })
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    if *kind != StepType::Agent || !describes_agent(sent) {
        draft.offer_attribute(Side::Input, Family::Laminar, sent, INPUT);
    }
    draft.offer_attribute(Side::Output, Family::Laminar, sent, "lmnr.span.output");
    for key in TAGS {
        draft.tags.extend(tags::read(sent.get(key)));
    }
    association::read_rest(sent, METADATA, &[], draft);
    draft.offer_cost("gen_ai.usage.cost", sent.get("gen_ai.usage.cost"));
    if draft.cost.is_none() {
        let part = |key| sent.number(key).filter(|usd| *usd >= 0.0);
        if let (Some(input), Some(output)) = (part(COSTS.0), part(COSTS.1)) {
            draft.cost = Some((input + output, COSTS.0));
        }
    }
}
