//! Log records: to rows that wait in the store, and from there to the spans they belong to.
//!
//! A record joins the span whose ids it carries. Neither waits for the other: a step is mapped alone and stored, and
//! whenever a run is read its records are folded in and the steps that have any are mapped again.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::mapping::claude_code;
use crate::mapping::content_hash::SpanHasher;
use crate::mapping::detail::{log, read};
use crate::mapping::log_events;
use crate::mapping::log_runs;
use crate::mapping::merge;
use crate::mapping::origin;
use crate::mapping::step::{Making, day_of, step};
use crate::model::batch::OriginRow;
use crate::model::id::{ProjectId, RunKey, hex, run_id_of_trace};
use crate::model::log::{LogRow, SpanLog};
use crate::model::span::Origin;
use crate::model::step::Step;
use crate::otlp::LogGroup;
use crate::prices::Prices;

/// Records that one span takes; what is above waits beside the run. Those about GenAI come first.
const LOGS_MAX: usize = 1000;

/// Rows for every record. `received_at` only stands in for a record without any time when its partition is chosen.
pub(super) fn rows(
    project: ProjectId,
    groups: Vec<LogGroup>,
    received_at: DateTime<Utc>,
) -> (Vec<LogRow>, Vec<OriginRow>) {
    let mut rows = Vec::with_capacity(groups.iter().map(|group| group.items.len()).sum());
    let mut origins: BTreeMap<Uuid, OriginRow> = BTreeMap::new();
    let mut hasher = SpanHasher::default();
    for group in groups {
        let producer = origin::row(&group.origin);
        for (position, record) in (group.position..).zip(group.items) {
            let log = SpanLog { scope_name: group.origin.scope_name.clone(), record };
            let of_trace = log.record.trace_id.map(run_id_of_trace);
            let run_id = of_trace.or_else(|| log_runs::run_id(&log, &group.origin)).unwrap_or(LogRow::NO_RUN);
            let record = &log.record;
            rows.push(LogRow {
                run: RunKey { project, run_id },
                span_id: record.span_id.map(|id| hex(&id)).unwrap_or_default(),
                day: day_of(record.moment_ns()).unwrap_or_else(|| received_at.date_naive()),
                id: hasher.hash_log(record, producer.id),
                time_ns: record.moment_ns(),
                position: i32::try_from(position).unwrap_or(i32::MAX),
                origin: producer.id,
                body: log::to_text(record),
                received_at,
            });
        }
        origins.insert(producer.id, producer);
    }
    (rows, origins.into_values().collect())
}

/// The steps with their records, and the records that belong to none of them, in order of their times.
pub(super) fn join(
    mut steps: Vec<Step>,
    logs: Vec<LogRow>,
    prices: &Prices,
    origin_of: &dyn Fn(Uuid) -> Option<String>,
) -> (Vec<Step>, Vec<LogRow>) {
    let mut opened: HashMap<Uuid, Origin> = HashMap::new();
    let mut records = Vec::with_capacity(logs.len());
    for row in logs {
        let producer = opened.entry(row.origin).or_insert_with(|| opened_origin(row.origin, origin_of));
        let log = SpanLog { scope_name: producer.scope_name.clone(), record: log::from_text(&row.body) };
        records.push((log_events::place(&log.record, &row), row, log));
    }
    records.sort_by_key(|(place, ..)| *place);
    if steps.is_empty() && records.iter().any(|(_, _, log)| log.record.trace_id.is_none()) {
        let records = records.into_iter().map(|(_, row, log)| (row, log)).collect();
        return stand_alone(records, prices, origin_of);
    }
    let targets = claude_code::targets(&steps, records.iter().map(|(_, row, log)| (row.span_id.as_str(), log)));

    let mut of_steps: HashMap<String, Vec<(LogRow, SpanLog)>> = HashMap::new();
    for ((_, row, log), target) in records.into_iter().zip(targets) {
        of_steps.entry(target.unwrap_or_else(|| row.span_id.clone())).or_default().push((row, log));
    }
    let mut loose = Vec::new();
    let mut hasher = SpanHasher::default();
    for step in &mut steps {
        let Some(mut logs) = of_steps.remove(&step.id) else { continue };
        if logs.len() > LOGS_MAX {
            // A stable sort: among equals the order of time stays.
            logs.sort_by_key(|(_, log)| !log_events::is_genai(log));
            loose.extend(logs.split_off(LOGS_MAX).into_iter().map(|(row, _)| row));
        }
        let (rows, logs): (Vec<LogRow>, Vec<SpanLog>) = logs.into_iter().unzip();
        match with_records(step, logs, prices, origin_of, &mut hasher) {
            Some(joined) => *step = joined,
            None => loose.extend(rows),
        }
    }
    loose.extend(of_steps.into_values().flatten().map(|(row, _)| row));
    loose.sort_by_key(|row| (row.time_ns, row.id));
    (steps, loose)
}

/// The steps of a run that has no spans and never will: no record of it is of a trace.
fn stand_alone(
    records: Vec<(LogRow, SpanLog)>,
    prices: &Prices,
    origin_of: &dyn Fn(Uuid) -> Option<String>,
) -> (Vec<Step>, Vec<LogRow>) {
    let (spans, loose) = log_runs::spans(records);
    let mut hasher = SpanHasher::default();
    let steps = spans.into_iter().map(|(row, span)| {
        let producer = opened_origin(row.origin, origin_of);
        let making = Making {
            project: row.run.project,
            origin: &producer,
            origin_id: Some(row.origin),
            day_of_receipt: row.day,
            prices: Some(prices),
            added: &[],
            versions: &[],
        };
        step(&span, &making, &mut hasher)
    });
    (steps.collect(), loose)
}

fn opened_origin(id: Uuid, origin_of: &dyn Fn(Uuid) -> Option<String>) -> Origin {
    origin_of(id).map_or_else(Origin::default, |body| origin::read(&body))
}

/// The step mapped again from its span and these records. `None` for a step that came from no span.
fn with_records(
    joined: &Step,
    logs: Vec<SpanLog>,
    prices: &Prices,
    origin_of: &dyn Fn(Uuid) -> Option<String>,
    hasher: &mut SpanHasher,
) -> Option<Step> {
    let stored = read::stored(joined)?;
    let (mut span, added) = merge::union(&stored.span, &stored.versions);
    span.logs = logs;
    let producer = joined.origin.map_or_else(Origin::default, |id| opened_origin(id, origin_of));
    let making = Making {
        project: joined.run.project,
        origin: &producer,
        origin_id: joined.origin,
        day_of_receipt: joined.day,
        added: &added,
        versions: &stored.versions,
        prices: Some(prices),
    };
    let mut mapped = step(&span, &making, hasher);
    mapped.day = joined.day;
    mapped.content_hash = joined.content_hash;
    Some(mapped)
}
