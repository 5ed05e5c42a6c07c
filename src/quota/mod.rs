//! What a key may send, as functions of data and `now`: the shared count of a rate ([`Usage`]), the share of it that
//! this collector holds ([`Meter`]), and budgets that last a day or a month ([`Budget`]).
//!
//! A rate is counted by a sliding window. Its first window opens with the first request and lets the whole amount come
//! at once; what was taken in a window weighs on the next one and fades evenly. So any window from an idle start holds
//! the amount exactly, and a sender that always has more is let in at a steady pace. A leaky bucket (GCRA) with room for
//! a whole window would let twice the amount into the first one.

mod budget;
mod meter;
mod usage;

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

pub use budget::{Budget, ToRead};
pub use meter::{Meter, RECHECK, Standing};
pub use usage::{Ask, Grant, Usage};

use crate::model::quota::{Limit, Measure};

/// A limit says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    pub measure: Measure,
    pub limit: Limit,
    pub why: Over,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// There is room again after this long.
    Later(Duration),
    /// The request alone is larger than the amount: trying again cannot help.
    Never,
    /// A budget is used up until its day or month ends: nobody should wait for that.
    Spent { until: DateTime<Utc> },
}

impl OverQuota {
    /// `Rate limit exceeded (6000 requests per minute)`.
    pub fn message(&self) -> String {
        let limit = format!("{} {} per {}", self.limit.amount, self.measure.word(), self.limit.window.word());
        match self.why {
            Over::Later(_) => format!("Rate limit exceeded ({limit})"),
            Over::Never => {
                format!("Request is larger than the whole quota ({limit}): send smaller requests or raise the quota")
            }
            Over::Spent { until } => format!(
                "Quota used up ({limit}): it starts anew at {}; until then raise it or use another key",
                until.to_rfc3339_opts(SecondsFormat::Secs, true)
            ),
        }
    }
}
