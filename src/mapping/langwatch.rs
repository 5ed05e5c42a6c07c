//! LangWatch's SDKs: `langwatch.*`. Contents, metrics and parameters are JSON with their type beside:
//! `{"type": "chat_messages", "value": […]}`. Source: the packages `langwatch` for Python, TypeScript and Go.

use serde_json::Value;

use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::tags;
use crate::model::step::StepType;

const KIND: &str = "langwatch.span.type";
const METRICS: &str = "langwatch.metrics";
const TIMES: &str = "langwatch.timestamps";

/// More of the sender's metadata than this is left to the attribute itself.
const RUN_METADATA_MAX: usize = 64;

const TEXTS: [(Text, u8, &str); 8] = [
    (Text::SessionId, identity::METADATA - 2, "langwatch.thread.id"),
    (Text::SessionId, identity::METADATA - 1, "langwatch.thread_id"),
    (Text::SessionId, identity::METADATA + 7, "langwatch.session.id"),
    (Text::UserId, identity::METADATA - 2, "langwatch.user.id"),
    (Text::UserId, identity::METADATA - 1, "langwatch.user_id"),
    (Text::UserId, identity::METADATA + 7, "langwatch.customer.id"),
    (Text::UserId, identity::METADATA + 8, "langwatch.customer_id"),
    (Text::RunName, field::SECONDARY, "langwatch.trace.name"),
];

/// Members of the metrics, by the spellings of Python and JavaScript.
const COUNTS: [(Count, [&str; 3]); 5] = [
    (Count::Input, ["prompt_tokens", "promptTokens", "input_tokens"]),
    (Count::Output, ["completion_tokens", "completionTokens", "output_tokens"]),
    (Count::Reasoning, ["reasoning_tokens", "reasoningTokens", "reasoning_output_tokens"]),
    (Count::CacheRead, ["cache_read_input_tokens", "cacheReadInputTokens", "cached_tokens"]),
    (Count::CacheWrite, ["cache_creation_input_tokens", "cacheCreationInputTokens", "cache_write_tokens"]),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("langwatch.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let typed = match sent.text(KIND) {
        Some("llm") => StepType::ModelCall,
        Some("tool") => StepType::ToolCall,
        Some("agent") => StepType::Agent,
        Some("rag") => StepType::Retrieval,
        Some("guardrail") => StepType::Guardrail,
        Some("evaluation") => StepType::Evaluator,
        Some("chain" | "workflow" | "component" | "module" | "task") => StepType::Workflow,
        _ => return,
    };
    choice.offer(kind::VENDOR_KIND, typed, KIND);
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    // What a retrieval found comes before what a function around it made of that.
    if *kind == StepType::Retrieval {
        draft.offer_attribute(Side::Output, Family::Retrieval, sent, "langwatch.rag.contexts");
        draft.offer_attribute(Side::Output, Family::Retrieval, sent, "langwatch.rag_contexts");
    }
    draft.offer_attribute(Side::Input, Family::LangWatch, sent, "langwatch.input");
    draft.offer_attribute(Side::Output, Family::LangWatch, sent, "langwatch.output");
    for key in ["langwatch.labels", "langwatch.tags"] {
        draft.tags.extend(tags::read(sent.get(key)));
    }
    if let Some(metrics) = value(sent, METRICS) {
        read_metrics(&metrics, draft);
    }
    if draft.time_to_first_token_ms.is_none() {
        draft.offer_time_to_first_token_ms(TIMES, value(sent, TIMES).as_ref().and_then(first_token_ms));
    }
    if let Some(Value::Object(members)) = value(sent, "langwatch.metadata").or_else(|| value(sent, "metadata")) {
        read_metadata(members, draft);
    }
}

/// The JSON under `key`, out of its typed wrapping.
fn value(sent: &Sent<'_>, key: &str) -> Option<Value> {
    let mut json: Value = serde_json::from_str(sent.text(key)?).ok()?;
    let is_wrapped = json.get("type").is_some_and(Value::is_string) && json.get("value").is_some();
    Some(if is_wrapped { json.get_mut("value").map(Value::take)? } else { json })
}

fn read_metrics(metrics: &Value, draft: &mut Draft<'_>) {
    for (count, names) in COUNTS {
        if let Some(n) = names.iter().find_map(|name| metrics.get(name)?.as_i64()).filter(|n| *n >= 0) {
            draft.offer_count(count, field::SECONDARY, METRICS, n);
        }
    }
    let cost = metrics.get("cost").and_then(Value::as_f64).filter(|usd| usd.is_finite() && *usd >= 0.0);
    if draft.cost.is_none()
        && let Some(usd) = cost
    {
        draft.cost = Some((usd, METRICS));
    }
}

fn first_token_ms(times: &Value) -> Option<f64> {
    let ms = |name: &str| times.get(name).and_then(Value::as_f64);
    Some(ms("first_token_at")? - ms("started_at")?)
}

/// What the sender says of the run.
fn read_metadata(members: serde_json::Map<String, Value>, draft: &mut Draft<'_>) {
    for (name, value) in members {
        let text = match name.as_str() {
            "thread_id" | "threadId" | "session_id" | "sessionId" => Text::SessionId,
            "user_id" | "userId" => Text::UserId,
            "labels" => {
                if let Value::Array(labels) = value {
                    draft.tags.extend(labels.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                continue;
            }
            _ => {
                if draft.run_metadata.len() < RUN_METADATA_MAX && !value.is_null() {
                    draft.run_metadata.entry(name).or_insert(value);
                }
                continue;
            }
        };
        if let Value::String(id) = value {
            draft.offer_text(text, identity::METADATA + 9, "metadata", id.into());
        }
    }
}
