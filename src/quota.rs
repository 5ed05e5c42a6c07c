//! What a key may send in a window of time: requests, steps and bytes, each a rate of its own.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock, QuantaClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Gcra, RateLimiter};

use crate::config::{Limit, Quota as Defaults, Rate};
use crate::model::key::{ApiKey, Quota};

/// The rate is used up, or the request can never fit into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    /// `requests`, `steps` or `bytes`.
    pub what: &'static str,
    pub limit: Limit,
    /// `None`: larger than a whole window's worth; trying again cannot help.
    pub retry_after: Option<Duration>,
}

impl OverQuota {
    /// `Rate limit exceeded (6000 requests per minute)`.
    pub fn message(&self) -> String {
        let limit = format!("{} {} per {}", self.limit.amount, self.what, self.limit.window.word());
        match self.retry_after {
            Some(_) => format!("Rate limit exceeded ({limit})"),
            None => {
                format!("Request is larger than the whole quota ({limit}): send smaller requests or raise the quota")
            }
        }
    }
}

/// The limiters of every key seen, one set a key. Keys come from the store, so their number is bounded by it.
pub struct Quotas {
    defaults: Defaults,
    by_key: DashMap<String, Arc<KeyLimits>>,
    clock: QuantaClock,
}

impl Quotas {
    pub fn new(defaults: Defaults) -> Quotas {
        Quotas { defaults, by_key: DashMap::new(), clock: QuantaClock::default() }
    }

    /// One request of `bytes` as sent; decided before the body is decoded.
    pub fn admit_request(&self, key: &ApiKey, bytes: u64) -> Result<(), OverQuota> {
        let limits = self.limits(key);
        limits.requests.take(1, &self.clock)?;
        limits.bytes.take(bytes, &self.clock)
    }

    /// The steps of one request, once it is decoded.
    pub fn admit_steps(&self, key: &ApiKey, steps: u64) -> Result<(), OverQuota> {
        self.limits(key).steps.take(steps, &self.clock)
    }

    /// A key whose quota was changed starts with full limiters of the new size.
    fn limits(&self, key: &ApiKey) -> Arc<KeyLimits> {
        if let Some(limits) = self.by_key.get(&key.id)
            && limits.of == key.quota
        {
            return limits.clone();
        }
        let limits = Arc::new(KeyLimits::new(&key.quota, &self.defaults));
        self.by_key.insert(key.id.clone(), limits.clone());
        limits
    }
}

struct KeyLimits {
    of: Quota,
    requests: Limiter,
    steps: Limiter,
    bytes: Limiter,
}

impl KeyLimits {
    fn new(of: &Quota, defaults: &Defaults) -> KeyLimits {
        // Quotas are checked when they are stored; one that a newer version wrote falls back to the default.
        let rate = |own: &Option<String>, default| own.as_deref().and_then(|text| text.parse().ok()).unwrap_or(default);
        KeyLimits {
            requests: Limiter::new("requests", rate(&of.requests, defaults.requests)),
            steps: Limiter::new("steps", rate(&of.steps, defaults.steps)),
            bytes: Limiter::new("bytes", rate(&of.bytes, defaults.bytes)),
            of: of.clone(),
        }
    }
}

/// One GCRA limiter. It counts in units of `scale`, so that an amount of any size fits its 32-bit cells.
struct Limiter {
    what: &'static str,
    bucket: Option<Bucket>,
}

struct Bucket {
    limit: Limit,
    scale: u64,
    gcra: RateLimiter<NotKeyed, InMemoryState, QuantaClock, NoOpMiddleware<governor::clock::QuantaInstant>>,
}

/// More cells than this would need steps of less than a nanosecond a cell in a window of a second.
const CELLS_MAX: u64 = 100_000_000;

impl Limiter {
    fn new(what: &'static str, rate: Rate) -> Limiter {
        Limiter { what, bucket: rate.0.and_then(Bucket::new) }
    }

    fn take(&self, amount: u64, clock: &QuantaClock) -> Result<(), OverQuota> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let over = |retry_after| Err(OverQuota { what: self.what, limit: bucket.limit, retry_after });
        let cells = amount.div_ceil(bucket.scale);
        let Some(cells) = u32::try_from(cells).ok().map(NonZeroU32::new) else { return over(None) };
        let Some(cells) = cells else { return Ok(()) };
        match bucket.gcra.check_n(cells) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => over(Some(not_until.wait_time_from(clock.now()))),
            Err(_insufficient_capacity) => over(None),
        }
    }
}

impl Bucket {
    fn new(limit: Limit) -> Option<Bucket> {
        let scale = limit.amount.div_ceil(CELLS_MAX);
        let cells = NonZeroU32::new(u32::try_from(limit.amount / scale).ok()?)?;
        let gcra = Gcra::with_period(limit.window.duration() / cells.get())?.allow_burst(cells);
        Some(Bucket { limit, scale, gcra: RateLimiter::direct(gcra) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::ProjectId;
    use crate::model::key::Scopes;

    fn key(quota: Quota) -> ApiKey {
        ApiKey {
            id: "abcdefgh".into(),
            name: None,
            project: ProjectId(1),
            project_name: "p".into(),
            scopes: Scopes::INGEST_AND_READ,
            quota,
            secret_hash: [0; 32],
            previous: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            last_user_agent: None,
        }
    }

    fn quotas(requests: &str, steps: &str, bytes: &str) -> Quotas {
        Quotas::new(Defaults {
            requests: requests.parse().unwrap(),
            steps: steps.parse().unwrap(),
            bytes: bytes.parse().unwrap(),
        })
    }

    #[test]
    fn a_whole_window_may_come_at_once_and_not_one_more() {
        let quotas = quotas("3/day", "unlimited", "unlimited");
        let key = key(Quota::default());
        for _ in 0..3 {
            assert_eq!(quotas.admit_request(&key, 1), Ok(()));
        }
        let over = quotas.admit_request(&key, 1).unwrap_err();
        assert_eq!(over.message(), "Rate limit exceeded (3 requests per day)");
        let wait = over.retry_after.unwrap();
        assert!(wait > Duration::from_secs(8 * 3600 - 60) && wait <= Duration::from_secs(8 * 3600), "{wait:?}");
    }

    #[test]
    fn what_never_fits_is_told_apart_from_what_fits_later() {
        let quotas = quotas("unlimited", "100/day", "1GiB/day");
        let key = key(Quota::default());
        assert_eq!(quotas.admit_steps(&key, 101).unwrap_err().retry_after, None);
        assert_eq!(quotas.admit_steps(&key, 100), Ok(()));
        assert!(quotas.admit_steps(&key, 1).unwrap_err().retry_after.is_some());
        assert_eq!(quotas.admit_request(&key, (1 << 30) + 11).unwrap_err().retry_after, None);
        assert_eq!(quotas.admit_request(&key, u64::MAX).unwrap_err().retry_after, None);
        assert_eq!(quotas.admit_request(&key, 1 << 29), Ok(()));
    }

    #[test]
    fn a_keys_own_quota_beats_the_default_and_a_change_takes_effect() {
        let quotas = quotas("1/day", "unlimited", "unlimited");
        let mut key = key(Quota { requests: Some("2/day".into()), ..Quota::default() });
        assert_eq!(quotas.admit_request(&key, 0), Ok(()));
        assert_eq!(quotas.admit_request(&key, 0), Ok(()));
        assert!(quotas.admit_request(&key, 0).is_err());
        key.quota.requests = Some("unlimited".into());
        assert_eq!(quotas.admit_request(&key, 0), Ok(()));
    }

    #[test]
    fn two_keys_do_not_share() {
        let quotas = quotas("1/day", "unlimited", "unlimited");
        let (one, mut two) = (key(Quota::default()), key(Quota::default()));
        two.id = "hgfedcba".into();
        assert_eq!(quotas.admit_request(&one, 0), Ok(()));
        assert_eq!(quotas.admit_request(&two, 0), Ok(()));
    }
}
