//! Agents that LangChain builds as graphs, under instrumentations that pass nothing of that on: a chain whose node
//! `model` (`agent` in older releases) calls a model is the agent that its name says.

use crate::assembly::forest::Forest;
use crate::model::run::ShownStep;
use crate::model::step::StepType;

/// Names of the node that calls the model.
const MODEL_NODES: [&str; 2] = ["model", "agent"];
/// What a graph is called that nobody named, and nodes that are none.
const UNNAMED: [&str; 5] = ["LangGraph", "CompiledStateGraph", "model", "agent", "tools"];

pub(super) fn name_agents(steps: &mut [ShownStep], forest: &Forest) {
    let is_chain = |index: usize| steps[index].step.kind == StepType::Workflow && steps[index].step.facts.genai;
    let calls_model = |index: usize| {
        let below = &forest.children[index];
        below.iter().any(|child| steps[*child].step.kind == StepType::ModelCall)
    };
    let is_model_node =
        |index: usize| is_chain(index) && MODEL_NODES.contains(&steps[index].step.name.as_str()) && calls_model(index);
    let mut agents: Vec<usize> = (0..steps.len())
        .filter(|index| is_model_node(*index))
        .filter_map(|index| forest.parent[index])
        .filter(|parent| is_chain(*parent) && !UNNAMED.contains(&steps[*parent].step.name.as_str()))
        .collect();
    agents.dedup();
    for index in agents {
        steps[index].step.kind = StepType::Agent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::tests::spans::{run, span};

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
}
