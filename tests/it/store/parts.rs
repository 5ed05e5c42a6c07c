//! Traces that hold a run for each of their outermost GenAI steps.

use std::collections::BTreeMap;

use uuid::Uuid;
use vectoros::assembly::{LifeCycle, Scopes};
use vectoros::model::batch::Batch;
use vectoros::model::id::{ProjectId, RunKey, run_id_of_root};
use vectoros::model::query::RunFilter;
use vectoros::model::run::Run;
use vectoros::model::step::{Status, Step, StepType};
use vectoros::store::Store;

use super::on_both;
use super::samples::*;

on_both!(
    a_trace_is_listed_by_its_parts,
    news_of_one_part_leaves_its_siblings,
    a_late_ancestor_takes_earlier_runs_in,
    any_order_gives_the_same_parts,
    a_part_is_given_up_when_its_time_has_come,
    a_changed_setting_makes_one_run_again,
    without_the_scope_nothing_is_taken_apart,
);

fn life() -> LifeCycle {
    LifeCycle { scopes: Scopes { genai_root: true, genai_root_services: vec![] }, ..LIFE }
}

async fn write(store: &dyn Store, seconds: i64, batches: &[Batch]) {
    let mut writer = store.writer().await.unwrap();
    writer.write(&batches.iter().collect::<Vec<_>>(), &life(), at(seconds)).await.unwrap();
}

/// Step 1, around all others, that is not about GenAI.
fn frame(project: ProjectId) -> Step {
    let mut frame = span(project, 1, 1);
    frame.kind = StepType::Unknown;
    frame.facts.genai = false;
    frame
}

/// Step `number` below `parent`.
fn below(parent: u64, step: Step) -> Step {
    Step { parent_id: Some(format!("{parent:016x}")), ..step }
}

fn received(seconds: i64, project: ProjectId, steps: Vec<Step>) -> Batch {
    Batch { received_at: at(seconds), ..batch(project, steps) }
}

fn part(number: u64) -> Uuid {
    run_id_of_root(Uuid::from_u128(1), &format!("{number:016x}"))
}

async fn find(store: &dyn Store, project: ProjectId, run_id: Uuid) -> Run {
    store.run(project, run_id).await.unwrap().expect("the run is stored").run
}

async fn listed(store: &dyn Store, project: ProjectId) -> BTreeMap<Uuid, Run> {
    let filter = RunFilter { limit: 100, after: None, status: None, model: None };
    let page = store.runs(project, &filter).await.unwrap();
    page.runs.into_iter().map(|run| (run.key.run_id, run)).collect()
}

pub async fn a_trace_is_listed_by_its_parts(store: &dyn Store) {
    let project = project(store, "p").await;
    let steps = vec![frame(project), span(project, 1, 2), span(project, 1, 3), below(3, span(project, 1, 4))];
    write(store, 100, &[batch(project, steps)]).await;
    let runs = listed(store, project).await;
    assert_eq!(runs.keys().copied().collect::<std::collections::BTreeSet<_>>(), [part(2), part(3)].into());
    assert_eq!((runs[&part(2)].step_count, runs[&part(2)].usage.total), (1, Some(10)));
    assert_eq!((runs[&part(3)].step_count, runs[&part(3)].status), (2, Status::Success));
    for run in runs.values() {
        assert_eq!((run.kinship.part_of, run.due_at), (Some(Uuid::from_u128(1)), None));
        assert_eq!(run.metadata["trace_id"], run.trace_id.clone().unwrap());
    }
    let trace = row(store, project, 1).await;
    assert_eq!((trace.step_count, trace.worthy, trace.kinship.split), (4, false, true), "still there to be read");
}

async fn news_of_one_part_leaves_its_siblings(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, 100, &[batch(project, vec![frame(project), span(project, 1, 2)])]).await;
    let first = find(store, project, part(2)).await;
    write(store, 200, &[received(200, project, vec![span(project, 1, 3)])]).await;
    assert_eq!(find(store, project, part(2)).await, first);
    write(store, 300, &[received(300, project, vec![below(3, span(project, 1, 4))])]).await;
    let second = find(store, project, part(3)).await;
    assert_eq!((second.step_count, second.revision, second.received_at), (2, 1, at(300)));
    assert_eq!(find(store, project, part(2)).await, first);
    write(store, 400, &[received(400, project, vec![below(3, span(project, 1, 4))])]).await;
    assert_eq!(find(store, project, part(3)).await, second, "the same again");
}

pub async fn a_late_ancestor_takes_earlier_runs_in(store: &dyn Store) {
    let project = project(store, "p").await;
    let steps = vec![frame(project), below(9, span(project, 1, 2)), below(9, span(project, 1, 3))];
    write(store, 100, &[batch(project, steps)]).await;
    assert_eq!(listed(store, project).await.len(), 2);
    write(store, 101, &[received(101, project, vec![span(project, 1, 9)])]).await;
    let runs = listed(store, project).await;
    assert_eq!(runs.keys().copied().collect::<Vec<_>>(), [part(9)]);
    assert_eq!(runs[&part(9)].step_count, 3);
    for number in [2, 3] {
        assert_eq!(find(store, project, part(number)).await.kinship.merged_into, Some(part(9)));
    }
}

async fn any_order_gives_the_same_parts(store: &dyn Store) {
    let mut seen = Vec::new();
    for (name, order) in [("a", [1, 2, 3, 4, 9]), ("b", [9, 4, 3, 2, 1]), ("c", [4, 2, 9, 1, 3])] {
        let project = project(store, name).await;
        for number in order {
            let step = match number {
                1 => frame(project),
                9 => span(project, 1, 9),
                3 | 4 => below(9, span(project, 1, number)),
                other => span(project, 1, other),
            };
            write(store, 100, &[batch(project, vec![step])]).await;
        }
        let key = RunKey { project: ProjectId(0), run_id: Uuid::nil() };
        let plain = |run: Run| Run { key, ..run };
        let runs = listed(store, project).await.into_iter().map(|(id, run)| (id, plain(run)));
        seen.push(runs.collect::<Vec<_>>());
    }
    assert_eq!(seen[0].len(), 2);
    assert_eq!(seen[1], seen[0]);
    assert_eq!(seen[2], seen[0]);
}

async fn a_part_is_given_up_when_its_time_has_come(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, 100, &[batch(project, vec![frame(project), unended(project, 1, 2)])]).await;
    assert_eq!(find(store, project, part(2)).await.status, Status::Running);
    write(store, 700, &[received(700, project, vec![span(project, 1, 3)])]).await;
    let trace = row(store, project, 1).await;
    assert_eq!(trace.due_at, Some(at(1_000)), "the silence of the part, though its trace is alive");
    assert_eq!(store.sweep(&life(), at(1_000), 10).await.unwrap(), 1);
    assert_eq!(find(store, project, part(2)).await.status, Status::Timeout);
    assert_eq!(find(store, project, part(3)).await.status, Status::Success);
}

async fn a_changed_setting_makes_one_run_again(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, 100, &[batch(project, vec![frame(project), span(project, 1, 2)])]).await;
    write_at(store, at(101), &[batch(project, vec![span(project, 1, 3)])]).await;
    let trace = Uuid::from_u128(1);
    assert_eq!(listed(store, project).await.keys().copied().collect::<Vec<_>>(), [trace]);
    assert_eq!(find(store, project, part(2)).await.kinship.merged_into, Some(trace));
    write(store, 102, &[batch(project, vec![span(project, 1, 4)])]).await;
    assert_eq!(listed(store, project).await.len(), 3);
    assert_eq!(find(store, project, part(2)).await.kinship.merged_into, None);
}

async fn without_the_scope_nothing_is_taken_apart(store: &dyn Store) {
    let project = project(store, "p").await;
    let steps = vec![frame(project), span(project, 1, 2), span(project, 1, 3)];
    write_at(store, at(100), &[batch(project, steps)]).await;
    assert_eq!(listed(store, project).await.keys().copied().collect::<Vec<_>>(), [Uuid::from_u128(1)]);
    assert!(store.run(project, part(2)).await.unwrap().is_none());
    assert!(!row(store, project, 1).await.kinship.split);
}
