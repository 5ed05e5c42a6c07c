//! Model Context Protocol: spans of clients and servers (`mcp.method.name`; earlier `rpc.system` = `jsonrpc`). One tool
//! call may be three spans: the framework's, the client's and the server's; assembly shows them as one. Keys as in
//! OpenTelemetry's conventions for MCP, in OpenLLMetry, Logfire and Sentry. `mcp.session.id` is no conversation.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::mapping::draft::{Content, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, error_text, field, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;

const METHOD: &str = "mcp.method.name";
const CALL: &str = "tools/call";
const ARGUMENTS: &str = "mcp.request.argument";

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    method(sent).is_some() || sent.has_under("mcp.")
}

fn method<'a>(sent: &Sent<'a>) -> Option<(&'static str, &'a str)> {
    if let Some(method) = sent.text(METHOD) {
        return Some((METHOD, method));
    }
    let is_rpc = ["rpc.system", "rpc.system.name"].iter().any(|key| sent.text(key) == Some("jsonrpc"));
    let method = sent.text("rpc.method").filter(|_| is_rpc)?;
    is_known(method).then_some(("rpc.method", method))
}

/// JSON-RPC carries other protocols too.
fn is_known(method: &str) -> bool {
    let groups =
        ["tools/", "resources/", "prompts/", "sampling/", "notifications/", "completion/", "logging/", "roots/"];
    matches!(method, "initialize" | "ping") || groups.iter().any(|group| method.starts_with(group))
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let Some((key, method)) = method(sent) else { return };
    let typed = match method {
        CALL => StepType::ToolCall,
        "resources/read" => StepType::Retrieval,
        "prompts/get" => StepType::Workflow,
        "sampling/createMessage" if sent.has_under("gen_ai.usage.") => StepType::ModelCall,
        _ => StepType::Rpc,
    };
    choice.offer(kind::METHOD, typed, key);
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if let Some((_, method)) = method(sent) {
        draft.more.insert("mcp_method".to_owned(), Value::from(method));
    }
    match kind {
        StepType::ToolCall => tool(sent, draft),
        StepType::Retrieval => {
            draft.offer_attribute(Side::Input, Family::Mcp, sent, "mcp.resource.uri");
            draft.offer_attribute(Side::Output, Family::Mcp, sent, "mcp.response.value");
        }
        _ => {}
    }
}

fn tool<'a>(sent: &Sent<'a>, draft: &mut Draft<'a>) {
    draft.offer_texts(
        sent,
        &[(Text::Name, field::GEN_AI, "gen_ai.tool.name"), (Text::Name, field::SECONDARY, "mcp.tool.name")],
    );
    // `tools/call get_weather`, `MCP send tools/call get_weather`, `get_weather.mcp`.
    let named = sent.span.name.split_once("tools/call ").map(|(_, name)| name);
    let named = named.or_else(|| sent.span.name.strip_suffix(".mcp"));
    if let Some(name) = named {
        draft.offer_text(Text::Name, field::METADATA, "name", name.into());
    }
    draft.offer_attribute(Side::Input, Family::Mcp, sent, ARGUMENTS);
    draft.offer_content(Side::Input, Family::Mcp, || {
        let members: Map<String, Value> =
            sent.under(ARGUMENTS).map(|(name, value)| (name.to_owned(), usable::opened(value))).collect();
        let text = (!members.is_empty()).then(|| Value::Object(members).to_string())?;
        Some(Content { source: "mcp.request.argument.*", text: text.into() })
    });
    draft.offer_attribute(Side::Output, Family::Mcp, sent, "mcp.tool.result.content");
    draft.offer_attribute(Side::Output, Family::Mcp, sent, "mcp.response.value");

    // The request and the response of the protocol as JSON text.
    if let Some(request) = sent.text("request").filter(|text| text.contains(CALL)).and_then(object) {
        let parameters = request.get("params");
        if let Some(name) = parameters.and_then(|it| it.get("name")).and_then(Value::as_str) {
            draft.offer_text(Text::Name, field::METADATA, "request", Cow::Owned(name.to_owned()));
        }
        draft.offer_content(Side::Input, Family::Mcp, || {
            let arguments = parameters?.get("arguments")?.to_string();
            usable::is_usable_text(&arguments).then(|| Content { source: "request/arguments", text: arguments.into() })
        });
    }
    if let Some(response) = sent.text("response").filter(|text| text.contains("\"content\"")).and_then(object) {
        let result = response.get("result").unwrap_or(&response);
        if result.get("isError").and_then(Value::as_bool) == Some(true) {
            draft.failed = draft.failed.or(Some("response"));
            let said = result.pointer("/content/0/text").and_then(Value::as_str);
            if let Some(text) = said {
                draft.offer_text(Text::Failure, error_text::RESULT, "response", Cow::Owned(text.to_owned()));
            }
        }
        draft.offer_content(Side::Output, Family::Mcp, || {
            let content = result.get("content")?.to_string();
            usable::is_usable_text(&content).then(|| Content { source: "response/content", text: content.into() })
        });
    }
}

fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_object)
}
