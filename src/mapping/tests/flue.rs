use super::*;
use crate::model::step::StepType;

#[test]
fn runs_operations_turns_and_tools() {
    let workflow = map(span(
        "flue.workflow translate",
        &[
            ("flue.workflow.name", "translate"),
            ("flue.workflow.payload", "{\"text\":\"Hi\"}"),
            ("flue.workflow.result", "Hola"),
        ],
    ));
    assert_eq!(
        (workflow.kind.clone(), workflow.name.as_str(), workflow.facts.genai),
        (StepType::Workflow, "translate", true)
    );
    assert_eq!((workflow.input.as_deref(), workflow.output.as_deref()), (Some("{\"text\":\"Hi\"}"), Some("Hola")));

    let turn = map(span(
        "gen_ai.generate",
        &[
            ("gen_ai.operation.name", "chat"),
            ("flue.turn.purpose", "agent"),
            ("flue.turn.input", r#"{"messages":[]}"#),
            ("flue.turn.output", r#"{"role":"assistant","content":"Hola"}"#),
            ("gen_ai.usage.input_tokens", "176"),
            ("gen_ai.usage.output_tokens", "300"),
            ("gen_ai.usage.cache_read_tokens", "1024"),
            ("gen_ai.usage.total_tokens", "1500"),
            ("gen_ai.usage.cost_total", "1"),
        ],
    ));
    assert_eq!((turn.kind.clone(), turn.cost), (StepType::ModelCall, Some(1.0)));
    assert_eq!((turn.usage.input, turn.usage.cache_read, turn.usage.total), (Some(1200), Some(1024), Some(1500)));
    assert_eq!(turn.output.as_deref(), Some(r#"{"role":"assistant","content":"Hola"}"#));

    let tool = map(span(
        "flue.tool now",
        &[
            ("flue.turn.id", "t1"),
            ("flue.tool.name", "now"),
            ("flue.tool.call_id", "c1"),
            ("flue.tool.arguments", "{\"a\":1}"),
            ("flue.tool.result", "18 C"),
        ],
    ));
    assert_eq!(
        (tool.kind.clone(), tool.name.as_str(), tool.facts.tool_call_id.as_deref()),
        (StepType::ToolCall, "now", Some("c1"))
    );
    assert_eq!((tool.input.as_deref(), tool.output.as_deref()), (Some("{\"a\":1}"), Some("18 C")));

    let task = map(span(
        "flue.task writer",
        &[("flue.task.agent", "writer"), ("flue.task.prompt", "Write"), ("flue.operation.id", "o1")],
    ));
    assert_eq!(
        (task.kind.clone(), task.agent.as_deref(), task.input.as_deref()),
        (StepType::Workflow, Some("writer"), Some("Write"))
    );
    assert_eq!(map(span("flue.compaction", &[("flue.compaction.reason", "size")])).kind, StepType::Workflow);
}
