//! Who is next: tenants take turns (deficit round robin), so that a trickle of one does not stand behind a flood of
//! another. Within a tenant the order of arrival holds.

use std::collections::{HashMap, VecDeque};

use crate::model::id::ProjectId;

/// Items that a tenant may take in one turn: one usual request of an exporter.
const QUANTUM_ITEMS: usize = 512;

/// What waits, of one kind of thing.
pub(super) struct Turns<T> {
    lanes: HashMap<ProjectId, Lane<T>>,
    /// Those who have something waiting, the next one first.
    order: VecDeque<ProjectId>,
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
        Turns { lanes: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    pub fn push(&mut self, project: ProjectId, thing: T, size: Size) {
        let lane = self.lanes.entry(project).or_insert_with(|| {
            self.order.push_back(project);
            Lane { waiting: VecDeque::new(), deficit: 0 }
        });
        lane.waiting.push_back(Waiting { thing, size });
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// A batch of at most `max`, and of at least one thing unless nothing waits.
    pub fn take(&mut self, max: Size) -> Vec<T> {
        let (mut taken, mut total) = (Vec::new(), Size::default());
        while let Some(&project) = self.order.front() {
            let Some(lane) = self.lanes.get_mut(&project) else { break };
            lane.deficit = lane.deficit.saturating_add(QUANTUM_ITEMS);
            while let Some(next) = lane.waiting.front() {
                let size = next.size;
                if size.items > lane.deficit {
                    break;
                }
                if !taken.is_empty() && !total.and(size).fits(max) {
                    // It keeps its turn and what it saved for it.
                    lane.deficit -= QUANTUM_ITEMS.min(lane.deficit);
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

    fn items(items: usize) -> Size {
        Size { items, bytes: 0 }
    }

    #[test]
    fn a_trickle_does_not_stand_behind_a_flood() {
        let mut turns = Turns::default();
        for number in 0..100 {
            turns.push(ProjectId(1), (1, number), items(512));
        }
        turns.push(ProjectId(2), (2, 0), items(8));
        let batch = turns.take(MAX);
        assert_eq!(batch[..2], [(1, 0), (2, 0)], "in the next batch, though it came last");
        assert!(batch[1..].iter().skip(1).enumerate().all(|(at, job)| *job == (1, at + 1)), "in the order of arrival");
        assert_eq!(batch.len(), 8, "a lonely tenant fills the rest: 7 × 512 + 8 items");
    }

    #[test]
    fn two_floods_share_evenly_whatever_the_size_of_their_requests() {
        let mut turns = Turns::default();
        for number in 0..1000 {
            turns.push(ProjectId(1), (1, number), items(2000));
            turns.push(ProjectId(2), (2, number), items(10));
            turns.push(ProjectId(2), (2, number), items(10));
        }
        let (mut large, mut small) = (0, 0);
        for _ in 0..5 {
            for (project, _) in turns.take(MAX) {
                *(if project == 1 { &mut large } else { &mut small }) += if project == 1 { 2000 } else { 10 };
            }
        }
        assert!((large as i64 - small as i64).abs() <= 2600, "{large} and {small} of 20,000 items");
    }

    #[test]
    fn what_is_larger_than_a_batch_goes_alone() {
        let mut turns = Turns::default();
        turns.push(ProjectId(1), 1, items(100_000));
        turns.push(ProjectId(1), 2, Size { items: 1, bytes: u64::MAX });
        assert_eq!(turns.take(MAX), [1]);
        assert_eq!(turns.take(Size { items: 10, bytes: 10 }), [2]);
        assert!(turns.is_empty() && turns.take(MAX).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_doubled_or_overtaken_within_a_tenant(
            sent in prop::collection::vec((0..5i64, 0..3000usize, any::<bool>()), 0..200)
        ) {
            let (mut turns, mut out) = (Turns::default(), Vec::new());
            for (number, (project, size, then_take)) in sent.iter().enumerate() {
                turns.push(ProjectId(*project), (*project, number), items(*size));
                if *then_take {
                    let batch = turns.take(MAX);
                    prop_assert!(!batch.is_empty());
                    let total: usize = batch.iter().map(|(_, number)| sent[*number].1).sum();
                    prop_assert!(total <= MAX.items || batch.len() == 1);
                    out.extend(batch);
                }
            }
            while !turns.is_empty() {
                out.extend(turns.take(MAX));
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
