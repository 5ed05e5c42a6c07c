use super::*;
use crate::model::step::StepType;

#[test]
fn preparing_a_call_is_no_call() {
    let kind = |name: &str, pairs: &[(&str, &str)]| {
        map(span(name, &[pairs, &[("openinference.span.kind", "LLM")]].concat())).kind
    };
    assert_eq!(kind("OpenAI._prepare_chat_with_tools", &[("llm.model_name", "gpt-4o")]), StepType::Workflow);
    assert_eq!(kind("OpenAI.achat", &[("llm.model_name", "gpt-4o")]), StepType::ModelCall);
    assert_eq!(kind("x._prepare_chat_with_tools", &[("llm.token_count.total", "3")]), StepType::ModelCall);
}

#[test]
fn agents_are_called_by_their_names() {
    for (name, pairs, shown) in [
        ("Agent.run", &[("agno.agent", "Weather Agent")][..], "Weather Agent"),
        ("Team.run", &[("agno.team", "Support")], "Support"),
        ("CodeAgent.run", &[], "CodeAgent"),
        ("ReActAgent.run", &[("agent.name", "researcher")], "researcher"),
        ("Predict.forward", &[], "Predict"),
        ("x", &[("graph.node.id", "billing")], "billing"),
    ] {
        let pairs = [pairs, &[("openinference.span.kind", "AGENT")]].concat();
        assert_eq!(map(span(name, &pairs)).name, shown);
    }
    let tool = map(span("SimpleTool", &[("openinference.span.kind", "TOOL"), ("tool.name", "get_weather")]));
    assert_eq!(tool.name, "get_weather");
    assert_eq!(map(span("get_weather.__call__", &[("openinference.span.kind", "TOOL")])).name, "get_weather");
}
