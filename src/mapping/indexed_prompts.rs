//! Messages that are numbered in the keys of attributes: `gen_ai.prompt.N.*` and `gen_ai.completion.N.*` of OpenLLMetry,
//! and of all who took it over (AgentOps, Laminar, LiteLLM, LangWatch), with the names they had before.

use serde_json::Value;

use crate::mapping::canonical::{self, Json, Message, Part, text};
use crate::mapping::draft::{Content, Draft, KindChoice, Side, Text};
use crate::mapping::indexed;
use crate::mapping::precedence::{Family, field, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

/// Where the messages stand. The last pair are names of constants, written out by a mistake of LiteLLM.
const PROMPTS: [(&str, &str); 3] = [
    ("gen_ai.prompt.", "gen_ai.prompt.*"),
    ("llm.prompts.", "llm.prompts.*"),
    ("SpanAttributes.LLM_PROMPTS.", "SpanAttributes.LLM_PROMPTS.*"),
];
const COMPLETIONS: [(&str, &str); 3] = [
    ("gen_ai.completion.", "gen_ai.completion.*"),
    ("llm.completions.", "llm.completions.*"),
    ("SpanAttributes.LLM_COMPLETIONS.", "SpanAttributes.LLM_COMPLETIONS.*"),
];
const MODELS: [&str; 2] = ["gen_ai.request.model", "gen_ai.response.model"];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    PROMPTS.iter().chain(&COMPLETIONS).any(|(prefix, _)| sent.has_under(prefix))
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if let Some(key) = MODELS.into_iter().find(|key| sent.has(key)) {
        choice.offer(kind::MODEL_KEYS, StepType::ModelCall, key);
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, _kind: &StepType, draft: &mut Draft<'a>) {
    for (side, places, role) in [(Side::Input, PROMPTS, "user"), (Side::Output, COMPLETIONS, "assistant")] {
        for (prefix, source) in places {
            draft.offer_content(side, Family::IndexedPrompts, || {
                let items = indexed::Family::of(&sent.span.attributes, prefix).items();
                let messages: Vec<Message<'_>> = items.iter().filter_map(|item| message(item, role)).collect();
                Some(Content { source, text: canonical::write(&messages)?.into() })
            });
        }
    }
    for (prefix, source) in COMPLETIONS {
        if draft.wants(Text::FinishReason, field::GEN_AI_LEGACY) {
            let completions = indexed::Family::of(&sent.span.attributes, prefix).items();
            if let Some(reason) = completions.iter().find_map(|item| text(item.get(".finish_reason"))) {
                draft.offer_text(Text::FinishReason, field::GEN_AI_LEGACY, source, reason);
            }
        }
    }
}

/// `None` for members that are no message: OpenInference numbers plain prompts under one of these prefixes.
fn message<'a>(item: &indexed::Family<'a>, role: &'static str) -> Option<Message<'a>> {
    let wrapped = item.under(".message.");
    let fields = if wrapped.is_empty() { item.under(".") } else { wrapped };
    let mut parts: Vec<Part<'a>> = Vec::new();
    parts.extend(text(fields.get("reasoning")).map(Part::Reasoning));
    // Vertex AI's old instrumentation names the role where others name the content.
    parts.extend(fields.get("content").or_else(|| fields.get("user")).map(content).unwrap_or_default());
    for call in fields.under("tool_calls.").items() {
        parts.extend(tool_call(&call.under(".")));
    }
    parts.extend(tool_call(&fields.under("function_call.")));

    let answered = text(fields.get("tool_call_id"));
    let named = text(fields.get("role"));
    if parts.is_empty() && named.is_none() {
        return None;
    }
    let is_result = answered.is_some() || named.as_deref().is_some_and(|role| matches!(role, "tool" | "function"));
    if is_result && !parts.iter().any(|part| matches!(part, Part::ToolCall { .. } | Part::ToolCallResponse { .. })) {
        parts = vec![Part::ToolCallResponse { id: answered, response: Json::answer(parts) }];
    }
    let role = named.unwrap_or_else(|| if is_result { "tool".into() } else { role.into() });
    let finish_reason = text(fields.get("finish_reason"));
    Some(Message { role, name: text(fields.get("name")), parts, finish_reason })
}

/// A text, or the blocks of a provider as JSON text: those have types.
fn content(value: &AnyValue) -> Vec<Part<'_>> {
    let Some(sent) = value.as_str() else { return canonical::parts_of(value.to_plain_json()) };
    if sent.starts_with('[')
        && let Ok(Value::Array(blocks)) = serde_json::from_str(sent)
        && !blocks.is_empty()
        && blocks.iter().all(|block| block.get("type").is_some_and(Value::is_string))
    {
        return canonical::parts_of(Value::Array(blocks));
    }
    text(Some(value)).map(Part::Text).into_iter().collect()
}

fn tool_call<'a>(call: &indexed::Family<'a>) -> Option<Part<'a>> {
    let member = |names: [&str; 2]| names.into_iter().find_map(|name| call.get(name));
    let name = text(member(["name", "function.name"]))?;
    let arguments = member(["arguments", "function.arguments"]).map_or(Json::Value(Value::Null), Json::open);
    Some(Part::ToolCall { id: text(call.get("id")), name, arguments })
}
