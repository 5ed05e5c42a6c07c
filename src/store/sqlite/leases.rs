//! The shared count of rates. One process has the file, so nobody shares it: it is kept in memory, where a question costs
//! no sync. A rate begins anew with the process; budgets do not, they are read from the receipts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::model::id::ProjectId;
use crate::model::quota::{Measure, Window};
use crate::quota::{Ask, Grant, Usage};

/// Above so many counts those that no longer matter are dropped.
const COUNTS_KEPT: usize = 10_000;

#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<Rate, Usage>>);

#[derive(PartialEq, Eq, Hash)]
struct Rate {
    project: ProjectId,
    key_id: String,
    measure: Measure,
    window: Window,
}

impl Leases {
    pub fn lease(&self, project: ProjectId, key_id: &str, asks: &[Ask], now: DateTime<Utc>) -> Vec<Grant> {
        // A count is whole after every statement, so a panic elsewhere does not spoil it.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() > COUNTS_KEPT {
            counts.retain(|rate, usage| usage.matters(rate.window, now));
        }
        let lease = |ask: &Ask| {
            let (key_id, measure, window) = (key_id.to_owned(), ask.measure, ask.limit.window);
            let count = counts.entry(Rate { project, key_id, measure, window });
            count.or_insert_with(|| Usage::opened(now)).lease(ask, now)
        };
        asks.iter().map(lease).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::model::quota::Limit;

    #[test]
    fn counts_that_no_longer_matter_do_not_pile_up() {
        let leases = Leases::default();
        let limit = Limit { amount: 5, window: Window::Second };
        let ask = Ask { measure: Measure::Steps, limit, least: 1, most: 1, returned: 0 };
        let start = DateTime::UNIX_EPOCH;
        for n in 0..3 * COUNTS_KEPT {
            let now = start + TimeDelta::milliseconds(n as i64);
            leases.lease(ProjectId(1), &n.to_string(), &[ask], now);
        }
        let kept = leases.0.lock().unwrap().len();
        assert!((2000..=COUNTS_KEPT + 1).contains(&kept), "{kept}");
    }
}
