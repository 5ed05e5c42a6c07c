//! Braintrust's SDKs over OpenTelemetry: `braintrust.*`, most of it JSON in one attribute, some senders write a member
//! each (`braintrust.metrics.prompt_tokens`). Source: the Braintrust SDKs for Go, Java, Ruby and .NET.

use serde_json::Value;

use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, kind};
use crate::mapping::sent::Sent;
use crate::mapping::tags;
use crate::model::step::StepType;

const KIND: &str = "braintrust.span_attributes";
const KIND_ALONE: &str = "braintrust.span_attributes.type";
const METRICS: &str = "braintrust.metrics";
const METADATA: &str = "braintrust.metadata";
/// More of the sender's metadata than this is left to the attribute itself.
const RUN_METADATA_MAX: usize = 64;

const COUNTS: [(Count, u8, &str); 6] = [
    (Count::Input, field::GEN_AI - 1, "braintrust.metrics.prompt_tokens"),
    (Count::Output, field::GEN_AI - 1, "braintrust.metrics.completion_tokens"),
    (Count::Total, field::GEN_AI - 1, "braintrust.metrics.tokens"),
    (Count::CacheRead, field::GEN_AI - 1, "braintrust.metrics.prompt_cached_tokens"),
    (Count::CacheWrite, field::GEN_AI - 1, "braintrust.metrics.prompt_cache_creation_tokens"),
    (Count::Reasoning, field::GEN_AI - 1, "braintrust.metrics.completion_reasoning_tokens"),
];
const FIRST_TOKEN_S: &str = "braintrust.metrics.time_to_first_token";
const COST: &str = "braintrust.metrics.estimated_cost";

const CONTENTS: [(Side, &str); 4] = [
    (Side::Input, "braintrust.input_json"),
    (Side::Input, "braintrust.input"),
    (Side::Output, "braintrust.output_json"),
    (Side::Output, "braintrust.output"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("braintrust.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let told = sent.text(KIND_ALONE).map(str::to_owned).map(|word| (word, KIND_ALONE));
    let told = told.or_else(|| Some((object(sent, KIND)?.get("type")?.as_str()?.to_owned(), KIND)));
    if let Some((word, key)) = told
        && let Some(typed) = span_type(&word)
    {
        choice.offer(kind::VENDOR_KIND, typed, key);
    }
}

fn span_type(word: &str) -> Option<StepType> {
    Some(match word {
        "llm" => StepType::ModelCall,
        "tool" => StepType::ToolCall,
        "function" | "task" | "automation" => StepType::Workflow,
        "eval" | "score" => StepType::Evaluator,
        _ => return None,
    })
}

fn object(sent: &Sent<'_>, key: &str) -> Option<Value> {
    let text = sent.text(key).filter(|text| text.starts_with('{'))?;
    serde_json::from_str(text).ok()
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_counts(sent, &COUNTS);
    let seconds = sent.number(FIRST_TOKEN_S);
    draft.offer_time_to_first_token_ms(FIRST_TOKEN_S, seconds.map(|seconds| seconds * 1000.0));
    draft.offer_cost(COST, sent.get(COST));
    if let Some(metrics) = object(sent, METRICS) {
        read_metrics(&metrics, draft);
    }
    if let Some(name) = object(sent, KIND).as_ref().and_then(|told| told.get("name")?.as_str())
        && !kind.is_call()
    {
        draft.offer_text(Text::Name, field::METADATA, KIND, name.to_owned().into());
    }
    read_metadata(sent, draft);
    for (side, key) in CONTENTS {
        draft.offer_attribute(side, Family::Braintrust, sent, key);
    }
    draft.tags.extend(tags::read(sent.get("braintrust.tags")));
}

fn read_metrics(metrics: &Value, draft: &mut Draft<'_>) {
    let prefix = METRICS.len() + 1;
    for (count, rank, key) in COUNTS {
        if let Some(n) = metrics.get(&key[prefix..]).and_then(Value::as_i64).filter(|n| *n >= 0) {
            draft.offer_count(count, rank, key, n);
        }
    }
    let number = |key: &str| metrics.get(&key[prefix..]).and_then(Value::as_f64).filter(|n| n.is_finite() && *n >= 0.0);
    draft.offer_time_to_first_token_ms(METRICS, number(FIRST_TOKEN_S).map(|seconds| seconds * 1000.0));
    if draft.cost.is_none()
        && let Some(usd) = number(COST)
    {
        draft.cost = Some((usd, METRICS));
    }
}

/// Which model answered, whose it is, and what the sender added.
fn read_metadata(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    let Some(Value::Object(members)) = object(sent, METADATA) else { return };
    for (name, value) in members {
        let text = match name.as_str() {
            "model" => Some(Text::Model),
            "session_id" | "thread_id" => Some(Text::SessionId),
            "user_id" => Some(Text::UserId),
            _ => None,
        };
        match (text, value) {
            (Some(text), Value::String(word)) => draft.offer_text(text, field::METADATA, METADATA, word.into()),
            (None, Value::String(word)) if name == "provider" => draft.offer_provider(75, METADATA, &word),
            (None, value @ (Value::String(_) | Value::Number(_) | Value::Bool(_)))
                if draft.run_metadata.len() < RUN_METADATA_MAX =>
            {
                draft.run_metadata.insert(name, value);
            }
            _ => {}
        }
    }
}
