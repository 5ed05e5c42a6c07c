use serde_json::json;

use super::*;
use crate::model::step::{Status, StepType};

fn from_litellm(name: &str, pairs: &[(&str, &str)]) -> Step {
    map_from(span(name, pairs), Origin { scope_name: "litellm".into(), ..Origin::default() }).0
}

#[test]
fn call_types_of_litellm_are_types_also_on_the_server_span() {
    for (word, kind) in [
        ("acompletion", StepType::ModelCall),
        ("aresponses", StepType::ModelCall),
        ("anthropic_messages", StepType::ModelCall),
        ("image_generation", StepType::ModelCall),
        ("aspeech", StepType::ModelCall),
        ("aembedding", StepType::Embedding),
        ("arerank", StepType::Rerank),
    ] {
        let pairs = [("gen_ai.operation.name", word), ("http.request.method", "POST")];
        assert_eq!(from_litellm("Received Proxy Server Request", &pairs).kind, kind, "{word}");
    }
    let frame = from_litellm("Received Proxy Server Request", &[("http.request.method", "POST")]);
    assert_eq!(frame.kind, StepType::HttpRequest);
}

#[test]
fn a_call_with_cost_user_and_metadata_of_the_caller() {
    let step = from_litellm(
        "litellm_request",
        &[
            ("llm.request.type", "acompletion"),
            ("gen_ai.system", "openai"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.usage.input_tokens", "11"),
            ("gen_ai.usage.output_tokens", "9"),
            ("gen_ai.cost.input_cost", "0.25"),
            ("gen_ai.cost.output_cost", "0.5"),
            ("llm.is_streaming", "True"),
            (
                "metadata.usage_object",
                "{'prompt_tokens': 11, 'prompt_tokens_details': {'cached_tokens': 8}, 'cache_read_input_tokens': 8}",
            ),
            ("metadata.user_api_key_hash", "secret"),
            ("metadata.user_api_key_end_user_id", "ada"),
            ("metadata.team_id", ""),
            ("metadata.routing_decision", "cheap"),
            ("metadata.requester_metadata", "{'session_id': 's1', 'tags': ['a'], 'plan': 'pro', 'none': None}"),
        ],
    );
    assert_eq!((step.kind.clone(), step.provider.as_deref()), (StepType::ModelCall, Some("openai")));
    assert_eq!((step.cost, step.usage.total, step.facts.streaming), (Some(0.75), Some(20), Some(true)));
    assert_eq!((step.facts.session_id.as_deref(), step.facts.user_id.as_deref()), (Some("s1"), Some("ada")));
    assert_eq!((step.usage.cache_read, step.usage.input), (Some(8), Some(11)));
    assert_eq!(step.facts.tags, ["a"]);
    assert_eq!(json!(step.facts.run_metadata), json!({"routing_decision": "cheap", "plan": "pro"}));
    let hidden = [("llm.request.type", "completion"), ("hidden_params", r#"{"response_cost": 0.5, "model_id": null}"#)];
    assert_eq!(from_litellm("litellm_request", &hidden).cost, Some(0.5));
    let unknown = [("llm.request.type", "completion"), ("hidden_params", r#"{"response_cost": 0.0}"#)];
    assert_eq!(from_litellm("litellm_request", &unknown).cost, None);
}

#[test]
fn a_raw_request_repeats_the_call_above() {
    let mut sent = span("raw_gen_ai_request", &[("llm.openai.messages", "[{'role': 'user'}]")]);
    sent.parent_span_id = Some([2; 8]);
    let step = map_from(sent, Origin { scope_name: "litellm".into(), ..Origin::default() }).0;
    assert_eq!(step.facts.more["duplicate_of"], json!("0202020202020202"));
    assert!(!step.kind.is_call());
}

#[test]
fn guardrails_and_failures_of_the_proxy() {
    let guard = from_litellm(
        "guardrail",
        &[("openinference.span.kind", "guardrail"), ("guardrail_name", "pii"), ("guardrail_response", "masked")],
    );
    assert_eq!(
        (guard.kind, guard.name.as_str(), guard.output.as_deref()),
        (StepType::Guardrail, "pii", Some("masked"))
    );
    let sent = failed(span("Failed Proxy Server Request", &[("exception", "Key over budget")]), "");
    let step = map_from(sent, Origin { scope_name: "litellm".into(), ..Origin::default() }).0;
    assert_eq!((step.status, step.error.as_deref()), (Status::Error, Some("Key over budget")));
}
