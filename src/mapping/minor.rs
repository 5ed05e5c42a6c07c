//! Keys of senders that need no dialect: OpenObserve's costs, what OpenRouter broadcasts of the calls that went through
//! it, the few attributes of W&B Weave.

use serde_json::Value;

use crate::mapping::draft::{Draft, KindChoice, Text};
use crate::mapping::precedence::{field, identity};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

/// Keys of costs by side; their sum is the cost of the call where no total is told.
const SIDES: [(&str, &str); 2] =
    [("gen_ai.usage.cost.input", "gen_ai.usage.cost.output"), ("gen_ai.usage.input_cost", "gen_ai.usage.output_cost")];

const TEXTS: [(Text, u8, &str); 5] = [
    (Text::SessionId, identity::METADATA + 10, "wandb.thread_id"),
    (Text::Name, field::SECONDARY, "wandb.display_name"),
    (Text::RunName, field::SECONDARY, "trace.name"),
    (Text::SessionId, identity::METADATA + 10, "trace.metadata.session_id"),
    (Text::UserId, identity::METADATA + 10, "trace.metadata.user_id"),
];

/// More of the sender's metadata than this is left to the attributes.
const RUN_METADATA_MAX: usize = 64;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    SIDES.iter().any(|(input, output)| sent.has(input) || sent.has(output))
        || sent.has_under("wandb.")
        || sent.has_under("trace.metadata.")
        || sent.has_under("llm.evaluation.")
}

/// None of these keys tells what a step is.
pub(super) fn kind(_: &Sent<'_>, _: &mut KindChoice) {}

pub(super) fn fields<'a>(sent: &Sent<'a>, _: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    for (input, output) in SIDES {
        let usd = |key| sent.number(key).filter(|usd| *usd >= 0.0);
        if let (Some(one), Some(other)) = (usd(input), usd(output)) {
            draft.offer_cost(input, Some(&AnyValue::Double(one + other)));
        }
    }
    for (name, value) in sent.under("trace.metadata").take(RUN_METADATA_MAX) {
        draft.run_metadata.entry(name.to_owned()).or_insert_with(|| usable::opened(value));
    }
    let judged: serde_json::Map<String, Value> =
        sent.under("llm.evaluation").map(|(name, value)| (name.to_owned(), usable::opened(value))).collect();
    if !judged.is_empty() {
        draft.more.insert("evaluation".to_owned(), Value::Object(judged));
    }
}
