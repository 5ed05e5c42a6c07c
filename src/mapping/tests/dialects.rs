use serde_json::{Value, json};

use super::*;
use crate::mapping::detail::metadata;
use crate::model::step::{Status, StepType, Usage};

#[test]
fn an_agent_of_the_conventions_with_a_framework_for_a_provider() {
    let messages = r#"[{"role":"user","parts":[{"type":"text","content":"Weather in Paris?"}]}]"#;
    let step = map(span(
        "invoke_agent weather_agent",
        &[
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.agent.name", "weather_agent"),
            ("gen_ai.provider.name", "microsoft.agent_framework"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.usage.input_tokens", "270"),
            ("gen_ai.usage.output_tokens", "42"),
            ("gen_ai.response.finish_reasons", r#"["stop"]"#),
            ("gen_ai.input.messages", messages),
        ],
    ));
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::Agent, "weather_agent"));
    assert_eq!(step.provider, None);
    assert_eq!(step.facts.framework.as_deref(), Some("microsoft.agent_framework"));
    assert_eq!((step.usage.input, step.usage.output, step.usage.total), (Some(270), Some(42), Some(312)));
    assert_eq!(step.input.as_deref(), Some(messages));
    assert_eq!(step.facts.finish_reason.as_deref(), Some("stop"));
    assert_eq!(step.latency_ms, Some(143.0));
    assert!(step.facts.genai);
    // The text is stored once, and shown complete.
    assert_eq!(source(&step, "input"), Some("gen_ai.input.messages"));
    assert!(!step.detail.contains("Weather"));
    assert_eq!(metadata(&step, None)["attributes"]["gen_ai.input.messages"], json!(messages));
}

#[test]
fn a_chat_call_of_the_conventions() {
    let mut sent = span(
        "chat gpt-4o-mini",
        &[
            ("gen_ai.operation.name", "Chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
            ("gen_ai.response.id", "chatcmpl-1"),
            ("gen_ai.usage.input_tokens", "120"),
            ("gen_ai.usage.output_tokens", "18"),
            ("gen_ai.usage.cache_read.input_tokens", "100"),
            ("gen_ai.conversation.id", "c1"),
            ("gen_ai.tool.name", "asked_for"),
            ("gen_ai.output.messages", r#"[{"role":"assistant","parts":[],"finish_reason":"tool_calls"}]"#),
        ],
    );
    sent.attributes.push(("z.time".into(), AnyValue::Null));
    sent.attributes.push(("zz".into(), AnyValue::Bool(true)));
    let step = map(sent);
    assert_eq!(step.kind, StepType::ModelCall);
    assert_eq!(step.name, "chat gpt-4o-mini");
    assert_eq!(step.model.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!(step.facts.request_model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(step.facts.finish_reason.as_deref(), Some("tool_call"));
    assert_eq!(step.facts.response_id.as_deref(), Some("chatcmpl-1"));
    assert_eq!(step.facts.session_id.as_deref(), Some("c1"));
    let usage =
        Usage { total: Some(138), input: Some(120), output: Some(18), cache_read: Some(100), ..Usage::default() };
    assert_eq!(step.usage, usage);
}

#[test]
fn system_instructions_come_first_unless_they_are_there() {
    let user = r#"{"role":"user","parts":[{"type":"text","content":"Hi"}]}"#;
    let system = r#"[{"type":"text","content":"Be kind."}]"#;
    let input = |messages: &str, instructions: &str| {
        let step = map(span(
            "chat m",
            &[
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.input.messages", messages),
                ("gen_ai.system_instructions", instructions),
            ],
        ));
        (step.input.clone().unwrap_or_default(), source(&step, "input").map(str::to_owned), step)
    };
    let joined = r#"[{"role":"system","parts":[{"content":"Be kind.","type":"text"}]},"#.to_owned() + user + "]";
    for instructions in [system, "Be kind.", "\"Be kind.\""] {
        let (text, from, step) = input(&format!("[{user}]"), instructions);
        assert_eq!(text, joined);
        assert_eq!(from.as_deref(), Some("gen_ai.system_instructions+gen_ai.input.messages"));
        // Assembled: both attributes stay where they are.
        assert!(step.detail.contains("gen_ai.input.messages"));
    }
    let repeated = format!(r#"[{{"role":"system","parts":{system}}},{user}]"#);
    assert_eq!(input(&repeated, system).0, repeated);
    assert_eq!(input("plain text", system).0, "plain text");
    assert_eq!(input("[{broken", system).0, "[{broken");
    assert_eq!(input("[ ]", system).0, r#"[{"role":"system","parts":[{"content":"Be kind.","type":"text"}]} ]"#);
}

#[test]
fn a_tool_call_of_the_conventions() {
    let step = map(span(
        "execute_tool get_weather",
        &[
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "get_weather"),
            ("gen_ai.tool.call.id", "call_1"),
            ("gen_ai.tool.call.arguments", r#"{"city": "Paris"}"#),
            ("gen_ai.tool.call.result", "18 C and sunny"),
        ],
    ));
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::ToolCall, "get_weather"));
    assert_eq!(step.input.as_deref(), Some(r#"{"city": "Paris"}"#));
    assert_eq!(step.output.as_deref(), Some("18 C and sunny"));
    assert_eq!(step.facts.tool_call_id.as_deref(), Some("call_1"));
    assert!(step.usage.is_empty());
}

#[test]
fn structured_values_become_compact_json() {
    let mut sent = span("execute_tool f", &[("gen_ai.operation.name", "execute_tool")]);
    let city = AnyValue::Kvlist(vec![("city".into(), AnyValue::Str("Paris".into()))]);
    sent.attributes.push(("gen_ai.tool.call.arguments".into(), city));
    let step = map(sent);
    assert_eq!(step.input.as_deref(), Some(r#"{"city":"Paris"}"#));
    assert!(step.detail.contains("gen_ai.tool.call.arguments"));
}

#[test]
fn setting_something_up_makes_no_run() {
    for (operation, kind) in [("create_agent", StepType::Workflow), ("create_memory_store", StepType::Memory)] {
        let step = map(span("x", &[("gen_ai.operation.name", operation)]));
        assert!(step.facts.setup && step.facts.genai && step.kind == kind, "{operation}");
    }
    let unknown = map(span("x", &[("gen_ai.operation.name", "dream")]));
    assert_eq!((unknown.kind, unknown.facts.genai), (StepType::Unknown, false));
}

#[test]
fn legacy_message_events_become_messages() {
    let mut sent = span(
        "chat gpt-4o-mini",
        &[
            ("gen_ai.system", "OpenAI"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.usage.prompt_tokens", "9"),
            ("gen_ai.usage.completion_tokens", "2"),
        ],
    );
    sent.events = vec![
        event("gen_ai.system.message", &[("content", "Be kind.")]),
        event("gen_ai.user.message", &[("content", r#"[{"text":"Weather?"}]"#)]),
        event("gen_ai.tool.message", &[("content", "18 C"), ("id", "call_1")]),
        event("gen_ai.choice", &[("message", "Sunny.\n"), ("finish_reason", "end_turn"), ("index", "0")]),
    ];
    let step = map(sent);
    assert_eq!((step.kind, step.provider.as_deref()), (StepType::ModelCall, Some("openai")));
    assert_eq!(step.usage.total, Some(11));
    assert_eq!(
        step.input.as_deref(),
        Some(concat!(
            r#"[{"role":"system","parts":[{"type":"text","content":"Be kind."}]},"#,
            r#"{"role":"user","parts":[{"type":"text","content":"Weather?"}]},"#,
            r#"{"role":"tool","parts":[{"type":"tool_call_response","id":"call_1","response":"18 C"}]}]"#
        ))
    );
    assert_eq!(
        step.output.as_deref(),
        Some(r#"[{"role":"assistant","parts":[{"type":"text","content":"Sunny.\n"}],"finish_reason":"end_turn"}]"#)
    );
    assert_eq!(step.facts.finish_reason.as_deref(), Some("stop"));
}

#[test]
fn a_body_in_one_attribute_reads_like_one_in_several() {
    let body = r#"{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}}]}}"#;
    let mut sent = span("chat m", &[("gen_ai.system", "openai"), ("gen_ai.request.model", "m")]);
    sent.events = vec![event("gen_ai.choice", &[("gen_ai.event.content", body)])];
    assert_eq!(
        map(sent).output.as_deref(),
        Some(
            r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"c1","name":"f","arguments":{"x": 1}}],"finish_reason":"tool_calls"}]"#
        )
    );
}

#[test]
fn operation_details_are_joined_from_several_events() {
    let mut sent = span("chat m", &[("gen_ai.operation.name", "chat")]);
    let name = "gen_ai.client.inference.operation.details";
    sent.events = vec![
        event(name, &[("gen_ai.input.messages", r#"[{"role":"user","content":"Hi"}]"#)]),
        event(name, &[("gen_ai.output.messages", r#"[{"role":"assistant","content":"Hello"}]"#)]),
        event(name, &[("gen_ai.input.messages", "later")]),
    ];
    let step = map(sent);
    assert_eq!(step.input.as_deref(), Some(r#"[{"role":"user","content":"Hi"}]"#));
    assert_eq!(step.output.as_deref(), Some(r#"[{"role":"assistant","content":"Hello"}]"#));
}

#[test]
fn an_openinference_chat_call_is_assembled_from_its_parts() {
    let step = map(span(
        "messages.create",
        &[
            ("openinference.span.kind", "llm"),
            ("llm.provider", "anthropic"),
            ("llm.model_name", "claude-sonnet-4-5"),
            ("llm.request.model_name", "claude-sonnet-4-5"),
            ("llm.input_messages.0.message.role", "system"),
            ("llm.input_messages.0.message.content", "Be kind."),
            ("llm.input_messages.2.message.role", "tool"),
            ("llm.input_messages.2.message.tool_call_id", "call_0"),
            ("llm.input_messages.2.message.content", "18 C"),
            ("llm.input_messages.10.message.role", "user"),
            ("llm.input_messages.10.message.contents.0.message_content.type", "text"),
            ("llm.input_messages.10.message.contents.0.message_content.text", "Weather?"),
            ("llm.input_messages.10.message.contents.1.message_content.type", "image"),
            ("llm.input_messages.10.message.contents.1.message_content.image.image.url", "https://x/y.png"),
            ("llm.output_messages.0.message.role", "assistant"),
            ("llm.output_messages.0.message.contents.0.message_content.type", "tool_use"),
            ("llm.output_messages.0.message.contents.0.tool_call.id", "toolu_1"),
            ("llm.output_messages.0.message.contents.0.tool_call.function.name", "get_weather"),
            ("llm.output_messages.0.message.contents.0.tool_call.function.arguments", r#"{"city": "Paris"}"#),
            ("llm.output_messages.0.message.tool_calls.0.tool_call.id", "toolu_1"),
            ("llm.output_messages.0.message.tool_calls.0.tool_call.function.name", "get_weather"),
            ("llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments", r#"{"city": "Paris"}"#),
            ("llm.finish_reason", "tool_use"),
            ("llm.token_count.prompt", "85"),
            ("llm.token_count.completion", "11"),
            ("llm.token_count.total", "96"),
            ("llm.token_count.prompt_details.cache_read", "0"),
            ("llm.cost.total", "0.0000194"),
            ("llm.invocation_parameters", r#"{"stream": true, "model": "x"}"#),
            ("input.value", "ignored"),
            ("output.value", r#"{"id":"msg_1","content":[]}"#),
        ],
    ));
    assert_eq!((step.kind, step.provider.as_deref()), (StepType::ModelCall, Some("anthropic")));
    assert_eq!(
        step.input.as_deref(),
        Some(concat!(
            r#"[{"role":"system","parts":[{"type":"text","content":"Be kind."}]},"#,
            r#"{"role":"tool","parts":[{"type":"tool_call_response","id":"call_0","response":"18 C"}]},"#,
            r#"{"role":"user","parts":[{"type":"text","content":"Weather?"},{"type":"image","uri":"https://x/y.png"}]}]"#
        ))
    );
    assert_eq!(
        step.output.as_deref(),
        Some(
            r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"toolu_1","name":"get_weather","arguments":{"city": "Paris"}}]}]"#
        )
    );
    assert_eq!((step.usage.total, step.usage.cache_read), (Some(96), Some(0)));
    assert_eq!(step.cost, Some(0.000_019_4));
    assert_eq!(step.facts.streaming, Some(true));
    assert_eq!(step.facts.response_id.as_deref(), Some("msg_1"));
    assert_eq!(step.facts.request_model, None);
    assert_eq!(step.facts.finish_reason.as_deref(), Some("tool_call"));
}

#[test]
fn openinference_retrieval_reranking_and_embedding() {
    let retriever = map(span(
        "VectorStoreRetriever",
        &[
            ("openinference.span.kind", "RETRIEVER"),
            ("input.value", "What is the refund window?"),
            ("output.value", "{}"),
            ("retrieval.documents.0.document.id", "d1"),
            ("retrieval.documents.0.document.content", "Refunds within 30 days"),
        ],
    ));
    assert_eq!(retriever.kind, StepType::Retrieval);
    assert_eq!(retriever.input.as_deref(), Some("What is the refund window?"));
    let documents: Value = serde_json::from_str(retriever.output.as_deref().unwrap_or_default()).unwrap();
    assert_eq!(documents, json!([{"id": "d1", "content": "Refunds within 30 days"}]));

    let reranker = map(span(
        "Rerank",
        &[
            ("openinference.span.kind", "RERANKER"),
            ("reranker.query", "refund"),
            ("reranker.output_documents.0.document.id", "d1"),
        ],
    ));
    assert_eq!((reranker.kind, reranker.input.as_deref()), (StepType::Rerank, Some("refund")));
    assert_eq!(reranker.output.as_deref(), Some(r#"[{"id":"d1"}]"#));

    let embedding = map(span(
        "CreateEmbeddings",
        &[
            ("openinference.span.kind", "EMBEDDING"),
            ("embedding.model_name", "text-embedding-3-small"),
            ("embedding.embeddings.0.embedding.text", "one"),
            ("embedding.embeddings.1.embedding.text", "two"),
            ("llm.token_count.total", "18"),
            ("llm.token_count.prompt", "18"),
            ("output.value", "{\"data\":[]}"),
        ],
    ));
    assert_eq!((embedding.kind, embedding.output), (StepType::Embedding, None));
    assert_eq!(embedding.input.as_deref(), Some(r#"["one","two"]"#));
    assert_eq!((embedding.usage.total, embedding.usage.output), (Some(18), None));
    assert_eq!(embedding.provider.as_deref(), Some("openai"));
}

#[test]
fn a_handoff_marked_as_a_tool_is_a_handoff() {
    let step = map(span("handoff to Billing Agent", &[("openinference.span.kind", "TOOL")]));
    assert_eq!(step.kind, StepType::Handoff);
}

#[test]
fn langchain_marks_tell_agent_session_and_sender_metadata() {
    let metadata = r#"{"ls_integration":"langchain_create_agent","lc_agent_name":"weather_agent","thread_id":"t1","user_id":"ada","langgraph_step":1,"plan":"pro","tags":["a"]}"#;
    let step = map(span("weather_agent", &[("openinference.span.kind", "CHAIN"), ("metadata", metadata)]));
    assert_eq!(step.kind, StepType::Agent);
    assert_eq!(step.agent.as_deref(), Some("weather_agent"));
    assert_eq!(step.facts.session_id.as_deref(), Some("t1"));
    assert_eq!(step.facts.user_id.as_deref(), Some("ada"));
    assert_eq!(step.facts.tags, ["a"]);
    assert_eq!(Value::Object(step.facts.run_metadata), json!({"plan": "pro"}));

    let node = map(span("model", &[("openinference.span.kind", "CHAIN"), ("metadata", metadata)]));
    assert_eq!(node.kind, StepType::Workflow);
    let plumbing = map(span("RunnableParallel<a,b>", &[("openinference.span.kind", "CHAIN")]));
    assert_eq!(plumbing.facts.more["plumbing"], json!(true));
}

#[test]
fn a_tool_message_tells_the_call_it_answers() {
    let output = r#"{"type": "tool", "data": {"content": "18 C", "tool_call_id": "call_010"}}"#;
    let step = map(span(
        "get_weather",
        &[
            ("openinference.span.kind", "TOOL"),
            ("tool.name", "get_weather"),
            ("input.value", "Paris"),
            ("output.value", output),
        ],
    ));
    assert_eq!(step.facts.tool_call_id.as_deref(), Some("call_010"));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some("Paris"), Some(output)));
}

#[test]
fn one_web_request_with_a_model_call_of_two_instrumentations() {
    let mut frame =
        span("POST", &[("http.request.method", "POST"), ("http.route", "/ask"), ("http.response.status_code", "200")]);
    frame.kind = 2;
    let frame = map(frame);
    assert_eq!((frame.kind, frame.name.as_str(), frame.facts.genai), (StepType::HttpRequest, "POST /ask", false));
    assert_eq!(frame.output.as_deref(), Some("200"));

    let mut inner = span(
        "anthropic.messages.create",
        &[
            ("gen_ai.provider.name", "anthropic"),
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.request.model", "claude-sonnet-4-5"),
            ("gen_ai.response.model", "claude-sonnet-4-5"),
            ("gen_ai.response.id", "msg_1"),
            ("gen_ai.usage.input_tokens", "1200"),
            ("gen_ai.usage.output_tokens", "300"),
            ("gen_ai.usage.cache_write.input_tokens", "0"),
            ("gen_ai.usage.cache_read.input_tokens", "1024"),
            ("anthropic.message.stop_reason", "end_turn"),
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("url.full", "https://api.anthropic.com/v1/messages?key=secret"),
        ],
    );
    inner.kind = 3;
    let scope = Origin { scope_name: "com.anthropic.sdk.python".into(), ..Origin::default() };
    let (inner, _) = map_from(inner, scope);
    assert_eq!(inner.kind, StepType::ModelCall);
    assert_eq!((inner.usage.total, inner.usage.cache_read, inner.usage.cache_write), (Some(1500), Some(1024), Some(0)));
    assert_eq!(inner.facts.finish_reason.as_deref(), Some("stop"));
    assert_eq!(inner.output, None);
}

#[test]
fn spans_of_other_conventions_have_types_and_names() {
    let cases = [
        (vec![("http.method", "GET"), ("http.url", "http://h/a/b?token=1")], StepType::HttpRequest, "GET /a/b"),
        (vec![("db.system", "postgresql"), ("db.operation.name", "SELECT")], StepType::DbQuery, "SELECT"),
        (vec![("rpc.system", "grpc"), ("rpc.service", "S"), ("rpc.method", "M")], StepType::Rpc, "S/M"),
        (vec![("messaging.system", "kafka"), ("messaging.destination.name", "q")], StepType::Messaging, "work q"),
        (vec![("faas.trigger", "timer")], StepType::Function, "work"),
        (vec![("tool.name", "hammer"), ("model", "x")], StepType::Unknown, "work"),
    ];
    for (pairs, kind, name) in cases {
        let step = map(span("work", &pairs));
        assert_eq!((&step.kind, step.name.as_str()), (&kind, name));
        assert!(!step.facts.genai);
    }
    let mut mark = span("mark", &[]);
    mark.end_ns = mark.start_ns;
    assert_eq!(map(mark).kind, StepType::Event);
}

#[test]
fn the_producer_is_stored_once_and_shown_with_the_step() {
    let origin = Origin {
        resource: attributes(&[
            ("deployment.environment.name", "prod"),
            ("service.instance.id", "i-1"),
            ("service.name", "shop"),
        ]),
        scope_name: "lib".into(),
        ..Origin::default()
    };
    let group = SpanGroup { position: 0, origin, items: vec![span("a", &[]), span("b", &[])] };
    let (steps, origins) =
        map_traces(ProjectId(1), vec![group.clone(), group, SpanGroup::default()], received_at(), &Prices::none());
    assert_eq!((steps.len(), origins.len()), (4, 1));
    let facts = &steps[0].facts;
    assert_eq!((facts.service.as_deref(), facts.instance.as_deref()), (Some("shop"), Some("i-1")));
    assert_eq!(facts.run_metadata["environment"], json!("prod"));
    assert_eq!(steps[0].origin, Some(origins[0].id));
    let shown = metadata(&steps[0], Some(&origins[0].body));
    assert_eq!(shown["resource"]["attributes"]["service.name"], json!("shop"));
    assert_eq!(shown["scope"]["name"], json!("lib"));
    assert_eq!(shown["otel"], json!({"name": "a", "kind": "internal"}));
    assert_eq!(steps[0].status, Status::Success);
}
