//! Whether data is taken: not before the schema stands, and not when the program ends.

use std::time::Duration;

use tokio::sync::watch;

/// Closed to begin with, for a moment.
pub struct Gate(watch::Sender<State>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The program starts and is about to take data.
    Starting,
    Open,
    /// The database is away, or the program ends.
    Shut,
}

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(State::Open);
    }

    /// Whoever waits is told to come again.
    pub fn shut(&self) {
        self.0.send_replace(State::Shut);
    }

    pub fn is_open(&self) -> bool {
        *self.0.borrow() == State::Open
    }

    /// Whether it is open, once the start is over; after `patience` as it is then. Some exporters take an answer that says
    /// later for the end of the matter, so that a start shall give none.
    pub async fn pass(&self, patience: Duration) -> bool {
        if self.is_open() {
            return true;
        }
        let mut state = self.0.subscribe();
        let started = tokio::time::timeout(patience, state.wait_for(|state| *state != State::Starting)).await;
        matches!(started, Ok(Ok(state)) if *state == State::Open)
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate(watch::Sender::new(State::Starting))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const HOLD: Duration = Duration::from_secs(4);

    /// What a request is told that comes at the start, and after which time, when `then` happens after a second.
    async fn told(then: impl FnOnce(&Gate)) -> (bool, Duration) {
        let (gate, begin) = (Gate::default(), Instant::now());
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            then(&gate);
        };
        let (passed, ()) = tokio::join!(gate.pass(HOLD), later);
        (passed, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_waited_for_and_nothing_else() {
        assert_eq!(told(Gate::open).await, (true, Duration::from_secs(1)));
        assert_eq!(told(Gate::shut).await, (false, Duration::from_secs(1)));
        assert_eq!(told(|_| ()).await, (false, HOLD));
        let (gate, begin) = (Gate::default(), Instant::now());
        gate.shut();
        assert!(!gate.pass(HOLD).await);
        gate.open();
        assert!(gate.pass(HOLD).await);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
