//! Native runs: created once, finished once, never overwritten.

use vectoros::model::batch::{Batch, NativeOutcome, NativeOutcome::*, Written};
use vectoros::model::id::ProjectId;
use vectoros::model::step::{Source, Status};
use vectoros::store::Store;

use super::on_both;
use super::samples::*;

on_both!(
    a_submission_is_created_repeated_and_defended,
    a_running_run_is_updated_and_finished,
    appending_needs_a_running_run,
    a_trace_is_no_native_run,
    batches_of_one_write_count_one_after_the_other,
    a_lost_commit_reply_is_answered_by_writing_again,
);

async fn outcome(store: &dyn Store, batch: Batch) -> (NativeOutcome, u64, u64) {
    seen(write(store, &[batch]).await[0])
}

fn seen(written: Written) -> (NativeOutcome, u64, u64) {
    (written.native.expect("a native outcome"), written.inserted, written.duplicates)
}

fn two_steps(project: ProjectId) -> Vec<vectoros::model::step::Step> {
    vec![native_step(project, 9, "a", 1), native_step(project, 9, "b", 1)]
}

async fn a_submission_is_created_repeated_and_defended(store: &dyn Store) {
    let project = project(store, "p").await;
    let first = submit(project, 9, declared(Status::Success, 1), two_steps(project));
    assert_eq!(outcome(store, first.clone()).await, (Created, 2, 0));
    let before = row(store, project, 9).await;
    assert_eq!((before.source, before.status, before.step_count), (Source::Native, Status::Success, 2));
    assert_eq!(before.declared, Some(declared(Status::Success, 1)));
    assert_eq!(before.created_at, at(100));

    assert_eq!(outcome(store, first).await, (Unchanged, 0, 2));
    let other = submit(project, 9, declared(Status::Success, 2), vec![native_step(project, 9, "c", 1)]);
    assert_eq!(outcome(store, other).await, (Conflict, 0, 0));
    let found = stored(store, project, 9).await;
    assert_eq!(found.run, before);
    assert_eq!(found.steps.len(), 2, "nothing of the refused submission is stored");
}

pub async fn a_running_run_is_updated_and_finished(store: &dyn Store) {
    let project = project(store, "p").await;
    assert_eq!(
        outcome(store, submit(project, 9, declared(Status::Running, 1), two_steps(project))).await,
        (Created, 2, 0)
    );
    let created = row(store, project, 9).await;

    // A day later: the steps must meet those of the day on which the run was created.
    let mut steps = vec![native_step(project, 9, "b", 2), native_step(project, 9, "c", 1)];
    steps.push(native_step(project, 9, "a", 1));
    for step in &mut steps {
        step.day = step.day.succ_opt().unwrap();
    }
    let finish = Batch { received_at: at(86_400), ..submit(project, 9, declared(Status::Success, 2), steps) };
    let written = write_at(store, at(86_400), std::slice::from_ref(&finish)).await;
    assert_eq!(seen(written[0]), (Updated, 2, 1));

    let found = stored(store, project, 9).await;
    let names: Vec<(&str, &str)> = found.steps.iter().map(|step| (&*step.id, &*step.name)).collect();
    assert_eq!(names, [("a", "version 1"), ("b", "version 2"), ("c", "version 1")]);
    assert_eq!((found.run.status, &*found.run.input), (Status::Success, "input 2"));
    assert_eq!(found.run.created_at, created.created_at);
    assert_eq!(found.run.updated_at, at(86_400));

    assert_eq!(outcome(store, finish).await, (Unchanged, 0, 3));
}

pub async fn appending_needs_a_running_run(store: &dyn Store) {
    let project = project(store, "p").await;
    let more = || append(project, 9, vec![native_step(project, 9, "c", 1)]);
    assert_eq!(outcome(store, more()).await, (NotFound, 0, 0));
    assert!(store.run(project, run_key(project, 9).run_id).await.unwrap().is_none());

    outcome(store, submit(project, 9, declared(Status::Running, 1), two_steps(project))).await;
    assert_eq!(outcome(store, more()).await, (Updated, 1, 0));
    assert_eq!(outcome(store, more()).await, (Updated, 0, 1));
    assert_eq!(row(store, project, 9).await.step_count, 3);

    outcome(store, submit(project, 9, declared(Status::Error, 2), vec![])).await;
    assert_eq!(outcome(store, append(project, 9, vec![native_step(project, 9, "d", 1)])).await, (Conflict, 0, 0));
    assert_eq!(stored(store, project, 9).await.steps.len(), 3);
}

async fn a_trace_is_no_native_run(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, &[batch(project, vec![span(project, 9, 1)])]).await;
    let before = row(store, project, 9).await;
    let submission = submit(project, 9, declared(Status::Success, 1), two_steps(project));
    assert_eq!(outcome(store, submission).await, (Conflict, 0, 0));
    assert_eq!(outcome(store, append(project, 9, two_steps(project))).await, (Conflict, 0, 0));
    let found = stored(store, project, 9).await;
    assert_eq!((found.run, found.steps.len()), (before, 1));
}

fn history(project: ProjectId) -> [Batch; 6] {
    [
        append(project, 9, vec![native_step(project, 9, "early", 1)]),
        submit(project, 9, declared(Status::Running, 1), two_steps(project)),
        append(project, 9, vec![native_step(project, 9, "c", 1)]),
        submit(project, 9, declared(Status::Success, 2), vec![native_step(project, 9, "a", 2)]),
        submit(project, 9, declared(Status::Success, 2), vec![native_step(project, 9, "a", 2)]),
        append(project, 9, vec![native_step(project, 9, "late", 1)]),
    ]
}

async fn batches_of_one_write_count_one_after_the_other(store: &dyn Store) {
    let (together, alone) = (project(store, "together").await, project(store, "alone").await);
    let written = write(store, &history(together)).await;
    let expected =
        [(NotFound, 0, 0), (Created, 2, 0), (Updated, 1, 0), (Updated, 1, 0), (Unchanged, 0, 1), (Conflict, 0, 0)];
    assert_eq!(written.into_iter().map(seen).collect::<Vec<_>>(), expected);
    let mut one_by_one = Vec::new();
    for batch in history(alone) {
        one_by_one.push(outcome(store, batch).await);
    }
    assert_eq!(one_by_one, expected);

    let names = |found: vectoros::store::StoredRun| -> Vec<(String, String)> {
        found.steps.into_iter().map(|step| (step.id, step.name)).collect()
    };
    let found = names(stored(store, together, 9).await);
    assert_eq!(found, names(stored(store, alone, 9).await));
    assert_eq!(found.len(), 3);
}

async fn a_lost_commit_reply_is_answered_by_writing_again(store: &dyn Store) {
    let project = project(store, "p").await;
    let batches = [
        submit(project, 9, declared(Status::Success, 1), two_steps(project)),
        batch(project, vec![span(project, 1, 1)]),
    ];
    write(store, &batches).await;
    let before = (row(store, project, 9).await, row(store, project, 1).await);
    let again = write_at(store, at(200), &batches).await;
    assert_eq!(seen(again[0]), (Unchanged, 0, 2));
    assert_eq!(counts(&again[1]), (0, 1));
    assert_eq!((row(store, project, 9).await, row(store, project, 1).await), before);
}
