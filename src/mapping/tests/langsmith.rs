use serde_json::json;

use super::*;
use crate::model::step::{Status, StepType};

const KIND: &str = "langsmith.span.kind";

fn below(mut span: Span) -> Span {
    span.parent_span_id = Some([9; 8]);
    span
}

#[test]
fn the_kind_beats_the_operation() {
    for (word, operation, typed) in [
        ("llm", "chat", StepType::ModelCall),
        ("retriever", "embeddings", StepType::Retrieval),
        ("embedding", "embeddings", StepType::Embedding),
        ("tool", "execute_tool", StepType::ToolCall),
        ("prompt", "chat", StepType::Workflow),
        ("parser", "parser", StepType::Workflow),
        ("chain", "chain", StepType::Workflow),
    ] {
        let step = map(span("x", &[(KIND, word), ("gen_ai.operation.name", operation)]));
        assert_eq!(step.kind, typed, "{word}");
    }
}

#[test]
fn agents_are_known_by_their_marks() {
    let pairs = [(KIND, "chain"), ("langsmith.metadata.lc_agent_name", "triage")];
    assert_eq!(map(below(span("triage", &pairs))).kind, StepType::Agent);
    let node = map(below(span("model", &pairs)));
    assert_eq!((node.kind, node.agent.as_deref()), (StepType::Workflow, Some("triage")));

    let root = [(KIND, "chain"), ("langsmith.metadata.ls_agent_type", "root")];
    assert_eq!(map(span("conversation", &root)).kind, StepType::Agent);
    assert_eq!(map(below(span("conversation", &root))).kind, StepType::Workflow);
}

#[test]
fn a_call_is_read_whole() {
    let step = map(span(
        "ChatOpenAI",
        &[
            (KIND, "llm"),
            ("gen_ai.system", "langchain"),
            ("langsmith.metadata.ls_provider", "anthropic"),
            ("langsmith.metadata.ls_model_name", "claude-sonnet-4-5"),
            ("gen_ai.usage.input_tokens", "1200"),
            ("gen_ai.usage.output_tokens", "300"),
            ("gen_ai.usage.total_tokens", "1500"),
            (
                "langsmith.metadata.usage_metadata",
                r#"{"input_tokens":1200,"output_tokens":300,"total_tokens":1500,"input_token_details":{"cache_read":1024},"output_token_details":{"reasoning":256}}"#,
            ),
            ("gen_ai.prompt", r#"{"messages":[[{"lc":1,"kwargs":{"content":"Hi","type":"human"}}]]}"#),
            (
                "gen_ai.completion",
                r#"{"generations":[[{"message":{"lc":1,"kwargs":{"content":"Hello","response_metadata":{"id":"msg_1"}}}}]]}"#,
            ),
            ("langsmith.metadata.thread_id", "t1"),
            ("langsmith.metadata.session_id", "s1"),
            ("langsmith.metadata.user_id", "u1"),
            ("langsmith.metadata.team", "blue"),
            ("langsmith.metadata.langgraph_step", "3"),
            ("langsmith.span.tags", "prod, seq:step:1, eu"),
            ("langsmith.trace.name", "ChatOpenAI"),
            ("langsmith.trace.session_name", "demo"),
        ],
    ));
    assert_eq!((step.model.as_deref(), step.provider.as_deref()), (Some("claude-sonnet-4-5"), Some("anthropic")));
    assert_eq!((step.usage.input, step.usage.total), (Some(1200), Some(1500)));
    assert_eq!((step.usage.cache_read, step.usage.reasoning), (Some(1024), Some(256)));
    let facts = &step.facts;
    assert_eq!(facts.response_id.as_deref(), Some("msg_1"));
    assert_eq!((facts.session_id.as_deref(), facts.user_id.as_deref()), (Some("s1"), Some("u1")));
    assert_eq!(facts.tags, ["prod", "eu"]);
    assert_eq!((&facts.run_metadata["project"], &facts.run_metadata["team"]), (&json!("demo"), &json!("blue")));
    assert!(!facts.run_metadata.contains_key("langgraph_step"));
    assert_eq!(facts.framework.as_deref(), Some("langchain"));
}

#[test]
fn failed_runs_arrive_with_status_ok() {
    let raised = |message: &str| {
        let mut sent = span("ChatOpenAI", &[(KIND, "llm"), ("gen_ai.completion", r#"{"output":null}"#)]);
        sent.status.code = 1;
        sent.events.push(event(
            "exception",
            &[("exception.type", "Exception"), ("exception.message", message), ("exception.escaped", "False")],
        ));
        map(sent)
    };
    let step = raised("RateLimitError('Error code: 429')Traceback (most recent call last):\n  File");
    assert_eq!((step.status, step.error.as_deref()), (Status::Error, Some("RateLimitError('Error code: 429')")));
    let handoff = raised("ParentCommand(Command(graph='triage', update={}))");
    assert_eq!((handoff.status, &handoff.facts.more["control_flow"]), (Status::Success, &json!("handoff")));
}

#[test]
fn a_tool_is_known_by_the_call_it_answers() {
    let answer = r#"{"output":{"content":"18 C","type":"tool","name":"get_weather","tool_call_id":"call_1"}}"#;
    let step = map(span("get_weather", &[(KIND, "tool"), ("gen_ai.completion", answer)]));
    assert_eq!((step.kind, step.facts.tool_call_id.as_deref()), (StepType::ToolCall, Some("call_1")));
}
