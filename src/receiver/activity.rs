//! How long an HTTP/1.1 connection may say nothing, and how long it may take to say the head of a request.
//!
//! hyper has one timer for both. Short, it cuts exporters that send once a minute on a kept-alive connection, and some
//! of them lose the batch; long, it lets a client hold a connection by one byte at a time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

/// A client must finish the head of a request within this from its first byte.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this. Metrics are exported once a minute, and exporters in Go and
/// .NET do not retry a reset on a connection that they reuse.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Deadlines are looked at this often: a timer for every byte would cost more than it tells.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What one connection is doing.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug)]
enum State {
    Idle { since: Instant },
    Head { since: Instant },
    Request,
}

impl State {
    fn deadline(self) -> Option<Instant> {
        match self {
            State::Idle { since } => Some(since + IDLE_TIMEOUT),
            State::Head { since } => Some(since + HEAD_TIMEOUT),
            // Bodies have a pace of their own, answers a time of their own.
            State::Request => None,
        }
    }
}

impl Activity {
    /// A connection whose first bytes are here.
    pub fn begun() -> Activity {
        Activity(Arc::new(Mutex::new(State::Head { since: Instant::now() })))
    }

    /// A head is complete. Until the guard is dropped, with the end of the answer, no deadline runs.
    pub fn request(&self) -> InRequest {
        self.set(State::Request);
        InRequest(self.clone())
    }

    /// Completes when the connection said nothing, or took over its head, for too long.
    pub async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let deadline = self.state().deadline();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            let look = now + LOOK_EVERY;
            tokio::time::sleep_until(deadline.map_or(look, |deadline| deadline.min(look)).into()).await;
        }
    }

    pub fn is_in_request(&self) -> bool {
        matches!(self.state(), State::Request)
    }

    fn read(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Idle { .. } = *state {
            *state = State::Head { since: Instant::now() };
        }
    }

    fn state(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// A request that is under way.
pub(super) struct InRequest(Activity);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.set(State::Idle { since: Instant::now() });
    }
}

/// The reading side of a socket, which tells its activity of every byte.
pub(super) struct Watched<S> {
    pub socket: S,
    pub activity: Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.read();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_a_short_deadline_silence_a_long_one_and_a_request_none() {
        let activity = Activity::begun();
        let left = |activity: &Activity| activity.state().deadline().map(|deadline| deadline - Instant::now());
        assert!(left(&activity).unwrap() <= HEAD_TIMEOUT);
        let request = activity.request();
        activity.read();
        assert_eq!(left(&activity), None, "a body is no head");
        drop(request);
        assert!(left(&activity).unwrap() > Duration::from_secs(150));
        activity.read();
        assert!(left(&activity).unwrap() <= HEAD_TIMEOUT);
    }

    #[tokio::test]
    async fn what_took_too_long_is_overdue() {
        let since = Instant::now().checked_sub(HEAD_TIMEOUT).unwrap();
        let overdue = async |state| {
            let activity = Activity(Arc::new(Mutex::new(state)));
            tokio::time::timeout(Duration::from_millis(20), activity.overdue()).await.is_ok()
        };
        assert!(overdue(State::Head { since }).await);
        assert!(!overdue(State::Idle { since }).await);
        assert!(!overdue(State::Request).await);
    }
}
