use serde_json::json;

use super::*;
use crate::model::step::{Status, StepType};

const TYPE: &str = "mlflow.spanType";

#[test]
fn types_are_quoted() {
    for (word, typed) in [
        ("\"LLM\"", StepType::ModelCall),
        ("\"CHAT_MODEL\"", StepType::ModelCall),
        ("\"AGENT\"", StepType::Agent),
        ("\"TOOL\"", StepType::ToolCall),
        ("\"RETRIEVER\"", StepType::Retrieval),
        ("\"EMBEDDING\"", StepType::Embedding),
        ("\"RERANKER\"", StepType::Rerank),
        ("\"MEMORY\"", StepType::Memory),
        ("\"GUARDRAIL\"", StepType::Guardrail),
        ("\"EVALUATOR\"", StepType::Evaluator),
        ("\"CHAIN\"", StepType::Workflow),
        ("\"PARSER\"", StepType::Workflow),
        ("\"TASK\"", StepType::Workflow),
        ("\"UNKNOWN\"", StepType::Unknown),
        ("CHAT_MODEL", StepType::ModelCall),
    ] {
        assert_eq!(map(span("x", &[(TYPE, word)])).kind, typed, "{word}");
    }
}

#[test]
fn a_call_is_read_whole() {
    let step = map(span(
        "Completions",
        &[
            (TYPE, "\"CHAT_MODEL\""),
            ("mlflow.llm.model", "\"gpt-4o-mini-2024-07-18\""),
            ("mlflow.llm.provider", "\"openai\""),
            ("model", "\"gpt-4o-mini\""),
            (
                "mlflow.chat.tokenUsage",
                r#"{"input_tokens": 150, "output_tokens": 20, "total_tokens": 170, "cache_read_input_tokens": 100}"#,
            ),
            ("mlflow.llm.cost", r#"{"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75}"#),
            ("mlflow.spanInputs", r#"{"messages": [{"role": "user", "content": "Hi"}]}"#),
            (
                "mlflow.spanOutputs",
                r#"{"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "content": "Hello"}}], "usage": {"completion_tokens_details": {"reasoning_tokens": 7}}}"#,
            ),
            ("mlflow.trace.session", "\"s1\""),
            ("mlflow.trace.user", "\"u1\""),
            ("mlflow.traceTag.team", "blue"),
            ("mlflow.traceRequestId", "\"tr-1\""),
            ("metadata", r#"{"ls_provider": "openai", "thread_id": "t1"}"#),
        ],
    ));
    assert_eq!((step.model.as_deref(), step.provider.as_deref()), (Some("gpt-4o-mini-2024-07-18"), Some("openai")));
    assert_eq!(step.facts.request_model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!((step.usage.input, step.usage.output, step.usage.total), (Some(150), Some(20), Some(170)));
    assert_eq!((step.usage.cache_read, step.usage.reasoning, step.cost), (Some(100), Some(7), Some(0.75)));
    let facts = &step.facts;
    assert_eq!(facts.response_id.as_deref(), Some("chatcmpl-1"));
    assert_eq!((facts.session_id.as_deref(), facts.user_id.as_deref()), (Some("s1"), Some("u1")));
    assert_eq!((&facts.run_metadata["team"], &facts.more["traceRequestId"]), (&json!("blue"), &json!("tr-1")));
}

#[test]
fn a_total_of_input_and_output_leaves_a_larger_cache_outside() {
    let usage = r#"{"input_tokens": 176, "output_tokens": 300, "total_tokens": 476, "cache_read_input_tokens": 1024}"#;
    let usage = map(span("messages", &[(TYPE, "\"CHAT_MODEL\""), ("mlflow.chat.tokenUsage", usage)])).usage;
    assert_eq!((usage.input, usage.total), (Some(1200), Some(1500)));
}

#[test]
fn log_levels_tell_failures() {
    for (level, status) in [("40", Status::Error), ("50", Status::Error), ("30", Status::Success)] {
        assert_eq!(map(span("t", &[(TYPE, "\"TOOL\""), ("mlflow.spanLogLevel", level)])).status, status, "{level}");
    }
}

#[test]
fn example_13_quoted_values_stay_quoted_in_the_attributes() {
    let step = map(span(
        "Completions",
        &[
            (TYPE, "\"CHAT_MODEL\""),
            ("mlflow.llm.model", "\"gpt-4o-mini\""),
            ("mlflow.chat.tokenUsage", r#"{"input_tokens": 150, "output_tokens": 20, "total_tokens": 170}"#),
        ],
    ));
    assert_eq!((step.kind.clone(), step.model.as_deref()), (StepType::ModelCall, Some("gpt-4o-mini")));
    assert_eq!(step.usage.total, Some(170));
    let metadata = crate::mapping::detail::metadata(&step, None);
    assert_eq!(metadata["attributes"][TYPE], json!("\"CHAT_MODEL\""));
}
