//! The statements of a write in Postgres: whole columns as arrays, one statement for any number of rows.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use serde_json::value::RawValue;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Arguments, PgConnection, Postgres, Row};
use uuid::Uuid;

use super::statements::{
    DELETE_LOGS, DELETE_LOOSE_LOGS, DELETE_RUNS, INSERT_LOGS, INSERT_ORIGINS, INSERT_RUNS, INSERT_STEPS, LOCK_DUE_RUNS,
    LOCK_RUNS, LOGS_OF_RUNS, NEIGHBOURS, OLD_STEPS, ORIGIN_BODIES, PARTS_OF_RUNS, STEP_COUNTS, STEPS_BY_KEY,
    STEPS_OF_RUNS, STEPS_UP_TO, TWINS, UPDATE_RUNS, UPDATE_STEPS,
};
use crate::assembly::{Rest, Twin};
use crate::mapping;
use crate::model::batch::OriginRow;
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::run::Run;
use crate::model::step::Step;
use crate::store::columns::{LogColumns, RestRow, RunRow, StepRow, TwinRow, decoded};
use crate::store::queries;
use crate::store::storable;
use crate::store::tables::{
    AskedCall, AskedMoment, LOGS_MAX, LogKey, LogsTaken, NEIGHBOURS_MAX, OldPage, OldRun, Place, RunDays, StepKey,
    TWINS_MAX, Tables, Take,
};

#[async_trait]
impl Tables for PgConnection {
    async fn insert_origins(&mut self, origins: &[(ProjectId, &OriginRow)]) -> sqlx::Result<()> {
        if origins.is_empty() {
            return Ok(());
        }
        sqlx::query(INSERT_ORIGINS)
            .bind(column(origins, |(project, _)| project.0))
            .bind(column(origins, |(_, origin)| origin.id))
            .bind(column(origins, |(_, origin)| storable::json(&origin.body)))
            .execute(self)
            .await?;
        Ok(())
    }

    async fn origin_bodies(&mut self, origins: &[(ProjectId, Uuid)]) -> sqlx::Result<Vec<(Uuid, String)>> {
        if origins.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(Uuid, Json<Box<RawValue>>)> = sqlx::query_as(ORIGIN_BODIES)
            .bind(column(origins, |(project, _)| project.0))
            .bind(column(origins, |(_, id)| *id))
            .fetch_all(self)
            .await?;
        Ok(rows.into_iter().map(|(id, body)| (id, body.0.get().to_owned())).collect())
    }

    async fn run(&mut self, key: RunKey) -> sqlx::Result<Option<Run>> {
        let query = sqlx::query_as(queries::RUN).bind(key.project.0).bind(key.run_id);
        query.fetch_optional(self).await?.map(RunRow::try_into).transpose()
    }

    async fn insert_runs(&mut self, runs: &[Run]) -> sqlx::Result<HashSet<RunKey>> {
        if runs.is_empty() {
            return Ok(HashSet::new());
        }
        let rows = bind_runs(INSERT_RUNS, runs)?.fetch_all(self).await?;
        rows.iter().map(run_key).collect()
    }

    async fn lock_runs(&mut self, keys: &[RunKey]) -> sqlx::Result<Vec<Run>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<RunRow> = sqlx::query_as_with(LOCK_RUNS, key_columns(keys)?).fetch_all(self).await?;
        decoded(rows)
    }

    async fn lock_due_runs(&mut self, now: DateTime<Utc>, limit: u32) -> sqlx::Result<Vec<Run>> {
        let rows: Vec<RunRow> = sqlx::query_as(LOCK_DUE_RUNS).bind(now).bind(i64::from(limit)).fetch_all(self).await?;
        decoded(rows)
    }

    async fn parts_of_runs(&mut self, keys: &[RunKey]) -> sqlx::Result<Vec<Run>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<RunRow> = sqlx::query_as_with(PARTS_OF_RUNS, key_columns(keys)?).fetch_all(self).await?;
        decoded(rows)
    }

    async fn update_runs(&mut self, runs: &[Run]) -> sqlx::Result<()> {
        if !runs.is_empty() {
            bind_runs(UPDATE_RUNS, runs)?.execute(self).await?;
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
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let runs: Vec<RunDays> =
            runs.iter().map(|run| RunDays { first_day: run.first_day.max(since), ..*run }).collect();
        let rows: Vec<StepRow> = sqlx::query_as_with(OLD_STEPS, run_columns(&runs)?)
            .bind(mapping::VERSION)
            .bind(limit)
            .fetch_all(self)
            .await?;
        decoded(rows)
    }

    async fn insert_steps(&mut self, steps: &[&Step]) -> sqlx::Result<HashSet<StepKey>> {
        if steps.is_empty() {
            return Ok(HashSet::new());
        }
        let rows = bind_steps(INSERT_STEPS, steps)?.fetch_all(self).await?;
        rows.iter().map(step_key).collect()
    }

    async fn update_steps(&mut self, steps: &[&Step]) -> sqlx::Result<()> {
        if !steps.is_empty() {
            bind_steps(UPDATE_STEPS, steps)?.execute(self).await?;
        }
        Ok(())
    }

    async fn steps_by_key(&mut self, keys: &[StepKey]) -> sqlx::Result<Vec<Step>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<StepRow> = sqlx::query_as(STEPS_BY_KEY)
            .bind(column(keys, |key| key.run.project.0))
            .bind(column(keys, |key| key.run.run_id))
            .bind(column(keys, |key| key.id.as_str()))
            .bind(column(keys, |key| key.day))
            .bind(keys.iter().map(|key| key.day).min())
            .bind(keys.iter().map(|key| key.day).max())
            .fetch_all(self)
            .await?;
        decoded(rows)
    }

    async fn each_step(&mut self, runs: &[RunDays], last: Option<&Place>, take: Take<'_>) -> sqlx::Result<bool> {
        let rows = match (runs, last) {
            ([], _) => return Ok(true),
            ([run], Some(last)) => queries::of_run_at(STEPS_UP_TO, *run, last).fetch(self),
            _ => sqlx::query_as_with(STEPS_OF_RUNS, run_columns(runs)?).fetch(self),
        };
        take_each(rows, take).await
    }

    async fn step_counts(&mut self, runs: &[RunDays]) -> sqlx::Result<Vec<(RunKey, i64)>> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_with(STEP_COUNTS, run_columns(runs)?).fetch_all(self).await?;
        rows.iter().map(|row| Ok((run_key(row)?, row.try_get(2)?))).collect()
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
        if logs.is_empty() {
            return Ok(HashSet::new());
        }
        let rows = sqlx::query(INSERT_LOGS)
            .bind(column(logs, |log| log.run.project.0))
            .bind(column(logs, |log| log.run.run_id))
            .bind(column(logs, |log| log.day))
            .bind(column(logs, |log| log.span_id.as_str()))
            .bind(column(logs, |log| log.id))
            .bind(column(logs, |log| log.time_ns.cast_signed()))
            .bind(column(logs, |log| log.position))
            .bind(column(logs, |log| log.origin))
            .bind(column(logs, |log| storable::json(&log.body)))
            .bind(column(logs, |log| log.received_at))
            .fetch_all(self)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LogKey { run: run_key(row)?, day: row.try_get(2)?, span_id: row.try_get(3)?, id: row.try_get(4)? })
            })
            .collect()
    }

    async fn logs_of_runs(&mut self, runs: &[RunDays]) -> sqlx::Result<(Vec<LogRow>, bool)> {
        let mut taken = LogsTaken::default();
        if runs.is_empty() {
            return Ok((taken.logs, true));
        }
        let mut rows = sqlx::query_as_with(LOGS_OF_RUNS, run_columns(runs)?).bind(LOGS_MAX).fetch(self);
        while let Some(row) = rows.try_next().await? {
            let row: LogColumns = row;
            if !taken.take(row.try_into()?) {
                return Ok((taken.logs, false));
            }
        }
        Ok((taken.logs, true))
    }

    async fn delete_runs_of_logs(&mut self, runs: &[RunDays]) -> sqlx::Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        sqlx::query_with(DELETE_LOGS, run_columns(runs)?).execute(&mut *self).await?;
        sqlx::query_with(DELETE_RUNS, key_columns(&column(runs, |run| run.key))?).execute(self).await?;
        Ok(())
    }

    async fn delete_loose_logs(&mut self, before: DateTime<Utc>, limit: i64) -> sqlx::Result<()> {
        sqlx::query(DELETE_LOOSE_LOGS).bind(before).bind(limit).execute(self).await?;
        Ok(())
    }

    async fn twins(&mut self, calls: &[AskedCall]) -> sqlx::Result<Vec<(RunKey, Twin)>> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<TwinRow> = sqlx::query_as_with(TWINS, run_columns(&column(calls, |call| call.run))?)
            .bind(column(calls, |call| call.response_id.as_str()))
            .bind(column(calls, |call| call.end_ns))
            .bind(TWINS_MAX)
            .fetch_all(self)
            .await?;
        Ok(rows.into_iter().filter_map(TwinRow::twin).collect())
    }

    async fn neighbours(&mut self, moments: &[AskedMoment]) -> sqlx::Result<Vec<(RunKey, Twin)>> {
        if moments.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<TwinRow> = sqlx::query_as_with(NEIGHBOURS, run_columns(&column(moments, |moment| moment.run))?)
            .bind(column(moments, |moment| moment.instance.as_str()))
            .bind(column(moments, |moment| moment.latest_start_ns))
            .bind(column(moments, |moment| moment.earliest_end_ns))
            .bind(column(moments, |moment| moment.input.as_deref()))
            .bind(NEIGHBOURS_MAX)
            .bind(TWINS_MAX)
            .fetch_all(self)
            .await?;
        Ok(rows.into_iter().filter_map(TwinRow::twin).collect())
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

fn key_columns(keys: &[RunKey]) -> sqlx::Result<PgArguments> {
    let mut columns = PgArguments::default();
    columns.add(column(keys, |key| key.project.0)).map_err(sqlx::Error::Encode)?;
    columns.add(column(keys, |key| key.run_id)).map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

/// Keys and days of the runs, and the first and the last day of all.
fn run_columns(runs: &[RunDays]) -> sqlx::Result<PgArguments> {
    let mut columns = key_columns(&column(runs, |run| run.key))?;
    columns.add(column(runs, |run| run.first_day)).map_err(sqlx::Error::Encode)?;
    columns.add(column(runs, |run| run.last_day)).map_err(sqlx::Error::Encode)?;
    columns.add(runs.iter().map(|run| run.first_day).min()).map_err(sqlx::Error::Encode)?;
    columns.add(runs.iter().map(|run| run.last_day).max()).map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

fn column<'r, R, T>(rows: &'r [R], value: impl FnMut(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn run_key(row: &PgRow) -> sqlx::Result<RunKey> {
    Ok(RunKey { project: ProjectId(row.try_get(0)?), run_id: row.try_get(1)? })
}

fn step_key(row: &PgRow) -> sqlx::Result<StepKey> {
    Ok(StepKey { run: run_key(row)?, id: row.try_get(2)?, day: row.try_get(3)? })
}

fn bind_runs(statement: &'static str, runs: &[Run]) -> sqlx::Result<Query<'static, Postgres, PgArguments>> {
    let tags = json_column(runs, |run| storable::to_json(&run.tags))?;
    let metadata = json_column(runs, |run| storable::to_json(&run.metadata))?;
    let declared = json_column(runs, |run| run.declared.as_ref().map(storable::to_json).transpose())?;
    Ok(sqlx::query(statement)
        .bind(column(runs, |run| run.key.project.0))
        .bind(column(runs, |run| run.key.run_id))
        .bind(column(runs, |run| run.source.as_str()))
        .bind(column(runs, |run| run.worthy))
        .bind(column(runs, |run| run.bare))
        .bind(column(runs, |run| run.duplicate_of))
        .bind(column(runs, |run| run.kinship.split))
        .bind(column(runs, |run| run.kinship.part_of))
        .bind(column(runs, |run| run.kinship.merged_into))
        .bind(column(runs, |run| run.kinship.contents))
        .bind(column(runs, |run| run.name.as_str()))
        .bind(column(runs, |run| run.model.as_str()))
        .bind(column(runs, |run| run.agent.as_deref()))
        .bind(column(runs, |run| run.service.as_deref()))
        .bind(column(runs, |run| run.status.as_str()))
        .bind(column(runs, |run| run.input.as_str()))
        .bind(column(runs, |run| run.output.as_deref()))
        .bind(column(runs, |run| run.error.as_deref()))
        .bind(column(runs, |run| run.usage.total))
        .bind(column(runs, |run| run.usage.input))
        .bind(column(runs, |run| run.usage.output))
        .bind(column(runs, |run| run.usage.cache_read))
        .bind(column(runs, |run| run.usage.cache_write))
        .bind(column(runs, |run| run.usage.reasoning))
        .bind(column(runs, |run| run.cost))
        .bind(column(runs, |run| run.latency_s))
        .bind(column(runs, |run| run.session_id.as_deref()))
        .bind(column(runs, |run| run.user_id.as_deref()))
        .bind(tags)
        .bind(column(runs, |run| run.step_count))
        .bind(column(runs, |run| run.error_count))
        .bind(column(runs, |run| run.trace_id.as_deref()))
        .bind(column(runs, |run| run.started_at))
        .bind(column(runs, |run| run.ended_at))
        .bind(column(runs, |run| run.final_at))
        .bind(metadata)
        .bind(column(runs, |run| run.first_day))
        .bind(column(runs, |run| run.last_day))
        .bind(column(runs, |run| run.due_at))
        .bind(column(runs, |run| run.revision))
        .bind(column(runs, |run| run.created_at))
        .bind(column(runs, |run| run.updated_at))
        .bind(column(runs, |run| run.received_at))
        .bind(declared))
}

fn bind_steps(statement: &'static str, steps: &[&Step]) -> sqlx::Result<Query<'static, Postgres, PgArguments>> {
    let facts = json_column(steps, |step| storable::to_json(&step.facts))?;
    Ok(sqlx::query(statement)
        .bind(column(steps, |step| step.run.project.0))
        .bind(column(steps, |step| step.run.run_id))
        .bind(column(steps, |step| step.id.as_str()))
        .bind(column(steps, |step| step.day))
        .bind(column(steps, |step| step.parent_id.as_deref()))
        .bind(column(steps, |step| step.source.as_str()))
        .bind(column(steps, |step| step.position))
        .bind(column(steps, |step| step.kind.as_str()))
        .bind(column(steps, |step| step.name.as_str()))
        .bind(column(steps, |step| step.status.as_str()))
        .bind(column(steps, |step| step.error.as_deref()))
        .bind(column(steps, |step| step.start_ns.map(u64::cast_signed)))
        .bind(column(steps, |step| step.end_ns.map(u64::cast_signed)))
        .bind(column(steps, |step| step.latency_ms))
        .bind(column(steps, |step| step.usage.total))
        .bind(column(steps, |step| step.usage.input))
        .bind(column(steps, |step| step.usage.output))
        .bind(column(steps, |step| step.usage.cache_read))
        .bind(column(steps, |step| step.usage.cache_write))
        .bind(column(steps, |step| step.usage.reasoning))
        .bind(column(steps, |step| step.cost))
        .bind(column(steps, |step| step.model.as_deref()))
        .bind(column(steps, |step| step.provider.as_deref()))
        .bind(column(steps, |step| step.agent.as_deref()))
        .bind(column(steps, |step| step.input.as_deref()))
        .bind(column(steps, |step| step.output.as_deref()))
        .bind(facts)
        .bind(column(steps, |step| step.detail.as_str()))
        .bind(column(steps, |step| step.origin))
        .bind(column(steps, |step| step.content_hash))
        .bind(mapping::VERSION))
}

fn json_column<R, T>(rows: &[R], value: impl FnMut(&R) -> sqlx::Result<T>) -> sqlx::Result<Vec<T>> {
    rows.iter().map(value).collect()
}
