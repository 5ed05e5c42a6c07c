//! What a write adds to the receipts: pure sums over its batches, and the last statements of its transaction.
//!
//! They come last because the rows of receipts are shared by all writers of a key: a lock on one is held for no longer
//! than the COMMIT. A batch whose items do not add up to what became of them is not written at all.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::error::never_the_data;
use super::storable;
use super::tables::ReceiptTables;
use crate::model::batch::{Batch, Native, Written};
use crate::model::id::ProjectId;
use crate::model::receipt::{Counts, DeadLetter, EXAMPLES_KEPT, Example, account, hour_of};

/// Whose receipts, and of which hour. In the order in which their rows are locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReceiptKey {
    pub project: ProjectId,
    pub key_id: String,
    pub hour: DateTime<Utc>,
}

/// Rejections of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejected {
    pub count: u64,
    /// The newest first, at most [`EXAMPLES_KEPT`].
    pub examples: Vec<Example>,
}

/// All that the batches of a write add.
#[derive(Debug, Default)]
pub(super) struct Added<'a> {
    pub counts: BTreeMap<ReceiptKey, Counts>,
    pub rejected: BTreeMap<(ReceiptKey, &'static str), Rejected>,
    pub letters: Vec<(ReceiptKey, &'a DeadLetter)>,
}

/// Adds the receipts of `batches`, of which the store says `written`. `shard` is the writer's own.
pub(super) async fn record(
    tables: &mut impl ReceiptTables,
    batches: &[&Batch],
    written: &[Written],
    shard: i16,
) -> sqlx::Result<()> {
    let added = added(batches, written)?;
    let statements = async {
        tables.add_receipts(&added.counts, shard).await?;
        tables.add_rejections(&added.rejected, shard).await?;
        tables.insert_dead_letters(&added.letters).await
    };
    statements.await.map_err(never_the_data)
}

fn added<'a>(batches: &[&'a Batch], written: &[Written]) -> sqlx::Result<Added<'a>> {
    let mut added = Added::default();
    for (batch, written) in batches.iter().zip(written) {
        let (counts, refused) = account(batch, written);
        if !counts.is_balanced() {
            let problem = format!("the receipt of a batch does not balance, it is not written: {counts:?}");
            return Err(sqlx::Error::InvalidArgument(problem));
        }
        if counts == Counts::default() && batch.receipt.dead_letters.is_empty() {
            continue;
        }
        let key_id = storable::text(&batch.receipt.key_id).into_owned();
        let key = ReceiptKey { project: batch.project, key_id, hour: hour_of(batch.received_at) };
        let at = storable::time(batch.received_at);
        for class in batch.receipt.rejections.classes() {
            let told = batch.receipt.rejections.first.iter().filter(|rejection| rejection.class == class.name);
            let is_told = told.clone().next().is_some();
            let examples = told.chain((!is_told).then_some(&class.first));
            let examples = examples.map(|example| kept(&example.place, &example.reason, at)).collect();
            add(&mut added, &key, class.name, class.count, examples);
        }
        if let Some((class, native)) = refused.zip(batch.native.as_ref()) {
            let (place, detail) = native_refusal(native);
            let count = counts.rejected - batch.receipt.rejections.count;
            add(&mut added, &key, class, count, vec![kept(&place, detail, at)]);
        }
        added.letters.extend(batch.receipt.dead_letters.iter().map(|letter| (key.clone(), letter)));
        *added.counts.entry(key).or_default() += counts;
    }
    Ok(added)
}

fn add(added: &mut Added<'_>, key: &ReceiptKey, class: &'static str, count: u64, examples: Vec<Example>) {
    if count == 0 {
        return;
    }
    let rejected = added.rejected.entry((key.clone(), class)).or_default();
    rejected.count += count;
    // Those of a later batch are newer.
    rejected.examples.splice(0..0, examples);
    rejected.examples.truncate(EXAMPLES_KEPT);
}

fn kept(place: &str, detail: &str, at: DateTime<Utc>) -> Example {
    Example { place: storable::text(place).into_owned(), detail: storable::text(detail).into_owned(), at }
}

fn native_refusal(native: &Native) -> (String, &'static str) {
    let place = |run_id: &Uuid| format!("run {run_id}");
    match native {
        Native::Submit { run_id, .. } => (place(run_id), "the run exists with other content and is not running"),
        Native::Append { run_id } => (place(run_id), "only a running run takes more steps"),
    }
}

/// As a column holds it, bounded to its largest value.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::{NativeOutcome, Rejections};
    use crate::model::receipt::Receipt;

    fn batch(project: i64, key_id: &str, second: i64, rejections: Rejections) -> Batch {
        Batch {
            project: ProjectId(project),
            received_at: DateTime::from_timestamp(second, 0).unwrap(),
            origins: vec![],
            steps: vec![],
            logs: vec![],
            native: None,
            receipt: Receipt { key_id: key_id.into(), requests: 1, bytes: 10, rejections, ..Receipt::default() },
        }
    }

    fn rejections(class: &'static str, numbers: std::ops::Range<u32>) -> Rejections {
        let mut rejections = Rejections::default();
        for number in numbers {
            rejections.add(class, || (format!("spans[{number}]"), "bad\0".into()));
        }
        rejections
    }

    #[test]
    fn batches_are_summed_by_project_key_and_hour() {
        let none = Rejections::default;
        let batches = [
            batch(1, "a", 10, rejections("bad", 0..3)),
            batch(1, "a", 20, rejections("bad", 10..14)),
            batch(1, "b", 20, none()),
            batch(2, "a", 20, none()),
            batch(1, "a", 3_600, none()),
        ];
        let batches: Vec<&Batch> = batches.iter().collect();
        let added = added(&batches, &[Written::default(); 5]).unwrap();
        let requests: Vec<_> =
            added.counts.iter().map(|(key, counts)| (key.project.0, key.key_id.as_str(), counts.requests)).collect();
        assert_eq!(requests, [(1, "a", 2), (1, "a", 1), (1, "b", 1), (2, "a", 1)]);
        let (_, bad) = added.rejected.iter().next().unwrap();
        assert_eq!((added.rejected.len(), bad.count), (1, 7));
        let places: Vec<_> = bad.examples.iter().map(|example| example.place.as_str()).collect();
        assert_eq!(places, ["spans[10]", "spans[11]", "spans[12]", "spans[13]", "spans[0]"], "the newest batch first");
        assert_eq!(bad.examples[0].detail, "bad\u{FFFD}");
    }

    #[test]
    fn a_class_that_the_sender_was_not_told_of_has_an_example_all_the_same() {
        let mut many = rejections("bad", 0..5);
        many.append(rejections("worse", 7..9));
        let batch = batch(1, "a", 0, many);
        let added = added(&[&batch], &[Written::default()]).unwrap();
        let worse = added.rejected.iter().find(|((_, class), _)| *class == "worse").unwrap().1;
        assert_eq!((worse.count, worse.examples[0].place.as_str()), (2, "spans[7]"));
    }

    #[test]
    fn a_batch_that_does_not_balance_is_not_written() {
        let batch = batch(1, "a", 0, Rejections::default());
        let written = Written { inserted: 1, ..Written::default() };
        assert!(matches!(added(&[&batch], &[written]), Err(sqlx::Error::InvalidArgument(_))));
    }

    #[test]
    fn steps_for_an_unknown_run_are_no_rejection_when_there_are_none() {
        let mut batch = batch(1, "a", 0, Rejections::default());
        batch.native = Some(Native::Append { run_id: Uuid::nil() });
        let written = Written { native: Some(NativeOutcome::NotFound), ..Written::default() };
        assert!(added(&[&batch], &[written]).unwrap().rejected.is_empty());
    }
}
