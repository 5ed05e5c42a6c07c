//! Sends what the spool holds to the database, when that is there: in the order in which it came, a portion at a time, and
//! behind what is sent now.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pipeline::{Pipeline, Refusal};
use crate::spool::{Content, Row, Spool};

/// How often the spool is looked at.
const TICK: Duration = Duration::from_millis(100);
/// The same after requests that could not be stored although the database is there.
const TICK_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long a portion lets others go first.
const YIELD_MAX: Duration = Duration::from_millis(200);
const YIELD_TICK: Duration = Duration::from_millis(5);

pub struct Replayer {
    pub pipeline: Arc<Pipeline>,
    pub spool: Spool,
}

impl Replayer {
    /// Runs until `stop` turns true; what is under way then is finished.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut pause = TICK;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            pause = match self.pass(&stop).await {
                true => TICK,
                false => TICK_AFTER_FAILURE,
            };
        }
    }

    /// Once from the first request to the last, while the database is there. False when some of them stay.
    async fn pass(&self, stop: &watch::Receiver<bool>) -> bool {
        let (mut after, mut is_clean) = (0, true);
        while !self.spool.is_empty() && self.pipeline.can_commit() && !*stop.borrow() {
            self.let_others_go_first().await;
            let Some(portion) = self.spool.read(after).await else { return false };
            if portion.last == after {
                break;
            }
            after = portion.last;
            is_clean &= self.replay(portion.rows).await;
        }
        is_clean
    }

    /// False when some of them stay. All go together, but for submissions of one run: a later one may finish it.
    async fn replay(&self, rows: Vec<Row>) -> bool {
        let (count, mut done, mut under_way, mut runs) = (rows.len(), Vec::new(), JoinSet::new(), HashSet::new());
        for row in rows {
            if let Content::Run(run_id) = row.kept.content
                && !runs.insert((row.kept.project, run_id))
            {
                // When the earlier one has to wait, this one waits behind it.
                if !self.land(&mut under_way, &mut done).await {
                    break;
                }
            }
            let pipeline = self.pipeline.clone();
            under_way.spawn(async move { pipeline.replay(&row.kept).await.map(|()| row) });
        }
        self.land(&mut under_way, &mut done).await;
        self.pipeline.counters.spool_replayed.inc_by(done.len() as u64);
        // What is committed and not forgotten, by a crash at this place too, is sent again and changes nothing.
        (done.is_empty() || self.spool.delete(&done).await) && done.len() == count
    }

    /// Waits for all that is under way. False when some of it has to wait.
    async fn land(&self, under_way: &mut JoinSet<Result<Row, Refusal>>, done: &mut Vec<Row>) -> bool {
        let mut is_clean = true;
        while let Some(landed) = under_way.join_next().await {
            let error = match landed {
                Ok(Ok(row)) => {
                    done.push(row);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(panicked) => panicked.to_string(),
            };
            is_clean = false;
            if let Some(left_out) = self.pipeline.counters.lines.due("replay", Instant::now()) {
                tracing::warn!(error, left_out, "a request in the spool has to wait");
            }
        }
        is_clean
    }

    async fn let_others_go_first(&self) {
        let end = Instant::now() + YIELD_MAX;
        while !self.pipeline.queue.is_idle() && Instant::now() < end {
            tokio::time::sleep(YIELD_TICK).await;
        }
    }
}
