//! Steps of an older version of the mapping are made anew: what comes out is what a fresh ingest would store.

use vectoros::model::id::{ProjectId, RunKey};
use vectoros::model::step::Step;
use vectoros::store::{Remap, Remapped, Store, StoreError, StoredRun};

use super::samples::*;
use crate::database::{Database, on_both_stores, sql};

/// A run that is longer than what one part takes.
const LONG: u128 = 900;
const LONG_STEPS: u64 = 1_100;
const SHORT: std::ops::Range<u128> = 1..40;

/// As an old release would have left it: steps and runs that say the wrong thing.
const DOCTOR: &str = "UPDATE steps SET mapping = 1, type = 'unknown', model = NULL, provider = NULL, tokens = 7, \
    input_tokens = NULL, agent = 'nobody', facts = '{}' WHERE source = 'otlp'; \
    UPDATE runs SET worthy = FALSE, name = 'wrong', tokens = 7, model = 'unknown' WHERE source = 'otlp'";

/// A trace of five spans, some of them with a version that lost.
fn steps_of(project: ProjectId, trace: u128) -> Vec<Step> {
    let mut steps: Vec<Step> = (1..=5).map(|number| span(project, trace, number)).collect();
    if trace.is_multiple_of(3) {
        steps.push(unended(project, trace, 1));
        steps.push(unended(project, trace, 4));
    }
    steps
}

async fn fill(store: &dyn Store, project: ProjectId) {
    for trace in SHORT {
        write(store, &[batch(project, steps_of(project, trace))]).await;
    }
    let long: Vec<Step> = (1..=LONG_STEPS).map(|number| span(project, LONG, number)).collect();
    for portion in long.chunks(500) {
        write(store, &[batch(project, portion.to_vec())]).await;
    }
    store.sweep(&LIFE, at(1_000), 1_000).await.unwrap();
}

/// What a reader sees, without times of receipt.
fn content(stored: StoredRun) -> (String, Vec<Step>) {
    let mut run = stored.run;
    run.key = RunKey { project: ProjectId(0), ..run.key };
    (run.created_at, run.updated_at, run.received_at, run.due_at) = (at(0), at(0), at(0), None);
    run.final_at = None;
    run.metadata.remove("revision");
    run.revision = 0;
    let steps = stored.steps.into_iter().map(|step| Step { run: run.key, ..step });
    (format!("{run:#?}"), steps.collect())
}

async fn part(store: &dyn Store, which: &Remap, after: Option<RunKey>, seconds: i64) -> Remapped {
    store.remap(which, after, &LIFE, at(seconds)).await.unwrap()
}

/// All parts, one after the other.
async fn remap(store: &dyn Store, which: &Remap, seconds: i64) -> Remapped {
    let (mut sum, mut after) = (Remapped::default(), None);
    loop {
        let part = part(store, which, after, seconds).await;
        after = part.after;
        (sum.steps, sum.changed, sum.runs) = (sum.steps + part.steps, sum.changed + part.changed, sum.runs + part.runs);
        if part.is_done {
            return sum;
        }
    }
}

async fn all(store: &dyn Store, project: ProjectId) -> Vec<(String, Vec<Step>)> {
    let mut all = Vec::new();
    for trace in SHORT.chain([LONG]) {
        all.push(content(stored(store, project, trace).await));
    }
    all
}

async fn old_steps_become_what_a_fresh_ingest_would_store(url: &str) {
    let database = Database::at(url);
    let store = database.store(TUNING).await;
    let store = store.as_ref();
    let project = project(store, "p").await;
    fill(store, project).await;
    let fresh = all(store, project).await;
    let total = 5 * SHORT.count() as u64 + LONG_STEPS;

    let unchanged = remap(store, &Remap::default(), 1_500).await;
    assert_eq!(unchanged, Remapped::default(), "nothing is old");
    sql(url, DOCTOR).await;
    assert_ne!(all(store, project).await, fresh);

    let done = remap(store, &Remap::default(), 2_000).await;
    assert_eq!((done.steps, done.changed, done.runs), (total, total, SHORT.count() as u64 + 1));
    assert_eq!(all(store, project).await, fresh);
    assert_eq!(row(store, project, 1).await.updated_at, at(2_000));
    let page = store.runs(project, &super::copies::ALL).await.unwrap();
    assert_eq!(page.runs.len(), SHORT.count() + 1, "they are listed again");
    assert_eq!(remap(store, &Remap::default(), 3_000).await, Remapped::default(), "once");

    // Old, and yet right: readers see no change.
    sql(url, "UPDATE steps SET mapping = 1").await;
    let done = remap(store, &Remap::default(), 4_000).await;
    assert_eq!((done.steps, done.changed), (total, 0));
    assert_eq!(row(store, project, 1).await.updated_at, at(2_000));
}
on_both_stores!(old_steps_become_what_a_fresh_ingest_would_store);

async fn a_remap_that_is_killed_goes_on_while_collectors_write(url: &str) {
    let database = Database::at(url);
    let store = database.store(TUNING).await;
    let project = project(store.as_ref(), "p").await;
    fill(store.as_ref(), project).await;
    let expected = all(store.as_ref(), project).await;
    sql(url, DOCTOR).await;

    // A collector goes on: spans that are known already, better versions of old ones, and new runs.
    let writing = {
        let database = Database::at(url);
        tokio::spawn(async move {
            let store = database.store(TUNING).await;
            for round in 0..3_u128 {
                for trace in SHORT.rev() {
                    let mut steps = steps_of(project, trace);
                    steps.push(span(project, 10_000 + trace + round * 1_000, 2));
                    let batch = batch(project, steps);
                    let mut writer = store.writer().await.unwrap();
                    // A busy SQLite file is worth another try, as the collector's writers do.
                    while let Err(error) = writer.write(&[&batch], &LIFE, at(2_000)).await {
                        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                    }
                }
            }
        })
    };
    // The remap stops in the middle, time and again, also inside the long run; each time it starts from nothing.
    let (mut parts, mut lost) = (0, 0);
    let (which, mut after) = (Remap::default(), None);
    loop {
        let remapping = part(store.as_ref(), &which, after, 2_000);
        // Dropped while it waits for the database: what was under way is rolled back.
        let Ok(part) = tokio::time::timeout(std::time::Duration::from_millis(200 + 100 * lost), remapping).await else {
            (after, lost) = (None, lost + 1);
            continue;
        };
        parts += 1;
        after = if parts % 3 == 0 { None } else { part.after };
        if part.is_done {
            break;
        }
        assert!(parts < 1_000, "it makes no progress");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    writing.await.unwrap();
    remap(store.as_ref(), &Remap::default(), 2_500).await;
    assert_eq!(all(store.as_ref(), project).await, expected);
    for trace in SHORT {
        assert_eq!(stored(store.as_ref(), project, 10_000 + trace).await.steps.len(), 1);
    }
    assert_eq!(remap(store.as_ref(), &Remap::default(), 3_000).await, Remapped::default());
}
on_both_stores!(a_remap_that_is_killed_goes_on_while_collectors_write);

pub async fn only_what_is_asked_for_is_mapped_again(url: &str) {
    let database = Database::at(url);
    let store = database.store(TUNING).await;
    let store = store.as_ref();
    let (mine, other) = (project(store, "p").await, project(store, "other").await);
    write(store, &[batch(mine, steps_of(mine, 1)), batch(other, steps_of(other, 1))]).await;
    write(store, &[submit(mine, 77, declared(Default::default(), 1), vec![native_step(mine, 77, "a", 1)])]).await;
    sql(url, DOCTOR).await;
    let tomorrow = at(100).date_naive().succ_opt();
    assert_eq!(remap(store, &Remap { since: tomorrow, project: None }, 2_000).await, Remapped::default());
    let today = Some(at(100).date_naive());
    assert_eq!(remap(store, &Remap { since: today, project: Some(mine) }, 2_000).await.runs, 1);
    assert_eq!(row(store, mine, 1).await.name, "step 1");
    assert_eq!(row(store, other, 1).await.name, "wrong");
    assert_eq!(remap(store, &Remap::default(), 2_000).await.runs, 1, "the other project's; native steps are no spans");
    assert_eq!(row(store, other, 1).await.name, "step 1");
}
on_both_stores!(only_what_is_asked_for_is_mapped_again);

/// A new version of a span meets an old row: both are read by the present rules.
async fn a_late_version_makes_an_old_step_a_present_one(url: &str) {
    let database = Database::at(url);
    let store = database.store(TUNING).await;
    let store = store.as_ref();
    let project = project(store, "p").await;
    write(store, &[batch(project, vec![span(project, 1, 1), unended(project, 1, 2)])]).await;
    sql(url, DOCTOR).await;
    write(store, &[batch(project, vec![span(project, 1, 2)])]).await;
    let step = stored(store, project, 1).await.steps.remove(1);
    assert_eq!((step.kind.as_str(), step.usage.total), ("model_call", Some(10)));
    assert_eq!(remap(store, &Remap::default(), 2_000).await.steps, 1, "the root alone is old");
}
on_both_stores!(a_late_version_makes_an_old_step_a_present_one);
