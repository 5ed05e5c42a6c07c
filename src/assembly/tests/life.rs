use std::time::Duration;

use serde_json::json;

use super::builder::*;
use crate::assembly::{LifeCycle, assemble};
use crate::model::run::{Declared, Run};
use crate::model::step::{Source, Status, Step, StepType};

fn at(steps: Vec<Step>, seconds: i64) -> Run {
    run_at(steps, seconds).run
}

#[test]
fn an_ended_run_is_final_after_settle() {
    let steps = || vec![agent("A", None, 0, 10)];
    let fresh = at(steps(), 4);
    assert_eq!((fresh.status, fresh.final_at, fresh.due_at), (Status::Success, Some(after_s(5)), None));
    let settled = at(steps(), 5);
    assert_eq!(settled, fresh, "nothing is left to be done for it");
}

#[test]
fn an_unended_step_runs_until_silence() {
    let steps = || vec![agent("A", None, 0, 10).unended(), call("C", Some("A"), 1, 9).tokens(120, 18)];
    let running = at(steps(), 899);
    assert_eq!((running.status, running.due_at), (Status::Running, Some(after_s(900))));
    assert_eq!((running.usage.total, running.latency_s, running.ended_at), (Some(138), None, None));
    let silent = at(steps(), 900);
    assert_eq!((silent.status, silent.error, silent.final_at.is_some()), (Status::Timeout, None, true));
    assert_eq!(silent.metadata["timeout_reason"], json!("no activity for 900 s"));
    assert_eq!(silent.latency_s, Some(0.009));
}

#[test]
fn a_busy_run_is_given_up_at_its_maximal_age() {
    let life = LifeCycle { max_duration: Duration::from_secs(60), ..LIFE };
    let steps = || vec![agent("A", None, 0, 10).unended()];
    let run = |seconds| assemble(key(), steps(), None, receipt(), &life, after_s(seconds)).run;
    assert_eq!((run(59).status, run(59).due_at), (Status::Running, Some(after_s(60))));
    assert_eq!((run(60).status, run(60).final_at.is_some()), (Status::Timeout, true));
}

#[test]
fn an_unended_frame_does_not_keep_a_run_open() {
    let steps = vec![step("H", None, StepType::HttpRequest, 0, 10).unended(), agent("A", Some("H"), 1, 9)];
    assert_eq!(at(steps, 0).status, Status::Success);
}

#[test]
fn an_orphan_waits_for_its_parent_and_then_stands_alone() {
    let orphan = || vec![call("C", Some("gone"), 0, 10)];
    let waiting = at(orphan(), 119);
    assert_eq!((waiting.status, waiting.due_at), (Status::Running, Some(after_s(120))));
    let alone = at(orphan(), 120);
    assert_eq!((alone.status, alone.final_at.is_some()), (Status::Success, true));
    assert_eq!((&alone.metadata["root_missing"], &alone.metadata["complete"]), (&json!(true), &json!(false)));
    // An agent has ended by itself, whoever started it.
    assert_eq!(at(vec![agent("A", Some("gone"), 0, 10)], 0).status, Status::Success);
    // A parent in another process is not waited for.
    let remote = at(vec![call("C", Some("gone"), 0, 10).facts(|facts| facts.remote_parent = true)], 0);
    assert_eq!((remote.status, remote.metadata.get("root_missing")), (Status::Success, None));
}

#[test]
fn traces_without_genai_make_no_run() {
    let http = at(vec![step("H", None, StepType::HttpRequest, 0, 10)], 0);
    assert_eq!((http.worthy, http.final_at.is_some(), http.due_at), (false, true, None));
    let mut plain = step("W", None, StepType::Workflow, 0, 10);
    plain.facts.genai = false;
    assert!(!at(vec![plain], 0).worthy);
    let setup = step("W", None, StepType::Workflow, 0, 1).facts(|facts| facts.setup = true);
    assert!(!at(vec![setup.clone()], 0).worthy);
    let with_run = at(vec![setup, agent("A", None, 2, 9)], 0);
    assert_eq!((with_run.worthy, with_run.name.as_str()), (true, "agent A"));
    assert!(!at(vec![], 0).worthy);
}

#[test]
fn a_tool_or_a_retry_that_failed_does_not_fail_the_run() {
    let run = run_of(vec![
        agent("A", None, 0, 100).says("Stock of ZZZZ?", "No price for ZZZZ.\n"),
        call("C", Some("A"), 1, 9).fails("429"),
        tool("T", Some("A"), "get_stock_price", 10, 19).fails("Unknown symbol: ZZZZ"),
        call("D", Some("A"), 20, 29).says("x", "y"),
    ]);
    assert_eq!((run.run.status, run.run.error, run.run.error_count), (Status::Success, None, 2));
    assert_eq!(run.run.output.as_deref(), Some("No price for ZZZZ.\n"));
}

#[test]
fn a_failed_agent_below_a_silent_wrapper_fails_the_run() {
    let run = run_of(vec![
        step("W", None, StepType::Workflow, 0, 100),
        agent("A", Some("W"), 1, 99).fails("RateLimitError: Rate limit reached"),
        call("C", Some("A"), 2, 98).fails("429"),
    ])
    .run;
    assert_eq!((run.status, run.error.as_deref()), (Status::Error, Some("RateLimitError: Rate limit reached")));
    assert_eq!((&run.metadata["status_inferred"], &run.metadata["failed_step"]), (&json!(true), &json!("A")));
}

#[test]
fn an_error_that_says_nothing_gives_way_to_one_below() {
    let run = run_of(vec![
        agent("A", None, 0, 100).fails("run status: error"),
        call("C", Some("A"), 2, 98).fails("Rate limit reached"),
    ]);
    assert_eq!(run.run.error.as_deref(), Some("Rate limit reached"));
    let long = run_of(vec![agent("A", None, 0, 1).fails(&"é".repeat(8192))]).run.error.unwrap_or_default();
    assert_eq!(long.len(), 8192);
}

#[test]
fn a_tools_error_that_colours_its_agent_is_the_tools_alone() {
    let steps = |answer: &str| {
        vec![
            agent("A", None, 0, 100)
                .says("Q", answer)
                .fails("Unknown symbol")
                .facts(|facts| facts.error_may_be_childs = true),
            tool("T", Some("A"), "get_stock_price", 10, 19).fails("Unknown symbol"),
        ]
    };
    let run = run_of(steps("It has none."));
    assert_eq!(run.run.status, Status::Success);
    assert_eq!(run.mark("A", "child_error_propagated"), Some(&json!(true)));
    assert_eq!(run_of(steps("")).run.status, Status::Error);
}

#[test]
fn a_timeout_has_a_reason_and_no_error() {
    let mut timed_out =
        call("C", None, 0, 10).facts(|facts| facts.timeout_reason = Some("Request timed out".to_owned()));
    timed_out.status = Status::Timeout;
    let run = at(vec![timed_out], 9);
    assert_eq!((run.status, run.error), (Status::Timeout, None));
    assert_eq!(run.metadata["timeout_reason"], json!("Request timed out"));
}

#[test]
fn a_failed_frame_is_told_beside_a_run_that_succeeded() {
    let frame = step("H", None, StepType::HttpRequest, 0, 100).fails("HTTP status 502");
    let run = at(vec![frame, agent("A", Some("H"), 10, 90)], 9);
    assert_eq!((run.status, &run.metadata["frame_status"]), (Status::Success, &json!("error")));
    assert!(run.metadata.contains_key("frame_started_at"));
}

#[test]
fn native_runs_are_as_declared() {
    let declared = |status| Declared {
        model: "m".to_owned(),
        input: "in".to_owned(),
        latency: Some(1.5),
        status,
        ..Declared::default()
    };
    let mut entry = tool("s1", None, "t", 0, 1).fails("bad").tokens(5, 5);
    (entry.source, entry.start_ns, entry.end_ns) = (Source::Native, None, None);
    let run = |status, seconds| {
        assemble(key(), vec![entry.clone()], Some(declared(status)), receipt(), &LIFE, after_s(seconds)).run
    };
    let done = run(Status::Success, 0);
    assert_eq!((done.source, done.usage.total, done.cost, done.final_at.is_some()), (Source::Native, None, None, true));
    assert_eq!((done.step_count, done.error_count, done.started_at), (1, 1, epoch()));
    assert_eq!(done.ended_at.map(|end| (end - epoch()).num_milliseconds()), Some(1500));
    let running = run(Status::Running, 899);
    assert_eq!((running.status, running.due_at, running.ended_at), (Status::Running, Some(after_s(900)), None));
    let silent = run(Status::Running, 900);
    assert_eq!((silent.status, silent.final_at.is_some(), silent.due_at), (Status::Timeout, true, None));
    assert_eq!(silent.declared.map(|declared| declared.status), Some(Status::Running));
}
