//! Runs that are longer than is assembled: the earliest steps as ever, sums of the rest.

use vectoros::model::step::{Status, Step};
use vectoros::store::Tuning;

use super::samples::*;
use crate::database::{Database, on_both_stores};

pub async fn the_rest_of_a_run_is_added_up(url: &str) {
    let database = Database::at(url);
    let mut found = Vec::new();
    for (name, assembled_steps_max) in [("whole", 5_000), ("in part", 40)] {
        let store = database.store(Tuning { assembled_steps_max, ..TUNING }).await;
        let store = store.as_ref();
        let project = project(store, name).await;
        let steps = |numbers: std::ops::RangeInclusive<u64>| -> Vec<Step> {
            let one = |number| {
                let step = span(project, 1, number);
                let cost = (number > 1).then_some(0.5);
                match number {
                    7 | 120 => Step { status: Status::Error, error: Some("boom".into()), cost, ..step },
                    _ => Step { cost, ..step },
                }
            };
            numbers.map(one).collect()
        };
        write(store, &[batch(project, steps(1..=30))]).await;
        // In any order, over two days.
        let next_day = Step { day: at(86_400).date_naive(), ..span(project, 1, 130) };
        write_at(store, at(101), &[batch(project, steps(80..=129)), batch(project, vec![next_day])]).await;
        write_at(store, at(102), &[batch(project, steps(31..=79))]).await;
        assert_eq!(store.sweep(&LIFE, at(200), 10).await.unwrap(), 1);
        found.push(row(store, project, 1).await);

        let native = (0..30).map(|n| native_step(project, 9, &format!("s{n}"), 1)).collect();
        write(store, &[submit(project, 9, declared(Status::Running, 1), native)]).await;
        let more = (30..60).map(|n| native_step(project, 9, &format!("s{n}"), 1)).collect();
        write(store, &[append(project, 9, more)]).await;
        assert_eq!(store.sweep(&LIFE, at(201), 10).await.unwrap(), 1);
        assert_eq!(row(store, project, 9).await.step_count, 60, "{name}");
    }
    let [whole, part] = &found[..] else { panic!("two runs") };
    assert_eq!((part.step_count, part.error_count), (130, 2));
    assert_eq!(part.usage, whole.usage);
    assert_eq!((part.usage.total, part.usage.input, part.usage.output), (Some(1_290), Some(774), Some(516)));
    assert_eq!((part.cost, whole.cost), (Some(64.0), Some(64.0)));
    let told = |run: &vectoros::model::run::Run| {
        let run = run.clone();
        (run.status, run.started_at, run.ended_at, run.final_at, run.name, run.model, run.agent, run.last_day)
    };
    assert_eq!(told(part), told(whole));
    assert_eq!((&part.metadata["summed_steps"], &part.metadata["model_calls"]), (&90.into(), &129.into()));
    assert_eq!(whole.metadata.get("summed_steps"), None);
}
on_both_stores!(the_rest_of_a_run_is_added_up);
