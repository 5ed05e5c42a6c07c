//! Who is next: tenants take turns (deficit round robin), so that a trickle of one does not stand behind a flood of
//! another. Within a tenant the order of arrival holds. While more than one tenant sends, a batch is one turn of each:
//! whoever comes next waits for a short transaction and not for the longest one.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::id::ProjectId;

/// Items that a tenant may take in one turn: one usual request of an exporter.
const QUANTUM_ITEMS: usize = 512;
/// The same while others send: what they wait for at most.
const SHARED_QUANTUM_ITEMS: usize = 24;
/// A tenant counts as sending for so long after its last request: exporters come every five seconds as a rule.
const PRESENT: Duration = Duration::from_secs(10);

/// What waits, of one kind of thing.
pub(super) struct Turns<T> {
    lanes: HashMap<ProjectId, Lane<T>>,
    /// Those who have something waiting, the next one first.
    order: VecDeque<ProjectId>,
    /// Who sent last, and when the last other one did.
    latest: Option<(ProjectId, Instant)>,
    latest_other: Option<Instant>,
}

struct Lane<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Items that it may still take before it must let others go first.
    deficit: usize,
}

struct Waiting<T> {
    thing: T,
    size: Size,
}

/// What a thing adds to a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub items: usize,
    pub bytes: u64,
}

impl Size {
    fn and(self, other: Size) -> Size {
        Size { items: self.items.saturating_add(other.items), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn fits(self, max: Size) -> bool {
        self.items <= max.items && self.bytes <= max.bytes
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns { lanes: HashMap::new(), order: VecDeque::new(), latest: None, latest_other: None }
    }
}

impl<T> Turns<T> {
    pub fn push(&mut self, project: ProjectId, thing: T, size: Size, now: Instant) {
        if let Some((other, at)) = self.latest.replace((project, now))
            && other != project
        {
            self.latest_other = Some(at);
        }
        let lane = self.lanes.entry(project).or_insert_with(|| {
            self.order.push_back(project);
            Lane { waiting: VecDeque::new(), deficit: 0 }
        });
        lane.waiting.push_back(Waiting { thing, size });
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether more than one tenant sends.
    pub fn is_shared(&self, now: Instant) -> bool {
        self.latest_other.is_some_and(|at| now.saturating_duration_since(at) < PRESENT)
    }

    /// A batch of at most `max`, and of at least one thing unless nothing waits of those who `may` have a turn.
    pub fn take(&mut self, max: Size, now: Instant, may: impl Fn(ProjectId) -> bool) -> Vec<T> {
        let is_shared = self.is_shared(now);
        let quantum = if is_shared { SHARED_QUANTUM_ITEMS } else { QUANTUM_ITEMS };
        let (mut taken, mut total) = (Vec::new(), Size::default());
        let (mut turns, mut skipped) = (self.order.len(), 0);
        while let Some(&project) = self.order.front() {
            // After a round of turns; one in which nobody had saved enough is no round.
            if turns == 0 && (skipped == self.order.len() || (is_shared && !taken.is_empty())) {
                break;
            }
            if turns == 0 {
                (turns, skipped) = (self.order.len(), 0);
            }
            turns -= 1;
            if !may(project) {
                skipped += 1;
                self.order.rotate_left(1);
                continue;
            }
            let Some(lane) = self.lanes.get_mut(&project) else { break };
            lane.deficit = lane.deficit.saturating_add(quantum);
            while let Some(next) = lane.waiting.front() {
                let size = next.size;
                if size.items > lane.deficit {
                    break;
                }
                if !taken.is_empty() && !total.and(size).fits(max) {
                    // It keeps its turn and what it saved for it.
                    lane.deficit -= quantum.min(lane.deficit);
                    return taken;
                }
                total = total.and(size);
                lane.deficit -= size.items;
                taken.extend(lane.waiting.pop_front().map(|waiting| waiting.thing));
            }
            self.order.pop_front();
            match lane.waiting.is_empty() {
                true => _ = self.lanes.remove(&project),
                false => self.order.push_back(project),
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: Size = Size { items: 4000, bytes: u64::MAX };

    /// Everything was pushed long before: nobody sends any more.
    fn take<T>(turns: &mut Turns<T>, max: Size) -> Vec<T> {
        turns.take(max, Instant::now() + PRESENT, |_| true)
    }

    fn items(items: usize) -> Size {
        Size { items, bytes: 0 }
    }

    #[test]
    fn a_trickle_does_not_stand_behind_a_flood() {
        let mut turns = Turns::default();
        for number in 0..100 {
            turns.push(ProjectId(1), (1, number), items(512), Instant::now());
        }
        turns.push(ProjectId(2), (2, 0), items(8), Instant::now());
        let batch = take(&mut turns, MAX);
        assert_eq!(batch[..2], [(1, 0), (2, 0)], "in the next batch, though it came last");
        assert!(batch[1..].iter().skip(1).enumerate().all(|(at, job)| *job == (1, at + 1)), "in the order of arrival");
        assert_eq!(batch.len(), 8, "a lonely tenant fills the rest: 7 × 512 + 8 items");
    }

    #[test]
    fn two_floods_share_evenly_whatever_the_size_of_their_requests() {
        let mut turns = Turns::default();
        for number in 0..1000 {
            turns.push(ProjectId(1), (1, number), items(2000), Instant::now());
            turns.push(ProjectId(2), (2, number), items(10), Instant::now());
            turns.push(ProjectId(2), (2, number), items(10), Instant::now());
        }
        let (mut large, mut small) = (0, 0);
        for _ in 0..5 {
            for (project, _) in take(&mut turns, MAX) {
                *(if project == 1 { &mut large } else { &mut small }) += if project == 1 { 2000 } else { 10 };
            }
        }
        assert!((large as i64 - small as i64).abs() <= 2600, "{large} and {small} of 20,000 items");
    }

    #[test]
    fn while_others_send_a_batch_is_one_turn_of_each() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        for number in 0..20 {
            turns.push(ProjectId(1), (1, number), items(256), now);
        }
        assert_eq!(turns.take(MAX, now, |_| true).len(), 15, "alone, it fills a batch");
        turns.push(ProjectId(2), (2, 0), items(2000), now);
        turns.push(ProjectId(1), (1, 20), items(256), now);
        assert!(turns.is_shared(now) && !turns.is_shared(now + PRESENT));
        assert_eq!(turns.take(MAX, now, |_| true), [(1, 15)], "larger than a turn: it saved for it");
        let next = turns.take(MAX, now, |project| project != ProjectId(1));
        assert_eq!(next, [(2, 0)], "one that may not is passed over, and a large thing is saved for");
        assert!(turns.take(MAX, now, |project| project != ProjectId(1)).is_empty());
        assert_eq!(turns.take(MAX, now, |_| true), [(1, 16)]);
    }

    #[test]
    fn what_is_larger_than_a_batch_goes_alone() {
        let mut turns = Turns::default();
        turns.push(ProjectId(1), 1, items(100_000), Instant::now());
        turns.push(ProjectId(1), 2, Size { items: 1, bytes: u64::MAX }, Instant::now());
        assert_eq!(take(&mut turns, MAX), [1]);
        assert_eq!(take(&mut turns, Size { items: 10, bytes: 10 }), [2]);
        assert!(turns.is_empty() && take(&mut turns, MAX).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_doubled_or_overtaken_within_a_tenant(
            sent in prop::collection::vec((0..5i64, 0..3000usize, any::<bool>()), 0..200)
        ) {
            let (mut turns, mut out) = (Turns::default(), Vec::new());
            for (number, (project, size, then_take)) in sent.iter().enumerate() {
                turns.push(ProjectId(*project), (*project, number), items(*size), Instant::now());
                if *then_take {
                    let batch = take(&mut turns, MAX);
                    prop_assert!(!batch.is_empty());
                    let total: usize = batch.iter().map(|(_, number)| sent[*number].1).sum();
                    prop_assert!(total <= MAX.items || batch.len() == 1);
                    out.extend(batch);
                }
            }
            while !turns.is_empty() {
                out.extend(take(&mut turns, MAX));
            }
            prop_assert_eq!(out.len(), sent.len());
            prop_assert!(turns.lanes.is_empty(), "no tenant is remembered");
            for project in 0..5 {
                let numbers: Vec<_> = out.iter().filter(|(of, _)| *of == project).map(|(_, number)| number).collect();
                prop_assert!(numbers.is_sorted());
            }
        }
    }
}
