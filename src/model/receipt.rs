//! What became of everything that was sent: receipts of items, refusals of whole requests, dead letters.
//!
//! Items are steps and log records. A native run is one more item beside its steps, so that a run without steps can be
//! accounted for too. A metric that cannot be read counts as a rejected item; one that can is no item, since metrics are
//! not stored. For each batch, and so for each sum of them, `received = stored + duplicate + rejected`.

use std::ops::AddAssign;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::batch::{Batch, Native, NativeOutcome, Rejections, Written};
use crate::model::id::ProjectId;

/// What a batch tells beside its items, to be stored with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// Of the key that sent it; `API_KEY` for the one of the configuration.
    pub key_id: String,
    /// 1 with the first batch of a request, 0 with the others.
    pub requests: u64,
    /// As sent, before inflating: of the whole request, with its first batch.
    pub bytes: u64,
    /// Data points of metrics that were well formed.
    pub metric_points: u64,
    /// Items of the request that are not in the batch.
    pub rejections: Rejections,
    /// Those of them whose content is kept.
    pub dead_letters: Vec<DeadLetter>,
}

impl Receipt {
    /// Whether it tells nothing but whose it is.
    pub fn is_empty(&self) -> bool {
        let is_nothing_counted = self.requests == 0 && self.bytes == 0 && self.metric_points == 0;
        is_nothing_counted && self.rejections.is_empty() && self.dead_letters.is_empty()
    }
}

/// Numbers of one key in one hour, or sums of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub received: u64,
    /// New, or a better version of what was there.
    pub stored: u64,
    /// There already.
    pub duplicate: u64,
    pub rejected: u64,
    pub requests: u64,
    pub bytes: u64,
    pub metric_points: u64,
}

impl Counts {
    pub fn is_balanced(&self) -> bool {
        self.received == self.stored + self.duplicate + self.rejected
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.received += other.received;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.metric_points += other.metric_points;
    }
}

/// The counts of a batch that was written, and the class of the rejection when the store did not take a native request.
/// What was received is counted from the batch, the rest from what the store says: they agree or one of them is wrong.
pub fn account(batch: &Batch, written: &Written) -> (Counts, Option<&'static str>) {
    let receipt = &batch.receipt;
    let runs = u64::from(matches!(batch.native, Some(Native::Submit { .. })));
    let sent = batch.items() as u64 + runs;
    let mut counts = Counts {
        received: sent + receipt.rejections.count,
        stored: written.inserted,
        duplicate: written.duplicates,
        rejected: receipt.rejections.count,
        requests: receipt.requests,
        bytes: receipt.bytes,
        metric_points: receipt.metric_points,
    };
    let refused = match written.native {
        Some(NativeOutcome::Conflict) => Some("conflict"),
        Some(NativeOutcome::NotFound) => Some("unknown_run"),
        _ => None,
    };
    match written.native {
        _ if refused.is_some() => counts.rejected += sent,
        Some(NativeOutcome::Unchanged) => counts.duplicate += runs,
        Some(_) => counts.stored += runs,
        None => {}
    }
    (counts, refused)
}

/// The UTC hour of a moment, by which receipts are kept.
pub fn hour_of(moment: DateTime<Utc>) -> DateTime<Utc> {
    // Fails only for moments that no clock shows.
    moment.duration_trunc(TimeDelta::hours(1)).unwrap_or(moment)
}

/// An item that the database refused for its data, as it would have been stored.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Version 7: they sort by the time at which they were refused.
    pub id: Uuid,
    pub received_at: DateTime<Utc>,
    /// `traces`, `logs` or `runs`.
    pub signal: &'static str,
    /// The item, as the sender was told.
    pub place: String,
    pub reason: String,
    /// SQLSTATE, or the code of SQLite.
    pub code: String,
    pub run_id: Option<Uuid>,
    pub step_id: Option<String>,
    /// A JSON object.
    pub content: Vec<u8>,
}

/// The newest rejections of one reason are kept so many.
pub const EXAMPLES_KEPT: usize = 5;

/// A rejected item as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    pub place: String,
    pub detail: String,
    pub at: DateTime<Utc>,
}

/// Requests of one key in one hour that were refused as a whole, for one reason, from one kind of client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefusalKey {
    /// [`ProjectId::NOBODY`] when nothing tells whose it was.
    pub project: ProjectId,
    /// Empty then.
    pub key_id: String,
    pub hour: DateTime<Utc>,
    /// Of HTTP, also where gRPC said it in its own terms.
    pub status: u16,
    pub reason: &'static str,
    pub user_agent: String,
}

/// How many there were, and the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalTally {
    pub count: u64,
    pub last_at: DateTime<Utc>,
    /// `grpc`, `http` or `native`.
    pub last_transport: &'static str,
    /// What the sender was told.
    pub last_detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::Declared;

    fn batch(native: Option<Native>, rejected: u64) -> Batch {
        let mut rejections = Rejections::default();
        for _ in 0..rejected {
            rejections.add("bad", || ("p".into(), "r".into()));
        }
        Batch {
            project: ProjectId(1),
            received_at: DateTime::UNIX_EPOCH,
            origins: vec![],
            steps: vec![],
            logs: vec![],
            native,
            receipt: Receipt { requests: 1, rejections, ..Receipt::default() },
        }
    }

    #[test]
    fn a_native_run_is_an_item_and_balances_whatever_became_of_it() {
        let submit = Native::Submit { run_id: Uuid::nil(), declared: Box::new(Declared::default()) };
        let append = Native::Append { run_id: Uuid::nil() };
        use NativeOutcome::*;
        for (native, outcome, expected, class) in [
            (&submit, Created, (1, 1, 0, 0), None),
            (&submit, Updated, (1, 1, 0, 0), None),
            (&submit, Unchanged, (1, 0, 1, 0), None),
            (&submit, Conflict, (1, 0, 0, 1), Some("conflict")),
            (&append, Updated, (0, 0, 0, 0), None),
            (&append, NotFound, (0, 0, 0, 0), Some("unknown_run")),
        ] {
            let written = Written { native: Some(outcome), ..Written::default() };
            let (counts, refused) = account(&batch(Some(native.clone()), 0), &written);
            assert_eq!((counts.received, counts.stored, counts.duplicate, counts.rejected), expected, "{outcome:?}");
            assert_eq!(refused, class, "{outcome:?}");
            assert!(counts.is_balanced());
        }
    }

    #[test]
    fn what_the_store_forgets_to_tell_is_found() {
        let (counts, _) = account(&batch(None, 3), &Written::default());
        assert!(counts.is_balanced());
        assert_eq!((counts.received, counts.rejected, counts.requests), (3, 3, 1));
        let (counts, _) = account(&batch(None, 3), &Written { inserted: 1, ..Written::default() });
        assert!(!counts.is_balanced());
    }

    #[test]
    fn hours_are_of_utc() {
        let moment: DateTime<Utc> = "2026-11-26T01:59:59.999999Z".parse().unwrap();
        assert_eq!(hour_of(moment).to_rfc3339(), "2026-11-26T01:00:00+00:00");
    }
}
