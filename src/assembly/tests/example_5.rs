use serde_json::{Value, json};

use super::worked::{id, run_from, span};
use crate::model::step::StepType;

#[test]
fn example_5_retrieval_reranking_and_an_answer() {
    const KIND: &str = "openinference.span.kind";
    let question = "What is the refund window?";
    let run = run_from(
        "openinference.instrumentation.langchain",
        vec![
            span(1, None, "RunnableSequence", (0, 60), &[(KIND, "CHAIN"), ("input.value", question)]),
            span(
                2,
                Some(1),
                "VectorStoreRetriever",
                (1, 20),
                &[
                    (KIND, "RETRIEVER"),
                    ("input.value", question),
                    ("retrieval.documents.0.document.content", "Refunds within 30 days"),
                    ("retrieval.documents.0.document.score", "1"),
                    ("retrieval.documents.0.document.id", "d1"),
                ],
            ),
            span(
                3,
                Some(1),
                "Reranker",
                (21, 30),
                &[(KIND, "RERANKER"), ("reranker.query", question), ("reranker.output_documents.0.document.id", "d1")],
            ),
            span(
                4,
                Some(1),
                "ChatOpenAI",
                (31, 59),
                &[
                    (KIND, "LLM"),
                    ("llm.model_name", "gpt-4o-mini"),
                    ("llm.provider", "openai"),
                    ("llm.token_count.prompt", "85"),
                    ("llm.token_count.completion", "11"),
                    ("llm.token_count.total", "96"),
                    ("llm.token_count.prompt_details.cache_read", "0"),
                    ("llm.cost.total", "0.0000194"),
                    ("llm.output_messages.0.message.role", "assistant"),
                    ("llm.output_messages.0.message.content", "Within 30 days."),
                ],
            ),
        ],
    );
    assert_eq!((run.run.input.as_str(), run.run.output.as_deref()), (question, Some("Within 30 days.")));
    assert_eq!((run.run.usage.total, run.run.cost), (Some(96), Some(0.0000194)));
    let found = &run.shown(&id(2)).step;
    let documents: Value = serde_json::from_str(found.output.as_deref().unwrap_or_default()).unwrap_or_default();
    assert_eq!(found.kind, StepType::Retrieval);
    assert_eq!(documents, json!([{"id": "d1", "content": "Refunds within 30 days", "score": 1}]));
    assert_eq!(run.shown(&id(3)).step.kind, StepType::Rerank);
    assert_eq!(run.shown(&id(4)).step.kind, StepType::ModelCall);
}
