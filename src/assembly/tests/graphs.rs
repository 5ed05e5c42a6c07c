use super::spans::{run, span};
use crate::model::step::StepType;

#[test]
fn a_named_graph_with_a_model_node_is_an_agent() {
    let chain = [("openinference.span.kind", "CHAIN")];
    let kind_of_root = |root: &str, node: &str| {
        let run = run(
            "langwatch",
            vec![
                span(1, 0, root, (0, 100), &chain),
                span(2, 1, node, (10, 90), &chain),
                span(3, 2, "ChatOpenAI", (20, 80), &[("openinference.span.kind", "LLM")]),
            ],
        );
        run.steps[0].step.kind.clone()
    };
    assert_eq!(kind_of_root("weather_agent", "model"), StepType::Agent);
    assert_eq!(kind_of_root("weather_agent", "agent"), StepType::Agent);
    assert_eq!(kind_of_root("LangGraph", "model"), StepType::Workflow);
    assert_eq!(kind_of_root("pipeline", "summarise"), StepType::Workflow);
}
