//! Whether a key may send what it sends: the loop around `quota`, which asks the store for a part of each limit when the
//! last one is used up, and lets requests wait for it in line.

mod key_limits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use tokio::sync::OwnedSemaphorePermit;

use crate::circuit::Circuit;
use crate::config::Quota as Defaults;
use crate::model::key::ApiKey;
use crate::model::quota::{Amounts, Measure};
use crate::quota::{OverQuota, Standing};
use crate::store::Store;
use crate::telemetry::Counters;

use key_limits::{KeyLimits, Taken};

/// Keys whose counts are kept, and for how long after their last request.
const KEYS_MAX: u64 = 50_000;
const KEYS_IDLE_MAX: Duration = Duration::from_secs(3600);

/// Why a request is not let in.
#[derive(Debug)]
pub enum Denied {
    OverQuota(OverQuota),
    /// Limits could not be looked up in time, or at all.
    Busy,
}

impl From<OverQuota> for Denied {
    fn from(over: OverQuota) -> Denied {
        Denied::OverQuota(over)
    }
}

pub struct Admission {
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    circuit: Arc<Circuit>,
    defaults: Defaults,
    by_key: Cache<String, Arc<KeyLimits>>,
}

impl Admission {
    /// `defaults` hold for what a key's own quota does not name.
    pub fn new(store: Arc<dyn Store>, counters: Arc<Counters>, circuit: Arc<Circuit>, defaults: Defaults) -> Admission {
        let by_key = Cache::builder().max_capacity(KEYS_MAX).time_to_idle(KEYS_IDLE_MAX).build();
        Admission { store, counters, circuit, defaults, by_key }
    }

    /// Lets one request in, before its body is read. Whoever is over a limit that comes back by then waits `until`.
    /// Of a key whose `scarce` measures are used up only a few requests at a time are let in to bring their bodies.
    pub async fn request(&self, key: Arc<ApiKey>, scarce: &[Measure], until: Instant) -> Result<Charge, Denied> {
        let limits = self.limits(&key);
        let body = limits.body(scarce, until).await?;
        limits.take(Measure::Requests, 1, until).await?;
        let admitted = Amounts { requests: 1, ..Amounts::default() };
        Ok(Charge { key, limits, admitted, metered_steps: 0, stored_steps: 0, body })
    }

    /// Counts go on when only the key was looked up again. A changed quota begins with what the store knows of it.
    fn limits(&self, key: &ApiKey) -> Arc<KeyLimits> {
        let current = self.by_key.get(&key.id).filter(|limits| limits.is_for(key));
        current.unwrap_or_else(|| {
            let entry = self.by_key.entry_by_ref(&key.id);
            let changed = entry.and_upsert_with(|old| match old.map(|old| old.into_value()) {
                // Another request was first.
                Some(old) if old.is_for(key) => old,
                _ => {
                    let (store, counters, circuit) = (&self.store, &self.counters, &self.circuit);
                    Arc::new(KeyLimits::new(key, &self.defaults, store.clone(), counters.clone(), circuit.clone()))
                }
            });
            changed.into_value()
        })
    }
}

/// What one request was let in with. Dropped without an end, it counts as used: a sender that hangs up cancels nothing.
pub struct Charge {
    pub key: Arc<ApiKey>,
    limits: Arc<KeyLimits>,
    admitted: Amounts,
    /// Of the steps, those that were taken from rates; none while the store was away.
    metered_steps: u64,
    stored_steps: u64,
    /// Held until the steps are let in.
    body: Option<OwnedSemaphorePermit>,
}

impl Charge {
    /// Bytes of the body as they were sent.
    pub async fn bytes(&mut self, bytes: u64, until: Instant) -> Result<(), Denied> {
        self.limits.take(Measure::Bytes, bytes, until).await?;
        self.admitted.bytes += bytes;
        Ok(())
    }

    /// The steps and log records of a request, if nobody has to wait or to ask for that. Otherwise false.
    pub fn steps_at_once(&mut self, steps: u64) -> Result<bool, OverQuota> {
        let taken = self.limits.take_at_once(Measure::Steps, steps)?;
        Ok(taken.map(|taken| self.note_steps(steps, taken)).is_some())
    }

    pub async fn steps(&mut self, steps: u64, until: Instant) -> Result<(), Denied> {
        let taken = self.limits.take(Measure::Steps, steps, until).await?;
        self.note_steps(steps, taken);
        Ok(())
    }

    fn note_steps(&mut self, steps: u64, taken: Taken) {
        self.admitted.steps += steps;
        if taken == Taken::Metered {
            self.metered_steps += steps;
        }
        self.body = None;
    }

    /// So many of the steps were new to the store.
    pub fn note_stored(&mut self, steps: u64) {
        self.stored_steps += steps;
    }

    /// The request is answered. Steps that were not stored, copies too, cost nothing; rates keep its bytes, which came.
    pub fn settle(mut self) {
        let steps = self.stored_steps.min(self.admitted.steps);
        self.limits.give_back(Measure::Steps, self.metered_steps.saturating_sub(steps));
        self.end(Amounts { steps, ..self.admitted });
    }

    fn end(&mut self, used: Amounts) {
        self.limits.settle(std::mem::take(&mut self.admitted), used);
    }

    /// The limits of the key's requests, steps and bytes, each with what is left of it.
    pub fn standings(&self) -> Vec<(Measure, Standing)> {
        self.limits.standings()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.end(self.admitted);
    }
}
