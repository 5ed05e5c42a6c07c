//! The shapes of the query API, and that what `POST /runs` answers can be posted again.

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::id::{ProjectId, RunKey};
use crate::model::query::Cursor;
use crate::model::run::ShownStep;
use crate::native::{Submission, submission};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_225_600_123_456).unwrap()
}

fn submit(body: &Value) -> Submission {
    submission(ProjectId(1), body, Uuid::from_u128(0xABCD), now()).unwrap_or_else(|faults| panic!("{body}: {faults:?}"))
}

/// A finished run as the store gives it back.
fn run_of(submission: &Submission) -> Run {
    let said = submission.declared.clone();
    Run {
        key: RunKey { project: ProjectId(1), run_id: submission.run_id },
        source: Source::Native,
        worthy: true,
        bare: false,
        duplicate_of: None,
        name: said.name.clone().unwrap_or_else(|| "run".to_owned()),
        model: said.model.clone(),
        agent: said.agent.clone(),
        service: None,
        status: said.status,
        input: said.input.clone(),
        output: said.output.clone(),
        error: said.error.clone(),
        usage: Usage { total: said.tokens, input: said.input_tokens, output: said.output_tokens, ..Usage::default() },
        cost: said.cost,
        latency_s: said.latency,
        session_id: said.session_id.clone(),
        user_id: said.user_id.clone(),
        tags: said.tags.clone(),
        step_count: submission.steps.len() as i64,
        error_count: 0,
        trace_id: said.trace_id.clone(),
        started_at: now(),
        ended_at: None,
        final_at: Some(now()),
        metadata: said.metadata.clone(),
        first_day: now().date_naive(),
        last_day: now().date_naive(),
        due_at: None,
        kinship: Default::default(),
        revision: 0,
        created_at: now(),
        updated_at: now() + TimeDelta::seconds(1),
        received_at: now(),
        declared: Some(said),
    }
}

/// The tree of steps that stand in depth-first order.
fn tree_of(steps: &[Step]) -> Vec<Node> {
    let mut waiting: HashMap<Option<String>, Vec<Node>> = HashMap::new();
    for step in steps.iter().rev() {
        let children = waiting.remove(&Some(step.id.clone())).unwrap_or_default();
        let shown = ShownStep { step: step.clone(), marks: Map::new() };
        waiting.entry(step.parent_id.clone()).or_default().insert(0, Node { shown, children: children.into() });
    }
    waiting.remove(&None).unwrap_or_default()
}

fn metadata_of(step: &Step) -> Map<String, Value> {
    serde_json::from_str(&step.detail).unwrap()
}

fn rendered(body: &Value) -> Value {
    let posted = submit(body);
    serde_json::to_value(detail_with(&run_of(&posted), tree_of(&posted.steps), now(), &metadata_of)).unwrap()
}

fn answer(posted: &Submission) -> Value {
    serde_json::to_value(posted_with(&run_of(posted), tree_of(&posted.steps), &metadata_of)).unwrap()
}

#[test]
fn a_run_with_its_tree_flags_and_stats() {
    let body = json!({
        "model": "gpt-4o", "input": "hi", "output": "done", "status": "success", "tokens": 9, "cost": 0.2, "latency": 12,
        "steps": [{
            "id": "a", "type": "agent", "latency": 12000, "cost": 0.2,
            "children": [
                {"id": "b", "type": "model_call", "latency": 9000, "cost": 0.01, "tokens": 9, "temperature": 0},
                {"id": "c", "type": "tool_call", "error": "boom", "started_at": "2026-01-01T00:00:00.1Z", "cost": 0.19},
            ],
        }],
    });
    insta::assert_json_snapshot!(rendered(&body));
}

#[test]
fn the_answer_to_a_posted_run() {
    let body = json!({
        "model": " m ", "input": "", "status": "ERROR", "error": "boom", "tokens": "5", "tags": ["t"],
        "steps": {"type": 5, "k": [1], "children": [{}]},
    });
    insta::assert_json_snapshot!(answer(&submit(&body)));
}

#[test]
fn a_summary_cuts_texts_on_a_character_border_and_says_so() {
    let just = "é".repeat(SUMMARY_TEXT_MAX_BYTES / 2);
    for (input, output, expected) in [
        (just.clone(), Some(just.clone()), (2048, false, Some(2048), false)),
        (format!("{just}x"), Some(format!("x{just}")), (2048, true, Some(2047), true)),
        (String::new(), None, (0, false, None, false)),
    ] {
        let mut run = run_of(&submit(&json!({"model": "m", "input": "", "status": "success"})));
        (run.input, run.output) = (input, output);
        let view = run_summary(&run, now());
        let found = (view.input.len(), view.input_truncated, view.output.map(str::len), view.output_truncated);
        assert_eq!(found, expected);
        assert_eq!((run_whole(&run, now()).input, run_whole(&run, now()).input_truncated), (run.input.as_str(), false));
    }
}

#[test]
fn a_page_names_the_next_one() {
    let run = run_of(&submit(&json!({"model": "m", "input": "", "status": "success"})));
    let cursor = Cursor { started_at: run.started_at, run_id: run.key.run_id };
    let page = serde_json::to_value(run_page(&Page { runs: vec![run.clone()], next: Some(cursor) }, now())).unwrap();
    assert_eq!(page["items"][0]["run_id"], json!("00000000-0000-0000-0000-00000000abcd"));
    assert_eq!(page["items"][0]["started_at"], json!("2026-01-01T00:00:00.123456Z"));
    assert_eq!(page["next_cursor"], json!(encode_cursor(&cursor)));
    let last = serde_json::to_value(run_page(&Page { runs: vec![], next: None }, now())).unwrap();
    assert_eq!(last, json!({"items": [], "next_cursor": null}));
}

#[test]
fn slow_and_expensive_are_said_at_their_edges() {
    let flags = |run: Value, step: Value| {
        let mut body = json!({"model": "m", "input": "", "status": "success", "steps": [step]});
        body.as_object_mut().unwrap().extend(run.as_object().unwrap().clone());
        let flags = rendered(&body)["flags"].take();
        (flags["has_slow_step"] == json!(true), flags["has_expensive_step"] == json!(true))
    };
    assert_eq!(flags(json!({"latency": 10}), json!({"latency": SLOW_STEP_MIN_MS})), (true, false));
    assert_eq!(flags(json!({"latency": 10.1}), json!({"latency": SLOW_STEP_MIN_MS})), (false, false));
    assert_eq!(flags(json!({"latency": 5}), json!({"latency": SLOW_STEP_MIN_MS - 1.0})), (false, false));
    assert_eq!(flags(json!({}), json!({"latency": SLOW_STEP_MIN_MS})), (true, false));
    assert_eq!(flags(json!({"cost": 0.1}), json!({"cost": EXPENSIVE_STEP_MIN_USD})), (false, true));
    assert_eq!(flags(json!({"cost": 0.11}), json!({"cost": EXPENSIVE_STEP_MIN_USD})), (false, false));
    assert_eq!(flags(json!({"cost": 0.04}), json!({"cost": 0.04})), (false, false));
    // What the children took and cost is theirs.
    let child = json!({"latency": 4000, "cost": 0.04});
    let parent = json!({"latency": 8000, "cost": 0.08, "children": [child, child]});
    assert_eq!(flags(json!({"latency": 8, "cost": 0.08}), parent), (false, false));
}

#[test]
fn marks_are_shown_and_hide_nothing() {
    let mut tree = tree_of(
        &submit(&json!({
            "model": "m", "input": "", "status": "success",
            "steps": [{"metadata": {"counted": "by hand", "sent.counted": 1, "inferred": true}}],
        }))
        .steps,
    );
    tree[0].shown.marks = serde_json::from_value(json!({"counted": false, "inferred": true})).unwrap();
    let forest = Forest::of(tree, RunTotals { latency_s: None, cost: None }, &metadata_of);
    let expected = json!({"counted": false, "sent.counted": "by hand", "sent.sent.counted": 1, "inferred": true});
    assert_eq!(json!(forest.steps[0].metadata), expected);
}

#[test]
fn a_chain_of_100_000_steps_is_written_without_depth() {
    let step = submit(&json!({"model": "m", "input": "", "status": "success", "steps": [{}]})).steps.remove(0);
    let link = |id: usize, children: Vec<Node>| {
        let step = Step { id: id.to_string(), ..step.clone() };
        Node { shown: ShownStep { step, marks: Map::new() }, children: children.into() }
    };
    let chain = (0..100_000).rev().fold(Vec::new(), |children, id| vec![link(id, children)]);
    let forest = Forest::of(chain, RunTotals { latency_s: None, cost: None }, &metadata_of);
    assert_eq!((forest.total_steps, forest.max_depth), (100_000, 100_000));
    let mut level = &forest.steps;
    for _ in 1..NESTING_MAX {
        level = &level[0].children;
    }
    assert_eq!(level.len(), 100_000 - NESTING_MAX + 1);
    assert!(
        level
            .iter()
            .map(|step| &step.id)
            .eq((NESTING_MAX - 1..100_000).map(|id| id.to_string()).collect::<Vec<_>>().iter())
    );
    let text = serde_json::to_string(&forest.steps).unwrap();
    serde_json::from_str::<Value>(&text).unwrap();
}

/// What of an answer is no field of the contract, taken away.
fn known_fields(mut answer: Value) -> Value {
    fn step(value: &mut Value) {
        let Some(fields) = value.as_object_mut() else { return };
        for name in ["cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "provider", "agent", "flags"] {
            fields.remove(name);
        }
        fields.get_mut("children").and_then(Value::as_array_mut).into_iter().flatten().for_each(step);
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("created_at");
        fields.remove("started_at");
        fields.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten().for_each(step);
    }
    answer
}

/// Steps that the contract accepts, with fields that need normalising.
fn any_steps() -> impl Strategy<Value = Value> {
    let amount =
        prop_oneof![Just(json!(null)), (0u32..10_000).prop_map(|n| json!(f64::from(n) / 8.0)), Just(json!("2.5"))];
    let count = prop_oneof![Just(json!(null)), (0i64..1000).prop_map(Value::from), Just(json!("7")), Just(json!(3.0))];
    let word = prop::sample::select(vec![
        json!(null),
        json!("error"),
        json!("Timeout"),
        json!("ok"),
        json!(""),
        json!(5),
        json!(true),
        json!({"k": [1]}),
    ]);
    let scalar =
        prop::sample::select(vec![json!(null), json!("tool_call"), json!("x"), json!(""), json!(5), json!(false)]);
    let micros = prop::option::of(0i64..4_000_000_000_000_000);
    let metadata = prop::sample::select(vec![json!(null), json!({}), json!({"k": 1, "status": "x", "error": 5})]);
    let fields = (amount.clone(), count.clone(), count, word.clone(), word, (scalar.clone(), scalar), micros, metadata);
    let leaf = fields.prop_map(|(cost, input_tokens, output_tokens, status, error, (kind, name), micros, metadata)| {
        let started_at = micros.map(|micros| time(DateTime::from_timestamp_micros(micros).unwrap()));
        json!({
            "type": kind, "name": name, "cost": cost, "latency": cost, "input_tokens": input_tokens,
            "output_tokens": output_tokens, "status": status, "error": error, "started_at": started_at,
            "input": error, "k": status, "metadata": metadata,
        })
    });
    let tree = leaf.prop_recursive(4, 24, 4, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(mut step, children)| {
            step["children"] = Value::from(children);
            step
        })
    });
    prop::collection::vec(tree, 0..4).prop_map(Value::from)
}

proptest! {
    #[test]
    fn what_is_answered_can_be_posted_again(
        steps in any_steps(), output in prop::option::of(".{0,8}"), tokens in prop::option::of(0i64..99), failed: bool,
    ) {
        let (status, error) = if failed { ("Error", Some("boom ")) } else { ("RUNNING", None) };
        let body = json!({
            "model": " m", "input": "hi ", "output": output, "tokens": tokens, "status": status, "error": error,
            "tags": ["a"], "metadata": {"k": null}, "steps": steps,
        });
        let first = submit(&body);
        let again = submit(&known_fields(answer(&first)));
        prop_assert_eq!(&again.declared, &first.declared);
        prop_assert_eq!(&again.steps, &first.steps);
        prop_assert_eq!(again.run_id, first.run_id);
    }
}
