//! Whether the database is away, judged by the writers' tries: a circuit that opens when they fail, is probed while it is
//! open, and closes at the first commit. [`State`] is pure; [`Circuit`] is what writers and requests share.
//!
//! A database that is there and refuses our statements commits as little as one that is away, so it opens the circuit
//! too. Only the text differs: nothing but a person mends it.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::state::State;
use crate::store::Writable;

pub use self::state::Disagreement;

/// The longest time without a commit while jobs wait.
pub const STALL_MAX: Duration = Duration::from_secs(5);
/// How long a probe may take: longer than a store waits for a connection of its readers before it makes one of its own.
const PROBE_MAX: Duration = Duration::from_secs(4);
/// How often the circuit is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Shared by the writers, who tell it what happens, and by all who want to know.
pub struct Circuit {
    state: Mutex<State>,
    is_open: watch::Sender<bool>,
}

/// A writer has jobs in its hands; dropped when it has not.
pub struct Busy<'a> {
    circuit: &'a Circuit,
    /// How many commits there were when it took them.
    commits: u64,
}

impl Circuit {
    /// Opens after `stall_max` without a commit, or after failures.
    pub fn new(stall_max: Duration) -> Circuit {
        Circuit { state: Mutex::new(State::new(stall_max, Instant::now())), is_open: watch::Sender::new(false) }
    }

    /// The database is away: nothing that is sent now would be committed.
    pub fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    /// The last thing that was heard of the database is a commit, or not yet enough failures.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed()
    }

    /// Why nothing is committed, when that is for what our statements say.
    pub fn disagreement(&self) -> Option<Disagreement> {
        self.lock().disagreement(Instant::now())
    }

    /// Waits until it is open; at once when it is.
    pub async fn opened(&self) {
        // The sender lives as long as the circuit.
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
    }

    /// A writer took jobs and tries to commit them as long as the value lives.
    pub fn begin(&self) -> Busy<'_> {
        let commits = self.change(State::begin);
        Busy { circuit: self, commits }
    }

    pub fn committed(&self) {
        self.change(State::committed);
    }

    /// A try failed because the database was not there.
    pub fn failed(&self) {
        self.change(|state, now| state.failed(now, rand::random()));
    }

    /// Looks after the time, and asks the store while the circuit is open. Runs until it is dropped.
    pub async fn keep_probing(self: Arc<Self>, store: Arc<dyn Writable>) {
        loop {
            tokio::time::sleep(TICK).await;
            self.change(|state, now| state.check(now, rand::random()));
            if self.lock().is_probe_due(Instant::now()) {
                let is_there = matches!(tokio::time::timeout(PROBE_MAX, store.ping()).await, Ok(Ok(())));
                self.change(|state, now| state.probed(is_there, now, rand::random()));
            }
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut State, Instant) -> R) -> R {
        let (mut state, now) = (self.lock(), Instant::now());
        let was_closed = state.is_closed();
        let changed = change(&mut state, now);
        let (is_closed, is_open, disagreement) = (state.is_closed(), state.is_open(), state.disagreement(now));
        // Told under the lock, so that what is told last is what is.
        self.is_open.send_if_modified(|told| std::mem::replace(told, is_open) != is_open);
        drop(state);
        match (was_closed, is_closed, disagreement) {
            (true, false, None) => tracing::warn!("the database is away"),
            (true, false, Some(disagreement)) => tracing::error!("{disagreement}"),
            (false, true, _) => tracing::info!("the database commits again"),
            _ => {}
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy<'_> {
    /// The jobs were refused for what our statements say, not for their data. No news when somebody committed meanwhile.
    pub fn disagreed(&self, disagreement: Disagreement) {
        self.circuit.change(|state, now| state.disagreed(self.commits, disagreement, now, rand::random()));
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.circuit.change(|state, _| state.end());
    }
}

#[cfg(test)]
mod tests {
    use super::state::FAILURES_MAX;
    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_when_it_opens() {
        let circuit = Arc::new(Circuit::new(STALL_MAX));
        let waiting = tokio::spawn({
            let circuit = circuit.clone();
            async move { circuit.opened().await }
        });
        let busy = circuit.begin();
        for _ in 0..FAILURES_MAX {
            assert!(!circuit.is_open());
            circuit.failed();
        }
        waiting.await.unwrap();
        drop(busy);
        assert_eq!(circuit.lock().busy, 0);
        circuit.opened().await;
        circuit.committed();
        assert!(!circuit.is_open());
    }
}
