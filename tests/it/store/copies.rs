//! A call recorded in two traces: the run of mere calls is marked as a copy of the other, and leaves the list.

use chrono::TimeDelta;
use uuid::Uuid;
use vectoros::model::id::ProjectId;
use vectoros::model::query::RunFilter;
use vectoros::model::step::{Status, Step, Usage};
use vectoros::store::Store;

use super::on_both;
use super::samples::*;

on_both!(
    a_copy_that_comes_after_its_original_leaves_the_list,
    a_copy_that_comes_first_is_found_when_its_original_has_come,
    of_two_bare_runs_the_longer_stays,
    a_run_of_another_project_is_no_original,
    calls_at_different_times_are_two,
    a_run_that_stops_being_bare_returns_to_the_list,
    a_new_call_that_is_shown_nowhere_else_ends_the_mark,
    the_nearest_of_many_calls_with_one_id_is_found,
    a_failed_call_without_an_id_is_found_by_its_process_and_time,
    the_record_of_a_stream_shows_the_call_that_began_it,
);

pub const ALL: RunFilter = RunFilter { limit: 100, after: None, status: None, model: None };
const AGENT: u128 = 7;
const COPY: u128 = 8;

fn identified(step: Step) -> Step {
    let mut step = step;
    step.facts.response_id = Some("chatcmpl-1".to_owned());
    step
}

/// An agent with the call, 1 s to 3 s.
fn original(project: ProjectId) -> Vec<Step> {
    let agent = Step { end_ns: Some(ns(at(3))), ..span(project, AGENT, 1) };
    vec![agent, identified(span(project, AGENT, 2))]
}

/// The call alone, inside the window of the agent's.
fn alone(project: ProjectId, trace: u128) -> Step {
    identified(alone_of(project, trace))
}

fn alone_of(project: ProjectId, trace: u128) -> Step {
    let (start, end) = (at(2) + TimeDelta::milliseconds(200), at(2) + TimeDelta::milliseconds(800));
    Step { parent_id: None, start_ns: Some(ns(start)), end_ns: Some(ns(end)), ..span(project, trace, 2) }
}

async fn listed(store: &dyn Store, project: ProjectId) -> Vec<u128> {
    let page = store.runs(project, &ALL).await.unwrap();
    let mut ids: Vec<u128> = page.runs.iter().map(|run| run.key.run_id.as_u128()).collect();
    ids.sort_unstable();
    ids
}

async fn duplicate_of(store: &dyn Store, project: ProjectId, trace: u128) -> Option<u128> {
    let run = row(store, project, trace).await;
    let shown = run.metadata.get("duplicate_of_run").map(|id| id.as_str().unwrap().parse::<Uuid>().unwrap());
    assert_eq!(run.duplicate_of, shown);
    shown.map(|id| id.as_u128())
}

pub async fn a_copy_that_comes_after_its_original_leaves_the_list(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, &[batch(project, original(project))]).await;
    write(store, &[batch(project, vec![alone(project, COPY)])]).await;
    assert_eq!(listed(store, project).await, [AGENT, COPY], "nothing is decided while it settles");
    let before = row(store, project, COPY).await;
    assert_eq!(before.due_at, Some(at(105)));

    assert_eq!(store.sweep(&LIFE, at(104), 10).await.unwrap(), 0);
    assert_eq!(store.sweep(&LIFE, at(105), 10).await.unwrap(), 1);
    assert_eq!(duplicate_of(store, project, COPY).await, Some(AGENT));
    assert_eq!(listed(store, project).await, [AGENT]);
    let after = row(store, project, COPY).await;
    assert_eq!((after.due_at, after.updated_at), (None, at(105)));
    assert_eq!(stored(store, project, COPY).await.steps.len(), 1, "it is kept");

    // The exporter sends it again; a writer in between does not forget the mark.
    let late = identified(Step { id: "00000000000000aa".to_owned(), ..alone(project, COPY) });
    write_at(store, at(106), &[batch(project, vec![alone(project, COPY), late])]).await;
    assert_eq!(row(store, project, COPY).await.step_count, 2);
    assert_eq!(duplicate_of(store, project, COPY).await, Some(AGENT));
    store.sweep(&LIFE, at(1_000), 10).await.unwrap();
    assert_eq!(duplicate_of(store, project, COPY).await, Some(AGENT));
    assert_eq!(store.sweep(&LIFE, at(9_000), 10).await.unwrap(), 0);
}

async fn a_copy_that_comes_first_is_found_when_its_original_has_come(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, &[batch(project, vec![alone(project, COPY)])]).await;
    assert_eq!(store.sweep(&LIFE, at(105), 10).await.unwrap(), 1);
    let waiting = row(store, project, COPY).await;
    assert_eq!((waiting.duplicate_of, waiting.due_at), (None, Some(at(220))));
    assert_eq!(waiting.updated_at, at(100), "nothing that a reader sees has changed");

    write_at(store, at(150), &[batch(project, original(project))]).await;
    assert_eq!(store.sweep(&LIFE, at(220), 10).await.unwrap(), 1);
    assert_eq!(duplicate_of(store, project, COPY).await, Some(AGENT));
    assert_eq!(listed(store, project).await, [AGENT]);
    assert_eq!(store.sweep(&LIFE, at(9_000), 10).await.unwrap(), 0);
}

async fn of_two_bare_runs_the_longer_stays(store: &dyn Store) {
    let project = project(store, "p").await;
    let longer = Step { parent_id: None, ..identified(span(project, 9, 2)) };
    write(store, &[batch(project, vec![alone(project, COPY), longer])]).await;
    assert_eq!(store.sweep(&LIFE, at(105), 10).await.unwrap(), 2);
    store.sweep(&LIFE, at(220), 10).await.unwrap();
    assert_eq!(duplicate_of(store, project, COPY).await, Some(9));
    assert_eq!(duplicate_of(store, project, 9).await, None);
    assert_eq!(listed(store, project).await, [9]);
}

async fn a_run_of_another_project_is_no_original(store: &dyn Store) {
    let (mine, other) = (project(store, "p").await, project(store, "other").await);
    write(store, &[batch(other, original(other)), batch(mine, vec![alone(mine, COPY)])]).await;
    store.sweep(&LIFE, at(105), 10).await.unwrap();
    store.sweep(&LIFE, at(220), 10).await.unwrap();
    assert_eq!(duplicate_of(store, mine, COPY).await, None);
    assert_eq!(listed(store, mine).await, [COPY]);
    assert_eq!(row(store, mine, COPY).await.due_at, None, "the search ends");
}

async fn calls_at_different_times_are_two(store: &dyn Store) {
    let project = project(store, "p").await;
    let later = Step { start_ns: Some(ns(at(4))), end_ns: Some(ns(at(5))), ..alone(project, COPY) };
    write(store, &[batch(project, original(project)), batch(project, vec![later])]).await;
    store.sweep(&LIFE, at(105), 10).await.unwrap();
    store.sweep(&LIFE, at(220), 10).await.unwrap();
    assert_eq!(listed(store, project).await, [AGENT, COPY]);
}

async fn a_run_that_stops_being_bare_returns_to_the_list(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, &[batch(project, original(project)), batch(project, vec![alone(project, COPY)])]).await;
    store.sweep(&LIFE, at(105), 10).await.unwrap();
    assert_eq!(listed(store, project).await, [AGENT]);
    write_at(store, at(110), &[batch(project, vec![span(project, COPY, 1)])]).await;
    assert_eq!(duplicate_of(store, project, COPY).await, None);
    assert_eq!(listed(store, project).await, [AGENT, COPY]);
}

async fn a_new_call_that_is_shown_nowhere_else_ends_the_mark(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, &[batch(project, original(project)), batch(project, vec![alone(project, COPY)])]).await;
    store.sweep(&LIFE, at(105), 10).await.unwrap();
    let mut second = Step { id: "00000000000000aa".to_owned(), ..alone(project, COPY) };
    second.facts.response_id = Some("chatcmpl-2".to_owned());
    write_at(store, at(110), &[batch(project, vec![second])]).await;
    assert_eq!(duplicate_of(store, project, COPY).await, Some(AGENT), "until it has settled");
    store.sweep(&LIFE, at(220), 10).await.unwrap();
    assert_eq!(duplicate_of(store, project, COPY).await, None);
    assert_eq!(listed(store, project).await, [AGENT, COPY]);
}

/// A sender whose responses all have one id: only some are read, those that began last before the end of the copy.
async fn the_nearest_of_many_calls_with_one_id_is_found(store: &dyn Store) {
    let project = project(store, "p").await;
    let mut steps = original(project);
    for trace in 100..150 {
        let early = at(-600 + i64::try_from(trace).unwrap());
        let end_ns = Some(ns(early + TimeDelta::milliseconds(500)));
        steps.push(Step { start_ns: Some(ns(early)), end_ns, ..alone(project, trace) });
    }
    steps.push(alone(project, COPY));
    write(store, &[batch(project, steps)]).await;
    assert_eq!(store.sweep(&LIFE, at(105), 200).await.unwrap(), 51);
    assert_eq!(duplicate_of(store, project, COPY).await, Some(AGENT));
    assert_eq!(listed(store, project).await.len(), 51);
}

/// A call by a process that has a name, without any id.
fn unidentified(step: Step) -> Step {
    let mut step = step;
    step.facts.instance = Some("process-1".to_owned());
    step
}

fn failed(step: Step) -> Step {
    Step { status: Status::Error, error: Some("429".to_owned()), usage: Usage::default(), ..unidentified(step) }
}

/// The framework's record of a failed call has its texts, the client library's has none.
pub async fn a_failed_call_without_an_id_is_found_by_its_process_and_time(store: &dyn Store) {
    let project = project(store, "p").await;
    let input = Some("Weather?".to_owned());
    let framework = failed(Step { parent_id: None, input, ..span(project, 9, 2) });
    let client = failed(alone_of(project, COPY));
    write(store, &[batch(project, vec![client.clone(), framework])]).await;
    for elsewhere in [10, 11, 12, 13] {
        let mut other = Step { run: run_key(project, elsewhere), ..client.clone() };
        match elsewhere {
            10 => other.facts.instance = Some("process-2".to_owned()),
            11 => other.model = Some("gpt-4".to_owned()),
            12 => (other.start_ns, other.end_ns) = (Some(ns(at(4))), Some(ns(at(5)))),
            _ => other.facts.instance = None,
        }
        write(store, &[batch(project, vec![other])]).await;
    }
    store.sweep(&LIFE, at(105), 10).await.unwrap();
    assert_eq!(duplicate_of(store, project, COPY).await, Some(9));
    assert_eq!(listed(store, project).await, [9, 10, 11, 12, 13]);
    store.sweep(&LIFE, at(220), 10).await.unwrap();
    assert_eq!(store.sweep(&LIFE, at(9_000), 10).await.unwrap(), 0);
    assert_eq!(listed(store, project).await, [9, 10, 11, 12, 13]);
}

/// The call ended when its stream began; a record that stands at the end of the stream has what was answered.
async fn the_record_of_a_stream_shows_the_call_that_began_it(store: &dyn Store) {
    let project = project(store, "p").await;
    let input = Some("Weather?".to_owned());
    let call = Step { parent_id: None, input: input.clone(), usage: Usage::default(), ..span(project, COPY, 2) };
    let end = at(2) + TimeDelta::milliseconds(3_020);
    let (start_ns, end_ns) = (Some(ns(end)), Some(ns(end)));
    let mut record =
        Step { parent_id: None, input, output: Some("18 C".to_owned()), start_ns, end_ns, ..span(project, 9, 3) };
    record.facts.stream_took_ms = Some(3_000.0);
    write(store, &[batch(project, vec![unidentified(call), unidentified(record)])]).await;
    store.sweep(&LIFE, at(105), 10).await.unwrap();
    assert_eq!(duplicate_of(store, project, COPY).await, Some(9));
    store.sweep(&LIFE, at(220), 10).await.unwrap();
    assert_eq!(listed(store, project).await, [9]);
}
