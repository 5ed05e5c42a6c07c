//! Limits of a day or a month. What is used of them is what the receipts say, and beside that what this collector has
//! taken since it read them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::model::quota::{Limit, Measure, Rates};
use crate::quota::{Over, OverQuota, Standing};

/// Receipts that were read this long ago are read again, so that what other collectors stored counts.
const FRESH: Duration = Duration::from_secs(2);

/// The budgets of one key and one measure.
#[derive(Debug)]
pub struct Budget {
    measure: Measure,
    slots: Vec<Slot>,
    /// Admitted and not settled yet.
    under_way: u64,
    /// Settled as used since the start.
    used: u64,
}

#[derive(Debug)]
struct Slot {
    limit: Limit,
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The period that it was read of.
    since: DateTime<Utc>,
    /// What the receipts of the period say, and what had been settled here when they were read.
    receipts: u64,
    used_before: u64,
    at: Instant,
}

impl Budget {
    /// Rates among them are not looked at here.
    pub fn new(measure: Measure, rates: &Rates) -> Budget {
        let slots = rates.limits().iter().filter(|limit| limit.window.is_budget());
        Budget {
            measure,
            slots: slots.map(|limit| Slot { limit: *limit, known: None }).collect(),
            under_way: 0,
            used: 0,
        }
    }

    /// The starts of the periods whose receipts must be read before the next [`Budget::take`], and what is to be told to
    /// [`Budget::read`] with them.
    pub fn to_read(&self, (now, clock): (Instant, DateTime<Utc>)) -> Vec<ToRead> {
        let stale = |slot: &&Slot| {
            let known = slot.known.filter(|known| known.since == slot.limit.window.period(clock).0);
            known.is_none_or(|known| now.saturating_duration_since(known.at) >= FRESH)
        };
        let to_read = |slot: &Slot| ToRead { since: slot.limit.window.period(clock).0, used_before: self.used };
        self.slots.iter().filter(stale).map(to_read).collect()
    }

    /// The receipts since that time add up to `receipts`.
    pub fn read(&mut self, what: ToRead, receipts: u64, now: Instant, clock: DateTime<Utc>) {
        let ToRead { since, used_before } = what;
        for slot in self.slots.iter_mut().filter(|slot| slot.limit.window.period(clock).0 == since) {
            slot.known = Some(Known { since, receipts, used_before, at: now });
        }
    }

    /// Admits `amount`, or says which budget is used up. What was never read counts as unused.
    pub fn take(&mut self, amount: u64, clock: DateTime<Utc>) -> Result<(), OverQuota> {
        for slot in &self.slots {
            let taken = slot.taken(self.under_way, self.used, clock);
            let why = match amount <= slot.limit.amount {
                true if taken.saturating_add(amount) <= slot.limit.amount => continue,
                true => Over::Spent { until: slot.limit.window.period(clock).1 },
                false => Over::Never,
            };
            return Err(OverQuota { measure: self.measure, limit: slot.limit, why });
        }
        self.under_way += amount;
        Ok(())
    }

    /// Of what was admitted, `used` was used.
    pub fn settle(&mut self, admitted: u64, used: u64) {
        self.under_way = self.under_way.saturating_sub(admitted);
        self.used = self.used.saturating_add(used);
    }

    /// Each budget with what is left of it.
    pub fn standings(&self, clock: DateTime<Utc>) -> impl Iterator<Item = Standing> + '_ {
        self.slots.iter().map(move |slot| Standing {
            limit: slot.limit,
            remaining: slot.limit.amount.saturating_sub(slot.taken(self.under_way, self.used, clock)),
            resets_in: (slot.limit.window.period(clock).1 - clock).to_std().unwrap_or_default(),
        })
    }
}

/// Receipts to be read: all since this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToRead {
    pub since: DateTime<Utc>,
    used_before: u64,
}

impl Slot {
    fn taken(&self, under_way: u64, used: u64, clock: DateTime<Utc>) -> u64 {
        let known = self.known.filter(|known| known.since == self.limit.window.period(clock).0);
        let Some(known) = known else { return under_way };
        // What is settled while receipts are read may count twice until they are read again: never too little.
        known.receipts.saturating_add(used - known.used_before).saturating_add(under_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quota::Window;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn budget(rates: &str) -> Budget {
        Budget::new(Measure::Steps, &rates.parse().unwrap())
    }

    #[test]
    fn a_budget_is_used_by_what_is_stored_anywhere() {
        let (now, clock) = (Instant::now(), at("2026-05-31T10:00:00Z"));
        let mut budget = budget("100/day,10000/min");
        let to_read = budget.to_read((now, clock));
        assert_eq!(to_read.len(), 1);
        assert_eq!(to_read[0].since, at("2026-05-31T00:00:00Z"));
        budget.read(to_read[0], 40, now, clock);
        assert!(budget.to_read((now + FRESH / 2, clock)).is_empty());

        assert_eq!(budget.take(50, clock), Ok(()));
        let spent = budget.take(20, clock).unwrap_err();
        assert_eq!(spent.why, Over::Spent { until: at("2026-06-01T00:00:00Z") });
        assert!(spent.message().contains("100 steps per day") && spent.message().contains("2026-06-01T00:00:00Z"));
        // Forty of the fifty were copies.
        budget.settle(50, 10);
        let standings: Vec<Standing> = budget.standings(clock).collect();
        let (limit, resets_in) = (Limit { amount: 100, window: Window::Day }, Duration::from_secs(14 * 3600));
        assert_eq!(standings, [Standing { limit, remaining: 50, resets_in }]);
        assert_eq!(budget.take(50, clock), Ok(()));
        assert!(budget.take(1, clock).is_err());
        budget.settle(50, 50);

        // Read again, the receipts hold all of it.
        let to_read = budget.to_read((now + FRESH, clock));
        budget.read(to_read[0], 99, now + FRESH, clock);
        assert_eq!(budget.take(1, clock), Ok(()));
        assert!(budget.take(1, clock).is_err());
    }

    #[test]
    fn a_new_period_starts_anew_and_a_giant_never_fits() {
        let now = Instant::now();
        let (late, next) = (at("2026-05-31T23:59:59Z"), at("2026-06-01T00:00:00Z"));
        let mut budget = budget("100/day,150/month");
        for what in budget.to_read((now, late)) {
            budget.read(what, 100, now, late);
        }
        assert!(budget.take(1, late).is_err());
        for what in budget.to_read((now, next)) {
            budget.read(what, 0, now, next);
        }
        assert_eq!(budget.take(101, next).unwrap_err().why, Over::Never);
        assert_eq!(budget.take(100, next), Ok(()));
    }
}
