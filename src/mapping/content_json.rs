//! What the JSON text of an input or output tells beside its content: response id, model, usage, tool call id.
//! Read only where no attribute says it; unknown members are skipped without building them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mapping::draft::{Count, Draft, Text};
use crate::mapping::precedence::field;

/// Longer texts are not searched: reading them costs more than an id is worth.
const SEARCHED_BYTES_MAX: usize = 1 << 20;

/// The members of a model's answer that matter, in the shapes of OpenAI, Anthropic, Gemini and LangChain.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Answer<'a> {
    #[serde(deserialize_with = "loose")]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "responseId", deserialize_with = "loose")]
    response_id: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "loose")]
    model: Option<Cow<'a, str>>,
    #[serde(rename = "modelVersion", deserialize_with = "loose")]
    model_version: Option<Cow<'a, str>>,
    usage: Option<&'a RawValue>,
    #[serde(alias = "usageMetadata")]
    usage_metadata: Option<&'a RawValue>,
    response_metadata: Option<ResponseMetadata<'a>>,
    llm_output: Option<ResponseMetadata<'a>>,
    /// LangChain: one list of candidates for each prompt.
    generations: Option<Vec<Vec<Generation<'a>>>>,
    /// A serialised LangChain message holds its fields in here, or in `data`.
    kwargs: Option<Message<'a>>,
    /// Haystack: what the provider told about the answer, or about each of the answers.
    #[serde(borrow)]
    meta: Option<OneOrMany<'a, Meta<'a>>>,
    #[serde(borrow)]
    replies: Option<OneOrMany<'a, Reply<'a>>>,
}

/// What a component of Haystack says of its answer.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Meta<'a> {
    #[serde(deserialize_with = "loose")]
    model: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "loose")]
    finish_reason: Option<Cow<'a, str>>,
    usage: Option<&'a RawValue>,
    /// Cohere.
    tokens: Option<&'a RawValue>,
    billed_units: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Reply<'a> {
    #[serde(alias = "_meta", borrow)]
    meta: Option<Meta<'a>>,
}

/// A member that holds one thing or several; the first counts. What is neither says nothing.
struct OneOrMany<'a, T>(Option<T>, std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<'a, T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <&'de RawValue>::deserialize(from)?.get();
        let one = if text.starts_with('[') {
            let items: Vec<&'de RawValue> = serde_json::from_str(text).unwrap_or_default();
            items.first().and_then(|first| serde_json::from_str(first.get()).ok())
        } else {
            serde_json::from_str(text).ok()
        };
        Ok(OneOrMany(one, std::marker::PhantomData))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Generation<'a> {
    message: Option<Wrapped<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Wrapped<'a> {
    #[serde(alias = "data")]
    kwargs: Option<Message<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Message<'a> {
    usage_metadata: Option<&'a RawValue>,
    response_metadata: Option<ResponseMetadata<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ResponseMetadata<'a> {
    #[serde(deserialize_with = "loose")]
    id: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "loose")]
    model_name: Option<Cow<'a, str>>,
    token_usage: Option<&'a RawValue>,
}

/// A member of another type than text is no reason to give up on its neighbours.
fn loose<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Loose<'a> {
        #[serde(borrow)]
        Text(Cow<'a, str>),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Loose::deserialize(value)? {
        Loose::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    })
}

/// Offers what the answer of a model, as JSON text, knows of its call.
pub(super) fn read_answer(draft: &mut Draft<'_>, key: &'static str, text: &str) {
    if !text.starts_with('{') || text.len() > SEARCHED_BYTES_MAX {
        return;
    }
    let wants_id = draft.wants(Text::ResponseId, field::CONTENT);
    let wants_model = draft.wants(Text::Model, field::CONTENT);
    let wants_usage = !draft.has_counts() || wants_details(draft, text);
    if !(wants_id || wants_model || wants_usage) {
        return;
    }
    let Ok(answer) = serde_json::from_str::<Answer<'_>>(text) else { return };
    let is_langchain = answer.generations.is_some();
    let generation = answer.generations.into_iter().flatten().flatten().next();
    let message = answer.kwargs.or_else(|| generation?.message?.kwargs).unwrap_or_default();
    let metadata = answer.response_metadata.or(message.response_metadata).unwrap_or_default();
    let reply = answer.replies.and_then(|replies| replies.0).and_then(|reply| reply.meta);
    let meta = reply.or_else(|| answer.meta?.0).unwrap_or_default();
    if let Some(reason) = meta.finish_reason {
        draft.offer_text(Text::FinishReason, field::CONTENT, key, reason.into_owned().into());
    }

    // The id of a LangChain result is its own; the provider's stands in the metadata.
    let own_id = answer.id.or(answer.response_id).filter(|_| !is_langchain);
    if let Some(id) = metadata.id.or(own_id) {
        draft.offer_text(Text::ResponseId, field::CONTENT, key, id.into_owned().into());
    }
    if let Some(model) = answer.model.or(answer.model_version).or(metadata.model_name).or(meta.model) {
        draft.offer_text(Text::Model, field::CONTENT, key, model.into_owned().into());
    }
    if wants_usage {
        let reports = [
            answer.usage,
            answer.usage_metadata,
            message.usage_metadata,
            metadata.token_usage,
            answer.llm_output.and_then(|output| output.token_usage),
            meta.usage,
            meta.tokens,
            meta.billed_units,
        ];
        let mut reports = reports.into_iter().flatten().filter_map(|raw| serde_json::from_str(raw.get()).ok());
        if let Some(report) = reports.find(Value::is_object) {
            read_usage(draft, field::CONTENT, key, &report);
        }
    }
}

/// Flat keys often leave out what the provider told of the cache and of reasoning.
fn wants_details(draft: &Draft<'_>, text: &str) -> bool {
    (draft.count(Count::CacheRead).is_none() && text.contains("cache"))
        || (draft.count(Count::Reasoning).is_none() && text.contains("reasoning_tokens"))
}

/// Offers what a provider reported, in its own words, beside counts that an instrumentation made of it. Where the cache
/// stands beside the input, the report knows better what the whole input was.
pub(super) fn read_usage_report(draft: &mut Draft<'_>, key: &'static str, report: &Value) {
    let number = |names: &[&str]| names.iter().find_map(|name| report.get(name)?.as_i64()).filter(|n| *n >= 0);
    let read = number(&["cache_read_input_tokens", "cacheReadInputTokens"]);
    let write = number(&["cache_creation_input_tokens", "cacheWriteInputTokens"]);
    let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
    if cached > 0
        && let Some(input) = number(&["input_tokens", "inputTokens"])
    {
        draft.offer_count(Count::Input, field::CORRECTED, key, input.saturating_add(cached));
    }
    for (count, n) in reported(report).filter(|(count, _)| cached == 0 || *count != Count::Total) {
        draft.offer_count(count, field::CONTENT, key, n);
    }
}

/// Their presence says that the input leaves out what came from the cache or went into it.
pub(super) const CACHE_BESIDE_INPUT: [&str; 3] =
    ["cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens"];

/// Names in a provider's report, with a slash before those of an inner object.
const REPORTED: [(Count, &[&str]); 6] = [
    (Count::Input, &["prompt_tokens", "input_tokens", "promptTokenCount", "prompt_token_count", "inputTokens"]),
    (
        Count::Output,
        &["completion_tokens", "output_tokens", "candidatesTokenCount", "candidates_token_count", "outputTokens"],
    ),
    (Count::Total, &["total_tokens", "totalTokenCount", "total_token_count", "totalTokens"]),
    (
        Count::CacheRead,
        &[
            "prompt_tokens_details/cached_tokens",
            "input_tokens_details/cached_tokens",
            "input_token_details/cache_read",
            "cache_read_input_tokens",
            "cached_input_tokens",
            "prompt_cached_tokens",
            "cachedContentTokens",
            "cachedContentTokenCount",
            "cached_content_token_count",
            "cacheReadInputTokens",
            "cached_prompt_tokens",
        ],
    ),
    (
        Count::CacheWrite,
        &[
            "cache_creation_input_tokens",
            "input_token_details/cache_creation",
            "cacheWriteInputTokens",
            "cache_creation_tokens",
            "input_tokens_details/cache_write_tokens",
            "cache_write_input_tokens",
        ],
    ),
    (
        Count::Reasoning,
        &[
            "completion_tokens_details/reasoning_tokens",
            "output_tokens_details/reasoning_tokens",
            "output_token_details/reasoning",
            "thoughtsTokenCount",
            "thoughts_token_count",
            "thoughtsTokens",
            "reasoning_tokens",
        ],
    ),
];

/// Offers the usage that a framework put at the end of an output, as the sum of all calls: the last `token_usage`.
pub(super) fn read_total_usage(draft: &mut Draft<'_>, key: &'static str, text: &str) {
    const MEMBER: &str = "\"token_usage\"";
    if text.len() > SEARCHED_BYTES_MAX {
        return;
    }
    let Some(at) = text.rfind(MEMBER) else { return };
    let Some(value) = text[at + MEMBER.len()..].trim_start().strip_prefix(':') else { return };
    if let Some(Ok(report @ Value::Object(_))) = serde_json::Deserializer::from_str(value).into_iter().next() {
        read_usage(draft, field::CONTENT, key, &report);
    }
}

/// Usage in a provider's own words. Anthropic and Bedrock count the cache beside the input; where a flat key already
/// told another input, it is that key's matter.
pub(super) fn read_usage(draft: &mut Draft<'_>, rank: u8, key: &'static str, report: &Value) {
    for (count, n) in reported(report) {
        draft.offer_count(count, rank, key, n);
        if count == Count::Input && draft.count(Count::Input) == Some(n) {
            draft.cache_is_outside |= CACHE_BESIDE_INPUT.iter().any(|name| report.get(name).is_some());
        }
    }
}

/// The counts of a provider's report.
pub(super) fn reported(report: &Value) -> impl Iterator<Item = (Count, i64)> {
    let at = move |path: &str| path.split('/').try_fold(report, |value, name| value.get(name))?.as_i64();
    REPORTED.into_iter().filter_map(move |(count, paths)| {
        let n = paths.iter().find_map(|path| at(path)).filter(|n| *n >= 0)?;
        Some((count, n))
    })
}

/// The call that a serialised tool message answers.
pub(super) fn tool_call_id(text: &str) -> Option<String> {
    if !text.starts_with('{') || text.len() > SEARCHED_BYTES_MAX || !text.contains("\"tool_call_id\"") {
        return None;
    }
    let message: Value = serde_json::from_str(text).ok()?;
    let places = ["/tool_call_id", "/data/tool_call_id", "/kwargs/tool_call_id", "/update/messages/0/tool_call_id"];
    let found = |message: &Value| {
        let id = places.iter().find_map(|place| message.pointer(place)?.as_str());
        id.filter(|id| !id.is_empty()).map(str::to_owned)
    };
    found(&message).or_else(|| found(message.get("output")?))
}

/// The tool whose result this is: a serialised tool message, or an object that says `tool_name`.
pub(super) fn tool_name(text: &str) -> Option<String> {
    if !text.starts_with('{') || text.len() > SEARCHED_BYTES_MAX || !text.contains("name\"") {
        return None;
    }
    let message: Value = serde_json::from_str(text).ok()?;
    let places = [
        "/tool_name",
        "/name",
        "/data/name",
        "/kwargs/name",
        "/update/messages/0/name",
        "/update/messages/0/data/name",
    ];
    places.iter().find_map(|place| message.pointer(place)?.as_str()).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Why the last message of a list of messages ended.
pub(super) fn finish_reason(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow, default, deserialize_with = "loose")]
        finish_reason: Option<Cow<'a, str>>,
    }
    if !text.starts_with('[') || text.len() > SEARCHED_BYTES_MAX || !text.contains("\"finish_reason\"") {
        return None;
    }
    let messages: Vec<Message<'_>> = serde_json::from_str(text).ok()?;
    messages.into_iter().rev().find_map(|message| message.finish_reason).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::tokens;
    use crate::model::step::StepType;

    fn read(text: &str) -> Draft<'static> {
        let mut draft = Draft::new(&StepType::ModelCall);
        read_answer(&mut draft, "output.value", text);
        draft
    }

    #[test]
    fn openai_answers_tell_id_model_and_usage() {
        let draft = read(
            r#"{"id":"chatcmpl-1","model":"gpt-5","choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":1024},"completion_tokens_details":{"reasoning_tokens":256}}}"#,
        );
        assert_eq!(draft.text(Text::ResponseId), Some("chatcmpl-1"));
        assert_eq!(draft.text(Text::Model), Some("gpt-5"));
        let usage = tokens::usage(&draft);
        assert_eq!(
            (usage.input, usage.cache_read, usage.reasoning, usage.total),
            (Some(1200), Some(1024), Some(256), Some(1500))
        );
    }

    #[test]
    fn anthropic_answers_count_the_cache_beside_the_input() {
        let draft = read(
            r#"{"id":"msg_1","usage":{"input_tokens":176,"cache_read_input_tokens":100,"cache_creation_input_tokens":0,"output_tokens":300}}"#,
        );
        assert_eq!(tokens::usage(&draft).input, Some(276));
    }

    #[test]
    fn langchain_generations_tell_the_id_of_the_provider() {
        let draft = read(
            r#"{"generations":[[{"message":{"lc":1,"kwargs":{"id":"run-1","response_metadata":{"id":"chatcmpl-2","model_name":"gpt-4o"},"usage_metadata":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}}}]]}"#,
        );
        assert_eq!(draft.text(Text::ResponseId), Some("chatcmpl-2"));
        assert_eq!(draft.text(Text::Model), Some("gpt-4o"));
        assert_eq!(tokens::usage(&draft).total, Some(7));
    }

    #[test]
    fn oddly_typed_members_do_not_hide_their_neighbours() {
        let draft = read(r#"{"id":7,"model":["x"],"responseId":"r1","usage":null}"#);
        assert_eq!(draft.text(Text::ResponseId), Some("r1"));
        assert_eq!(draft.text(Text::Model), None);
        for text in [
            "",
            "{",
            "[]",
            "{\"id\":",
            "null",
            "{\"generations\":[]}",
            "{\"generations\":{\"0\":1}}",
            "{\"generations\":[[{}]]}",
        ] {
            read(text);
        }
    }

    #[test]
    fn haystack_keeps_usage_beside_its_replies() {
        let embedder = read(
            r#"{"embedding":[0.1],"meta":{"model":"text-embedding-3-small","usage":{"prompt_tokens":6,"total_tokens":6}}}"#,
        );
        assert_eq!(
            (embedder.text(Text::Model), embedder.count(Count::Input)),
            (Some("text-embedding-3-small"), Some(6))
        );
        let meta = r#"{"model":"gpt-4o","finish_reason":"stop","usage":{"prompt_tokens":85,"completion_tokens":11}}"#;
        let answers = [
            format!(r#"{{"replies":[{{"role":"assistant","meta":{meta}}}]}}"#),
            format!(r#"{{"replies":["Hi"],"meta":[{meta}]}}"#),
        ];
        for answer in answers {
            let draft = read(&answer);
            assert_eq!((draft.count(Count::Input), draft.count(Count::Output)), (Some(85), Some(11)), "{answer}");
            assert_eq!((draft.text(Text::Model), draft.text(Text::FinishReason)), (Some("gpt-4o"), Some("stop")));
        }
        for odd in [r#"{"meta":7,"replies":"x"}"#, r#"{"meta":[],"replies":[7]}"#, r#"{"meta":{"usage":3}}"#] {
            assert!(!read(odd).has_counts());
        }
    }

    #[test]
    fn the_last_sum_of_all_calls_is_read() {
        let mut draft = Draft::new(&StepType::Workflow);
        read_total_usage(
            &mut draft,
            "output.value",
            r#"{"raw":"\"token_usage\": 1","token_usage": {"prompt_tokens":460,"completion_tokens":62}}"#,
        );
        assert_eq!(tokens::usage(&draft).total, Some(522));
        for text in ["", "\"token_usage\"", "{\"token_usage\": [1]}", "{\"token_usage\": {"] {
            let mut draft = Draft::new(&StepType::Workflow);
            read_total_usage(&mut draft, "output.value", text);
            assert!(!draft.has_counts());
        }
    }

    #[test]
    fn tool_messages_and_finish_reasons_are_found() {
        assert_eq!(tool_call_id(r#"{"type":"tool","data":{"tool_call_id":"call_1"}}"#).as_deref(), Some("call_1"));
        assert_eq!(tool_call_id(r#"{"tool_call_id":""}"#), None);
        let messages = r#"[{"finish_reason":"tool_calls"},{"finish_reason":""},{"role":"assistant"}]"#;
        assert_eq!(finish_reason(messages).as_deref(), Some("tool_calls"));
    }
}
