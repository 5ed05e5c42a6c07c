//! Runs that stand in log records alone. Coding agents without tracing (Claude Code, Codex CLI, Gemini CLI) send a record
//! for each prompt, request and tool, of no trace, with the id of a session or of a prompt. Their records make a run of
//! their own: an agent with its calls, each read as the span that it stands for.
//!
//! Names and keys: <https://code.claude.com/docs/en/monitoring-usage>,
//! <https://github.com/openai/codex/blob/main/docs/config.md>,
//! <https://github.com/google-gemini/gemini-cli/blob/main/docs/cli/telemetry.md>.

use serde_json::json;
use uuid::Uuid;

use crate::mapping::log_events;
use crate::mapping::origin;
use crate::mapping::usable;
use crate::model::log::{LogRow, SpanLog};
use crate::model::span::{self, Attributes, Origin, Span, Status};
use crate::model::value::AnyValue;

/// Namespace of the ids of these runs.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c2b64_9d0b_5c53_9c53_6d6f7a1c2e01);

const SESSION: [&str; 4] = ["session.id", "conversation.id", "session_id", "conversation_id"];
const PROMPT: [&str; 2] = ["prompt.id", "prompt_id"];

/// What a record stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Prompt,
    Answer,
    Request,
    Tool,
}

const PARTS: [(&str, Part); 12] = [
    ("claude_code.user_prompt", Part::Prompt),
    ("claude_code.assistant_response", Part::Answer),
    ("claude_code.api_request", Part::Request),
    ("claude_code.api_error", Part::Request),
    ("claude_code.tool_result", Part::Tool),
    ("codex.user_prompt", Part::Prompt),
    ("codex.sse_event", Part::Request),
    ("codex.tool_result", Part::Tool),
    ("gemini_cli.user_prompt", Part::Prompt),
    ("gemini_cli.api_response", Part::Request),
    ("gemini_cli.api_error", Part::Request),
    ("gemini_cli.tool_call", Part::Tool),
];

/// Counts as the agents name them, and the keys that the conventions have for them.
const COUNTS: [(&str, &str); 9] = [
    ("input_tokens", "gen_ai.usage.input_tokens"),
    ("input_token_count", "gen_ai.usage.input_tokens"),
    ("output_tokens", "gen_ai.usage.output_tokens"),
    ("output_token_count", "gen_ai.usage.output_tokens"),
    ("cache_read_tokens", "gen_ai.usage.cache_read.input_tokens"),
    ("cached_token_count", "gen_ai.usage.cache_read.input_tokens"),
    ("cached_content_token_count", "gen_ai.usage.cache_read.input_tokens"),
    ("cache_creation_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    ("reasoning_token_count", "gen_ai.usage.reasoning.output_tokens"),
];

/// Values under one name in every agent, and the keys that the conventions have for them.
const VALUES: [(&[&str], &str); 7] = [
    (&["model"], "gen_ai.request.model"),
    (&["cost_usd"], "operation.cost"),
    (&["tool_name", "function_name"], "gen_ai.tool.name"),
    (&["tool_use_id", "call_id"], "gen_ai.tool.call.id"),
    (&["tool_input", "tool_parameters", "arguments", "function_args"], "gen_ai.tool.call.arguments"),
    (&["output"], "gen_ai.tool.call.result"),
    (&["error", "error_message", "error.message"], "error.message"),
];

/// The run of a record of no trace, if its agent, session and prompt tell one.
pub(super) fn run_id(log: &SpanLog, producer: &Origin) -> Option<Uuid> {
    let name = log_events::name(log)?;
    PARTS.iter().find(|(known, _)| *known == name)?;
    let session = first(&log.record.attributes, &SESSION)?;
    let prompt = first(&log.record.attributes, &PROMPT).unwrap_or_default();
    let instance = origin::resource_text(producer, "service.instance.id").unwrap_or_default();
    let parts = [instance, session, prompt];
    let key: Vec<u8> = parts.iter().flat_map(|part| part.bytes().chain([0])).collect();
    Some(Uuid::new_v5(&NAMESPACE, &key))
}

/// The spans that the records of such a run stand for, each with its record, and the rows that stand for none. Records
/// come in the order of their times.
pub(super) fn spans(records: Vec<(LogRow, SpanLog)>) -> (Vec<(LogRow, Span)>, Vec<LogRow>) {
    let mut agent: Option<(LogRow, Span)> = None;
    let mut calls = Vec::new();
    let mut loose = Vec::new();
    for (row, log) in records {
        let part = log_events::name(&log).and_then(|name| PARTS.iter().find(|(known, _)| *known == name));
        let Some((name, part)) = part.copied().filter(|(name, _)| is_whole(name, &log)) else {
            loose.push(row);
            continue;
        };
        let (_, root) = agent.get_or_insert_with(|| (row.clone(), root(&row, name)));
        root.end_ns = root.end_ns.max(row.time_ns);
        match part {
            Part::Prompt | Part::Answer => speak(root, part, log),
            Part::Request | Part::Tool => {
                let call = call(&row, root, part, name, log);
                root.start_ns = root.start_ns.min(call.start_ns);
                calls.push((row, call));
            }
        }
    }
    (agent.into_iter().chain(calls).collect(), loose)
}

/// Codex tells every event of a stream; only the last holds the usage.
fn is_whole(name: &str, log: &SpanLog) -> bool {
    name != "codex.sse_event" || first(&log.record.attributes, &["event.kind"]) == Some("response.completed")
}

fn root(row: &LogRow, name: &str) -> Span {
    let agent = name.split('.').next().unwrap_or(name).replace('_', "-");
    let mut span = Span {
        trace_id: *row.run.run_id.as_bytes(),
        span_id: id_of(row.run.run_id),
        name: format!("invoke_agent {agent}"),
        start_ns: row.time_ns,
        end_ns: row.time_ns,
        ..Span::default()
    };
    put(&mut span.attributes, "gen_ai.operation.name", "invoke_agent");
    put(&mut span.attributes, "gen_ai.agent.name", &agent);
    span
}

/// The first prompt and the last answer are those of the agent.
fn speak(root: &mut Span, part: Part, log: SpanLog) {
    let (keys, key, role): (&[&str], _, _) = match part {
        Part::Prompt => (&["prompt", "prompt_text"], "gen_ai.input.messages", "user"),
        _ => (&["response", "response_text"], "gen_ai.output.messages", "assistant"),
    };
    for key in SESSION.into_iter().chain(["user.id"]) {
        if let Some(text) = first(&log.record.attributes, &[key]) {
            let target = if key == "user.id" { key } else { "session.id" };
            put(&mut root.attributes, target, text);
        }
    }
    if let Some(text) = first(&log.record.attributes, keys) {
        let messages = json!([{"role": role, "parts": [{"type": "text", "content": text}]}]).to_string();
        if part == Part::Answer {
            root.attributes.retain(|(known, _)| known != key);
        }
        put(&mut root.attributes, key, &messages);
    }
    root.logs.push(log);
}

fn call(row: &LogRow, root: &Span, part: Part, name: &str, log: SpanLog) -> Span {
    let sent = &log.record.attributes;
    let number = |key: &str| span::get(sent, key).and_then(usable::number);
    let duration_ns = (number("duration_ms").unwrap_or(0.0).max(0.0) * 1e6) as u64;
    let operation = if part == Part::Tool { "execute_tool" } else { "chat" };
    let mut attributes = sent.clone();
    put(&mut attributes, "gen_ai.operation.name", operation);
    for (key, target) in COUNTS {
        if let Some(Ok(Some(n))) = span::get(sent, key).map(usable::count) {
            put_value(&mut attributes, target, AnyValue::Int(n));
        }
    }
    for (keys, target) in VALUES {
        if let Some(value) = keys.iter().find_map(|key| span::get(sent, key)).filter(|value| usable::is_usable(value)) {
            put_value(&mut attributes, target, value.clone());
        }
    }
    // Anthropic counts the cache beside the input, Gemini the thoughts beside the output.
    let beside: [(&str, &[&str]); 2] = [
        ("gen_ai.usage.input_tokens", &["cache_read_tokens", "cache_creation_tokens"]),
        ("gen_ai.usage.output_tokens", &["thoughts_token_count"]),
    ];
    for (target, keys) in beside {
        let more: f64 = keys.iter().filter_map(|key| number(key)).sum();
        if let Ok(place) = attributes.binary_search_by(|(known, _)| known.as_str().cmp(target))
            && let AnyValue::Int(n) = &mut attributes[place].1
        {
            *n = n.saturating_add(more.max(0.0) as i64);
        }
    }
    let failed = span::get(sent, "success").and_then(usable::boolean) == Some(false) || name.ends_with("_error");
    let message = first(sent, &["error", "error_message", "error.message"]).unwrap_or_default().to_owned();
    Span {
        trace_id: root.trace_id,
        span_id: id_of(row.id),
        parent_span_id: Some(root.span_id),
        name: format!("{operation} {}", name.rsplit('.').next().unwrap_or(name)),
        start_ns: row.time_ns.saturating_sub(duration_ns),
        end_ns: row.time_ns,
        attributes,
        status: if failed { Status { code: 2, message } } else { Status::default() },
        logs: vec![log],
        ..Span::default()
    }
}

fn id_of(id: Uuid) -> [u8; 8] {
    let bytes = id.as_bytes();
    let mut own = [0; 8];
    own.copy_from_slice(&bytes[..8]);
    own
}

fn first<'a>(attributes: &'a Attributes, keys: &[&str]) -> Option<&'a str> {
    let text = |key: &&str| span::get(attributes, key).and_then(AnyValue::as_str);
    keys.iter().filter_map(text).find(|text| usable::is_usable_text(text))
}

fn put(attributes: &mut Attributes, key: &str, text: &str) {
    put_value(attributes, key, AnyValue::Str(text.to_owned()));
}

/// What is there already stays.
fn put_value(attributes: &mut Attributes, key: &str, value: AnyValue) {
    if let Err(place) = attributes.binary_search_by(|(known, _)| known.as_str().cmp(key)) {
        attributes.insert(place, (key.to_owned(), value));
    }
}
