use super::*;
use crate::model::step::{StepType, Wrapped};

fn generate(more: &[(&str, &str)]) -> Step {
    let mut pairs = vec![
        ("ai.operationId", "ai.generateText.doGenerate"),
        ("ai.model.provider", "openai.responses"),
        ("ai.model.id", "gpt-4o-mini"),
        ("ai.response.model", "gpt-4o-mini-2024-07-18"),
        ("gen_ai.system", "openai.responses"),
    ];
    pairs.extend_from_slice(more);
    map(span("ai.generateText.doGenerate", &pairs))
}

#[test]
fn the_operation_tells_the_type() {
    for (operation, kind) in [
        ("ai.generateText", StepType::Workflow),
        ("ai.streamObject", StepType::Workflow),
        ("ai.streamText.doStream", StepType::ModelCall),
        ("ai.generateObject.doGenerate", StepType::ModelCall),
        ("ai.embed", StepType::Workflow),
        ("ai.embedMany.doEmbed", StepType::Embedding),
        ("ai.rerank", StepType::Rerank),
        ("ai.rerank.doRerank", StepType::Rerank),
        ("ai.toolCall", StepType::ToolCall),
        ("agent.stream.doStream", StepType::ModelCall),
        ("ai.dream", StepType::Unknown),
    ] {
        assert_eq!(map(span("x", &[("ai.operationId", operation)])).kind, kind, "{operation}");
    }
    let old = map(span("x", &[("operation.name", "ai.streamText.doStream chat-fn"), ("ai.model.id", "m")]));
    assert_eq!((old.kind, old.facts.streaming), (StepType::ModelCall, Some(true)));
    let other = map(span("x", &[("operation.name", "run"), ("ai.model.id", "m")]));
    assert_eq!(other.kind, StepType::Unknown);
}

#[test]
fn a_call_with_text_usage_and_identity() {
    let step = generate(&[
        ("ai.prompt.messages", r#"[{"role":"user","content":"Hi"}]"#),
        ("ai.response.text", "Hello"),
        ("ai.response.id", "resp_1"),
        ("ai.response.finishReason", "stop"),
        ("ai.response.msToFirstChunk", "80.5"),
        ("ai.telemetry.functionId", "greeter"),
        ("ai.telemetry.metadata.sessionId", "s1"),
        ("ai.telemetry.metadata.userId", "u1"),
        ("ai.telemetry.metadata.tags", r#"["demo"]"#),
        ("ai.telemetry.metadata.plan", "pro"),
        ("ai.usage.inputTokens", "120"),
        ("ai.usage.outputTokens", "18"),
        ("ai.usage.totalTokens", "138"),
        ("ai.usage.inputTokenDetails.cacheReadTokens", "100"),
        ("ai.usage.outputTokenDetails.reasoningTokens", "8"),
    ]);
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::ModelCall, "greeter"));
    assert_eq!(step.model.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!(step.provider.as_deref(), Some("openai"));
    assert_eq!(step.input.as_deref(), Some(r#"[{"role":"user","content":"Hi"}]"#));
    assert_eq!(step.output.as_deref(), Some("Hello"));
    let usage = step.usage;
    assert_eq!((usage.input, usage.output, usage.total), (Some(120), Some(18), Some(138)));
    assert_eq!((usage.cache_read, usage.reasoning), (Some(100), Some(8)));
    let facts = &step.facts;
    assert_eq!((facts.session_id.as_deref(), facts.user_id.as_deref()), (Some("s1"), Some("u1")));
    assert_eq!((facts.response_id.as_deref(), facts.finish_reason.as_deref()), (Some("resp_1"), Some("stop")));
    assert_eq!(facts.time_to_first_token_ms, Some(80.5));
    assert_eq!(facts.tags, ["demo"]);
    assert_eq!(serde_json::Value::from(facts.run_metadata.clone()), serde_json::json!({"plan": "pro"}));
    assert_eq!(facts.wraps, None);
}

#[test]
fn requests_for_tools_and_reasoning_become_one_message() {
    let calls = r#"[{"toolCallId":"call_1","toolName":"get_weather","input":"{\"city\":\"Paris\"}"},{"toolCallId":"call_2","toolName":"now","args":{}}]"#;
    let step = generate(&[("ai.response.toolCalls", calls), ("ai.response.reasoning", "Two tools.")]);
    assert_eq!(
        step.output.as_deref(),
        Some(
            r#"[{"role":"assistant","parts":[{"type":"reasoning","content":"Two tools."},{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{"city":"Paris"}},{"type":"tool_call","id":"call_2","name":"now","arguments":{}}]}]"#
        )
    );
    let object = generate(&[("ai.response.object", r#"{"city": "Paris"}"#)]);
    assert_eq!(object.output.as_deref(), Some(r#"{"city": "Paris"}"#));
    let old = generate(&[("ai.result.text", "Hi"), ("ai.usage.promptTokens", "3"), ("ai.usage.completionTokens", "4")]);
    assert_eq!((old.output.as_deref(), old.usage.total), (Some("Hi"), Some(7)));
}

#[test]
fn caches_are_inside_the_input_whatever_the_provider_counts() {
    let raw = r#"{"anthropic":{"usage":{"input_tokens":176,"cache_read_input_tokens":1024,"cache_creation_input_tokens":0}}}"#;
    let version_5 = [
        ("ai.usage.inputTokens", "176"),
        ("ai.usage.outputTokens", "300"),
        ("ai.usage.totalTokens", "476"),
        ("ai.response.providerMetadata", raw),
    ];
    assert_eq!(generate(&version_5).usage.input, Some(1200));
    assert_eq!(generate(&version_5).usage.total, Some(1500));
    let version_6 = [
        ("ai.usage.inputTokens", "1200"),
        ("ai.usage.outputTokens", "300"),
        ("ai.usage.totalTokens", "1500"),
        ("ai.usage.inputTokenDetails.noCacheTokens", "176"),
        ("ai.usage.inputTokenDetails.cacheReadTokens", "1024"),
        ("ai.response.providerMetadata", raw),
    ];
    assert_eq!(generate(&version_6).usage.input, Some(1200));
    let version_4 = [
        ("ai.usage.promptTokens", "176"),
        (
            "ai.response.providerMetadata",
            r#"{"anthropic":{"cacheCreationInputTokens":24,"cacheReadInputTokens":1000}}"#,
        ),
    ];
    let usage = generate(&version_4).usage;
    assert_eq!((usage.input, usage.cache_read, usage.cache_write), (Some(1200), Some(1000), Some(24)));
    let openai =
        [("ai.usage.inputTokens", "9"), ("ai.response.providerMetadata", r#"{"openai":{"cachedPromptTokens":4}}"#)];
    assert_eq!((generate(&openai).usage.input, generate(&openai).usage.cache_read), (Some(9), Some(4)));
    for broken in [
        "{cache",
        "[\"cache\"]",
        r#"{"anthropic":"cache"}"#,
        r#"{"anthropic":{"usage":{"cache_read_input_tokens":-1}}}"#,
    ] {
        assert_eq!(
            generate(&[("ai.usage.inputTokens", "9"), ("ai.response.providerMetadata", broken)]).usage.input,
            Some(9)
        );
    }
}

#[test]
fn tools_and_embeddings_keep_their_values_as_sent() {
    let tool = map(span(
        "ai.toolCall",
        &[
            ("ai.operationId", "ai.toolCall"),
            ("ai.telemetry.functionId", "greeter"),
            ("ai.toolCall.name", "get_weather"),
            ("ai.toolCall.id", "call_1"),
            ("ai.toolCall.args", r#"{"city":"Paris"}"#),
            ("ai.toolCall.result", "\"18 C\""),
        ],
    ));
    assert_eq!((tool.kind.clone(), tool.name.as_str()), (StepType::ToolCall, "get_weather"));
    assert_eq!((tool.input.as_deref(), tool.output.as_deref()), (Some(r#"{"city":"Paris"}"#), Some("\"18 C\"")));
    assert_eq!(tool.facts.tool_call_id.as_deref(), Some("call_1"));
    let embedding = map(span(
        "ai.embed.doEmbed",
        &[("ai.operationId", "ai.embed.doEmbed"), ("ai.values", r#"["\"a\""]"#), ("ai.usage.tokens", "6")],
    ));
    assert_eq!((embedding.input.as_deref(), embedding.usage.total), (Some(r#"["\"a\""]"#), Some(6)));
    let wrapper = map(span("ai.embed", &[("ai.operationId", "ai.embed"), ("ai.value", "\"a\"")]));
    assert_eq!((wrapper.facts.wraps, wrapper.input.as_deref()), (Some(Wrapped::Embedding), Some("\"a\"")));
}

#[test]
fn version_7_tells_the_session_in_the_context_of_the_call() {
    let step = map(span(
        "invoke_agent weather",
        &[
            ("gen_ai.operation.name", "invoke_agent"),
            ("ai.settings.context.sessionId", "s1"),
            ("ai.settings.context.userId", "u1"),
        ],
    ));
    assert_eq!(step.kind, StepType::Agent);
    assert_eq!((step.facts.session_id.as_deref(), step.facts.user_id.as_deref()), (Some("s1"), Some("u1")));
    let inner = map(span("step 1", &[("gen_ai.operation.name", "agent_step")]));
    assert_eq!((inner.kind, inner.facts.genai), (StepType::Workflow, true));
}

#[test]
fn version_7_leaves_a_call_that_was_broken_off_without_an_answer() {
    let call = |scope: &str, more: &[(&str, &str)]| {
        let asked =
            [("gen_ai.operation.name", "chat"), ("gen_ai.input.messages", r#"[{"role":"user","content":"Hi"}]"#)];
        let origin = Origin { scope_name: scope.to_owned(), ..Origin::default() };
        let step = map_from(span("chat m", &[asked.as_slice(), more].concat()), origin).0;
        step.facts.more.contains_key("incomplete")
    };
    assert!(call("gen_ai", &[]));
    assert!(!call("gen_ai", &[("gen_ai.output.messages", r#"[{"role":"assistant","content":"Ho"}]"#)]));
    assert!(!call("gen_ai", &[("gen_ai.response.finish_reasons", "stop")]));
    assert!(!call("other", &[]));
}
