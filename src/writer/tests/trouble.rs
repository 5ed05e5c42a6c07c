//! One kind of trouble at a time.

use super::model::{DEADLY, Faults, Model, POISON, UNFIT};
use super::*;

const A: ProjectId = ProjectId(1);
const B: ProjectId = ProjectId(2);

fn site(faults: Faults) -> Site {
    Site::start(Model::new(1, faults), 1)
}

#[tokio::test(start_paused = true)]
async fn a_job_that_disagrees_with_the_schema_costs_its_neighbours_nothing() {
    let site = site(Faults { delay_max: Duration::from_millis(10), ..Faults::default() });
    let begin = Instant::now();
    // The first one keeps the writer busy while the others gather.
    let (first, good, unfit, last) =
        tokio::join!(site.send(A, &[1]), site.send(A, &[2, 3]), site.send(A, &[4, 5 | UNFIT]), site.send(B, &[6]));
    assert!(first.is_ok() && last.is_ok());
    assert_eq!(good.unwrap().written.inserted, 2);
    assert_eq!(unfit.unwrap_err(), Overdue);
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    let state = site.model.state();
    assert_eq!((state.steps.len(), state.letters), (4, 0));
    assert!(site.circuit.is_closed());
}

#[tokio::test(start_paused = true)]
async fn when_nothing_commits_for_it_the_circuit_opens_and_says_why() {
    let site = site(Faults::default());
    for number in 0..3 {
        assert!(!site.circuit.is_open());
        assert!(site.send(A, &[number | UNFIT]).await.is_err());
    }
    assert!(site.circuit.is_open());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!site.circuit.is_open(), "a ping is answered");
    assert!(site.circuit.disagreement().is_some());
    assert!(site.send(A, &[7 | UNFIT]).await.is_err());
    assert!(site.circuit.is_open());
    assert!(site.send(A, &[8]).await.is_ok());
    assert!(site.circuit.is_closed() && site.circuit.disagreement().is_none());
    assert_eq!(site.model.state().letters, 0);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_refuses_much_blames_no_sender() {
    let site = site(Faults::default());
    let poisoned = |at: u64| [at * 10, at * 10 + 1, (at * 10 + 2) | POISON, at * 10 + 3];
    for at in 0..20 {
        let answer = site.send(A, &poisoned(at)).await.unwrap();
        assert_eq!((answer.written.inserted, answer.rejections.count), (3, 1));
    }
    for at in 20..25 {
        let (bad, good) = (poisoned(at), [at]);
        let (refused, good) = tokio::join!(site.send(A, &bad), site.send(B, &good));
        assert_eq!(refused.unwrap_err(), Overdue);
        assert!(good.is_ok(), "neighbours are stored");
    }
    assert_eq!(site.model.state().letters, 20);
    assert_eq!(site.counters.dead_letters.get(), 20);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(site.send(A, &poisoned(30)).await.unwrap().rejections.count, 1, "its share is small again");
    assert_eq!(site.model.state().letters, 21);
}

#[tokio::test(start_paused = true)]
async fn whose_data_was_refused_goes_alone_for_a_minute() {
    let site = site(Faults { delay_max: Duration::from_millis(10), ..Faults::default() });
    assert_eq!(site.send(A, &[1 | POISON]).await.unwrap().rejections.count, 1);
    let three = async |first: u64| {
        let [one, two, three] = [[first], [first + 1], [first + 2]];
        let sent = tokio::join!(site.send(B, &one), site.send(A, &two), site.send(B, &three));
        assert!(sent.0.is_ok() && sent.1.is_ok() && sent.2.is_ok());
        let state = site.model.state();
        let sizes: Vec<usize> = state.tries.iter().map(|attempt| attempt.jobs.len()).collect();
        sizes
    };
    let sizes = three(10).await;
    // The first request found the writer idle, or was taken with the others.
    assert!(sizes.ends_with(&[2, 1]) || sizes.ends_with(&[1, 1, 1]), "{sizes:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let sizes = three(20).await;
    assert!(sizes.last() >= Some(&2), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_panics_is_replaced_at_once() {
    let site = site(Faults::default());
    for number in 0..10 {
        let begin = Instant::now();
        assert_eq!(site.send(A, &[number | DEADLY]).await.unwrap_err(), Overdue, "told to come again");
        assert_eq!(site.send(A, &[number]).await.unwrap().written.inserted, 1);
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
    assert_eq!((site.model.state().panics, site.dropped()), (10, 10));
    assert_eq!(site.counters.queue_bytes.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn giving_up_waits_for_no_store() {
    let mut site = site(Faults { hang: 100, ..Faults::default() });
    let begin = Instant::now();
    let (held, queued, ()) = tokio::join!(site.send(A, &[1]), site.send(A, &[2]), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.queue.give_up();
    });
    assert!(held.is_err() && queued.is_err());
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
    site.end().await;
    assert!(begin.elapsed() < Duration::from_secs(8), "no second try: {:?}", begin.elapsed());
}
