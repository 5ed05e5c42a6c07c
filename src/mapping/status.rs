//! Whether a span succeeded, failed, timed out or is still running, and in which words.

use serde_json::Value;

use crate::mapping::draft::{Draft, Side, Text};
use crate::mapping::generic;
use crate::mapping::langchain;
use crate::mapping::normal_form;
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::messages;
use crate::model::span::{self, Event};
use crate::model::step::{Status, StepType};
use crate::model::value::AnyValue;

/// Longest error text of a step; the whole stands in the span's status and events.
pub(super) const ERROR_BYTES_MAX: usize = 8 << 10;

/// `Status.code` of OTLP.
const ERROR: i32 = 2;

const TIMEOUT_TYPES: [&str; 13] = [
    "timeout",
    "TimeoutError",
    "ReadTimeout",
    "ConnectTimeout",
    "APITimeoutError",
    "DeadlineExceeded",
    "DEADLINE_EXCEEDED",
    "SocketTimeoutException",
    "TimeoutException",
    "ETIMEDOUT",
    "TaskTimeout",
    "TimeoutExpired",
    "HttpTimeoutException",
];
const TIMEOUT_STARTS: [&str; 3] = ["timed out", "Request timed out", "context deadline exceeded"];
/// Whether an exception of this type puts its step off.
pub(super) fn is_deferral(kind: &str) -> bool {
    DEFERRALS.contains(&last_segment(kind))
}

/// Exceptions by which a tool hands its call to somebody else: a person who approves, a process that answers later.
const DEFERRALS: [&str; 2] = ["CallDeferred", "ApprovalRequired"];
const CANCEL_TYPES: [&str; 5] = ["Cancel", "Abort", "KeyboardInterrupt", "GeneratorExit", "SIGTERM"];

/// What a span's end means.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub status: Status,
    /// Present exactly when the status is error.
    pub error: Option<String>,
    /// Present exactly when the status is timeout.
    pub timeout_reason: Option<String>,
    pub control_flow: Option<&'static str>,
    pub cancelled: bool,
    /// The call was handed to somebody else.
    pub deferred: bool,
    /// The error text is nothing but the type of the error.
    pub error_is_type: bool,
    /// An exception was recorded that is no cancellation and no control flow.
    pub exception: bool,
    /// Status ERROR without any sign that the failure is this span's own.
    pub error_may_be_childs: bool,
}

/// `exception.escaped` is not read: SDKs write false on real failures.
pub(super) fn outcome(sent: &Sent<'_>, kind: &StepType, draft: &Draft<'_>) -> Outcome {
    let signs = Signs::read(sent);
    let calm = if sent.span.end_ns == 0 { Status::Running } else { Status::Success };
    let mut outcome = Outcome { status: calm, ..Outcome::default() };
    let is_error = sent.span.status.code == ERROR;

    if let Some(word) = signs.control_flow()
        && (is_error || signs.exception.is_some())
    {
        outcome.control_flow = Some(word);
        return outcome;
    }
    if draft.deferred || signs.types().any(is_deferral) {
        outcome.deferred = true;
        return outcome;
    }
    let is_cancel = signs.is_cancel();
    outcome.exception = signs.exception.is_some() && !is_cancel;
    if !is_error && is_cancel {
        outcome.cancelled = true;
        return outcome;
    }
    let has_output = draft.content(Side::Output).is_some();
    let failed = is_error
        || signs.error_type.is_some()
        || draft.failed.is_some()
        || says_failure(sent).is_some()
        || (outcome.exception && !has_output && fails_by_exception(kind))
        || (ended_in_error(draft) && !says_something(draft));
    if !failed {
        return outcome;
    }
    let text = signs.text(sent, kind, draft);
    if signs.is_timeout(&text, sent) {
        outcome.status = Status::Timeout;
        outcome.timeout_reason = Some(text);
        return outcome;
    }
    outcome.status = Status::Error;
    outcome.error_may_be_childs = is_error && signs.error_type.is_none() && signs.exception.is_none();
    outcome.error_is_type = signs.types().any(|kind| kind == text);
    outcome.error = Some(if is_cancel { limited(&format!("cancelled: {text}")) } else { text });
    outcome
}

fn ended_in_error(draft: &Draft<'_>) -> bool {
    draft.text(Text::FinishReason).map(normal_form::finish_reason).as_deref() == Some("error")
}

fn says_something(draft: &Draft<'_>) -> bool {
    draft.content(Side::Output).is_some_and(|content| messages::is_answer(&content.text))
}

/// Whether a value says that its step failed.
type Says = fn(&AnyValue) -> bool;

/// What instrumentations write beside the status of the span, or in its place.
const FAILURES: [(&str, Says); 9] = [
    ("gen_ai.tool.status", |value| is_word(value, &["error", "failed"])),
    ("tool.status", |value| is_word(value, &["error", "failed"])),
    ("gen_ai.task.status", |value| is_word(value, &["failure", "failed", "error"])),
    ("agentops.session.end_state", |value| is_word(value, &["fail", "failed", "error"])),
    ("genkit:state", |value| is_word(value, &["error"])),
    ("langfuse.observation.level", |value| is_word(value, &["error"])),
    ("lk.function_tool.is_error", |value| usable::boolean(value) == Some(true)),
    ("mcp.tool.result.is_error", |value| usable::boolean(value) == Some(true)),
    // ERROR among the severities of OpenTelemetry; setting a level does not touch the status.
    ("logfire.level_num", |value| usable::number(value).is_some_and(|level| level >= 17.0)),
];

fn is_word(value: &AnyValue, words: &[&str]) -> bool {
    value.as_str().is_some_and(|text| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word)))
}

/// The key that says that the step failed, whatever its status.
fn says_failure(sent: &Sent<'_>) -> Option<&'static str> {
    FAILURES.iter().find(|(key, fails)| sent.get(key).is_some_and(fails)).map(|(key, _)| *key)
}

/// Steps that produce something themselves; an agent may have dealt with an exception it recorded.
fn fails_by_exception(kind: &StepType) -> bool {
    kind.is_call() || matches!(kind, StepType::ToolCall | StepType::Retrieval)
}

/// What the span says of its failure.
struct Signs<'a> {
    message: &'a str,
    error_type: Option<&'a str>,
    /// Type and message of the last exception event.
    exception: Option<(&'a str, &'a str)>,
}

impl<'a> Signs<'a> {
    fn read(sent: &Sent<'a>) -> Signs<'a> {
        let exception = sent.events().iter().rev().find(|event| event.name == "exception");
        Signs {
            message: sent.span.status.message.as_str(),
            error_type: sent.text("error.type"),
            exception: exception
                .map(|event| (event_text(event, "exception.type"), event_text(event, "exception.message"))),
        }
    }

    fn types(&self) -> impl Iterator<Item = &'a str> {
        self.error_type.into_iter().chain(self.exception.map(|(kind, _)| kind))
    }

    fn control_flow(&self) -> Option<&'static str> {
        let texts = [Some(self.message), self.error_type, self.exception.map(|it| it.0), self.exception.map(|it| it.1)];
        texts.into_iter().flatten().find_map(langchain::control_flow)
    }

    fn is_cancel(&self) -> bool {
        self.types().any(|kind| CANCEL_TYPES.iter().any(|word| kind.contains(word)))
            || self.message.contains("context canceled")
            || self.exception.is_some_and(|(_, message)| message.contains("context canceled"))
    }

    fn is_timeout(&self, text: &str, sent: &Sent<'_>) -> bool {
        self.types().any(|kind| TIMEOUT_TYPES.contains(&kind) || TIMEOUT_TYPES.contains(&last_segment(kind)))
            || generic::http_status(sent).is_some_and(|(_, status)| status == 408.0 || status == 504.0)
            || TIMEOUT_STARTS.iter().any(|start| text.starts_with(start))
    }

    /// The first text that says something, without the stack trace that some senders append.
    fn text(&self, sent: &Sent<'_>, kind: &StepType, draft: &Draft<'_>) -> String {
        let exception = self.exception.unwrap_or_default();
        let told =
            [without_trace(self.message), without_trace(exception.1), draft.text(Text::Failure).unwrap_or_default()];
        let says = |text: &&str| !text.trim().is_empty();
        if let Some(text) = told[..2].iter().copied().find(says) {
            return limited(text);
        }
        let error = attribute_text(sent);
        let result = (*kind == StepType::ToolCall)
            .then(|| messages::output_text(&draft.content(Side::Output)?.text))
            .flatten()
            .unwrap_or_default();
        // A bare status code says less than the words that came with it.
        let is_code = draft.has_failure_code();
        let (words, code) = if is_code { ("", told[2]) } else { (told[2], "") };
        let rest = [words, &error, &result, code, exception.0, self.error_type.unwrap_or_default()];
        limited(rest.into_iter().find(says).unwrap_or("error"))
    }
}

/// Words in attributes that several instrumentations use on what failed: text, or JSON with a message inside.
fn attribute_text(sent: &Sent<'_>) -> String {
    let said = |key: &str| match usable::opened(sent.get(key)?) {
        Value::String(text) => (!matches!(text.as_str(), "true" | "false" | "none")).then_some(text),
        object @ Value::Object(_) => ["/data/error", "/message", "/error/message", "/error"]
            .iter()
            .find_map(|place| object.pointer(place)?.as_str().map(str::to_owned)),
        _ => None,
    };
    let keys = ["gen_ai.framework.error.message", "error", "exception"];
    keys.iter().find_map(|key| said(key).filter(|text| usable::is_usable_text(text))).unwrap_or_default()
}

/// `openai.APITimeoutError`, `<class 'x.Y'>`, `a::B`: the name itself.
fn last_segment(kind: &str) -> &str {
    let kind = kind.trim_start_matches("<class '").trim_end_matches("'>");
    kind.rsplit(['.', ':', '/', '$']).next().unwrap_or(kind)
}

fn event_text<'a>(event: &'a Event, key: &str) -> &'a str {
    span::get(&event.attributes, key).and_then(AnyValue::as_str).unwrap_or_default()
}

/// A message up to its Python stack trace. A message that is nothing but a trace says less than its exception.
fn without_trace(message: &str) -> &str {
    match message.find("Traceback (most recent call last)") {
        Some(at) => message[..at].trim_end(),
        None => message,
    }
}

fn limited(text: &str) -> String {
    usable::cut(&usable::without_nul(text), ERROR_BYTES_MAX).to_owned()
}
