use serde_json::json;

use super::*;
use crate::model::step::StepType;

#[test]
fn span_types_of_laminar_override() {
    for (word, kind) in [
        ("LLM", StepType::ModelCall),
        ("TOOL", StepType::ToolCall),
        ("EXECUTOR", StepType::Workflow),
        ("EVALUATION", StepType::Workflow),
        ("EVALUATOR", StepType::Evaluator),
        ("HUMAN_EVALUATOR", StepType::Evaluator),
        ("DEFAULT", StepType::Agent),
    ] {
        let step = map(span("x", &[("lmnr.span.type", word), ("gen_ai.operation.name", "invoke_agent")]));
        assert_eq!(step.kind, kind, "{word}");
    }
    let embedding = map(span(
        "openai.embeddings",
        &[("lmnr.span.type", "LLM"), ("gen_ai.request.model", "text-embedding-3-small")],
    ));
    assert_eq!(embedding.kind, StepType::Embedding);
    let cached = map(span("x", &[("lmnr.span.type", "CACHED"), ("lmnr.span.original_type", "LLM")]));
    assert_eq!(cached.kind, StepType::ModelCall);
    assert_eq!(
        map(span("observed", &[("lmnr.span.type", "DEFAULT"), ("lmnr.span.input", "{}")])).kind,
        StepType::Unknown
    );
}

#[test]
fn contents_cost_and_association_properties() {
    let step = map(span(
        "plan",
        &[
            ("lmnr.span.type", "LLM"),
            ("lmnr.span.input", r#"[{"role":"user","content":"Hi"}]"#),
            ("lmnr.span.output", "Hello"),
            ("gen_ai.prompt.0.content", "not this"),
            ("gen_ai.system", "anthropic"),
            ("gen_ai.request.model", "claude-sonnet-4-5"),
            ("gen_ai.usage.input_tokens", "11"),
            ("gen_ai.usage.output_tokens", "9"),
            ("llm.usage.total_tokens", "20"),
            ("gen_ai.usage.input_cost", "0.25"),
            ("gen_ai.usage.output_cost", "0.5"),
            ("lmnr.association.properties.session_id", "s1"),
            ("lmnr.association.properties.user_id", "ada"),
            ("lmnr.association.properties.tags", r#"["a","b"]"#),
            ("lmnr.association.properties.labels", "c"),
            ("lmnr.association.properties.trace_type", "DEFAULT"),
            ("lmnr.association.properties.metadata.plan", "pro"),
        ],
    ));
    assert_eq!(
        (step.input.as_deref(), step.output.as_deref()),
        (Some(r#"[{"role":"user","content":"Hi"}]"#), Some("Hello"))
    );
    assert_eq!((step.cost, step.usage.total, step.provider.as_deref()), (Some(0.75), Some(20), Some("anthropic")));
    assert_eq!((step.facts.session_id.as_deref(), step.facts.user_id.as_deref()), (Some("s1"), Some("ada")));
    assert_eq!(step.facts.tags, ["a", "b", "c"]);
    assert_eq!(json!(step.facts.run_metadata), json!({"plan": "pro"}));
}

#[test]
fn agents_of_openai_are_told_from_tools_and_functions() {
    let agent = map(span(
        "Triage Agent",
        &[
            ("lmnr.span.type", "DEFAULT"),
            ("lmnr.span.input", r#"{"name":"Triage Agent","handoffs":["Billing Agent"],"tools":[]}"#),
        ],
    ));
    assert_eq!((agent.kind, agent.name.as_str(), agent.input), (StepType::Agent, "Triage Agent", None));
    for (mark, kind) in [
        ("openai.agents.handoff.to", StepType::Handoff),
        ("openai.agents.guardrail.name", StepType::Guardrail),
        ("openai.agents.mcp.server", StepType::Rpc),
    ] {
        assert_eq!(map(span("x", &[("lmnr.span.type", "TOOL"), (mark, "y")])).kind, kind, "{mark}");
    }
    let function = map(span("greet", &[("lmnr.span.type", "DEFAULT"), ("lmnr.span.input", r#"{"name":"Ada"}"#)]));
    assert_eq!((function.kind, function.input.as_deref()), (StepType::Unknown, Some(r#"{"name":"Ada"}"#)));
}
