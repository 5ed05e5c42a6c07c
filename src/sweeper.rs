//! What time alone changes: runs that fall silent, orphans that stay alone, copies of calls, keys' last use,
//! refusals that were counted, checkpoints, partitions for the days to come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::watch;

use crate::assembly::LifeCycle;
use crate::auth::Authenticator;
use crate::store::{Store, StoreError};
use crate::tally::Tally;
use crate::telemetry::Counters;

/// How often due runs are looked for. A look finds them by an index and costs next to nothing when none is due.
const TICK: Duration = Duration::from_millis(200);
/// Runs assembled at a time.
const RUNS_MAX: u32 = 100;
const REFUSALS_EVERY: Duration = Duration::from_secs(1);
const KEYS_EVERY: Duration = Duration::from_secs(10);
const PARTITIONS_EVERY: Duration = Duration::from_secs(3600);

pub struct Sweeper {
    pub store: Arc<dyn Store>,
    pub auth: Arc<Authenticator>,
    pub tally: Arc<Tally>,
    pub counters: Arc<Counters>,
    pub life: LifeCycle,
}

impl Sweeper {
    /// Runs until `stop` turns true. A store that is away is tried again at the next tick.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let (mut refusals_at, mut keys_at, mut partitions_at) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            if refusals_at.elapsed() > REFUSALS_EVERY {
                refusals_at = Instant::now();
                self.log("refusals", self.store_refusals().await);
            }
            self.log("checkpoint", self.store.checkpoint().await);
            self.log("due runs", self.sweep().await);
            if keys_at.elapsed() > KEYS_EVERY {
                keys_at = Instant::now();
                self.log("last use of keys", self.note_used_keys().await);
            }
            if partitions_at.elapsed() > PARTITIONS_EVERY {
                partitions_at = Instant::now();
                self.log("partitions", self.store.make_partitions(Utc::now().date_naive()).await);
            }
        }
        self.log("refusals", self.store_refusals().await);
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        loop {
            let swept = self.store.sweep(&self.life, Utc::now(), RUNS_MAX).await?;
            self.counters.swept.inc_by(u64::from(swept));
            if swept < RUNS_MAX {
                return Ok(());
            }
        }
    }

    async fn note_used_keys(&self) -> Result<(), StoreError> {
        let used = self.auth.take_used();
        if used.is_empty() { Ok(()) } else { self.store.touch_keys(&used, Utc::now()).await }
    }

    async fn store_refusals(&self) -> Result<(), StoreError> {
        let refusals = self.tally.take();
        if refusals.is_empty() {
            return Ok(());
        }
        let done = self.store.add_refusals(&refusals).await;
        if done.is_err() {
            self.tally.put_back(refusals);
        }
        done
    }

    fn log(&self, what: &'static str, done: Result<(), StoreError>) {
        match done {
            Ok(()) => {}
            Err(error @ StoreError::Unavailable(_)) => {
                if let Some(left_out) = self.counters.lines.due(what, Instant::now()) {
                    tracing::warn!(%error, what, left_out, "upkeep has to wait");
                }
            }
            Err(error) => {
                if let Some(left_out) = self.counters.lines.due(what, Instant::now()) {
                    tracing::error!(%error, what, left_out, "upkeep failed");
                }
            }
        }
    }
}
