use super::*;
use crate::model::step::{Status, StepType};

fn livekit(name: &str, pairs: &[(&str, &str)]) -> Step {
    map_from(span(name, pairs), Origin { scope_name: "livekit-agents".to_owned(), ..Origin::default() }).0
}

#[test]
fn the_names_of_spans_are_their_types() {
    for (name, kind) in [
        ("agent_session", StepType::Workflow),
        ("user_turn", StepType::Workflow),
        ("agent_turn", StepType::Agent),
        ("llm_node", StepType::ModelCall),
        ("llm_request_run", StepType::ModelCall),
        ("function_tool", StepType::ToolCall),
        ("judge_evaluation", StepType::Evaluator),
        ("tts_node", StepType::Unknown),
    ] {
        assert_eq!(livekit(name, &[]).kind, kind, "{name}");
    }
    assert_eq!(map(span("agent_turn", &[])).kind, StepType::Unknown);
}

#[test]
fn turns_calls_and_tools_before_and_after_content_was_marked() {
    for prefix in ["lk.pii.", "lk."] {
        let key = |rest: &str| format!("{prefix}{rest}");
        let turn = livekit(
            "agent_turn",
            &[
                (&key("user_input"), "Hi"),
                (&key("response.text"), "Hello"),
                ("lk.agent_name", "helper"),
                (&key("room_name"), "r1"),
                (&key("participant_identity"), "u1"),
            ],
        );
        assert_eq!(
            (turn.name.as_str(), turn.input.as_deref(), turn.output.as_deref()),
            ("helper", Some("Hi"), Some("Hello"))
        );
        assert_eq!((turn.facts.session_id.as_deref(), turn.facts.user_id.as_deref()), (Some("r1"), Some("u1")));
        let calls = r#"[{"type":"function_call","call_id":"c1","name":"now","arguments":"{\"city\":\"Paris\"}"}]"#;
        let call = livekit(
            "llm_node",
            &[
                (&key("chat_ctx"), r#"{"items":[]}"#),
                (&key("response.function_calls"), calls),
                ("lk.response.ttft", "0.5"),
            ],
        );
        assert_eq!(
            call.output.as_deref(),
            Some(
                r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"c1","name":"now","arguments":{"city":"Paris"}}]}]"#
            )
        );
        assert_eq!(call.facts.time_to_first_token_ms, Some(500.0));
        let mut tool = span(
            "function_tool",
            &[
                ("lk.function_tool.name", "now"),
                ("lk.function_tool.id", "c1"),
                (&key("function_tool.arguments"), "{\"a\":1}"),
                (&key("function_tool.output"), "broke"),
            ],
        );
        tool.attributes.push(("lk.function_tool.is_error".into(), AnyValue::Bool(true)));
        tool.attributes.sort_by(|a, b| a.0.cmp(&b.0));
        let tool = map_from(tool, Origin { scope_name: "livekit-agents".to_owned(), ..Origin::default() }).0;
        assert_eq!((tool.name.as_str(), tool.input.as_deref()), ("now", Some("{\"a\":1}")));
        assert_eq!((tool.status, tool.error.as_deref()), (Status::Error, Some("broke")));
    }
}

#[test]
fn metrics_tell_the_usage_where_nothing_else_does() {
    let metrics = r#"{"type":"llm_metrics","prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,"prompt_cached_tokens":1024}"#;
    let usage = livekit("llm_request", &[("lk.llm_metrics", metrics)]).usage;
    assert_eq!(
        (usage.input, usage.output, usage.cache_read, usage.total),
        (Some(1200), Some(300), Some(1024), Some(1500))
    );
    let told = livekit(
        "llm_request",
        &[("lk.llm_metrics", metrics), ("gen_ai.usage.input_tokens", "7"), ("gen_ai.usage.input_cached_tokens", "3")],
    )
    .usage;
    assert_eq!((told.input, told.cache_read, told.output), (Some(7), Some(3), None));
}
