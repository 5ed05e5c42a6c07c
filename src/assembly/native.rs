//! A run that came through `POST /runs`: what its sender declared, unchanged. Only silence is judged.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use serde_json::Value;

use crate::assembly::status::{given_up, gives_up_at};
use crate::assembly::{LifeCycle, Receipt, Rest, tree};
use crate::model::id::RunKey;
use crate::model::run::{Assembled, Declared, Kinship, Run, ShownStep};
use crate::model::step::{Source, Status, Usage};

pub(super) fn assemble(
    key: RunKey,
    mut steps: Vec<ShownStep>,
    rest: &Rest,
    declared: Declared,
    receipt: Receipt,
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> Assembled {
    steps.sort_unstable_by(|a, b| tree::reading_order(&a.step).cmp(&tree::reading_order(&b.step)));
    let started_at = receipt.created_at;
    let why = match declared.status {
        Status::Running => given_up(started_at, &receipt, life, now),
        _ => None,
    };
    // The declared status stays beside this one, so that a later finish still counts.
    let status = if why.is_some() { Status::Timeout } else { declared.status };
    let latency = declared.latency.filter(|_| status != Status::Running);
    let mut metadata = declared.metadata.clone();
    if let Some(why) = why {
        metadata.insert("timeout_reason".to_owned(), Value::from(why));
    }
    let (first_day, last_day) = days(&steps, started_at);
    let run = Run {
        key,
        source: Source::Native,
        worthy: true,
        bare: false,
        duplicate_of: None,
        name: declared.name.clone().or_else(|| declared.agent.clone()).unwrap_or_else(|| declared.model.clone()),
        model: declared.model.clone(),
        agent: declared.agent.clone(),
        service: None,
        status,
        input: declared.input.clone(),
        output: declared.output.clone(),
        error: declared.error.clone(),
        usage: Usage {
            total: declared.tokens,
            input: declared.input_tokens,
            output: declared.output_tokens,
            ..Usage::default()
        },
        cost: declared.cost,
        latency_s: declared.latency,
        session_id: declared.session_id.clone(),
        user_id: declared.user_id.clone(),
        tags: declared.tags.clone(),
        step_count: count(steps.len()).saturating_add(rest.steps),
        error_count: count(steps.iter().filter(|shown| shown.step.status == Status::Error).count())
            .saturating_add(rest.errors),
        trace_id: declared.trace_id.clone(),
        started_at,
        ended_at: latency.and_then(|seconds| later(started_at, seconds)),
        final_at: (status != Status::Running).then_some(receipt.received_at),
        metadata,
        first_day,
        last_day,
        due_at: (status == Status::Running).then(|| gives_up_at(started_at, &receipt, life)),
        kinship: Kinship::default(),
        revision: 0,
        created_at: receipt.created_at,
        updated_at: receipt.updated_at,
        received_at: receipt.received_at,
        declared: Some(declared),
    };
    Assembled { run, steps }
}

pub(super) fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The partitions that hold the steps; without steps the day of the run itself.
pub(super) fn days(steps: &[ShownStep], otherwise: DateTime<Utc>) -> (NaiveDate, NaiveDate) {
    let first = steps.iter().map(|shown| shown.step.day).min();
    let last = steps.iter().map(|shown| shown.step.day).max();
    let day = otherwise.date_naive();
    (first.unwrap_or(day), last.unwrap_or(day))
}

/// `None` when the end lies beyond the years that a store can hold.
fn later(from: DateTime<Utc>, seconds: f64) -> Option<DateTime<Utc>> {
    const YEAR_MAX: i32 = 9999;
    if !seconds.is_finite() || !(0.0..1e12).contains(&seconds) {
        return None;
    }
    let whole = TimeDelta::try_seconds(seconds.trunc() as i64)?;
    let rest = TimeDelta::nanoseconds((seconds.fract() * 1e9).round() as i64);
    from.checked_add_signed(whole)?.checked_add_signed(rest).filter(|end| end.year() <= YEAR_MAX)
}
