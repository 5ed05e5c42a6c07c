//! The Langfuse SDK (scope `langfuse-sdk`) and whoever writes its keys: `langfuse.observation.*` describes the step,
//! `langfuse.trace.*` the run. Structured values are JSON text. Keys as in Langfuse's own OpenTelemetry documentation.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime};
use serde_json::{Map, Value};

use crate::mapping::content_json;
use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const TYPE: &str = "langfuse.observation.type";
const LEVEL: &str = "langfuse.observation.level";
const USAGE: &str = "langfuse.observation.usage_details";
const COST: &str = "langfuse.observation.cost_details";
const FIRST_TOKEN: &str = "langfuse.observation.completion_start_time";
const PARAMETERS: &str = "langfuse.observation.model.parameters";
/// Either marks the step that speaks for the run.
const BOUNDARY: [&str; 2] = ["langfuse.internal.is_app_root", "langfuse.internal.as_root"];
const TAGS: [&str; 4] =
    ["langfuse.trace.tags", "langfuse.tags", "metadata.langfuse_tags", "langfuse.trace.metadata.langfuse_tags"];

const TEXTS: [(Text, u8, &str); 14] = [
    (Text::Model, field::LANGFUSE, "langfuse.observation.model.name"),
    (Text::SessionId, identity::LANGFUSE, "langfuse.session.id"),
    (Text::SessionId, identity::PLAIN, "session.id"),
    (Text::SessionId, identity::METADATA - 4, "langfuse.trace.metadata.langfuse_session_id"),
    (Text::SessionId, identity::METADATA - 3, "langfuse.trace.metadata.thread_id"),
    (Text::SessionId, identity::METADATA - 2, "metadata.langfuse_session_id"),
    (Text::SessionId, identity::METADATA - 1, "langfuse.observation.metadata.langfuse_session_id"),
    (Text::UserId, identity::LANGFUSE, "langfuse.user.id"),
    (Text::UserId, identity::PLAIN, "user.id"),
    (Text::UserId, identity::METADATA - 4, "langfuse.trace.metadata.langfuse_user_id"),
    (Text::UserId, identity::METADATA - 2, "metadata.langfuse_user_id"),
    (Text::UserId, identity::METADATA - 1, "langfuse.observation.metadata.langfuse_user_id"),
    (Text::RunName, field::LANGFUSE, "langfuse.trace.name"),
    (Text::ToolCallId, field::METADATA, "langfuse.observation.metadata.tool_call_id"),
];

/// Key → name in the run's metadata.
const RUN: [(&str, &str); 4] = [
    ("langfuse.environment", "environment"),
    ("langfuse.release", "release"),
    ("langfuse.version", "version"),
    ("langfuse.trace.public", "public"),
];
/// What stands under these, or in their JSON, was meant for the run.
const RUN_METADATA: [&str; 2] = ["langfuse.trace.metadata", "langfuse.metadata"];
/// More of the sender's metadata than this is left to the attributes.
const RUN_METADATA_MAX: usize = 64;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("langfuse.") || sent.has_under("metadata.langfuse_")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let Some(word) = sent.text(TYPE) else { return };
    let typed = match word.trim().to_ascii_lowercase().as_str() {
        "generation" => StepType::ModelCall,
        "embedding" => StepType::Embedding,
        "agent" => StepType::Agent,
        "tool" => StepType::ToolCall,
        "chain" => StepType::Workflow,
        "retriever" => StepType::Retrieval,
        "guardrail" => StepType::Guardrail,
        "evaluator" => StepType::Evaluator,
        "event" => return choice.offer(kind::EVENT, StepType::Event, TYPE),
        // A plain span says nothing: other dialects may know more.
        _ => return,
    };
    choice.offer(kind::OVERRIDE, typed, TYPE);
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    for (text, rank, key) in TEXTS {
        if draft.wants(text, rank)
            && let Some(value) = sent.get(key).and_then(usable::bare_text)
        {
            draft.offer_text(text, rank, key, value);
        }
    }
    // These may be structures: they are read where the run is made.
    draft.offer_texts(
        sent,
        &[
            (Text::RunInput, field::LANGFUSE, "langfuse.trace.input"),
            (Text::RunOutput, field::LANGFUSE, "langfuse.trace.output"),
        ],
    );
    draft.offer_attribute(Side::Input, Family::Langfuse, sent, "langfuse.observation.input");
    if *kind != StepType::Embedding {
        draft.offer_attribute(Side::Output, Family::Langfuse, sent, "langfuse.observation.output");
    }
    draft.run_root |= BOUNDARY.iter().any(|key| sent.boolean(key) == Some(true));
    const MESSAGE: &str = "langfuse.observation.status_message";
    draft.offer_texts(sent, &[(Text::Failure, error_text::STATUS_MESSAGE, MESSAGE)]);
    if let Some(usage) = object(sent, USAGE) {
        read_usage(draft, &usage);
    }
    if draft.cost.is_none_or(|(usd, _)| usd == 0.0)
        && let Some(usd) = object(sent, COST).and_then(|details| total_cost(&details))
    {
        draft.offer_cost(COST, Some(&AnyValue::Double(usd)));
    }
    draft.offer_time_to_first_token_ms(FIRST_TOKEN, first_token_ms(sent));
    if draft.streaming.is_none()
        && let Some(Value::Bool(stream)) = object(sent, PARAMETERS).and_then(|mut it| it.remove("stream"))
    {
        draft.streaming = Some(stream);
    }
    for key in TAGS {
        draft.offer_tags(sent.get(key));
    }
    run_metadata(sent, draft);
}

fn object(sent: &Sent<'_>, key: &str) -> Option<Map<String, Value>> {
    match sent.get(key)? {
        AnyValue::Str(text) if text.starts_with('{') => serde_json::from_str(text).ok(),
        map @ AnyValue::Kvlist(_) => match map.to_plain_json() {
            Value::Object(map) => Some(map),
            _ => None,
        },
        _ => None,
    }
}

/// Three shapes: OpenAI's chat and response usage with details inside the sums, Gemini's, and Langfuse's own, in which
/// every key about the input is a part of the input and every key about the output a part of the output.
fn read_usage(draft: &mut Draft<'_>, usage: &Map<String, Value>) {
    let is_providers = usage.contains_key("prompt_tokens")
        || usage.contains_key("completion_tokens")
        || usage.contains_key("promptTokenCount")
        || usage.contains_key("prompt_token_count")
        || usage.contains_key("input_tokens_details")
        || usage.contains_key("output_tokens_details");
    if is_providers {
        return content_json::read_usage(draft, field::LANGFUSE, USAGE, &Value::Object(usage.clone()));
    }
    let mut input = Parts::default();
    let mut output = Parts::default();
    let mut total = None;
    let mut counts: [(Count, Option<i64>); 3] =
        [(Count::CacheRead, None), (Count::CacheWrite, None), (Count::Reasoning, None)];
    for (key, value) in usage {
        let Some(n) = value.as_i64().filter(|n| *n >= 0) else { continue };
        let key = key.to_ascii_lowercase();
        if key.starts_with("total") {
            total = Some(n);
        } else if key.contains("input") || key.starts_with("cache") {
            input.add(n, matches!(key.as_str(), "input" | "input_tokens" | "inputtokens"));
        } else if key.contains("output") {
            output.add(n, matches!(key.as_str(), "output" | "output_tokens" | "outputtokens"));
        }
        let is_cache = key.contains("cache");
        let is_written = key.contains("creation") || key.contains("write");
        for (count, is_meant) in [
            (0, is_cache && !is_written),
            (1, is_cache && is_written),
            (2, key.contains("reasoning") || key.contains("thought")),
        ] {
            if is_meant {
                counts[count].1 = Some(counts[count].1.unwrap_or(0).saturating_add(n));
            }
        }
    }
    // The parts are disjoint, unless the total says that they are inside.
    let whole = total.is_some_and(|total| {
        let (whole, sum) = (input.whole.zip(output.whole), input.sum.saturating_add(output.sum));
        whole.is_some_and(|(input, output)| total == input.saturating_add(output)) && total != sum
    });
    let settled = |parts: &Parts| parts.seen.then_some(if whole { parts.whole.unwrap_or(0) } else { parts.sum });
    for (count, n) in [(Count::Input, settled(&input)), (Count::Output, settled(&output)), (Count::Total, total)]
        .into_iter()
        .chain(counts)
    {
        if let Some(n) = n {
            draft.offer_count(count, field::LANGFUSE, USAGE, n);
        }
    }
}

#[derive(Default)]
struct Parts {
    seen: bool,
    sum: i64,
    /// Under the plain word.
    whole: Option<i64>,
}

impl Parts {
    fn add(&mut self, n: i64, is_whole: bool) {
        self.seen = true;
        self.sum = self.sum.saturating_add(n);
        if is_whole {
            self.whole = Some(n);
        }
    }
}

/// The total, else the sum of the parts. Nothing but zeros is what the SDK writes of models without a price.
fn total_cost(details: &Map<String, Value>) -> Option<f64> {
    let usd = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    let usable = |usd: &f64| usd.is_finite() && *usd >= 0.0;
    let total = details.get("total").and_then(usd).filter(usable);
    let cost = total.unwrap_or_else(|| details.values().filter_map(usd).filter(usable).sum());
    (cost > 0.0).then_some(cost)
}

/// An instant in text, sometimes in quotes of its own.
fn first_token_ms(sent: &Sent<'_>) -> Option<f64> {
    let text = sent.text(FIRST_TOKEN)?.trim().trim_matches('"');
    let at = match DateTime::parse_from_rfc3339(text) {
        Ok(at) => at.to_utc(),
        // Without a zone it is UTC.
        Err(_) => text.parse::<NaiveDateTime>().ok()?.and_utc(),
    };
    let at = u64::try_from(at.timestamp_nanos_opt()?).ok()?;
    let start = sent.span.start_ns;
    (start > 0 && at >= start).then(|| (at - start) as f64 / 1e6)
}

fn run_metadata(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    for (key, name) in RUN {
        if let Some(text) = sent.get(key).and_then(usable::scalar_text) {
            draft.run_metadata.insert(name.to_owned(), Value::from(text.into_owned()));
        }
    }
    for base in RUN_METADATA {
        let mut put = |name: String, value: Value| {
            if draft.run_metadata.len() < RUN_METADATA_MAX {
                draft.run_metadata.entry(name).or_insert(value);
            }
        };
        object(sent, base).into_iter().flatten().for_each(|(name, value)| put(name, value));
        for (name, value) in sent.under(base).filter(|(_, value)| usable::is_usable(value)) {
            put(name.to_owned(), usable::opened(value));
        }
    }
    for (key, name) in
        [("langfuse.observation.prompt.name", "prompt_name"), ("langfuse.observation.prompt.version", "prompt_version")]
    {
        if let Some(text) = sent.get(key).and_then(usable::scalar_text) {
            let text: Cow<'_, str> = text;
            draft.more.insert(name.to_owned(), Value::from(text.into_owned()));
        }
    }
    if let Some(level) = sent.text(LEVEL).filter(|level| *level != "DEFAULT") {
        draft.more.insert("level".to_owned(), Value::from(level));
    }
}
