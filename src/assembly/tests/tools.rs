use serde_json::{Value, json};

use super::builder::*;
use crate::model::step::{Status, StepType};

#[test]
fn a_tool_that_only_messages_show_becomes_a_step() {
    let steps = || {
        vec![
            step("U", None, StepType::Unknown, 0, 100).named("weather-agent"),
            call("C", Some("U"), 1, 10).says(&user("Weather?"), &asks("c1", "get_weather", json!({"city": "Paris"}))),
            call("D", Some("U"), 20, 30).says(
                &told("Weather?", "c1", "get_weather", json!({"city": "Paris"}), "18 C"),
                &assistant("It is 18 C."),
            ),
            call("E", Some("U"), 40, 50).says(
                &told("Weather?", "c1", "get_weather", json!({"city": "Paris"}), "18 C"),
                &assistant("As I said."),
            ),
        ]
    };
    let run = run_of(steps());
    let tools = run.inferred();
    assert_eq!(tools.len(), 1);
    assert_eq!((tools[0].name.as_str(), tools[0].parent_id.as_deref()), ("get_weather", Some("C")));
    assert_eq!((tools[0].input.as_deref(), tools[0].output.as_deref()), (Some("{\"city\":\"Paris\"}"), Some("18 C")));
    assert_eq!(tools[0].start_ns, run.shown("C").step.end_ns);
    assert_eq!(tools[0].end_ns, run.shown("D").step.start_ns);
    assert!(tools[0].id.starts_with('i') && tools[0].id.len() == 16);
    assert_eq!((run.run.step_count, run.run.name.as_str()), (4, "weather-agent"));
    assert_eq!(run_of(steps()).inferred()[0].id, tools[0].id);
    assert_eq!((run.run.input.as_str(), run.run.output.as_deref()), ("Weather?", Some("As I said.")));
}

#[test]
fn inferred_tools_stand_in_the_order_in_which_they_were_asked_for() {
    let names: Vec<String> = (0..9).map(|n| format!("tool_{}", (n * 5) % 9)).collect();
    let parts: Vec<Value> = names.iter().map(|name| asked(&format!("id_{name}"), name, json!({}))).collect();
    let asks_all = json!([{"role": "assistant", "parts": parts}]).to_string();
    let run = run_of(vec![call("C", None, 0, 1).says(&user("Hi"), &asks_all)]);
    let tree = crate::assembly::tree(run.steps.clone());
    let shown: Vec<&str> = tree[0].children.iter().map(|child| child.shown.step.name.as_str()).collect();
    assert_eq!(shown, names);
}

#[test]
fn history_before_the_first_question_is_not_this_run() {
    let history = json!([{"role": "user", "content": "a"},
        {"role": "assistant", "parts": [asked("old", "f", json!({})), asked("", "g", json!({}))]},
        {"role": "tool", "tool_call_id": "old", "content": "x"}, {"role": "tool", "content": "y"},
        {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]);
    let run = run_of(vec![
        call("C", None, 0, 1).says(&history.to_string(), &assistant("d")),
        call("D", None, 2, 3).says(&history.to_string(), &assistant("d")),
    ]);
    assert!(run.inferred().is_empty(), "{:?}", run.inferred());
}

#[test]
fn calls_without_ids_count_by_place() {
    let ask = |n: usize| {
        let calls: Vec<Value> = (0..n).map(|_| json!({"functionCall": {"name": "f", "args": {"a": 1}}})).collect();
        json!([{"role": "model", "parts": calls}]).to_string()
    };
    let history = json!([{"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "f", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "one"}}},
            {"functionResponse": {"name": "f", "response": {"result": "two"}}}]}])
    .to_string();
    let run = run_of(vec![
        call("C", None, 0, 1).says(&user("Hi"), &ask(2)),
        call("D", None, 2, 3).says(&history, &ask(1)),
        call("E", None, 4, 5).says(&history, &assistant("done")),
    ]);
    let outputs: Vec<Option<&str>> = run.inferred().iter().map(|tool| tool.output.as_deref()).collect();
    assert_eq!(outputs.len(), 3);
    assert!(outputs.contains(&Some("{\"result\":\"one\"}")) && outputs.contains(&Some("{\"result\":\"two\"}")));
    assert!(outputs.contains(&None));
}

#[test]
fn real_steps_are_paired_by_id_then_arguments_then_order() {
    let ask = json!([{"role": "assistant", "parts": [asked("c1", "f", json!({"a": 1})), asked("c2", "f", json!({"a": 2})),
        asked("c3", "f", json!({"a": 3}))]}]);
    let run = run_of(vec![
        call("C", None, 0, 1).says(&user("Hi"), &ask.to_string()),
        tool("T2", None, "f", 2, 3).says("{\"a\": 2}", "two"),
        tool("T1", None, "f", 2, 3).facts(|facts| facts.tool_call_id = Some("c1".to_owned())),
        tool("T3", None, "f", 2, 3),
    ]);
    assert!(run.inferred().is_empty());
    assert_eq!(run.shown("T2").step.facts.tool_call_id.as_deref(), Some("c2"));
    assert_eq!(run.shown("T3").step.input.as_deref(), Some("{\"a\":3}"));
    assert_eq!(run.mark("T1", "input_source"), Some(&json!("messages")));
    assert_eq!(run.mark("T2", "input_source"), None);
}

#[test]
fn a_failed_result_fails_the_step() {
    let history = json!([{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "Unknown symbol", "is_error": true}]}]);
    let calls = || {
        vec![
            call("C", None, 0, 1).says(&user("Hi"), &asks("t1", "f", json!({}))),
            call("D", None, 8, 9).says(&history.to_string(), &assistant("Sorry.")),
        ]
    };
    let run = run_of(calls());
    assert_eq!((run.inferred()[0].status, run.inferred()[0].error.as_deref()), (Status::Error, Some("Unknown symbol")));
    assert_eq!((run.run.status, run.run.error_count), (Status::Success, 1));
    let mut with_span = calls();
    with_span.push(tool("T", None, "f", 2, 3));
    let run = run_of(with_span);
    assert_eq!((run.shown("T").step.status, run.inferred().len()), (Status::Error, 0));
}

#[test]
fn an_untyped_span_named_like_the_tool_is_its_execution() {
    let run = run_of(vec![
        call("C", None, 0, 10).says(&user("Hi"), &asks("c1", "get_weather", json!({"city": "Paris"}))),
        step("U", None, StepType::Unknown, 11, 19).named("demo.get_weather"),
        call("D", None, 20, 30).says(&told("Hi", "c1", "get_weather", json!({}), "18 C"), &assistant("x")),
        step("V", None, StepType::Unknown, 31, 32).named("get_weather"),
    ]);
    assert!(run.inferred().is_empty());
    let shown = &run.shown("U").step;
    assert_eq!(
        (&shown.kind, shown.name.as_str(), shown.output.as_deref()),
        (&StepType::ToolCall, "get_weather", Some("18 C"))
    );
    assert_eq!(run.shown("V").step.kind, StepType::Unknown);
}

#[test]
fn the_form_of_the_answer_is_no_tool() {
    let answer = "{\"city\":\"Paris\",\"celsius\":18}";
    let run = run_of(vec![
        agent("A", None, 0, 20).says("Weather?", answer),
        call("C", Some("A"), 0, 1).says(&user("Hi"), &asks("c1", "final_result", json!({"x": 1}))),
        call("D", Some("A"), 2, 3).says(&user("Hi"), &asks("c2", "Weather", json!({"celsius": 18, "city": "Paris"}))),
    ]);
    assert!(run.inferred().is_empty());
}

#[test]
fn a_handoff_answers_its_request() {
    let run = run_of(vec![
        call("C", None, 0, 1).says(&user("Hi"), &asks("c1", "transfer_to_billing", json!({}))),
        step("H", None, StepType::Handoff, 2, 3).named("handoff to Billing"),
    ]);
    assert!(run.inferred().is_empty());
}

#[test]
fn one_tool_through_framework_and_protocol_is_one_call() {
    let run = run_of(vec![
        agent("A", None, 0, 100).says("Q", "A"),
        tool("T", Some("A"), "f", 10, 20).says("{}", ""),
        step("R", Some("T"), StepType::Rpc, 11, 19),
        tool("M", Some("R"), "mcp__server__f", 12, 18).says("", "out").fails("bad"),
        tool("G", Some("A"), "g", 30, 40),
        tool("N", Some("A"), "mcp__server__h", 50, 60).says("{}", "out"),
        tool("Q", Some("A"), "h", 51, 59),
        tool("P", Some("A"), "g", 31, 39).facts(|facts| {
            facts.more.insert("mcp_method".to_owned(), json!("tools/call"));
        }),
    ]);
    assert_eq!(run.mark("M", "duplicate_of"), Some(&json!("T")));
    assert_eq!(run.mark("P", "duplicate_of"), Some(&json!("G")));
    assert_eq!(run.mark("Q", "duplicate_of"), Some(&json!("N")));
    let outer = run.shown("T");
    assert_eq!((outer.step.status, outer.step.output.as_deref()), (Status::Error, Some("out")));
    assert_eq!((run.run.status, run.run.error_count), (Status::Success, 1));
}

#[test]
fn a_history_may_know_a_call_under_another_id_or_none() {
    let history = |id: &str| {
        json!([{"role": "user", "content": "Hi"},
            {"role": "assistant", "parts": [asked(id, "f", json!("{\"a\": 1}"))]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "ok"}]}])
        .to_string()
    };
    for id in ["call_1", "fc_1", ""] {
        let run = run_of(vec![
            call("C", None, 0, 1).says(&user("Hi"), &asks("call_1", "f", json!({"a": 1}))),
            call("D", None, 8, 9).says(&history(id), &assistant("x")),
            call("E", None, 10, 11).says(&history(id), &assistant("x")),
        ]);
        let outputs: Vec<Option<&str>> = run.inferred().iter().map(|tool| tool.output.as_deref()).collect();
        assert_eq!(outputs, [Some("ok")], "{id}");
    }
}
