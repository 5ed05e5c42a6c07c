use super::*;
use crate::model::step::StepType;

const COMMON: [(&str, &str); 5] = [
    ("entity.type", "agent"),
    ("entity.name", "helper"),
    ("operation.id", "op1"),
    ("conversation.id", "c1"),
    ("user.id", "u1"),
];

fn below(kind: &str, more: &[(&str, &str)]) -> Step {
    map(span("child", &[COMMON.as_slice(), &[("span.type", kind)], more].concat()))
}

#[test]
fn an_agent_and_the_steps_below_it() {
    let agent = map(span(
        "generateText",
        &[
            COMMON.as_slice(),
            &[
                ("input", "Hi"),
                ("output", "Hello"),
                ("usage.prompt_tokens", "9"),
                ("usage.completion_tokens", "2"),
                ("ai.model.name", "gpt-4o"),
            ],
        ]
        .concat(),
    ));
    assert_eq!((agent.kind.clone(), agent.name.as_str()), (StepType::Agent, "helper"));
    assert_eq!(
        (agent.input.as_deref(), agent.output.as_deref(), agent.usage.total),
        (Some("Hi"), Some("Hello"), Some(11))
    );
    assert_eq!((agent.facts.session_id.as_deref(), agent.facts.user_id.as_deref()), (Some("c1"), Some("u1")));
    for (word, kind) in [
        ("llm", StepType::ModelCall),
        ("tool", StepType::ToolCall),
        ("memory", StepType::Memory),
        ("retriever", StepType::Retrieval),
        ("guardrail", StepType::Guardrail),
        ("workflow-step", StepType::Workflow),
        ("summary", StepType::Workflow),
    ] {
        assert_eq!(below(word, &[]).kind, kind, "{word}");
    }
    let call = below(
        "llm",
        &[
            ("llm.messages", r#"[{"role":"user","content":"Hi"}]"#),
            ("llm.model", "gpt-4o"),
            ("llm.usage.prompt_tokens", "9"),
            ("llm.usage.completion_tokens", "2"),
            ("output", "Hello"),
        ],
    );
    assert_eq!(
        (call.model.as_deref(), call.usage.total, call.output.as_deref()),
        (Some("gpt-4o"), Some(11), Some("Hello"))
    );
    assert_eq!(call.input.as_deref(), Some(r#"[{"role":"user","content":"Hi"}]"#));
    let tool =
        below("tool", &[("tool.name", "now"), ("tool.call.id", "c1"), ("input", "{\"a\":1}"), ("output", "18 C")]);
    assert_eq!((tool.name.as_str(), tool.input.as_deref()), ("now", Some("{\"a\":1}")));
    assert_eq!((tool.agent.as_deref(), tool.facts.tool_call_id.as_deref()), (Some("helper"), Some("c1")));
}

#[test]
fn entities_of_others_are_no_agents() {
    assert_eq!(map(span("x", &[("entity.type", "agent")])).kind, StepType::Unknown);
    assert_eq!(map(span("x", &[("entity.type", "booking"), ("operation.id", "1")])).kind, StepType::Unknown);
}
