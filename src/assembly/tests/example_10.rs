use serde_json::json;

use super::worked::{Sent, id, run_from, span};
use crate::model::step::{Status, StepType};

#[test]
fn example_10_an_error_of_the_provider_below_a_silent_workflow() {
    const ERROR: &str = "RateLimitError: litellm.RateLimitError: Rate limit reached";
    let run = run_from(
        "gcp.vertex.agent",
        vec![
            span(
                1,
                None,
                "invoke_workflow assistant",
                (0, 100),
                &[("gen_ai.operation.name", "invoke_workflow"), ("gen_ai.conversation.id", "sess-1")],
            ),
            span(
                2,
                Some(1),
                "invoke_agent assistant",
                (1, 90),
                &[("gen_ai.operation.name", "invoke_agent"), ("gen_ai.agent.name", "assistant")],
            )
            .status(2, ERROR),
            span(
                3,
                Some(2),
                "generate_content openai/gpt-4o-mini",
                (2, 80),
                &[("gen_ai.operation.name", "generate_content"), ("gen_ai.request.model", "openai/gpt-4o-mini")],
            )
            .status(2, "")
            .event("exception", &[("exception.type", "RateLimitError"), ("exception.message", "Rate limit reached")]),
        ],
    );
    assert_eq!((run.run.status, run.run.error.as_deref()), (Status::Error, Some(ERROR)));
    assert_eq!(run.run.metadata["status_inferred"], json!(true));
    assert_eq!(run.run.metadata["failed_step"], json!(id(2)));
    assert_eq!((run.run.usage.total, run.run.session_id.as_deref()), (None, Some("sess-1")));
    assert_eq!(run.shown(&id(1)).step.kind, StepType::Workflow);
    assert_eq!(run.run.model, "openai/gpt-4o-mini");
}
