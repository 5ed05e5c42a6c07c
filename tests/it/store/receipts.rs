//! Receipts, refusals and dead letters: they add up, are kept apart by project, and are read page by page.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use vectoros::model::batch::{Batch, Rejections};
use vectoros::model::id::ProjectId;
use vectoros::model::quota::Amounts;
use vectoros::model::receipt::{Counts, DeadLetter, Receipt, RefusalKey, RefusalTally, hour_of};
use vectoros::model::step::Status;
use vectoros::store::{Asked, ReceiptRow, Store};

use super::samples::{LIFE, append, at, batch, declared, native_step, project, span, submit, write};

fn sent(key_id: &str, second: i64, batch: Batch) -> Batch {
    let receipt = Receipt { key_id: key_id.into(), requests: 1, bytes: 100, ..Receipt::default() };
    Batch { received_at: at(second), receipt, ..batch }
}

fn rejecting(class: &'static str, places: std::ops::Range<u32>, batch: Batch) -> Batch {
    let mut batch = batch;
    for place in places {
        batch.receipt.rejections.add(class, || (format!("spans[{place}]"), "not readable".into()));
    }
    batch
}

fn all_of(project: ProjectId) -> Asked {
    Asked { project: Some(project), key_id: None, since: at(-86_400), until: at(86_400) }
}

async fn rows(store: &dyn Store, asked: &Asked) -> Vec<ReceiptRow> {
    store.receipts(asked, None, 100).await.unwrap().rows
}

/// Received, stored, duplicate, rejected.
fn items(counts: &Counts) -> (u64, u64, u64, u64) {
    (counts.received, counts.stored, counts.duplicate, counts.rejected)
}

pub async fn every_item_is_accounted_for_by_key_and_hour(store: &dyn Store) {
    let (ours, theirs) = (project(store, "ours").await, project(store, "theirs").await);
    let steps = |project, numbers: std::ops::RangeInclusive<u64>| -> Batch {
        batch(project, numbers.map(|number| span(project, 1, number)).collect())
    };
    let first = rejecting("bad_trace_id", 0..7, sent("k1", 0, steps(ours, 1..=4)));
    write(store, &[first.clone(), sent("k2", 0, steps(ours, 4..=6)), sent("k1", 0, steps(theirs, 1..=2))]).await;
    // The same once more, and half an hour and an hour later something else.
    write(store, &[first]).await;
    write(store, &[sent("k1", 3_600, steps(ours, 7..=7)), sent("k1", 3_600, batch(ours, vec![]))]).await;

    let found = rows(store, &all_of(ours)).await;
    let shown: Vec<_> = found
        .iter()
        .map(|row| (row.key_id.as_str(), items(&row.counts), row.counts.requests, row.counts.bytes))
        .collect();
    assert_eq!(shown, [("k1", (1, 1, 0, 0), 2, 200), ("k1", (22, 4, 4, 14), 2, 200), ("k2", (3, 2, 1, 0), 1, 100)]);
    assert!(found.iter().all(|row| row.counts.is_balanced() && row.project_name.as_deref() == Some("ours")));
    assert_eq!(found[1].hour, hour_of(at(0)));
    let rejected = &found[1].rejections;
    assert_eq!((rejected.len(), rejected[0].reason.as_str(), rejected[0].count), (1, "bad_trace_id", 14));
    assert_eq!(rejected[0].examples.len(), 5);
    assert_eq!((rejected[0].examples[0].at, rejected[0].examples[0].detail.as_str()), (at(0), "not readable"));

    let other = rows(store, &all_of(theirs)).await;
    assert_eq!(other.iter().map(|row| items(&row.counts)).collect::<Vec<_>>(), [(2, 2, 0, 0)]);
    assert_eq!(rows(store, &Asked { project: None, ..all_of(ours) }).await.len(), 4);
    assert_eq!(items(&store.receipt_totals(&all_of(ours)).await.unwrap()), (26, 7, 5, 14));
}

async fn native_runs_are_items_too(store: &dyn Store) {
    let ours = project(store, "ours").await;
    let steps = || vec![native_step(ours, 5, "a", 1), native_step(ours, 5, "b", 1)];
    let runs = [
        submit(ours, 5, declared(Status::Running, 1), steps()),
        submit(ours, 5, declared(Status::Running, 1), steps()),
        submit(ours, 6, declared(Status::Success, 1), vec![]),
        append(ours, 5, vec![native_step(ours, 5, "c", 1)]),
        append(ours, 77, vec![native_step(ours, 77, "c", 1)]),
        submit(ours, 6, declared(Status::Success, 2), vec![native_step(ours, 6, "d", 1)]),
    ];
    let expected = [(3, 3, 0, 0), (6, 3, 3, 0), (7, 4, 3, 0), (8, 5, 3, 0), (9, 5, 3, 1), (11, 5, 3, 3)];
    for (run, expected) in runs.into_iter().zip(expected) {
        write(store, &[sent("k", 0, run)]).await;
        assert_eq!(items(&store.receipt_totals(&all_of(ours)).await.unwrap()), expected);
    }
    let found = rows(store, &all_of(ours)).await;
    let reasons: Vec<_> =
        found[0].rejections.iter().map(|rejected| (rejected.reason.as_str(), rejected.count)).collect();
    assert_eq!(reasons, [("conflict", 2), ("unknown_run", 1)]);
    assert!(found[0].rejections[0].examples[0].place.starts_with("run 00000000-"));
}

pub async fn the_newest_examples_of_a_reason_stay(store: &dyn Store) {
    let ours = project(store, "ours").await;
    for second in 0..4 {
        let places = second * 10..second * 10 + 2;
        write(store, &[rejecting("bad", places, sent("k", second.into(), batch(ours, vec![])))]).await;
    }
    let found = rows(store, &all_of(ours)).await;
    let rejected = &found[0].rejections[0];
    let places: Vec<_> = rejected.examples.iter().map(|example| example.place.as_str()).collect();
    assert_eq!((rejected.count, places), (8, vec!["spans[30]", "spans[31]", "spans[20]", "spans[21]", "spans[10]"]));
}

pub async fn pages_of_receipts_tell_each_once(store: &dyn Store) {
    let (ours, theirs) = (project(store, "ours").await, project(store, "theirs").await);
    for hour in 0..4 {
        for key in ["a", "b", "c"] {
            let of = |project| rejecting("bad", 0..1, sent(key, hour * 3_600, batch(project, vec![])));
            write(store, &[of(ours), of(theirs)]).await;
        }
    }
    for (asked, total) in [(all_of(ours), 12), (Asked { project: None, ..all_of(ours) }, 24)] {
        let whole = rows(store, &asked).await;
        assert_eq!(whole.len(), total);
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let page = store.receipts(&asked, after.as_ref(), 5).await.unwrap();
            assert!(page.rows.len() <= 5);
            read.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(read, whole);
        assert!(read.iter().all(|row| row.rejections[0].count == 1));
    }
    let narrow = Asked { key_id: Some("b".into()), since: at(3_600), until: at(7_200), ..all_of(ours) };
    let hours: Vec<_> = rows(store, &narrow).await.into_iter().map(|row| row.hour).collect();
    assert!(hours.iter().all(|hour| (hour_of(at(3_600))..at(7_200)).contains(hour)) && !hours.is_empty());
}

pub async fn a_key_tells_what_it_used(store: &dyn Store) {
    let (ours, theirs) = (project(store, "ours").await, project(store, "theirs").await);
    let steps = |project, number| batch(project, vec![span(project, 1, number)]);
    write(store, &[sent("k", 0, steps(ours, 1)), sent("k", 3_600, steps(ours, 2)), sent("k", 0, steps(theirs, 1))])
        .await;
    write(store, &[sent("k", 3_600, steps(ours, 2)), sent("other", 3_600, steps(ours, 3))]).await;
    let used = |since| store.usage_since(ours, "k", since);
    assert_eq!(used(at(0)).await.unwrap(), Amounts { requests: 3, steps: 2, bytes: 300 });
    assert_eq!(used(at(3_700)).await.unwrap(), Amounts { requests: 2, steps: 1, bytes: 200 }, "of the whole hour");
    assert_eq!(used(at(7_300)).await.unwrap(), Amounts::default());
    assert_eq!(store.usage_since(ours, "nobody", at(0)).await.unwrap(), Amounts::default());
}

fn refused(project: ProjectId, reason: &'static str, user_agent: &str) -> RefusalKey {
    let (key_id, hour) = (String::new(), hour_of(at(0)));
    RefusalKey { project, key_id, hour, status: 401, reason, user_agent: user_agent.into() }
}

fn tally(count: u64, second: i64) -> RefusalTally {
    let last_detail = format!("told at {second}\0");
    RefusalTally { count, last_at: at(second), last_transport: "http", last_detail }
}

pub async fn refusals_are_added_up(store: &dyn Store) {
    let ours = project(store, "ours").await;
    let nobody = ProjectId::NOBODY;
    let first = BTreeMap::from([
        (refused(nobody, "no_key", "curl"), tally(2, 10)),
        (refused(nobody, "no_key", "\0python"), tally(1, 5)),
        (refused(ours, "invalid_key", "curl"), tally(1, 1)),
    ]);
    store.add_refusals(&first).await.unwrap();
    store.add_refusals(&BTreeMap::from([(refused(nobody, "no_key", "curl"), tally(3, 8))])).await.unwrap();
    store.add_refusals(&BTreeMap::new()).await.unwrap();

    let found = store.refusals(&all_of(nobody), true, 10).await.unwrap();
    let shown: Vec<_> =
        found.iter().map(|row| (row.user_agent.as_str(), row.count, row.last_at, row.last_detail.as_str())).collect();
    assert_eq!(shown, [("curl", 5, at(10), "told at 8\u{FFFD}"), ("\u{FFFD}python", 1, at(5), "told at 5\u{FFFD}")]);
    let hidden = store.refusals(&all_of(nobody), false, 10).await.unwrap();
    let shown: Vec<_> =
        hidden.iter().map(|row| (row.user_agent.as_str(), row.count, row.last_detail.as_str())).collect();
    assert_eq!(shown, [("", 6, "")]);
    assert_eq!(hidden[0].last_at, at(10));

    let ours = store.refusals(&all_of(ours), true, 10).await.unwrap();
    assert_eq!(ours.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), ["invalid_key"]);
    assert_eq!(ours[0].project_name.as_deref(), Some("ours"));
    let all = Asked { project: None, ..all_of(nobody) };
    assert_eq!(store.refusals(&all, true, 10).await.unwrap().len(), 3);
    assert_eq!(store.refusals(&all, true, 2).await.unwrap().len(), 2);
}

fn letter(id: Uuid, received_at: DateTime<Utc>) -> DeadLetter {
    DeadLetter {
        id,
        received_at,
        signal: "traces",
        place: "step 0a".into(),
        reason: "the database cannot hold one of its values".into(),
        code: "23514".into(),
        run_id: Some(Uuid::from_u128(3)),
        step_id: Some("0a\0".into()),
        content: vec![0, 255, b'{'],
    }
}

pub async fn dead_letters_are_read_one_by_one_inside_their_project(store: &dyn Store) {
    let (ours, theirs) = (project(store, "ours").await, project(store, "theirs").await);
    let id = |number: u128| Uuid::from_u128((0x0190_0000_0000_7000_8000_u128 << 48) + number);
    let dead = |project, numbers: std::ops::Range<u128>| {
        let mut batch = sent("k", 0, batch(project, vec![]));
        let mut rejections = Rejections::default();
        let count = numbers.end - numbers.start;
        rejections.add_many("database", u64::try_from(count).unwrap(), || ("step 0a".into(), "no".into()));
        batch.receipt.rejections = rejections;
        batch.receipt.dead_letters =
            numbers.map(|number| letter(id(number), at(0) + TimeDelta::nanoseconds(7))).collect();
        batch
    };
    write(store, &[dead(ours, 0..5), dead(theirs, 5..6)]).await;

    let first = store.dead_letters(Some(ours), None, 3).await.unwrap();
    let ids = |letters: &[vectoros::store::LetterRow]| letters.iter().map(|row| row.letter_id).collect::<Vec<_>>();
    assert_eq!(ids(&first), [id(4), id(3), id(2)], "the newest first");
    let rest = store.dead_letters(Some(ours), Some(id(2)), 3).await.unwrap();
    assert_eq!(ids(&rest), [id(1), id(0)]);
    assert_eq!(store.dead_letters(None, None, 10).await.unwrap().len(), 6);

    let (row, content) = store.dead_letter(Some(ours), id(1)).await.unwrap().unwrap();
    assert_eq!(content, [0, 255, b'{']);
    assert_eq!((row.code.as_str(), row.step_id.as_deref()), ("23514", Some("0a\u{FFFD}")));
    assert_eq!((row.received_at, row.run_id), (at(0), Some(Uuid::from_u128(3))));
    assert!(store.dead_letter(Some(theirs), id(1)).await.unwrap().is_none(), "another project's");
    assert!(store.dead_letter(None, id(1)).await.unwrap().is_some(), "the operator's view");
    assert!(store.dead_letter(Some(ours), id(99)).await.unwrap().is_none());
    assert_eq!(items(&store.receipt_totals(&all_of(ours)).await.unwrap()), (5, 0, 0, 5));
}

async fn writers_side_by_side_lose_no_count(store: &dyn Store) {
    let ours = project(store, "ours").await;
    let writing = (0..4_u64).map(|writer| async move {
        let mut connection = store.writer().await.unwrap();
        for number in 0..20 {
            let key_id = format!("k{}", number % 3);
            let steps = vec![span(ours, (writer * 100 + number).into(), 2)];
            let batch = rejecting("bad", 0..1, sent(&key_id, 0, batch(ours, steps)));
            connection.write(&[&batch], &LIFE, at(100)).await.unwrap();
        }
    });
    futures_util::future::join_all(writing).await;
    assert_eq!(items(&store.receipt_totals(&all_of(ours)).await.unwrap()), (160, 80, 0, 80));
    let found = rows(store, &all_of(ours)).await;
    assert_eq!(found.len(), 3, "shards are summed");
    assert_eq!(found.iter().map(|row| row.rejections[0].count).sum::<u64>(), 80);
}

async fn a_project_is_found_by_its_name_and_not_made(store: &dyn Store) {
    let ours = project(store, "ours").await;
    assert_eq!(store.project_named("ours").await.unwrap(), Some(ours));
    assert_eq!(store.project_named("their\0s").await.unwrap(), None);
    assert_eq!(store.project_named("their\0s").await.unwrap(), None);
}

super::on_both! {
    every_item_is_accounted_for_by_key_and_hour,
    native_runs_are_items_too,
    the_newest_examples_of_a_reason_stay,
    pages_of_receipts_tell_each_once,
    a_key_tells_what_it_used,
    refusals_are_added_up,
    dead_letters_are_read_one_by_one_inside_their_project,
    writers_side_by_side_lose_no_count,
    a_project_is_found_by_its_name_and_not_made,
}
