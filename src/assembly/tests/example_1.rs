use super::worked::{Sent, id, run_from, span};
use crate::model::step::{Status, StepType};

#[test]
fn example_1_an_agent_repeats_the_usage_of_its_calls() {
    let chat = |step: u8, times, reason: &str, input: &str, output: &str| {
        span(
            step,
            Some(1),
            "chat gpt-4o-mini",
            times,
            &[
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.provider.name", "openai"),
                ("gen_ai.request.model", "gpt-4o-mini"),
                ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
                ("gen_ai.usage.input_tokens", input),
                ("gen_ai.usage.output_tokens", output),
                ("gen_ai.response.finish_reasons", reason),
            ],
        )
    };
    let run = run_from(
        "agent_framework",
        vec![
            span(
                1,
                None,
                "invoke_agent weather_agent",
                (0, 143),
                &[
                    ("gen_ai.operation.name", "invoke_agent"),
                    ("gen_ai.agent.name", "weather_agent"),
                    ("gen_ai.provider.name", "microsoft.agent_framework"),
                    ("gen_ai.request.model", "gpt-4o-mini"),
                    ("gen_ai.usage.input_tokens", "270"),
                    ("gen_ai.usage.output_tokens", "42"),
                    ("gen_ai.response.finish_reasons", r#"["stop"]"#),
                    (
                        "gen_ai.input.messages",
                        r#"[{"role":"user","parts":[{"type":"text","content":"Weather in Paris?"}]}]"#,
                    ),
                    (
                        "gen_ai.output.messages",
                        r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{}}]},{"role":"tool","parts":[]},{"role":"assistant","parts":[{"type":"text","content":"18 C, sunny."}]}]"#,
                    ),
                ],
            ),
            chat(2, (2, 46), r#"["tool_calls"]"#, "120", "18"),
            span(
                3,
                Some(1),
                "execute_tool get_weather",
                (46, 47),
                &[
                    ("gen_ai.operation.name", "execute_tool"),
                    ("gen_ai.tool.name", "get_weather"),
                    ("gen_ai.tool.call.id", "call_1"),
                    ("gen_ai.tool.call.arguments", r#"{"city": "Paris"}"#),
                    ("gen_ai.tool.call.result", "18 C and sunny"),
                ],
            ),
            chat(4, (48, 93), r#"["stop"]"#, "150", "24"),
        ],
    );
    let shown = &run.run;
    assert_eq!((shown.name.as_str(), shown.agent.as_deref()), ("weather_agent", Some("weather_agent")));
    assert_eq!((shown.model.as_str(), shown.status), ("gpt-4o-mini-2024-07-18", Status::Success));
    assert_eq!((shown.input.as_str(), shown.output.as_deref()), ("Weather in Paris?", Some("18 C, sunny.")));
    assert_eq!((shown.usage.input, shown.usage.output, shown.usage.total), (Some(270), Some(42), Some(312)));
    assert_eq!(shown.latency_s, Some(0.143));

    let agent = run.shown(&id(1));
    assert_eq!((&agent.step.provider, agent.step.usage.total), (&None, Some(312)));
    assert_eq!(agent.step.facts.framework.as_deref(), Some("microsoft.agent_framework"));
    assert_eq!(run.mark(&id(1), "reported_usage").and_then(|usage| usage["input"].as_i64()), Some(270));
    let call = &run.shown(&id(2)).step;
    assert_eq!((call.usage.total, call.facts.finish_reason.as_deref()), (Some(138), Some("tool_call")));
    assert_eq!(call.facts.request_model.as_deref(), Some("gpt-4o-mini"));
    let tool = &run.shown(&id(3)).step;
    assert_eq!((&tool.kind, tool.name.as_str(), tool.usage.total), (&StepType::ToolCall, "get_weather", None));
    assert_eq!(tool.input.as_deref(), Some(r#"{"city": "Paris"}"#));
    assert_eq!(run.inferred().len(), 0);
}

#[test]
fn a_run_of_workflow_spans_asks_what_its_first_agent_was_asked() {
    let run = run_from(
        "agent_framework",
        vec![
            span(1, None, "workflow.run", (0, 90), &[("workflow.id", "w"), ("workflow.name", "writing")]),
            span(2, Some(1), "executor.process writer", (1, 40), &[("executor.id", "writer")]),
            span(
                3,
                Some(2),
                "invoke_agent writer",
                (2, 39),
                &[("gen_ai.operation.name", "invoke_agent"), ("gen_ai.agent.name", "writer")],
            ),
            span(
                4,
                Some(3),
                "chat m",
                (3, 38),
                &[
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.request.model", "m"),
                    ("gen_ai.input.messages", r#"[{"role":"user","parts":[{"type":"text","content":"Q"}]}]"#),
                    ("gen_ai.output.messages", r#"[{"role":"assistant","parts":[{"type":"text","content":"A"}]}]"#),
                ],
            ),
            span(5, Some(1), "edge_group.process", (41, 42), &[("edge_group.type", "SingleEdgeGroup")]).kind(1),
        ],
    );
    assert_eq!((run.run.name.as_str(), run.run.agent.as_deref()), ("writing", Some("writer")));
    assert_eq!((run.run.input.as_str(), run.run.output.as_deref()), ("Q", Some("A")));
}
