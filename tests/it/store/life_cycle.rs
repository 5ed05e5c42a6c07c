//! Runs whose time comes without a write: unfinished ones, and large ones that writes leave to the sweeper.

use vectoros::model::batch::Batch;
use vectoros::model::step::{Status, Step};
use vectoros::store::Store;

use super::on_both;
use super::samples::*;

on_both!(
    silence_ends_a_run,
    a_sweep_that_changes_nothing_for_readers_leaves_updated_at,
    a_large_run_is_left_to_the_sweeper,
    finishing_a_large_native_run_is_seen_at_once,
    sweepers_share_the_work,
    a_run_that_changes_after_it_was_final_tells_its_revision,
);

async fn silence_ends_a_run(store: &dyn Store) {
    let project = project(store, "p").await;
    let root = unended(project, 1, 1);
    write(store, &[batch(project, vec![root, span(project, 1, 2)])]).await;
    let running = row(store, project, 1).await;
    assert_eq!((running.status, running.final_at), (Status::Running, None));
    let due_at = running.due_at.expect("somebody must look again");

    let early = due_at - chrono::TimeDelta::seconds(1);
    assert_eq!(store.sweep(&LIFE, early, 10).await.unwrap(), 0);
    let mut now = due_at;
    for _ in 0..5 {
        assert_eq!(store.sweep(&LIFE, now, 10).await.unwrap(), 1);
        match row(store, project, 1).await.due_at {
            Some(next) => now = next,
            None => break,
        }
    }
    let ended = row(store, project, 1).await;
    assert_ne!(ended.status, Status::Running);
    assert!(ended.final_at.is_some());
    assert!(ended.updated_at > running.updated_at);
    assert_eq!((ended.created_at, ended.received_at), (running.created_at, running.received_at));
    assert_eq!(store.sweep(&LIFE, now + chrono::TimeDelta::days(9), 10).await.unwrap(), 0);
}

async fn a_sweep_that_changes_nothing_for_readers_leaves_updated_at(store: &dyn Store) {
    let project = project(store, "p").await;
    let thirty: Vec<Step> = (1..=30).map(|n| span(project, 1, n)).collect();
    write_at(store, at(9_000), &[batch(project, thirty)]).await;
    let before = row(store, project, 1).await;
    let other_version = unended(project, 1, 31);
    write_at(store, at(9_001), &[batch(project, vec![other_version])]).await;
    store.sweep(&LIFE, at(9_010), 10).await.unwrap();
    let after = row(store, project, 1).await;
    assert_eq!(after.step_count, 31);
    assert_eq!(after.updated_at, at(9_010));
    assert!(after.updated_at > before.updated_at);
    if let Some(due_at) = after.due_at {
        store.sweep(&LIFE, due_at, 10).await.unwrap();
    }
}

pub async fn a_large_run_is_left_to_the_sweeper(store: &dyn Store) {
    let project = project(store, "p").await;
    let steps = |numbers: std::ops::RangeInclusive<u64>| -> Batch {
        batch(project, numbers.map(|n| span(project, 1, n)).collect())
    };
    write(store, &[steps(1..=30)]).await;
    assert_eq!(row(store, project, 1).await.step_count, 30, "a run that comes whole is finished at once");

    let next_day = Step { day: at(86_400).date_naive(), ..span(project, 1, 99) };
    let written =
        write(store, &[steps(25..=35), Batch { received_at: at(105), ..batch(project, vec![next_day]) }]).await;
    assert_eq!(written.iter().map(counts).collect::<Vec<_>>(), [(5, 6), (1, 0)]);
    let waiting = row(store, project, 1).await;
    assert_eq!(waiting.step_count, 30, "not read again by the writer");
    assert_eq!(waiting.received_at, at(105));
    assert_eq!(waiting.last_day, at(86_400).date_naive());
    assert!(waiting.due_at.is_some_and(|due_at| due_at <= at(101)));
    assert_eq!(stored(store, project, 1).await.steps.len(), 36, "but all is stored");

    // A steady stream does not put it off.
    write_at(store, at(101), &[steps(36..=36)]).await;
    assert_eq!(row(store, project, 1).await.due_at, waiting.due_at);

    assert_eq!(store.sweep(&LIFE, at(101), 10).await.unwrap(), 1);
    assert_eq!(row(store, project, 1).await.step_count, 37);
}

async fn finishing_a_large_native_run_is_seen_at_once(store: &dyn Store) {
    let project = project(store, "p").await;
    let steps = (0..30).map(|n| native_step(project, 9, &format!("s{n}"), 1)).collect();
    write(store, &[submit(project, 9, declared(Status::Running, 1), steps)]).await;
    write(store, &[submit(project, 9, declared(Status::Success, 2), vec![])]).await;
    let found = row(store, project, 9).await;
    assert_eq!((found.status, found.step_count), (Status::Success, 30));
}

async fn sweepers_share_the_work(store: &dyn Store) {
    let project = project(store, "p").await;
    let batches: Vec<Batch> = (1..=12).map(|trace| batch(project, vec![unended(project, trace, 1)])).collect();
    write(store, &batches).await;
    let late = at(1_000_000);
    let life = LIFE;
    let (one, other) = tokio::join!(store.sweep(&life, late, 5), store.sweep(&life, late, 100));
    let swept = one.unwrap() + other.unwrap();
    let rest = store.sweep(&LIFE, late, 100).await.unwrap();
    assert_eq!(swept + rest, 12, "each run once");
    for trace in 1..=12 {
        assert_ne!(row(store, project, trace).await.status, Status::Running);
    }
}

async fn a_run_that_changes_after_it_was_final_tells_its_revision(store: &dyn Store) {
    let project = project(store, "p").await;
    let revision = async || {
        let run = row(store, project, 1).await;
        assert_eq!(run.metadata.get("revision").and_then(|it| it.as_i64()).unwrap_or(0), run.revision);
        run.revision
    };
    write(store, &[batch(project, vec![span(project, 1, 1)])]).await;
    write_at(store, at(104), &[batch(project, vec![span(project, 1, 2)])]).await;
    assert_eq!(revision().await, 0, "it was not final yet");
    write_at(store, at(200), &[batch(project, vec![span(project, 1, 2)])]).await;
    assert_eq!(revision().await, 0, "a copy changes nothing");
    write_at(store, at(200), &[batch(project, vec![span(project, 1, 3)])]).await;
    assert_eq!(revision().await, 1);
    let many = |numbers: std::ops::RangeInclusive<u64>| numbers.map(|n| span(project, 1, n)).collect();
    write_at(store, at(300), &[batch(project, many(4..=40))]).await;
    assert_eq!(revision().await, 2);
    // Now it is long: the sweeper assembles it, once for what comes together.
    for n in 41..=43 {
        write_at(store, at(400), &[batch(project, many(n..=n))]).await;
        assert_eq!((revision().await, row(store, project, 1).await.final_at), (3, None), "open again");
    }
    store.sweep(&LIFE, at(401), 10).await.unwrap();
    let run = row(store, project, 1).await;
    assert_eq!((run.revision, run.step_count, run.final_at), (3, 43, Some(at(105))));
}
