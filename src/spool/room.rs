//! The bound of the spool in bytes: pure.

/// What is taken of so many bytes.
#[derive(Debug)]
pub(super) struct Room {
    max: u64,
    /// By rows in the file.
    stored: u64,
    /// By requests on their way to it.
    coming: u64,
    /// The last one who asked found no room, and none became free since.
    is_full: bool,
}

impl Room {
    pub fn new(max: u64) -> Room {
        Room { max, stored: 0, coming: 0, is_full: false }
    }

    /// Whether there was room for so much more; it is taken then.
    pub fn take(&mut self, bytes: u64) -> bool {
        let fits = self.used().checked_add(bytes).is_some_and(|used| used <= self.max);
        if fits {
            self.coming += bytes;
        }
        self.is_full = !fits;
        fits
    }

    /// What was taken is in the file now.
    pub fn arrived(&mut self, bytes: u64) {
        self.coming -= bytes.min(self.coming);
        self.stored += bytes;
    }

    /// What was taken is not needed.
    pub fn give_back(&mut self, bytes: u64) {
        self.coming -= bytes.min(self.coming);
        self.is_full = false;
    }

    /// Rows of so many bytes left the file.
    pub fn left(&mut self, bytes: u64) {
        self.stored -= bytes.min(self.stored);
        self.is_full = false;
    }

    /// The file was counted.
    pub fn set_stored(&mut self, bytes: u64) {
        self.stored = bytes;
        self.is_full = false;
    }

    pub fn stored(&self) -> u64 {
        self.stored
    }

    pub fn is_full(&self) -> bool {
        self.is_full || self.used() >= self.max
    }

    fn used(&self) -> u64 {
        self.stored + self.coming
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Take(u64),
        /// Of those on their way, the one at this place.
        Arrive(usize),
        GiveBack(usize),
        Leave(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0u64..400).prop_map(Event::Take),
            2 => (0usize..8).prop_map(Event::Arrive),
            1 => (0usize..8).prop_map(Event::GiveBack),
            1 => (0usize..8).prop_map(Event::Leave),
        ]
    }

    proptest! {
        #[test]
        fn the_bound_is_exact(max in 0u64..1000, events in prop::collection::vec(event(), 0..200)) {
            let mut room = Room::new(max);
            let (mut coming, mut stored) = (Vec::<u64>::new(), Vec::<u64>::new());
            for event in events {
                let used = coming.iter().chain(&stored).sum::<u64>();
                match event {
                    Event::Take(bytes) => {
                        prop_assert_eq!(room.take(bytes), used + bytes <= max, "{} and {} of {}", used, bytes, max);
                        if used + bytes <= max {
                            coming.push(bytes);
                        }
                    }
                    Event::Arrive(place) if place < coming.len() => {
                        let bytes = coming.swap_remove(place);
                        room.arrived(bytes);
                        stored.push(bytes);
                    }
                    Event::GiveBack(place) if place < coming.len() => room.give_back(coming.swap_remove(place)),
                    Event::Leave(place) if place < stored.len() => room.left(stored.swap_remove(place)),
                    _ => {}
                }
                prop_assert_eq!(room.stored(), stored.iter().sum::<u64>());
                prop_assert!(room.used() <= max);
            }
        }
    }

    #[test]
    fn it_is_full_from_the_first_refusal_until_something_leaves() {
        let mut room = Room::new(100);
        assert!(room.take(90) && !room.is_full());
        room.arrived(90);
        assert!(!room.take(11) && room.is_full());
        room.left(90);
        assert!(!room.is_full());
        assert!(room.take(100) && room.is_full());
        assert!(!Room::new(u64::MAX).is_full());
        assert!(!Room { stored: u64::MAX, ..Room::new(u64::MAX) }.take(1), "no overflow");
    }
}
