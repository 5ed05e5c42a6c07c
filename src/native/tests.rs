//! The contract of `POST /runs`, rule by rule.

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
    let script = include_str!("../../examples/post_run.sh");
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
fn steps_in_every_form_become_a_list() {
    for none in [json!(null), json!(""), json!({}), json!([])] {
        assert!(accepted(json!({"steps": none})).steps.is_empty(), "{none}");
        assert_eq!(accepted(json!({"steps": {"type": "a", "children": none}})).steps.len(), 1, "{none}");
    }
    let steps = accepted(json!({"steps": {"type": "a", "children": {"type": "b"}}})).steps;
    assert_eq!(shape(&steps), ["s0<", "s0.0<s0"]);
    assert_eq!(accepted(json!({"steps": [{}]})).steps[0].kind.as_str(), "unknown");
    for wrong in [json!("x"), json!(0), json!(false)] {
        assert_eq!(faults(&with_steps(wrong.clone())), ["list_type steps"]);
        assert_eq!(faults(&with_steps(json!([{"children": wrong}]))), ["list_type steps.0.children"]);
    }
    assert_eq!(faults(&with_steps(json!([null]))), ["dict_type steps.0"]);
}

#[test]
fn the_type_of_a_step() {
    for (value, word) in [
        (json!(null), "unknown"),
        (json!(""), "unknown"),
        (json!("tool_call"), "tool_call"),
        (json!("my own"), "my own"),
        (json!(5), "5"),
        (json!(true), "true"),
    ] {
        assert_eq!(one_step(json!({"type": value})).kind.as_str(), word);
    }
    assert_eq!(faults(&with_steps(json!([{"type": {}}]))), ["string_type steps.0.type"]);
}

#[test]
fn known_free_fields_are_lifted_and_the_others_kept_in_the_metadata() {
    let step = one_step(json!({
        "type": "model_call", "metadata": {"a": 1}, "id": "x", "name": "chat", "status": "Timeout", "tokens": "9",
        "input_tokens": 4, "output_tokens": 5.0, "cost": 0.1, "model": "m", "input": {"q": [1, "a b"]}, "output": "done",
        "latency": 12.5, "started_at": "2026-01-01T00:00:00Z", "ended_at": 1767225601, "temperature": 0.5, "tool": null,
    }));
    assert_eq!((step.id.as_str(), step.name.as_str(), step.status), ("x", "chat", Status::Timeout));
    assert_eq!((step.usage.total, step.usage.input, step.usage.output), (Some(9), Some(4), Some(5)));
    assert_eq!((step.cost, step.model.as_deref(), step.latency_ms), (Some(0.1), Some("m"), Some(12.5)));
    assert_eq!((step.input.as_deref(), step.output.as_deref()), (Some(r#"{"q":[1,"a b"]}"#), Some("done")));
    assert_eq!((step.start_ns, step.end_ns), (Some(1_767_225_600_000_000_000), Some(1_767_225_601_000_000_000)));
    assert_eq!(detail(&step), json!({"a": 1, "temperature": 0.5, "tool": null}));
    assert_eq!((step.source, step.origin, step.facts), (Source::Native, None, Default::default()));
    assert_eq!(step.run, RunKey { project: PROJECT, run_id: NEW_ID });
    assert_eq!(step.day.to_string(), "2025-12-31");
}

#[test]
fn a_free_field_never_hides_what_the_metadata_says() {
    let step = one_step(json!({"metadata": {"k": 1, "same": [2]}, "k": 5, "same": [2]}));
    assert_eq!(detail(&step), json!({"k": 1, "same": [2], "step.k": 5}));
}

#[test]
fn what_a_step_leaves_out_is_derived() {
    let step =
        one_step(json!({"type": "tool", "input_tokens": 1, "output_tokens": 2, "started_at": 10, "ended_at": 10.5}));
    assert_eq!((step.name.as_str(), step.status, step.usage.total), ("tool", Status::Success, Some(3)));
    assert_eq!(step.latency_ms, Some(500.0));
    assert_eq!(one_step(json!({"started_at": 11, "ended_at": 10})).latency_ms, None);
    assert_eq!(one_step(json!({"input_tokens": 1})).usage.total, None);
}

#[test]
fn status_and_error_of_a_step() {
    for (fields, status, error, metadata) in [
        (json!({"error": "boom"}), Status::Error, Some("boom"), json!({})),
        (json!({"error": {"code": 5}}), Status::Error, Some(r#"{"code":5}"#), json!({})),
        (json!({"error": " "}), Status::Success, None, json!({})),
        (json!({"error": false}), Status::Success, None, json!({})),
        (json!({"status": "ERROR"}), Status::Error, Some("error"), json!({})),
        (json!({"status": "ok"}), Status::Success, None, json!({"status": "ok"})),
        (json!({"status": 500, "error": "boom"}), Status::Error, Some("boom"), json!({"status": 500})),
        (json!({"status": "timeout", "error": "late"}), Status::Timeout, None, json!({"error": "late"})),
        (json!({"status": "running"}), Status::Running, None, json!({})),
    ] {
        let step = one_step(fields.clone());
        assert_eq!((step.status, step.error.as_deref()), (status, error), "{fields}");
        assert_eq!(detail(&step), metadata, "{fields}");
    }
}

#[test]
fn a_lifted_field_that_is_not_understood_is_a_fault_at_its_place() {
    for (step, fault) in [
        (json!({"tokens": "many"}), "int_parsing tokens"),
        (json!({"cost": []}), "float_type cost"),
        (json!({"latency_ms": -1}), "greater_than_equal latency_ms"),
        (json!({"latency": 1, "latency_ms": 2}), "value_error latency"),
        (json!({"name": []}), "string_type name"),
        (json!({"model": {}}), "string_type model"),
        (json!({"id": 1.5}), "string_type id"),
        (json!({"started_at": "soon"}), "datetime_parsing started_at"),
    ] {
        let expected = fault.replace(' ', " steps.0.children.1.");
        assert_eq!(faults(&with_steps(json!([{"children": [{}, step]}]))), [expected]);
    }
}

#[test]
fn ids_parents_and_positions() {
    for (steps, expected) in [
        (json!([{}, {"children": [{}, {"children": {}}]}]), vec!["s0<", "s1<", "s1.0<s1", "s1.1<s1"]),
        // A parent may come after its child; the order is depth first.
        (json!([{"id": "c", "parent_id": "p"}, {"id": "p"}, {"id": "q"}]), vec!["p<", "c<p", "q<"]),
        (json!([{"id": "p", "children": [{"id": "c", "parent_id": "p"}]}]), vec!["p<", "c<p"]),
        (json!([{"id": 1}, {"id": "", "parent_id": 1}]), vec!["1<", "s1<1"]),
        // A made id gives way to one that the sender uses.
        (json!([{}, {"id": "s0"}]), vec!["s0_<", "s0<"]),
        (json!([{"parent_id": "s1"}, {}]), vec!["s1<", "s0<s1"]),
    ] {
        let found = accepted(json!({"steps": steps})).steps;
        assert_eq!(shape(&found), expected, "{steps}");
        assert!(found.iter().map(|step| step.position).eq(0..found.len() as i32));
    }
}

#[test]
fn contradictions_between_ids_are_refused_by_name() {
    for (steps, fault, names) in [
        (json!([{"id": "a"}, {"id": "a"}]), "value_error steps.1.id", vec!["\"a\""]),
        (json!([{"parent_id": "gone"}]), "value_error steps.0.parent_id", vec!["\"gone\""]),
        (json!([{"id": "a", "parent_id": "a"}]), "value_error steps.0.parent_id", vec!["cycle of 1", "\"a\""]),
        (
            json!([{"id": "a", "parent_id": "b"}, {"id": "b", "parent_id": "a"}]),
            "value_error steps.0.parent_id",
            vec!["cycle of 2", "\"a\"", "\"b\""],
        ),
        (
            json!([{"id": "a", "parent_id": "b", "children": [{"id": "b"}]}]),
            "value_error steps.0.parent_id",
            vec!["cycle of 2"],
        ),
        (
            json!([{"id": "a", "children": [{"parent_id": "b"}]}, {"id": "b"}]),
            "value_error steps.0.children.0.parent_id",
            vec!["\"b\"", "\"a\""],
        ),
    ] {
        let list = submit(&with_steps(steps.clone())).unwrap_err();
        assert_eq!(faults(&with_steps(steps)), [fault]);
        assert!(names.iter().all(|name| list[0].msg.contains(name)), "{}", list[0].msg);
    }
}

#[test]
fn two_cycles_are_two_faults() {
    let steps = json!([
        {"id": "a", "parent_id": "b"}, {"id": "b", "parent_id": "a"}, {"id": "c", "parent_id": "c"},
        {"id": "d", "parent_id": "c"},
    ]);
    assert_eq!(faults(&with_steps(steps)).len(), 2);
}

#[test]
fn an_id_is_bounded() {
    assert_eq!(one_step(json!({"id": "x".repeat(STEP_ID_MAX_BYTES)})).id.len(), STEP_ID_MAX_BYTES);
    for bad in ["x".repeat(STEP_ID_MAX_BYTES + 1), "a\0".to_owned()] {
        assert_eq!(faults(&with_steps(json!([{"id": bad}]))), ["value_error steps.0.id"]);
    }
}

#[test]
fn depth_and_number_of_steps_are_bounded() {
    let nested = |depth: usize| (1..depth).fold(json!([{}]), |inner, _| json!([{"children": inner}]));
    assert_eq!(accepted(json!({"steps": nested(STEP_DEPTH_MAX)})).steps.len(), STEP_DEPTH_MAX);
    let too_deep = with_steps(nested(STEP_DEPTH_MAX + 1));
    assert!(faults(&too_deep)[0].starts_with("recursion_loop steps.0.children"));
    assert!(serde_json::from_str::<Value>(&too_deep.to_string()).is_ok(), "the fault is reached from text");
    assert_eq!(accepted(json!({"steps": vec![json!({}); STEPS_MAX]})).steps.len(), STEPS_MAX);
    assert_eq!(faults(&with_steps(json!(vec![json!({}); STEPS_MAX + 1]))), ["too_long steps"]);
    // A chain of parents may be as long as the list.
    let chain: Vec<Value> = (0..STEPS_MAX).map(|i| json!({"id": i, "parent_id": i.checked_sub(1)})).collect();
    assert_eq!(accepted(json!({"steps": chain})).steps.last().unwrap().position, STEPS_MAX as i32 - 1);
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
