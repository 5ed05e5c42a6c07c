use super::*;
use crate::model::step::{Status, StepType};

fn from(scope: &str, name: &str, pairs: &[(&str, &str)]) -> Step {
    map_from(span(name, pairs), Origin { scope_name: scope.to_owned(), ..Origin::default() }).0
}

#[test]
fn a_client_of_an_older_version_keeps_request_and_response() {
    let request = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}]}"#;
    let response = r#"{"message":{"role":"assistant","content":"Hello"},"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    let step = from(
        "logfire.openai",
        "Chat Completion with {request_data[model]!r}",
        &[
            ("logfire.msg_template", "Chat Completion with {request_data[model]!r}"),
            ("logfire.msg", "Chat Completion with 'gpt-4o-mini'"),
            ("logfire.tags", r#"["LLM"]"#),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("request_data", request),
            ("response_data", response),
        ],
    );
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::ModelCall, "Chat Completion with 'gpt-4o-mini'"));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(request), Some(response)));
    assert_eq!((step.usage.input, step.usage.output, step.usage.cache_read), (Some(9), Some(2), Some(4)));
    assert_eq!(step.facts.tags, ["LLM"]);
    let embedding = from(
        "logfire.openai",
        "Embedding Creation with {request_data[model]!r}",
        &[("request_data", r#"{"input":"a"}"#)],
    );
    assert_eq!((embedding.kind, embedding.output), (StepType::Embedding, None));
    assert_eq!(from("other", "Message with {x}", &[]).kind, StepType::Unknown);
}

#[test]
fn events_hold_both_sides_of_a_response() {
    let events = r#"[{"event.name":"gen_ai.user.message","content":"Hi","role":"user"},{"event.name":"gen_ai.assistant.message","content":"Hello","role":"assistant"}]"#;
    let step = from("logfire.openai", "Responses API with {gen_ai.request.model!r}", &[("events", events)]);
    assert_eq!(step.input.as_deref(), Some(r#"[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]"#));
    assert_eq!(step.output.as_deref(), Some(r#"[{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}]"#));
}

#[test]
fn the_report_of_a_provider_puts_its_cache_into_the_input() {
    let raw =
        r#"{"input_tokens":176,"cache_read_input_tokens":1000,"cache_creation_input_tokens":24,"output_tokens":300}"#;
    let step = from(
        "logfire.anthropic",
        "Message with {request_data[model]!r}",
        &[("gen_ai.usage.input_tokens", "176"), ("gen_ai.usage.output_tokens", "300"), ("gen_ai.usage.raw", raw)],
    );
    let usage = step.usage;
    assert_eq!(
        (usage.input, usage.cache_read, usage.cache_write, usage.total),
        (Some(1200), Some(1000), Some(24), Some(1500))
    );
}

#[test]
fn a_level_of_error_is_a_failure_and_a_warning_is_none() {
    let level =
        |level: &str| from("logfire", "work {x}", &[("logfire.level_num", level), ("logfire.msg", "work 1 broke")]);
    assert_eq!((level("17").status, level("17").error.as_deref()), (Status::Error, Some("work 1 broke")));
    assert_eq!((level("13").status, level("13").name.as_str()), (Status::Success, "work 1 broke"));
}

#[test]
fn mcp_requests_of_a_tool_are_tool_calls_on_both_sides() {
    let request = r#"{"method":"tools/call","params":{"name":"now","arguments":{"city":"Paris"}}}"#;
    let response = r#"{"content":[{"type":"text","text":"18 C"}],"isError":true}"#;
    for pairs in [
        vec![("rpc.system", "jsonrpc"), ("rpc.method", "tools/call"), ("request", request), ("response", response)],
        vec![("request", request), ("response", response)],
    ] {
        let step = from("logfire.mcp", "MCP request: tools/call now", &pairs);
        assert_eq!((step.kind.clone(), step.name.as_str(), step.status), (StepType::ToolCall, "now", Status::Error));
        assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(r#"{"city":"Paris"}"#), Some(response)));
    }
    assert_eq!(
        from("logfire.mcp", "MCP request: initialize", &[("rpc.system", "jsonrpc"), ("rpc.method", "initialize")]).kind,
        StepType::Rpc
    );
}

#[test]
fn google_genai_writes_its_events_as_json() {
    let mut sent =
        span("generate_content gemini", &[("gen_ai.operation.name", "generate_content"), ("gen_ai.system", "gemini")]);
    sent.events = vec![
        event(
            "gen_ai.user.message",
            &[("event_body", r#"{"content":{"parts":[{"text":"Hi"}],"role":"user"},"role":"user"}"#)],
        ),
        event("gen_ai.choice", &[("event_body", r#"{"index":0,"message":{"role":"assistant","content":["Hello"]}}"#)]),
    ];
    let step = map(sent);
    assert_eq!(step.input.as_deref(), Some(r#"[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]"#));
    assert_eq!(step.output.as_deref(), Some(r#"[{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}]"#));
}

fn openai_agents(template: &str, pairs: &[(&str, &str)]) -> Step {
    from("logfire.openai_agents", template, &[&[("logfire.msg_template", template)], pairs].concat())
}

#[test]
fn templates_tell_the_spans_of_the_openai_agents_sdk() {
    for (template, kind) in [
        ("OpenAI Agents trace: {name}", StepType::Workflow),
        ("Task: Agent workflow", StepType::Workflow),
        ("Turn {turn} for agent A", StepType::Workflow),
        ("Agent run: {name!r}", StepType::Agent),
        ("Function: {name}", StepType::ToolCall),
        ("Handoff: {from_agent} → {to_agent}", StepType::Handoff),
        ("Guardrail {name!r} {triggered=}", StepType::Guardrail),
        ("Responses API", StepType::ModelCall),
        ("Chat completion with {gen_ai.request.model!r}", StepType::ModelCall),
        ("Speech → Text with {gen_ai.request.model!r}", StepType::ModelCall),
        ("Text → Speech group", StepType::Workflow),
        ("Custom span: {name}", StepType::Workflow),
        ("MCP: list tools from server {server}", StepType::Rpc),
    ] {
        assert_eq!(openai_agents(template, &[]).kind, kind, "{template}");
    }
}

#[test]
fn functions_calls_and_turns_of_the_openai_agents_sdk() {
    let error = r#"{"message":"Error running tool (non-fatal)","data":{"tool_name":"now","error":"Unknown city"}}"#;
    let tool = openai_agents(
        "Function: {name}",
        &[("name", "now"), ("input", r#"{"city": "X"}"#), ("output", "broke"), ("error", error)],
    );
    assert_eq!(
        (tool.name.as_str(), tool.input.as_deref(), tool.output.as_deref()),
        ("now", Some(r#"{"city": "X"}"#), Some("broke"))
    );
    assert_eq!((tool.status, tool.error.as_deref()), (Status::Error, Some("Unknown city")));

    let asked = r#"[{"role":"user","content":"Hi"}]"#;
    let said = r#"{"id":"resp_1","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello"}]}]}"#;
    let call = openai_agents(
        "Responses API",
        &[("raw_input", asked), ("response", said), ("response_id", "resp_1"), ("gen_ai.system", "openai")],
    );
    assert_eq!((call.input.as_deref(), call.output.as_deref()), (Some(asked), Some(said)));
    assert_eq!((call.facts.response_id.as_deref(), call.provider.as_deref()), (Some("resp_1"), Some("openai")));

    let usage = r#"{"input_tokens":460,"output_tokens":62,"cached_input_tokens":9,"total_tokens":522}"#;
    let task = openai_agents("Task: Agent workflow", &[("usage", usage), ("logfire.msg", "Task: Agent workflow")]);
    assert_eq!((task.usage.input, task.usage.cache_read, task.usage.total), (Some(460), Some(9), Some(522)));

    let trace = |group| {
        openai_agents("OpenAI Agents trace: {name}", &[("group_id", group), ("logfire.msg", "OpenAI Agents trace: w")])
    };
    assert_eq!((trace("g1").facts.session_id.as_deref(), trace("null").facts.session_id), (Some("g1"), None));
    assert_eq!(trace("g1").name, "OpenAI Agents trace: w");
}
