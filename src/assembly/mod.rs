//! Steps of a run to the run: pure, the only source of its name, texts, totals, status and times.
//!
//! Steps come in any order, any number of requests, with or without their root. They are sorted once; everything after
//! that walks the forest a fixed number of times, so a run of 100,000 steps costs little more per step than a short one.
//! No list of steps is copied: a long run is held once.

mod copies;
mod forest;
mod graphs;
mod identity;
mod logs;
mod native;
mod otlp;
mod parts;
mod requests;
mod rest;
mod roles;
mod status;
mod streams;
mod texts;
mod tools;
mod tree;
mod twins;
mod usage;
mod wrappers;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::id::RunKey;
use crate::model::run::{Assembled, Declared, ShownStep};

pub use logs::{RunLogs, weight};
pub use parts::{Part, Parts, Scopes, parts};
pub use rest::Rest;
pub use status::error_view;
pub use tree::{Node, tree};
pub use twins::{Call, Columns, Moment, Said, Twin, asked_calls, original_of};

/// What one run is, and when silence becomes an answer; `runs.*` of the configuration.
#[derive(Clone, Debug)]
pub struct LifeCycle {
    /// After the end of a run, how long late steps are waited for before it is final.
    pub settle: Duration,
    /// How long a parent is waited for that should come from the same process.
    pub orphan_idle: Duration,
    /// Silence after which an unfinished run is given up.
    pub idle_limit: Duration,
    /// Age at which an unfinished run is given up however busy it is.
    pub max_duration: Duration,
    /// How long log records wait for a span of their trace before they are dropped.
    pub unmatched_logs: Duration,
    /// Which traces are more than one run.
    pub scopes: Scopes,
}

/// What only the store knows of a run: nothing in it depends on the order in which steps came, but the times themselves.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// When the newest step was received.
    pub received_at: DateTime<Utc>,
}

/// Steps in any order give the same result. `run.due_at` says when to call again if nothing arrives.
pub fn assemble(
    key: RunKey,
    steps: Vec<impl Into<ShownStep>>,
    declared: Option<Declared>,
    receipt: Receipt,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> Assembled {
    assemble_with(key, steps, &Rest::default(), declared, receipt, life, now)
}

/// The same for a run of which only the earliest steps are here, and sums of the rest.
pub fn assemble_with(
    key: RunKey,
    steps: Vec<impl Into<ShownStep>>,
    rest: &Rest,
    declared: Option<Declared>,
    receipt: Receipt,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> Assembled {
    // In place where they are shown steps already.
    let steps: Vec<ShownStep> = steps.into_iter().map(Into::into).collect();
    match declared {
        Some(declared) => native::assemble(key, steps, rest, declared, receipt, life, now),
        None => otlp::assemble(key, steps, rest, receipt, life, now),
    }
}

#[cfg(test)]
mod tests;
