use super::*;
use crate::model::step::{Status, StepType};

#[test]
fn turns_and_tools_of_ag2() {
    let turn = map(span("AG2 agent turn", &[("ag2.agent_name", "helper"), ("ag2.message_content", "Hi")]));
    assert_eq!((turn.kind.clone(), turn.name.as_str(), turn.input.as_deref()), (StepType::Agent, "helper", Some("Hi")));
    let mut tool = span(
        "AG2 tool execution",
        &[
            ("ag2.agent_name", "helper"),
            ("ag2.tool_name", "now"),
            ("ag2.call_id", "c1"),
            ("ag2.tool_args", "{\"a\":1}"),
            ("ag2.tool_result", "broke"),
        ],
    );
    tool.attributes.push(("ag2.execution.success".into(), AnyValue::Bool(false)));
    tool.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let tool = map(tool);
    assert_eq!(
        (tool.kind.clone(), tool.name.as_str(), tool.facts.tool_call_id.as_deref()),
        (StepType::ToolCall, "now", Some("c1"))
    );
    assert_eq!(
        (tool.status, tool.error.as_deref(), tool.input.as_deref()),
        (Status::Error, Some("broke"), Some("{\"a\":1}"))
    );
    assert_eq!(map(span("AG2 group chat run", &[("ag2.manager_name", "m")])).kind, StepType::Workflow);
}
