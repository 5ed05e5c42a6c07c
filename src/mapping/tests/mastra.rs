use super::*;
use crate::model::step::{Status, StepType, Wrapped};

#[test]
fn the_type_of_mastra_tells_more_than_any_other() {
    for (word, kind) in [
        ("agent_run", StepType::Agent),
        ("model_generation", StepType::ModelCall),
        ("llm_generation", StepType::ModelCall),
        ("model_inference", StepType::ModelCall),
        ("model_step", StepType::Workflow),
        ("MODEL_CHUNK", StepType::Workflow),
        ("workflow_conditional", StepType::Workflow),
        ("mcp_tool_call", StepType::ToolCall),
        ("rag_embedding", StepType::Embedding),
    ] {
        let step = map(span("x", &[("mastra.span.type", word), ("openinference.span.kind", "LLM")]));
        assert_eq!(step.kind, kind, "{word}");
    }
}

#[test]
fn agents_generations_and_tools() {
    let agent = map(span(
        "invoke_agent weather",
        &[
            ("mastra.span.type", "agent_run"),
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.agent.name", "Weather Agent"),
            ("mastra.agent_run.input", r#"[{"role":"user","content":"Hi"}]"#),
            ("mastra.agent_run.output", r#"{"text":"Hello","files":[]}"#),
            ("mastra.metadata.threadId", "t1"),
            ("mastra.metadata.userId", "u1"),
            ("mastra.metadata.plan", "pro"),
            ("mastra.tags", r#"["prod"]"#),
        ],
    ));
    assert_eq!((agent.kind.clone(), agent.name.as_str()), (StepType::Agent, "Weather Agent"));
    assert_eq!(agent.input.as_deref(), Some(r#"[{"role":"user","content":"Hi"}]"#));
    assert_eq!(agent.output.as_deref(), Some(r#"{"text":"Hello","files":[]}"#));
    assert_eq!((agent.facts.session_id.as_deref(), agent.facts.user_id.as_deref()), (Some("t1"), Some("u1")));
    assert_eq!((agent.facts.tags, agent.facts.run_metadata["plan"].as_str()), (vec!["prod".to_owned()], Some("pro")));

    let call = map(span(
        "chat gpt-4o",
        &[
            ("mastra.span.type", "model_generation"),
            ("gen_ai.usage.input_tokens", "120"),
            ("gen_ai.usage.cached_input_tokens", "100"),
            ("gen_ai.provider.name", "openai.responses"),
        ],
    ));
    assert_eq!(
        (call.usage.input, call.usage.cache_read, call.provider.as_deref()),
        (Some(120), Some(100), Some("openai"))
    );
    assert_eq!(call.facts.wraps, Some(Wrapped::Turns));
    assert_eq!(map(span("x", &[("mastra.span.type", "model_inference")])).facts.wraps, None);

    let mut tool = span(
        "tool.execute now",
        &[("mastra.span.type", "tool_call"), ("gen_ai.tool.name", "now"), ("input", "{\"a\":1}"), ("output", "18 C")],
    );
    tool.attributes.insert(0, ("gen_ai.tool.success".into(), AnyValue::Bool(false)));
    tool.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let tool = map(tool);
    assert_eq!(
        (tool.input.as_deref(), tool.output.as_deref(), tool.status),
        (Some("{\"a\":1}"), Some("18 C"), Status::Error)
    );
}
