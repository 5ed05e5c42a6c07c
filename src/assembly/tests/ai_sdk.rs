use super::builder::*;
use super::spans::{failed, raised, run, span, step_id};
use crate::model::span::Span;
use crate::model::step::{Facts, Status, StepType, Wrapped};

const CALLS: &str = r#"[{"toolCallId":"call_1","toolName":"get_weather","input":"{\"city\":\"Paris\"}"}]"#;

fn generate_text() -> Vec<Span> {
    let generate = |id, at, input, output, more: &[(&str, &str)]| {
        let mut pairs = vec![
            ("ai.operationId", "ai.generateText.doGenerate"),
            ("ai.model.provider", "openai.responses"),
            ("ai.response.model", "gpt-4o-mini-2024-07-18"),
            ("ai.usage.inputTokens", input),
            ("ai.usage.outputTokens", output),
        ];
        pairs.extend_from_slice(more);
        span(id, 1, "ai.generateText.doGenerate", at, &pairs)
    };
    vec![
        span(
            1,
            0,
            "ai.generateText",
            (0, 143),
            &[
                ("ai.operationId", "ai.generateText"),
                ("ai.telemetry.functionId", "weather-agent"),
                ("ai.prompt", r#"{"system":"Be kind.","prompt":"Weather?"}"#),
                ("ai.response.text", "18 C"),
                ("ai.usage.inputTokens", "270"),
                ("ai.usage.outputTokens", "38"),
                ("ai.telemetry.metadata.sessionId", "s1"),
            ],
        ),
        generate(2, (2, 46), "120", "18", &[("ai.response.toolCalls", CALLS)]),
        span(
            3,
            1,
            "ai.toolCall",
            (46, 47),
            &[
                ("ai.operationId", "ai.toolCall"),
                ("ai.toolCall.name", "get_weather"),
                ("ai.toolCall.id", "call_1"),
                ("ai.toolCall.args", r#"{"city":"Paris"}"#),
                ("ai.toolCall.result", "\"18 C\""),
            ],
        ),
        generate(4, (48, 93), "150", "20", &[("ai.response.text", "18 C")]),
    ]
}

#[test]
fn example_6_generate_text_with_a_tool_is_an_agent() {
    let assembled = run("ai", generate_text());
    let run = &assembled.run;
    assert_eq!((run.name.as_str(), run.agent.as_deref()), ("weather-agent", Some("weather-agent")));
    assert_eq!(run.usage.total, Some(308));
    assert_eq!((run.input.as_str(), run.output.as_deref()), ("Weather?", Some("18 C")));
    assert_eq!(run.session_id.as_deref(), Some("s1"));
    assert_eq!(assembled.shown(&step_id(1)).step.kind, StepType::Agent);
    for id in [2, 4] {
        let call = &assembled.shown(&step_id(id)).step;
        assert_eq!((&call.kind, call.provider.as_deref()), (&StepType::ModelCall, Some("openai")));
    }
    assert_eq!(assembled.shown(&step_id(3)).step.output.as_deref(), Some("\"18 C\""));
    assert_eq!(assembled.steps.len(), 4);
}

#[test]
fn example_6_with_an_error_copied_from_a_tool_below() {
    let mut spans = generate_text();
    spans[0] = failed(spans[0].clone(), "Unknown symbol: ZZZZ");
    spans[2] = raised(failed(spans[2].clone(), "Unknown symbol: ZZZZ"), "Error", "Unknown symbol: ZZZZ");
    let assembled = run("ai", spans);
    assert_eq!((assembled.run.status, assembled.run.error_count), (Status::Success, 1));
    assert_eq!(assembled.shown(&step_id(3)).step.status, Status::Error);
}

#[test]
fn example_7_version_7_has_an_agent_and_a_workflow_for_each_turn() {
    let operation = |word| ("gen_ai.operation.name", word);
    let usage = |input, output| [("gen_ai.usage.input_tokens", input), ("gen_ai.usage.output_tokens", output)];
    let chat = |id, parent, at, (input, output)| {
        let pairs = [operation("chat"), ("gen_ai.request.model", "gpt-4o-mini")];
        span(id, parent, "chat gpt-4o-mini", at, &[pairs.as_slice(), &usage(input, output)].concat())
    };
    let agent = [operation("invoke_agent"), ("gen_ai.agent.name", "weather")];
    let assembled = run(
        "gen_ai",
        vec![
            span(1, 0, "invoke_agent weather", (0, 90), &[agent.as_slice(), &usage("270", "38")].concat()),
            span(2, 1, "step 1", (1, 40), &[operation("agent_step")]),
            chat(3, 2, (2, 30), ("120", "18")),
            span(4, 2, "execute_tool now", (31, 39), &[operation("execute_tool"), ("gen_ai.tool.name", "now")]),
            span(5, 1, "step 2", (41, 89), &[operation("agent_step")]),
            chat(6, 5, (42, 88), ("150", "20")),
        ],
    );
    assert_eq!((assembled.run.name.as_str(), assembled.run.usage.total), ("weather", Some(308)));
    let kinds: Vec<_> = (1..=6).map(|id| assembled.shown(&step_id(id)).step.kind.as_str().to_owned()).collect();
    assert_eq!(kinds, ["agent", "workflow", "model_call", "tool_call", "workflow", "model_call"]);

    let embeddings = [operation("embeddings"), ("gen_ai.request.model", "text-embedding-3-small")];
    let inner = [embeddings.as_slice(), &[("gen_ai.usage.input_tokens", "18")]].concat();
    let embedded =
        run("gen_ai", vec![span(1, 0, "embeddings", (0, 9), &embeddings), span(2, 1, "embeddings", (1, 8), &inner)]);
    assert_eq!(embedded.run.usage.total, Some(18));
}

#[test]
fn a_wrapper_is_what_stands_below_it() {
    let wrapper = |wraps| {
        step("w", None, StepType::Workflow, 0, 90)
            .says("Hi", "Hello")
            .facts(|facts: &mut Facts| facts.wraps = Some(wraps))
    };
    let kind = |steps| run_of(steps).shown("w").step.kind.clone();
    let one = || call("c1", Some("w"), 1, 20);
    let two = || call("c2", Some("w"), 21, 40);
    assert_eq!(kind(vec![wrapper(Wrapped::ModelCall), one()]), StepType::Workflow);
    assert_eq!(kind(vec![wrapper(Wrapped::ModelCall), one(), two()]), StepType::Agent);
    // An attempt that failed makes no second turn.
    assert_eq!(kind(vec![wrapper(Wrapped::ModelCall), one().fails("429"), two()]), StepType::Workflow);
    // Some versions put the tools below the call that asked for them.
    assert_eq!(kind(vec![wrapper(Wrapped::ModelCall), one(), tool("t", Some("c1"), "now", 2, 3)]), StepType::Agent);
    // The tool of another agent is an agent.
    let above =
        [agent("a", None, 0, 99), tool("t", Some("a"), "ask", 0, 95), step("f", Some("t"), StepType::Unknown, 0, 94)];
    let mut below = wrapper(Wrapped::ModelCall);
    below.parent_id = Some("f".to_owned());
    assert_eq!(kind(above.into_iter().chain([below, one()]).collect()), StepType::Agent);
    // What an agent inside calls is its own.
    let inner = [tool("t", Some("w"), "ask", 2, 80), agent("a", Some("t"), 3, 70), call("c", Some("a"), 4, 60)];
    let mut deep = vec![wrapper(Wrapped::Embedding)];
    deep.extend(inner);
    assert_eq!(kind(deep), StepType::Workflow);
    // Nothing else shows the call.
    assert_eq!(kind(vec![wrapper(Wrapped::ModelCall)]), StepType::ModelCall);
    assert_eq!(kind(vec![wrapper(Wrapped::Embedding)]), StepType::Embedding);
}

#[test]
fn a_call_around_several_turns_is_a_workflow_once_each_turn_tells_its_usage() {
    let turns = || call("w", None, 0, 90).tokens(270, 38).facts(|facts: &mut Facts| facts.wraps = Some(Wrapped::Turns));
    let turn = |id: &str, at| call(id, Some("w"), at, at + 9);
    let one = run_of(vec![turns(), turn("c1", 1)]);
    assert_eq!((&one.shown("w").step.kind, one.run.usage.total), (&StepType::ModelCall, Some(308)));
    let several = run_of(vec![turns(), turn("c1", 1).tokens(120, 18), turn("c2", 20).tokens(150, 20)]);
    assert_eq!((&several.shown("w").step.kind, several.run.usage.total), (&StepType::Workflow, Some(308)));
    assert_eq!(several.mark("c1", "counted"), None);
}

#[test]
fn documents_that_are_embedded_first_are_not_what_the_run_was_asked() {
    let embed =
        step("e", None, StepType::Workflow, 0, 9).says("documents", "").facts(|f| f.wraps = Some(Wrapped::Embedding));
    let asked =
        step("w", None, StepType::Workflow, 10, 90).says("Hi", "Hello").facts(|f| f.wraps = Some(Wrapped::ModelCall));
    let embedding = step("d", Some("e"), StepType::Embedding, 1, 8);
    assert_eq!(run_of(vec![embed, embedding, asked, call("c", Some("w"), 11, 80)]).run.input, "Hi");
}
