use serde_json::json;

use super::builder::*;
use crate::assembly::{Node, tree};
use crate::model::run::ShownStep;
use crate::model::step::{Step, StepType};

#[test]
fn wrappers_without_texts_are_looked_through() {
    let run = run_of(vec![
        agent("A", None, 0, 100).named("Support workflow"),
        step("W", Some("A"), StepType::Workflow, 1, 99),
        agent("B", Some("W"), 2, 98).named("Triage").says(&user("How much?"), &assistant("99.50 EUR")),
    ])
    .run;
    assert_eq!((run.input.as_str(), run.output.as_deref()), ("How much?", Some("99.50 EUR")));
    assert_eq!(run.metadata["agents"], json!(["Support workflow", "Triage"]));
}

#[test]
fn without_a_primary_the_first_is_asked_and_the_last_answers() {
    let run = run_of(vec![
        step("H", None, StepType::HttpRequest, 0, 100).named("POST /ask"),
        step("E", Some("H"), StepType::Embedding, 1, 2).says("[\"a document\"]", ""),
        call("C", Some("H"), 3, 9).says(&user("first"), &assistant("one")),
        call("D", Some("H"), 10, 19).says(&user("second"), &assistant("two")),
    ])
    .run;
    assert_eq!((run.name.as_str(), run.input.as_str(), run.output.as_deref()), ("POST /ask", "first", Some("two")));
    assert_eq!(run.latency_s, Some(0.018));
}

#[test]
fn a_request_for_a_tool_is_no_last_word() {
    let run = run_of(vec![
        agent("A", None, 0, 100),
        call("C", Some("A"), 1, 9).says(&user("Hi"), &assistant("I look.")),
        call("D", Some("A"), 10, 19).says(&user("Hi"), &asks("c", "f", json!({}))),
    ])
    .run;
    assert_eq!(run.output.as_deref(), Some("I look."));
    let failed =
        run_of(vec![agent("A", None, 0, 100).fails("bad"), call("C", Some("A"), 1, 9).says("Hi", "Hello")]).run;
    assert_eq!((failed.input.as_str(), failed.output), ("Hi", None));
}

#[test]
fn nothing_captured_is_told() {
    let run = run_of(vec![call("C", None, 0, 1).tokens(1, 1)]).run;
    assert_eq!((run.input.as_str(), run.output, &run.metadata["content_captured"]), ("", None, &json!(false)));
}

#[test]
fn the_marked_boundary_is_the_primary_step() {
    let run = run_of(vec![
        agent("A", None, 0, 10).named("outer"),
        agent("B", Some("A"), 2, 8).named("inner").says("Q", "A").facts(|facts| facts.run_root = true),
    ])
    .run;
    assert_eq!((run.name.as_str(), run.latency_s), ("inner", Some(0.006)));
}

#[test]
fn the_model_is_that_of_the_largest_call() {
    let mut large = call("D", None, 2, 3).tokens(9, 9);
    large.model = Some("large".to_owned());
    assert_eq!(run_of(vec![call("C", None, 0, 1).tokens(1, 1), large]).run.model, "large");
    assert_eq!(run_of(vec![tool("T", None, "f", 0, 1)]).run.model, "unknown");
}

#[test]
fn session_user_tags_and_services() {
    let with = |step: Step, session: &str, service: &str, tag: &str| {
        step.facts(|facts| {
            facts.session_id = Some(session.to_owned());
            facts.service = Some(service.to_owned());
            facts.tags = vec!["both".to_owned(), tag.to_owned()];
            facts.run_metadata.insert("env".to_owned(), json!(service));
        })
    };
    let run = run_of(vec![
        with(step("H", None, StepType::HttpRequest, 0, 9), "s1", "web", "a"),
        with(agent("A", Some("H"), 1, 8), "s2", "agents", "b"),
    ])
    .run;
    assert_eq!((run.session_id.as_deref(), run.service.as_deref()), (Some("s2"), Some("agents")));
    assert_eq!(run.tags, ["both", "a", "b"]);
    assert_eq!((&run.metadata["services"], &run.metadata["env"]), (&json!(["web", "agents"]), &json!("agents")));
}

fn nodes(steps: Vec<Step>) -> Vec<Node> {
    tree(steps.into_iter().map(|step| ShownStep { step, marks: Default::default() }).collect())
}

fn outline(nodes: &[Node]) -> String {
    let one = |node: &Node| match outline(&node.children) {
        below if below.is_empty() => node.shown.step.id.clone(),
        below => format!("{}({below})", node.shown.step.id),
    };
    nodes.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn trees_put_orphans_on_top_and_cut_circles() {
    let steps = vec![
        agent("C", Some("A"), 5, 6),
        agent("A", None, 0, 10),
        agent("B", Some("A"), 2, 3),
        agent("O", Some("gone"), 1, 2),
        agent("Y", Some("X"), 21, 22),
        agent("X", Some("Y"), 20, 30),
        agent("S", Some("S"), 40, 41),
        agent("Z", Some("Y"), 22, 23),
    ];
    assert_eq!(outline(&nodes(steps.clone())), "A(B C) O X(Y(Z)) S");
    let run = run_of(steps);
    assert_eq!((run.mark("X", "circular_parent_id"), &run.shown("X").step.parent_id), (Some(&json!("Y")), &None));
}

#[test]
fn native_siblings_keep_their_places() {
    let place = |id: &str, parent: Option<&str>, position: i32, start: u64| {
        let mut step = agent(id, parent, start, 100);
        step.position = position;
        step
    };
    let steps = vec![place("b", Some("r"), 2, 1), place("r", None, 0, 0), place("a", Some("r"), 1, 50)];
    assert_eq!(outline(&nodes(steps)), "r(a b)");
}

/// 100,000 steps, and more than linear work would take minutes: the bound is generous even for a busy machine.
#[test]
fn huge_runs_of_every_form_assemble_quickly() {
    const STEPS: u64 = 100_000;
    let started = std::time::Instant::now();
    let id = |n: u64| format!("{n:016x}");
    let chain = |kind: StepType| -> Vec<Step> {
        let below = |n: u64| n.checked_sub(1).map(id);
        (0..STEPS).map(|n| step(&id(n), below(n).as_deref(), kind.clone(), n, 2 * STEPS - n).tokens(1, 1)).collect()
    };
    let circle = || {
        let mut steps = chain(StepType::Agent);
        steps[0].parent_id = Some(id(STEPS - 1));
        steps
    };
    let fan: Vec<Step> = (0..STEPS)
        .map(|n| call(&id(n + 1), Some(&id(0)), 1, 9).tokens(1, 1))
        .chain([agent(&id(0), None, 0, 10)])
        .collect();
    for steps in [chain(StepType::Agent), chain(StepType::ToolCall), chain(StepType::Unknown), circle(), fan] {
        let stored = steps.len();
        let run = run_of(steps);
        assert_eq!(run.steps.len(), stored);
        let top = tree(run.steps);
        assert_eq!(top.len(), 1);
        drop(top);
    }
    assert!(started.elapsed().as_secs() < 120, "took {:?}", started.elapsed());
}
