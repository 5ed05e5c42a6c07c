use serde_json::json;

use super::*;
use crate::mapping::detail::metadata;
use crate::model::step::{Status, StepType};

#[test]
fn kinds_of_traceloop_beat_the_operation() {
    let cases = [
        (&[("traceloop.span.kind", "workflow"), ("gen_ai.operation.name", "invoke_agent")][..], StepType::Workflow),
        (&[("traceloop.span.kind", "task")], StepType::Workflow),
        (&[("traceloop.span.kind", "session")], StepType::Workflow),
        (&[("traceloop.span.kind", "agent")], StepType::Agent),
        (&[("traceloop.span.kind", "tool")], StepType::ToolCall),
        (&[("traceloop.span.kind", "handoff")], StepType::Handoff),
        (&[("traceloop.span.kind", "unknown"), ("gen_ai.operation.name", "chat")], StepType::ModelCall),
        (&[("llm.request.type", "chat")], StepType::ModelCall),
        (&[("llm.request.type", "completion")], StepType::ModelCall),
        (&[("gen_ai.request.type", "embedding")], StepType::Embedding),
        (&[("traceloop.llm.request.type", "rerank")], StepType::Rerank),
        (&[("litellm.request.type", "aembedding")], StepType::Embedding),
        (&[("litellm.request.type", "arerank")], StepType::Rerank),
        (&[("llm.request.type", "acompletion")], StepType::ModelCall),
        (&[("llm.request.type", "unknown")], StepType::Unknown),
        (&[("gen_ai.operation.name", "execute_task")], StepType::Workflow),
        (&[("gen_ai.operation.name", "llm_request")], StepType::ModelCall),
        (&[("gen_ai.operation.name", "vector_db_retrieve")], StepType::Retrieval),
        (&[("gen_ai.handoff.to_agent", "billing")], StepType::Handoff),
        // The SDK copies these to every child: they tell no type.
        (
            &[("gen_ai.agent.name", "a"), ("gen_ai.conversation.id", "c"), ("traceloop.workflow.name", "w")],
            StepType::Unknown,
        ),
    ];
    for (pairs, kind) in cases {
        assert_eq!(map(span("x", pairs)).kind, kind, "{pairs:?}");
    }
}

#[test]
fn a_call_with_numbered_messages() {
    let step = map(span(
        "openai.chat",
        &[
            ("llm.request.type", "chat"),
            ("gen_ai.system", "OpenAI"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
            ("gen_ai.prompt.0.role", "system"),
            ("gen_ai.prompt.0.content", "Be kind."),
            ("gen_ai.prompt.1.role", "user"),
            ("gen_ai.prompt.1.content", r#"[{"type": "text", "text": "Weather?"}]"#),
            ("gen_ai.prompt.2.role", "assistant"),
            ("gen_ai.prompt.2.tool_calls.0.id", "call_1"),
            ("gen_ai.prompt.2.tool_calls.0.name", "get_weather"),
            ("gen_ai.prompt.2.tool_calls.0.arguments", r#"{"city": "Paris"}"#),
            ("gen_ai.prompt.3.role", "tool"),
            ("gen_ai.prompt.3.content", "sunny"),
            ("gen_ai.prompt.3.tool_call_id", "call_1"),
            ("gen_ai.completion.0.role", "assistant"),
            ("gen_ai.completion.0.content", "It is sunny."),
            ("gen_ai.completion.0.reasoning", "Think."),
            ("gen_ai.completion.0.finish_reason", "stop"),
            ("gen_ai.usage.prompt_tokens", "120"),
            ("gen_ai.usage.completion_tokens", "18"),
            ("llm.usage.total_tokens", "138"),
            ("gen_ai.usage.cache_read_input_tokens", "100"),
            ("gen_ai.usage.reasoning_tokens", "4"),
            ("llm.is_streaming", "true"),
            ("llm.user", "ada"),
        ],
    ));
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::ModelCall, "openai.chat"));
    assert_eq!((step.model.as_deref(), step.provider.as_deref()), (Some("gpt-4o-mini-2024-07-18"), Some("openai")));
    let input = concat!(
        r#"[{"role":"system","parts":[{"type":"text","content":"Be kind."}]},"#,
        r#"{"role":"user","parts":[{"type":"text","content":"Weather?"}]},"#,
        r#"{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{"city": "Paris"}}]},"#,
        r#"{"role":"tool","parts":[{"type":"tool_call_response","id":"call_1","response":"sunny"}]}]"#
    );
    assert_eq!(step.input.as_deref(), Some(input));
    let output = r#"[{"role":"assistant","parts":[{"type":"reasoning","content":"Think."},{"type":"text","content":"It is sunny."}],"finish_reason":"stop"}]"#;
    assert_eq!(step.output.as_deref(), Some(output));
    assert_eq!(source(&step, "input"), Some("gen_ai.prompt.*"));
    let usage = step.usage;
    assert_eq!((usage.input, usage.output, usage.total), (Some(120), Some(18), Some(138)));
    assert_eq!((usage.cache_read, usage.reasoning), (Some(100), Some(4)));
    assert_eq!(step.facts.finish_reason.as_deref(), Some("stop"));
    assert_eq!((step.facts.streaming, step.facts.user_id.as_deref()), (Some(true), Some("ada")));
}

#[test]
fn older_names_of_numbered_messages() {
    let cases = [
        (
            [("llm.prompts.0.role", "user"), ("llm.prompts.0.content", "Hi")],
            [("llm.completions.0.role", "assistant"), ("llm.completions.0.content", "Hello")],
        ),
        (
            [("SpanAttributes.LLM_PROMPTS.0.role", "user"), ("SpanAttributes.LLM_PROMPTS.0.content", "Hi")],
            [
                ("SpanAttributes.LLM_COMPLETIONS.0.role", "assistant"),
                ("SpanAttributes.LLM_COMPLETIONS.0.content", "Hello"),
            ],
        ),
        (
            [("gen_ai.prompt.0.message.role", "user"), ("gen_ai.prompt.0.message.content", "Hi")],
            [("gen_ai.completion.0.message.role", "assistant"), ("gen_ai.completion.0.message.content", "Hello")],
        ),
        (
            [("gen_ai.prompt.0.user", "Hi"), ("gen_ai.system", "VertexAI")],
            [("gen_ai.completion.0.content", "Hello"), ("z", "")],
        ),
    ];
    for (input, output) in cases {
        let pairs = [&input[..], &output[..], &[("llm.request.type", "chat")]].concat();
        let step = map(span("x", &pairs));
        assert_eq!(
            step.input.as_deref(),
            Some(r#"[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]"#),
            "{pairs:?}"
        );
        assert_eq!(
            step.output.as_deref(),
            Some(r#"[{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}]"#)
        );
    }
    // One number for each call of a tool.
    let calls = map(span(
        "x",
        &[
            ("llm.request.type", "chat"),
            ("gen_ai.completion.0.function_call.name", "f"),
            ("gen_ai.completion.0.function_call.arguments", "{}"),
            ("gen_ai.completion.1.function_call.name", "g"),
        ],
    ));
    let expected = r#"[{"role":"assistant","parts":[{"type":"tool_call","name":"f","arguments":{}}]},{"role":"assistant","parts":[{"type":"tool_call","name":"g","arguments":null}]}]"#;
    assert_eq!(calls.output.as_deref(), Some(expected));
    // A role alone says nothing: the next source may.
    let empty = map(span(
        "x",
        &[
            ("llm.request.type", "chat"),
            ("gen_ai.completion.0.role", "assistant"),
            ("traceloop.entity.output", "\"Hi\""),
        ],
    ));
    assert_eq!(empty.output.as_deref(), Some("\"Hi\""));
}

#[test]
fn decorated_functions_have_names_contents_and_properties() {
    let step = map(span(
        "answer.tool",
        &[
            ("traceloop.span.kind", "tool"),
            ("traceloop.entity.name", "answer"),
            ("traceloop.entity.input", r#"{"args": [], "kwargs": {"q": "x"}}"#),
            ("traceloop.entity.output", "null"),
            ("traceloop.workflow.name", "support"),
            ("traceloop.association.properties.session_id", "s1"),
            ("traceloop.association.properties.user_id", "ada"),
            ("traceloop.association.properties.tags", r#"["beta","eu"]"#),
            ("traceloop.association.properties.plan", "pro"),
            ("traceloop.association.properties.langgraph_step", "1"),
        ],
    ));
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::ToolCall, "answer"));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(r#"{"args": [], "kwargs": {"q": "x"}}"#), None));
    assert_eq!((step.facts.session_id.as_deref(), step.facts.user_id.as_deref()), (Some("s1"), Some("ada")));
    assert_eq!(step.facts.tags, ["beta", "eu"]);
    assert_eq!(step.facts.run_name.as_deref(), Some("support"));
    assert_eq!(json!(step.facts.run_metadata), json!({"plan": "pro"}));
    let nameless = map(span("plan.workflow", &[("traceloop.span.kind", "workflow")]));
    assert_eq!(nameless.name, "plan");
}

#[test]
fn a_graph_node_named_like_its_agent_is_the_agent() {
    let pairs = |name| {
        [
            ("traceloop.span.kind", "workflow"),
            ("traceloop.entity.name", name),
            ("traceloop.association.properties.lc_agent_name", "weather_agent"),
            ("traceloop.association.properties.thread_id", "t1"),
        ]
    };
    let agent = map(span("weather_agent.workflow", &pairs("weather_agent")));
    assert_eq!((agent.kind, agent.name.as_str()), (StepType::Agent, "weather_agent"));
    assert_eq!(agent.facts.session_id.as_deref(), Some("t1"));
    assert_eq!(map(span("model.task", &pairs("model"))).kind, StepType::Workflow);
}

#[test]
fn a_task_may_be_a_call_a_tool_or_a_retrieval() {
    for (key, word, kind) in [
        ("gen_ai.operation.name", "vector_db_retrieve", StepType::Retrieval),
        ("gen_ai.operation.name", "chat", StepType::ModelCall),
        ("gen_ai.operation.name", "execute_tool", StepType::ToolCall),
        ("gen_ai.operation.name", "invoke_agent", StepType::Workflow),
        ("llm.request.type", "chat", StepType::ModelCall),
        ("llm.request.type", "embedding", StepType::Embedding),
    ] {
        assert_eq!(map(span("x.task", &[("traceloop.span.kind", "task"), (key, word)])).kind, kind, "{word}");
    }
}

#[test]
fn tools_of_llama_index_are_named_and_fail_in_their_output() {
    let step = map(span(
        "call_tool.task",
        &[
            ("traceloop.span.kind", "task"),
            ("traceloop.entity.name", "call_tool.task"),
            ("traceloop.entity.input", r#"{"ev": {"tool_name": "get_weather"}}"#),
            (
                "traceloop.entity.output",
                r#"{"tool_name": "get_weather", "tool_id": "call_1", "tool_output": {"blocks": [{"text": "no such city"}], "is_error": true}}"#,
            ),
            ("tool.name", "get_weather"),
            ("tool.arguments", r#"{"city": "Paris"}"#),
        ],
    ));
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::ToolCall, "get_weather"));
    assert_eq!(step.input.as_deref(), Some(r#"{"city": "Paris"}"#));
    assert_eq!((step.status, step.error.as_deref()), (Status::Error, Some("no such city")));
    assert_eq!(step.facts.tool_call_id.as_deref(), Some("call_1"));
    let class = map(span(
        "FunctionTool.tool",
        &[
            ("traceloop.span.kind", "tool"),
            ("traceloop.entity.name", "FunctionTool.tool"),
            ("traceloop.entity.output", r#"{"content": "sunny", "tool_name": "get_weather", "is_error": false}"#),
        ],
    ));
    assert_eq!((class.name.as_str(), class.status), ("get_weather", Status::Success));
    assert_eq!(
        map(span(
            "FunctionAgent.workflow",
            &[("traceloop.span.kind", "workflow"), ("traceloop.entity.name", "FunctionAgent.workflow")]
        ))
        .name,
        "FunctionAgent"
    );
}

#[test]
fn a_framework_leaves_the_provider_to_the_metadata() {
    let step = map(span(
        "ChatOpenAI.chat",
        &[
            ("llm.request.type", "chat"),
            ("gen_ai.system", "Langchain"),
            ("traceloop.association.properties.ls_provider", "openai"),
            ("traceloop.association.properties.ls_model_name", "gpt-4o"),
        ],
    ));
    assert_eq!((step.provider.as_deref(), step.model.as_deref()), (Some("openai"), Some("gpt-4o")));
    assert_eq!(step.facts.framework.as_deref(), Some("Langchain"));
}

#[test]
fn tasks_that_failed_are_errors_whatever_the_status() {
    let task = |status| {
        map(span(
            "execute_task plan",
            &[
                ("gen_ai.operation.name", "execute_task"),
                ("gen_ai.task.input", "{\"x\":1}"),
                ("gen_ai.task.output", "done"),
                ("gen_ai.task.status", status),
                ("error.message", "no plan"),
            ],
        ))
    };
    assert_eq!((task("failure").status, task("failure").error.as_deref()), (Status::Error, Some("no plan")));
    let fine = task("success");
    assert_eq!(
        (fine.status, fine.input.as_deref(), fine.output.as_deref()),
        (Status::Success, Some("{\"x\":1}"), Some("done"))
    );
}

#[test]
fn searches_in_vector_databases_are_retrievals() {
    let mut sent =
        span("chroma.query", &[("db.system", "chroma"), ("db.operation", "query"), ("db.chroma.query.n_results", "2")]);
    sent.events = vec![
        event("db.query.embeddings", &[("db.query.embeddings.vector", "[0.1]")]),
        event(
            "db.query.result",
            &[("db.query.result.id", "a"), ("db.query.result.document", "30 days"), ("db.query.result.distance", "1")],
        ),
    ];
    let step = map(sent);
    assert_eq!(step.kind, StepType::Retrieval);
    assert_eq!(step.output.as_deref(), Some(r#"[{"content":"30 days","distance":1,"id":"a"}]"#));
    for (name, system, kind) in [
        ("chroma.add", "chroma", StepType::DbQuery),
        ("qdrant.search", "qdrant", StepType::Retrieval),
        ("SELECT", "postgresql", StepType::DbQuery),
    ] {
        assert_eq!(map(span(name, &[("db.system", system)])).kind, kind, "{name}");
    }
    assert_eq!(map(span("x", &[("db.vector.query.top_k", "3")])).kind, StepType::Retrieval);
}

#[test]
fn tools_over_mcp_show_what_was_exchanged() {
    let session = map(span("mcp.client.session", &[("traceloop.span.kind", "session")]));
    assert_eq!((session.kind, session.facts.genai), (StepType::Workflow, false));
    let step = map(span(
        "get_weather.tool",
        &[
            ("traceloop.span.kind", "tool"),
            ("mcp.request.argument", r#"{"city":"Paris"}"#),
            ("mcp.response.value", "sunny"),
        ],
    ));
    assert_eq!(
        (step.name.as_str(), step.input.as_deref(), step.output.as_deref()),
        ("get_weather", Some(r#"{"city":"Paris"}"#), Some("sunny"))
    );
}

#[test]
fn odd_values_neither_panic_nor_get_lost() {
    let step = map(span(
        "x",
        &[
            ("gen_ai.prompt.0.content", "[{\"type\""),
            ("gen_ai.prompt.x.role", "user"),
            ("gen_ai.completion.", "y"),
            ("traceloop.association.properties.", "y"),
            ("traceloop.span.kind", "7"),
            ("llm.request.type", "a"),
        ],
    ));
    assert_eq!(metadata(&step, None)["attributes"]["gen_ai.prompt.x.role"], json!("user"));
}
