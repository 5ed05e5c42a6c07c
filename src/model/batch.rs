//! The one value that travels from mapping to the store, and what the store says of it.

use std::ops::Range;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::id::ProjectId;
use crate::model::log::LogRow;
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
}

impl Batch {
    /// Steps and log records together.
    pub fn items(&self) -> usize {
        self.steps.len() + self.logs.len()
    }

    /// The same request with only some of its items, numbered from the first step to the last record.
    pub fn part(&self, items: Range<usize>) -> Batch {
        let steps = self.steps.len();
        Batch {
            steps: self.steps[items.start.min(steps)..items.end.min(steps)].to_vec(),
            logs: self.logs[items.start.max(steps) - steps..items.end.max(steps) - steps].to_vec(),
            origins: self.origins.clone(),
            native: self.native.clone(),
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
    /// Where it stands in the request: `resourceSpans[0].scopeSpans[1].spans[7]`.
    pub place: String,
    /// What is wrong and what to do; holds nothing of the payload.
    pub reason: String,
}

/// The items of one request that were not taken: all counted, the first few told. A hostile request of millions of
/// bad items costs five strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    pub count: u64,
    pub first: Vec<Rejection>,
}

impl Rejections {
    /// How many rejections are kept with their place and reason.
    pub const EXAMPLES_MAX: usize = 5;

    /// Counts one more; `example` runs only while there is room for it.
    pub fn add(&mut self, example: impl FnOnce() -> Rejection) {
        self.count += 1;
        if self.first.len() < Self::EXAMPLES_MAX {
            self.first.push(example());
        }
    }

    /// Counts those of a later stage too.
    pub fn append(&mut self, later: Rejections) {
        self.count += later.count;
        let room = Self::EXAMPLES_MAX.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(n: usize) -> Rejection {
        Rejection { place: format!("spans[{n}]"), reason: "bad".into() }
    }

    #[test]
    fn all_are_counted_and_the_first_five_told() {
        let mut rejections = Rejections::default();
        assert!(rejections.is_empty());
        for n in 0..1000 {
            rejections.add(|| {
                assert!(n < Rejections::EXAMPLES_MAX, "no string is built beyond the bound");
                example(n)
            });
        }
        assert_eq!((rejections.count, rejections.first.len()), (1000, 5));
    }

    #[test]
    fn appending_keeps_the_order_and_the_bound() {
        let mut early = Rejections { count: 4, first: (0..4).map(example).collect() };
        early.append(Rejections { count: 7, first: (10..15).map(example).collect() });
        assert_eq!(early.count, 11);
        assert_eq!(early.first.len(), Rejections::EXAMPLES_MAX);
        assert_eq!(early.first[4], example(10));
    }
}
