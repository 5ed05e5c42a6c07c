//! Steps of a run to the run: pure, the only source of its name, texts, totals, status and times.
use crate::model::id::RunKey;
use crate::model::run::{Assembled, Declared, ShownStep};
use crate::model::step::Step;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// When silence becomes an answer (mapping.md §1.5); `runs.*` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct LifeCycle {
    pub settle: Duration,
    pub orphan_idle: Duration,
    pub idle_limit: Duration,
    pub max_duration: Duration,
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
    _key: RunKey,
    _steps: Vec<Step>,
    _declared: Option<Declared>,
    _receipt: Receipt,
    _life: &LifeCycle,
    _now: DateTime<Utc>,
) -> Assembled {
    unimplemented!()
}

/// A step and the steps below it.
pub struct Node {
    pub shown: ShownStep,
    pub children: Vec<Node>,
}
/// The forest of a run, siblings in order of time; orphans stand at the top, cycles are broken (mapping.md R16).
pub fn tree(_steps: Vec<ShownStep>) -> Vec<Node> {
    unimplemented!()
}
