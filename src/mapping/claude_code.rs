//! Claude Code and the Claude Agent SDK with their own telemetry: spans `claude_code.*` (scope
//! `com.anthropic.claude_code.tracing`), and log records `claude_code.*` that carry what the spans leave out: the cost of
//! a request, the input of a tool, the answer to the user.
//!
//! Records of a prompt carry the ids of the interaction; [`targets`] finds the request or tool that each is about.

use std::collections::HashSet;

use crate::mapping::detail::read;
use crate::mapping::draft::{Content, Count, Draft, KindChoice, Side, Text};
use crate::mapping::log_events;
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::log::SpanLog;
use crate::model::span::{self, Attributes, Event, Span};
use crate::model::step::{Step, StepType};
use crate::model::value::AnyValue;

const PREFIX: &str = "claude_code.";
const API_REQUEST: &str = "claude_code.api_request";
const TOOL_RESULT: &str = "claude_code.tool_result";

const TEXTS: [(Text, u8, &str); 12] = [
    (Text::Model, field::GEN_AI, "gen_ai.response.model"),
    (Text::Model, field::GEN_AI_REQUEST, "model"),
    (Text::ResponseId, field::GEN_AI, "gen_ai.response.id"),
    (Text::ToolCallId, field::GEN_AI, "gen_ai.tool.call.id"),
    (Text::ToolCallId, field::SECONDARY, "tool_use_id"),
    (Text::SessionId, identity::PLAIN, "session.id"),
    (Text::UserId, identity::PLAIN, "user.id"),
    (Text::UserId, identity::METADATA, "user.account_uuid"),
    (Text::FinishReason, field::GEN_AI, "stop_reason"),
    (Text::RunName, field::METADATA, "workflow.name"),
    (Text::Failure, 30, "error"),
    (Text::Failure, 70, "error_class"),
];

/// The input leaves the cache out. These come before the conventions' own keys, which repeat them.
const COUNTS: [(Count, u8, &str); 4] = [
    (Count::Input, field::GEN_AI_RESPONSE, "input_tokens"),
    (Count::Output, field::GEN_AI_RESPONSE, "output_tokens"),
    (Count::CacheRead, field::GEN_AI_RESPONSE, "cache_read_tokens"),
    (Count::CacheWrite, field::GEN_AI_RESPONSE, "cache_creation_tokens"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.span.name.starts_with(PREFIX) || sent.origin.scope_name.starts_with("com.anthropic.claude_code")
}

/// What the span is, as `span.type` or its name says it. Only the tool itself is a tool call: waiting for the user and
/// the execution are parts of it.
pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let (word, key) = match sent.text("span.type") {
        Some(word) => (word, "span.type"),
        None => (sent.span.name.as_str(), "name"),
    };
    let typed = match word.strip_prefix(PREFIX).unwrap_or(word) {
        "interaction" => StepType::Agent,
        "llm_request" => StepType::ModelCall,
        "tool" => StepType::ToolCall,
        "tool.blocked_on_user" | "tool.execution" | "hook" => StepType::Workflow,
        _ => return,
    };
    choice.offer(kind::VENDOR_KIND, typed, key);
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    draft.offer_texts(sent, &TEXTS);
    if sent.boolean("success") == Some(false) {
        draft.failed = Some("success");
    }
    match kind {
        StepType::Agent => {
            draft.offer_attribute(Input, Family::PlainPrompt, sent, "user_prompt");
            offer_last(draft, Input, sent, "claude_code.user_prompt", ["prompt", "prompt_text"]);
            offer_last(draft, Output, sent, "claude_code.assistant_response", ["response", "response_text"]);
        }
        StepType::ModelCall => model_call(sent, draft),
        StepType::ToolCall => tool(sent, draft),
        StepType::Workflow if word(sent.span) == Some("tool.execution") => {
            draft.more.insert("execution_of_parent".to_owned(), true.into());
        }
        _ => {}
    }
}

fn word(span: &Span) -> Option<&str> {
    let typed = span::get(&span.attributes, "span.type").and_then(AnyValue::as_str);
    typed.or_else(|| span.name.strip_prefix(PREFIX))
}

fn model_call<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    draft.offer_counts(sent, &COUNTS);
    draft.offer_time_to_first_token_ms("ttft_ms", sent.number("ttft_ms"));
    draft.offer_attribute(Side::Input, Family::PlainPrompt, sent, "new_context");
    draft.offer_attribute(Side::Output, Family::PlainPrompt, sent, "response.model_output");
    for event in named(sent, API_REQUEST) {
        for (count, rank, key) in COUNTS {
            if let Some(Ok(Some(n))) = span::get(&event.attributes, key).map(usable::count) {
                draft.offer_count(count, rank + 1, key, n);
            }
        }
        draft.offer_cost("cost_usd", span::get(&event.attributes, "cost_usd"));
    }
    draft.cache_is_outside = true;
}

fn tool<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    use Side::{Input, Output};
    if let Some(name) = sent.text("gen_ai.tool.name").or_else(|| sent.text("tool_name")) {
        // `mcp__<server>__<tool>`
        let bare = name.strip_prefix("mcp__").and_then(|rest| rest.split_once("__")).map_or(name, |(_, tool)| tool);
        draft.offer_text(Text::Name, field::GEN_AI_RESPONSE, "tool_name", bare.into());
    }
    draft.offer_attribute(Input, Family::ClaudeTool, sent, "tool_input");
    for event in named(sent, TOOL_RESULT) {
        for key in ["tool_input", "tool_parameters"] {
            offer_value(draft, Input, Family::ClaudeTool, event, key);
        }
        if span::get(&event.attributes, "success").and_then(usable::boolean) == Some(false) {
            draft.failed = Some("claude_code.tool_result");
            if let Some(text) = span::get(&event.attributes, "error").and_then(usable::scalar_text) {
                draft.offer_text(Text::Failure, 50, "claude_code.tool_result", text);
            }
        }
    }
    for key in ["full_command", "file_path", "skill_name"] {
        draft.offer_attribute(Input, Family::ClaudeTool, sent, key);
    }
    for event in named(sent, "tool.output") {
        for key in ["output", "content", "diff"] {
            offer_value(draft, Output, Family::ClaudeTool, event, key);
        }
    }
}

fn named<'a>(sent: &Sent<'a>, name: &'static str) -> impl Iterator<Item = &'a Event> {
    sent.events().iter().filter(move |event| event.name == name)
}

/// Offers the value of the last event of this name that has one.
fn offer_last<'a>(draft: &mut Draft<'a>, side: Side, sent: &Sent<'a>, name: &'static str, keys: [&'static str; 2]) {
    draft.offer_content(side, Family::PlainPrompt, || {
        let of_event = |event: &'a Event| keys.iter().find_map(|key| span::get(&event.attributes, key));
        let text = named(sent, name).filter_map(of_event).filter_map(usable::content_text).last()?;
        Some(Content { source: name, text })
    });
}

fn offer_value<'a>(draft: &mut Draft<'a>, side: Side, family: Family, event: &'a Event, key: &'static str) {
    draft.offer_content(side, family, || {
        let text = usable::content_text(span::get(&event.attributes, key)?)?;
        Some(Content { source: key, text })
    });
}

/// Whether [`targets`] may find another span for a record than the one it names, as its stored body tells.
pub(super) fn is_about_others(body: &str) -> bool {
    // The prefix may be left to the scope.
    ["api_request", "tool_result", "tool_decision"].iter().any(|word| body.contains(word))
}

/// For each record the step that it is about, where that is another than the one whose ids it carries. A request is
/// found by its id, else by model, tokens and time to the first token, else by order; a tool by the id of its use.
/// Records and steps stand in the order of their times.
pub(super) fn targets<'a>(
    steps: &[Step],
    records: impl Iterator<Item = (&'a str, &'a SpanLog)>,
) -> Vec<Option<String>> {
    let named: Vec<_> =
        records.map(|(span_id, log)| (span_id, log_events::name(log), &log.record.attributes)).collect();
    let is_about_others =
        |name: &str| name == API_REQUEST || name == TOOL_RESULT || name == "claude_code.tool_decision";
    let mut targets = vec![None; named.len()];
    if !named.iter().any(|(_, name, _)| name.as_deref().is_some_and(is_about_others)) {
        return targets;
    }
    let seats = Seats::of(steps);
    let mut taken: HashSet<&str> = HashSet::new();
    for way in [Seats::by_request_id, Seats::by_numbers, Seats::by_order] {
        for (target, (span_id, name, attributes)) in targets.iter_mut().zip(&named) {
            if target.is_none() && name.as_deref() == Some(API_REQUEST) {
                let seat = way(&seats, span_id, attributes).into_iter().find(|seat| !taken.contains(seat.id.as_str()));
                if let Some(seat) = seat {
                    taken.insert(&seat.id);
                    *target = Some(seat.id.clone());
                }
            }
        }
    }
    for (target, (_, name, attributes)) in targets.iter_mut().zip(&named) {
        if name.as_deref().is_some_and(|name| name != API_REQUEST && is_about_others(name)) {
            *target = seats.of_tool(attributes).map(|seat| seat.id.clone());
        }
    }
    targets
}

/// A request or a tool that a record may be about.
struct Seat {
    id: String,
    parent: Option<String>,
    is_request: bool,
    attributes: Attributes,
}

struct Seats(Vec<Seat>);

impl Seats {
    fn of(steps: &[Step]) -> Seats {
        let may_be = |step: &&Step| matches!(step.kind, StepType::ModelCall | StepType::ToolCall);
        let mut found: Vec<(Option<u64>, Seat)> = (steps.iter().filter(may_be))
            .filter_map(|step| Some((step, read::stored(step)?.span)))
            .filter(|(_, span)| span.name.starts_with(PREFIX))
            .map(|(step, span)| {
                let is_request = step.kind == StepType::ModelCall;
                let (id, parent) = (step.id.clone(), step.parent_id.clone());
                (step.start_ns, Seat { id, parent, is_request, attributes: span.attributes })
            })
            .collect();
        found.sort_by(|(a_start, a), (b_start, b)| (a_start, &a.id).cmp(&(b_start, &b.id)));
        Seats(found.into_iter().map(|(_, seat)| seat).collect())
    }

    fn requests(&self) -> impl Iterator<Item = &Seat> {
        self.0.iter().filter(|seat| seat.is_request)
    }

    fn by_request_id(&self, _span_id: &str, record: &Attributes) -> Vec<&Seat> {
        let Some(id) = text(record, "request_id") else { return Vec::new() };
        self.requests().filter(|seat| text(&seat.attributes, "request_id") == Some(id)).collect()
    }

    /// Below the span of the record, with every number that both tell the same.
    fn by_numbers(&self, span_id: &str, record: &Attributes) -> Vec<&Seat> {
        const NUMBERS: [&str; 5] =
            ["input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "ttft_ms"];
        let number = |attributes: &Attributes, key: &str| span::get(attributes, key).and_then(usable::number);
        let fits = |seat: &&Seat| {
            let mut known = 0;
            let agrees = NUMBERS.iter().all(|key| match (number(&seat.attributes, key), number(record, key)) {
                (Some(one), Some(other)) => {
                    known += 1;
                    one == other
                }
                _ => true,
            });
            agrees && known >= 2
        };
        self.of_model(span_id, record).filter(fits).collect()
    }

    fn by_order(&self, span_id: &str, record: &Attributes) -> Vec<&Seat> {
        let says_otherwise = |seat: &&Seat| {
            let id = |attributes| text(attributes, "request_id");
            id(&seat.attributes).zip(id(record)).is_some_and(|(one, other)| one != other)
        };
        self.of_model(span_id, record).filter(|seat| !says_otherwise(seat)).collect()
    }

    fn of_model(&self, span_id: &str, record: &Attributes) -> impl Iterator<Item = &Seat> {
        self.requests().filter(move |seat| {
            let models = text(&seat.attributes, "model").zip(text(record, "model"));
            (seat.id == span_id || seat.parent.as_deref() == Some(span_id))
                && models.is_none_or(|(one, other)| one == other)
        })
    }

    fn of_tool(&self, record: &Attributes) -> Option<&Seat> {
        let id = text(record, "tool_use_id")?;
        let has_id = |seat: &&Seat| {
            !seat.is_request
                && ["tool_use_id", "gen_ai.tool.call.id"].iter().any(|key| text(&seat.attributes, key) == Some(id))
        };
        self.0.iter().find(has_id)
    }
}

fn text<'a>(attributes: &'a Attributes, key: &str) -> Option<&'a str> {
    span::get(attributes, key).and_then(AnyValue::as_str).filter(|text| usable::is_usable_text(text))
}
