//! Pydantic AI (scope `pydantic-ai`), formats 1 to 6: the GenAI conventions with a conversation on the agent's span
//! (`pydantic_ai.all_messages`, `all_messages_events`), a final result, and usage added up.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::event_list;
use crate::mapping::precedence::{Family, error_text, field, kind};
use crate::mapping::sent::Sent;
use crate::mapping::status::is_deferral;
use crate::mapping::usable;
use crate::model::step::StepType;

const SCOPE: &str = "pydantic-ai";
const CONVERSATION: &str = "pydantic_ai.all_messages";
const EVENTS_OF_CONVERSATION: &str = "all_messages_events";
const EVENTS: &str = "events";
/// Where the messages of this run begin; those before are history.
const FIRST_NEW: &str = "pydantic_ai.new_message_index";
const RESULT: &str = "final_result";
/// A tool that the model has to call again, and one whose arguments were wrong.
const RETRY: &str = "pydantic_ai.tool.retry.cause";
const FAILURE_STAGE: &str = "pydantic_ai.tool.failure_stage";
const DEFERRAL: &str = "pydantic_ai.tool.deferral.name";
/// `Status.code` of OTLP.
const ERROR: i32 = 2;

const TEXTS: [(Text, u8, &str); 3] = [
    (Text::Agent, field::SECONDARY, "agent_name"),
    (Text::Model, field::SECONDARY, "model_name"),
    (Text::RequestModel, field::SECONDARY, "model_name"),
];

const COUNTS: [(Count, u8, &str); 7] = [
    (Count::CacheRead, field::GEN_AI + 2, "gen_ai.usage.details.cache_read_tokens"),
    (Count::CacheRead, field::GEN_AI + 3, "gen_ai.usage.details.cached_tokens"),
    (Count::CacheRead, field::GEN_AI + 4, "gen_ai.usage.details.cache_read_input_tokens"),
    (Count::CacheWrite, field::GEN_AI + 2, "gen_ai.usage.details.cache_write_tokens"),
    (Count::CacheWrite, field::GEN_AI + 4, "gen_ai.usage.details.cache_creation_input_tokens"),
    (Count::Reasoning, field::GEN_AI + 2, "gen_ai.usage.details.reasoning_tokens"),
    (Count::Reasoning, field::GEN_AI + 3, "gen_ai.usage.details.thoughts_tokens"),
];

/// What the calls of an agent spent together: a claim of the agent, never the usage of a call.
const CLAIMED: [(Count, u8, &str); 7] = [
    (Count::Input, field::GEN_AI - 1, "gen_ai.aggregated_usage.input_tokens"),
    (Count::Output, field::GEN_AI - 1, "gen_ai.aggregated_usage.output_tokens"),
    (Count::CacheRead, field::GEN_AI - 1, "gen_ai.aggregated_usage.cache_read.input_tokens"),
    (Count::CacheWrite, field::GEN_AI - 1, "gen_ai.aggregated_usage.cache_creation.input_tokens"),
    (Count::CacheRead, field::GEN_AI + 1, "gen_ai.aggregated_usage.details.cache_read_tokens"),
    (Count::CacheWrite, field::GEN_AI + 1, "gen_ai.aggregated_usage.details.cache_write_tokens"),
    (Count::Reasoning, field::GEN_AI + 1, "gen_ai.aggregated_usage.details.reasoning_tokens"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name == SCOPE
        || [EVENTS_OF_CONVERSATION, RESULT, "model_request_parameters", "tool_arguments"]
            .iter()
            .any(|key| sent.has(key))
        || sent.has_under("pydantic_ai.")
        || (sent.has("agent_name") && sent.has("model_name"))
}

/// Names of the formats before the GenAI conventions had operations for agents and tools.
pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let name = sent.span.name.as_str();
    let is_conversation = sent.has(CONVERSATION) || sent.has(EVENTS_OF_CONVERSATION);
    if name == "agent run" || (sent.has("agent_name") && (is_conversation || sent.has(RESULT))) {
        choice.offer(kind::METHOD, StepType::Agent, "agent_name");
    } else if is_several_tools(name) && sent.origin.scope_name == SCOPE {
        choice.offer(kind::METHOD, StepType::Workflow, "name");
    } else if name == "running tool" || name == "running output function" {
        choice.offer(kind::METHOD, StepType::ToolCall, "name");
    }
}

/// `running 3 tools`, and the template of it.
fn is_several_tools(name: &str) -> bool {
    name.strip_prefix("running ").is_some_and(|rest| rest.ends_with("tools"))
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    draft.offer_texts(sent, &TEXTS);
    draft.offer_counts(sent, &COUNTS);
    if !kind.is_call() {
        draft.offer_counts(sent, &CLAIMED);
    }
    if *kind == StepType::Agent {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "agent_name")]);
    }
    draft.offer_attribute(Input, Family::ToolCall, sent, "tool_arguments");
    draft.offer_attribute(Output, Family::ToolCall, sent, "tool_response");
    draft.offer_attribute(Output, Family::PydanticAi, sent, RESULT);
    draft.offer_content(Input, Family::PydanticAi, || question(sent));
    draft.offer_content(Output, Family::EventList, || answer(sent));
    for key in [EVENTS_OF_CONVERSATION, EVENTS] {
        events(sent, key, draft);
    }
    draft.offer_attribute(Input, Family::PlainPrompt, sent, "prompt");
    outcome(sent, draft);
}

/// What this run was asked: the messages from the first new one to the first answer.
fn question<'a>(sent: &Sent<'a>) -> Option<Content<'a>> {
    let text = sent.text(CONVERSATION)?;
    let Ok(messages) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        return Some(Content { source: CONVERSATION, text: text.into() });
    };
    let first = match sent.get(FIRST_NEW).map(usable::count) {
        Some(Ok(Some(n))) => usize::try_from(n).unwrap_or(0),
        _ => 0,
    };
    let new = messages.get(first..).filter(|new| !new.is_empty()).unwrap_or(&messages);
    let asked: Vec<&RawValue> = new.iter().copied().take_while(|message| role(message) != Some("assistant")).collect();
    let asked = if asked.is_empty() { new } else { &asked };
    if asked.len() == messages.len() {
        return Some(Content { source: CONVERSATION, text: text.into() });
    }
    Some(Content { source: "pydantic_ai.all_messages*", text: serde_json::to_string(asked).ok()?.into() })
}

/// The last message, where the agent had no result: it went on talking to somebody.
fn answer<'a>(sent: &Sent<'a>) -> Option<Content<'a>> {
    if sent.span.status.code == ERROR || sent.has(RESULT) {
        return None;
    }
    let messages: Vec<&RawValue> = serde_json::from_str(sent.text(CONVERSATION)?).ok()?;
    let last = messages.last().filter(|message| role(message) == Some("assistant"))?;
    Some(Content { source: "pydantic_ai.all_messages*", text: format!("[{last}]").into() })
}

fn role(message: &RawValue) -> Option<&str> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        role: &'a str,
    }
    serde_json::from_str::<Message<'_>>(message.get()).ok().map(|message| message.role)
}

fn events<'a>(sent: &Sent<'a>, key: &'static str, draft: &mut Draft<'a>) {
    if !sent.has(key) {
        return;
    }
    let event_list::Sides { input, output } = sent.json(key).map(event_list::sides).unwrap_or_default();
    for (side, text) in [(Side::Input, input), (Side::Output, output)] {
        draft.offer_content(side, Family::EventList, || Some(Content { source: key, text: text?.into() }));
    }
}

/// A tool that was asked again has failed although it answered; one that was put off has not.
fn outcome<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    if let Some(key) = [RETRY, FAILURE_STAGE].into_iter().find(|key| sent.has(key)) {
        draft.failed = draft.failed.or(Some(key));
        for result in ["gen_ai.tool.call.result", "tool_response"] {
            draft.offer_texts(sent, &[(Text::Failure, error_text::MESSAGE + 10, result)]);
        }
    }
    draft.deferred |= sent.text(DEFERRAL).is_some_and(is_deferral);
}
