//! Strands Agents, Microsoft Agent Framework, MCP, Spring AI, minor senders, and LangChain's marks in every carrier.

use serde_json::json;

use super::*;
use crate::model::step::{Status, StepType};

fn from_scope(scope: &str, span: Span) -> Step {
    map_from(span, Origin { scope_name: scope.to_owned(), ..Origin::default() }).0
}

fn with(mut span: Span, key: &str, value: AnyValue) -> Span {
    span.attributes.push((key.to_owned(), value));
    span.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    span
}

#[test]
fn strands_holds_agents_together_in_cycles_swarms_and_graphs() {
    for (operation, key) in
        [("execute_event_loop_cycle", "event_loop.cycle_id"), ("invoke_swarm", "x"), ("invoke_graph", "x")]
    {
        let step = map(span(
            operation,
            &[
                ("gen_ai.operation.name", operation),
                ("gen_ai.system", "strands-agents"),
                (key, "1"),
                ("gen_ai.agent.name", "swarm"),
            ],
        ));
        assert_eq!((step.kind, step.provider, step.agent), (StepType::Workflow, None, None), "{operation}");
        assert_eq!(step.facts.framework.as_deref(), Some("strands-agents"));
    }
}

#[test]
fn a_strands_tool_is_read_from_its_events() {
    let mut old = span(
        "execute_tool get_stock_price",
        &[
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.system", "strands-agents"),
            ("gen_ai.tool.name", "get_stock_price"),
            ("gen_ai.tool.status", "error"),
        ],
    );
    old.events = vec![
        event("gen_ai.tool.message", &[("role", "tool"), ("content", r#"{"symbol": "ZZZZ"}"#), ("id", "call_2")]),
        event("gen_ai.choice", &[("message", r#"[{"text":"Error: Unknown symbol: ZZZZ"}]"#), ("id", "call_2")]),
    ];
    let step = map(old);
    assert_eq!(step.input.as_deref(), Some(r#"{"symbol": "ZZZZ"}"#));
    assert_eq!(step.output.as_deref(), Some(r#"[{"text":"Error: Unknown symbol: ZZZZ"}]"#));
    assert_eq!((step.status, step.error.as_deref()), (Status::Error, Some("Error: Unknown symbol: ZZZZ")));

    const DETAILS: &str = "gen_ai.client.inference.operation.details";
    let mut new = span(
        "execute_tool get_weather",
        &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.provider.name", "strands-agents")],
    );
    let (asked, answered) = (
        r#"[{"role":"tool","parts":[{"type":"tool_call","name":"get_weather","id":"c","arguments":{"city":"Paris"}}]}]"#,
        r#"[{"role":"tool","parts":[{"type":"tool_call_response","id":"c","response":[{"text":"18 C"}]}]}]"#,
    );
    new.events = vec![
        event(DETAILS, &[("gen_ai.input.messages", asked)]),
        event(DETAILS, &[("gen_ai.output.messages", answered)]),
    ];
    let step = map(new);
    assert_eq!(step.input.as_deref(), Some(r#"{"city":"Paris"}"#));
    assert_eq!(step.output.as_deref(), Some(r#"[{"text":"18 C"}]"#));
}

#[test]
fn a_strands_cycle_ends_with_the_results_of_its_tools() {
    const DETAILS: &str = "gen_ai.client.inference.operation.details";
    let question = r#"[{"role":"user","parts":[{"type":"text","content":"Q"}]}]"#;
    let results = r#"[{"role":"user","parts":[{"type":"tool_call_response","id":"c","response":[{"text":"18 C"}]}]}]"#;
    let mut cycle =
        span("execute_event_loop_cycle", &[("event_loop.cycle_id", "1"), ("gen_ai.provider.name", "strands-agents")]);
    cycle.events = vec![
        event(DETAILS, &[("gen_ai.input.messages", question)]),
        event(DETAILS, &[("gen_ai.input.messages", results)]),
    ];
    let step = map(cycle);
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(question), Some(results)));
}

#[test]
fn bedrock_counts_the_cache_of_strands_beside_the_input() {
    let usage = |model: &str| {
        map(span(
            "chat",
            &[
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.system", "strands-agents"),
                ("gen_ai.request.model", model),
                ("gen_ai.usage.input_tokens", "500"),
                ("gen_ai.usage.output_tokens", "10"),
                ("gen_ai.usage.cache_read_input_tokens", "400"),
            ],
        ))
        .usage
    };
    assert_eq!(usage("us.anthropic.claude-sonnet-4-20250514-v1:0").total, Some(910));
    assert_eq!(usage("gpt-4.1").total, Some(510));
}

#[test]
fn time_to_first_token_has_two_units_under_one_key() {
    const KEY: &str = "gen_ai.server.time_to_first_token";
    let chat = |value: AnyValue, extra: &[(&str, &str)]| {
        let mut pairs = vec![("gen_ai.operation.name", "chat")];
        pairs.extend_from_slice(extra);
        with(span("chat", &pairs), KEY, value)
    };
    let cases = [
        ("strands.telemetry.tracer", AnyValue::Int(41), "true", Some(41.0)),
        ("strands.telemetry.tracer", AnyValue::Double(41.5), "true", Some(41.5)),
        ("openlit.openai", AnyValue::Double(0.05), "true", Some(50.0)),
        // A call that does not stream, and a first token at the end: the whole duration.
        ("openlit.openai", AnyValue::Double(0.05), "false", None),
        ("openlit.openai", AnyValue::Double(0.143), "true", None),
    ];
    for (scope, value, streams, ms) in cases {
        let step = from_scope(scope, chat(value, &[("gen_ai.request.stream", streams)]));
        assert_eq!(step.facts.time_to_first_token_ms, ms, "{scope}");
    }
}

#[test]
fn agent_framework_workflows() {
    for (name, key, typed, setup) in [
        ("workflow.run", "workflow.id", StepType::Workflow, false),
        ("workflow_invoke", "workflow.id", StepType::Workflow, false),
        ("executor.process writer", "executor.id", StepType::Workflow, false),
        ("edge_group.process", "edge_group.type", StepType::Workflow, false),
        ("message.send", "message.type", StepType::Workflow, false),
        ("workflow.build", "workflow.definition", StepType::Workflow, true),
        ("message.sender", "message.type", StepType::Unknown, false),
        ("workflow.run", "other", StepType::Unknown, false),
    ] {
        let step = map(span(name, &[(key, "x")]));
        assert_eq!((step.kind, step.facts.setup), (typed, setup), "{name} {key}");
    }
    let executor = from_scope(
        "Microsoft.Agents.AI.Workflows",
        span("executor.process", &[("executor.id", "writer"), ("executor.input", "Q"), ("executor.output", "A")]),
    );
    assert_eq!(executor.name, "executor.process writer");
    assert_eq!((executor.input.as_deref(), executor.output.as_deref()), (Some("Q"), Some("A")));

    let agent = map(span(
        "invoke_agent weather_agent",
        &[
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.provider.name", "microsoft.agent_framework"),
            ("gen_ai.response.finish_reasons", "[\"tool_calls\"]"),
            ("gen_ai.tool.call.id", "unknown"),
        ],
    ));
    assert_eq!((agent.provider, agent.facts.framework.as_deref()), (None, Some("microsoft.agent_framework")));
    assert_eq!((agent.facts.finish_reason.as_deref(), agent.facts.tool_call_id), (Some("tool_call"), None));
}

#[test]
fn mcp_methods_tell_the_type() {
    for (method, typed) in [
        ("tools/call", StepType::ToolCall),
        ("resources/read", StepType::Retrieval),
        ("prompts/get", StepType::Workflow),
        ("sampling/createMessage", StepType::Rpc),
        ("initialize", StepType::Rpc),
        ("tools/list", StepType::Rpc),
        ("notifications/initialized", StepType::Rpc),
    ] {
        let step = map(span(method, &[("mcp.method.name", method), ("mcp.session.id", "m1")]));
        assert_eq!((step.kind, step.facts.session_id), (typed, None), "{method}");
        let old = map(span(method, &[("rpc.system", "jsonrpc"), ("rpc.method", method)]));
        assert_eq!(old.facts.more["mcp_method"], json!(method));
    }
    let sampling = [("mcp.method.name", "sampling/createMessage"), ("gen_ai.usage.input_tokens", "3")];
    assert_eq!(map(span("s", &sampling)).kind, StepType::ModelCall);
    assert_eq!(
        map(span("s", &[("rpc.system", "jsonrpc"), ("rpc.method", "eth_call")])).facts.more.get("mcp_method"),
        None
    );
}

#[test]
fn mcp_tools_have_names_arguments_results_and_failures() {
    let named = |name: &str, pairs: &[(&str, &str)]| {
        let mut all = vec![("mcp.method.name", "tools/call")];
        all.extend_from_slice(pairs);
        map(span(name, &all))
    };
    assert_eq!(named("tools/call get_weather", &[]).name, "get_weather");
    assert_eq!(named("MCP send tools/call get_weather", &[]).name, "get_weather");
    assert_eq!(named("mcp", &[("mcp.tool.name", "get_weather")]).name, "get_weather");

    let sentry = with(
        named_span(&[("mcp.request.argument.city", "\"Paris\""), ("mcp.tool.result.content", "no such city")]),
        "mcp.tool.result.is_error",
        AnyValue::Bool(true),
    );
    let step = map(sentry);
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(r#"{"city":"Paris"}"#), Some("no such city")));
    assert_eq!((step.status, step.error.as_deref()), (Status::Error, Some("no such city")));

    let logfire = map(span(
        "MCP request: tools/call",
        &[
            ("rpc.system", "jsonrpc"),
            ("rpc.method", "tools/call"),
            ("request", r#"{"method":"tools/call","params":{"name":"add","arguments":{"a":1}}}"#),
            ("response", r#"{"content":[{"type":"text","text":"boom"}],"isError":true}"#),
        ],
    ));
    assert_eq!((logfire.name.as_str(), logfire.input.as_deref()), ("add", Some(r#"{"a":1}"#)));
    assert_eq!((logfire.status, logfire.error.as_deref()), (Status::Error, Some("boom")));

    let bare = named("tools/call t", &[("error.type", "tool_error")]);
    assert_eq!((bare.error.as_deref(), &bare.facts.more["error_source"]), (Some("tool_error"), &json!("type")));
}

fn named_span(pairs: &[(&str, &str)]) -> Span {
    let mut all = vec![("mcp.method.name", "tools/call")];
    all.extend_from_slice(pairs);
    span("tools/call t", &all)
}

#[test]
fn spring_ai_is_read_whole() {
    for (pairs, typed) in [
        (vec![("spring.ai.kind", "chat_client"), ("gen_ai.operation.name", "framework")], StepType::Workflow),
        (vec![("spring.ai.kind", "advisor")], StepType::Workflow),
        (vec![("spring.ai.kind", "tool_call")], StepType::ToolCall),
        (vec![("spring.ai.tool.definition.name", "t")], StepType::ToolCall),
        (vec![("spring.ai.kind", "vector_store"), ("db.operation.name", "query")], StepType::Retrieval),
        (vec![("spring.ai.kind", "vector_store"), ("db.operation.name", "add")], StepType::DbQuery),
        (vec![("db.system", "pg_vector"), ("db.vector.query.content", "q")], StepType::Retrieval),
    ] {
        assert_eq!(map(span("x", &pairs)).kind, typed, "{pairs:?}");
    }
    let tool = map(span(
        "spring_ai tool_call",
        &[
            ("spring.ai.kind", "tool_call"),
            ("gen_ai.system", "spring_ai"),
            ("spring.ai.tool.definition.name", "get_weather"),
            ("spring.ai.tool.call.id", "call_1"),
            ("spring.ai.tool.call.arguments", r#"{"city":"Paris"}"#),
            ("spring.ai.tool.call.result", "18 C"),
        ],
    ));
    assert_eq!((tool.name.as_str(), tool.facts.tool_call_id.as_deref()), ("get_weather", Some("call_1")));
    assert_eq!((tool.input.as_deref(), tool.output.as_deref()), (Some(r#"{"city":"Paris"}"#), Some("18 C")));
    assert_eq!(tool.facts.framework.as_deref(), Some("spring_ai"));
    let session = |id| map(span("x", &[("spring.ai.chat.client.conversation.id", id)])).facts.session_id;
    assert_eq!((session("c1").as_deref(), session("default")), (Some("c1"), None));
    let call = map(span("chat gpt-4o", &[("gen_ai.operation.name", "chat"), ("gen_ai.usage.input_tokens", "12")]));
    assert_eq!(call.usage.input, Some(12));
    let found = map(span(
        "query",
        &[("db.vector.query.content", "refunds?"), ("db.vector.query.response.documents", "[\"30 days\"]")],
    ));
    assert_eq!((found.input.as_deref(), found.output.as_deref()), (Some("refunds?"), Some("[\"30 days\"]")));
}

#[test]
fn minor_senders() {
    let parts = map(span(
        "chat",
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.usage.input_tokens", "1"),
            ("gen_ai.usage.cost.input", "0.25"),
            ("gen_ai.usage.cost.output", "0.5"),
            ("trace.metadata.team", "blue"),
            ("wandb.thread_id", "t1"),
        ],
    ));
    assert_eq!((parts.cost, parts.facts.session_id.as_deref()), (Some(0.75), Some("t1")));
    assert_eq!(parts.facts.run_metadata["team"], json!("blue"));
    let total = map(span(
        "chat",
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.usage.total_cost", "0.1"),
            ("gen_ai.usage.input_cost", "0.25"),
            ("gen_ai.usage.output_cost", "0.5"),
        ],
    ));
    assert_eq!(total.cost, Some(0.1));
}

#[test]
fn langchains_marks_are_read_in_every_carrier() {
    let whole = r#"{"lc_agent_name": "triage", "ls_provider": "openai", "thread_id": "t1"}"#;
    for pairs in [
        vec![("metadata", whole), ("openinference.span.kind", "CHAIN")],
        vec![("metadata", whole), ("mlflow.spanType", "\"CHAIN\"")],
        vec![("langfuse.observation.metadata", whole), ("langfuse.observation.type", "chain")],
        vec![
            ("langfuse.observation.metadata.lc_agent_name", "\"triage\""),
            ("langfuse.observation.metadata.thread_id", "\"t1\""),
            ("langfuse.observation.type", "chain"),
        ],
        vec![
            ("langsmith.metadata.lc_agent_name", "triage"),
            ("langsmith.metadata.thread_id", "t1"),
            ("langsmith.span.kind", "chain"),
        ],
    ] {
        let step = map(span("triage", &pairs));
        assert_eq!((step.kind, step.agent.as_deref()), (StepType::Agent, Some("triage")), "{pairs:?}");
        assert_eq!(step.facts.session_id.as_deref(), Some("t1"), "{pairs:?}");
        let mut node = span("model", &pairs);
        node.parent_span_id = Some([9; 8]);
        assert_eq!(map(node).kind, StepType::Workflow, "{pairs:?}");
    }
}

#[test]
fn plumbing_can_be_folded() {
    for (name, is_plumbing) in [
        ("RunnableSequence", true),
        ("RunnableParallel<context,question>", true),
        ("ChannelWrite<a>", true),
        ("rag", false),
    ] {
        let step = map(span(name, &[("langfuse.observation.type", "chain")]));
        assert_eq!(step.facts.more.contains_key("plumbing"), is_plumbing, "{name}");
    }
}
