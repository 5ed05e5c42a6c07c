//! LiveKit Agents (scope `livekit-agents`): a voice session with the turns of user and agent in it. Content stands
//! under `lk.pii.*`, before that under `lk.*`.

use serde_json::Value;

use crate::mapping::canonical::{self, Json, Message, Part};
use crate::mapping::content_json;
use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const SCOPE: &str = "livekit-agents";

const TEXTS: [(Text, u8, &str); 9] = [
    (Text::Agent, field::SECONDARY, "lk.agent_name"),
    (Text::ToolCallId, field::SECONDARY, "lk.function_tool.id"),
    (Text::SessionId, identity::METADATA, "lk.pii.room_name"),
    (Text::SessionId, identity::METADATA + 1, "lk.room_name"),
    (Text::SessionId, identity::METADATA + 2, "lk.job_id"),
    (Text::UserId, identity::METADATA, "lk.pii.participant_identity"),
    (Text::UserId, identity::METADATA + 1, "lk.participant_identity"),
    (Text::UserId, identity::METADATA + 2, "lk.participant_id"),
    (Text::RunName, field::METADATA, "lk.agent_name"),
];

const COUNTS: [(Count, u8, &str); 2] = [
    (Count::CacheRead, field::SECONDARY, "gen_ai.usage.input_cached_tokens"),
    (Count::Reasoning, field::SECONDARY + 1, "gen_ai.usage.reasoning_tokens"),
];

const USER_INPUT: [&str; 2] = ["lk.pii.user_input", "lk.user_input"];
const CONVERSATION: [&str; 2] = ["lk.pii.chat_ctx", "lk.chat_ctx"];
const SPOKEN: [&str; 2] = ["lk.pii.input_text", "lk.input_text"];
const TRANSCRIPT: [&str; 2] = ["lk.pii.user_transcript", "lk.user_transcript"];
const RESPONSE: [&str; 2] = ["lk.pii.response.text", "lk.response.text"];
const CALLS: [&str; 2] = ["lk.pii.response.function_calls", "lk.response.function_calls"];
const ARGUMENTS: [&str; 2] = ["lk.pii.function_tool.arguments", "lk.function_tool.arguments"];
const RESULT: [&str; 2] = ["lk.pii.function_tool.output", "lk.function_tool.output"];
const METRICS: [&str; 2] = ["lk.llm_metrics", "lk.realtime_model_metrics"];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name == SCOPE || sent.has_under("lk.")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let typed = match sent.span.name.as_str() {
        "agent_turn" => StepType::Agent,
        "job_entrypoint" | "agent_session" | "user_turn" | "start_agent_activity" | "drain_agent_activity" => {
            StepType::Workflow
        }
        "llm_node" | "llm_request" | "llm_request_run" | "realtime_inference" => StepType::ModelCall,
        "function_tool" => StepType::ToolCall,
        "judge_evaluation" => StepType::Evaluator,
        _ => return,
    };
    choice.offer(kind::METHOD, typed, "name");
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    match kind {
        StepType::Agent => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "lk.agent_name")]),
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "lk.function_tool.name")]),
        _ => {}
    }
    for keys in [CONVERSATION, USER_INPUT, SPOKEN, ARGUMENTS] {
        keys.into_iter().for_each(|key| draft.offer_attribute(Input, Family::LiveKit, sent, key));
    }
    draft.offer_content(Output, Family::LiveKit, || response(sent));
    for keys in [RESULT, TRANSCRIPT] {
        keys.into_iter().for_each(|key| draft.offer_attribute(Output, Family::LiveKit, sent, key));
    }
    let seconds = sent.number("lk.response.ttft");
    draft.offer_time_to_first_token_ms("lk.response.ttft", seconds.map(|seconds| seconds * 1000.0));
    if sent.boolean("lk.function_tool.is_error") == Some(true) {
        draft.failed = draft.failed.or(Some("lk.function_tool.is_error"));
        let text = |key| (Text::Failure, error_text::MESSAGE + 10, key);
        draft.offer_texts(sent, &RESULT.map(text));
    }
    if kind.is_call() && !draft.has_counts() {
        for key in METRICS {
            if let Some(metrics) = sent.has(key).then(|| sent.json(key)).flatten() {
                content_json::read_usage_report(draft, key, &metrics);
            }
        }
    }
}

/// The text as it stands; with requests for tools beside it, both as one message.
fn response<'a>(sent: &Sent<'a>) -> Option<Content<'a>> {
    let text = RESPONSE.into_iter().find_map(|key| Some((key, sent.text(key)?)));
    let calls = CALLS.into_iter().find_map(|key| sent.has(key).then(|| sent.json(key)).flatten());
    let calls = match calls {
        Some(Value::Array(calls)) if !calls.is_empty() => calls,
        _ => return text.map(|(key, text)| Content { source: key, text: text.into() }),
    };
    let mut parts: Vec<Part<'a>> = text.map(|(_, text)| Part::Text(text.into())).into_iter().collect();
    parts.extend(calls.iter().map(|call| Part::ToolCall {
        id: canonical::owned(call, "call_id").or_else(|| canonical::owned(call, "id")),
        name: canonical::owned(call, "name").unwrap_or_default(),
        arguments: Json::of(call.get("arguments")),
    }));
    let message = Message { role: "assistant".into(), parts, ..Message::default() };
    Some(Content { source: "lk.response.*", text: canonical::write(&[message])?.into() })
}
