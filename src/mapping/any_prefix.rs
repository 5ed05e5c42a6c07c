//! Instrumentations that nobody listed: familiar words under whatever prefix. Read after every dialect: a type only
//! where nothing better told one, values only where nobody supplied them, and nothing at all from a span that no word
//! makes a GenAI step (bare words like `input` or `session.id` are no evidence).

use std::borrow::Cow;

use serde_json::Value;

use crate::mapping::any_content::Contents;
use crate::mapping::content_json;
use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::familiar::{self, Counted, Words, last_word};
use crate::mapping::precedence::{error_text, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

/// Keys whose value is a word for the type of the span, the most span-specific first.
const KIND_KEYS: [&str; 10] = [
    "span_kind",
    "span_type",
    "span_kind_name",
    "observation_type",
    "event_type",
    "run_type",
    "node_type",
    "type_node",
    "operation_type",
    "entity_type",
];
/// Of those, the ones that are no word of anybody else's without a prefix.
const BARE_KIND_KEYS: usize = 2;

const MODELS: [&str; 7] =
    ["response_model", "response_model_name", "model_name", "model", "model_id", "request_model", "llm_name"];
const PROVIDERS: [&str; 5] = ["provider_name", "model_provider", "llm_provider", "provider", "llm_vendor"];
const SESSIONS: [&str; 5] = ["session_id", "conversation_id", "thread_id", "chat_id", "agentic_session"];
const USERS: [&str; 6] =
    ["user_id", "end_user_id", "enduser_id", "customer_id", "customer_identifier", "user_identifier"];
const TOOL_NAMES: [&str; 3] = ["tool_name", "function_name", "tool_call_name"];
const TOOL_CALL_IDS: [&str; 5] = ["tool_call_id", "tool_use_id", "function_call_id", "call_id", "tool_id"];
const FINISH_REASONS: [&str; 3] = ["finish_reason", "finish_reasons", "stop_reason"];
const RAW_USAGE: [&str; 6] = ["usage_metadata", "token_usage", "usage_details", "raw_usage", "usage_raw", "usage"];
const COSTS: [&str; 5] = ["total_cost", "cost_total", "cost_usd", "estimated_cost", "cost"];

/// Class names that frameworks give to the spans of tools.
const TOOL_CLASSES: [&str; 5] =
    ["DynamicStructuredTool", "DynamicTool", "FunctionTool", "StructuredTool", "AsyncFunctionTool"];

pub(super) fn speaks(_: &Sent<'_>) -> bool {
    true
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let known = choice.rank().unwrap_or(u8::MAX);
    // A tool that a framework runs as a task of its own.
    if known > kind::METHOD && sent.has("tool.name") && sent.has("tool.arguments") {
        choice.offer(kind::METHOD, StepType::ToolCall, "tool.arguments");
        return;
    }
    if choice.is(&StepType::Workflow) && sent.has("tool.name") && sent.has("tool.arguments") {
        choice.refine(StepType::ToolCall, "tool.arguments");
        return;
    }
    if choice.is(&StepType::ModelCall) && embeds(sent) {
        choice.refine(StepType::Embedding, "*.request.type");
        return;
    }
    if known <= kind::METHOD {
        return;
    }
    if let Some(typed) = kind_word(sent) {
        // A type that was written down as such beats what the presence of other keys suggests.
        let typed = if typed == StepType::ModelCall && embeds(sent) { StepType::Embedding } else { typed };
        choice.offer(kind::METHOD, typed, "*.span.kind");
    } else if known > kind::ANY_PREFIX
        && let Some(typed) = sent.text("gen_ai.operation.name").and_then(operation)
    {
        choice.offer(kind::ANY_PREFIX, typed, "gen_ai.operation.name");
    } else if known > kind::ANY_PREFIX && spends_tokens(sent) {
        choice.offer(kind::ANY_PREFIX, StepType::ModelCall, "*.usage.input_tokens");
    }
}

/// The word for the type under the most span-specific key.
fn kind_word(sent: &Sent<'_>) -> Option<StepType> {
    let mut best: Option<(usize, StepType)> = None;
    for (key, value) in &sent.span.attributes {
        if !matches!(last_word(key, &mut [0; 12]), Some("kind" | "type" | "node" | "name")) {
            continue;
        }
        let (AnyValue::Str(word), Some(words)) = (value, Words::of(key)) else { continue };
        let place = KIND_KEYS.iter().enumerate().position(|(place, ending)| {
            if place < BARE_KIND_KEYS { words.ends(ending) } else { words.ends_after_prefix(ending) }
        });
        if let Some(place) = place.filter(|place| best.as_ref().is_none_or(|(known, _)| place < known))
            && let Some(typed) = familiar::type_of(word)
        {
            best = Some((place, typed));
        }
    }
    best.map(|(_, typed)| typed)
}

/// Operations beyond the conventions': a word for a type, or the run of an assistant's thread.
fn operation(word: &str) -> Option<StepType> {
    let is_thread_run = word.ends_with("_thread_run");
    familiar::type_of(word).or_else(|| is_thread_run.then_some(StepType::Agent))
}

/// A request type or the path of the endpoint says that texts are embedded, whatever else is called a model call.
fn embeds(sent: &Sent<'_>) -> bool {
    const PATHS: [&str; 4] = ["url.full", "http.url", "url.path", "http.target"];
    let is_embedding = |text: &str| text.to_ascii_lowercase().starts_with("embed");
    ["llm.request.type", "gen_ai.request.type", "litellm.request.type", "request.type"]
        .iter()
        .any(|key| sent.text(key).is_some_and(is_embedding))
        || PATHS.iter().any(|key| {
            sent.text(key).is_some_and(|url| url.split(['?', '#']).next().unwrap_or(url).ends_with("/embeddings"))
        })
}

/// A model and both counts of tokens under a prefix: nothing but a call of a model has them without another type.
fn spends_tokens(sent: &Sent<'_>) -> bool {
    let (mut model, mut input, mut output) = (false, false, false);
    for (key, value) in &sent.span.attributes {
        if is_number(value) {
            let words = Some(key).filter(|key| key.contains('.')).and_then(|key| Words::of(key));
            match words.as_ref().and_then(spent) {
                Some(Counted::Of(Count::Input) | Counted::UncachedInput) => input = true,
                Some(Counted::Of(Count::Output)) => output = true,
                _ => {}
            }
        } else if matches!(last_word(key, &mut [0; 12]), Some("model" | "name" | "id")) && key.contains('.') {
            model |= Words::of(key).is_some_and(|words| words.place_in(&MODELS).is_some());
        }
    }
    model && input && output
}

fn is_number(value: &AnyValue) -> bool {
    match value {
        AnyValue::Int(_) | AnyValue::Double(_) => true,
        AnyValue::Str(text) => !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit()),
        _ => false,
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if !kind.is_genai() && *kind != StepType::Workflow {
        return;
    }
    let mut found = Found::default();
    for (key, value) in &sent.span.attributes {
        if is_number(value) {
            if let Some(words) = Words::of(key) {
                count(&words, value, draft, &mut found);
                number(key, &words, value, kind, draft);
            }
        } else {
            found.look_at(key, value, kind, draft);
        }
        found.contents.note_member(key);
    }
    found.entities(sent, kind, draft);
    found.contents.offer(sent, kind, draft);
    found.offer_usage(draft);
    if kind.is_call() {
        answer(draft, found.contents.raw_output());
    }
    if *kind == StepType::ToolCall {
        tool_of_result(sent, draft);
    }
}

/// What stands in the attributes of one span, best first.
#[derive(Default)]
struct Found<'a> {
    contents: Contents<'a>,
    raw_usage: Option<&'a AnyValue>,
    uncached_input: Option<i64>,
    /// Some key counts entities, each with a type and a name.
    has_entities: bool,
}

impl<'a> Found<'a> {
    fn look_at(&mut self, key: &'a str, value: &'a AnyValue, kind: &StepType, draft: &mut Draft<'a>) {
        let mut buffer = [0; 12];
        let Some(last) = last_word(key, &mut buffer) else { return };
        match last {
            "messages" | "value" | "data" | "content" | "text" | "input" | "inputs" | "arguments" | "query"
            | "message" | "question" | "prompt" | "output" | "outputs" | "result" | "answer" | "completion"
            | "response" | "documents" | "document" | "parameters" | "user" => self.contents.look_at(key, value, kind),
            "model" | "name" | "id" | "identifier" | "provider" | "vendor" | "reason" | "reasons" | "type"
            | "session" => {
                let Some(words) = Words::of(key) else { return };
                self.has_entities |= last == "type" && key.starts_with("entity.");
                text(&words, value, kind, draft);
            }
            "usage" | "metadata" | "details" | "raw" => {
                let words = Words::of(key).filter(|words| words.place_in(&RAW_USAGE).is_some());
                if words.is_some() && self.raw_usage.is_none() {
                    self.raw_usage = Some(value);
                }
            }
            "tags" if draft.tags.is_empty() => draft.tags = tags(value),
            "stream" | "streaming" => draft.streaming = draft.streaming.or_else(|| usable::boolean(value)),
            _ => {}
        }
    }

    /// `entity.1.type` = `tool.…` with `entity.1.name`: who takes part in the span, by number.
    fn entities(&self, sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
        const ENTITIES_MAX: usize = 8;
        if !self.has_entities {
            return;
        }
        for number in 1..=ENTITIES_MAX {
            let of = |member: &str| sent.text(&format!("entity.{number}.{member}"));
            if let Some(provider) = of("provider_name").filter(|_| kind.is_call()) {
                draft.offer_provider(field::ANY_PREFIX, "entity.*.provider_name", provider);
            }
            let (Some(typed), Some(name)) = (of("type"), of("name")) else { continue };
            let (text, key) = match typed.split('.').next().unwrap_or(typed) {
                "model" => (Text::Model, "entity.*.name"),
                "tool" | "mcp" if *kind == StepType::ToolCall => (Text::Name, "entity.*.name"),
                "agent" if *kind == StepType::Agent && draft.wants(Text::Name, field::ANY_PREFIX) => {
                    (Text::Name, "entity.*.name")
                }
                "agent" => (Text::Agent, "entity.*.name"),
                _ => continue,
            };
            draft.offer_text(text, field::ANY_PREFIX, key, name.into());
        }
    }

    /// Input tokens that leave the cache out; and a provider's own report, for what the flat keys leave out.
    fn offer_usage(&self, draft: &mut Draft<'a>) {
        if let Some(n) = self.uncached_input.filter(|_| draft.count(Count::Input).is_none()) {
            draft.offer_count(Count::Input, field::ANY_PREFIX, "*.non_cached_input_tokens", n);
            draft.cache_is_outside = true;
        }
        let report = match self.raw_usage {
            Some(AnyValue::Str(text)) if text.starts_with('{') => serde_json::from_str(text).ok(),
            Some(value @ AnyValue::Kvlist(_)) => Some(value.to_plain_json()),
            _ => None,
        };
        if let Some(report) = report {
            raw_usage(draft, &report);
        }
    }
}

/// What the key of a number counts, if it counts tokens that were spent.
fn spent(words: &Words) -> Option<Counted> {
    familiar::counted(words).filter(|_| familiar::are_spent(words))
}

fn count(words: &Words, value: &AnyValue, draft: &mut Draft<'_>, found: &mut Found<'_>) {
    let Some(counted) = familiar::counted(words) else { return };
    // Asked before the many words that are none of usage: dialects have supplied most counts.
    let is_wanted = match counted {
        Counted::Of(count) => draft.wants_count(count, field::ANY_PREFIX),
        Counted::UncachedInput => true,
    };
    if !is_wanted || !familiar::are_spent(words) {
        return;
    }
    let Ok(Some(n)) = usable::count(value) else { return };
    match counted {
        Counted::Of(count) => draft.offer_count(count, field::ANY_PREFIX, "*.usage.*", n),
        Counted::UncachedInput => found.uncached_input = Some(n),
    }
}

fn is_cost(words: &Words) -> bool {
    words.place_in(&COSTS).is_some() && !words.has("per_")
}

/// Numbers that are no tokens: what it cost, and how long the first token took.
fn number(key: &str, words: &Words, value: &AnyValue, kind: &StepType, draft: &mut Draft<'_>) {
    let mut buffer = [0; 12];
    match last_word(key, &mut buffer) {
        Some("cost" | "usd" | "total") if kind.is_call() && draft.cost.is_none() && is_cost(words) => {
            draft.offer_cost("*.cost", Some(value));
        }
        Some("token" | "ms") if draft.time_to_first_token_ms.is_none() => {
            let is_ms = words.ends("time_to_first_token_ms") || words.ends("ttft_ms");
            let is_s = words.ends("latency_time_to_first_token");
            if is_ms || is_s {
                let ms = usable::number(value).map(|n| if is_s { n * 1000.0 } else { n });
                draft.offer_time_to_first_token_ms("*.time_to_first_token", ms);
            }
        }
        _ => {}
    }
}

fn text<'a>(words: &Words, value: &'a AnyValue, kind: &StepType, draft: &mut Draft<'a>) {
    let Some(said) = usable::scalar_text(value).map(unquoted) else {
        if let AnyValue::Array(reasons) = value
            && words.place_in(&FINISH_REASONS).is_some()
            && let Some(reason) = reasons.iter().find_map(usable::scalar_text)
        {
            draft.offer_text(Text::FinishReason, field::ANY_PREFIX, "*.finish_reasons", reason);
        }
        return;
    };
    let says_other = |parts: &[&str]| parts.iter().any(|part| words.has(part));
    if let Some(place) = words.place_in(&MODELS) {
        let is_other = match kind {
            StepType::Embedding => words.has("rerank"),
            StepType::Rerank => words.has("embedding"),
            _ => says_other(&["embedding", "rerank", "evaluat", "judge"]),
        };
        if !is_other && matches!(value, AnyValue::Str(_)) {
            if words.has("request") {
                draft.offer_text(Text::RequestModel, field::ANY_PREFIX, "*.request.model", said.clone());
            }
            draft.offer_text(Text::Model, field::ANY_PREFIX + place, "*.model", said);
        }
    } else if let Some(place) = words.place_in(&PROVIDERS) {
        if !says_other(&["cloud", "auth", "embedding", "identity"]) {
            draft.offer_provider(field::ANY_PREFIX + place, "*.provider", &said);
        }
    } else if let Some(place) = words.place_in(&SESSIONS) {
        if !says_other(&["mcp", "previous", "parent", "browser", "shell", "rum_", "trace_session"]) {
            draft.offer_text(Text::SessionId, identity::ANY_PREFIX + place, "*.session.id", said);
        }
    } else if let Some(place) = words.place_in(&TOOL_CALL_IDS).filter(|_| *kind == StepType::ToolCall) {
        draft.offer_text(Text::ToolCallId, field::ANY_PREFIX + place, "*.tool_call.id", said);
    } else if let Some(place) = words.place_in(&USERS) {
        if !says_other(&["key", "created_by", "account", "default_user"]) {
            draft.offer_text(Text::UserId, identity::ANY_PREFIX + place, "*.user.id", said);
        }
    } else if let Some(place) = words.place_in(&TOOL_NAMES) {
        if *kind == StepType::ToolCall {
            draft.offer_text(Text::Name, field::ANY_PREFIX + place, "*.tool.name", said);
        }
    } else if words.ends("agent_name") {
        // The conventions' own key is read where it is known whom it names.
        if !says_other(&["gen_ai_agent_name", "parent", "target", "source", "from_", "to_", "next", "previous"]) {
            if *kind == StepType::Agent {
                draft.offer_text(Text::Name, field::ANY_PREFIX, "*.agent.name", said.clone());
            }
            draft.offer_text(Text::Agent, field::ANY_PREFIX, "*.agent.name", said);
        }
    } else if words.ends("response_id") {
        draft.offer_text(Text::ResponseId, field::ANY_PREFIX, "*.response.id", said);
    } else if words.place_in(&FINISH_REASONS).is_some() {
        draft.offer_text(Text::FinishReason, field::ANY_PREFIX, "*.finish_reason", said);
    } else if words.ends("error_message") {
        draft.offer_text(Text::Failure, error_text::ANY_PREFIX, "*.error.message", said);
    }
}

/// Some senders write every value as JSON: a text with quotes is the text.
fn unquoted(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) if text.len() > 2 && text.starts_with('"') => {
            Cow::Borrowed(text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text))
        }
        other => other,
    }
}

fn tags(value: &AnyValue) -> Vec<String> {
    match value {
        AnyValue::Array(tags) => tags.iter().filter_map(usable::scalar_text).map(Cow::into_owned).collect(),
        AnyValue::Str(text) if text.starts_with('[') => serde_json::from_str(text).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Counts of tokens and the finish reason among the attributes of an event.
pub(super) fn usage_of_event<'a>(attributes: &'a [(String, AnyValue)], draft: &mut Draft<'a>) {
    let mut found = Found::default();
    for (key, value) in attributes {
        if is_number(value) {
            if let Some(words) = Words::of(key) {
                count(&words, value, draft, &mut found);
            }
        } else if Words::of(key).is_some_and(|words| words.place_in(&FINISH_REASONS).is_some())
            && let Some(reason) = usable::scalar_text(value)
        {
            draft.offer_text(Text::FinishReason, field::ANY_PREFIX, "events.*.finish_reason", reason);
        }
    }
}

/// A report in the provider's words, whatever they are: each number by the words that lead to it.
fn raw_usage(draft: &mut Draft<'_>, report: &Value) {
    let had_input = draft.count(Count::Input).is_some();
    let Some(report) = report.as_object() else { return };
    let mut offer = |path: &str, n: &Value| {
        let Some(n) = n.as_i64().filter(|n| *n >= 0) else { return };
        let Some(Counted::Of(count)) = Words::of(path).as_ref().and_then(spent) else { return };
        draft.offer_count(count, field::CONTENT, "*.usage", n);
    };
    for (name, value) in report {
        match value {
            Value::Object(details) => {
                details.iter().for_each(|(inner, n)| offer(&format!("usage.{name}.{inner}"), n));
            }
            n => offer(&format!("usage.{name}"), n),
        }
    }
    if !had_input && report.contains_key("input_tokens") | report.contains_key("inputTokens") {
        draft.cache_is_outside |= content_json::CACHE_BESIDE_INPUT.iter().any(|name| report.contains_key(*name));
    }
}

/// Model, id and usage of a call may stand in its answer alone.
fn answer(draft: &mut Draft<'_>, output: Option<&AnyValue>) {
    if draft.has_counts() && !draft.wants(Text::Model, field::CONTENT) {
        return;
    }
    if draft.content(Side::Output).is_some() {
        draft.read_content(Side::Output, |draft, text| content_json::read_answer(draft, "*.output", text));
    } else if let Some(AnyValue::Str(text)) = output {
        content_json::read_answer(draft, "*.output", text);
    }
}

/// A tool whose span is called by its class: the result, a serialised message of the tool, tells its name.
fn tool_of_result<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    let name = draft.text(Text::Name).unwrap_or(&sent.span.name);
    if !TOOL_CLASSES.contains(&name) {
        return;
    }
    draft.read_content(Side::Output, |draft, text| {
        if let Some(name) = content_json::tool_name(text) {
            draft.offer_text(Text::Name, field::CERTAIN, "*.output", name.into());
        }
        if draft.wants(Text::ToolCallId, field::CONTENT)
            && let Some(id) = content_json::tool_call_id(text)
        {
            draft.offer_text(Text::ToolCallId, field::CONTENT, "*.output", id.into());
        }
    });
}
