//! What steps cost: as reported, as computed, and which of both counts.

use serde_json::json;

use super::*;
use crate::config::Prefer;
use crate::mapping::merge;
use crate::model::step::CostSource;

const CALL: [(&str, &str); 4] = [
    ("gen_ai.operation.name", "chat"),
    ("gen_ai.provider.name", "openai"),
    ("gen_ai.request.model", "gpt-4o-mini"),
    ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
];

fn priced_by(prices: &Prices, span: Span) -> Step {
    let groups = vec![SpanGroup { position: 0, origin: Origin::default(), items: vec![span] }];
    map_traces(ProjectId(3), groups, received_at(), prices).0.remove(0)
}

fn priced(pairs: &[(&str, &str)]) -> Step {
    priced_by(&Prices::shipped(), span("chat", &with(pairs)))
}

/// A call of gpt-4o-mini with other attributes; one of the same key takes its place.
fn with<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = CALL.into_iter().filter(|(key, _)| pairs.iter().all(|(other, _)| other != key));
    kept.chain(pairs.iter().copied()).collect()
}

fn more<'a>(step: &'a Step, name: &str) -> Option<&'a serde_json::Value> {
    step.facts.more.get(name)
}

const USED: [(&str, &str); 2] = [("gen_ai.usage.input_tokens", "120"), ("gen_ai.usage.output_tokens", "18")];

fn reporting(usd: &str) -> Step {
    priced(&[USED[0], USED[1], ("gen_ai.usage.cost", usd)])
}

#[test]
fn a_call_costs_its_tokens_and_tells_by_which_prices() {
    let step = priced(&USED);
    // 120 x 0.15 + 18 x 0.60, by the million.
    assert_eq!((step.cost, step.facts.cost_source), (Some(0.000_028_8), Some(CostSource::Computed)));
    let prices = more(&step, "prices").unwrap();
    assert_eq!((&prices["provider"], &prices["model"]), (&json!("openai"), &json!("gpt-4o-mini")));
    assert_eq!(prices["usd_per_million"], json!({"input": 0.15, "output": 0.6, "cache_read": 0.075}));
    assert_eq!(more(&step, "price_missing"), None);
}

#[test]
fn example_9_a_reported_nothing_is_computed() {
    let step = priced(&[
        ("gen_ai.request.model", "gpt-5-mini"),
        ("gen_ai.response.model", "gpt-5-mini-2025-08-07"),
        ("gen_ai.usage.input_tokens", "1200"),
        ("gen_ai.usage.output_tokens", "300"),
        ("gen_ai.usage.cache_read.input_tokens", "1024"),
        ("gen_ai.usage.reasoning.output_tokens", "256"),
        ("langfuse.observation.cost_details", r#"{"total": 0}"#),
    ]);
    assert_eq!((step.usage.input, step.usage.total), (Some(1200), Some(1500)));
    // 176 x 0.25 + 1024 x 0.025 + 300 x 2, by the million.
    assert_eq!((step.cost, step.facts.cost_source), (Some(0.000_669_6), Some(CostSource::Computed)));
}

#[test]
fn a_reported_cost_beats_a_computed_one_and_a_difference_is_shown() {
    // Within 5 % nothing is said, beyond it both are.
    for (usd, differs) in [("0.0000288", false), ("0.0000300", false), ("0.0000320", true), ("0.5", true)] {
        let step = reporting(usd);
        assert_eq!((step.cost, step.facts.cost_source), (usd.parse().ok(), Some(CostSource::Reported)), "{usd}");
        assert_eq!(more(&step, "computed_cost"), differs.then(|| json!(0.000_028_8)).as_ref(), "{usd}");
        assert_eq!(more(&step, "prices").is_some(), differs, "{usd}");
    }
    let prefers = Prices::shipped().preferring(Prefer::Computed);
    let step = priced_by(&prefers, span("chat", &with(&[USED[0], USED[1], ("gen_ai.usage.cost", "0.5")])));
    assert_eq!((step.cost, step.facts.cost_source), (Some(0.000_028_8), Some(CostSource::Computed)));
    assert_eq!(more(&step, "reported_cost"), Some(&json!(0.5)));
}

#[test]
fn nothing_is_a_price_only_where_it_can_be() {
    let nothing = |pairs: &[(&'static str, &'static str)]| {
        let mut all = vec![USED[0], USED[1], ("gen_ai.usage.cost", "0.0")];
        all.extend(pairs);
        let step = priced(&all);
        (step.cost, step.facts.cost_source)
    };
    assert_eq!(nothing(&[]), (Some(0.000_028_8), Some(CostSource::Computed)));
    let model = |name| [("gen_ai.request.model", name), ("gen_ai.response.model", name)];
    assert_eq!(nothing(&model("acme-large")), (None, None));
    let free = [("gen_ai.provider.name", "openrouter")].into_iter().chain(model("deepseek/deepseek-r1:free"));
    assert_eq!(nothing(&free.collect::<Vec<_>>()), (Some(0.0), Some(CostSource::Reported)));
    let local = [("gen_ai.provider.name", "ollama")].into_iter().chain(model("llama3"));
    assert_eq!(nothing(&local.collect::<Vec<_>>()), (Some(0.0), Some(CostSource::Reported)));
}

#[test]
fn a_model_without_a_price_is_named_and_never_free() {
    let model = |name| [("gen_ai.request.model", name), ("gen_ai.response.model", name), USED[0], USED[1]];
    let step = priced(&model("acme-large"));
    assert_eq!((step.cost, step.facts.cost_source), (None, None));
    assert_eq!(more(&step, "price_missing"), Some(&json!("acme-large")));
    // What was asked for helps where the answer's model is unknown.
    let routed = priced(&[("gen_ai.response.model", "acme-router"), USED[0], USED[1]]);
    assert_eq!(routed.cost, Some(0.000_028_8));
    // A call that tells no usage has no price to miss.
    let failed = priced(&[]);
    assert_eq!((failed.cost, more(&failed, "price_missing")), (None, None));
    // Nor has a step that is no call.
    let agent = priced(&[("gen_ai.operation.name", "invoke_agent"), USED[0], USED[1]]);
    assert_eq!((agent.cost, more(&agent, "price_missing")), (None, None));
}

#[test]
fn reported_costs_are_read_from_any_of_their_keys() {
    for (pairs, usd) in [
        (vec![("operation.cost", "0.25")], 0.25),
        (vec![("gen_ai.cost.total_tokens", "0.25")], 0.25),
        (vec![("ai.total_cost", "0.25")], 0.25),
        (vec![("total_cost_usd", "0.25")], 0.25),
        (vec![("langfuse.observation.cost_details", r#"{"total": 0.25, "input": 0.1}"#)], 0.25),
        (vec![("langfuse.observation.cost_details", r#"{"output": 0.125, "input": 0.125}"#)], 0.25),
        (vec![("mlflow.llm.cost", r#"{"input_cost": 0.1, "output_cost": 0.15, "total_cost": 0.25}"#)], 0.25),
        (vec![("hidden_params", r#"{"model_id": "x", "response_cost": "0.25"}"#)], 0.25),
        (vec![("braintrust.metrics", r#"{"tokens": 7, "estimated_cost": 0.25}"#)], 0.25),
        (vec![("gen_ai.usage.input_cost", "0.125"), ("gen_ai.usage.output_cost", "0.125")], 0.25),
        (vec![("gen_ai.cost.input_cost", "0.125"), ("gen_ai.cost.output_cost", "0.125")], 0.25),
        (vec![("gen_ai.usage.cost.input", "0.125"), ("gen_ai.usage.cost.output", "0.125")], 0.25),
    ] {
        let step = priced(&pairs);
        assert_eq!((step.cost, step.facts.cost_source), (Some(usd), Some(CostSource::Reported)), "{pairs:?}");
    }
    for pairs in [
        [("gen_ai.usage.cost", "-1"), ("gen_ai.cost.total_tokens", "NaN")],
        [("langfuse.observation.cost_details", "[1]"), ("hidden_params", "{\"response_cost\": null}")],
        [("gen_ai.usage.input_cost", "0.1"), ("langfuse.observation.cost_details", "{")],
    ] {
        assert_eq!(priced(&pairs).cost, None, "{pairs:?}");
    }
}

#[test]
fn what_has_prices_of_its_own_is_counted() {
    let step = priced(&[
        ("gen_ai.provider.name", "anthropic"),
        ("gen_ai.request.model", "claude-haiku-4-5"),
        ("gen_ai.response.model", "claude-haiku-4-5-20251001"),
        ("gen_ai.usage.input_tokens", "10000"),
        ("gen_ai.usage.output_tokens", "500"),
        ("gen_ai.usage.cache_read.input_tokens", "6000"),
        ("gen_ai.usage.cache_creation.input_tokens", "3000"),
        ("gen_ai.usage.cache_creation.input_tokens.ephemeral_1h", "2000"),
    ]);
    // 1000 x 1 + 6000 x 0.1 + 1000 x 1.25 + 2000 x 2 + 500 x 5, by the million.
    assert_eq!(step.cost, Some(0.009_35));
    assert_eq!(more(&step, "cache_write_1h_tokens"), Some(&json!(2000)));
    let spoken = priced(&[
        ("gen_ai.response.model", "gpt-audio"),
        ("gen_ai.usage.input_tokens", "100"),
        ("gen_ai.usage.output_tokens", "30"),
        ("llm.token_count.prompt_details.audio", "60"),
        ("llm.token_count.completion_details.audio", "20"),
    ]);
    // 40 x 2.5 + 60 x 32 + 10 x 10 + 20 x 64, by the million.
    assert_eq!(spoken.cost, Some(0.003_4));
    let embedding = priced(&[
        ("gen_ai.operation.name", "embeddings"),
        ("gen_ai.request.model", "text-embedding-3-small"),
        ("gen_ai.response.model", "text-embedding-3-small"),
        ("gen_ai.usage.total_tokens", "1000"),
    ]);
    assert_eq!(embedding.cost, Some(0.000_02));
}

#[test]
fn the_address_tells_who_is_paid() {
    let paid = |address, model| {
        let model = [("gen_ai.request.model", model), ("gen_ai.response.model", model)];
        let step = priced(&[model[0], model[1], ("server.address", address), ("gen_ai.usage.input_tokens", "1000")]);
        (step.cost, more(&step, "prices").map(|prices| prices["provider"].clone()))
    };
    let known = |usd, provider: &str| (Some(usd), Some(json!(provider)));
    assert_eq!(paid("api.openai.com", "gpt-4o-mini"), known(0.000_15, "openai"));
    assert_eq!(paid("127.0.0.1", "gpt-4o-mini"), known(0.000_15, "openai"));
    assert_eq!(paid("api.groq.com", "openai/gpt-oss-120b"), known(0.000_15, "groq"));
    assert_eq!(paid("https://openrouter.ai/api/v1", "openai/gpt-4o-mini"), known(0.000_15, "openrouter"));
    assert_eq!(paid("integrate.api.nvidia.com", "openai/gpt-oss-120b"), (None, None));
}

#[test]
fn service_tiers_count_where_their_prices_are_known() {
    let own = "[[models]]\nmodel = \"acme-1\"\ninput = 1\noutput = 2\nbatch = { input = 0.5, output = 1 }\n\
        priority = { input = 3 }";
    let prices = Prices::shipped().with_own("own.toml", own).unwrap();
    for (tier, usd) in [
        (vec![("gen_ai.request.batch", "true")], 0.000_5),
        (vec![("openai.response.service_tier", "priority")], 0.003),
        (vec![("gen_ai.response.service_tier", "flex")], 0.001),
        (vec![("anthropic.response.service_tier", "standard")], 0.001),
        (vec![("anthropic.response.service_tier", "batch")], 0.000_5),
        (vec![], 0.001),
    ] {
        let mut pairs = vec![("gen_ai.response.model", "acme-1"), ("gen_ai.usage.input_tokens", "1000")];
        pairs.extend(&tier);
        assert_eq!(priced_by(&prices, span("chat", &with(&pairs))).cost, Some(usd), "{tier:?}");
    }
}

#[test]
fn more_cache_than_input_stands_beside_it() {
    let step = priced(&[
        ("gen_ai.usage.input_tokens", "100"),
        ("gen_ai.usage.output_tokens", "0"),
        ("gen_ai.usage.total_tokens", "100"),
        ("gen_ai.usage.cache_read.input_tokens", "500"),
    ]);
    // 100 x 0.15 + 500 x 0.075, by the million: what was read from the cache cannot be part of less.
    assert_eq!((step.usage.input, step.cost), (Some(600), Some(0.000_052_5)));
}

#[test]
fn versions_of_a_call_are_priced_as_one_in_any_order() {
    let prices = Prices::shipped();
    let mut started = span("chat", &CALL);
    started.end_ns = 0;
    let ended = span("chat", &[CALL[0], USED[0], USED[1]]);
    let (a, b) = (priced_by(&prices, started), priced_by(&prices, ended));
    let merged = merge(a.clone(), b.clone(), &prices, &|_| None);
    assert_eq!(merged.cost, Some(0.000_028_8), "the model of one, the tokens of the other");
    assert_eq!(merge(b.clone(), a, &prices, &|_| None), merged);
    assert_eq!(merge(merged.clone(), b, &prices, &|_| None), merged);
}
