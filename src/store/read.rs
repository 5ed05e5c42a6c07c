//! What is read of one run when somebody asks for it. Takes no lock.

use uuid::Uuid;

use super::contents::{Contents, bodies_of, bytes_of};
use super::tables::{RunDays, Tables};
use super::{StoredRun, Tuning};
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::step::Step;
use crate::prices::Prices;

/// `None` when no run has this key. Steps, log records and the origins that the steps show take no more than `bytes_max`.
pub(super) async fn run(
    tables: &mut impl Tables,
    key: RunKey,
    bytes_max: usize,
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
    let mut steps: Vec<Step> = Vec::new();
    let mut bytes = 0;
    let mut take = |step: Step| {
        let with_it = bytes + bytes_of(&step) + step.detail.len();
        let fits = with_it <= bytes_max;
        if fits || steps.is_empty() {
            bytes = with_it;
            steps.push(step);
        }
        fits
    };
    let mut is_cut = !tables.first_steps(days, tuning.shown_steps_max, &mut take).await?;
    let (mut logs, _) = tables.logs_of_runs(&[days]).await?;
    let logs_fit = logs.iter().scan(bytes, |sum, log| {
        *sum += size_of::<LogRow>() + log.body.len();
        Some(*sum)
    });
    let logs_fit = logs_fit.take_while(|sum| *sum <= bytes_max).count();
    is_cut |= logs_fit < logs.len();
    logs.truncate(logs_fit);

    let of_steps = steps.iter().filter_map(|step| step.origin);
    let ids = of_steps.chain(logs.iter().map(|log| log.origin));
    let origins: Vec<(ProjectId, Uuid)> = ids.map(|id| (key.project, id)).collect();
    let origins = bodies_of(tables, origins).await?;
    // Each step shows its origin.
    let steps_fit = steps.iter().scan(bytes, |sum, step| {
        *sum += step.origin.and_then(|id| origins.get(&id)).map_or(0, String::len);
        Some(*sum)
    });
    let steps_fit = steps_fit.take_while(|sum| *sum <= bytes_max).count().max(1);
    is_cut |= steps_fit < steps.len();
    let is_truncated = is_cut || (steps.len() >= tuning.shown_steps_max as usize && step_count > steps.len() as i64);
    steps.truncate(steps_fit);
    let contents = Contents::new(steps, logs, prices, &|id| origins.get(&id).cloned());
    let origins = origins.into_iter().collect();
    Ok(Some(StoredRun {
        run,
        steps: contents.steps.into_iter().map(|shown| shown.step).collect(),
        is_truncated,
        is_cut,
        logs: contents.logs,
        origins,
    }))
}
