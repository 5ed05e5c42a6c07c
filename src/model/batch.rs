//! The one value that travels from mapping to the store, and what the store says of it.

use std::ops::Range;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::id::ProjectId;
use crate::model::log::LogRow;
use crate::model::receipt::Receipt;
use crate::model::run::Declared;
use crate::model::step::Step;

/// What one request wants stored. Belongs to one project: the key's.
#[derive(Clone, Debug)]
pub struct Batch {
    pub project: ProjectId,
    /// Wall clock at the edge when the request was read.
    pub received_at: DateTime<Utc>,
    pub origins: Vec<OriginRow>,
    pub steps: Vec<Step>,
    pub logs: Vec<LogRow>,
    pub native: Option<Native>,
    /// What is to be accounted for beside the items.
    pub receipt: Receipt,
}

impl Batch {
    /// Steps and log records together.
    pub fn items(&self) -> usize {
        self.steps.len() + self.logs.len()
    }

    /// Nothing of it would be stored, not even a receipt.
    pub fn is_empty(&self) -> bool {
        self.items() == 0 && self.native.is_none() && self.receipt.is_empty()
    }

    /// The same request with only some of its items, numbered from the first step to the last record, and nothing else
    /// to be accounted for.
    pub fn part(&self, items: Range<usize>) -> Batch {
        let steps = self.steps.len();
        Batch {
            steps: self.steps[items.start.min(steps)..items.end.min(steps)].to_vec(),
            logs: self.logs[items.start.max(steps) - steps..items.end.max(steps) - steps].to_vec(),
            origins: self.origins.clone(),
            native: self.native.clone(),
            receipt: Receipt { key_id: self.receipt.key_id.clone(), ..Receipt::default() },
            ..*self
        }
    }
}

/// Resource and scope as stored: `id` is the hash of `body`, a JSON object as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRow {
    pub id: Uuid,
    pub body: String,
}

/// What a native request asks for beside its steps.
#[derive(Clone, Debug)]
pub enum Native {
    /// `POST /runs`: create the run, repeat it, or finish it.
    Submit { run_id: Uuid, declared: Box<Declared> },
    /// `POST /runs/{run_id}/steps`: only a running run takes more steps.
    Append { run_id: Uuid },
}

/// One request as the store left it, after COMMIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Steps really inserted or replaced by a better version, and log records really inserted.
    pub inserted: u64,
    /// Steps and log records that were there already.
    pub duplicates: u64,
    pub native: Option<NativeOutcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeOutcome {
    Created,
    /// Same id, same content: nothing changed.
    Unchanged,
    /// A running run was updated or finished.
    Updated,
    /// Same id, other content, and the stored run is not running.
    Conflict,
    /// `Append` to a run that this project does not have.
    NotFound,
}

/// One item of a request that was not taken, while its neighbours were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A short word of ours by which rejections are counted, such as `bad_trace_id`: there are few.
    pub class: &'static str,
    /// Where it stands in the request: `resourceSpans[0].scopeSpans[1].spans[7]`.
    pub place: String,
    /// What is wrong and what to do; holds nothing of the payload.
    pub reason: String,
}

/// The items of one request that were not taken: all counted by what was wrong, the first few told. A hostile request of
/// millions of bad items costs a few strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    pub count: u64,
    pub first: Vec<Rejection>,
    classes: Vec<RejectionClass>,
}

/// Rejections of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionClass {
    pub name: &'static str,
    pub count: u64,
    pub first: Rejection,
}

impl Rejections {
    /// How many rejections are kept with their place and reason.
    pub const EXAMPLES_MAX: usize = 5;

    /// Counts one more of a class; `example`, its place and reason, is asked for only while there is room for it.
    pub fn add(&mut self, class: &'static str, example: impl FnOnce() -> (String, String)) {
        self.add_many(class, 1, example);
    }

    /// Counts `count` more, which share one example.
    pub fn add_many(&mut self, class: &'static str, count: u64, example: impl FnOnce() -> (String, String)) {
        self.count += count;
        let known = self.classes.iter_mut().find(|known| known.name == class);
        let has_room = self.first.len() < Self::EXAMPLES_MAX;
        let example = (known.is_none() || has_room).then(|| {
            let (place, reason) = example();
            Rejection { class, place, reason }
        });
        self.first.extend(example.clone().filter(|_| has_room));
        match known {
            Some(known) => known.count += count,
            None => self.classes.extend(example.map(|first| RejectionClass { name: class, count, first })),
        }
    }

    /// Counts those of a later stage too.
    pub fn append(&mut self, later: Rejections) {
        self.count += later.count;
        let room = Self::EXAMPLES_MAX.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
        for class in later.classes {
            match self.classes.iter_mut().find(|known| known.name == class.name) {
                Some(known) => known.count += class.count,
                None => self.classes.push(class),
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their counts add up to [`Rejections::count`].
    pub fn classes(&self) -> &[RejectionClass] {
        &self.classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(n: usize) -> (String, String) {
        (format!("spans[{n}]"), "bad".into())
    }

    #[test]
    fn all_are_counted_and_the_first_five_told() {
        let mut rejections = Rejections::default();
        assert!(rejections.is_empty());
        for n in 0..1000 {
            rejections.add("bad", || {
                assert!(n < Rejections::EXAMPLES_MAX, "no string is built beyond the bound");
                example(n)
            });
        }
        assert_eq!((rejections.count, rejections.first.len()), (1000, 5));
    }

    #[test]
    fn appending_keeps_the_order_and_the_bound() {
        let some = |class, numbers: std::ops::Range<usize>| {
            let mut rejections = Rejections::default();
            numbers.for_each(|n| rejections.add(class, || example(n)));
            rejections
        };
        let mut early = some("early", 0..4);
        early.append(some("late", 10..17));
        early.append(some("early", 20..21));
        assert_eq!(early.count, 12);
        assert_eq!(early.first.len(), Rejections::EXAMPLES_MAX);
        assert_eq!(early.first[4].place, "spans[10]");
        let classes: Vec<_> = early.classes().iter().map(|class| (class.name, class.count)).collect();
        assert_eq!(classes, [("early", 5), ("late", 7)]);
    }

    #[test]
    fn every_class_is_counted_and_has_an_example_also_beyond_the_first_five() {
        let mut rejections = Rejections::default();
        for n in 0..10 {
            rejections.add("one", || example(n));
        }
        rejections.add_many("other", 3, || example(77));
        assert_eq!((rejections.count, rejections.first.len()), (13, 5));
        let other = &rejections.classes()[1];
        assert_eq!((other.name, other.count, other.first.place.as_str()), ("other", 3, "spans[77]"));
        assert_eq!(rejections.classes().iter().map(|class| class.count).sum::<u64>(), rejections.count);
    }
}
