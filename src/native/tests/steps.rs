//! What the contract says of steps.

use super::*;

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
