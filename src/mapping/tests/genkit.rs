use super::*;
use crate::model::step::{Status, StepType};

fn action(subtype: &str, more: &[(&str, &str)]) -> Step {
    map(span("x", &[&[("genkit:type", "action"), ("genkit:metadata:subtype", subtype)], more].concat()))
}

#[test]
fn subtypes_of_actions() {
    for (word, kind) in [
        ("model", StepType::ModelCall),
        ("background-model", StepType::ModelCall),
        ("tool", StepType::ToolCall),
        ("tool.v2", StepType::ToolCall),
        ("embedder", StepType::Embedding),
        ("retriever", StepType::Retrieval),
        ("evaluator", StepType::Evaluator),
        ("flow", StepType::Workflow),
        ("executable-prompt", StepType::Workflow),
    ] {
        assert_eq!(action(word, &[]).kind, kind, "{word}");
    }
    assert_eq!(map(span("x", &[("genkit:type", "flowStep")])).kind, StepType::Workflow);
}

#[test]
fn a_model_tells_everything_in_its_output() {
    let output = r#"{"message":{"role":"model","content":[{"text":"Hello"}]},"finishReason":"stop","usage":{"inputTokens":42,"outputTokens":17,"totalTokens":62,"thoughtsTokens":3}}"#;
    let input = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
    let step = action(
        "model",
        &[
            ("genkit:name", "googleai/gemini-2.5-flash"),
            ("genkit:input", input),
            ("genkit:output", output),
            ("genkit:sessionId", "s1"),
        ],
    );
    assert_eq!(
        (step.model.as_deref(), step.provider.as_deref()),
        (Some("googleai/gemini-2.5-flash"), Some("gcp.gemini"))
    );
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(input), Some(output)));
    let usage = step.usage;
    assert_eq!((usage.input, usage.output, usage.reasoning, usage.total), (Some(42), Some(20), Some(3), Some(62)));
    assert_eq!(step.facts.session_id.as_deref(), Some("s1"));
    let failing = action("tool", &[("genkit:name", "now"), ("genkit:state", "error"), ("genkit:input", "{\"a\":1}")]);
    assert_eq!(
        (failing.name.as_str(), failing.status, failing.input.as_deref()),
        ("now", Status::Error, Some("{\"a\":1}"))
    );
    assert_eq!(action("embedder", &[("genkit:output", "{\"embeddings\":[]}")]).output, None);
}
