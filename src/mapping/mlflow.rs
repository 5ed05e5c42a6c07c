//! MLflow Tracing (scope `mlflow.tracing.provider`): every attribute is JSON text, plain strings too (`"\"AGENT\""`).
//! Keys as in MLflow's `SpanAttributeKey` and `TraceMetadataKey`.

use std::borrow::Cow;

use serde_json::Value;

use crate::mapping::content_json;
use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::gen_ai_legacy::span_offset_ms;
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const TYPE: &str = "mlflow.spanType";
const INPUTS: &str = "mlflow.spanInputs";
const OUTPUTS: &str = "mlflow.spanOutputs";
const USAGE: &str = "mlflow.chat.tokenUsage";
const COST: &str = "mlflow.llm.cost";
const LOG_LEVEL: &str = "mlflow.spanLogLevel";
/// Start of the names of the events that hold the pieces of a stream.
const CHUNK: &str = "mlflow.chunk.item.";
/// `ERROR` among MLflow's levels, which are those of Python's logging.
const ERROR_LEVEL: f64 = 40.0;

/// More of a trace's tags than this are left to the attributes.
const RUN_TAGS_MAX: usize = 64;

/// Strings that are quoted once more than elsewhere.
const TEXTS: [(Text, u8, &str); 12] = [
    (Text::Model, field::MLFLOW, "mlflow.llm.model"),
    (Text::Model, field::PLAIN, "model"),
    (Text::RequestModel, field::PLAIN, "model"),
    (Text::SessionId, identity::MLFLOW, "mlflow.trace.session"),
    (Text::SessionId, identity::PLAIN, "session.id"),
    (Text::UserId, identity::MLFLOW, "mlflow.trace.user"),
    (Text::UserId, identity::PLAIN, "user.id"),
    (Text::RunName, field::SECONDARY, "mlflow.traceName"),
    (Text::ToolCallId, field::METADATA, "tool_call_id"),
    (Text::ToolCallId, field::METADATA + 1, "mlflow.tool.call.id"),
    (Text::ResponseId, field::SECONDARY, "mlflow.llm.responseId"),
    (Text::FinishReason, field::SECONDARY, "mlflow.llm.finishReason"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has(TYPE) || sent.has_under("mlflow.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let Some(word) = unquoted(sent, TYPE) else { return };
    let typed = match word.trim().to_ascii_uppercase().as_str() {
        "LLM" | "CHAT_MODEL" => StepType::ModelCall,
        "AGENT" => StepType::Agent,
        "TOOL" => StepType::ToolCall,
        "RETRIEVER" => StepType::Retrieval,
        "EMBEDDING" => StepType::Embedding,
        "RERANKER" => StepType::Rerank,
        "MEMORY" => StepType::Memory,
        "GUARDRAIL" => StepType::Guardrail,
        "EVALUATOR" => StepType::Evaluator,
        "CHAIN" | "PARSER" | "WORKFLOW" | "TASK" => StepType::Workflow,
        _ => return,
    };
    choice.offer(kind::VENDOR_KIND, typed, TYPE);
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    for (text, rank, key) in TEXTS {
        if draft.wants(text, rank)
            && let Some(value) = unquoted(sent, key)
        {
            draft.offer_text(text, rank, key, value);
        }
    }
    if let Some(provider) = unquoted(sent, "mlflow.llm.provider") {
        draft.offer_provider(50, "mlflow.llm.provider", &provider);
    } else if let Some(format) = unquoted(sent, "mlflow.message.format").filter(|_| kind.is_call()) {
        draft.offer_provider(field::GUESS - 1, "mlflow.message.format", &format);
    }
    draft.offer_attribute(Side::Input, Family::Mlflow, sent, INPUTS);
    if *kind != StepType::Embedding {
        draft.offer_attribute(Side::Output, Family::Mlflow, sent, OUTPUTS);
    }
    if let Some(usage) = json(sent, USAGE) {
        content_json::read_usage(draft, field::MLFLOW, USAGE, &usage);
        // MLflow counts the cache inside the input.
        draft.cache_is_outside = false;
    }
    if let Some(usd) = json(sent, COST).as_ref().and_then(total_cost) {
        draft.offer_cost(COST, Some(&AnyValue::Double(usd)));
    }
    if kind.is_call()
        && let Some(answer) = sent.text(OUTPUTS)
    {
        content_json::read_answer(draft, OUTPUTS, answer);
    }
    if *kind == StepType::ToolCall
        && draft.wants(Text::ToolCallId, field::CONTENT)
        && let Some(id) = [OUTPUTS, INPUTS].iter().find_map(|key| content_json::tool_call_id(sent.text(key)?))
    {
        draft.offer_text(Text::ToolCallId, field::CONTENT, OUTPUTS, id.into());
    }
    let first_chunk = sent.events().iter().find(|event| event.name.starts_with(CHUNK));
    draft.offer_time_to_first_token_ms(CHUNK, first_chunk.and_then(|event| span_offset_ms(sent, event)));
    if sent.number(LOG_LEVEL).is_some_and(|level| level >= ERROR_LEVEL) {
        draft.failed = draft.failed.or(Some(LOG_LEVEL));
    }
    for (name, value) in sent.under("mlflow.traceTag").take(RUN_TAGS_MAX) {
        // What MLflow calls a tag is a name with a value.
        draft.run_metadata.entry(name.to_owned()).or_insert_with(|| usable::opened(value));
    }
    for key in ["mlflow.traceRequestId", "mlflow.spanFunctionName"] {
        if let Some(text) = unquoted(sent, key) {
            let name = key.trim_start_matches("mlflow.").to_owned();
            draft.more.insert(name, Value::from(text.into_owned()));
        }
    }
}

/// The string inside the JSON text; other writers of these keys leave it bare.
fn unquoted<'a>(sent: &Sent<'a>, key: &str) -> Option<Cow<'a, str>> {
    usable::bare_text(sent.get(key)?)
}

fn json(sent: &Sent<'_>, key: &str) -> Option<Value> {
    match sent.get(key)? {
        AnyValue::Str(text) => serde_json::from_str(text).ok(),
        other => Some(other.to_plain_json()),
    }
}

fn total_cost(cost: &Value) -> Option<f64> {
    let usd = |name| cost.get(name).and_then(Value::as_f64).filter(|usd| *usd >= 0.0);
    usd("total_cost").or_else(|| Some(usd("input_cost")? + usd("output_cost")?))
}
