use super::*;
use crate::model::step::StepType;

#[test]
fn names_and_components_tell_the_type() {
    for (name, component, kind) in [
        ("haystack.pipeline.run", "", StepType::Workflow),
        ("haystack.agent.run", "", StepType::Agent),
        ("haystack.agent.step", "", StepType::Workflow),
        ("haystack.agent.step.llm", "", StepType::ModelCall),
        ("haystack.agent.step.tool", "", StepType::Workflow),
        ("haystack.component.run", "OpenAIChatGenerator", StepType::ModelCall),
        ("haystack.component.run", "OpenAIGenerator", StepType::ModelCall),
        ("haystack.component.run", "SentenceTransformersDocumentEmbedder", StepType::Embedding),
        ("haystack.component.run", "InMemoryBM25Retriever", StepType::Retrieval),
        ("haystack.component.run", "TransformersSimilarityRanker", StepType::Rerank),
        ("haystack.component.run", "PromptBuilder", StepType::Workflow),
    ] {
        let step = map(span(name, &[("haystack.component.type", component), ("haystack.component.name", "part")]));
        assert_eq!(step.kind, kind, "{name} {component}");
    }
}

#[test]
fn model_and_usage_stand_in_the_replies() {
    let input = r#"{"messages": [{"role": "user", "meta": {}, "name": null, "content": [{"text": "Hi"}]}]}"#;
    let output = r#"{"replies": [{"role": "assistant", "meta": {"model": "gpt-4o-mini-2024-07-18", "finish_reason": "stop", "usage": {"completion_tokens": 11, "prompt_tokens": 85, "total_tokens": 96, "prompt_tokens_details": {"cached_tokens": 64}}}, "content": [{"text": "Hello"}]}]}"#;
    let step = map(span(
        "haystack.component.run",
        &[
            ("haystack.component.type", "OpenAIChatGenerator"),
            ("haystack.component.name", "llm"),
            ("haystack.component.input", input),
            ("haystack.component.output", output),
        ],
    ));
    assert_eq!(
        (step.name.as_str(), step.model.as_deref(), step.provider.as_deref()),
        ("llm", Some("gpt-4o-mini-2024-07-18"), Some("openai"))
    );
    assert_eq!((step.usage.input, step.usage.output, step.usage.cache_read), (Some(85), Some(11), Some(64)));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(input), Some(output)));
    assert_eq!(step.facts.finish_reason.as_deref(), Some("stop"));
    let embedder = map(span(
        "haystack.component.run",
        &[
            ("haystack.component.type", "OpenAITextEmbedder"),
            ("haystack.component.input", "{\"text\": \"Hi\"}"),
            (
                "haystack.component.output",
                r#"{"embedding": [1.0], "meta": {"model": "text-embedding-3-small", "usage": {"prompt_tokens": 6, "total_tokens": 6}}}"#,
            ),
        ],
    ));
    assert_eq!(
        (embedder.usage.input, embedder.model.as_deref(), embedder.output),
        (Some(6), Some("text-embedding-3-small"), None)
    );
}

#[test]
fn tools_and_agents_have_names_and_contents() {
    let tool = map(span(
        "haystack.agent.step.tool",
        &[
            ("haystack.tool.name", "get_weather"),
            ("haystack.agent.step.tool.input", "{\"city\": \"Paris\"}"),
            ("haystack.agent.step.tool.output", "sunny"),
        ],
    ));
    assert_eq!(
        (tool.name.as_str(), tool.input.as_deref(), tool.output.as_deref()),
        ("get_weather", Some("{\"city\": \"Paris\"}"), Some("sunny"))
    );
    let agent = map(span(
        "haystack.agent.run",
        &[("haystack.agent.input", "{\"messages\": []}"), ("haystack.agent.output", "done")],
    ));
    assert_eq!((agent.kind, agent.output.as_deref()), (StepType::Agent, Some("done")));
}

#[test]
fn printed_messages_of_openinference_are_claims_once() {
    let reply = |input: i64, output: i64| {
        format!(
            "\"ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[], _name=None, _meta={{'model': 'gpt-4o', 'usage': {{'prompt_tokens': {input}, 'completion_tokens': {output}, 'total_tokens': {}, 'details': None}}}})\"",
            input + output
        )
    };
    let map_output = |input: &str, output: &str| {
        let sent = span(
            "Agent.run",
            &[("openinference.span.kind", "CHAIN"), ("input.value", input), ("output.value", output)],
        );
        map_from(sent, Origin { scope_name: "openinference.instrumentation.haystack".into(), ..Origin::default() }).0
    };
    let (first, second) = (reply(120, 18), reply(150, 20));
    let output = format!("{{\"messages\": [\"x\", {first}, {second}], \"last_message\": {second}}}");
    let step = map_output("{}", &output);
    assert_eq!((step.usage.input, step.usage.output, step.usage.total), (Some(270), Some(38), Some(308)));
    assert_eq!(step.model.as_deref(), Some("gpt-4o"));
    // What the agent was handed was paid for before.
    let resumed = map_output(&format!("{{\"messages\": [{first}]}}"), &output);
    assert_eq!((resumed.usage.input, resumed.usage.output), (Some(150), Some(20)));
    let summed = map_output(
        "{}",
        &format!("{{\"messages\": [{first}], \"token_usage\": {{\"prompt_tokens\": 7, \"completion_tokens\": 1}}}}"),
    );
    assert_eq!((summed.usage.input, summed.usage.output), (Some(7), Some(1)));
    for odd in ["", "{", "{\"a\": \"ChatMessage(_meta=\"}", "{\"a\": \"ChatMessage(_meta={'usage': 3})\"}"] {
        assert!(map_output("{}", odd).usage.is_empty(), "{odd}");
    }
}
