use super::*;
use crate::model::step::{Status, StepType};

#[test]
fn kinds_of_agentops() {
    for (word, kind) in [
        ("workflow", StepType::Workflow),
        ("task", StepType::Workflow),
        ("operation", StepType::Workflow),
        ("chain", StepType::Workflow),
        ("agent", StepType::Agent),
        ("agent.action", StepType::Agent),
        ("tool", StepType::ToolCall),
        ("llm", StepType::ModelCall),
        ("guardrail", StepType::Guardrail),
        ("http", StepType::HttpRequest),
        ("unknown", StepType::Unknown),
    ] {
        assert_eq!(map(span("x", &[("agentops.span.kind", word)])).kind, kind, "{word}");
    }
    let bridge = |pairs: &[(&str, &str)]| map(span("x", &[pairs, &[("instrumentation.name", "agentops")]].concat()));
    assert_eq!(bridge(&[("from_agent", "a"), ("to_agent", "b")]).kind, StepType::Handoff);
    assert_eq!(
        bridge(&[("workflow.step.type", "trace"), ("workflow.name", "Support")]).facts.run_name.as_deref(),
        Some("Support")
    );
    assert_eq!(bridge(&[("workflow.step.type", "trace")]).kind, StepType::Workflow);
    // The same words of somebody else are no evidence.
    assert_eq!(
        map(span("x", &[("from_agent", "a"), ("tool.name", "t"), ("tool.parameters", "{}")])).kind,
        StepType::Unknown
    );
}

#[test]
fn a_session_is_a_frame_unless_it_stands_for_a_function() {
    let session = map(span("default.session", &[("agentops.span.kind", "session"), ("operation.name", "default")]));
    assert_eq!(
        (session.kind, session.facts.genai, session.name.as_str()),
        (StepType::Workflow, false, "default.session")
    );
    let traced = map(span(
        "main.session",
        &[
            ("agentops.span.kind", "session"),
            ("agentops.entity.input", r#"{"args": ["Hi"], "kwargs": {}}"#),
            ("agentops.entity.output", "\"Hello\""),
        ],
    ));
    assert!(traced.facts.genai);
    assert_eq!(traced.output.as_deref(), Some("\"Hello\""));
    let ended_badly = map(span("s", &[("agentops.span.kind", "session"), ("agentops.session.end_state", "Fail")]));
    assert_eq!((ended_badly.status, ended_badly.error.as_deref()), (Status::Error, Some("error")));
    let unclear = map(span("s", &[("agentops.span.kind", "session"), ("agentops.session.end_state", "Indeterminate")]));
    assert_eq!(unclear.status, Status::Success);
}

#[test]
fn tools_agents_and_decorated_functions() {
    let tool = map(span(
        "get_weather",
        &[
            ("agentops.span.kind", "tool"),
            ("tool.name", "get_weather"),
            ("tool.parameters", r#"{"city": "Paris"}"#),
            ("tool.result", "sunny"),
            ("tool.status", "succeeded"),
        ],
    ));
    assert_eq!(
        (tool.name.as_str(), tool.input.as_deref(), tool.output.as_deref()),
        ("get_weather", Some(r#"{"city": "Paris"}"#), Some("sunny"))
    );
    let requested = map_from(
        span(
            "tool_call.get_weather",
            &[("tool.name", "get_weather"), ("tool.call.id", "call_1"), ("tool.parameters", "{}")],
        ),
        Origin { scope_name: "agentops.instrumentation.providers.openai.wrappers.chat".into(), ..Origin::default() },
    )
    .0;
    assert_eq!((requested.kind, requested.name.as_str()), (StepType::ToolCall, "get_weather"));
    assert_eq!(requested.facts.tool_call_id.as_deref(), Some("call_1"));
    let broken =
        map(span("t", &[("agentops.span.kind", "tool"), ("tool.status", "failed"), ("error.message", "no city")]));
    assert_eq!((broken.status, broken.error.as_deref()), (Status::Error, Some("no city")));
    let agent = map(span(
        "Triage",
        &[("agentops.span.kind", "agent"), ("agent.name", "Triage"), ("agentops.agent.input", "Hi")],
    ));
    assert_eq!(
        (agent.name.as_str(), agent.agent.as_deref(), agent.input.as_deref()),
        ("Triage", Some("Triage"), Some("Hi"))
    );
    let task = map(span(
        "plan.task",
        &[("agentops.span.kind", "task"), ("operation.name", "plan"), ("agentops.tags", r#"["x"]"#)],
    ));
    assert_eq!((task.name.as_str(), task.facts.tags.as_slice()), ("plan", &["x".to_owned()][..]));
    let workflow = map(span(
        "w",
        &[
            ("agentops.span.kind", "workflow"),
            ("workflow.input", "Hi"),
            ("workflow.final_output", "Hello"),
            ("workflow.session_id", "s1"),
            ("workflow.user_id", "u1"),
        ],
    ));
    assert_eq!((workflow.input.as_deref(), workflow.output.as_deref()), (Some("Hi"), Some("Hello")));
    assert_eq!((workflow.facts.session_id.as_deref(), workflow.facts.user_id.as_deref()), (Some("s1"), Some("u1")));
}

#[test]
fn a_streamed_call_of_agentops() {
    let mut sent = span(
        "openai.chat.completion.stream",
        &[
            ("gen_ai.request.type", "chat"),
            ("gen_ai.request.streaming", "true"),
            ("agentops.span.kind", "llm"),
            ("gen_ai.prompt.0.role", "user"),
            ("gen_ai.prompt.0.content", "Hi"),
            ("gen_ai.usage.total_cost", "0.5"),
        ],
    );
    sent.attributes.push(("gen_ai.streaming.time_to_first_token".into(), AnyValue::Double(0.25)));
    sent.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let step = map(sent);
    assert_eq!((step.kind, step.cost), (StepType::ModelCall, Some(0.5)));
    assert_eq!((step.facts.streaming, step.facts.time_to_first_token_ms), (Some(true), Some(250.0)));
}
