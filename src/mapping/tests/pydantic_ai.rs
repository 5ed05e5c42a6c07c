use super::*;
use crate::model::step::{Status, StepType};

const ASKED: &str = r#"{"role":"user","parts":[{"type":"text","content":"Hi"}]}"#;
const ANSWERED: &str = r#"{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}"#;
const NEXT: &str = r#"{"role":"user","parts":[{"type":"text","content":"Bye"}]}"#;

fn agent(more: &[(&str, &str)]) -> Span {
    let pairs = [("gen_ai.operation.name", "invoke_agent"), ("agent_name", "helper"), ("model_name", "gpt-4o-mini")];
    span("invoke_agent helper", &[pairs.as_slice(), more].concat())
}

#[test]
fn an_agent_with_a_conversation_a_result_and_a_claim() {
    let all = format!("[{ASKED},{ANSWERED},{NEXT},{ANSWERED}]");
    let step = map(agent(&[
        ("pydantic_ai.all_messages", &all),
        ("pydantic_ai.new_message_index", "2"),
        ("final_result", "Hello"),
        ("gen_ai.aggregated_usage.input_tokens", "460"),
        ("gen_ai.aggregated_usage.output_tokens", "62"),
        ("gen_ai.aggregated_usage.details.reasoning_tokens", "2"),
        ("gen_ai.conversation.id", "c1"),
    ]));
    assert_eq!(
        (step.kind.clone(), step.name.as_str(), step.model.as_deref()),
        (StepType::Agent, "helper", Some("gpt-4o-mini"))
    );
    assert_eq!(step.input, Some(format!("[{NEXT}]")));
    assert_eq!(step.output.as_deref(), Some("Hello"));
    assert_eq!((step.usage.input, step.usage.output, step.usage.reasoning), (Some(460), Some(62), Some(2)));
    assert_eq!(step.facts.session_id.as_deref(), Some("c1"));

    let asked_only = format!("[{ASKED}]");
    let failing = map(failed(agent(&[("pydantic_ai.all_messages", &asked_only)]), "429"));
    assert_eq!((failing.input, failing.output), (Some(asked_only), None));
    let talking = map(agent(&[("pydantic_ai.all_messages", &format!("[{ASKED},{ANSWERED}]"))]));
    assert_eq!(talking.output, Some(format!("[{ANSWERED}]")));
    for broken in ["[", "[1]", "plain"] {
        assert_eq!(map(agent(&[("pydantic_ai.all_messages", broken)])).input.as_deref(), Some(broken));
    }
    let beyond =
        map(agent(&[("pydantic_ai.all_messages", &format!("[{ASKED}]")), ("pydantic_ai.new_message_index", "9")]));
    assert_eq!(beyond.input, Some(format!("[{ASKED}]")));
}

#[test]
fn the_names_of_the_first_formats() {
    let origin = || Origin { scope_name: "pydantic-ai".to_owned(), ..Origin::default() };
    for (name, kind) in [
        ("agent run", StepType::Agent),
        ("running tool", StepType::ToolCall),
        ("running 2 tools", StepType::Workflow),
        ("running late", StepType::Unknown),
    ] {
        assert_eq!(map_from(span(name, &[]), origin()).0.kind, kind, "{name}");
    }
    let events = r#"[{"event.name":"gen_ai.user.message","content":"Hi","role":"user"},{"event.name":"gen_ai.choice","index":0,"message":{"role":"assistant","content":"Hello"}}]"#;
    let first =
        map(span("my_agent run", &[("agent_name", "my_agent"), ("model_name", "m"), ("all_messages_events", events)]));
    assert_eq!((first.kind.clone(), first.name.as_str()), (StepType::Agent, "my_agent"));
    assert!(first.input.unwrap().contains("Hi") && first.output.unwrap().contains("Hello"));
    let call = map(span(
        "chat m",
        &[
            ("gen_ai.operation.name", "chat"),
            ("events", events),
            ("model_request_parameters", r#"{"output_mode":"text"}"#),
        ],
    ));
    assert_eq!(call.output.as_deref(), Some(r#"[{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}]"#));
}

fn tool(more: &[(&str, &str)]) -> Span {
    let pairs = [("gen_ai.tool.name", "now"), ("gen_ai.tool.call.id", "c1"), ("tool_arguments", r#"{"city":"Paris"}"#)];
    span("running tool", &[pairs.as_slice(), more].concat())
}

#[test]
fn a_tool_that_is_asked_again_has_failed_and_one_that_is_put_off_has_not() {
    let ok = map(tool(&[("tool_response", "18 C")]));
    assert_eq!((ok.name.as_str(), ok.input.as_deref()), ("now", Some(r#"{"city":"Paris"}"#)));
    assert_eq!((ok.status, ok.output.as_deref()), (Status::Success, Some("18 C")));
    let again = map(tool(&[("tool_response", "Unknown city"), ("pydantic_ai.tool.retry.cause", "model_retry")]));
    assert_eq!((again.status, again.error.as_deref()), (Status::Error, Some("Unknown city")));
    let invalid = map(tool(&[("pydantic_ai.tool.failure_stage", "validation")]));
    assert_eq!(invalid.status, Status::Error);
    let mut deferred = failed(tool(&[]), "");
    deferred.events = vec![event("exception", &[("exception.type", "pydantic_ai.exceptions.ApprovalRequired")])];
    let deferred = map(deferred);
    assert_eq!((deferred.status, deferred.error), (Status::Success, None));
    assert_eq!(deferred.facts.more.get("deferred"), Some(&serde_json::Value::Bool(true)));
}

#[test]
fn calls_tell_what_of_their_tokens_came_from_a_cache() {
    let step = map(span(
        "chat m",
        &[
            ("gen_ai.operation.name", "chat"),
            ("model_request_parameters", r#"{"output_mode":"text"}"#),
            ("gen_ai.usage.input_tokens", "1200"),
            ("gen_ai.usage.output_tokens", "300"),
            ("gen_ai.usage.details.cache_read_tokens", "1024"),
            ("gen_ai.usage.details.reasoning_tokens", "256"),
            ("gen_ai.aggregated_usage.input_tokens", "9999"),
            ("operation.cost", "1"),
        ],
    ));
    let usage = step.usage;
    assert_eq!(
        (usage.input, usage.cache_read, usage.reasoning, usage.total),
        (Some(1200), Some(1024), Some(256), Some(1500))
    );
    assert_eq!(step.cost, Some(1.0));
}
