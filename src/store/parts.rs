//! Rows of the runs that a trace was taken apart into. They are read and written only by who holds the row of the trace.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::rows::revising;
use super::storable;
use super::tables::Tables;
use crate::assembly::{LifeCycle, Part, Parts, Receipt};
use crate::model::id::RunKey;
use crate::model::run::{Assembled, Run};

/// The stored parts of each of these runs. Nothing is asked for where no trace is or was taken apart.
pub(super) async fn stored_parts(
    tables: &mut impl Tables,
    runs: impl Iterator<Item = &Run>,
    life: &LifeCycle,
) -> sqlx::Result<HashMap<RunKey, Vec<Run>>> {
    let may_have = |run: &&Run| run.declared.is_none() && (run.kinship.split || life.scopes.any());
    let mut keys: Vec<RunKey> = runs.filter(may_have).map(|run| run.key).collect();
    keys.sort_unstable();
    let mut by_trace: HashMap<RunKey, Vec<Run>> = HashMap::new();
    for part in tables.parts_of_runs(&keys).await? {
        let Some(run_id) = part.kinship.part_of else { continue };
        by_trace.entry(RunKey { run_id, ..part.key }).or_default().push(part);
    }
    Ok(by_trace)
}

/// The runs of a trace that is taken apart, assembled, and where its steps are.
pub(super) struct MadeParts {
    pub runs: Vec<Assembled>,
    holders: Parts,
}

/// Assembles them; `stored` are the rows of earlier ones.
pub(super) fn made_parts(
    trace: &Run,
    mut parts: Parts,
    stored: &[Run],
    life: &LifeCycle,
    now: DateTime<Utc>,
) -> MadeParts {
    let stored: HashMap<RunKey, &Run> = stored.iter().map(|part| (part.key, part)).collect();
    let taken = std::mem::take(&mut parts.parts).into_iter();
    let runs = taken.map(|part| {
        let old = stored.get(&part.key).copied();
        made_part(trace, part, old, life, now)
    });
    MadeParts { runs: runs.collect(), holders: parts }
}

/// News of the trace is news of this part only if its contents are others.
fn made_part(trace: &Run, part: Part, old: Option<&Run>, life: &LifeCycle, now: DateTime<Utc>) -> Assembled {
    let is_same = old.is_some_and(|old| old.kinship.contents == Some(part.contents()));
    let received_at = old.filter(|_| is_same).map_or(trace.received_at, |old| old.received_at);
    let created_at = old.map_or(trace.received_at, |old| old.created_at);
    part.assembled(Receipt { created_at, updated_at: now, received_at }, life, now)
}

/// The rows of parts that change. The run of a trace that is taken apart leaves the lists, and is due when any part is.
pub(super) fn part_rows(
    trace: &mut Run,
    parts: Option<MadeParts>,
    stored: Vec<Run>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Run>> {
    trace.kinship.split |= !stored.is_empty();
    let mut stored: HashMap<RunKey, Run> = stored.into_iter().map(|part| (part.key, part)).collect();
    let mut rows = Vec::new();
    if let Some(MadeParts { runs, holders }) = parts {
        for Assembled { run: mut next, .. } in runs {
            let old = stored.remove(&next.key);
            if !next.worthy {
                rows.extend(old.and_then(|old| merged_row(old, trace.key.run_id, now)));
                continue;
            }
            trace.due_at = [trace.due_at, next.due_at.take()].into_iter().flatten().min();
            trace.kinship.split = true;
            trace.worthy = false;
            trace.bare = false;
            match &old {
                None => rows.push(storable::run(Run { updated_at: now, ..next })?),
                // At the news: the sweeper may come to it later, and time alone changes no final run.
                Some(old) => {
                    let news_at = next.received_at;
                    rows.extend(revising(old, next, news_at, now)?);
                }
            }
        }
        for (key, old) in stored {
            rows.extend(merged_row(old, holders.holder(key.run_id), now));
        }
    } else {
        // It is one run now: other spans told another service, or the setting is another.
        rows.extend(stored.into_values().filter_map(|old| merged_row(old, trace.key.run_id, now)));
    }
    rows.sort_by_key(|row| row.key);
    Ok(rows)
}

/// The row stays, so that its id still leads to its steps.
fn merged_row(old: Run, holder: uuid::Uuid, now: DateTime<Utc>) -> Option<Run> {
    if old.kinship.merged_into == Some(holder) {
        return None;
    }
    let mut merged = Run { worthy: false, updated_at: now, ..old };
    merged.kinship.merged_into = Some(holder);
    Some(merged)
}
