use super::worked::{Sent, id, run_from, span};
use crate::model::step::{Status, StepType};

#[test]
fn example_4_everything_in_events_and_a_failing_tool_recovered() {
    const SYSTEM: (&str, &str) = ("gen_ai.system", "strands-agents");
    let usage = |pairs: &[(&'static str, &'static str)]| pairs.to_vec();
    let chat = |step: u8, parent: u8, times, tokens: Vec<(&'static str, &'static str)>| {
        let mut pairs = vec![("gen_ai.operation.name", "chat"), SYSTEM, ("gen_ai.request.model", "gpt-4o-mini")];
        pairs.extend(tokens);
        span(step, Some(parent), "chat", times, &pairs)
    };
    let cycle = |step: u8, times| {
        let pairs = [("gen_ai.operation.name", "execute_event_loop_cycle"), SYSTEM, ("event_loop.cycle_id", "c")];
        span(step, Some(1), "execute_event_loop_cycle", times, &pairs)
    };
    let run = run_from(
        "strands.telemetry.tracer",
        vec![
            span(
                1,
                None,
                "invoke_agent weather_agent",
                (0, 600),
                &[
                    ("gen_ai.operation.name", "invoke_agent"),
                    SYSTEM,
                    ("gen_ai.agent.name", "weather_agent"),
                    // The sum over the life of the agent object, not of this invocation.
                    ("gen_ai.usage.input_tokens", "4600"),
                    ("gen_ai.usage.output_tokens", "620"),
                ],
            )
            .status(1, "")
            .event("gen_ai.user.message", &[("content", r#"[{"text":"Weather Paris, stock ZZZZ?"}]"#)])
            .event("gen_ai.choice", &[("message", "18 C. No price for ZZZZ.\n"), ("finish_reason", "end_turn")]),
            cycle(2, (1, 500)),
            chat(
                3,
                2,
                (2, 450),
                usage(&[
                    ("gen_ai.usage.input_tokens", "120"),
                    ("gen_ai.usage.output_tokens", "18"),
                    ("gen_ai.server.time_to_first_token", "401"),
                ]),
            ),
            cycle(4, (501, 550)),
            chat(
                5,
                4,
                (502, 540),
                usage(&[("gen_ai.usage.input_tokens", "150"), ("gen_ai.usage.output_tokens", "20")]),
            ),
            span(
                6,
                Some(4),
                "execute_tool get_stock_price",
                (541, 549),
                &[
                    ("gen_ai.operation.name", "execute_tool"),
                    SYSTEM,
                    ("gen_ai.tool.name", "get_stock_price"),
                    ("gen_ai.tool.call.id", "call_2"),
                    ("gen_ai.tool.status", "error"),
                ],
            )
            .status(2, "Unknown symbol: ZZZZ")
            .event("gen_ai.tool.message", &[("content", r#"{"symbol": "ZZZZ"}"#), ("id", "call_2")])
            .event("gen_ai.choice", &[("message", r#"[{"text":"Error: Unknown symbol: ZZZZ"}]"#)]),
            cycle(7, (551, 599)),
            chat(
                8,
                7,
                (552, 598),
                usage(&[("gen_ai.usage.input_tokens", "190"), ("gen_ai.usage.output_tokens", "24")]),
            ),
        ],
    );
    let shown = &run.run;
    assert_eq!((shown.status, shown.output.as_deref()), (Status::Success, Some("18 C. No price for ZZZZ.\n")));
    assert_eq!(shown.input, "Weather Paris, stock ZZZZ?");
    assert_eq!((shown.usage.total, shown.error_count), (Some(522), 1));
    let agent = &run.shown(&id(1)).step;
    assert_eq!((&agent.provider, agent.facts.framework.as_deref()), (&None, Some("strands-agents")));
    let tool = &run.shown(&id(6)).step;
    assert_eq!((&tool.kind, tool.status), (&StepType::ToolCall, Status::Error));
    assert_eq!(tool.error.as_deref(), Some("Unknown symbol: ZZZZ"));
    assert_eq!(tool.input.as_deref(), Some(r#"{"symbol": "ZZZZ"}"#));
    assert_eq!(tool.output.as_deref(), Some(r#"[{"text":"Error: Unknown symbol: ZZZZ"}]"#));
    assert_eq!(run.shown(&id(3)).step.facts.time_to_first_token_ms, Some(401.0));
    assert_eq!(run.shown(&id(2)).step.kind, StepType::Workflow);
}
