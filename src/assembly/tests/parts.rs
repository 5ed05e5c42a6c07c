//! Traces that are more than one run.

use proptest::prelude::*;

use super::builder::*;
use crate::assembly::{Scopes, parts};
use crate::model::id::run_id_of_root;
use crate::model::run::{Assembled, Run};
use crate::model::step::{Status, Step, StepType};

fn runs(steps: Vec<Step>) -> Vec<Assembled> {
    let made = parts(key(), steps).parts.into_iter();
    let mut runs: Vec<Assembled> = made.map(|part| part.assembled(receipt(), &LIFE, after_s(1_000))).collect();
    runs.sort_by_key(|assembled| assembled.run.started_at);
    runs
}

fn ids(assembled: &Assembled) -> Vec<&str> {
    assembled.steps.iter().map(|shown| shown.step.id.as_str()).collect()
}

/// A worker that is still at work, and two invocations of its own, the first with a sub-agent.
fn worker() -> Vec<Step> {
    use StepType::*;
    vec![
        step("w", None, Unknown, 0, 1).unended(),
        step("loop", Some("w"), Unknown, 0, 900),
        step("a", Some("loop"), Agent, 10, 50).says("first", "one"),
        step("t", Some("a"), ToolCall, 20, 40),
        step("sub", Some("t"), Agent, 21, 39),
        step("c1", Some("sub"), ModelCall, 22, 38).tokens(10, 5),
        step("b", Some("loop"), Agent, 100, 160).says("second", "two"),
        step("c2", Some("b"), ModelCall, 110, 150).tokens(20, 1),
    ]
}

#[test]
fn each_outermost_step_is_a_run_and_a_sub_agent_is_none() {
    let runs = runs(worker());
    assert_eq!(runs.iter().map(ids).collect::<Vec<_>>(), [vec!["a", "t", "sub", "c1"], vec!["b", "c2"]]);
    let told = |run: &Run| (run.input.clone(), run.output.clone().unwrap(), run.usage.total, run.latency_s);
    assert_eq!(told(&runs[0].run), ("first".into(), "one".into(), Some(15), Some(0.04)));
    assert_eq!(told(&runs[1].run), ("second".into(), "two".into(), Some(21), Some(0.06)));
    for part in &runs {
        let run = &part.run;
        assert_eq!((run.status, run.kinship.part_of), (Status::Success, Some(key().run_id)));
        assert_eq!(run.metadata["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(run.metadata.get("root_missing"), None, "what is above came");
    }
}

#[test]
fn the_id_of_a_part_can_be_computed() {
    // uuid.uuid5(NS, trace_id || span_id) elsewhere gives the same.
    let id = run_id_of_root(key().run_id, "00f067aa0ba902b7");
    let namespace = "5f0c2b64-9d0b-5c53-9c53-6d6f7a1c2e01".parse().unwrap();
    let mut name = key().run_id.as_bytes().to_vec();
    name.extend([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    assert_eq!(id, uuid::Uuid::new_v5(&namespace, &name));
    assert_ne!(id, run_id_of_root(key().run_id, "00f067aa0ba902b7-12ab"));
}

#[test]
fn a_marked_step_inside_starts_a_run_and_one_around_takes_all() {
    let mut steps = worker();
    steps[4].facts.run_root = true;
    let made = runs(steps.clone());
    assert_eq!(made.iter().map(ids).collect::<Vec<_>>(), [vec!["a", "t"], vec!["sub", "c1"], vec!["b", "c2"]]);
    steps[4].facts.run_root = false;
    steps[1].facts.run_root = true;
    assert_eq!(runs(steps).len(), 1);
}

#[test]
fn a_late_ancestor_holds_the_runs_it_took_in() {
    let mut steps = worker();
    let before = parts(key(), steps.clone());
    steps[1].kind = StepType::Agent;
    let after = parts(key(), steps.clone());
    let above = run_id_of_root(key().run_id, "loop");
    assert_eq!(after.parts.iter().map(|part| part.key.run_id).collect::<Vec<_>>(), [above]);
    for part in before.parts {
        assert_eq!(after.holder(part.key.run_id), above);
    }
    assert_eq!(after.holder(run_id_of_root(key().run_id, "w")), key().run_id, "in no part");
}

#[test]
fn a_part_waits_when_the_root_of_its_trace_is_missing() {
    let mut steps = worker();
    let orphan = |steps: Vec<Step>, seconds| {
        let part = parts(key(), steps).take(run_id_of_root(key().run_id, "c2")).unwrap();
        part.assembled(receipt(), &LIFE, after_s(seconds)).run
    };
    steps.drain(..7);
    assert_eq!(orphan(steps.clone(), 10).status, Status::Running);
    let ended = orphan(steps, 1_000);
    assert_eq!((ended.status, &ended.metadata["root_missing"]), (Status::Success, &true.into()));
}

#[test]
fn the_scope_is_the_services() {
    let scopes = |all, services: &[&str]| Scopes {
        genai_root: all,
        genai_root_services: services.iter().map(|name| (*name).to_owned()).collect(),
    };
    for (scopes, service, expected) in [
        (scopes(false, &[]), Some("a"), false),
        (scopes(true, &[]), None, true),
        (scopes(false, &["voice", "worker-*"]), Some("voice"), true),
        (scopes(false, &["voice", "worker-*"]), Some("voices"), false),
        (scopes(false, &["voice", "worker-*"]), Some("worker-7"), true),
        (scopes(false, &["voice"]), None, false),
    ] {
        assert_eq!(scopes.splits(service), expected, "{scopes:?} {service:?}");
    }
}

proptest! {
    #[test]
    fn the_order_of_steps_does_not_matter(steps in Just(worker()).prop_shuffle()) {
        let (one, other) = (runs(worker()), runs(steps));
        prop_assert_eq!(one.iter().map(|it| &it.run).collect::<Vec<_>>(), other.iter().map(|it| &it.run).collect::<Vec<_>>());
        prop_assert_eq!(one.iter().map(ids).collect::<Vec<_>>(), other.iter().map(ids).collect::<Vec<_>>());
    }
}
