use super::*;
use crate::model::step::StepType;

#[test]
fn types_and_operations_of_sentry() {
    for (key, word, kind) in [
        ("gen_ai.operation.type", "agent", StepType::Agent),
        ("gen_ai.operation.type", "ai_client", StepType::ModelCall),
        ("gen_ai.operation.type", "tool", StepType::ToolCall),
        ("gen_ai.operation.type", "handoff", StepType::Handoff),
        ("sentry.op", "gen_ai.invoke_agent", StepType::Agent),
        ("sentry.op", "gen_ai.embeddings", StepType::Embedding),
        ("sentry.op", "ai.chat_completions.create.openai", StepType::ModelCall),
        ("sentry.op", "ai.pipeline", StepType::Workflow),
        ("sentry.op", "db.query", StepType::Unknown),
    ] {
        assert_eq!(map(span("x", &[(key, word)])).kind, kind, "{key} {word}");
    }
    let embeddings = [
        ("gen_ai.operation.type", "ai_client"),
        ("gen_ai.operation.name", "embeddings"),
        ("gen_ai.embeddings.input", "a"),
    ];
    let step = map(span("embeddings m", &embeddings));
    assert_eq!((step.kind, step.input.as_deref()), (StepType::Embedding, Some("a")));
}

#[test]
fn a_call_with_text_tools_tokens_and_cost_in_usd() {
    let calls = r#"[{"id":"c1","type":"function","function":{"name":"now","arguments":"{\"city\":\"Paris\"}"}},{"toolCallId":"c2","toolName":"then","input":{}}]"#;
    let step = map(span(
        "chat gpt-4o",
        &[
            ("gen_ai.operation.type", "ai_client"),
            ("gen_ai.request.messages", r#"[{"role":"user","content":"Hi"}]"#),
            ("gen_ai.response.text", r#"["Wait."]"#),
            ("gen_ai.response.tool_calls", calls),
            ("gen_ai.usage.input_tokens", "1200"),
            ("gen_ai.usage.output_tokens", "300"),
            ("gen_ai.usage.input_tokens.cached", "1024"),
            ("gen_ai.usage.output_tokens.reasoning", "256"),
            ("gen_ai.cost.total_tokens", "0.0123"),
            ("gen_ai.pipeline.name", "pipeline"),
        ],
    ));
    assert_eq!(step.input.as_deref(), Some(r#"[{"role":"user","content":"Hi"}]"#));
    assert_eq!(
        step.output.as_deref(),
        Some(
            r#"[{"role":"assistant","parts":[{"type":"text","content":"Wait."},{"type":"tool_call","id":"c1","name":"now","arguments":{"city":"Paris"}},{"type":"tool_call","id":"c2","name":"then","arguments":{}}]}]"#
        )
    );
    assert_eq!((step.usage.input, step.usage.cache_read, step.usage.reasoning), (Some(1200), Some(1024), Some(256)));
    assert_eq!((step.cost, step.facts.run_name.as_deref()), (Some(0.0123), Some("pipeline")));
    let plain = map(span("chat m", &[("gen_ai.operation.type", "ai_client"), ("gen_ai.response.text", "Hello")]));
    assert_eq!(plain.output.as_deref(), Some("Hello"));
}

#[test]
fn tools_and_the_keys_before_the_conventions() {
    let tool = map(span(
        "execute_tool now",
        &[
            ("gen_ai.operation.type", "tool"),
            ("gen_ai.tool.name", "now"),
            ("gen_ai.tool.input", "{\"a\":1}"),
            ("gen_ai.tool.output", "18 C"),
        ],
    ));
    assert_eq!(
        (tool.name.as_str(), tool.input.as_deref(), tool.output.as_deref()),
        ("now", Some("{\"a\":1}"), Some("18 C"))
    );
    let old = map(span(
        "x",
        &[
            ("sentry.op", "ai.chat_completions.create.openai"),
            ("ai.model_id", "gpt-4"),
            ("ai.prompt_tokens.used", "9"),
            ("ai.completion_tokens.used", "2"),
            ("ai.input_messages", "Hi"),
            ("ai.responses", "Hello"),
        ],
    ));
    assert_eq!((old.model.as_deref(), old.usage.total), (Some("gpt-4"), Some(11)));
    assert_eq!((old.input.as_deref(), old.output.as_deref()), (Some("Hi"), Some("Hello")));
}
