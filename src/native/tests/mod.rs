//! The contract of `POST /runs`, rule by rule.

mod steps;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::model::step::{Source, Status};

const PROJECT: ProjectId = ProjectId(7);
const NEW_ID: Uuid = Uuid::from_u128(0xfeed);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_599, 0).unwrap()
}

fn submit(body: &Value) -> Result<Submission, Vec<Fault>> {
    submission(PROJECT, body, NEW_ID, now())
}

/// The smallest run, with these fields put over it; null fields of the patch are set, not removed.
fn run_with(patch: Value) -> Value {
    let mut body = json!({"model": "gpt-4o", "input": "hi", "status": "success"});
    body.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    body
}

fn with_steps(steps: Value) -> Value {
    run_with(json!({"steps": steps}))
}

fn accepted(patch: Value) -> Submission {
    submit(&run_with(patch.clone())).unwrap_or_else(|faults| panic!("{patch}: {faults:?}"))
}

/// Type and place of each fault, like `int_parsing steps.0.tokens`.
fn faults(body: &Value) -> Vec<String> {
    let Err(faults) = submit(body) else { panic!("accepted: {body}") };
    let place = |loc: &[Value]| -> String {
        loc[1..].iter().map(|part| part.to_string().replace('"', "")).collect::<Vec<_>>().join(".")
    };
    faults.iter().map(|fault| format!("{} {}", fault.kind, place(&fault.loc))).collect()
}

/// The metadata of a step.
fn detail(step: &Step) -> Value {
    serde_json::from_str(&step.detail).unwrap()
}

fn one_step(step: Value) -> Step {
    accepted(json!({"steps": [step]})).steps.remove(0)
}

/// Steps as `id<parent` in their order.
fn shape(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| format!("{}<{}", step.id, step.parent_id.as_deref().unwrap_or(""))).collect()
}

#[test]
fn the_smallest_run() {
    let run = accepted(json!({}));
    assert_eq!(run.run_id, NEW_ID);
    assert!(run.steps.is_empty());
    let declared = run.declared;
    assert_eq!((declared.model.as_str(), declared.input.as_str(), declared.status), ("gpt-4o", "hi", Status::Success));
    assert_eq!((declared.output, declared.tokens, declared.cost, declared.latency, declared.error), Default::default());
}

#[test]
fn the_curl_example_is_accepted() {
    let script = include_str!("../../../examples/post_run.sh");
    let body = script.split_once("--data '").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
    let run = submit(&serde_json::from_str(body).unwrap()).unwrap();
    assert_eq!(shape(&run.steps), ["s0<", "s0.0<s0"]);
}

#[test]
fn a_body_that_is_no_object_is_one_fault() {
    for body in [json!([]), json!("run"), json!(null), json!(1)] {
        assert_eq!(faults(&body), ["model_attributes_type "]);
    }
}

#[test]
fn every_fault_is_found_at_once() {
    let body = json!({
        "run_id": "x", "model": 1, "output": 5, "tokens": "many", "cost": -1, "latency": true, "status": "done",
        "created_at": "now", "tags": ["a", 1], "metadata": [],
        "steps": [{"tokens": -1, "children": [{"cost": "NaN"}, 3]}, {"metadata": "x"}],
    });
    let expected = [
        "extra_forbidden created_at",
        "uuid_parsing run_id",
        "string_type model",
        "missing input",
        "literal_error status",
        "string_type output",
        "int_parsing tokens",
        "greater_than_equal cost",
        "float_type latency",
        "string_type tags.1",
        "dict_type metadata",
        "greater_than_equal steps.0.tokens",
        "finite_number steps.0.children.0.cost",
        "dict_type steps.0.children.1",
        "dict_type steps.1.metadata",
    ];
    assert_eq!(faults(&body), expected);
}

#[test]
fn a_fault_names_its_field_and_shows_its_value() {
    let list = submit(&run_with(json!({"tokens": "many"}))).unwrap_err();
    assert!(list[0].msg.starts_with("tokens: expected an integer"), "{}", list[0].msg);
    assert_eq!(list[0].input, json!("many"));
    let without_model = json!({"input": "", "status": "success"});
    assert_eq!(submit(&without_model).unwrap_err()[0].input, without_model);
}

#[test]
fn required_fields() {
    assert_eq!(faults(&json!({})), ["missing model", "missing input", "missing status"]);
    let nulls = run_with(json!({"model": null, "input": null, "status": null}));
    assert_eq!(faults(&nulls), ["string_type model", "string_type input", "string_type status"]);
}

#[test]
fn the_run_id_is_read_in_any_spelling_or_made() {
    let id = Uuid::from_u128(0x018f_3f5e_7b1a_7c3d_9e2f_0123_4567_89ab);
    assert_eq!(accepted(json!({"run_id": id.simple().to_string().to_uppercase()})).run_id, id);
    assert_eq!(accepted(json!({"run_id": null})).run_id, NEW_ID);
    assert_eq!(faults(&run_with(json!({"run_id": 5}))), ["uuid_type run_id"]);
}

#[test]
fn the_model_is_trimmed_and_not_empty() {
    assert_eq!(accepted(json!({"model": " gpt-4o\n"})).declared.model, "gpt-4o");
    for blank in ["", " \t\n"] {
        assert_eq!(faults(&run_with(json!({"model": blank}))), ["string_too_short model"]);
    }
}

#[test]
fn texts_are_kept_byte_for_byte() {
    let text = "  \r\n{\"a\": 1.0}\u{1F600}\u{0}\u{FEFF} ";
    let run = accepted(json!({"input": text, "output": text, "steps": {"input": text, "output": text}}));
    assert_eq!((run.declared.input.as_str(), run.declared.output.as_deref()), (text, Some(text)));
    assert_eq!((run.steps[0].input.as_deref(), run.steps[0].output.as_deref()), (Some(text), Some(text)));
    assert_eq!(accepted(json!({"input": "", "output": ""})).declared.output.as_deref(), Some(""));
}

#[test]
fn numbers_of_a_run_are_converted() {
    let declared =
        accepted(json!({"tokens": "5", "input_tokens": 3.0, "output_tokens": 2, "cost": "0.5", "latency": 2})).declared;
    assert_eq!((declared.tokens, declared.input_tokens, declared.output_tokens), (Some(5), Some(3), Some(2)));
    assert_eq!((declared.cost, declared.latency), (Some(0.5), Some(2.0)));
    let nulls = json!({"tokens": null, "cost": null, "latency": null});
    assert_eq!(accepted(nulls).declared, accepted(json!({})).declared);
}

#[test]
fn the_status_is_read_in_any_case() {
    for (word, status) in [("SUCCESS", Status::Success), ("Running", Status::Running), ("timeOUT", Status::Timeout)] {
        assert_eq!(accepted(json!({"status": word})).declared.status, status);
    }
    assert_eq!(faults(&run_with(json!({"status": " success"}))), ["literal_error status"]);
}

#[test]
fn an_error_text_goes_with_the_status_error_and_with_no_other() {
    for (status, error, expected) in [
        ("error", json!(" boom "), Ok(Some(" boom "))),
        ("error", json!(null), Err("missing error")),
        ("error", json!(" \n"), Err("value_error error")),
        ("error", json!(5), Err("string_type error")),
        ("success", json!(null), Ok(None)),
        ("running", json!("  "), Ok(None)),
        ("timeout", json!("late"), Err("value_error error")),
        ("done", json!("boom"), Err("literal_error status")),
    ] {
        let body = run_with(json!({"status": status, "error": error}));
        match expected {
            Ok(text) => assert_eq!(submit(&body).unwrap().declared.error.as_deref(), text, "{body}"),
            Err(fault) => assert_eq!(faults(&body), [fault], "{body}"),
        }
    }
    assert_eq!(faults(&run_with(json!({"status": "error"}))), ["missing error"]);
}

#[test]
fn fields_beyond_the_table() {
    let declared = accepted(json!({
        "name": "triage", "agent": "support", "session_id": "s", "user_id": "u", "tags": ["a", "b"],
        "metadata": {"k": [1]}, "trace_id": "4BF92F3577B34DA6A3CE929D0E0E4736",
    }))
    .declared;
    assert_eq!((declared.name.as_deref(), declared.agent.as_deref()), (Some("triage"), Some("support")));
    assert_eq!((declared.session_id.as_deref(), declared.user_id.as_deref()), (Some("s"), Some("u")));
    assert_eq!((declared.tags, Value::from(declared.metadata)), (vec!["a".into(), "b".into()], json!({"k": [1]})));
    assert_eq!(declared.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(accepted(json!({"name": "", "tags": null, "metadata": null})).declared.name, None);
    assert_eq!(faults(&run_with(json!({"tags": "a"}))), ["list_type tags"]);
}

#[test]
fn unknown_fields_of_a_run_never_pass() {
    for name in ["created_at", "started_at", "ended_at", "id", "Model", ""] {
        assert_eq!(faults(&run_with(json!({ name: null }))), [format!("extra_forbidden {name}")]);
    }
}

#[test]
fn the_answer_to_many_faults_stays_small() {
    let bad = json!({"tokens": "x".repeat(10_000), "cost": vec![0; 1000]});
    let list = submit(&with_steps(json!(vec![bad; 200]))).unwrap_err();
    assert_eq!(list.len(), FAULTS_MAX + 1);
    assert!(serde_json::to_string(&list).unwrap().len() < 64 * 1024);
}

#[test]
fn the_hash_tells_what_was_said_and_not_when() {
    let body = run_with(json!({"steps": [{"type": "a", "children": [{}]}]}));
    let hash = submit(&body).unwrap().declared.hash;
    let later = submission(PROJECT, &body, Uuid::from_u128(1), now() + TimeDelta::days(3)).unwrap();
    assert_eq!(later.declared.hash, hash);
    assert_eq!(later.steps[1].id, "s0.0");
    for patch in [
        json!({"model": "other"}),
        json!({"input": "hi "}),
        json!({"output": ""}),
        json!({"tokens": 0}),
        json!({"cost": 0}),
        json!({"latency": 0}),
        json!({"status": "running"}),
        json!({"status": "error", "error": "x"}),
        json!({"name": "n"}),
        json!({"tags": ["t"]}),
        json!({"metadata": {"k": null}}),
        json!({"steps": []}),
        json!({"steps": [{"type": "a", "children": [{"x": 1}]}]}),
        json!({"steps": [{"type": "a"}, {"id": "s0.0"}]}),
    ] {
        let mut other = body.clone();
        other.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        assert_ne!(submit(&other).unwrap().declared.hash, hash, "{patch}");
    }
}

#[test]
fn appended_steps_take_the_same_forms() {
    let run_id = Uuid::from_u128(9);
    let append = |body: &Value| appended_steps(PROJECT, run_id, body, now());
    for body in [json!([{"type": "a"}]), json!({"type": "a"}), json!({"steps": [{"type": "a"}]})] {
        let steps = append(&body).unwrap();
        assert_eq!((steps.len(), steps[0].run.run_id, steps[0].kind.as_str()), (1, run_id, "a"), "{body}");
    }
    assert_eq!(
        append(&json!([{"parent_id": "stored before"}])).unwrap()[0].parent_id.as_deref(),
        Some("stored before")
    );
    assert_eq!(append(&json!(5)).unwrap_err()[0].loc, [json!("body")]);
    assert_eq!(append(&json!([{"cost": -1}])).unwrap_err()[0].loc, [json!("body"), json!(0), json!("cost")]);
}

#[test]
fn appended_steps_are_named_by_content_and_stand_behind_those_before() {
    let at = |seconds: i64, body: Value| {
        appended_steps(PROJECT, NEW_ID, &body, now() + TimeDelta::seconds(seconds)).unwrap()
    };
    let (first, again, other) = (at(0, json!([{}, {}])), at(60, json!([{}, {}])), at(61, json!([{"x": 1}])));
    assert_eq!(shape(&first), shape(&again));
    assert!(first.iter().zip(&again).all(|(a, b)| a.content_hash == b.content_hash));
    assert_ne!(first[0].id, other[0].id);
    assert!(STEPS_MAX as i32 <= first[0].position && first[1].position < other[0].position);
    for far in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let steps = appended_steps(PROJECT, NEW_ID, &json!(vec![json!({}); STEPS_MAX]), far).unwrap();
        assert!(steps.windows(2).all(|pair| pair[0].position + 1 == pair[1].position));
    }
}

/// Any JSON, with the names that the contract knows among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let word =
        prop::sample::select(vec!["success", "error", "5", "-1", "NaN", "", "a", "b", "s0", "2026-01-01T00:00:00Z"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "model",
            "input",
            "output",
            "status",
            "error",
            "tokens",
            "cost",
            "latency",
            "steps",
            "children",
            "metadata",
            "type",
            "id",
            "parent_id",
            "started_at",
            "ended_at",
            "name",
            "tags",
            "run_id",
        ])
        .prop_map(str::to_owned),
        ".{0,4}".prop_map(String::from),
    ];
    leaf.prop_recursive(6, 96, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_panics(body in any_json(), steps in any_json()) {
        let _ = submit(&body);
        let _ = appended_steps(PROJECT, NEW_ID, &body, now());
        if let Ok(run) = submit(&with_steps(steps)) {
            for (index, step) in run.steps.iter().enumerate() {
                prop_assert_eq!(step.position, index as i32);
                prop_assert!(!step.id.is_empty());
                prop_assert_eq!(step.error.is_some(), step.status == Status::Error);
                prop_assert!(detail(step).is_object());
            }
        }
    }
}
