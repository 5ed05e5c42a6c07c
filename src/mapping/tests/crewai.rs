use super::*;
use crate::model::step::StepType;

fn from(scope: &str, name: &str, pairs: &[(&str, &str)]) -> Step {
    map_from(span(name, pairs), Origin { scope_name: scope.to_owned(), ..Origin::default() }).0
}

#[test]
fn a_crew_that_calls_itself_an_agent_is_a_workflow_with_a_claim() {
    let tasks = r#"[{"id": "1", "description": "Weather in Paris?"}, {"id": "2", "description": "And then?"}]"#;
    for (key, usage) in [
        (
            "crewai.crew.usage_metrics",
            "{'total_tokens': 522, 'prompt_tokens': 460, 'cached_prompt_tokens': 9, 'completion_tokens': 62}",
        ),
        ("crewai.crew.token_usage", "total_tokens=522 prompt_tokens=460 cached_prompt_tokens=9 completion_tokens=62"),
        (
            "crewai.crew.token_usage",
            "UsageMetrics(total_tokens=522, prompt_tokens=460, cached_prompt_tokens=9, completion_tokens=62)",
        ),
    ] {
        let step = map(span(
            "crewai.workflow",
            &[
                ("gen_ai.operation.name", "invoke_agent"),
                ("crewai.crew.id", "c1"),
                ("crewai.crew.name", "support"),
                ("crewai.crew.tasks", tasks),
                ("crewai.crew.result", "Sunny."),
                (key, usage),
            ],
        ));
        assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::Workflow, "support"));
        assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some("Weather in Paris?"), Some("Sunny.")));
        assert_eq!(
            (step.usage.input, step.usage.output, step.usage.cache_read),
            (Some(460), Some(62), Some(9)),
            "{usage}"
        );
        assert_eq!(step.facts.framework.as_deref(), Some("crewai"));
    }
}

#[test]
fn tasks_agents_and_calls_of_openllmetry() {
    let scope = "opentelemetry.instrumentation.crewai.instrumentation";
    let task = from(
        scope,
        "Find it.task",
        &[
            ("traceloop.span.kind", "task"),
            ("gen_ai.operation.name", "invoke_agent"),
            ("crewai.task.id", "t"),
            ("crewai.task.agent", "Researcher"),
            ("crewai.task.description", "Find it"),
            ("traceloop.entity.output", "Found."),
        ],
    );
    assert_eq!(
        (task.kind.clone(), task.name.as_str(), task.agent.as_deref()),
        (StepType::Workflow, "Find it", Some("Researcher"))
    );
    assert_eq!((task.input.as_deref(), task.output.as_deref()), (Some("Find it"), Some("Found.")));
    let agent = from(
        scope,
        "Researcher.agent",
        &[("crewai.agent.role", "Researcher"), ("crewai.agent.id", "a"), ("crewai.agent.llm", "gpt-4o-mini")],
    );
    assert_eq!(
        (agent.kind.clone(), agent.name.as_str(), agent.model.as_deref()),
        (StepType::Agent, "Researcher", Some("gpt-4o-mini"))
    );
    let call = from(
        scope,
        "gpt-4o-mini.llm",
        &[("gen_ai.operation.name", "invoke_agent"), ("gen_ai.request.model", "gpt-4o-mini")],
    );
    assert_eq!((call.kind, call.model.as_deref()), (StepType::ModelCall, Some("gpt-4o-mini")));
}

#[test]
fn a_crew_of_openinference_is_asked_its_first_task() {
    let output = r#"{"raw": "Sunny.", "tasks_output": [], "token_usage": {"total_tokens": 522, "prompt_tokens": 460, "completion_tokens": 62}}"#;
    let step = map(span(
        "Crew_738ddc56-a61a-4326-9a5c-6683cbb92012.kickoff",
        &[
            ("openinference.span.kind", "CHAIN"),
            ("crew_key", "k"),
            ("crew_tasks", r#"[{"description": "Weather in Paris?"}]"#),
            ("output.value", output),
        ],
    ));
    assert_eq!((step.kind.clone(), step.name.as_str()), (StepType::Workflow, "Crew"));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some("Weather in Paris?"), Some(output)));
    assert_eq!((step.usage.input, step.usage.output, step.usage.total), (Some(460), Some(62), Some(522)));
    let agent = map(span("Weather Agent._execute_core", &[("openinference.span.kind", "AGENT"), ("crew_key", "k")]));
    assert_eq!((agent.kind, agent.name.as_str()), (StepType::Agent, "Weather Agent"));
    for (name, shown) in [
        ("Research Crew.kickoff", "Research Crew"),
        ("MyFlow.kickoff", "MyFlow"),
        ("é.kickoff", "é"),
        ("other", "other"),
    ] {
        assert_eq!(map(span(name, &[("openinference.span.kind", "CHAIN"), ("flow_id", "f")])).name, shown);
    }
}

#[test]
fn odd_tasks_and_usage_say_nothing() {
    for (tasks, usage) in
        [("[", "{'a'"), ("[]x", "None"), ("[{\"description\": 7}]", "[]x"), ("{}", "prompt_tokens=-1")]
    {
        let step = map(span(
            "x",
            &[("crewai.crew.id", "c"), ("crewai.crew.tasks", tasks), ("crewai.crew.usage_metrics", usage)],
        ));
        assert_eq!((step.input, step.usage.is_empty()), (None, true), "{tasks} {usage}");
    }
}
