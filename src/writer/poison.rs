//! Whether data that the database refuses is bad data. A few items are; when many are, a rule of the database is what is
//! wrong (a trigger, a constraint, a type), and then no sender is blamed and nothing of theirs is set aside. [`Minute`] is
//! pure; [`Guard`] is what all writers share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::id::ProjectId;
use crate::queue::Job;

/// So many refused items in a minute are their senders' fault in any case.
const REFUSED_FREE: u64 = 20;
/// Above that, up to this share of all that was seen in that minute.
const REFUSED_PERCENT_MAX: u64 = 5;
const MINUTE_S: u64 = 60;
/// So long a tenant whose data was refused has its transactions to itself: looking for the offender costs nobody else.
const ALONE: Duration = Duration::from_secs(60);

/// Shared by the writers of a process.
pub struct Guard(Mutex<State>);

struct State {
    minute: Minute,
    /// Tenants whose data was refused, and until when they go alone.
    suspects: HashMap<ProjectId, Instant>,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard(Mutex::new(State { minute: Minute::new(Instant::now()), suspects: HashMap::new() }))
    }
}

impl Guard {
    pub(super) fn stored(&self, items: u64) {
        self.lock().minute.note(items, 0, Instant::now());
    }

    /// Items of the project were refused, each for itself. True: that is our fault.
    pub(super) fn refused(&self, project: ProjectId, items: u64) -> bool {
        let (mut state, now) = (self.lock(), Instant::now());
        state.suspects.retain(|_, until| now < *until);
        state.suspects.insert(project, now + ALONE);
        state.minute.note(0, items, now);
        state.minute.is_ours(now)
    }

    /// The jobs in the order in which they go to the store: together, but for those of suspects.
    pub(super) fn groups(&self, jobs: Vec<Job>) -> VecDeque<Vec<Job>> {
        let (state, now) = (self.lock(), Instant::now());
        let is_suspect = |job: &Job| state.suspects.get(&job.batch.project).is_some_and(|until| now < *until);
        let (alone, together): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_suspect);
        [together].into_iter().chain(alone.into_iter().map(|job| vec![job])).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every statement leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was stored and what was refused in each of the last sixty seconds.
struct Minute {
    began: Instant,
    seconds: [Second; MINUTE_S as usize],
}

#[derive(Clone, Copy, Default)]
struct Second {
    /// Since the beginning.
    number: u64,
    stored: u64,
    refused: u64,
}

impl Minute {
    fn new(now: Instant) -> Minute {
        Minute { began: now, seconds: [Second::default(); MINUTE_S as usize] }
    }

    fn note(&mut self, stored: u64, refused: u64, now: Instant) {
        let number = self.number(now);
        let second = &mut self.seconds[(number % MINUTE_S) as usize];
        if second.number != number {
            *second = Second { number, stored: 0, refused: 0 };
        }
        second.stored += stored;
        second.refused += refused;
    }

    fn is_ours(&self, now: Instant) -> bool {
        let number = self.number(now);
        let last = self.seconds.iter().filter(|second| second.number + MINUTE_S > number);
        let (stored, refused) = last.fold((0, 0), |sum, second| (sum.0 + second.stored, sum.1 + second.refused));
        refused > REFUSED_FREE && refused * 100 > (stored + refused) * REFUSED_PERCENT_MAX
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minute() -> (Minute, Instant) {
        let now = Instant::now();
        (Minute::new(now), now)
    }

    #[test]
    fn a_few_refusals_are_the_senders_fault_whatever_their_share() {
        let (mut minute, now) = minute();
        minute.note(0, REFUSED_FREE, now);
        assert!(!minute.is_ours(now));
        minute.note(0, 1, now);
        assert!(minute.is_ours(now));
    }

    #[test]
    fn many_are_as_long_as_their_share_is_small() {
        let (mut minute, now) = minute();
        minute.note(1900, 100, now);
        assert!(!minute.is_ours(now), "5 % of 2,000");
        minute.note(0, 1, now);
        assert!(minute.is_ours(now));
        minute.note(19, 0, now);
        assert!(!minute.is_ours(now), "5 % of 2,020");
    }

    #[test]
    fn a_minute_later_all_is_forgotten() {
        let (mut minute, now) = minute();
        minute.note(0, 1000, now);
        assert!(minute.is_ours(now + Duration::from_secs(MINUTE_S - 1)));
        assert!(!minute.is_ours(now + Duration::from_secs(MINUTE_S)));
        minute.note(0, REFUSED_FREE, now + Duration::from_secs(MINUTE_S));
        assert!(!minute.is_ours(now + Duration::from_secs(MINUTE_S)), "the same place, another second");
    }

    proptest! {
        /// Against a list of everything.
        #[test]
        fn the_minute_slides(
            events in prop::collection::vec((0..200u64, 0..30u64, 0..20_000u64), 1..200),
        ) {
            let (mut minute, began) = minute();
            let (mut now, mut all) = (began, Vec::new());
            for (stored, refused, later_ms) in events {
                now += Duration::from_millis(later_ms);
                minute.note(stored, refused, now);
                let second = (now - began).as_secs();
                all.push((second, stored, refused));
                let last = || all.iter().filter(|(at, ..)| at + 60 > second);
                let seen: u64 = last().map(|(_, stored, refused)| stored + refused).sum();
                let refused: u64 = last().map(|(.., refused)| refused).sum();
                prop_assert_eq!(minute.is_ours(now), refused > 20 && refused as f64 > seen as f64 / 20.0);
            }
        }
    }
}
