//! Lists and single runs.

use std::collections::BTreeSet;

use uuid::Uuid;
use vectoros::model::query::RunFilter;
use vectoros::model::step::{Status, Step, StepType};
use vectoros::store::{Store, Tuning};
use vectoros::view::Reader;

use super::on_both;
use super::samples::*;
use crate::database::{Database, on_both_stores};

on_both!(
    an_unknown_run_is_none,
    pages_joined_are_the_whole_list_while_runs_arrive,
    filters_narrow_the_list,
    a_trace_without_agents_is_stored_but_not_listed,
    a_run_is_read_within_a_bound_of_bytes,
);

const ALL: RunFilter = RunFilter { limit: 100, after: None, status: None, model: None };

/// A trace of one model call that starts at the given second.
fn call(project: vectoros::model::id::ProjectId, trace: u128, second: i64) -> Step {
    let start_ns = Some(ns(at(second)));
    let end_ns = Some(ns(at(second + 1)));
    Step { parent_id: None, start_ns, end_ns, ..span(project, trace, 2) }
}

async fn an_unknown_run_is_none(store: &dyn Store) {
    let project = project(store, "p").await;
    assert!(store.run(project, Uuid::from_u128(5)).await.unwrap().is_none());
    assert!(store.runs(project, &ALL).await.unwrap().runs.is_empty());
}

pub async fn pages_joined_are_the_whole_list_while_runs_arrive(store: &dyn Store) {
    let (project, other) = (project(store, "p").await, project(store, "other").await);
    // Pairs of runs start in the same second, so that the id must break the tie.
    let steps = (1..=25).map(|trace| call(project, trace, i64::try_from(trace / 2).unwrap())).collect();
    write(store, &[batch(project, steps), batch(other, vec![call(other, 1, 3)])]).await;
    let expected: Vec<Uuid> = (1..=25).rev().map(Uuid::from_u128).collect();
    let whole = store.runs(project, &ALL).await.unwrap();
    assert_eq!(whole.runs.iter().map(|run| run.key.run_id).collect::<Vec<_>>(), expected);
    assert_eq!(whole.next, None);

    let mut filter = RunFilter { limit: 4, ..ALL };
    let mut seen = Vec::new();
    for page_number in 1_u32.. {
        let page = store.runs(project, &filter).await.unwrap();
        assert!(page.runs.len() <= 4);
        seen.extend(page.runs.iter().map(|run| run.key.run_id));
        // Newer runs arrive between the pages.
        let trace = 1000 + u128::from(page_number);
        write(store, &[batch(project, vec![call(project, trace, 1000)])]).await;
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 25);
}

pub async fn filters_narrow_the_list(store: &dyn Store) {
    let project = project(store, "p").await;
    let mut batches: Vec<_> = [Status::Success, Status::Error, Status::Running]
        .into_iter()
        .zip(1..)
        .map(|(status, run)| submit(project, run, declared(status, run), vec![]))
        .collect();
    let mut other = declared(Status::Success, 4);
    other.model = "other".into();
    batches.push(submit(project, 4, other, vec![]));
    write(store, &batches).await;
    let ids = async |filter: RunFilter| -> Vec<u128> {
        let page = store.runs(project, &filter).await.unwrap();
        page.runs.iter().map(|run| run.key.run_id.as_u128()).collect()
    };
    assert_eq!(ids(ALL).await, [4, 3, 2, 1]);
    assert_eq!(ids(RunFilter { status: Some(Status::Success), ..ALL }).await, [4, 1]);
    assert_eq!(ids(RunFilter { model: Some("other".into()), ..ALL }).await, [4]);
    assert_eq!(ids(RunFilter { model: Some("other".into()), status: Some(Status::Error), ..ALL }).await, []);
    assert_eq!(ids(RunFilter { model: Some("'; --\0".into()), ..ALL }).await, []);
}

async fn a_trace_without_agents_is_stored_but_not_listed(store: &dyn Store) {
    let project = project(store, "p").await;
    let request = Step { kind: StepType::HttpRequest, ..span(project, 1, 1) };
    write(store, &[batch(project, vec![request])]).await;
    assert!(!row(store, project, 1).await.worthy);
    assert!(store.runs(project, &ALL).await.unwrap().runs.is_empty());
}

async fn a_run_is_read_within_a_bound_of_bytes(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, &[batch(project, (1..=20).map(|number| span(project, 1, number)).collect())]).await;
    let whole = stored(store, project, 1).await;
    assert_eq!((whole.steps.len(), whole.is_cut, whole.is_truncated), (20, false, false));
    let within = async |bytes_max| store.run_within(project, Uuid::from_u128(1), bytes_max).await.unwrap().unwrap();
    let part = within(10_000).await;
    assert!((2..20).contains(&part.steps.len()), "{}", part.steps.len());
    assert!(part.is_cut && part.is_truncated);
    let earliest: BTreeSet<&str> = whole.steps[..part.steps.len()].iter().map(|step| step.id.as_str()).collect();
    assert_eq!(part.steps.iter().map(|step| step.id.as_str()).collect::<BTreeSet<_>>(), earliest);
    assert_eq!(part.run, whole.run);
    assert_eq!(within(1).await.steps.len(), 1);
}

async fn a_runaway_run_is_shown_in_part_and_told_whole(url: &str) {
    let tuning = Tuning { shown_steps_max: 10, ..TUNING };
    let store = Database::at(url).store(tuning).await;
    let project = project(store.as_ref(), "p").await;
    let steps = |last: u64| (1..=last).rev().map(|number| span(project, 1, number)).collect();
    let detail = async || -> serde_json::Value {
        let reader = Reader::new(store.clone(), LIFE);
        let run = reader.run(project, Uuid::from_u128(1), at(2_000)).await.unwrap().unwrap();
        serde_json::from_str(run.detail_json().unwrap().get()).unwrap()
    };
    write(store.as_ref(), &[batch(project, steps(10))]).await;
    let whole = detail().await;
    assert_eq!(whole["run"]["metadata"].get("truncated_steps"), None);
    assert_eq!(whole["stats"]["total_steps"], 10);

    write(store.as_ref(), &[batch(project, steps(25))]).await;
    let part = detail().await;
    assert_eq!(part["run"]["metadata"]["truncated_steps"], 15);
    assert_eq!((&part["run"]["step_count"], &part["run"]["tokens"]), (&25.into(), &240.into()));
    let root = &part["tree"][0];
    assert_eq!((&root["id"], root["children"].as_array().unwrap().len()), (&"0000000000000001".into(), 9));
    assert_eq!(root["children"][8]["id"], "000000000000000a", "the earliest");
}
on_both_stores!(a_runaway_run_is_shown_in_part_and_told_whole);
