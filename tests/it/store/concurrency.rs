//! Several writers at once: no deadlock, nothing lost, nothing counted twice.

use std::collections::BTreeSet;

use vectoros::model::batch::Batch;
use vectoros::model::step::Step;
use vectoros::store::Store;

use super::on_both;
use super::samples::*;

on_both!(two_writers_with_the_same_spans_count_each_once, two_writers_on_one_run_lose_nothing);

/// Writes each list of writes by a writer of its own, all at once. Steps inserted by all together.
async fn write_at_once(store: &dyn Store, lists: Vec<Vec<Vec<Batch>>>) -> u64 {
    let mut tasks = Vec::new();
    for list in lists {
        let mut writer = store.writer().await.unwrap();
        tasks.push(tokio::spawn(async move {
            let mut inserted = 0;
            for batches in list {
                let written =
                    writer.write(&batches.iter().collect::<Vec<_>>(), &LIFE, at(100)).await.expect("no deadlock");
                inserted += written.iter().map(|written| written.inserted).sum::<u64>();
            }
            inserted
        }));
    }
    let mut inserted = 0;
    for task in tasks {
        inserted += task.await.unwrap();
    }
    inserted
}

async fn two_writers_with_the_same_spans_count_each_once(store: &dyn Store) {
    let project = project(store, "p").await;
    let rounds = |is_reversed: bool| -> Vec<Vec<Batch>> {
        (0..15)
            .map(|round| {
                // Twenty runs of three steps; the windows of neighbouring rounds overlap.
                let mut steps: Vec<Step> = (round * 10..round * 10 + 20)
                    .flat_map(|run| (1..=3).map(move |number| span(project, run + 1, number)))
                    .collect();
                if is_reversed {
                    steps.reverse();
                }
                let (one, other) = steps.split_at(30);
                vec![
                    with_origin(batch(project, one.to_vec()), "{\"o\": 1}"),
                    with_origin(batch(project, other.to_vec()), "{\"o\": 2}"),
                ]
            })
            .collect()
    };
    let inserted = write_at_once(store, vec![rounds(false), rounds(true)]).await;
    assert_eq!(inserted, 160 * 3);
    for run in [1, 80, 160] {
        assert_eq!(row(store, project, run).await.step_count, 3);
    }
}

async fn two_writers_on_one_run_lose_nothing(store: &dyn Store) {
    let project = project(store, "p").await;
    let odd = (0..8).map(|n| vec![batch(project, vec![span(project, 1, 2 * n + 1)])]).collect();
    let even = (1..9).map(|n| vec![batch(project, vec![span(project, 1, 2 * n)])]).collect();
    assert_eq!(write_at_once(store, vec![odd, even]).await, 16);
    let found = stored(store, project, 1).await;
    assert_eq!(found.run.step_count, 16, "the last writer saw the steps of both");
    assert_eq!(found.run.usage.total, Some(150));
    assert_eq!(found.steps.iter().map(|step| &step.id).collect::<BTreeSet<_>>().len(), 16);
}
