//! LiteLLM's own telemetry, of the SDK and of the proxy. By default it writes the call onto the proxy's own server span,
//! names operations by its internal call types, and exports what is absent as an empty text.

use serde_json::Value;

use crate::mapping::content_json;
use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::indexed;
use crate::mapping::openllmetry;
use crate::mapping::precedence::{Family, error_text, field, identity, kind};
use crate::mapping::python_literal;
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::id::hex;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const SCOPE: &str = "litellm";
const OPERATION: &str = "gen_ai.operation.name";
const HIDDEN: &str = "hidden_params";
const METADATA: &str = "metadata.";
/// What the caller of the proxy attached, as JSON or as Python printed it.
const OF_CALLER: &str = "metadata.requester_metadata";
const USAGE: &str = "metadata.usage_object";
/// A copy of the call above it, in the provider's own words.
const RAW_CALL: &str = "raw_gen_ai_request";
/// Hashes, budgets and names of keys: they describe the proxy's customer and no run.
const OF_KEY: &str = "user_api_key_";
/// More of the metadata than this is left to the attributes.
const RUN_METADATA_MAX: usize = 64;

const TEXTS: [(Text, u8, &str); 8] = [
    (Text::Model, field::SECONDARY, "litellm.provider.model"),
    (Text::UserId, identity::METADATA + 3, "metadata.user_api_key_end_user_id"),
    (Text::UserId, identity::METADATA + 4, "metadata.user_api_key_user_id"),
    (Text::SessionId, identity::METADATA, "metadata.session_id"),
    (Text::UserId, identity::METADATA, "metadata.user_id"),
    (Text::Failure, error_text::MESSAGE, "error.message"),
    (Text::Failure, error_text::MESSAGE + 1, "exception"),
    (Text::FinishReason, field::SECONDARY, "llm.response.finish_reason"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name == SCOPE || sent.has("litellm.call_id") || sent.has(HIDDEN)
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if let Some(typed) = sent.text(OPERATION).and_then(openllmetry::request_type) {
        choice.offer(kind::OPERATION, typed, OPERATION);
    }
    if sent.has("guardrail_name") {
        choice.offer(kind::METHOD, StepType::Guardrail, "guardrail_name");
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    if let Some(provider) = sent.get("error.llm_provider").and_then(AnyValue::as_str) {
        draft.offer_provider(85, "error.llm_provider", provider);
    }
    if *kind == StepType::Guardrail {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "guardrail_name")]);
        draft.offer_attribute(Side::Output, Family::PlainValue, sent, "guardrail_response");
    }
    if sent.span.name == RAW_CALL
        && let Some(call) = sent.span.parent_span_id
    {
        draft.more.insert("duplicate_of".to_owned(), Value::from(hex(&call)));
    }
    if kind.is_call() {
        cost(sent, draft);
        usage(sent, draft);
    }
    if let Some(metadata) = sent.text(OF_CALLER).and_then(python_literal::read_json_or_literal) {
        of_caller(metadata, draft);
    }
    for (name, value) in indexed::Family::of(&sent.span.attributes, METADATA).members() {
        let is_told = name.starts_with(OF_KEY)
            || matches!(name, "requester_metadata" | "usage_object")
            || !usable::is_usable(value);
        if !is_told && draft.run_metadata.len() < RUN_METADATA_MAX {
            draft.run_metadata.insert(name.to_owned(), value.to_plain_json());
        }
    }
}

/// The total, else its two parts, else what stands in the parameters that LiteLLM hides from its callers.
fn cost(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    draft.offer_cost("gen_ai.cost.total_cost", sent.get("gen_ai.cost.total_cost"));
    if draft.cost.is_none() {
        let part = |key| sent.number(key).filter(|usd| *usd >= 0.0);
        if let (Some(input), Some(output)) = (part("gen_ai.cost.input_cost"), part("gen_ai.cost.output_cost")) {
            draft.cost = Some((input + output, "gen_ai.cost.input_cost"));
        }
    }
    if draft.cost.is_none()
        && let Some(hidden) = sent.text(HIDDEN).filter(|hidden| hidden.contains("response_cost"))
        && let Some(hidden) = python_literal::read_json_or_literal(hidden)
        && let Some(usd) = hidden.get("response_cost").and_then(Value::as_f64).filter(|usd| *usd > 0.0)
    {
        draft.cost = Some((usd, HIDDEN));
    }
}

/// The provider's own report has the parts that the flat keys leave out. LiteLLM counts the cache inside the input.
fn usage(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    if let Some(report) = sent.text(USAGE).and_then(python_literal::read_json_or_literal) {
        for (count, n) in content_json::reported(&report) {
            draft.offer_count(count, field::CONTENT, USAGE, n);
        }
    }
}

fn of_caller(metadata: Value, draft: &mut Draft<'_>) {
    let Value::Object(members) = metadata else { return };
    for (name, value) in members {
        let text = match name.as_str() {
            "session_id" | "sessionId" | "thread_id" | "conversation_id" => Some(Text::SessionId),
            "user_id" | "userId" => Some(Text::UserId),
            _ => None,
        };
        match (text, value) {
            (Some(text), Value::String(id)) => draft.offer_text(text, identity::METADATA + 1, OF_CALLER, id.into()),
            (None, Value::Array(tags)) if name == "tags" => {
                draft.tags.extend(tags.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            (_, Value::Null) => {}
            (_, value) if draft.run_metadata.len() < RUN_METADATA_MAX => {
                draft.run_metadata.insert(name, value);
            }
            _ => {}
        }
    }
}
