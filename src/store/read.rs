//! What is read of one run when somebody asks for it. Takes no lock.

use uuid::Uuid;

use super::contents::{Contents, bodies_of};
use super::tables::{RunDays, Tables};
use super::{StoredRun, Tuning};
use crate::model::id::{ProjectId, RunKey};
use crate::prices::Prices;

/// `None` when no run has this key.
pub(super) async fn run(
    tables: &mut impl Tables,
    key: RunKey,
    tuning: &Tuning,
    prices: &Prices,
) -> sqlx::Result<Option<StoredRun>> {
    let Some(run) = tables.run(key).await? else { return Ok(None) };
    // The steps of a part lie with its trace.
    let trace = match run.kinship.part_of {
        Some(run_id) => tables.run(RunKey { run_id, ..key }).await?,
        None => None,
    };
    let whole = trace.as_ref().unwrap_or(&run);
    let (days, step_count) = (RunDays::of(whole), whole.step_count);
    let steps = tables.first_steps(days, tuning.shown_steps_max).await?;
    let (logs, _) = tables.logs_of_runs(&[days]).await?;
    let is_truncated = steps.len() >= tuning.shown_steps_max as usize && step_count > steps.len() as i64;

    let of_steps = steps.iter().filter_map(|step| step.origin);
    let ids = of_steps.chain(logs.iter().map(|log| log.origin));
    let origins: Vec<(ProjectId, Uuid)> = ids.map(|id| (key.project, id)).collect();
    let origins = bodies_of(tables, origins).await?;
    let contents = Contents::new(steps, logs, prices, &|id| origins.get(&id).cloned());
    let origins = origins.into_iter().collect();
    Ok(Some(StoredRun {
        run,
        steps: contents.steps.into_iter().map(|shown| shown.step).collect(),
        is_truncated,
        logs: contents.logs,
        origins,
    }))
}
