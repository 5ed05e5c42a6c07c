//! Laminar (`lmnr.*`): its SDKs say the type of a span themselves; model calls come from instrumentations that number
//! their prompts or write the messages of the GenAI conventions. Source: the packages `lmnr` and `@lmnr-ai/lmnr`.

use crate::mapping::association;
use crate::mapping::draft::{Draft, KindChoice, Sent, Side, Text};
use crate::mapping::precedence::{Family, kind};
use crate::mapping::tags;
use crate::mapping::usable;
use crate::model::step::StepType;

const KIND: &str = "lmnr.span.type";
const ORIGINAL_KIND: &str = "lmnr.span.original_type";
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
    if let Some((typed, key)) = of(KIND).or_else(|| of(ORIGINAL_KIND)) {
        // Embeddings are marked as calls of a language model, too.
        let typed = if typed == StepType::ModelCall && embeds(sent) { StepType::Embedding } else { typed };
        choice.offer(kind::OVERRIDE, typed, key);
    }
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

pub(super) fn fields<'a>(sent: &Sent<'a>, _kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_attribute(Side::Input, Family::Laminar, sent, "lmnr.span.input");
    draft.offer_attribute(Side::Output, Family::Laminar, sent, "lmnr.span.output");
    for key in TAGS {
        draft.tags.extend(tags::read(sent.get(key)));
    }
    association::read_rest(sent, METADATA, &[], draft);
    draft.offer_cost("gen_ai.usage.cost", sent.get("gen_ai.usage.cost"));
    if draft.cost.is_none() {
        let part = |key| sent.get(key).and_then(usable::number).filter(|usd| *usd >= 0.0);
        if let (Some(input), Some(output)) = (part(COSTS.0), part(COSTS.1)) {
            draft.cost = Some((input + output, COSTS.0));
        }
    }
}
