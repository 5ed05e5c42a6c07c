use super::worked::{Sent, id, run_from, span};
use crate::model::step::Status;

#[test]
fn example_12_a_failed_call_with_status_ok() {
    let error = "RateLimitError('Error code: 429 - Rate limit reached')";
    let run = run_from(
        "langsmith",
        vec![
            span(
                1,
                None,
                "ChatOpenAI",
                (0, 50),
                &[
                    ("langsmith.span.kind", "llm"),
                    ("gen_ai.prompt", r#"{"messages":[{"role":"user","content":"Hi"}]}"#),
                    ("gen_ai.completion", r#"{"output":null}"#),
                ],
            )
            .status(1, "")
            .event("exception", &[("exception.message", error), ("exception.escaped", "False")]),
        ],
    );
    let step = &run.shown(&id(1)).step;
    assert_eq!((step.status, step.error.as_deref(), step.output.as_deref()), (Status::Error, Some(error), None));
    assert_eq!((run.run.status, run.run.error.as_deref()), (Status::Error, Some(error)));
    assert_eq!((run.run.input.as_str(), run.run.output.as_deref()), ("Hi", None));
}
