//! The statements of a write in SQLite: rows in portions of fixed sizes, so that few distinct statements are prepared.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::statements::{
    DELETE_LOOSE_LOGS, DUE_RUNS, INSERT_LOGS, INSERT_ORIGINS, INSERT_RUNS, INSERT_STEPS, NEIGHBOURS, OLD_STEPS,
    PARTS_OF_RUNS, RUNS_BY_KEY, STEP_COUNT, STEPS_BY_KEY, STEPS_OF_RUNS, STEPS_UP_TO, TWINS, UPDATE_RUN, UPDATE_STEP,
};
use crate::assembly::{Rest, Twin};
use crate::mapping;
use crate::model::batch::OriginRow;
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::run::Run;
use crate::model::step::{Step, Usage};
use crate::store::columns::{LogColumns, RestRow, RunRow, StepRow, TwinRow, decoded};
use crate::store::queries;
use crate::store::storable;
use crate::store::tables::{
    AskedCall, AskedMoment, LOGS_MAX, LogKey, LogsTaken, NEIGHBOURS_MAX, OldPage, OldRun, Place, RunDays, StepKey,
    TWINS_MAX, Tables, Take,
};

/// Rows of one statement, from the largest portion that fits. 64 rows of 44 columns stay far below SQLite's bound of
/// 32,766 parameters.
const PORTIONS: [usize; 3] = [64, 8, 1];

#[async_trait]
impl Tables for SqliteConnection {
    async fn insert_origins(&mut self, origins: &[(ProjectId, &OriginRow)]) -> sqlx::Result<()> {
        for portion in portions(origins) {
            let mut query = QueryBuilder::<Sqlite>::new(INSERT_ORIGINS);
            query.push_values(portion, |mut row, (project, origin)| {
                row.push_bind(project.0).push_bind(origin.id).push_bind(storable::json(&origin.body).into_owned());
            });
            query.push(" ON CONFLICT DO NOTHING").build().execute(&mut *self).await?;
        }
        Ok(())
    }

    async fn origin_bodies(&mut self, origins: &[(ProjectId, Uuid)]) -> sqlx::Result<Vec<(Uuid, String)>> {
        let mut bodies = Vec::with_capacity(origins.len());
        for portion in portions(origins) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT DISTINCT origin_id, body FROM origins WHERE (project_id, origin_id) IN (",
            );
            query.push_values(portion, |mut row, (project, id)| {
                row.push_bind(project.0).push_bind(*id);
            });
            bodies.extend(query.push(")").build_query_as::<(Uuid, String)>().fetch_all(&mut *self).await?);
        }
        Ok(bodies)
    }

    async fn run(&mut self, key: RunKey) -> sqlx::Result<Option<Run>> {
        let query = sqlx::query_as(queries::RUN).bind(key.project.0).bind(key.run_id);
        query.fetch_optional(self).await?.map(RunRow::try_into).transpose()
    }

    async fn insert_runs(&mut self, runs: &[Run]) -> sqlx::Result<HashSet<RunKey>> {
        let mut inserted = HashSet::with_capacity(runs.len());
        for portion in portions(runs) {
            let mut query = given_runs(portion)?;
            query.push(" ON CONFLICT DO NOTHING RETURNING project_id, run_id");
            for row in query.build().fetch_all(&mut *self).await? {
                inserted.insert(run_key(&row)?);
            }
        }
        Ok(inserted)
    }

    /// The transaction holds the whole file for writing, and so these rows.
    async fn lock_runs(&mut self, keys: &[RunKey]) -> sqlx::Result<Vec<Run>> {
        runs_by_key(self, RUNS_BY_KEY, keys).await
    }

    async fn lock_due_runs(&mut self, now: DateTime<Utc>, limit: u32) -> sqlx::Result<Vec<Run>> {
        let rows: Vec<RunRow> = sqlx::query_as(DUE_RUNS).bind(now).bind(i64::from(limit)).fetch_all(self).await?;
        decoded(rows)
    }

    async fn parts_of_runs(&mut self, keys: &[RunKey]) -> sqlx::Result<Vec<Run>> {
        runs_by_key(self, PARTS_OF_RUNS, keys).await
    }

    async fn update_runs(&mut self, runs: &[Run]) -> sqlx::Result<()> {
        for portion in portions(runs) {
            given_runs(portion)?.push(UPDATE_RUN).build().execute(&mut *self).await?;
        }
        Ok(())
    }

    async fn runs_after(&mut self, page: &OldPage) -> sqlx::Result<Vec<OldRun>> {
        let (project, run_id) = page.after.map_or((i64::MIN, Uuid::nil()), |key| (key.project.0, key.run_id));
        sqlx::query_as(queries::RUNS_AFTER)
            .bind(project)
            .bind(run_id)
            .bind(page.since)
            .bind(page.project.map(|project| project.0))
            .bind(mapping::VERSION)
            .bind(page.runs_max)
            .fetch_all(self)
            .await
    }

    async fn old_steps(&mut self, runs: &[RunDays], since: NaiveDate, limit: i64) -> sqlx::Result<Vec<Step>> {
        let mut steps = Vec::new();
        for run in runs {
            let rows: Vec<StepRow> = sqlx::query_as(OLD_STEPS)
                .bind(run.key.project.0)
                .bind(run.key.run_id)
                .bind(since)
                .bind(mapping::VERSION)
                .bind(limit.saturating_sub_unsigned(steps.len() as u64))
                .fetch_all(&mut *self)
                .await?;
            steps.extend(decoded::<_, Step>(rows)?);
        }
        Ok(steps)
    }

    async fn insert_steps(&mut self, steps: &[&Step]) -> sqlx::Result<HashSet<StepKey>> {
        let mut inserted = HashSet::with_capacity(steps.len());
        for portion in portions(steps) {
            let mut query = given_steps(portion)?;
            query.push(" ON CONFLICT DO NOTHING RETURNING project_id, run_id, step_id, day");
            for row in query.build().fetch_all(&mut *self).await? {
                inserted.insert(StepKey { run: run_key(&row)?, id: row.try_get(2)?, day: row.try_get(3)? });
            }
        }
        Ok(inserted)
    }

    async fn update_steps(&mut self, steps: &[&Step]) -> sqlx::Result<()> {
        for portion in portions(steps) {
            given_steps(portion)?.push(UPDATE_STEP).build().execute(&mut *self).await?;
        }
        Ok(())
    }

    async fn steps_by_key(&mut self, keys: &[StepKey]) -> sqlx::Result<Vec<Step>> {
        let mut steps = Vec::with_capacity(keys.len());
        for portion in portions(keys) {
            let mut query = QueryBuilder::<Sqlite>::new(STEPS_BY_KEY);
            query.push_values(portion, |mut row, key| {
                row.push_bind(key.run.project.0).push_bind(key.run.run_id).push_bind(&*key.id).push_bind(key.day);
            });
            steps.extend(query.push(")").build_query_as::<StepRow>().fetch_all(&mut *self).await?);
        }
        decoded(steps)
    }

    async fn each_step(&mut self, runs: &[RunDays], last: Option<&Place>, take: Take<'_>) -> sqlx::Result<bool> {
        if let ([run], Some(last)) = (runs, last) {
            let query = queries::of_run_at(STEPS_UP_TO, *run, last);
            return take_each(query.fetch(self), take).await;
        }
        for portion in portions(runs) {
            let mut query = QueryBuilder::<Sqlite>::new(STEPS_OF_RUNS);
            query.push_values(portion, |mut row, run| {
                row.push_bind(run.key.project.0).push_bind(run.key.run_id);
            });
            if !take_each(query.push(")").build_query_as().fetch(&mut *self), take).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn step_counts(&mut self, runs: &[RunDays]) -> sqlx::Result<Vec<(RunKey, i64)>> {
        let mut counts = Vec::with_capacity(runs.len());
        for run in runs {
            let query = sqlx::query_scalar(STEP_COUNT).bind(run.key.project.0).bind(run.key.run_id);
            counts.push((run.key, query.fetch_one(&mut *self).await?));
        }
        Ok(counts)
    }

    async fn place_of_step(&mut self, run: RunDays, number: i64) -> sqlx::Result<Option<Place>> {
        queries::of_run(queries::PLACE_OF_STEP, run).bind(number - 1).fetch_optional(self).await
    }

    async fn rest_of_run(&mut self, run: RunDays, last: &Place) -> sqlx::Result<Rest> {
        let row: RestRow = queries::of_run_at(queries::REST_OF_RUN, run, last).fetch_one(self).await?;
        Ok(row.into())
    }

    async fn first_steps(&mut self, run: RunDays, limit: u32, take: Take<'_>) -> sqlx::Result<bool> {
        let query = queries::of_run(queries::STEPS, run).bind(i64::from(limit));
        take_each(query.fetch(self), take).await
    }

    async fn insert_logs(&mut self, logs: &[&LogRow]) -> sqlx::Result<HashSet<LogKey>> {
        let mut inserted = HashSet::with_capacity(logs.len());
        for portion in portions(logs) {
            let mut query = QueryBuilder::<Sqlite>::new(INSERT_LOGS);
            query.push_values(portion, |mut row, log| {
                row.push_bind(log.run.project.0)
                    .push_bind(log.run.run_id)
                    .push_bind(log.day)
                    .push_bind(&*log.span_id)
                    .push_bind(log.id)
                    .push_bind(log.time_ns.cast_signed())
                    .push_bind(log.position)
                    .push_bind(log.origin)
                    .push_bind(storable::json(&log.body).into_owned())
                    .push_bind(storable::time(log.received_at));
            });
            query.push(" ON CONFLICT DO NOTHING RETURNING project_id, run_id, day, span_id, log_id");
            for row in query.build().fetch_all(&mut *self).await? {
                let (day, span_id, id) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
                inserted.insert(LogKey { run: run_key(&row)?, day, span_id, id });
            }
        }
        Ok(inserted)
    }

    async fn logs_of_runs(&mut self, runs: &[RunDays]) -> sqlx::Result<(Vec<LogRow>, bool)> {
        let mut taken = LogsTaken::default();
        for run in runs {
            let mut rows = queries::of_run(queries::LOGS, *run).bind(LOGS_MAX).fetch(&mut *self);
            while let Some(row) = rows.try_next().await? {
                let row: LogColumns = row;
                if !taken.take(row.try_into()?) {
                    return Ok((taken.logs, false));
                }
            }
        }
        Ok((taken.logs, true))
    }

    async fn delete_runs_of_logs(&mut self, runs: &[RunDays]) -> sqlx::Result<()> {
        for run in runs {
            for statement in [
                "DELETE FROM logs WHERE project_id = $1 AND run_id = $2",
                "DELETE FROM runs WHERE project_id = $1 AND run_id = $2",
            ] {
                sqlx::query(statement).bind(run.key.project.0).bind(run.key.run_id).execute(&mut *self).await?;
            }
        }
        Ok(())
    }

    async fn delete_loose_logs(&mut self, before: DateTime<Utc>, limit: i64) -> sqlx::Result<()> {
        sqlx::query(DELETE_LOOSE_LOGS).bind(before).bind(limit).execute(self).await?;
        Ok(())
    }

    async fn twins(&mut self, calls: &[AskedCall]) -> sqlx::Result<Vec<(RunKey, Twin)>> {
        let mut twins = Vec::new();
        for call in calls {
            let rows: Vec<TwinRow> = sqlx::query_as(TWINS)
                .bind(call.run.key.project.0)
                .bind(call.run.key.run_id)
                .bind(&*call.response_id)
                .bind(call.end_ns)
                .bind(TWINS_MAX)
                .fetch_all(&mut *self)
                .await?;
            twins.extend(rows.into_iter().filter_map(TwinRow::twin));
        }
        Ok(twins)
    }

    async fn neighbours(&mut self, moments: &[AskedMoment]) -> sqlx::Result<Vec<(RunKey, Twin)>> {
        let mut twins = Vec::new();
        for moment in moments {
            let rows: Vec<TwinRow> = sqlx::query_as(NEIGHBOURS)
                .bind(moment.run.key.project.0)
                .bind(moment.run.key.run_id)
                .bind(&*moment.instance)
                .bind(moment.latest_start_ns)
                .bind(moment.earliest_end_ns)
                .bind(moment.input.as_deref())
                .bind(NEIGHBOURS_MAX)
                .bind(TWINS_MAX)
                .fetch_all(&mut *self)
                .await?;
            twins.extend(rows.into_iter().filter_map(TwinRow::twin));
        }
        Ok(twins)
    }
}

async fn take_each(mut rows: BoxStream<'_, sqlx::Result<StepRow>>, take: Take<'_>) -> sqlx::Result<bool> {
    while let Some(row) = rows.try_next().await? {
        if !take(row.try_into()?) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn runs_by_key(
    connection: &mut SqliteConnection,
    statement: &'static str,
    keys: &[RunKey],
) -> sqlx::Result<Vec<Run>> {
    let mut runs = Vec::with_capacity(keys.len());
    for portion in portions(keys) {
        let mut query = QueryBuilder::<Sqlite>::new(statement);
        query.push_values(portion, |mut row, key| {
            row.push_bind(key.project.0).push_bind(key.run_id);
        });
        runs.extend(query.push(")").build_query_as::<RunRow>().fetch_all(&mut *connection).await?);
    }
    decoded(runs)
}

/// All rows, in portions of the sizes above.
fn portions<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = PORTIONS.into_iter().find(|size| *size <= rows.len())?;
        let (portion, rest) = rows.split_at(size);
        rows = rest;
        Some(portion)
    })
}

fn run_key(row: &SqliteRow) -> sqlx::Result<RunKey> {
    Ok(RunKey { project: ProjectId(row.try_get(0)?), run_id: row.try_get(1)? })
}

fn given_runs(runs: &[Run]) -> sqlx::Result<QueryBuilder<Sqlite>> {
    let mut json = Vec::with_capacity(runs.len());
    for run in runs {
        let declared = run.declared.as_ref().map(storable::to_json).transpose()?;
        json.push((storable::to_json(&run.tags)?, storable::to_json(&run.metadata)?, declared));
    }
    let mut query = QueryBuilder::new(INSERT_RUNS);
    query.push_values(runs.iter().zip(json), |mut row, (run, (tags, metadata, declared))| {
        row.push_bind(run.key.project.0)
            .push_bind(run.key.run_id)
            .push_bind(run.source.as_str())
            .push_bind(run.worthy)
            .push_bind(run.bare)
            .push_bind(run.duplicate_of)
            .push_bind(run.kinship.split)
            .push_bind(run.kinship.part_of)
            .push_bind(run.kinship.merged_into)
            .push_bind(run.kinship.contents)
            .push_bind(&*run.name)
            .push_bind(&*run.model)
            .push_bind(run.agent.as_deref())
            .push_bind(run.service.as_deref())
            .push_bind(run.status.as_str())
            .push_bind(&*run.input)
            .push_bind(run.output.as_deref())
            .push_bind(run.error.as_deref());
        push_usage(&mut row, &run.usage);
        row.push_bind(run.cost)
            .push_bind(run.latency_s)
            .push_bind(run.session_id.as_deref())
            .push_bind(run.user_id.as_deref())
            .push_bind(tags)
            .push_bind(run.step_count)
            .push_bind(run.error_count)
            .push_bind(run.trace_id.as_deref())
            .push_bind(run.started_at)
            .push_bind(run.ended_at)
            .push_bind(run.final_at)
            .push_bind(metadata)
            .push_bind(run.first_day)
            .push_bind(run.last_day)
            .push_bind(run.due_at)
            .push_bind(run.revision)
            .push_bind(run.created_at)
            .push_bind(run.updated_at)
            .push_bind(run.received_at)
            .push_bind(declared);
    });
    Ok(query)
}

fn given_steps(steps: &[&Step]) -> sqlx::Result<QueryBuilder<Sqlite>> {
    let facts = steps.iter().map(|step| storable::to_json(&step.facts)).collect::<sqlx::Result<Vec<String>>>()?;
    let mut query = QueryBuilder::new(INSERT_STEPS);
    query.push_values(steps.iter().zip(facts), |mut row, (step, facts)| {
        row.push_bind(step.run.project.0)
            .push_bind(step.run.run_id)
            .push_bind(&*step.id)
            .push_bind(step.day)
            .push_bind(step.parent_id.as_deref())
            .push_bind(step.source.as_str())
            .push_bind(step.position)
            .push_bind(step.kind.as_str())
            .push_bind(&*step.name)
            .push_bind(step.status.as_str())
            .push_bind(step.error.as_deref())
            .push_bind(step.start_ns.map(u64::cast_signed))
            .push_bind(step.end_ns.map(u64::cast_signed))
            .push_bind(step.latency_ms);
        push_usage(&mut row, &step.usage);
        row.push_bind(step.cost)
            .push_bind(step.model.as_deref())
            .push_bind(step.provider.as_deref())
            .push_bind(step.agent.as_deref())
            .push_bind(step.input.as_deref())
            .push_bind(step.output.as_deref())
            .push_bind(facts)
            .push_bind(&*step.detail)
            .push_bind(step.origin)
            .push_bind(step.content_hash)
            .push_bind(mapping::VERSION);
    });
    Ok(query)
}

fn push_usage(row: &mut Separated<'_, Sqlite, &'static str>, usage: &Usage) {
    row.push_bind(usage.total)
        .push_bind(usage.input)
        .push_bind(usage.output)
        .push_bind(usage.cache_read)
        .push_bind(usage.cache_write)
        .push_bind(usage.reasoning);
}

#[cfg(test)]
mod tests {
    use super::portions;

    #[test]
    fn portions_are_of_fixed_sizes_and_leave_nothing_out() {
        let rows: Vec<usize> = (0..145).collect();
        let sizes: Vec<usize> = portions(&rows).map(<[usize]>::len).collect();
        assert_eq!(sizes, [64, 64, 8, 8, 1]);
        assert_eq!(portions(&rows).flatten().copied().collect::<Vec<_>>(), rows);
        assert_eq!(portions::<usize>(&[]).count(), 0);
    }
}
