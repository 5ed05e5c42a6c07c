use serde_json::json;
use uuid::Uuid;

use super::builder::*;
use crate::assembly::{Twin, asked_calls, assemble, original_of};
use crate::model::id::RunKey;
use crate::model::run::Assembled;
use crate::model::step::{Step, StepType};

/// A run of its own, long settled.
fn run(id: u128, steps: Vec<Step>) -> Assembled {
    let key = RunKey { run_id: Uuid::from_u128(id), ..key() };
    assemble(key, steps, None, receipt(), &LIFE, after_s(1_000))
}

fn identified(id: &str, parent: Option<&str>, response: &str, start_ms: u64, end_ms: u64) -> Step {
    call(id, parent, start_ms, end_ms).facts(|facts| {
        facts.response_id = Some(response.to_owned());
        facts.service = Some("demo".to_owned());
    })
}

fn of_agent(id: u128) -> Assembled {
    run(id, vec![agent("A", None, 0, 100), identified("C", Some("A"), "r1", 10, 50)])
}

fn bare(id: u128, start_ms: u64, end_ms: u64) -> Assembled {
    run(id, vec![identified("c", None, "r1", start_ms, end_ms)])
}

/// The number of the original, among the others.
fn original(copy: &Assembled, others: &[&Assembled]) -> Option<u128> {
    let twins: Vec<Twin> = others.iter().flat_map(|other| Twin::all_of(other)).collect();
    let reversed: Vec<Twin> = twins.iter().rev().cloned().collect();
    let found = original_of(copy, &twins);
    assert_eq!(found, original_of(copy, &reversed), "in any order");
    found.map(|id| id.as_u128())
}

#[test]
fn mere_calls_are_a_copy_of_the_run_that_holds_them_all() {
    assert_eq!(original(&bare(1, 20, 40), &[&of_agent(2)]), Some(2));
    assert_eq!(original(&of_agent(2), &[&bare(1, 20, 40)]), None, "an agent's run is no copy");
    assert_eq!(original(&bare(1, 0, 400), &[&of_agent(2)]), Some(2), "however long they are");
    assert_eq!(original(&bare(1, 20, 40), &[&bare(1, 20, 40)]), None, "not of itself");
    assert_eq!(original(&bare(1, 20, 40), &[]), None);
    let two = run(1, vec![identified("c", None, "r1", 20, 40), identified("d", None, "r2", 60, 70)]);
    assert_eq!(original(&two, &[&of_agent(2)]), None, "its second call is shown nowhere else");
    let third = run(3, vec![agent("A", None, 0, 100), identified("D", Some("A"), "r2", 55, 75)]);
    assert_eq!(original(&two, &[&of_agent(2), &third]), None, "not by two runs together");
}

#[test]
fn of_two_runs_of_mere_calls_exactly_one_is_the_copy() {
    assert_eq!(original(&bare(1, 20, 40), &[&bare(2, 10, 50)]), Some(2));
    assert_eq!(original(&bare(2, 10, 50), &[&bare(1, 20, 40)]), None);
    assert_eq!(original(&bare(2, 10, 50), &[&bare(1, 10, 50)]), Some(1), "the smaller id of equally long ones");
    assert_eq!(original(&bare(1, 10, 50), &[&bare(2, 10, 50)]), None);
    assert_eq!(original(&bare(1, 20, 40), &[&bare(2, 0, 90), &of_agent(3)]), Some(3), "an agent's run before others");
    assert_eq!(original(&bare(1, 20, 40), &[&bare(2, 10, 50), &bare(3, 0, 60)]), Some(3));
}

#[test]
fn one_call_has_one_response_in_one_process_at_one_time() {
    let copy = |change: fn(&mut Step)| {
        let mut step = identified("c", None, "r1", 20, 40);
        change(&mut step);
        run(1, vec![step])
    };
    assert_eq!(original(&copy(|_| ()), &[&of_agent(2)]), Some(2));
    assert_eq!(original(&copy(|step| step.facts.response_id = Some("r2".to_owned())), &[&of_agent(2)]), None);
    assert_eq!(original(&copy(|step| step.facts.service = Some("other".to_owned())), &[&of_agent(2)]), None);
    assert_eq!(original(&copy(|step| step.facts.instance = Some("i".to_owned())), &[&of_agent(2)]), None);
    assert_eq!(original(&copy(|step| step.kind = StepType::Embedding), &[&of_agent(2)]), None);
    assert_eq!(original(&bare(1, 60, 70), &[&of_agent(2)]), None, "a cache answered again");
    assert_eq!(original(&bare(1, 50, 70), &[&of_agent(2)]), None, "at once");
    assert_eq!(original(&bare(1, 50, 50), &[&of_agent(2)]), Some(2), "an instant at the end");
    for id in ["", "unknown"] {
        let nameless = |number| run(number, vec![identified("c", None, id, 20, 40)]);
        assert_eq!(original(&nameless(1), &[&nameless(2)]), None, "{id:?}");
    }
    let in_instance = |number, service: &str| {
        let of_process = identified("c", None, "r1", 20, 40).facts(|facts| {
            facts.instance = Some("i".to_owned());
            facts.service = Some(service.to_owned());
        });
        run(number, vec![of_process])
    };
    assert_eq!(original(&in_instance(2, "a"), &[&in_instance(1, "b")]), Some(1), "the instance tells the process");
}

#[test]
fn only_calls_and_what_is_not_about_genai_make_a_bare_run() {
    let is_bare = |steps: Vec<Step>| run(1, steps).run.bare;
    let one = || identified("c", None, "r1", 20, 40);
    assert!(is_bare(vec![one()]));
    assert!(is_bare(vec![one(), step("h", Some("c"), StepType::HttpRequest, 21, 39)]), "its transport");
    assert!(is_bare(vec![
        step("f", None, StepType::HttpRequest, 0, 90),
        identified("c", Some("f"), "r1", 20, 40),
        identified("n", Some("c"), "r1", 22, 38),
    ]));
    for kind in [StepType::Agent, StepType::ToolCall, StepType::Workflow, StepType::Retrieval] {
        assert!(!is_bare(vec![one(), step("x", Some("c"), kind.clone(), 21, 39)]), "{kind:?}");
    }
    assert!(!is_bare(vec![step("h", None, StepType::HttpRequest, 0, 1)]), "no run at all");
    assert!(!is_bare(vec![identified("c", Some("gone"), "r1", 20, 40)]), "its parent may be an agent");
    let remote = identified("c", Some("gone"), "r1", 20, 40).facts(|facts| facts.remote_parent = true);
    assert!(is_bare(vec![remote]));
}

#[test]
fn each_call_counts_with_the_steps_that_repeat_it() {
    // The outer span tells no id; the one inside, which repeats it, does.
    let nested =
        run(1, vec![call("o", None, 15, 45).tokens(3, 4), identified("i", Some("o"), "r1", 20, 40).tokens(3, 4)]);
    assert_eq!(nested.mark("i", "duplicate_of"), Some(&json!("o")));
    assert_eq!(original(&nested, &[&of_agent(2)]), Some(2));
    let failed = run(1, vec![call("f", None, 5, 9).fails("429"), identified("c", None, "r1", 20, 40)]);
    assert_eq!(original(&failed, &[&of_agent(2)]), None, "the failed call is shown nowhere else");
    assert!(asked_calls(&failed).is_empty());
    assert_eq!(asked_calls(&nested).len(), 1);
    assert!(asked_calls(&of_agent(2)).is_empty(), "nothing is asked for a run that can be no copy");
}

#[test]
fn a_bare_run_is_looked_at_after_settling_and_when_all_that_is_late_has_come() {
    let due = |steps: Vec<Step>, seconds| run_at(steps, seconds).run.due_at;
    let steps = || vec![identified("c", None, "r1", 20, 40)];
    assert_eq!(due(steps(), 0), Some(after_s(5)));
    assert_eq!(due(steps(), 4), Some(after_s(5)));
    assert_eq!(due(steps(), 5), Some(after_s(120)));
    assert_eq!(due(steps(), 120), None);
    assert_eq!(due(vec![call("c", None, 20, 40)], 0), None, "without an id nothing can be found");
    assert_eq!(due(vec![agent("A", None, 0, 90), identified("c", Some("A"), "r1", 20, 40)], 0), None);
    let many = |count: u64| (0..count).map(|n| identified(&format!("c{n}"), None, "r1", n * 10, n * 10 + 5)).collect();
    assert_eq!(due(many(100), 0), Some(after_s(5)));
    assert_eq!(due(many(101), 0), None, "too many to compare");
}

#[test]
fn the_mark_stays_only_on_a_bare_run() {
    let other = Uuid::from_u128(2);
    let mut copy = bare(1, 20, 40).run;
    copy.set_original(Some(other));
    assert_eq!((copy.duplicate_of, &copy.metadata["duplicate_of_run"]), (Some(other), &json!(other.to_string())));
    let mut agents = of_agent(1).run;
    agents.set_original(Some(other));
    assert_eq!((agents.duplicate_of, agents.metadata.get("duplicate_of_run")), (None, None));
}

fn of_process(step: Step) -> Step {
    step.facts(|facts| facts.instance = Some("i".to_owned()))
}

#[test]
fn a_call_that_tells_nothing_is_the_one_around_it_by_the_same_process() {
    let framework = |failed: bool| {
        let call = of_process(call("C", None, 20, 40).says("Weather?", ""));
        run(2, vec![if failed { call.fails("429") } else { call.tokens(3, 4) }])
    };
    let copy = |change: fn(Step) -> Step| run(1, vec![change(of_process(call("c", None, 22, 38)).fails("429"))]);
    assert_eq!(original(&copy(|step| step), &[&framework(true)]), Some(2));
    assert_eq!(original(&copy(|step| step), &[&framework(false)]), Some(2), "an attempt that was tried again");
    assert_eq!(original(&framework(true), &[&copy(|step| step)]), None, "what has texts is the original");
    assert_eq!(original(&copy(|step| step.says("Hi", "")), &[&framework(true)]), None, "a question of its own");
    assert_eq!(original(&copy(|step| step.tokens(1, 1)), &[&framework(false)]), None, "tokens of its own");
    let elsewhere: [fn(Step) -> Step; 4] = [
        |step| step.facts(|facts| facts.instance = Some("j".to_owned())),
        |step| step.facts(|facts| facts.instance = None),
        |step| Step { model: Some("gpt-5".to_owned()), ..step },
        |step| Step { end_ns: step.end_ns.map(|end| end + 5_000_000), ..step },
    ];
    for change in elsewhere {
        assert_eq!(original(&copy(change), &[&framework(true)]), None);
    }
    let slack: fn(Step) -> Step = |step| Step { end_ns: step.end_ns.map(|end| end + 3_000_000), ..step };
    assert_eq!(original(&copy(slack), &[&framework(true)]), Some(2), "two clocks");
    let silent = run(3, vec![agent("A", None, 0, 90), of_process(call("C", Some("A"), 20, 40)).fails("429")]);
    assert_eq!(original(&copy(|step| step), &[&silent]), Some(3), "an agent's call, though nobody kept its texts");
    let silent_too = run(3, vec![of_process(call("C", None, 20, 40)).fails("429")]);
    assert_eq!(original(&copy(|step| step), &[&silent_too]), None, "nothing tells them from two calls");
}
