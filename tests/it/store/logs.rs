//! Log records and the runs they join: whatever comes first, whatever comes twice.

use chrono::TimeDelta;
use uuid::Uuid;
use vectoros::mapping::map_logs;
use vectoros::model::batch::Batch;
use vectoros::model::id::ProjectId;
use vectoros::model::log::{LogRecord, LogRow};
use vectoros::model::run::Run;
use vectoros::model::span::Origin;
use vectoros::model::step::Step;
use vectoros::model::value::AnyValue;
use vectoros::otlp::LogGroup;
use vectoros::store::Store;

use super::on_both;
use super::samples::*;

on_both!(
    any_order_of_spans_and_records_gives_the_same_run,
    records_alone_wait_in_no_list_and_age_out,
    a_record_that_came_first_is_kept_by_its_span,
    records_of_no_trace_are_stored_once_and_age_out,
    many_records_are_left_to_the_sweeper,
    a_record_of_another_project_joins_nothing,
);

/// A record of span `number`, that many seconds later.
fn record(trace: u128, number: u64, name: &str, text: &str) -> LogRecord {
    LogRecord {
        observed_ns: ns(at(i64::try_from(number).unwrap())) + text.len() as u64,
        event_name: name.to_owned(),
        body: AnyValue::Kvlist(vec![("content".to_owned(), AnyValue::Str(text.to_owned()))]),
        trace_id: (trace > 0).then_some(trace.to_be_bytes()),
        span_id: (number > 0).then_some(number.to_be_bytes()),
        ..LogRecord::default()
    }
}

fn log_batch(project: ProjectId, records: Vec<LogRecord>) -> Batch {
    let origin = Origin { scope_name: "test.logs".to_owned(), ..Origin::default() };
    let (logs, origins) = map_logs(project, vec![LogGroup { position: 0, origin, items: records }], at(100));
    Batch { logs, origins, ..batch(project, vec![]) }
}

/// What a reader sees, without the project and the times of the write.
fn content(run: Run, steps: Vec<Step>) -> (Run, Vec<Step>) {
    let key = run_key(ProjectId(0), 1);
    let run = Run { key, created_at: at(0), updated_at: at(0), ..run };
    let mut steps: Vec<Step> = steps.into_iter().map(|step| Step { run: key, ..step }).collect();
    steps.sort_by(|a, b| a.id.cmp(&b.id));
    (run, steps)
}

fn permutations(items: Vec<usize>) -> Vec<Vec<usize>> {
    let Some(last) = items.len().checked_sub(1) else { return vec![vec![]] };
    let (item, rest) = (items[last], items[..last].to_vec());
    let insert = |shorter: Vec<usize>| {
        (0..=shorter.len()).map(move |place| [&shorter[..place], &[item], &shorter[place..]].concat())
    };
    permutations(rest).into_iter().flat_map(insert).collect()
}

async fn any_order_of_spans_and_records_gives_the_same_run(store: &dyn Store) {
    let parts = |project| {
        vec![
            batch(project, vec![span(project, 1, 1)]),
            batch(project, vec![span(project, 1, 2)]),
            log_batch(project, vec![record(1, 2, "gen_ai.user.message", "Hello")]),
            log_batch(
                project,
                vec![record(1, 2, "gen_ai.choice", "Hi there"), record(1, 0, "", "loose"), record(1, 9, "", "lost")],
            ),
        ]
    };
    let mut seen = Vec::new();
    for (number, order) in permutations((0..4).collect()).into_iter().enumerate() {
        let project = project(store, &format!("p{number}")).await;
        // One by one, or two writes of two; every third sends all of it again at the end.
        let chunk = 1 + number % 2;
        let all: Vec<Batch> = order.iter().map(|part| parts(project)[*part].clone()).collect();
        for batches in all.chunks(chunk) {
            write(store, batches).await;
        }
        if number % 3 == 0 {
            let again = write(store, &all).await;
            assert!(again.iter().all(|written| written.inserted == 0), "{again:?}");
        }
        let found = stored(store, project, 1).await;
        let row_alone = found.run.clone();
        assert_eq!(row_alone.metadata["log_count"], 4);
        assert_eq!(row_alone.metadata["logs"].as_array().unwrap().len(), 2);
        seen.push(content(found.run, found.steps));
    }
    assert_eq!(seen[0].0.input, "Hello");
    assert_eq!(seen[0].0.output.as_deref(), Some("Hi there"));
    for (number, other) in seen.iter().enumerate() {
        assert_eq!(*other, seen[0], "order {number}");
    }
}

pub async fn records_alone_wait_in_no_list_and_age_out(store: &dyn Store) {
    let project = project(store, "p").await;
    let records = || log_batch(project, vec![record(1, 2, "gen_ai.choice", "Hi")]);
    assert_eq!(counts(&write(store, &[records()]).await[0]), (1, 0));
    assert_eq!(counts(&write(store, &[records()]).await[0]), (0, 1));
    let waiting = row(store, project, 1).await;
    assert!(!waiting.worthy && waiting.step_count == 0);
    let due_at = waiting.due_at.expect("it is looked at again");
    assert_eq!(due_at, waiting.received_at + TimeDelta::from_std(LIFE.unmatched_logs).unwrap());

    assert_eq!(store.sweep(&LIFE, due_at - TimeDelta::seconds(1), 10).await.unwrap(), 0);
    assert_eq!(store.sweep(&LIFE, due_at, 10).await.unwrap(), 1);
    assert!(store.run(project, Uuid::from_u128(1)).await.unwrap().is_none());
    assert_eq!(counts(&write(store, &[records()]).await[0]), (1, 0), "the record went with its run");
}

pub async fn a_record_that_came_first_is_kept_by_its_span(store: &dyn Store) {
    let project = project(store, "p").await;
    write(store, &[log_batch(project, vec![record(1, 2, "gen_ai.choice", "Hi")])]).await;
    write(store, &[batch(project, vec![span(project, 1, 1), span(project, 1, 2)])]).await;
    store.sweep(&LIFE, at(1_000_000), 10).await.unwrap();
    assert_eq!(row(store, project, 1).await.output.as_deref(), Some("Hi"));
}

pub async fn records_of_no_trace_are_stored_once_and_age_out(store: &dyn Store) {
    let project = project(store, "p").await;
    let records = || log_batch(project, vec![record(0, 0, "", "free"), record(0, 0, "", "and easy")]);
    assert_eq!(counts(&write(store, &[records()]).await[0]), (2, 0));
    assert_eq!(counts(&write(store, &[records()]).await[0]), (0, 2));
    assert!(store.run(project, LogRow::NO_RUN).await.unwrap().is_none());
    store.sweep(&LIFE, at(101), 10).await.unwrap();
    assert_eq!(counts(&write(store, &[records()]).await[0]), (0, 2), "too young");
    store.sweep(&LIFE, at(1_000_000), 10).await.unwrap();
    assert_eq!(counts(&write(store, &[records()]).await[0]), (2, 0), "dropped");
}

async fn many_records_are_left_to_the_sweeper(store: &dyn Store) {
    let project = project(store, "p").await;
    let many = |from: usize| {
        let records = (from..from + 25).map(|n| record(1, 2, "", &"x".repeat(n)));
        log_batch(project, records.collect())
    };
    write(store, &[batch(project, vec![span(project, 1, 1), span(project, 1, 2)]), many(1)]).await;
    assert_eq!(row(store, project, 1).await.metadata["log_count"], 25);
    write(store, &[many(101)]).await;
    let waiting = row(store, project, 1).await;
    assert_eq!(waiting.metadata["log_count"], 25, "not read again by the writer");
    assert!(waiting.due_at.is_some());
    store.sweep(&LIFE, at(1_000), 10).await.unwrap();
    assert_eq!(row(store, project, 1).await.metadata["log_count"], 50);
}

async fn a_record_of_another_project_joins_nothing(store: &dyn Store) {
    let (mine, theirs) = (project(store, "mine").await, project(store, "theirs").await);
    write(store, &[batch(mine, vec![span(mine, 1, 1), span(mine, 1, 2)])]).await;
    write(store, &[log_batch(theirs, vec![record(1, 2, "gen_ai.choice", "Hi")])]).await;
    assert_eq!(row(store, mine, 1).await.output, None);
    assert_eq!(stored(store, theirs, 1).await.steps.len(), 0);
}
