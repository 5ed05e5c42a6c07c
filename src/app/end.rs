//! The end of the program: in the direction of flow, and within a bound whatever the database does.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::queue::Queue;

use super::Stop;

/// How long a stop waits for a COMMIT under way, and for answers, once nobody may wait any more.
pub(super) const LAST_COMMIT_MAX: Duration = Duration::from_secs(2);

/// What is waited for at the end, in the direction of flow.
pub(super) struct Tasks {
    pub listeners: Vec<JoinHandle<()>>,
    pub replayer: Option<JoinHandle<()>>,
    pub stop_replaying: watch::Sender<bool>,
    pub writers: Vec<JoinHandle<()>>,
    pub sweeper: Option<JoinHandle<()>>,
    pub stop_sweeping: watch::Sender<bool>,
}

impl Tasks {
    /// Takes `grace` and [`LAST_COMMIT_MAX`] at most, less when it is `hurried`. A COMMIT that is cut off has either
    /// happened or not, and nobody was told that it has.
    pub async fn end(self, queue: &Queue, grace: Duration, hurried: impl Future<Output = Stop>) -> anyhow::Result<()> {
        let aborts = self.aborts();
        let drained = self.drain(queue);
        tokio::pin!(drained);
        tokio::select! {
            biased;
            drained = &mut drained => return drained,
            () = tokio::time::sleep(grace) => {}
            _ = hurried => {}
        }
        tracing::info!("stopping: whoever still waits is told to come again");
        queue.give_up();
        match tokio::time::timeout(LAST_COMMIT_MAX, drained).await {
            Ok(drained) => drained,
            Err(_) => {
                tracing::warn!("stopping: the database or a client does not answer, not waiting any longer");
                aborts.iter().for_each(AbortHandle::abort);
                Ok(())
            }
        }
    }

    async fn drain(self, queue: &Queue) -> anyhow::Result<()> {
        for listener in self.listeners {
            listener.await.context("a listener ended by a panic")?;
        }
        self.stop_replaying.send_replace(true);
        if let Some(replayer) = self.replayer {
            replayer.await.context("the replayer ended by a panic")?;
        }
        queue.close();
        for writer in self.writers {
            writer.await.context("a writer ended by a panic")?;
        }
        self.stop_sweeping.send_replace(true);
        if let Some(sweeper) = self.sweeper {
            sweeper.await.context("the sweeper ended by a panic")?;
        }
        Ok(())
    }

    fn aborts(&self) -> Vec<AbortHandle> {
        let all = self.listeners.iter().chain(&self.replayer).chain(&self.writers).chain(&self.sweeper);
        all.map(JoinHandle::abort_handle).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const GRACE: Duration = Duration::from_secs(20);

    /// Of a program whose writer waits for a database that is silent.
    fn tasks(listener: JoinHandle<()>) -> Tasks {
        Tasks {
            listeners: vec![listener],
            replayer: None,
            stop_replaying: watch::Sender::new(false),
            writers: vec![tokio::spawn(std::future::pending())],
            sweeper: None,
            stop_sweeping: watch::Sender::new(false),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_database_does_not_hold_up_the_end() {
        let (queue, begin) = (Queue::new(1), Instant::now());
        tasks(tokio::spawn(async {})).end(&queue, GRACE, std::future::pending()).await.unwrap();
        assert_eq!(begin.elapsed(), GRACE + LAST_COMMIT_MAX);
        assert!(queue.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_refuses_at_once_and_lets_a_commit_finish() {
        let (queue, begin) = (Queue::new(1), Instant::now());
        let hurried = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Stop::Announced
        };
        tasks(tokio::spawn(std::future::pending())).end(&queue, GRACE, hurried()).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::from_secs(1) + LAST_COMMIT_MAX);

        let (queue, begin) = (Queue::new(1), Instant::now());
        let mut tasks = tasks(tokio::spawn(async {}));
        tasks.writers = vec![tokio::spawn(tokio::time::sleep(Duration::from_secs(2)))];
        tasks.end(&queue, GRACE, hurried()).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::from_secs(2), "its COMMIT took that long");
    }
}
