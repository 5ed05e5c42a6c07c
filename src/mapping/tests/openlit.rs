use serde_json::json;

use super::*;
use crate::model::step::{Status, StepType};

fn from_openlit(name: &str, pairs: &[(&str, &str)]) -> Step {
    map(span(name, &[pairs, &[("telemetry.sdk.name", "openlit")]].concat()))
}

#[test]
fn a_chat_that_asked_for_a_tool_stays_a_call() {
    let mut sent = span(
        "chat gpt-4o-mini",
        &[
            ("telemetry.sdk.name", "openlit"),
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.tool.name", "get_weather"),
            ("gen_ai.tool.call.id", "call_1"),
            ("gen_ai.tool.args", "{}"),
            ("gen_ai.usage.input_tokens", "120"),
            ("gen_ai.usage.output_tokens", "18"),
            ("gen_ai.client.token.usage", "138"),
            ("gen_ai.usage.prompt_tokens_details.cached_tokens", "100"),
            ("gen_ai.usage.cost", "0"),
            ("gen_ai.request.stream", "true"),
            ("gen_ai.request.user", "ada"),
            ("gen_ai.environment", "prod"),
        ],
    );
    sent.attributes.push(("gen_ai.server.time_to_first_token".into(), AnyValue::Double(0.05)));
    sent.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let step = map(sent.clone());
    assert_eq!((step.kind, step.name.as_str(), step.cost), (StepType::ModelCall, "chat gpt-4o-mini", None));
    assert_eq!((step.usage.total, step.usage.cache_read), (Some(138), Some(100)));
    assert_eq!((step.facts.time_to_first_token_ms, step.facts.user_id.as_deref()), (Some(50.0), Some("ada")));
    assert_eq!(step.facts.run_metadata["environment"], json!("prod"));
    sent.attributes
        .iter_mut()
        .filter(|(key, _)| key == "gen_ai.request.stream")
        .for_each(|(_, v)| *v = AnyValue::Bool(false));
    assert_eq!(map(sent).facts.time_to_first_token_ms, None);
}

#[test]
fn operations_and_contents_of_frameworks() {
    for (word, kind) in [
        ("execute_task", StepType::Workflow),
        ("model_request", StepType::Workflow),
        ("tool_coordination", StepType::Workflow),
        ("graph", StepType::Workflow),
        ("invoke_workflow", StepType::Workflow),
        ("agent", StepType::Agent),
        ("image", StepType::ModelCall),
        ("text_to_speech", StepType::ModelCall),
    ] {
        assert_eq!(from_openlit("x", &[("gen_ai.operation.name", word)]).kind, kind, "{word}");
    }
    let handoff =
        [("gen_ai.operation.name", "invoke_agent"), ("gen_ai.agent.source", "a"), ("gen_ai.agent.target", "b")];
    assert_eq!(from_openlit("x", &handoff).kind, StepType::Handoff);
    let query = [
        ("db.system.name", "chroma"),
        ("gen_ai.operation.name", "vectordb"),
        ("db.vector.query.top_k", "2"),
        ("db.query.text", "texts=['refund?']"),
    ];
    let found = from_openlit("GET docs", &query);
    assert_eq!((found.kind, found.input.as_deref()), (StepType::Retrieval, Some("texts=['refund?']")));
    let texts = |step: Step| (step.input, step.output);
    let said = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
    let workflow = from_openlit(
        "x",
        &[
            ("gen_ai.operation.name", "invoke_workflow"),
            ("gen_ai.workflow.input", "Hi"),
            ("gen_ai.workflow.output", "Hello"),
        ],
    );
    assert_eq!(texts(workflow), said("Hi", "Hello"));
    let agent = from_openlit(
        "x",
        &[
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.agent.role", "Researcher"),
            ("gen_ai.agent.task", "Find"),
            ("gen_ai.agent.actual_output", "Found"),
        ],
    );
    assert_eq!(agent.name, "Researcher");
    assert_eq!(texts(agent), said("Find", "Found"));
    let tool = from_openlit(
        "x",
        &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.args", "{\"a\":1}"), ("gen_ai.tool.output", "ok")],
    );
    assert_eq!(texts(tool), said("{\"a\":1}", "ok"));
    let retrieval = from_openlit(
        "x",
        &[
            ("gen_ai.operation.name", "retrieval"),
            ("gen_ai.retrieval.query", "refund?"),
            ("gen_ai.retrieval.source", "docs"),
        ],
    );
    assert_eq!(texts(retrieval), said("refund?", "docs"));
    let call = from_openlit(
        "x",
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.content.prompt", "user: Hi"),
            ("gen_ai.content.completion", "Hello"),
        ],
    );
    assert_eq!(texts(call), said("user: Hi", "Hello"));
    let sent = span(
        "x",
        &[
            ("telemetry.sdk.name", "openlit"),
            ("gen_ai.operation.name", "graph"),
            ("gen_ai.framework.error.message", "loop"),
        ],
    );
    let step = map(failed(sent, ""));
    assert_eq!((step.status, step.error.as_deref()), (Status::Error, Some("loop")));
}

#[test]
fn nodes_that_make_up_an_agent_are_no_agents() {
    let node = |name| {
        from_openlit(
            "invoke_agent x",
            &[
                ("gen_ai.operation.name", "invoke_agent"),
                ("gen_ai.provider.name", "langgraph"),
                ("gen_ai.agent.name", name),
            ],
        )
    };
    for name in ["model", "tools", "Guard.before_model"] {
        assert_eq!((node(name).kind, node(name).agent), (StepType::Workflow, None), "{name}");
    }
    assert_eq!((node("billing").kind, node("billing").agent.as_deref()), (StepType::Agent, Some("billing")));
    let graph = |name| {
        from_openlit(
            "invoke_workflow x",
            &[
                ("gen_ai.operation.name", "invoke_workflow"),
                ("gen_ai.provider.name", "langgraph"),
                ("gen_ai.workflow.name", name),
            ],
        )
    };
    assert_eq!(
        (graph("weather_agent").kind, graph("weather_agent").agent.as_deref()),
        (StepType::Workflow, Some("weather_agent"))
    );
    assert_eq!(graph("LangGraph").agent, None);
}
