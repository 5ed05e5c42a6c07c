//! Steps: stored once, whole, and only in their own project.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde_json::{Value, json};
use uuid::Uuid;
use vectoros::model::batch::Written;
use vectoros::model::run::Run;
use vectoros::model::step::{Facts, Step, Usage};
use vectoros::store::Store;

use super::on_both;
use super::samples::*;

on_both!(
    a_write_of_nothing_is_fine,
    every_column_comes_back,
    a_resend_changes_nothing,
    copies_inside_one_write_count_once,
    a_better_version_replaces_in_either_order,
    a_split_trace_gives_the_same_run_in_either_order,
    versions_of_different_days_are_one_step,
    the_same_trace_in_two_projects_is_two_runs,
    a_nul_costs_neither_the_step_nor_its_neighbours,
    unusual_times_are_kept,
    many_rows_fit_into_one_write,
);

async fn a_write_of_nothing_is_fine(store: &dyn Store) {
    let project = project(store, "p").await;
    assert_eq!(write(store, &[]).await, []);
    assert_eq!(write(store, &[batch(project, vec![])]).await, [Written::default()]);
}

async fn every_column_comes_back(store: &dyn Store) {
    let project = project(store, "p").await;
    let step = Step {
        error: Some("it broke".into()),
        position: 7,
        latency_ms: Some(0.1 + 0.2),
        usage: Usage {
            total: Some(i64::MAX),
            input: Some(1),
            output: Some(2),
            cache_read: Some(3),
            cache_write: Some(4),
            reasoning: Some(0),
        },
        cost: Some(1e-7),
        provider: Some("openai".into()),
        agent: Some("planner".into()),
        input: Some(String::new()),
        output: Some("“quotes” \\ 😀 \u{7} \n".into()),
        facts: Facts { genai: true, tags: vec!["a".into()], time_to_first_token_ms: Some(12.5), ..Facts::default() },
        detail: json!({"b": {"x": [1, 2.5, null, "é"]}, "a": "\u{1}"}).to_string(),
        ..span(project, 1, 2)
    };
    let body = r#"{"resource": {"service.name": "shop"}}"#;
    let batch = with_origin(batch(project, vec![step]), body);
    write(store, std::slice::from_ref(&batch)).await;

    let found = stored(store, project, 1).await;
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(&found.steps[0].detail), json(&batch.steps[0].detail));
    assert_eq!(Step { detail: batch.steps[0].detail.clone(), ..found.steps[0].clone() }, batch.steps[0]);
    assert_eq!(found.origins.len(), 1);
    assert_eq!(found.origins[0].0, batch.origins[0].id);
    assert_eq!(json(&found.origins[0].1), json(body));
}

async fn a_resend_changes_nothing(store: &dyn Store) {
    let project = project(store, "p").await;
    let batches = [batch(project, (1..=5).map(|n| span(project, 1, n)).collect())];
    assert_eq!(counts(&write(store, &batches).await[0]), (5, 0));
    let before = row(store, project, 1).await;
    assert_eq!(before.step_count, 5);

    // The reply to COMMIT was lost: the writer connects anew and writes the very same later.
    let again = write_at(store, at(160), &batches).await;
    assert_eq!(counts(&again[0]), (0, 5));
    assert_eq!(row(store, project, 1).await, before);
}

async fn copies_inside_one_write_count_once(store: &dyn Store) {
    let project = project(store, "p").await;
    let [a, b, c] = [1, 2, 3].map(|n| span(project, 1, n));
    let batches = [batch(project, vec![b.clone(), a.clone(), b.clone()]), batch(project, vec![c, b])];
    let written = write(store, &batches).await;
    assert_eq!(written.iter().map(counts).collect::<Vec<_>>(), [(2, 1), (1, 1)]);
    assert_eq!(row(store, project, 1).await.step_count, 3);
}

pub async fn a_better_version_replaces_in_either_order(store: &dyn Store) {
    let root = |project| span(project, 1, 1);
    let (early, late, at_once) =
        (project(store, "early first").await, project(store, "late first").await, project(store, "at once").await);

    write(store, &[batch(early, vec![unended(early, 1, 1)])]).await;
    let replaced = write(store, &[batch(early, vec![root(early)])]).await;
    assert_eq!(counts(&replaced[0]), (1, 0), "the ended version is better");
    let loses = write(store, &[batch(early, vec![unended(early, 1, 1)])]).await;
    assert_eq!(counts(&loses[0]), (0, 1), "it stays so");

    write(store, &[batch(late, vec![root(late)])]).await;
    for _ in 0..2 {
        let loses = write(store, &[batch(late, vec![unended(late, 1, 1)])]).await;
        assert_eq!(counts(&loses[0]), (0, 1));
    }

    let batches = [batch(at_once, vec![unended(at_once, 1, 1)]), batch(at_once, vec![root(at_once)])];
    let written = write(store, &batches).await;
    assert_eq!(written.iter().map(counts).collect::<Vec<_>>(), [(1, 0), (1, 0)]);

    let mut hashes = BTreeSet::new();
    for project in [early, late, at_once] {
        let found = stored(store, project, 1).await;
        assert_eq!(found.steps.len(), 1);
        assert_eq!(found.steps[0].end_ns, root(project).end_ns);
        assert!(found.run.ended_at.is_some(), "the run was assembled again");
        hashes.insert(found.steps[0].content_hash);
    }
    assert_eq!(hashes.len(), 1, "the same step in any order");
}

/// The row without its project and without the times of the write.
fn content(run: Run) -> Run {
    let time = at(0);
    Run { key: run_key(vectoros::model::id::ProjectId(0), 1), created_at: time, updated_at: time, ..run }
}

async fn a_split_trace_gives_the_same_run_in_either_order(store: &dyn Store) {
    let mut rows = Vec::new();
    for (name, order) in [("whole", vec![1..=6]), ("forward", vec![1..=3, 4..=6]), ("backward", vec![4..=6, 1..=3])] {
        let project = project(store, name).await;
        for numbers in order {
            let written = write(store, &[batch(project, numbers.map(|n| span(project, 1, n)).collect())]).await;
            assert_eq!(written[0].duplicates, 0);
        }
        rows.push(content(row(store, project, 1).await));
    }
    assert_eq!(rows[0].step_count, 6);
    assert_eq!(rows[0].usage.total, Some(50));
    assert_eq!(rows[1], rows[0]);
    assert_eq!(rows[2], rows[0]);
}

async fn versions_of_different_days_are_one_step(store: &dyn Store) {
    let project = project(store, "p").await;
    let ended = span(project, 1, 1);
    let day_before = ended.day.pred_opt().unwrap();
    let start_unknown = Step { start_ns: None, day: day_before, ..unended(project, 1, 1) };
    write(store, &[batch(project, vec![start_unknown])]).await;
    write(store, &[batch(project, vec![ended.clone()])]).await;
    let found = stored(store, project, 1).await;
    assert_eq!(found.steps.len(), 1);
    assert_eq!(found.steps[0].end_ns, ended.end_ns);
    assert_eq!(found.run.step_count, 1);
    assert!(found.run.first_day <= day_before && found.run.last_day >= ended.day);
}

async fn the_same_trace_in_two_projects_is_two_runs(store: &dyn Store) {
    let (mine, theirs) = (project(store, "mine").await, project(store, "theirs").await);
    write(store, &[batch(mine, vec![span(mine, 1, 1), span(mine, 1, 2)])]).await;
    assert!(store.run(theirs, Uuid::from_u128(1)).await.unwrap().is_none());

    let written = write(store, &[batch(theirs, vec![span(theirs, 1, 1)])]).await;
    assert_eq!(counts(&written[0]), (1, 0), "another project's copy is no copy");
    assert_eq!(row(store, mine, 1).await.step_count, 2);
    assert_eq!(row(store, theirs, 1).await.step_count, 1);
}

async fn a_nul_costs_neither_the_step_nor_its_neighbours(store: &dyn Store) {
    let project = project(store, "p").await;
    let nul = || Some("a\0b".to_owned());
    let mut hostile = Step {
        id: "x\0y".into(),
        name: "\0".into(),
        error: nul(),
        model: nul(),
        provider: nul(),
        agent: nul(),
        input: nul(),
        output: nul(),
        detail: r#"{"k\u0000": "v\u0000", "kept": "\\u0000"}"#.into(),
        ..span(project, 1, 2)
    };
    hostile.facts.run_metadata.insert("k\0".into(), json!("v\0"));
    hostile.facts.session_id = nul();
    let batches = [batch(project, vec![hostile]), batch(project, vec![span(project, 2, 1)])];
    assert_eq!(write(store, &batches).await.iter().map(counts).collect::<Vec<_>>(), [(1, 0), (1, 0)]);
    assert_eq!(write(store, &batches).await.iter().map(counts).collect::<Vec<_>>(), [(0, 1), (0, 1)]);
    let found = stored(store, project, 1).await;
    assert_eq!(found.steps[0].id, "x\u{FFFD}y");
    assert_eq!(found.steps[0].input.as_deref(), Some("a\u{FFFD}b"));
    let detail: Value = serde_json::from_str(&found.steps[0].detail).unwrap();
    assert_eq!(detail, json!({"k\u{FFFD}": "v\u{FFFD}", "kept": "\\u0000"}));

    let mut wild = declared(vectoros::model::step::Status::Success, 1);
    wild.input = "in\0put".into();
    wild.metadata.insert("k\0".into(), json!(["v\0"]));
    wild.tags = vec!["t\0".into()];
    let batches = [submit(project, 3, wild, vec![native_step(project, 3, "s\0", 1)])];
    write(store, &batches).await;
    let found = row(store, project, 3).await;
    assert_eq!(found.input, "in\u{FFFD}put");
    write(store, &batches).await;
    assert_eq!(row(store, project, 3).await, found);
}

async fn unusual_times_are_kept(store: &dyn Store) {
    let project = project(store, "p").await;
    let far = NaiveDate::from_ymd_opt(2554, 7, 21).unwrap();
    let long_ago = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    let cases = [
        (Some(0), Some(1), long_ago),
        (Some(1 << 63), Some((1 << 63) + 1), far),
        (Some(u64::MAX), Some(u64::MAX), far),
        (None, Some(u64::MAX), far),
    ];
    for (number, (start_ns, end_ns, day)) in (1_u128..).zip(cases) {
        let step = Step { start_ns, end_ns, day, ..span(project, number, 1) };
        write(store, &[batch(project, vec![step.clone()])]).await;
        let written = write(store, &[batch(project, vec![step])]).await;
        assert_eq!(counts(&written[0]), (0, 1), "case {number}");
        let found = stored(store, project, number).await;
        assert_eq!((found.steps[0].start_ns, found.steps[0].end_ns), (start_ns, end_ns), "case {number}");
    }
}

async fn many_rows_fit_into_one_write(store: &dyn Store) {
    let project = project(store, "p").await;
    let steps: Vec<Step> = (1..=3000).map(|n| span(project, u128::from(n / 10 + 1), n)).collect();
    let written = write(store, &[batch(project, steps)]).await;
    assert_eq!(counts(&written[0]), (3000, 0));
    assert_eq!(stored(store, project, 101).await.steps.len(), 10);
}
