use serde_json::json;

use super::builder::*;
use crate::model::step::{CostSource, StepType};

#[test]
fn an_agents_sum_is_a_claim_and_not_counted_again() {
    let run = run_of(vec![
        agent("A", None, 0, 143).named("weather_agent").tokens(270, 42).says(&user("Weather?"), &assistant("18 C.")),
        call("C1", Some("A"), 2, 46).tokens(120, 18).costs(0.000_028_8),
        tool("T", Some("A"), "get_weather", 46, 47).says("{\"city\": \"Paris\"}", "18 C"),
        call("C2", Some("A"), 48, 93).tokens(150, 24).costs(0.000_036_9),
    ]);
    assert_eq!((run.run.usage.total, run.run.usage.input, run.run.usage.output), (Some(312), Some(270), Some(42)));
    assert_eq!(run.run.cost, Some(0.000_065_7));
    assert_eq!(run.run.latency_s, Some(0.143));
    assert_eq!((run.run.name.as_str(), run.run.agent.as_deref()), ("weather_agent", Some("weather_agent")));
    assert_eq!((run.run.input.as_str(), run.run.output.as_deref()), ("Weather?", Some("18 C.")));
    assert_eq!(run.mark("A", "reported_usage"), Some(&json!({"total": 312, "input": 270, "output": 42})));
    assert_eq!(run.shown("A").step.usage.total, Some(312));
    assert_eq!(run.shown("T").step.usage.total, None);
}

#[test]
fn a_claim_is_all_there_is_without_calls() {
    let run = run_of(vec![agent("A", None, 0, 9).tokens(460, 62)]);
    assert_eq!(run.run.usage.total, Some(522));
    assert_eq!(run.mark("A", "tokens_source"), Some(&json!("aggregate")));
}

#[test]
fn a_larger_claim_counts_only_where_a_call_tells_nothing() {
    let steps = |claim: i64| {
        vec![
            agent("A", None, 0, 9).tokens(claim, 0),
            call("C", Some("A"), 1, 2).tokens(10, 0),
            call("D", Some("A"), 3, 4),
        ]
    };
    assert_eq!(run_of(steps(50)).run.usage.total, Some(50));
    assert_eq!(run_of(steps(5)).run.usage.total, Some(10));
    let mut cumulative = steps(50);
    cumulative[0].facts.framework = Some("strands-agents".to_owned());
    assert_eq!(run_of(cumulative).run.usage.total, Some(10));
    let mut known = steps(50);
    known[2] = call("D", Some("A"), 3, 4).tokens(1, 0);
    assert_eq!(run_of(known).run.usage.total, Some(11));
}

#[test]
fn unknown_is_not_zero() {
    let run = run_of(vec![call("C", None, 0, 9)]);
    assert_eq!((run.run.usage.total, run.run.cost), (None, None));
    let free = run_of(vec![call("C", None, 0, 9).tokens(0, 0).costs(0.0)]);
    assert_eq!((free.run.usage.total, free.run.cost), (Some(0), Some(0.0)));
}

#[test]
fn one_call_seen_three_times_in_a_web_request() {
    let id = |facts: &mut crate::model::step::Facts| facts.response_id = Some("msg_1".to_owned());
    let run = run_of(vec![
        step("H", None, StepType::HttpRequest, 0, 100).named("POST /ask"),
        call("C", Some("H"), 10, 90).named("chat claude-sonnet-4-5").tokens(1200, 300).says("Hi", "Hello").facts(id),
        call("S", Some("C"), 11, 89).tokens(1200, 300).facts(id),
        step("X", Some("S"), StepType::HttpRequest, 12, 88),
    ]);
    assert_eq!(run.run.usage.total, Some(1500));
    assert_eq!((run.run.name.as_str(), run.run.latency_s), ("chat claude-sonnet-4-5", Some(0.08)));
    assert_eq!(run.mark("H", "frame"), Some(&json!(true)));
    assert_eq!(run.mark("S", "duplicate_of"), Some(&json!("C")));
    assert_eq!(run.run.metadata["model_calls"], json!(1));
}

#[test]
fn equal_response_ids_at_different_times_are_two_calls() {
    let id = |facts: &mut crate::model::step::Facts| facts.response_id = Some("r".to_owned());
    let run =
        run_of(vec![call("C", None, 0, 10).tokens(5, 1).facts(id), call("D", None, 10, 20).tokens(5, 1).facts(id)]);
    assert_eq!(run.run.usage.total, Some(12));
    let siblings = run_of(vec![
        call("C", None, 0, 10).says("Hi", "Hello").facts(id),
        call("D", None, 1, 9).tokens(5, 1).facts(id),
    ]);
    assert_eq!(siblings.run.usage.total, Some(6));
    assert_eq!(siblings.shown("C").step.usage.total, Some(6));
    assert_eq!(siblings.mark("D", "counted"), Some(&json!(false)));
}

#[test]
fn nested_calls_are_copies_or_attempts() {
    let copy = run_of(vec![call("O", None, 0, 10).tokens(5, 1), call("I", Some("O"), 1, 9).tokens(5, 1)]);
    assert_eq!((copy.run.usage.total, copy.mark("I", "duplicate_of")), (Some(6), Some(&json!("O"))));
    let attempts = run_of(vec![
        call("O", None, 0, 10).tokens(5, 1),
        call("I", Some("O"), 1, 4).fails("429"),
        call("J", Some("O"), 5, 9).tokens(5, 1),
    ]);
    assert_eq!(attempts.run.usage.total, Some(6));
    assert_eq!(
        (attempts.mark("I", "attempt"), attempts.mark("J", "duplicate_of")),
        (Some(&json!(1)), Some(&json!("O")))
    );
    let several = run_of(vec![
        call("O", None, 0, 10).tokens(5, 1),
        call("I", Some("O"), 1, 4).tokens(4, 1),
        call("J", Some("O"), 5, 9).tokens(5, 1),
    ]);
    assert_eq!((several.run.usage.total, several.shown("O").step.usage.total), (Some(11), Some(11)));
}

#[test]
fn a_call_below_a_tool_of_a_call_is_its_own() {
    let run = run_of(vec![
        call("O", None, 0, 10).tokens(5, 1),
        tool("T", Some("O"), "ask", 1, 9),
        call("I", Some("T"), 2, 8).tokens(7, 1),
    ]);
    assert_eq!(run.run.usage.total, Some(14));
    assert_eq!(run.mark("I", "counted"), None);
}

#[test]
fn a_copy_without_content_lies_inside_the_call_it_copies() {
    let run = run_of(vec![
        call("C", None, 0, 10).tokens(5, 1).says("Hi", "Hello"),
        call("D", None, 20, 30).tokens(5, 1).says("Hi", "Hello"),
        call("S", None, 1, 9).tokens(5, 1),
    ]);
    assert_eq!((run.run.usage.total, run.mark("S", "duplicate_of")), (Some(12), Some(&json!("C"))));
}

#[test]
fn costs_that_are_not_all_known() {
    let partial = run_of(vec![call("C", None, 0, 1).tokens(1, 1).costs(0.5), call("D", None, 2, 3).tokens(1, 1)]);
    assert_eq!((partial.run.cost, partial.run.metadata.get("cost_complete")), (Some(0.5), Some(&json!(false))));
    let reported = run_of(vec![
        agent("A", None, 0, 9).costs(0.75),
        call("C", Some("A"), 0, 1).tokens(1, 1).costs(0.5),
        call("D", Some("A"), 2, 3).tokens(1, 1),
    ]);
    assert_eq!((reported.run.cost, reported.run.metadata.get("cost_source")), (Some(0.75), Some(&json!("aggregate"))));
    let tiny = run_of((0..1000).map(|n| call(&n.to_string(), None, n, n + 1).costs(0.1)).collect());
    assert_eq!(tiny.run.cost, Some(100.0));
}

#[test]
fn embeddings_count_and_are_told_apart() {
    let mut embedding = step("E", Some("W"), StepType::Embedding, 0, 1);
    embedding.usage.input = Some(18);
    let run =
        run_of(vec![step("W", None, StepType::Workflow, 0, 10), embedding, call("C", Some("W"), 2, 9).tokens(85, 11)]);
    assert_eq!(run.run.usage.total, Some(114));
    assert_eq!(run.run.metadata["tokens_by_type"], json!({"embedding": 18, "model_call": 96}));
    assert_eq!(run.run.model, "gpt-4o-mini");
}

#[test]
fn of_copies_the_reported_cost_counts_and_else_that_of_the_usage() {
    let costing = |step: crate::model::step::Step, usd: f64, source: CostSource| {
        step.costs(usd).facts(|facts| {
            facts.response_id = Some("msg_1".to_owned());
            facts.cost_source = Some(source);
        })
    };
    use CostSource::{Computed, Reported};
    let outer = || call("C", None, 0, 10).tokens(1200, 300);
    let inner = || call("S", Some("C"), 1, 9).tokens(1200, 300);
    let cost = |outer, inner| {
        let run = run_of(vec![outer, inner]);
        assert_eq!(run.mark("S", "duplicate_of"), Some(&json!("C")));
        (run.run.cost, run.shown("C").step.cost, run.mark("C", "cost_source").cloned())
    };
    let (a, b) = (0.01, 0.02);
    let from_copy = |usd, source: &str| (Some(usd), Some(usd), Some(json!(source)));
    assert_eq!(cost(costing(outer(), a, Computed), costing(inner(), b, Reported)), from_copy(b, "reported"));
    assert_eq!(cost(costing(outer(), a, Reported), costing(inner(), b, Computed)), (Some(a), Some(a), None));
    assert_eq!(cost(costing(outer(), a, Reported), costing(inner(), b, Reported)), (Some(a), Some(a), None));
    // The inner one is closer to the wire: its usage counts, and the price of that.
    assert_eq!(cost(costing(outer(), a, Computed), costing(inner(), b, Computed)), from_copy(b, "computed"));
    // Without an id to tell: nested calls of equal usage.
    let nested = |step: crate::model::step::Step, usd: f64, source| {
        step.costs(usd).facts(|facts| facts.cost_source = Some(source))
    };
    assert_eq!(cost(nested(outer(), a, Computed), nested(inner(), b, Reported)), from_copy(b, "reported"));
    assert_eq!(cost(nested(outer(), a, Computed), nested(inner(), b, Computed)), (Some(a), Some(a), None));
}

#[test]
fn a_sum_that_an_agent_reported_stays_in_sight() {
    let run = run_of(vec![
        agent("A", None, 0, 9).costs(0.75).facts(|facts| facts.cost_source = Some(CostSource::Reported)),
        call("C", Some("A"), 0, 1)
            .tokens(1, 1)
            .costs(0.5)
            .facts(|facts| facts.cost_source = Some(CostSource::Computed)),
    ]);
    assert_eq!((run.run.cost, run.shown("A").step.cost), (Some(0.5), Some(0.5)), "every call has a price");
    assert_eq!(
        (run.mark("A", "reported_cost"), run.mark("A", "cost_source")),
        (Some(&json!(0.75)), Some(&json!("computed")))
    );
}

#[test]
fn a_call_takes_its_model_from_the_step_that_made_it() {
    let mut node = call("node", None, 0, 20).says("q", "a");
    node.model = None;
    let mut request = call("request", Some("node"), 1, 19).tokens(120, 18);
    request.provider = Some("openai".to_owned());
    let assembled = run_of(vec![node, request]);
    let shown = &assembled.shown("node").step;
    assert_eq!((shown.model.as_deref(), shown.provider.as_deref()), (Some("gpt-4o-mini"), Some("openai")));
}
