use super::worked::{id, run_from, span};
use crate::model::step::{StepType, Usage};

const TYPE: &str = "langfuse.observation.type";

#[test]
fn example_9_usage_of_langfuse_in_either_shape() {
    for details in [
        r#"{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":1024},"completion_tokens_details":{"reasoning_tokens":256}}"#,
        r#"{"input":176,"input_cached_tokens":1024,"output":300,"total":1500}"#,
    ] {
        let run = run_from(
            "langfuse-sdk",
            vec![
                span(
                    1,
                    None,
                    "assistant",
                    (0, 100),
                    &[
                        (TYPE, "agent"),
                        ("langfuse.internal.is_app_root", "true"),
                        ("langfuse.observation.input", "Q"),
                        ("langfuse.observation.output", "A"),
                        ("session.id", "s1"),
                        ("user.id", "u1"),
                        ("langfuse.trace.tags", r#"["prod"]"#),
                    ],
                ),
                span(
                    2,
                    Some(1),
                    "OpenAI-generation",
                    (1, 99),
                    &[
                        (TYPE, "generation"),
                        ("langfuse.observation.model.name", "gpt-5-mini-2025-08-07"),
                        ("langfuse.observation.usage_details", details),
                        ("langfuse.observation.cost_details", r#"{"total": 0}"#),
                    ],
                ),
            ],
        );
        let shown = &run.run;
        assert_eq!((shown.name.as_str(), shown.agent.as_deref()), ("assistant", Some("assistant")));
        assert_eq!((shown.input.as_str(), shown.output.as_deref()), ("Q", Some("A")));
        assert_eq!((shown.session_id.as_deref(), shown.user_id.as_deref()), (Some("s1"), Some("u1")));
        assert_eq!(shown.tags, ["prod"]);
        let call = &run.shown(&id(2)).step;
        assert_eq!(call.kind, StepType::ModelCall);
        let Usage { input, output, total, cache_read, .. } = call.usage;
        assert_eq!((input, output, total, cache_read), (Some(1200), Some(300), Some(1500), Some(1024)));
        assert_eq!(shown.usage.total, Some(1500));
    }
}

#[test]
fn the_marked_step_speaks_and_the_traces_texts_come_first() {
    let run = run_from(
        "langfuse-sdk",
        vec![
            span(1, None, "job", (0, 200), &[(TYPE, "chain"), ("langfuse.observation.input", "a whole batch")]),
            span(
                2,
                Some(1),
                "answer",
                (1, 100),
                &[
                    (TYPE, "span"),
                    ("langfuse.internal.as_root", "true"),
                    ("langfuse.trace.name", "support"),
                    ("langfuse.trace.input", r#"{"question": "Q"}"#),
                    ("langfuse.trace.output", "\"A\""),
                ],
            ),
            span(3, Some(2), "call", (2, 99), &[(TYPE, "generation"), ("langfuse.observation.output", "draft")]),
        ],
    );
    assert_eq!((run.run.name.as_str(), run.run.latency_s), ("support", Some(0.099)));
    assert_eq!((run.run.input.as_str(), run.run.output.as_deref()), ("Q", Some("A")));
}
