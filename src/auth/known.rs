//! What is known of keys: those of the store, each believed for a short time.
//!
//! Only a yes comes from memory. A no is always the store's word, asked after the request came: so a secret that was made a
//! moment ago works at once on every replica, and a refusal costs the same look-up whether the id exists or not. Ids that do
//! not exist are not kept at all, so nobody can push real keys out of memory by making ids up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use moka::sync::Cache;
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::model::key::ApiKey;
use crate::store::{Store, StoreError};

/// How long what is known holds.
struct Times {
    /// A key is believed this long after it was looked up; a revocation takes effect on every replica within it.
    fresh: Duration,
    /// A key that is used is looked up again from this age on, beside its requests, so that none of them waits for it.
    renewed_after: Duration,
    /// While the store is away, a key that was good is good until this age.
    stale_grace: Duration,
    /// How long a request with a key that is no longer fresh waits for the store's word. Who does not answer in this time is
    /// away.
    answer_max: Duration,
    /// The same while the store is known to be away: it is waited for by the commit, whose time is measured so that the
    /// sender's own patience lasts for a second try.
    away_answer_max: Duration,
}

const TIMES: Times = Times {
    fresh: Duration::from_secs(4),
    renewed_after: Duration::from_secs(2),
    stale_grace: super::STALE_GRACE,
    answer_max: Duration::from_secs(1),
    away_answer_max: Duration::from_millis(250),
};

/// Keys in memory, all of them real.
const KEYS_MAX: u64 = 50_000;
/// Look-ups at a time for keys that are not known to be good, so that made-up ones never stand in the way of the others.
const STRANGERS_MAX: usize = 2;
/// How long such a key waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(3);

/// Compared with where a key has no hash, so that every comparison takes the same time. The hash of nothing anybody has.
const NO_HASH: [u8; 32] = [0; 32];

type Flights = Mutex<HashMap<String, Arc<Flight>>>;

/// Where keys are looked up.
#[async_trait]
pub trait Registry: Send + Sync {
    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError>;
}

pub struct Stored(pub Arc<dyn Store>);

#[async_trait]
impl Registry for Stored {
    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        self.0.key(id).await
    }
}

pub struct KnownKeys<R> {
    registry: R,
    times: Times,
    good: Cache<String, Looked>,
    /// Ids that are looked up or waited for now, so that each is looked up once at a time.
    flights: Flights,
    strangers: Semaphore,
    /// The last look-up failed, or did not come in time.
    is_away: AtomicBool,
}

/// What a look-up found. It says how things stood at `begun` or later.
#[derive(Clone)]
struct Looked {
    begun: Instant,
    key: Option<Arc<ApiKey>>,
    /// Somebody looks again.
    is_renewed: Arc<AtomicBool>,
}

type LookUp = Result<Looked, NoWord>;

/// Why nobody knows what a key is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoWord {
    #[error(transparent)]
    Store(Arc<StoreError>),
    #[error("too many unknown keys wait to be looked up")]
    Crowded,
}

/// Who wants to look an id up, in a row; the last result is there for those who waited.
#[derive(Default)]
struct Flight(tokio::sync::Mutex<Option<Landed>>);

struct Landed {
    at: Instant,
    found: LookUp,
}

impl<R: Registry + 'static> KnownKeys<R> {
    /// While the registry is away, a key that was good is good until the age `stale_grace`.
    pub fn new(registry: R, stale_grace: Duration) -> KnownKeys<R> {
        KnownKeys::with(registry, Times { stale_grace, ..TIMES })
    }

    fn with(registry: R, times: Times) -> KnownKeys<R> {
        KnownKeys {
            registry,
            times,
            good: Cache::new(KEYS_MAX),
            flights: Flights::default(),
            strangers: Semaphore::new(STRANGERS_MAX),
            is_away: AtomicBool::new(false),
        }
    }

    /// The key with this id, if it is live and has, or had until a while ago, a secret with this hash. An error when only
    /// the store could tell and is away.
    pub async fn admitted(
        self: &Arc<Self>,
        id: &str,
        presented_hash: &[u8; 32],
    ) -> Result<Option<Arc<ApiKey>>, NoWord> {
        let arrived = Instant::now();
        let kept = self.good.get(id);
        let admitted = admitted_of(kept.as_ref(), presented_hash, Utc::now());
        if let (Some(looked), Some(key)) = (kept, admitted) {
            match looked.begun.elapsed() {
                age if age < self.times.renewed_after => return Ok(Some(key)),
                age if age < self.times.fresh => {
                    if !looked.is_renewed.swap(true, Ordering::AcqRel) {
                        tokio::spawn(self.clone().renew(id.to_owned(), looked));
                    }
                    return Ok(Some(key));
                }
                age if age < self.times.stale_grace => match self.word_on(id, looked).await {
                    Some(Ok(newer)) => {
                        if let Some(key) = admitted_of(Some(&newer), presented_hash, Utc::now()) {
                            return Ok(Some(key));
                        }
                    }
                    // Away.
                    Some(Err(_)) | None => return Ok(Some(key)),
                },
                _ => {}
            }
        }
        let says_yes = |looked: &Looked| admitted_of(Some(looked), presented_hash, Utc::now()).is_some();
        let enough = |looked: &Looked| looked.begun >= arrived || self.is_fresh(looked) && says_yes(looked);
        let looked = self.look_up_stranger(id, arrived, enough).await?;
        Ok(admitted_of(Some(&looked), presented_hash, Utc::now()))
    }

    /// The key in memory whose secret has this hash, or had it, whether it is live or not.
    pub fn owner(&self, id: &str, presented_hash: &[u8; 32]) -> Option<Arc<ApiKey>> {
        let key = self.good.get(id)?.key?;
        let (is_current, is_previous) = compared(Some(&key), presented_hash);
        bool::from(is_current | is_previous).then_some(key)
    }

    /// What the store says about a key that was good, later than `looked`; `None` when it does not say it in time.
    async fn word_on(self: &Arc<Self>, id: &str, looked: Looked) -> Option<LookUp> {
        let is_away = self.is_away.load(Ordering::Acquire);
        let wait = if is_away { self.times.away_answer_max } else { self.times.answer_max };
        // A task, so that an answer which comes after this request went on still counts for the next one.
        let asked = tokio::spawn(self.clone().renew(id.to_owned(), looked));
        match tokio::time::timeout(wait, asked).await {
            Ok(word) => word.ok(),
            Err(_) => {
                self.is_away.store(true, Ordering::Release);
                None
            }
        }
    }

    async fn renew(self: Arc<Self>, id: String, old: Looked) -> LookUp {
        let enough = |looked: &Looked| looked.begun > old.begun && self.is_fresh(looked);
        let renewed = self.look_up(&id, Instant::now(), enough).await;
        // After a failure the next request tries again.
        old.is_renewed.store(false, Ordering::Release);
        renewed
    }

    fn is_fresh(&self, looked: &Looked) -> bool {
        looked.begun.elapsed() < self.times.fresh
    }

    /// A look-up that is `enough` for who asks since `arrived`: that of another who asked for the same id, or a new one. A
    /// failure counts for all who waited for it.
    async fn look_up(&self, id: &str, arrived: Instant, enough: impl Fn(&Looked) -> bool) -> LookUp {
        self.look_up_aboard(&Boarding::of(&self.flights, id), arrived, enough).await
    }

    /// The same for a key that is not known to be good. It waits for its turn before it boards the flight: nobody makes a good
    /// key wait by crowding.
    async fn look_up_stranger(&self, id: &str, arrived: Instant, enough: impl Fn(&Looked) -> bool) -> LookUp {
        let boarding = Boarding::of(&self.flights, id);
        let turn = tokio::time::timeout(TURN_MAX, self.strangers.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(NoWord::Crowded) };
        self.look_up_aboard(&boarding, arrived, enough).await
    }

    async fn look_up_aboard(
        &self,
        boarding: &Boarding<'_>,
        arrived: Instant,
        enough: impl Fn(&Looked) -> bool,
    ) -> LookUp {
        let mut landed = boarding.flight.0.lock().await;
        match &*landed {
            Some(Landed { found: Ok(looked), .. }) if enough(looked) => return Ok(looked.clone()),
            Some(Landed { at, found: Err(error) }) if *at >= arrived => return Err(error.clone()),
            _ => {}
        }
        let begun = Instant::now();
        let found = match self.registry.key(boarding.id).await {
            Ok(key) => Ok(Looked { begun, key: key.map(Arc::new), is_renewed: Arc::default() }),
            Err(error) => Err(NoWord::Store(Arc::new(error))),
        };
        self.is_away.store(found.is_err(), Ordering::Release);
        if let Ok(looked) = &found
            && looked.key.is_some()
        {
            self.good.insert(boarding.id.to_owned(), looked.clone());
        }
        *landed = Some(Landed { at: Instant::now(), found: found.clone() });
        found
    }
}

/// The key of a look-up, if it is live and this is the hash of a secret of its. Both secrets are compared, always, and in
/// constant time.
fn admitted_of(looked: Option<&Looked>, presented_hash: &[u8; 32], now: DateTime<Utc>) -> Option<Arc<ApiKey>> {
    let key = looked.and_then(|looked| looked.key.as_ref());
    let previous = key.and_then(|key| key.previous);
    let is_previous_good = Choice::from(u8::from(previous.is_some_and(|previous| now < previous.until)));
    let (is_current, is_previous) = compared(key.map(Arc::as_ref), presented_hash);
    let is_its_own = bool::from(is_current | (is_previous & is_previous_good));
    key.filter(|key| is_its_own && key.is_live(now)).cloned()
}

/// Whether it is the hash of the present secret, and of the previous one.
fn compared(key: Option<&ApiKey>, presented_hash: &[u8; 32]) -> (Choice, Choice) {
    let current = key.map_or(&NO_HASH, |key| &key.secret_hash);
    let previous = key.and_then(|key| key.previous).map_or(NO_HASH, |previous| previous.hash);
    (current.ct_eq(presented_hash), previous.ct_eq(presented_hash))
}

/// Somebody's place on the flight of an id. The last one to leave takes the flight away.
struct Boarding<'a> {
    flights: &'a Flights,
    id: &'a str,
    flight: Arc<Flight>,
}

impl<'a> Boarding<'a> {
    fn of(flights: &'a Flights, id: &'a str) -> Boarding<'a> {
        let mut by_id = flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = by_id.entry(id.to_owned()).or_default().clone();
        Boarding { flights, id, flight }
    }
}

impl Drop for Boarding<'_> {
    fn drop(&mut self) {
        let mut by_id = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and this one; nobody boards while the map is locked.
        if Arc::strong_count(&self.flight) == 2 {
            by_id.remove(self.id);
        }
    }
}

#[cfg(test)]
mod tests;
