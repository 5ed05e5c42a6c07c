//! Strands Agents (scope `strands.telemetry.tracer`): GenAI conventions with contents in span events, the framework's
//! own name as provider, and cycles of an event loop between the agent and its calls. Keys as in its tracer.

use serde_json::{Value, json};

use crate::mapping::canonical;
use crate::mapping::draft::{Content, Draft, KindChoice, Side, Text};
use crate::mapping::gen_ai::STRANDS_SCOPE;
use crate::mapping::precedence::{Family, kind};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::span::{self, Event};
use crate::model::step::StepType;

const CYCLE: &str = "event_loop.cycle_id";
const TOOLS: &str = "gen_ai.agent.tools";
const DETAILS: &str = "gen_ai.client.inference.operation.details";
const CYCLE_OUTPUT: &str = "gen_ai.choice/tool.result";

/// Operations that hold agents and calls together.
const WORKFLOWS: [&str; 3] = ["execute_event_loop_cycle", "invoke_swarm", "invoke_graph"];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has(CYCLE) || sent.has(TOOLS) || sent.origin.scope_name == STRANDS_SCOPE || says_strands(sent)
}

fn says_strands(sent: &Sent<'_>) -> bool {
    ["gen_ai.system", "gen_ai.provider.name"].iter().any(|key| sent.text(key) == Some("strands-agents"))
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    const OPERATION: &str = "gen_ai.operation.name";
    let operation = sent.text(OPERATION).unwrap_or_default();
    if WORKFLOWS.contains(&operation) {
        choice.offer(kind::METHOD, StepType::Workflow, OPERATION);
    } else if WORKFLOWS.contains(&sent.span.name.as_str()) {
        choice.offer(kind::METHOD, StepType::Workflow, "name");
    } else if sent.has(CYCLE) {
        choice.offer(kind::METHOD, StepType::Workflow, CYCLE);
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    match kind {
        StepType::ToolCall => tool(sent, draft),
        // `gen_ai.agent.name` of a swarm or graph is the word for its kind, and names no agent.
        StepType::Workflow if sent.text("gen_ai.agent.name").is_some_and(|name| matches!(name, "swarm" | "graph")) => {
            draft.take(Text::Agent);
        }
        StepType::Workflow => cycle(sent, draft),
        _ => {}
    }
    // Bedrock counts its cache beside the input. The old keys came without the total that would tell.
    let has_old_keys =
        sent.has("gen_ai.usage.cache_read_input_tokens") || sent.has("gen_ai.usage.cache_write_input_tokens");
    if has_old_keys && kind.is_call() && sent.text("gen_ai.request.model").is_some_and(is_on_bedrock) {
        draft.cache_is_outside = true;
    }
}

/// `us.anthropic.claude-…`, `amazon.nova-…`: a maker before a point.
fn is_on_bedrock(model: &str) -> bool {
    const MAKERS: [&str; 9] =
        ["anthropic", "amazon", "meta", "mistral", "cohere", "deepseek", "ai21", "openai", "qwen"];
    let bare = ["us.", "eu.", "apac.", "global."].iter().find_map(|region| model.strip_prefix(region)).unwrap_or(model);
    bare.split_once('.').is_some_and(|(maker, _)| MAKERS.contains(&maker))
}

/// The events of a tool hold its arguments and its result as messages.
fn tool(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    for event in sent.events().iter().filter(|event| event.name == DETAILS) {
        for (side, key, kind, member, source) in [
            (Side::Input, "gen_ai.input.messages", "tool_call", "arguments", "operation.details/tool_call*"),
            (
                Side::Output,
                "gen_ai.output.messages",
                "tool_call_response",
                "response",
                "operation.details/tool_call_response*",
            ),
        ] {
            draft.offer_content(side, Family::ToolEvents, || {
                let found = tool_part(event, key, kind, member)?;
                let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
                usable::is_usable_text(&text).then(|| Content { source, text: text.into() })
            });
        }
    }
}

fn tool_part(event: &Event, key: &str, kind: &str, member: &str) -> Option<Value> {
    let messages = usable::opened(span::get(&event.attributes, key)?);
    let parts = messages.as_array()?.iter().filter_map(|message| message.get("parts")?.as_array());
    let mut parts = parts.flatten();
    parts.find(|part| part.get("type").and_then(Value::as_str) == Some(kind))?.get(member).cloned()
}

/// What a cycle hands to the next one: the results of its tools. With the present conventions they come as a second
/// list of input messages, after that of the cycle's own input.
fn cycle(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    draft.offer_content(Side::Output, Family::OperationDetails, || {
        let mut lists = sent.events().iter().filter(|event| event.name == DETAILS);
        lists.next()?;
        let mut results = lists.rev().filter_map(|event| {
            let text = usable::content_text(span::get(&event.attributes, "gen_ai.input.messages")?)?;
            text.contains("tool_call_response").then_some(text)
        });
        Some(Content { source: "operation.details/tool_call_response*", text: results.next()?.into_owned().into() })
    });
    draft.offer_content(Side::Output, Family::MessageEvents, || {
        let event = sent.events().iter().find(|event| event.name == "gen_ai.choice")?;
        let results = usable::opened(span::get(&event.attributes, "tool.result")?);
        let parts = canonical::parts_of(results);
        let message = canonical::Message { role: "tool".into(), parts, ..canonical::Message::default() };
        Some(Content { source: CYCLE_OUTPUT, text: canonical::write(&[message])?.into() })
    });
    if let Some(parent) = sent.text("event_loop.parent_cycle_id") {
        draft.more.insert("parent_cycle_id".to_owned(), json!(parent));
    }
}
