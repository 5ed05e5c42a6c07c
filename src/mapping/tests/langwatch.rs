use super::*;
use crate::model::step::StepType;

#[test]
fn types_of_langwatch() {
    for (word, kind) in [
        ("llm", StepType::ModelCall),
        ("tool", StepType::ToolCall),
        ("agent", StepType::Agent),
        ("rag", StepType::Retrieval),
        ("guardrail", StepType::Guardrail),
        ("evaluation", StepType::Evaluator),
        ("chain", StepType::Workflow),
        ("module", StepType::Workflow),
        ("span", StepType::Unknown),
    ] {
        assert_eq!(map(span("x", &[("langwatch.span.type", word)])).kind, kind, "{word}");
    }
}

#[test]
fn a_call_with_typed_values() {
    for metrics in [
        r#"{"type":"json","value":{"promptTokens":120,"completionTokens":18,"cost":0.25}}"#,
        r#"{"prompt_tokens":120,"completion_tokens":18,"cost":0.25}"#,
    ] {
        let input = r#"{"type":"chat_messages","value":[{"role":"user","content":"Hi"}]}"#;
        let step = map(span(
            "answer",
            &[
                ("langwatch.span.type", "llm"),
                ("gen_ai.request.model", "openai/gpt-5"),
                ("langwatch.input", input),
                ("langwatch.output", r#"{"type":"text","value":"Hello"}"#),
                ("langwatch.metrics", metrics),
                ("langwatch.timestamps", r#"{"started_at":1000,"first_token_at":1250,"finished_at":2000}"#),
                ("langwatch.thread.id", "t1"),
                ("langwatch.user.id", "ada"),
                ("langwatch.labels", r#"["a"]"#),
            ],
        ));
        assert_eq!(
            (step.input.as_deref(), step.output.as_deref()),
            (Some(input), Some(r#"{"type":"text","value":"Hello"}"#))
        );
        assert_eq!((step.usage.input, step.usage.output, step.cost), (Some(120), Some(18), Some(0.25)), "{metrics}");
        assert_eq!((step.model.as_deref(), step.provider.as_deref()), (Some("openai/gpt-5"), Some("openai")));
        assert_eq!((step.facts.session_id.as_deref(), step.facts.user_id.as_deref()), (Some("t1"), Some("ada")));
        assert_eq!(
            (step.facts.time_to_first_token_ms, step.facts.tags.as_slice()),
            (Some(250.0), &["a".to_owned()][..])
        );
    }
}

#[test]
fn a_retrieval_shows_what_it_found() {
    let contexts = r#"{"type":"list","value":[{"document_id":"1","content":"30 days"}]}"#;
    let step = map(span(
        "find",
        &[
            ("langwatch.span.type", "rag"),
            ("langwatch.rag.contexts", contexts),
            ("langwatch.output", "x"),
            ("langwatch.input", "refund?"),
        ],
    ));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some("refund?"), Some(contexts)));
    let old = map(span(
        "x",
        &[
            ("langwatch.span.type", "chain"),
            ("langwatch.thread_id", "t"),
            ("langwatch.user_id", "u"),
            ("metadata", r#"{"labels":["b"],"user_id":7,"plan":"pro"}"#),
        ],
    ));
    assert_eq!((old.facts.session_id.as_deref(), old.facts.user_id.as_deref()), (Some("t"), Some("u")));
    assert_eq!(old.facts.tags, ["b"]);
    assert_eq!(old.facts.run_metadata["plan"], serde_json::json!("pro"));
}
