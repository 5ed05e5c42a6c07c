use serde_json::json;

use super::*;
use crate::model::step::{Status, StepType};

const TYPE: &str = "langfuse.observation.type";

fn generation(pairs: &[(&str, &str)]) -> Step {
    let mut all = vec![(TYPE, "generation")];
    all.extend_from_slice(pairs);
    map(span("OpenAI-generation", &all))
}

#[test]
fn types_are_what_the_user_said_and_a_plain_span_says_nothing() {
    for (word, typed) in [
        ("generation", StepType::ModelCall),
        ("embedding", StepType::Embedding),
        ("agent", StepType::Agent),
        ("tool", StepType::ToolCall),
        ("chain", StepType::Workflow),
        ("retriever", StepType::Retrieval),
        ("guardrail", StepType::Guardrail),
        ("evaluator", StepType::Evaluator),
        ("event", StepType::Event),
        ("span", StepType::Unknown),
    ] {
        assert_eq!(map(span("x", &[(TYPE, word)])).kind, typed, "{word}");
    }
    let other = map(span("x", &[(TYPE, "span"), ("gen_ai.operation.name", "execute_tool")]));
    assert_eq!(other.kind, StepType::ToolCall);
    let beaten = map(span("x", &[(TYPE, "agent"), ("openinference.span.kind", "CHAIN")]));
    assert_eq!((beaten.kind, source(&map(span("x", &[(TYPE, "agent")])), "type")), (StepType::Agent, Some(TYPE)));
}

#[test]
fn a_generation_is_read_whole() {
    let step = generation(&[
        ("langfuse.observation.model.name", "gpt-4o-mini-2024-07-18"),
        ("langfuse.observation.input", r#"[{"role": "user", "content": "Hi"}]"#),
        ("langfuse.observation.output", r#"{"role": "assistant", "content": "Hello"}"#),
        ("langfuse.observation.usage_details", r#"{"input": 3, "output": 4, "total": 7}"#),
        ("langfuse.observation.cost_details", r#"{"input": 0.25, "output": 0.5}"#),
        ("langfuse.observation.completion_start_time", "\"2025-06-15T15:06:40.250000Z\""),
        ("langfuse.observation.metadata.ls_provider", "\"openai\""),
        ("langfuse.observation.prompt.name", "greeting"),
        ("session.id", "s1"),
        ("user.id", "u1"),
        ("langfuse.trace.tags", r#"["prod"]"#),
        ("langfuse.trace.name", "greet"),
        ("langfuse.trace.metadata.team", "blue"),
        ("langfuse.environment", "staging"),
    ]);
    assert_eq!(step.model.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!((step.provider.as_deref(), step.cost), (Some("openai"), Some(0.75)));
    assert_eq!((step.usage.input, step.usage.output, step.usage.total), (Some(3), Some(4), Some(7)));
    assert_eq!(step.facts.time_to_first_token_ms, Some(250.0));
    assert_eq!(step.input.as_deref(), Some(r#"[{"role": "user", "content": "Hi"}]"#));
    assert_eq!(step.output.as_deref(), Some(r#"{"role": "assistant", "content": "Hello"}"#));
    let facts = &step.facts;
    assert_eq!((facts.session_id.as_deref(), facts.user_id.as_deref()), (Some("s1"), Some("u1")));
    assert_eq!((facts.run_name.as_deref(), facts.tags.as_slice()), (Some("greet"), ["prod".to_owned()].as_slice()));
    assert_eq!(facts.run_metadata["team"], json!("blue"));
    assert_eq!(facts.run_metadata["environment"], json!("staging"));
    assert_eq!(facts.more["prompt_name"], json!("greeting"));
    assert!(!facts.run_root);
}

#[test]
fn usage_comes_in_three_shapes() {
    // usage → input, output, total, cache read, reasoning; -1 for unknown
    let cases = [
        (
            r#"{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":1024},"completion_tokens_details":{"reasoning_tokens":256}}"#,
            [1200, 300, 1500, 1024, 256],
        ),
        (
            r#"{"input_tokens":1200,"output_tokens":300,"total_tokens":1500,"input_tokens_details":{"cached_tokens":1024},"output_tokens_details":{"reasoning_tokens":256}}"#,
            [1200, 300, 1500, 1024, 256],
        ),
        (
            r#"{"input":176,"input_cached_tokens":1024,"output":44,"output_reasoning_tokens":256,"total":1500}"#,
            [1200, 300, 1500, 1024, 256],
        ),
        // Without a total the parts are disjoint; with one that says otherwise they are inside.
        (r#"{"input":176,"input_cache_read":1024,"output":300}"#, [1200, 300, 1500, 1024, -1]),
        (r#"{"input":1200,"input_cache_read":1024,"output":300,"total":1500}"#, [1200, 300, 1500, 1024, -1]),
        (r#"{"input_tokens":176,"cache_read_input_tokens":1024,"output_tokens":300}"#, [1200, 300, 1500, 1024, -1]),
        (r#"{"input":18}"#, [18, -1, 18, -1, -1]),
        (r#"{"total":18}"#, [-1, -1, 18, -1, -1]),
        (r#"{"input":-1,"output":"x"}"#, [-1, -1, -1, -1, -1]),
    ];
    for (details, expected) in cases {
        let usage = generation(&[("langfuse.observation.usage_details", details)]).usage;
        let found = [usage.input, usage.output, usage.total, usage.cache_read, usage.reasoning];
        assert_eq!(found.map(|count| count.unwrap_or(-1)), expected, "{details}");
    }
}

#[test]
fn levels_and_costs() {
    let failed = generation(&[
        ("langfuse.observation.level", "ERROR"),
        ("langfuse.observation.status_message", "Error code: 429"),
        ("langfuse.observation.cost_details", r#"{"total": 0}"#),
    ]);
    assert_eq!((failed.status, failed.error.as_deref()), (Status::Error, Some("Error code: 429")));
    let warned = generation(&[("langfuse.observation.level", "WARNING")]);
    assert_eq!((warned.status, &warned.facts.more["level"]), (Status::Success, &json!("WARNING")));
    let free = generation(&[
        ("langfuse.observation.usage_details", r#"{"input":1,"output":1}"#),
        ("langfuse.observation.cost_details", r#"{"input": 0, "output": 0}"#),
    ]);
    assert_eq!(free.cost, None);
}

#[test]
fn boundaries_and_texts_of_the_run() {
    let mut root = span("job", &[(TYPE, "span"), ("langfuse.trace.input", "\"Q\""), ("langfuse.trace.output", "A")]);
    root.attributes.push(("langfuse.internal.as_root".to_owned(), AnyValue::Bool(true)));
    root.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let facts = map(root).facts;
    assert!(facts.run_root);
    assert_eq!((facts.run_input.as_deref(), facts.run_output.as_deref()), (Some("\"Q\""), Some("A")));
}
