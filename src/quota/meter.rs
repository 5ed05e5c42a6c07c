//! What this collector holds of the rates of one key and one measure, and hands out without asking anybody.

use std::time::{Duration, Instant};

use crate::model::quota::{Limit, Measure, Rates, Window};
use crate::quota::{Ask, Grant, Over, OverQuota};

/// A limit that said no is not asked again before.
pub const RECHECK: Duration = Duration::from_millis(250);
/// What is held and not handed out for this long goes back with the next question: others may need it.
const HELD_MAX: Duration = Duration::from_secs(2);
/// A collector takes the amount of a limit in so many parts. A collector that dies takes one part with it.
const PARTS: u64 = 50;
const PARTS_OF_A_SECOND: u64 = 10;

/// The limits of one measure that hold together.
#[derive(Debug)]
pub struct Meter {
    measure: Measure,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    limit: Limit,
    tokens: u64,
    leased_at: Option<Instant>,
    /// What was left for others, and when all is there again, as the store told last.
    left: u64,
    full_at: Instant,
    refusal: Option<Refusal>,
}

/// The store had not enough.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    at: Instant,
    wait: Duration,
}

/// Where a limit stands, for the RateLimit fields of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: Limit,
    pub remaining: u64,
    pub resets_in: Duration,
}

impl Meter {
    /// Budgets among the rates are not metered here.
    pub fn new(measure: Measure, rates: &Rates, now: Instant) -> Meter {
        let slot = |limit: &Limit| Slot {
            limit: *limit,
            tokens: 0,
            leased_at: None,
            left: limit.amount,
            full_at: now,
            refusal: None,
        };
        Meter { measure, slots: rates.limits().iter().filter(|limit| !limit.window.is_budget()).map(slot).collect() }
    }

    /// Whether `amount` is no more than each limit's, so that it can be handed out some time.
    pub fn fits(&self, amount: u64) -> Result<(), OverQuota> {
        match self.slots.iter().find(|slot| slot.limit.amount < amount) {
            Some(slot) => Err(OverQuota { measure: self.measure, limit: slot.limit, why: Over::Never }),
            None => Ok(()),
        }
    }

    /// Hands out `amount`, of all limits or of none.
    pub fn take(&mut self, amount: u64) -> bool {
        let is_there = self.slots.iter().all(|slot| amount <= slot.tokens);
        if is_there {
            self.slots.iter_mut().for_each(|slot| slot.tokens -= amount);
        }
        is_there
    }

    /// Takes back what was handed out and not used.
    pub fn give_back(&mut self, amount: u64) {
        self.slots.iter_mut().for_each(|slot| slot.tokens = slot.tokens.saturating_add(amount));
    }

    /// What to ask the store for so that `amount` can be handed out. Nothing when it said no a moment ago.
    pub fn asks(&mut self, amount: u64, now: Instant) -> Vec<Ask> {
        if self.slots.iter().any(|slot| slot.is_refused(now)) {
            return Vec::new();
        }
        let measure = self.measure;
        let short = self.slots.iter_mut().filter(|slot| slot.tokens < amount);
        short
            .map(|slot| {
                let returned = slot.outdated(now);
                let least = amount - slot.tokens;
                Ask { measure, limit: slot.limit, least, most: least.max(slot.part()), returned }
            })
            .collect()
    }

    /// What the store answered to `asks`.
    pub fn granted(&mut self, asks: &[Ask], grants: &[Grant], now: Instant) {
        for (ask, grant) in asks.iter().zip(grants) {
            let Some(slot) = self.slots.iter_mut().find(|slot| slot.limit == ask.limit) else { continue };
            slot.tokens = slot.tokens.saturating_add(grant.tokens);
            slot.leased_at = Some(now);
            slot.left = grant.left;
            slot.full_at = now + grant.resets_in;
            slot.refusal = (grant.tokens < ask.least).then_some(Refusal { at: now, wait: grant.wait });
        }
    }

    /// Why `amount` cannot be handed out now.
    pub fn over(&self, amount: u64, now: Instant) -> Option<OverQuota> {
        let short = self.slots.iter().filter(|slot| slot.tokens < amount);
        let (limit, wait) = short.map(|slot| (slot.limit, slot.wait(now))).max_by_key(|(_, wait)| *wait)?;
        Some(OverQuota { measure: self.measure, limit, why: Over::Later(wait) })
    }

    /// What the store refused a short while ago: whoever comes now will have to wait.
    pub fn scarcity(&self, now: Instant) -> Option<OverQuota> {
        let scarce = self.slots.iter().find(|slot| {
            let age = |refusal: Refusal| now.saturating_duration_since(refusal.at);
            slot.refusal.is_some_and(|refusal| age(refusal) < refusal.wait.max(RECHECK))
        })?;
        Some(OverQuota { measure: self.measure, limit: scarce.limit, why: Over::Later(scarce.wait(now)) })
    }

    pub fn standings(&self, now: Instant) -> impl Iterator<Item = Standing> + '_ {
        self.slots.iter().map(move |slot| Standing {
            limit: slot.limit,
            remaining: slot.left.saturating_add(slot.tokens).min(slot.limit.amount),
            resets_in: slot.full_at.saturating_duration_since(now),
        })
    }
}

impl Slot {
    fn part(&self) -> u64 {
        let parts = if self.limit.window == Window::Second { PARTS_OF_A_SECOND } else { PARTS };
        self.limit.amount.div_ceil(parts)
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.refusal.is_some_and(|refusal| now.saturating_duration_since(refusal.at) < refusal.wait.min(RECHECK))
    }

    fn wait(&self, now: Instant) -> Duration {
        self.refusal.map_or(Duration::ZERO, |refusal| (refusal.at + refusal.wait).saturating_duration_since(now))
    }

    /// Tokens that were held for too long. Those of a window that is over have faded by themselves.
    fn outdated(&mut self, now: Instant) -> u64 {
        let Some(age) = self.leased_at.map(|at| now.saturating_duration_since(at)).filter(|age| *age > HELD_MAX) else {
            return 0;
        };
        let tokens = std::mem::take(&mut self.tokens);
        if age < self.limit.window.length(chrono::DateTime::UNIX_EPOCH) { tokens } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING_WRONG: Duration = Duration::ZERO;

    fn meter(rates: &str, now: Instant) -> Meter {
        Meter::new(Measure::Steps, &rates.parse().unwrap(), now)
    }

    fn grant(tokens: u64, left: u64, wait: Duration) -> Grant {
        Grant { tokens, left, resets_in: Duration::from_secs(60), wait }
    }

    #[test]
    fn a_part_is_asked_for_once_and_handed_out_piece_by_piece() {
        let now = Instant::now();
        let mut meter = meter("1000/min", now);
        assert!(!meter.take(1));
        let asks = meter.asks(1, now);
        assert_eq!((asks.len(), asks[0].least, asks[0].most, asks[0].returned), (1, 1, 20, 0));
        meter.granted(&asks, &[grant(20, 980, NOTHING_WRONG)], now);
        assert!((0..20).all(|_| meter.take(1)) && !meter.take(1));
        meter.give_back(5);
        assert!(meter.take(5) && !meter.take(1));
        let large = meter.asks(300, now);
        assert_eq!((large[0].least, large[0].most), (300, 300));
    }

    #[test]
    fn two_windows_hold_together() {
        let now = Instant::now();
        let mut meter = meter("10/s,100/min", now);
        let asks = meter.asks(3, now);
        assert_eq!(asks.len(), 2);
        meter.granted(&asks, &[grant(10, 0, NOTHING_WRONG), grant(2, 0, Duration::from_secs(30))], now);
        assert!(!meter.take(3), "of all or of none");
        let over = meter.over(3, now).unwrap();
        assert_eq!((over.limit.window, over.why), (Window::Minute, Over::Later(Duration::from_secs(30))));
        assert!(meter.take(2));
        assert_eq!(meter.fits(10), Ok(()));
        let never = meter.fits(11).unwrap_err();
        assert_eq!((never.limit.window, never.why), (Window::Second, Over::Never));
    }

    #[test]
    fn a_store_that_said_no_is_left_alone_for_a_moment() {
        let now = Instant::now();
        let mut meter = meter("10/min", now);
        let asks = meter.asks(1, now);
        meter.granted(&asks, &[grant(0, 0, Duration::from_secs(9))], now);
        assert!(meter.asks(1, now + RECHECK / 2).is_empty() && meter.scarcity(now + RECHECK / 2).is_some());
        assert_eq!(meter.asks(1, now + RECHECK).len(), 1);
        assert!(meter.scarcity(now + Duration::from_secs(8)).is_some());
        assert!(meter.scarcity(now + Duration::from_secs(9)).is_none());
        assert_eq!(meter.over(1, now + Duration::from_secs(4)).unwrap().why, Over::Later(Duration::from_secs(5)));
    }

    #[test]
    fn what_lies_idle_goes_back_unless_its_window_is_over() {
        let now = Instant::now();
        let mut meter = meter("100/min", now);
        let asks = meter.asks(2, now);
        meter.granted(&asks, &[grant(2, 98, NOTHING_WRONG)], now);
        assert_eq!(meter.asks(3, now + HELD_MAX)[0].returned, 0);
        let asks = meter.asks(3, now + HELD_MAX * 2);
        assert_eq!((asks[0].returned, asks[0].least), (2, 3));
        meter.granted(&asks, &[grant(3, 95, NOTHING_WRONG)], now);
        assert_eq!(meter.asks(4, now + Duration::from_secs(61))[0].returned, 0);
    }

    #[test]
    fn unlimited_and_budgets_are_not_metered() {
        for rates in ["unlimited", "5/day", "5/month"] {
            let mut meter = meter(rates, Instant::now());
            assert!(meter.take(u64::MAX) && meter.asks(1, Instant::now()).is_empty(), "{rates}");
        }
    }
}
