use serde_json::json;

use super::*;
use crate::model::step::StepType;

#[test]
fn types_in_one_attribute_or_alone() {
    for (word, kind) in [
        ("llm", StepType::ModelCall),
        ("tool", StepType::ToolCall),
        ("function", StepType::Workflow),
        ("task", StepType::Workflow),
        ("eval", StepType::Evaluator),
        ("score", StepType::Evaluator),
        ("other", StepType::Unknown),
    ] {
        let json = format!(r#"{{"type":"{word}","name":"step"}}"#);
        assert_eq!(map(span("x", &[("braintrust.span_attributes", &json)])).kind, kind, "{word}");
        assert_eq!(map(span("x", &[("braintrust.span_attributes.type", word)])).kind, kind, "{word}");
    }
    assert_eq!(map(span("x", &[("braintrust.span_attributes", "{")])).kind, StepType::Unknown);
}

#[test]
fn a_call_with_metrics_in_json() {
    let metrics = r#"{"prompt_tokens":120,"completion_tokens":18,"tokens":138,"prompt_cached_tokens":100,"completion_reasoning_tokens":4,"time_to_first_token":0.5,"estimated_cost":0.25}"#;
    let step = map(span(
        "Chat Completion",
        &[
            ("braintrust.span_attributes", r#"{"type":"llm"}"#),
            ("braintrust.input_json", r#"[{"role":"user","content":"Hi"}]"#),
            (
                "braintrust.output_json",
                r#"[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]"#,
            ),
            ("braintrust.metrics", metrics),
            ("braintrust.metadata", r#"{"provider":"openai","model":"gpt-4o-mini","plan":"pro","tools":[{}]}"#),
            ("braintrust.tags", r#"["a"]"#),
        ],
    ));
    assert_eq!((step.model.as_deref(), step.provider.as_deref()), (Some("gpt-4o-mini"), Some("openai")));
    assert_eq!((step.usage.input, step.usage.output, step.usage.total), (Some(120), Some(18), Some(138)));
    assert_eq!((step.usage.cache_read, step.usage.reasoning, step.cost), (Some(100), Some(4), Some(0.25)));
    assert_eq!((step.facts.time_to_first_token_ms, step.facts.tags.as_slice()), (Some(500.0), &["a".to_owned()][..]));
    assert_eq!(source(&step, "input"), Some("braintrust.input_json"));
    assert!(step.output.as_deref().is_some_and(|output| output.contains("Hello")));
    assert_eq!(json!(step.facts.run_metadata), json!({"plan": "pro"}));
    let alone = map(span(
        "x",
        &[
            ("braintrust.span_attributes.type", "llm"),
            ("braintrust.metrics.prompt_tokens", "5"),
            ("braintrust.input", "Hi"),
        ],
    ));
    assert_eq!((alone.usage.input, alone.input.as_deref()), (Some(5), Some("Hi")));
}
