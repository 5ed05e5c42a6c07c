//! OpenInference: `openinference.span.kind`, messages flattened into numbered attributes, `input.value`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::mapping::canonical::{self, Json, Message, Part, text};
use crate::mapping::content_json;
use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::gen_ai_legacy::span_offset_ms;
use crate::mapping::indexed;
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const KIND: &str = "openinference.span.kind";
const OUTPUT: &str = "output.value";
/// Calls of tools that the SDK of Gemini made on its own.
const AUTOMATIC_CALLS: &str = "message.tool_calls.";

const TEXTS: [(Text, u8, &str); 13] = [
    (Text::Agent, field::OPENINFERENCE, "agent.name"),
    (Text::Model, field::OPENINFERENCE_RESPONSE, "llm.response.model_name"),
    (Text::Model, field::OPENINFERENCE, "llm.model_name"),
    (Text::Model, field::OPENINFERENCE_EMBEDDING, "embedding.model_name"),
    (Text::Model, field::OPENINFERENCE_RERANKER, "reranker.model_name"),
    (Text::Model, field::OPENINFERENCE_REQUEST, "llm.request.model_name"),
    (Text::RequestModel, field::OPENINFERENCE_REQUEST, "llm.request.model_name"),
    (Text::ToolCallId, field::OPENINFERENCE, "tool_call.id"),
    (Text::ToolCallId, field::SECONDARY, "tool.id"),
    (Text::SessionId, identity::PLAIN, "session.id"),
    (Text::UserId, identity::PLAIN, "user.id"),
    (Text::UserId, identity::METADATA, "llm.user"),
    (Text::FinishReason, field::OPENINFERENCE, "llm.finish_reason"),
];

const COUNTS: [(Count, u8, &str); 7] = [
    (Count::Input, field::OPENINFERENCE, "llm.token_count.prompt"),
    (Count::Output, field::OPENINFERENCE, "llm.token_count.completion"),
    (Count::Total, field::OPENINFERENCE, "llm.token_count.total"),
    (Count::CacheRead, field::OPENINFERENCE, "llm.token_count.prompt_details.cache_read"),
    (Count::CacheRead, field::OPENINFERENCE + 1, "llm.token_count.prompt_details.cache_input"),
    (Count::CacheWrite, field::OPENINFERENCE, "llm.token_count.prompt_details.cache_write"),
    (Count::Reasoning, field::OPENINFERENCE, "llm.token_count.completion_details.reasoning"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has(KIND) || sent.has_under("llm.") || sent.has("input.value") || sent.has(OUTPUT)
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if let Some(word) = sent.text(KIND) {
        let typed = match word.trim().to_ascii_uppercase().as_str() {
            "LLM" => StepType::ModelCall,
            "EMBEDDING" => StepType::Embedding,
            "RETRIEVER" => StepType::Retrieval,
            "RERANKER" => StepType::Rerank,
            "TOOL" if sent.span.name.starts_with("handoff to ") => {
                return choice.offer(kind::STRUCTURE, StepType::Handoff, KIND);
            }
            "TOOL" => StepType::ToolCall,
            "AGENT" => StepType::Agent,
            "CHAIN" | "PROMPT" => StepType::Workflow,
            "GUARDRAIL" => StepType::Guardrail,
            "EVALUATOR" => StepType::Evaluator,
            _ => return,
        };
        choice.offer(kind::VENDOR_KIND, typed, KIND);
        return;
    }
    let has_model = ["llm.model_name", "llm.response.model_name"].into_iter().find(|key| sent.has(key));
    if let Some(key) = has_model
        && (sent.has_under("llm.token_count.") || sent.has_under("llm.output_messages."))
    {
        choice.offer(kind::MODEL_KEYS, StepType::ModelCall, key);
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    match kind {
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::OPENINFERENCE, "tool.name")]),
        StepType::Agent => draft.offer_texts(
            sent,
            &[(Text::Name, field::OPENINFERENCE, "agent.name"), (Text::Name, field::SECONDARY, "graph.node.name")],
        ),
        _ => {}
    }
    for (rank, key) in [(40, "llm.provider"), (70, "llm.system")] {
        if let Some(name) = sent.get(key).and_then(AnyValue::as_str) {
            draft.offer_provider(rank, key, name);
        }
    }
    cost(sent, draft);
    draft.offer_tags(sent.get("tag.tags"));
    contents(sent, kind, draft);

    let first_token = sent.events().iter().find(|event| event.name == "First Token Stream Event");
    let ms = first_token.and_then(|event| span_offset_ms(sent, event));
    draft.offer_time_to_first_token_ms("First Token Stream Event", ms);

    if *kind == StepType::ToolCall
        && draft.wants(Text::ToolCallId, field::CONTENT)
        && let Some(id) = sent.text(OUTPUT).and_then(content_json::tool_call_id)
    {
        draft.offer_text(Text::ToolCallId, field::CONTENT, OUTPUT, id.into());
    }
    if kind.is_call() {
        if let Some(answer) = sent.text(OUTPUT) {
            content_json::read_answer(draft, OUTPUT, answer);
        }
        invocation_parameters(sent, draft);
    }
}

fn cost(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    draft.offer_cost("llm.cost.total", sent.get("llm.cost.total"));
    if draft.cost.is_none() {
        let part = |key| sent.number(key).filter(|usd| *usd >= 0.0);
        if let (Some(prompt), Some(completion)) = (part("llm.cost.prompt"), part("llm.cost.completion")) {
            draft.cost = Some((prompt + completion, "llm.cost.prompt"));
        }
    }
}

/// What the request asked for, as JSON text.
fn invocation_parameters(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    #[derive(Deserialize)]
    struct Parameters<'a> {
        #[serde(borrow, default)]
        model: Option<Cow<'a, str>>,
        #[serde(default)]
        stream: Option<bool>,
    }
    const KEY: &str = "llm.invocation_parameters";
    let wants_model = draft.wants(Text::Model, field::INVOCATION_PARAMETERS);
    let Some(text) = sent.text(KEY) else { return };
    if !wants_model && (draft.streaming.is_some() || !text.contains("\"stream\"")) {
        return;
    }
    let Ok(parameters) = serde_json::from_str::<Parameters<'_>>(text) else { return };
    draft.streaming = draft.streaming.or(parameters.stream);
    if let Some(model) = parameters.model {
        draft.offer_text(Text::Model, field::INVOCATION_PARAMETERS, KEY, model.into_owned().into());
    }
}

fn contents<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    let attributes = &sent.span.attributes;
    if sent.has_under(AUTOMATIC_CALLS) {
        draft.offer_content(Output, Family::OpenInferenceMessages, || automatic_calls(sent));
    }
    for (side, prefix, source) in [
        (Input, "llm.input_messages.", "llm.input_messages.*"),
        (Output, "llm.output_messages.", "llm.output_messages.*"),
    ] {
        draft.offer_content(side, Family::OpenInferenceMessages, || {
            let items = indexed::Family::of(attributes, prefix).items();
            let messages: Vec<Message<'_>> = items.iter().map(message).collect();
            Some(Content { source, text: canonical::write(&messages)?.into() })
        });
    }
    draft.offer_content(Input, Family::OpenInferencePrompts, || {
        texts(sent, "llm.prompts.", ".prompt.text", "llm.prompts.0.prompt.text", "llm.prompts.*")
    });
    draft.offer_content(Output, Family::OpenInferencePrompts, || {
        texts(sent, "llm.choices.", ".completion.text", "llm.choices.0.completion.text", "llm.choices.*")
    });
    draft.offer_attribute(Input, Family::Retrieval, sent, "reranker.query");
    let documents = match kind {
        StepType::Rerank => ("reranker.output_documents.", "reranker.output_documents.*"),
        _ => ("retrieval.documents.", "retrieval.documents.*"),
    };
    draft.offer_content(Output, Family::Retrieval, || self::documents(sent, documents));
    draft.offer_content(Input, Family::EmbeddedTexts, || {
        let (one, all) = ("embedding.embeddings.0.embedding.text", "embedding.embeddings.*");
        texts(sent, "embedding.embeddings.", ".embedding.text", one, all)
    });
    draft.offer_attribute(Input, Family::EmbeddedTexts, sent, "embedding.text");
    draft.offer_attribute(Input, Family::OpenInferenceValue, sent, "input.value");
    // Vectors are no text: the answer of an embedding stays an attribute.
    if *kind != StepType::Embedding {
        draft.offer_attribute(Output, Family::OpenInferenceValue, sent, OUTPUT);
    }
    draft.offer_content(Input, Family::ToolParameters, || {
        let text = sent.text("tool.parameters").filter(|text| !is_json_schema(text))?;
        Some(Content { source: "tool.parameters", text: text.into() })
    });
}

/// The SDK of Gemini runs tools inside one call: what was asked for and answered there, then what the model said.
fn automatic_calls<'a>(sent: &Sent<'a>) -> Option<Content<'a>> {
    const HISTORY: &str = "automatic_function_calling_history";
    let answer: Value =
        sent.text(OUTPUT).filter(|text| text.contains(HISTORY)).and_then(|text| serde_json::from_str(text).ok())?;
    let history = answer.get(HISTORY)?.as_array()?;
    let says = |content: &&Value| content.pointer("/parts/0/text").is_some_and(Value::is_string);
    let asked = history.iter().rposition(|content| says(&content)).map_or(0, |last| last + 1);
    let said = answer.pointer("/candidates/0/content").into_iter();
    let turns: Vec<&Value> = history[asked..].iter().chain(said).collect();
    Some(Content {
        source: "output.value+automatic_function_calling_history",
        text: serde_json::to_string(&turns).ok()?.into(),
    })
}

fn message<'a>(item: &indexed::Family<'a>) -> Message<'a> {
    let fields = item.under(".message.");
    let content = text(fields.get("content"));
    let mut parts: Vec<Part<'a>> = fields.under("contents.").items().iter().filter_map(content_part).collect();
    parts.extend(fields.under("content.").items().iter().filter_map(|item| text(item.own())).map(Part::Text));

    if let Some(content) = content
        && !parts.iter().any(|part| matches!(part, Part::Text(_)))
    {
        parts.insert(0, Part::Text(content));
    }
    for item in fields.under("tool_calls.").items() {
        // The same call may stand among the contents already.
        if let Some(call) = tool_call(&item.under(".tool_call."))
            && !parts.iter().any(|part| part.is_same_call(&call))
        {
            parts.push(call);
        }
    }
    if let Some(name) = text(fields.get("function_call_name")) {
        let arguments = fields.get("function_call_arguments_json");
        parts.push(Part::ToolCall { id: None, name, arguments: arguments_of(arguments) });
    }
    if let Some(id) = text(fields.get("tool_call_id")) {
        parts = vec![Part::ToolCallResponse { id: Some(id), response: Json::answer(parts) }];
    }
    // Some instrumentations drop the id of the call that a tool answers: then the order tells.
    if fields.get("tool_call_id").is_none() && text(fields.get("role")).as_deref() == Some("tool") {
        let is_answer = parts.iter().any(|part| matches!(part, Part::ToolCallResponse { .. }));
        if !is_answer && !parts.is_empty() {
            parts = vec![Part::ToolCallResponse { id: None, response: Json::answer(parts) }];
        }
    }
    parts.extend(item.under(".function.").items().iter().filter_map(|item| function_result(item.own()?)));
    let role = text(fields.get("role")).unwrap_or_else(|| default_role(&parts).into());
    let finish_reason = text(fields.get("finish_reason"));
    Message { role, name: text(fields.get("name")), parts, finish_reason }
}

fn default_role(parts: &[Part<'_>]) -> &'static str {
    let is_answer = parts.iter().any(|part| matches!(part, Part::ToolCallResponse { .. }));
    if is_answer { "tool" } else { "user" }
}

fn content_part<'a>(item: &indexed::Family<'a>) -> Option<Part<'a>> {
    if let Some(call) = tool_call(&item.under(".tool_call.")) {
        return Some(call);
    }
    let content = item.under(".message_content.");
    let kind = text(content.get("type"));
    let body = text(content.get("text"));
    match (kind.as_deref(), body) {
        (Some("reasoning" | "thinking"), Some(body)) => Some(Part::Reasoning(body)),
        (Some("text") | None, Some(body)) => Some(Part::Text(body)),
        (Some("text" | "tool_use") | None, None) => None,
        (Some(kind), _) => {
            let mut raw = Map::from_iter([("type".to_owned(), json!(kind))]);
            for (name, key) in [
                ("text", "text"),
                ("id", "id"),
                ("data", "data"),
                ("uri", "image.image.url"),
                ("uri", "audio.audio.url"),
                ("mime_type", "audio.audio.mime_type"),
                ("transcript", "audio.audio.transcript"),
            ] {
                if let Some(value) = content.get(key).filter(|value| usable::is_usable(value)) {
                    raw.insert(name.to_owned(), value.to_plain_json());
                }
            }
            Some(Part::Other(Value::Object(raw)))
        }
    }
}

fn tool_call<'a>(call: &indexed::Family<'a>) -> Option<Part<'a>> {
    let (id, name) = (text(call.get("id")), text(call.get("function.name")));
    if id.is_none() && name.is_none() {
        return None;
    }
    let arguments = arguments_of(call.get("function.arguments"));
    Some(Part::ToolCall { id, name: name.unwrap_or_default(), arguments })
}

fn arguments_of(value: Option<&AnyValue>) -> Json<'_> {
    value.map_or(Json::Value(Value::Null), Json::open)
}

/// A result as AutoGen's instrumentation writes it: `{"name", "content", "call_id", "is_error"}` as JSON text.
fn function_result<'a>(value: &AnyValue) -> Option<Part<'a>> {
    let result: Value = serde_json::from_str(value.as_str()?).ok()?;
    let response = Json::Value(result.get("content")?.clone());
    Some(Part::ToolCallResponse { id: canonical::owned(&result, "call_id"), response })
}

/// The numbered texts under `prefix`: one as it stands, several as a JSON list.
fn texts<'a>(
    sent: &Sent<'a>,
    prefix: &str,
    member: &str,
    first_key: &'static str,
    family: &'static str,
) -> Option<Content<'a>> {
    let items = indexed::Family::of(&sent.span.attributes, prefix).items();
    let texts: Vec<Cow<'a, str>> = items.iter().filter_map(|item| text(item.get(member))).collect();
    match texts.as_slice() {
        [] => None,
        [one] if sent.text(first_key).is_some_and(|first| first == one) => {
            Some(Content { source: first_key, text: one.clone() })
        }
        [one] => Some(Content { source: family, text: one.clone() }),
        several => Some(Content { source: family, text: serde_json::to_string(several).ok()?.into() }),
    }
}

/// Found documents as `[{"id", "content", "score", "metadata"}]`.
fn documents<'a>(sent: &Sent<'a>, (prefix, source): (&str, &'static str)) -> Option<Content<'a>> {
    let mut found = Vec::new();
    for item in indexed::Family::of(&sent.span.attributes, prefix).items() {
        let document = item.under(".document.");
        let mut fields = Vec::with_capacity(4);
        for name in ["id", "content", "score", "metadata"] {
            if let Some(value) = document.get(name).filter(|value| usable::is_usable(value)) {
                fields.push((name.to_owned(), value.clone()));
            }
        }
        if !fields.is_empty() {
            found.push(AnyValue::Kvlist(fields));
        }
    }
    let text = usable::content_text(&AnyValue::Array(found))?.into_owned();
    Some(Content { source, text: text.into() })
}

/// A description of parameters is not the arguments of a call.
fn is_json_schema(text: &str) -> bool {
    text.contains("\"properties\"") || text.contains("\"$schema\"") || text.contains("\"type\": \"object\"")
}
