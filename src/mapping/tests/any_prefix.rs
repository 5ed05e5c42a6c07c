//! Instrumentations that no dialect lists, with the attributes that they write.

use serde_json::json;

use super::*;
use crate::messages;
use crate::model::step::StepType;

/// What must come out of a span; an empty text or -1 is "none".
struct Want {
    kind: StepType,
    name: &'static str,
    model: &'static str,
    tokens: (i64, i64),
    input: &'static str,
    output: &'static str,
}

fn check(what: &str, step: &Step, want: Want) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let view = |stored: &Option<String>, read: fn(&str) -> Option<String>| {
        stored.as_deref().map(|stored| read(stored).unwrap_or_else(|| stored.to_owned())).unwrap_or_default()
    };
    assert_eq!(step.kind, want.kind, "{what}");
    assert_eq!(step.name, want.name, "{what}");
    assert_eq!(text(&step.model), want.model, "{what}");
    let tokens = (step.usage.input.unwrap_or(-1), step.usage.output.unwrap_or(-1));
    assert_eq!(tokens, want.tokens, "{what}");
    assert_eq!(view(&step.input, messages::input_text), want.input, "{what}");
    assert_eq!(view(&step.output, messages::output_text), want.output, "{what}");
    assert!(step.facts.genai, "{what}");
}

#[test]
fn model_calls() {
    let asked = r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]"#;
    let answered = r#"[{"role":"assistant","content":"Hello"}]"#;
    type Pairs = [(&'static str, &'static str)];
    let cases: [(&str, &Pairs, &str, (i64, i64)); 12] = [
        (
            "judgment",
            &[
                ("judgment.span_kind", "llm"),
                ("judgment.input", asked),
                ("judgment.output", answered),
                ("judgment.llm.provider", "anthropic"),
                ("judgment.llm.model", "claude-sonnet-4-5"),
                ("judgment.usage.non_cached_input_tokens", "20"),
                ("judgment.usage.cache_read_input_tokens", "100"),
                ("judgment.usage.output_tokens", "5"),
                ("judgment.usage.metadata", r#"{"input_tokens":20,"cache_read_input_tokens":100,"output_tokens":5}"#),
            ],
            "claude-sonnet-4-5",
            (120, 5),
        ),
        (
            "honeyhive",
            &[
                ("honeyhive_event_type", "model"),
                ("honeyhive_config.model", "gpt-4o-mini"),
                ("honeyhive_inputs.chat_history.0.role", "system"),
                ("honeyhive_inputs.chat_history.0.content", "Be brief."),
                ("honeyhive_inputs.chat_history.1.role", "user"),
                ("honeyhive_inputs.chat_history.1.content", "Hi"),
                ("honeyhive_outputs.role", "assistant"),
                ("honeyhive_outputs.content", "Hello"),
                ("honeyhive_metadata.prompt_tokens", "20"),
                ("honeyhive_metadata.completion_tokens", "5"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "future agi",
            &[
                ("fi.span.kind", "LLM"),
                ("fi.llm.model_name", "gpt-4o-mini"),
                ("fi.llm.input_messages.0.message.role", "user"),
                ("fi.llm.input_messages.0.message.content", "Hi"),
                ("fi.llm.output_messages.0.message.role", "assistant"),
                ("fi.llm.output_messages.0.message.content", "Hello"),
                ("fi.llm.token_count.prompt", "20"),
                ("fi.llm.token_count.completion", "5"),
                ("fi.llm.token_count.total", "25"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "datadog",
            &[
                ("_ml_obs.meta.span.kind", "llm"),
                ("_ml_obs.meta.model_name", "gpt-4o-mini"),
                ("_ml_obs.meta.model_provider", "openai"),
                ("_ml_obs.meta.input.messages", asked),
                ("_ml_obs.meta.output.messages", answered),
                ("_ml_obs.metrics", r#"{"input_tokens":20,"output_tokens":5,"total_tokens":25}"#),
                ("_ml_obs.metrics.usage", r#"{"input_tokens":20,"output_tokens":5,"total_tokens":25}"#),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "netra, with the keys of the conventions beside",
            &[
                ("netra.span.type", "GENERATION"),
                ("gen_ai.request.model", "gpt-4o-mini"),
                ("netra.entity.input", asked),
                ("netra.entity.output", answered),
                ("gen_ai.usage.prompt_tokens", "20"),
                ("gen_ai.usage.completion_tokens", "5"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "coze loop",
            &[
                ("cozeloop.span_type", "model"),
                ("cozeloop.input", r#"{"messages":[{"role":"user","content":"Hi"}]}"#),
                ("cozeloop.output", r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"}}]}"#),
                ("cozeloop.model_name", "doubao-1.5-pro"),
                ("cozeloop.input_tokens", "20"),
                ("cozeloop.output_tokens", "5"),
            ],
            "doubao-1.5-pro",
            (20, 5),
        ),
        (
            "agenta",
            &[
                ("ag.type.node", "chat"),
                ("ag.data.inputs", r#"{"messages":[{"role":"user","content":"Hi"}]}"#),
                ("ag.data.outputs", r#"{"completion":[{"role":"assistant","content":"Hello"}]}"#),
                ("ag.meta.response.model", "gpt-4o-mini"),
                ("ag.metrics.unit.tokens.prompt", "20"),
                ("ag.metrics.unit.tokens.completion", "5"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "fiddler",
            &[
                ("fiddler.span.type", "llm"),
                ("gen_ai.request.model", "gpt-4o-mini"),
                ("gen_ai.llm.input.system", "Be brief."),
                ("gen_ai.llm.input.user", "Hi"),
                ("gen_ai.llm.output", "Hello"),
                ("gen_ai.usage.input_tokens", "20"),
                ("gen_ai.usage.output_tokens", "5"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "camel case and numbers as text",
            &[
                ("acme.span.kind", "chat_model"),
                ("acme.modelName", "\"gpt-4o-mini\""),
                ("acme.usage.inputTokens", "20"),
                ("acme.usage.outputTokens", "5"),
                ("acme.usage.estimatedOutputTokens", "900"),
                ("acme.prompt", "Hi"),
                ("acme.response", "Hello"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "prompt flow",
            &[
                ("span_type", "LLM"),
                ("framework", "promptflow"),
                ("inputs", r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}]}"#),
                (
                    "output",
                    r#"{"id":"chatcmpl-1","model":"gpt-4o-mini","choices":[{"message":{"role":"assistant","content":"Hello"}}],"usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25}}"#,
                ),
                ("llm.response.model", "gpt-4o-mini"),
                ("llm.usage.prompt_tokens", "20"),
                ("llm.usage.completion_tokens", "5"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "no type at all: a model and both counts",
            &[
                ("mygateway.llm.model", "gpt-4o-mini"),
                ("mygateway.llm.usage.prompt_tokens", "20"),
                ("mygateway.llm.usage.completion_tokens", "5"),
                ("mygateway.llm.input", "Hi"),
                ("mygateway.llm.output", "Hello"),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
        (
            "usage in the answer alone",
            &[
                ("acme.span_type", "llm"),
                ("acme.input", "Hi"),
                (
                    "acme.output",
                    r#"{"model":"gpt-4o-mini","choices":[{"message":{"role":"assistant","content":"Hello"}}],"usage":{"prompt_tokens":20,"completion_tokens":5}}"#,
                ),
            ],
            "gpt-4o-mini",
            (20, 5),
        ),
    ];
    for (what, pairs, model, tokens) in cases {
        let step = map(span("call", pairs));
        let want = Want { kind: StepType::ModelCall, name: "call", model, tokens, input: "Hi", output: "Hello" };
        check(what, &step, want);
    }
}

#[test]
fn tools_agents_and_others() {
    let kind_of = |pairs: &[(&str, &str)]| map(span("step", pairs));
    let tool = kind_of(&[
        ("confident.span.type", "tool"),
        ("confident.tool.name", "get_weather"),
        ("confident.tool.attributes.input_parameters", r#"{"city":"Paris"}"#),
        ("confident.tool.attributes.output", "18 C"),
        ("confident.tool.call_id", "call_1"),
    ]);
    assert_eq!((&tool.kind, tool.name.as_str()), (&StepType::ToolCall, "get_weather"));
    assert_eq!((tool.input.as_deref(), tool.output.as_deref()), (Some(r#"{"city":"Paris"}"#), Some("18 C")));
    assert_eq!(tool.facts.tool_call_id.as_deref(), Some("call_1"));

    let task =
        kind_of(&[("tool.name", "get_weather"), ("tool.arguments", r#"{"city":"Paris"}"#), ("tool.result", "18 C")]);
    assert_eq!((&task.kind, task.name.as_str()), (&StepType::ToolCall, "get_weather"));
    assert_eq!((task.input.as_deref(), task.output.as_deref()), (Some(r#"{"city":"Paris"}"#), Some("18 C")));

    let class = map(span(
        "DynamicStructuredTool",
        &[
            ("acme.span.kind", "tool"),
            (
                "acme.output",
                r#"{"type":"tool","data":{"name":"get_weather","tool_call_id":"call_2","content":"18 C"}}"#,
            ),
        ],
    ));
    assert_eq!((class.name.as_str(), class.facts.tool_call_id.as_deref()), ("get_weather", Some("call_2")));

    let flat = kind_of(&[("honeyhive_event_type", "tool"), ("honeyhive_inputs._params_.city", "Paris")]);
    assert_eq!(flat.input.as_deref(), Some(r#"{"city":"Paris"}"#));

    // The word for the type beats the presence of model keys: an agent may report its model and its sum.
    let agent = kind_of(&[
        ("gen_ai.span.kind", "AGENT"),
        ("gen_ai.agent.name", "planner"),
        ("gen_ai.request.model", "qwen-max"),
        ("gen_ai.usage.input_tokens", "200"),
        ("gen_ai.usage.output_tokens", "10"),
        ("gen_ai.session.id", "s1"),
        ("gen_ai.user.id", "u1"),
        ("input.value", "Hi"),
        ("output.value", "Hello"),
    ]);
    let want = Want {
        kind: StepType::Agent,
        name: "planner",
        model: "qwen-max",
        tokens: (200, 10),
        input: "Hi",
        output: "Hello",
    };
    check("arms", &agent, want);
    assert_eq!((agent.facts.session_id.as_deref(), agent.facts.user_id.as_deref()), (Some("s1"), Some("u1")));

    for (pairs, want) in [
        (&[("ag2.span.type", "agent"), ("acme.agent_name", "x")][..], StepType::Agent),
        (&[("embabel.event.type", "agent_process")][..], StepType::Agent),
        (&[("embabel.event.type", "rag")][..], StepType::Retrieval),
        (&[("weave.span.kind", "retriever")][..], StepType::Retrieval),
        (&[("basalt.span.kind", "evaluation")][..], StepType::Evaluator),
        (&[("dify.node.type", "knowledge-retrieval")][..], StepType::Retrieval),
        (&[("acme.observation.type", "EMBEDDING")][..], StepType::Embedding),
        (&[("gen_ai.operation.name", "process_thread_run")][..], StepType::Agent),
        (&[("acme.span.kind", "llm"), ("llm.request.type", "embedding")][..], StepType::Embedding),
        (&[("acme.span.kind", "llm"), ("url.full", "https://x.y/v1/embeddings?a=1")][..], StepType::Embedding),
        // The more span-specific key wins.
        (&[("acme.entity.type", "workflow"), ("acme.span.kind", "tool")][..], StepType::ToolCall),
    ] {
        assert_eq!(kind_of(pairs).kind, want, "{pairs:?}");
    }
}

#[test]
fn bare_words_are_no_evidence() {
    let step = map(span(
        "handle",
        &[
            ("tool.name", "x"),
            ("input", "Hi"),
            ("output", "Hello"),
            ("model", "gpt-4o"),
            ("prompt", "Hi"),
            ("session.id", "s"),
            ("agent.name", "a"),
            ("workflow.name", "w"),
            ("event_type", "agent"),
            ("span.kind", "internal"),
            ("thread.id", "7"),
        ],
    ));
    assert_eq!(step.kind, StepType::Unknown);
    assert!(!step.facts.genai);
    assert_eq!((step.input, step.output), (None, None));
    for pairs in [&[("span.kind", "client")][..], &[("x.span.kind", "span")], &[("http.request.type", "chat")]] {
        assert_eq!(map(span("x", pairs)).kind, StepType::Unknown, "{pairs:?}");
    }
}

#[test]
fn identity_is_read_from_typed_spans() {
    for (key, other) in [
        ("acme.session.id", "mcp.session.id"),
        ("acme.sessionId", "acme.previous_session_id"),
        ("acme.conversation_id", "acme.browser.session_id"),
        ("wandb.thread_id", "thread.id"),
        ("scope.agentic.session", "acme.parent.session.id"),
    ] {
        let step = map(span("x", &[("acme.span.kind", "agent"), (key, "s1"), (other, "s2")]));
        assert_eq!(step.facts.session_id.as_deref(), Some("s1"), "{key}");
    }
    for key in ["acme.user.id", "acme.userId", "acme.end_user.id", "judgment.customer_id"] {
        let pairs = [("acme.span.kind", "agent"), (key, "u1"), ("acme.user_api_key_user_id", "default")];
        assert_eq!(map(span("x", &pairs)).facts.user_id.as_deref(), Some("u1"), "{key}");
    }
    let step = map(span("x", &[("acme.span.kind", "agent"), ("acme.tags", r#"["a","b"]"#)]));
    assert_eq!(step.facts.tags, ["a", "b"]);
}

#[test]
fn content_and_usage_in_events_of_any_name() {
    let mut sent = span(
        "openai.chat",
        &[
            ("span.type", "inference"),
            ("entity.count", "2"),
            ("entity.1.type", "inference.openai"),
            ("entity.1.provider_name", "api.openai.com"),
            ("entity.2.name", "gpt-4o-mini"),
            ("entity.2.type", "model.llm.gpt-4o-mini"),
        ],
    );
    sent.events = vec![
        Event {
            attributes: vec![(
                "input".into(),
                AnyValue::Array(vec![
                    AnyValue::Str(r#"{"system":"Be brief."}"#.into()),
                    AnyValue::Str(r#"{"user":"Hi"}"#.into()),
                ]),
            )],
            ..event("data.input", &[])
        },
        event("data.output", &[("response", r#"{"assistant":"Hello"}"#)]),
        event(
            "metadata",
            &[("completion_tokens", "5"), ("prompt_tokens", "20"), ("total_tokens", "25"), ("finish_reason", "stop")],
        ),
    ];
    let step = map(sent);
    let (name, model) = ("openai.chat", "gpt-4o-mini");
    let want = Want { kind: StepType::ModelCall, name, model, tokens: (20, 5), input: "Hi", output: "Hello" };
    check("monocle", &step, want);
    assert_eq!(step.facts.finish_reason.as_deref(), Some("stop"));

    let mut sent = span(
        "tool",
        &[("span.type", "agentic.tool.invocation"), ("entity.1.type", "tool.adk"), ("entity.1.name", "get_weather")],
    );
    sent.events =
        vec![event("data.input", &[("input", r#"{"city":"Paris"}"#)]), event("data.output", &[("response", "18 C")])];
    let step = map(sent);
    assert_eq!((&step.kind, step.name.as_str()), (&StepType::ToolCall, "get_weather"));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(r#"{"city":"Paris"}"#), Some("18 C")));

    let mut sent = span("flow", &[("span_type", "Flow")]);
    sent.events = vec![
        event("promptflow.function.inputs", &[("payload", r#"{"question":"Hi"}"#)]),
        event("promptflow.function.output", &[("payload", r#""Hello""#)]),
    ];
    let want =
        Want { kind: StepType::Workflow, name: "flow", model: "", tokens: (-1, -1), input: "Hi", output: "Hello" };
    check("prompt flow", &map(sent), want);

    // One broken entry does not hide the others.
    let mut sent = span("chat", &[("acme.span.kind", "llm")]);
    sent.events = vec![
        event("acme.message", &[("role", "system"), ("content", "{broken")]),
        event("acme.message", &[("role", "user"), ("content", "Hi")]),
        event("acme.message", &[("role", "assistant"), ("content", "Hello")]),
    ];
    let want =
        Want { kind: StepType::ModelCall, name: "chat", model: "", tokens: (-1, -1), input: "Hi", output: "Hello" };
    check("messages", &map(sent), want);

    let mut sent = span("process_thread_run", &[("gen_ai.operation.name", "process_thread_run")]);
    sent.events = vec![
        event(
            "gen_ai.user.message",
            &[("gen_ai.event.content", r#"{"content":{"text":{"value":"Hi"}},"role":"user"}"#)],
        ),
        event(
            "gen_ai.assistant.message",
            &[("gen_ai.event.content", r#"{"content":{"text":{"value":"Hello"}},"role":"assistant"}"#)],
        ),
    ];
    let step = map(sent);
    assert_eq!(messages::input_text(step.input.as_deref().unwrap_or_default()).as_deref(), Some("Hi"));
}

#[test]
fn an_attribute_that_is_a_column_is_stored_once() {
    let step = map(span("x", &[("acme.span.kind", "llm"), ("acme.input", "a text of its own"), ("acme.output", "{}")]));
    assert_eq!(source(&step, "input"), Some("*.input"));
    assert!(!step.detail.contains("a text of its own"));
    let shown = crate::mapping::detail::metadata(&step, None);
    assert_eq!(shown["attributes"]["acme.input"], json!("a text of its own"));
    assert_eq!(step.output, None);
}

#[test]
fn messages_that_say_nothing_give_way_to_the_next_source() {
    let hollow = r#"[{"role":"assistant","parts":[]}]"#;
    let step = map(span(
        "chat",
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.output.messages", hollow),
            ("gen_ai.completion", "Hello"),
            ("gen_ai.input.messages", r#"[{"role":"user","content":""}]"#),
            ("input.value", "Hi"),
        ],
    ));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some("Hi"), Some("Hello")));
}
