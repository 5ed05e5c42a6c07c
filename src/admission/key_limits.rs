//! The limits of one key: a lane for each measure, in which requests wait for their turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout, timeout_at};

use crate::admission::Denied;
use crate::circuit::Circuit;
use crate::config::Quota as Defaults;
use crate::model::id::ProjectId;
use crate::model::key::ApiKey;
use crate::model::quota::{Amounts, Measure, Quota};
use crate::quota::{Ask, Budget, Meter, Over, OverQuota, RECHECK, Standing, ToRead};
use crate::store::{Store, StoreError};
use crate::telemetry::Counters;

/// Requests of a key over its limit whose bodies may be in memory while they wait.
const BODIES_MAX: usize = 4;
/// How long a request waits for the store to tell about limits. After that it goes on: whether the store is there is
/// decided by the commit, and nothing else can be stored meanwhile.
const STORE_WAIT: Duration = Duration::from_secs(1);
/// The same while nothing can be committed.
const STORE_WAIT_WHILE_AWAY: Duration = Duration::from_millis(20);
/// So long nobody waits for it again.
const STORE_AWAY: Duration = Duration::from_secs(1);

/// How an amount was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Metered,
    /// While the store did not tell.
    Unmetered,
}

pub(super) struct KeyLimits {
    project: ProjectId,
    key_id: String,
    quota: Quota,
    lanes: [Lane; 3],
    bodies: Arc<Semaphore>,
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    circuit: Arc<Circuit>,
}

struct Lane {
    measure: Measure,
    counts: Mutex<Counts>,
    /// Who is first holds it until it has what it needs; the others line up behind it.
    line: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

struct Counts {
    meter: Meter,
    budget: Budget,
    away_until: Option<Instant>,
}

impl KeyLimits {
    pub fn new(
        key: &ApiKey,
        defaults: &Defaults,
        store: Arc<dyn Store>,
        counters: Arc<Counters>,
        circuit: Arc<Circuit>,
    ) -> KeyLimits {
        let now = Instant::now();
        let lanes = Measure::ALL.map(|measure| {
            let rates = key.quota.of(measure).unwrap_or_else(|| defaults.of(measure));
            let (meter, budget) = (Meter::new(measure, rates, now), Budget::new(measure, rates));
            let counts = Mutex::new(Counts { meter, budget, away_until: None });
            Lane { measure, counts, line: tokio::sync::Mutex::default(), waiting: AtomicUsize::new(0) }
        });
        KeyLimits {
            project: key.project,
            key_id: key.id.clone(),
            quota: key.quota.clone(),
            lanes,
            bodies: Arc::new(Semaphore::new(BODIES_MAX)),
            store,
            counters,
            circuit,
        }
    }

    pub fn is_for(&self, key: &ApiKey) -> bool {
        self.quota == key.quota
    }

    /// A place among those who bring a body although one of these measures is used up; nothing while there is enough.
    pub async fn body(&self, measures: &[Measure], until: Instant) -> Result<Option<OwnedSemaphorePermit>, OverQuota> {
        let scarcity = |measure: &Measure| self.lane(*measure).lock().meter.scarcity(Instant::now());
        let Some(over) = measures.iter().find_map(scarcity) else { return Ok(None) };
        match timeout_at(until.into(), self.bodies.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(_)) | Err(_) => Err(over),
        }
    }

    /// `None`: somebody has to wait, or to ask the store.
    pub fn take_at_once(&self, measure: Measure, amount: u64) -> Result<Option<Taken>, OverQuota> {
        let lane = self.lane(measure);
        if lane.waiting.load(Ordering::Acquire) > 0 { Ok(None) } else { lane.take(amount) }
    }

    /// Waits for `amount` until then.
    pub async fn take(self: &Arc<Self>, measure: Measure, amount: u64, until: Instant) -> Result<Taken, Denied> {
        if let Some(taken) = self.take_at_once(measure, amount)? {
            return Ok(taken);
        }
        let lane = self.lane(measure);
        let _waiting = Waiting::among(&lane.waiting);
        let Ok(_first) = timeout_at(until.into(), lane.line.lock()).await else {
            return Err(lane.denied(amount));
        };
        loop {
            if let Some(taken) = lane.take(amount)? {
                return Ok(taken);
            }
            if self.ask(measure, amount).await? {
                continue;
            }
            let denied = lane.denied(amount);
            let Denied::OverQuota(OverQuota { why: Over::Later(wait), .. }) = denied else { return Err(denied) };
            if Instant::now() + wait > until {
                return Err(denied);
            }
            // Others may give something back, and replicas too.
            sleep(wait.clamp(Duration::from_millis(1), RECHECK)).await;
        }
    }

    pub fn give_back(&self, measure: Measure, amount: u64) {
        self.lane(measure).lock().meter.give_back(amount);
    }

    pub fn settle(&self, admitted: Amounts, used: Amounts) {
        for lane in &self.lanes {
            lane.lock().budget.settle(admitted.of(lane.measure), used.of(lane.measure));
        }
    }

    pub fn standings(&self) -> Vec<(Measure, Standing)> {
        let (now, clock) = (Instant::now(), Utc::now());
        let of_lane = |lane: &Lane| {
            let counts = lane.lock();
            let all = counts.meter.standings(now).chain(counts.budget.standings(clock));
            all.map(|standing| (lane.measure, standing)).collect::<Vec<_>>()
        };
        self.lanes.iter().flat_map(of_lane).collect()
    }

    /// Asks the store for what is missing. False when there is nothing to ask now.
    async fn ask(self: &Arc<Self>, measure: Measure, amount: u64) -> Result<bool, Denied> {
        let (asks, to_read) = {
            let mut counts = self.lane(measure).lock();
            let now = Instant::now();
            (counts.meter.asks(amount, now), counts.budget.to_read((now, Utc::now())))
        };
        if asks.is_empty() && to_read.is_empty() {
            return Ok(false);
        }
        // A task, so that a grant is kept although the request that asked for it goes away.
        let asked = tokio::spawn(self.clone().ask_store(measure, asks, to_read));
        let wait = if self.circuit.is_open() { STORE_WAIT_WHILE_AWAY } else { STORE_WAIT };
        match timeout(wait, asked).await {
            Ok(Ok(Ok(()))) => return Ok(true),
            Ok(Ok(Err(error @ (StoreError::Broken(_) | StoreError::Data(_))))) => {
                if let Some(left_out) = self.counters.lines.due("quota", Instant::now()) {
                    tracing::error!(%error, left_out, "limits cannot be looked up");
                }
                return Err(Denied::Busy);
            }
            Ok(Ok(Err(StoreError::Unavailable(_)))) | Ok(Err(_)) | Err(_) => {}
        }
        self.lane(measure).lock().away_until = Some(Instant::now() + STORE_AWAY);
        Ok(true)
    }

    async fn ask_store(
        self: Arc<Self>,
        measure: Measure,
        asks: Vec<Ask>,
        to_read: Vec<ToRead>,
    ) -> Result<(), StoreError> {
        let lane = self.lane(measure);
        if !asks.is_empty() {
            let grants = self.store.lease(self.project, &self.key_id, &asks).await?;
            lane.lock().meter.granted(&asks, &grants, Instant::now());
        }
        for what in to_read {
            let used = self.store.usage_since(self.project, &self.key_id, what.since).await?;
            lane.lock().budget.read(what, used.of(measure), Instant::now(), Utc::now());
        }
        Ok(())
    }

    fn lane(&self, measure: Measure) -> &Lane {
        &self.lanes[measure as usize]
    }
}

impl Lane {
    fn take(&self, amount: u64) -> Result<Option<Taken>, OverQuota> {
        let (now, clock) = (Instant::now(), Utc::now());
        let mut counts = self.lock();
        counts.meter.fits(amount)?;
        let is_away = counts.away_until.is_some_and(|until| now < until);
        if !is_away && !counts.budget.to_read((now, clock)).is_empty() {
            return Ok(None);
        }
        counts.budget.take(amount, clock)?;
        if counts.meter.take(amount) {
            return Ok(Some(Taken::Metered));
        }
        if is_away {
            return Ok(Some(Taken::Unmetered));
        }
        counts.budget.settle(amount, 0);
        Ok(None)
    }

    /// Why `amount` cannot be had now; when no limit says so, it is the store that takes its time.
    fn denied(&self, amount: u64) -> Denied {
        let now = Instant::now();
        let counts = self.lock();
        let over = counts.meter.over(amount, now).or_else(|| counts.meter.scarcity(now));
        over.map_or(Denied::Busy, Denied::OverQuota)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after every statement, so a panic elsewhere does not spoil them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one who waits, as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Waiting<'a> {
        waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
