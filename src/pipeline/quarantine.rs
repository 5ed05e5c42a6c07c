//! What happens when decoding or mapping panics: a bug of ours, met by one body again and again.
//!
//! The first time the sender is told to try again, because the cause may have been something else. An exporter would do
//! so for ever, so the second time the same body is refused for good.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use moka::sync::Cache;
use xxhash_rust::xxh3::xxh3_128;

/// Hashes that are remembered, each for this long after its last panic: longer than any exporter keeps a batch.
const BODIES_MAX: u64 = 10_000;
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The bodies that led to a panic, by the hash of their content.
pub struct Quarantine {
    bodies: Cache<u128, ()>,
}

/// `work` panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panicked {
    Once,
    /// Not for the first time with this body.
    Again,
}

impl Default for Quarantine {
    fn default() -> Quarantine {
        Quarantine { bodies: Cache::builder().max_capacity(BODIES_MAX).time_to_live(REMEMBERED).build() }
    }
}

impl Quarantine {
    /// Runs `work` on `body`. A panic in it ends here; the values that `work` owns are dropped.
    pub fn guard<T>(&self, body: &[u8], work: impl FnOnce() -> T) -> Result<T, Panicked> {
        // Nothing that `work` changed is looked at after a panic: it owns all of it.
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| self.note(body))
    }

    fn note(&self, body: &[u8]) -> Panicked {
        let entry = self.bodies.entry(xxh3_128(body)).or_insert(());
        let panicked = if entry.is_fresh() { Panicked::Once } else { Panicked::Again };
        tracing::error!(
            body_bytes = body.len(),
            again = panicked == Panicked::Again,
            "a request made the decoder panic"
        );
        panicked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otlp_41_a_second_panic_on_one_content_is_told_apart_from_the_first() {
        let quarantine = Quarantine::default();
        let panics = |body: &[u8]| quarantine.guard::<()>(body, || panic!("a bug"));
        assert_eq!(panics(b"bad"), Err(Panicked::Once));
        assert_eq!(panics(b"other"), Err(Panicked::Once));
        assert_eq!(panics(b"bad"), Err(Panicked::Again));
        assert_eq!(panics(b"bad"), Err(Panicked::Again));
    }

    #[test]
    fn otlp_41_work_that_succeeds_is_not_remembered() {
        let quarantine = Quarantine::default();
        assert_eq!(quarantine.guard(b"good", || 5), Ok(5));
        assert_eq!(quarantine.guard::<()>(b"good", || panic!("a bug")), Err(Panicked::Once));
        assert_eq!(quarantine.guard(b"good", || 6), Ok(6), "a body is judged by what it does now");
    }

    #[test]
    fn otlp_41_the_memory_of_bodies_is_bounded() {
        let quarantine = Quarantine::default();
        for n in 0..BODIES_MAX + 1000 {
            quarantine.note(&n.to_be_bytes());
        }
        quarantine.bodies.run_pending_tasks();
        assert!(quarantine.bodies.entry_count() <= BODIES_MAX);
    }
}
