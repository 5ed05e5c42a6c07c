//! Spans of other conventions around the GenAI ones: HTTP, databases, RPC, messaging, functions.

use std::borrow::Cow;

use serde_json::Value;

use crate::mapping::draft::{Content, Draft, KindChoice, Side, Text};
use crate::mapping::normal_form;
use crate::mapping::precedence::{Family, field, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;

/// Span kinds of OpenTelemetry.
pub(super) const SERVER: i32 = 2;
pub(super) const CLIENT: i32 = 3;
pub(super) const CONSUMER: i32 = 5;

const HTTP: [&str; 4] = ["http.request.method", "http.method", "http.url", "url.full"];
/// The first of them are methods.
const HTTP_METHODS: usize = 2;
const HTTP_STATUS: [&str; 2] = ["http.response.status_code", "http.status_code"];
const DB: [&str; 2] = ["db.system.name", "db.system"];
const RPC: [&str; 2] = ["rpc.system.name", "rpc.system"];
const MESSAGING: [&str; 3] = ["messaging.system", "messaging.operation", "messaging.operation.type"];
const FUNCTION: [&str; 2] = ["faas.trigger", "faas.invocation_id"];

/// Ends of the paths at which model providers answer.
const MODEL_PATHS: [&str; 7] = [
    "/chat/completions",
    "/responses",
    "/messages",
    "/embeddings",
    ":generateContent",
    ":streamGenerateContent",
    "/converse",
];

pub(super) fn speaks(_: &Sent<'_>) -> bool {
    true
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let families: [(&[&'static str], StepType); 5] = [
        (&HTTP, StepType::HttpRequest),
        (&DB, StepType::DbQuery),
        (&RPC, StepType::Rpc),
        (&MESSAGING, StepType::Messaging),
        (&FUNCTION, StepType::Function),
    ];
    let is_exchange = matches!(sent.span.kind, CLIENT | SERVER);
    for (keys, typed) in families {
        // A mere URL on an internal span is something that was worked on, not a request.
        let keys = if typed == StepType::HttpRequest && !is_exchange { &keys[..HTTP_METHODS] } else { keys };
        if let Some(key) = keys.iter().find(|key| sent.has(key)) {
            choice.offer(kind::GENERIC, typed, key);
        }
    }
    if sent.span.start_ns != 0 && sent.span.start_ns == sent.span.end_ns {
        choice.offer(kind::EVENT, StepType::Event, "duration");
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    match kind {
        StepType::HttpRequest => http(sent, draft),
        StepType::DbQuery => {
            draft.offer_texts(
                sent,
                &[(Text::Name, field::GEN_AI, "db.query.summary"), (Text::Name, field::SECONDARY, "db.operation.name")],
            );
            draft.offer_attribute(Side::Input, Family::Generic, sent, "db.query.text");
            draft.offer_attribute(Side::Input, Family::Generic, sent, "db.statement");
        }
        StepType::Rpc => {
            if let (Some(service), Some(method)) = (sent.text("rpc.service"), sent.text("rpc.method")) {
                draft.offer_text(Text::Name, field::GEN_AI, "rpc.method", format!("{service}/{method}").into());
            } else if let Some(method) = sent.text("rpc.method") {
                draft.offer_text(Text::Name, field::GEN_AI, "rpc.method", method.into());
            }
        }
        StepType::Messaging => {
            let keys = ["messaging.destination.name", "messaging.destination"];
            let (name, destination) = (&sent.span.name, keys.iter().find_map(|key| sent.text(key)));
            if let Some(destination) = destination.filter(|it| !name.contains(*it)) {
                let name = format!("{name} {destination}");
                draft.offer_text(Text::Name, field::GEN_AI, "messaging.destination.name", name.into());
            }
        }
        typed if typed.is_call() => {
            if let Some(provider) = sent.text("server.address").and_then(normal_form::provider_of_host) {
                draft.offer_provider(90, "server.address", provider);
            }
        }
        _ => {}
    }
    failures(sent, draft);
}

fn http<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    let method = HTTP[..HTTP_METHODS].iter().find_map(|key| sent.text(key));
    let path = http_path(sent);
    if let (Some(method), Some(path)) = (method, &path) {
        draft.offer_text(Text::Name, field::GEN_AI, "http.request.method", format!("{method} {path}").into());
    }
    if path.is_some_and(|path| MODEL_PATHS.iter().any(|end| path.ends_with(end))) {
        draft.more.insert("llm_endpoint".to_owned(), Value::Bool(true));
    }
    for key in HTTP_STATUS {
        draft.offer_content(Side::Output, Family::Generic, || {
            Some(Content { source: key, text: usable::scalar_text(sent.get(key)?)? })
        });
    }
}

/// The route, or the path of the URL: never its query, which may hold keys.
fn http_path<'a>(sent: &Sent<'a>) -> Option<Cow<'a, str>> {
    if let Some(path) = ["http.route", "url.path"].iter().find_map(|key| sent.text(key)) {
        return Some(path.into());
    }
    let url = ["url.full", "http.url", "http.target"].iter().find_map(|key| sent.text(key))?;
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = &after_scheme[after_scheme.find('/')?..];
    Some(path.split(['?', '#']).next().unwrap_or(path).into())
}

/// HTTP: 4xx is the client's failure, 5xx also the server's. gRPC: anything but 0.
fn failures<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    if let Some((key, status)) = http_status(sent) {
        let from = if sent.span.kind == SERVER { 500.0 } else { 400.0 };
        if status >= from && matches!(sent.span.kind, CLIENT | SERVER) {
            draft.failed = draft.failed.or(Some(key));
            let text = format!("HTTP status {status}");
            draft.offer_text(Text::Failure, crate::mapping::precedence::error_text::HTTP_STATUS, key, text.into());
        }
    }
    const GRPC: &str = "rpc.grpc.status_code";
    if let Some(code) = sent.number(GRPC).filter(|code| *code != 0.0) {
        draft.failed = draft.failed.or(Some(GRPC));
        let text = format!("gRPC status {code}");
        draft.offer_text(Text::Failure, crate::mapping::precedence::error_text::HTTP_STATUS, GRPC, text.into());
    }
}

/// The HTTP status of the span, with the key that told it.
pub(super) fn http_status(sent: &Sent<'_>) -> Option<(&'static str, f64)> {
    HTTP_STATUS.iter().find_map(|key| Some((*key, sent.number(key)?)))
}
