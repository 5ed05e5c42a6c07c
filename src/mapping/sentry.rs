//! Sentry's agent monitoring (Python and JavaScript): the GenAI conventions with words of its own for messages, tools,
//! token details and cost, and the `ai.*` keys before them.

use std::borrow::Cow;

use serde_json::Value;

use crate::mapping::canonical::{self, Json, Message, Part};
use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;

const TYPE: &str = "gen_ai.operation.type";
const OP: &str = "sentry.op";
const TEXT: &str = "gen_ai.response.text";
const CALLS: &str = "gen_ai.response.tool_calls";

const TEXTS: [(Text, u8, &str); 6] = [
    (Text::RunName, field::SECONDARY, "gen_ai.pipeline.name"),
    (Text::RunName, field::SECONDARY + 1, "ai.pipeline.name"),
    (Text::FinishReason, field::SECONDARY, "gen_ai.response.stop_reason"),
    (Text::Model, field::SECONDARY, "ai.model_id"),
    (Text::RequestModel, field::SECONDARY, "ai.model_id"),
    (Text::Failure, crate::mapping::precedence::error_text::MESSAGE + 5, "gen_ai.tool.message"),
];

const COUNTS: [(Count, u8, &str); 7] = [
    (Count::CacheRead, field::GEN_AI + 5, "gen_ai.usage.input_tokens.cached"),
    (Count::CacheWrite, field::GEN_AI + 5, "gen_ai.usage.input_tokens.cache_write"),
    (Count::Reasoning, field::GEN_AI + 5, "gen_ai.usage.output_tokens.reasoning"),
    (Count::Input, field::SECONDARY, "ai.prompt_tokens.used"),
    (Count::Output, field::SECONDARY, "ai.completion_tokens.used"),
    (Count::Total, field::SECONDARY, "ai.total_tokens.used"),
    (Count::Total, field::SECONDARY + 1, "ai.tokens.used"),
];

/// USD, despite their names.
const COSTS: [&str; 2] = ["gen_ai.cost.total_tokens", "ai.total_cost"];
const COST_PARTS: [&str; 2] = ["gen_ai.cost.input_tokens", "gen_ai.cost.output_tokens"];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    let keys = [TYPE, OP, TEXT, CALLS, "gen_ai.request.messages", "gen_ai.embeddings.input", "ai.model_id"];
    keys.iter().any(|key| sent.has(key)) || sent.has_under("gen_ai.cost.") || sent.has("ai.total_tokens.used")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if let Some(word) = sent.text(TYPE)
        && let Some(typed) = type_of(word)
    {
        // Clients of embeddings are AI clients too: there the operation tells more.
        let rank = if word == "ai_client" { kind::METHOD } else { kind::VENDOR_KIND };
        choice.offer(rank, typed, TYPE);
    }
    if let Some(word) = sent.text(OP).and_then(|op| op.strip_prefix("gen_ai.").or_else(|| op.strip_prefix("ai.")))
        && let Some(typed) = type_of(word)
    {
        choice.offer(kind::METHOD, typed, OP);
    }
}

/// Words of the type, and of the operation behind `gen_ai.`.
fn type_of(word: &str) -> Option<StepType> {
    Some(match word {
        "agent" | "invoke_agent" => StepType::Agent,
        "tool" | "execute_tool" => StepType::ToolCall,
        "handoff" => StepType::Handoff,
        "guardrail" => StepType::Guardrail,
        "embeddings" | "embed" | "embed_many" => StepType::Embedding,
        "rerank" => StepType::Rerank,
        "ai_client" | "chat" | "responses" | "request" | "messages" | "models" | "text_completion"
        | "generate_content" | "generate_text" | "stream_text" | "generate_object" | "stream_object" => {
            StepType::ModelCall
        }
        _ if word.starts_with("chat_completions") => StepType::ModelCall,
        "pipeline" | "run" => StepType::Workflow,
        _ => return None,
    })
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    for key in COSTS {
        draft.offer_cost(key, sent.get(key));
    }
    let part = |key| sent.number(key).filter(|usd| *usd >= 0.0);
    if draft.cost.is_none()
        && let (Some(input), Some(output)) = (part(COST_PARTS[0]), part(COST_PARTS[1]))
    {
        draft.cost = Some((input + output, COST_PARTS[0]));
    }
    if *kind != StepType::ToolCall {
        draft.offer_texts(sent, &[(Text::Name, field::METADATA, "gen_ai.function_id")]);
    }
    if let Some(streaming) = sent.boolean("gen_ai.response.streaming") {
        draft.streaming = draft.streaming.or(Some(streaming));
    }
    draft.offer_attribute(Input, Family::Sentry, sent, "gen_ai.request.messages");
    draft.offer_content(Output, Family::Sentry, || response(sent));
    for key in ["ai.input_messages", "ai.prompt.messages"] {
        draft.offer_attribute(Input, Family::Sentry, sent, key);
    }
    for key in ["ai.responses", "ai.response.text", "gen_ai.response.object"] {
        draft.offer_attribute(Output, Family::Sentry, sent, key);
    }
    for (side, key) in [
        (Input, "gen_ai.tool.input"),
        (Input, "gen_ai.tool.args"),
        (Output, "gen_ai.tool.output"),
        (Output, "gen_ai.tool.message"),
    ] {
        draft.offer_attribute(side, Family::ToolValues, sent, key);
    }
    draft.offer_attribute(Input, Family::EmbeddedTexts, sent, "gen_ai.embeddings.input");
}

/// The text as it stands; with requests for tools beside it, both as one message.
fn response<'a>(sent: &Sent<'a>) -> Option<Content<'a>> {
    let calls = match sent.has(CALLS).then(|| sent.json(CALLS)).flatten() {
        Some(Value::Array(calls)) => calls,
        _ => Vec::new(),
    };
    if calls.is_empty() {
        return Some(Content { source: TEXT, text: usable::content_text(sent.get(TEXT)?)? });
    }
    let text = sent.get(TEXT).and_then(usable::content_text);
    let mut parts: Vec<Part<'a>> = text.map(said).unwrap_or_default();
    parts.extend(calls.iter().map(tool_call));
    let message = Message { role: "assistant".into(), parts, ..Message::default() };
    Some(Content { source: "gen_ai.response.*", text: canonical::write(&[message])?.into() })
}

/// Some SDKs write a list of texts.
fn said<'a>(text: Cow<'a, str>) -> Vec<Part<'a>> {
    let listed = text.starts_with('[').then(|| serde_json::from_str::<Vec<String>>(&text).ok()).flatten();
    match listed {
        Some(texts) => texts.into_iter().filter(|text| !text.is_empty()).map(|text| Part::Text(text.into())).collect(),
        None => vec![Part::Text(text)],
    }
}

/// A request in the words of OpenAI's chat or responses, Anthropic or the AI SDK.
fn tool_call<'a>(call: &Value) -> Part<'a> {
    let function = call.get("function").filter(|function| function.is_object()).unwrap_or(call);
    let first = |object: &Value, keys: &[&str]| keys.iter().find_map(|key| canonical::owned(object, key));
    let arguments = ["arguments", "input", "args"].iter().find_map(|key| function.get(*key));
    Part::ToolCall {
        id: first(call, &["call_id", "toolCallId", "id"]),
        name: first(function, &["name", "toolName"]).unwrap_or_default(),
        arguments: Json::of(arguments),
    }
}
