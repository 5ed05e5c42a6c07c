use super::builder::*;
use crate::mapping::map_traces;
use crate::model::id::ProjectId;
use crate::model::span::{Origin, Span};
use crate::model::step::{Step, StepType};
use crate::model::value::AnyValue;
use crate::otlp::SpanGroup;

fn span(id: u8, parent: Option<u8>, name: &str, pairs: &[(&str, &str)]) -> Span {
    let value = |text: &str| text.parse().map_or_else(|_| AnyValue::Str(text.to_owned()), AnyValue::Int);
    let mut attributes: Vec<_> = pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let start_ns = 1_750_000_000_000_000_000 + u64::from(id) * 1_000_000;
    Span {
        trace_id: key().run_id.into_bytes(),
        span_id: [id; 8],
        parent_span_id: parent.map(|id| [id; 8]),
        name: name.to_owned(),
        kind: 1,
        start_ns,
        end_ns: start_ns + 9_000_000 / u64::from(id),
        attributes,
        ..Span::default()
    }
}

fn steps(spans: Vec<Span>) -> Vec<Step> {
    map_traces(
        ProjectId(1),
        vec![SpanGroup { position: 0, origin: Origin::default(), items: spans }],
        epoch(),
        &crate::prices::Prices::none(),
    )
    .0
}

/// A decorated function around one call: the root returned nothing, so the answer is the model's.
#[test]
fn example_3_openllmetry_with_numbered_prompts() {
    let run = run_of(steps(vec![
        span(
            1,
            None,
            "chat_turn.workflow",
            &[
                ("traceloop.span.kind", "workflow"),
                ("traceloop.entity.name", "chat_turn"),
                ("traceloop.association.properties.session_id", "s1"),
                ("traceloop.association.properties.user_id", "u1"),
                ("traceloop.entity.input", r#"{"args": ["Hi"], "kwargs": {}}"#),
                ("traceloop.entity.output", "null"),
            ],
        ),
        span(
            2,
            Some(1),
            "openai.chat",
            &[
                ("llm.request.type", "chat"),
                ("gen_ai.system", "OpenAI"),
                ("gen_ai.request.model", "gpt-4o"),
                ("gen_ai.prompt.0.role", "user"),
                ("gen_ai.prompt.0.content", "Hi"),
                ("gen_ai.completion.0.role", "assistant"),
                ("gen_ai.completion.0.content", "Hello"),
                ("gen_ai.completion.0.finish_reason", "stop"),
                ("gen_ai.usage.prompt_tokens", "9"),
                ("gen_ai.usage.completion_tokens", "2"),
                ("llm.usage.total_tokens", "11"),
            ],
        ),
    ]));
    let shown = &run.run;
    assert_eq!((shown.name.as_str(), shown.model.as_str()), ("chat_turn", "gpt-4o"));
    assert_eq!((shown.session_id.as_deref(), shown.user_id.as_deref()), (Some("s1"), Some("u1")));
    assert_eq!((shown.input.as_str(), shown.output.as_deref()), ("Hi", Some("Hello")));
    assert_eq!(shown.usage.total, Some(11));
    let kinds: Vec<_> = run.steps.iter().map(|shown| (&shown.step.kind, shown.step.provider.as_deref())).collect();
    assert_eq!(kinds, [(&StepType::Workflow, None), (&StepType::ModelCall, Some("openai"))]);
}

/// The crew's own sum is believed while no call shows, and not against calls that do.
#[test]
fn a_crews_sum_yields_to_its_calls() {
    let crew = || {
        span(
            1,
            None,
            "crewai.workflow",
            &[
                ("gen_ai.operation.name", "invoke_agent"),
                ("crewai.crew.id", "c"),
                ("crewai.crew.usage_metrics", "{'total_tokens': 976, 'prompt_tokens': 850, 'completion_tokens': 126}"),
            ],
        )
    };
    let call = |id, tokens| {
        span(
            id,
            Some(1),
            "gpt-4o-mini.llm",
            &[("gen_ai.operation.name", "chat"), ("gen_ai.usage.input_tokens", tokens)],
        )
    };
    assert_eq!(run_of(steps(vec![crew()])).run.usage.total, Some(976));
    assert_eq!(run_of(steps(vec![crew(), call(2, "400"), call(3, "88")])).run.usage.total, Some(488));
}
