//! The end of a run that is too long to be assembled: what the store adds up of its latest steps.

use crate::assembly::usage::Spent;
use crate::model::step::Usage;
use crate::prices::Usd;

/// Sums over the steps behind those that are assembled. Nothing tells whether two of them are one call, or which of them
/// the run is: they are counted as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rest {
    pub steps: i64,
    pub errors: i64,
    pub model_calls: i64,
    /// Of the calls.
    pub usage: Usage,
    /// USD, of the calls.
    pub cost: Option<f64>,
    /// Nanoseconds since 1970.
    pub latest_end_ns: Option<u64>,
    /// Some GenAI step has not ended.
    pub is_unfinished: bool,
}

impl Rest {
    pub fn is_empty(&self) -> bool {
        self.steps == 0
    }

    pub(super) fn spent(&self) -> Spent {
        let usage = (!self.usage.is_empty()).then_some(self.usage);
        Spent { usage, cost: self.cost.and_then(Usd::from_f64), is_reported: false }
    }
}
