//! The statements of a write in Postgres: whole columns as arrays, one statement for any number of rows.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::value::RawValue;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Row};
use uuid::Uuid;

use crate::assembly::Twin;
use crate::mapping;
use crate::model::batch::OriginRow;
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::run::Run;
use crate::model::step::Step;
use crate::store::columns::{
    LogColumns, RunRow, StepRow, TwinRow, decoded, log_columns, run_changes, run_columns, step_changes, step_columns,
    twin_columns,
};
use crate::store::queries;
use crate::store::queries::delete_loose_logs;
use crate::store::storable;
use crate::store::tables::{
    AskedCall, AskedMoment, LOGS_MAX, LogKey, NEIGHBOURS_MAX, OldPage, OldRun, RunDays, StepKey, TWINS_MAX, Tables,
};

const INSERT_ORIGINS: &str = "INSERT INTO origins (project_id, origin_id, body) \
    SELECT project_id, origin_id, body::jsonb FROM UNNEST($1::bigint[], $2::uuid[], $3::text[]) \
    AS row (project_id, origin_id, body) ON CONFLICT DO NOTHING";

const ORIGIN_BODIES: &str = "SELECT DISTINCT origin_id, body FROM UNNEST($1::bigint[], $2::uuid[]) \
    AS asked (project_id, origin_id) JOIN origins USING (project_id, origin_id)";

/// Arrays as rows, in the order of `run_columns!`.
macro_rules! given_runs {
    () => {
        concat!(
            "INSERT INTO runs (",
            run_columns!(),
            ") SELECT project_id, run_id, source, worthy, bare, duplicate_of, split, part_of, merged_into, contents, name, model, \
             agent, service, status, input, output, error, tokens, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, \
             reasoning_tokens, cost, latency_s, session_id, user_id, tags::jsonb, step_count, error_count, trace_id, \
             started_at, ended_at, final_at, metadata::jsonb, first_day, last_day, due_at, revision, created_at, \
             updated_at, received_at, declared::jsonb FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::boolean[], $5::boolean[], $6::uuid[], \
             $7::boolean[], $8::uuid[], $9::uuid[], $10::uuid[], $11::text[], $12::text[], $13::text[], \
             $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::bigint[], $20::bigint[], \
             $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::double precision[], \
             $26::double precision[], $27::text[], $28::text[], $29::text[], $30::bigint[], $31::bigint[], \
             $32::text[], $33::timestamptz[], $34::timestamptz[], $35::timestamptz[], $36::text[], $37::date[], \
             $38::date[], $39::timestamptz[], $40::bigint[], $41::timestamptz[], $42::timestamptz[], \
             $43::timestamptz[], $44::text[]) AS row (",
            run_columns!(),
            ")"
        )
    };
}

const INSERT_RUNS: &str = concat!(given_runs!(), " ON CONFLICT DO NOTHING RETURNING project_id, run_id");
const UPDATE_RUNS: &str = concat!(given_runs!(), " ON CONFLICT (project_id, run_id) DO UPDATE SET ", run_changes!());

/// Rows are locked after they are sorted, so in the order of their keys.
const LOCK_RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs WHERE (project_id, run_id) IN (SELECT * FROM UNNEST($1::bigint[], $2::uuid[])) \
     ORDER BY project_id, run_id FOR UPDATE"
);

const PARTS_OF_RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs WHERE part_of IS NOT NULL AND (project_id, part_of) IN (SELECT * FROM UNNEST($1::bigint[], $2::uuid[]))"
);

const LOCK_DUE_RUNS: &str =
    concat!("SELECT ", run_columns!(), " FROM runs WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED");

/// Arrays as rows, in the order of `step_columns!`.
macro_rules! given_steps {
    () => {
        concat!(
            "INSERT INTO steps (",
            step_columns!(),
            ", mapping) SELECT project_id, run_id, step_id, day, parent_id, source, position, type, name, status, error, \
             start_ns, end_ns, latency_ms, tokens, input_tokens, output_tokens, cache_read_tokens, \
             cache_write_tokens, reasoning_tokens, cost, model, provider, agent, input, output, facts::jsonb, \
             detail::jsonb, origin_id, content_hash, $31 FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::date[], \
             $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], \
             $13::bigint[], $14::double precision[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], \
             $19::bigint[], $20::bigint[], $21::double precision[], $22::text[], $23::text[], $24::text[], \
             $25::text[], $26::text[], $27::text[], $28::text[], $29::uuid[], $30::uuid[]) AS row (",
            step_columns!(),
            ")"
        )
    };
}

const INSERT_STEPS: &str =
    concat!(given_steps!(), " ON CONFLICT DO NOTHING RETURNING project_id, run_id, step_id, day");
const UPDATE_STEPS: &str =
    concat!(given_steps!(), " ON CONFLICT (project_id, run_id, step_id, day) DO UPDATE SET ", step_changes!());

/// `OFFSET 0` keeps the inner query apart, so that each given row is one look into the index; the bounds on `day` that
/// hold for all rows let the planner leave out every other partition.
const STEPS_BY_KEY: &str = concat!(
    "SELECT found.* FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::date[]) \
     AS asked (project_id, run_id, step_id, day) CROSS JOIN LATERAL (SELECT ",
    step_columns!(),
    " FROM steps WHERE steps.project_id = asked.project_id AND steps.run_id = asked.run_id \
     AND steps.step_id = asked.step_id AND steps.day = asked.day AND steps.day BETWEEN $5 AND $6 OFFSET 0) AS found"
);

const STEPS_OF_RUNS: &str = concat!(
    "SELECT found.* FROM UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::date[]) \
     AS asked (project_id, run_id, first_day, last_day) CROSS JOIN LATERAL (SELECT ",
    step_columns!("'{}'::jsonb AS detail"),
    " FROM steps WHERE steps.project_id = asked.project_id AND steps.run_id = asked.run_id \
     AND steps.day BETWEEN asked.first_day AND asked.last_day AND steps.day BETWEEN $5 AND $6 OFFSET 0) AS found"
);

const INSERT_LOGS: &str = concat!(
    "INSERT INTO logs (",
    log_columns!(),
    ") SELECT project_id, run_id, day, span_id, log_id, time_ns, position, origin_id, body::jsonb, received_at \
     FROM UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::text[], $5::uuid[], $6::bigint[], $7::integer[], $8::uuid[], \
     $9::text[], $10::timestamptz[]) AS row (",
    log_columns!(),
    ") ON CONFLICT DO NOTHING RETURNING project_id, run_id, day, span_id, log_id"
);

const LOGS_OF_RUNS: &str = concat!(
    "SELECT found.* FROM UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::date[]) \
     AS asked (project_id, run_id, first_day, last_day) CROSS JOIN LATERAL (SELECT ",
    log_columns!(),
    " FROM logs WHERE logs.project_id = asked.project_id AND logs.run_id = asked.run_id \
     AND logs.day BETWEEN asked.first_day AND asked.last_day AND logs.day BETWEEN $5 AND $6 \
     ORDER BY day, span_id, log_id LIMIT $7) AS found"
);

const DELETE_LOGS: &str = "DELETE FROM logs USING UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::date[]) \
     AS asked (project_id, run_id, first_day, last_day) WHERE logs.project_id = asked.project_id \
     AND logs.run_id = asked.run_id AND logs.day BETWEEN asked.first_day AND asked.last_day \
     AND logs.day BETWEEN $5 AND $6";

const DELETE_RUNS: &str =
    "DELETE FROM runs WHERE (project_id, run_id) IN (SELECT * FROM UNNEST($1::bigint[], $2::uuid[]))";

const DELETE_LOOSE_LOGS: &str = delete_loose_logs!("'00000000-0000-0000-0000-000000000000'");

const OLD_STEPS: &str = concat!(
    "SELECT found.* FROM UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::date[]) \
     AS asked (project_id, run_id, first_day, last_day) CROSS JOIN LATERAL (SELECT ",
    step_columns!(),
    " FROM steps WHERE steps.project_id = asked.project_id AND steps.run_id = asked.run_id \
     AND steps.day BETWEEN asked.first_day AND asked.last_day AND steps.day BETWEEN $5 AND $6 \
     AND mapping < $7 AND source = 'otlp' OFFSET 0) AS found LIMIT $8"
);

/// A call that overlaps another starts on the same day or on one beside it.
const TWINS: &str = concat!(
    "SELECT asked.project_id, asked.run_id AS asked_run_id, found.*, bare, latency_s, FALSE AS same_question \
     FROM UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::date[], $5::text[], $6::bigint[]) \
     AS asked (project_id, run_id, first_day, last_day, response_id, end_ns) CROSS JOIN LATERAL (\
     SELECT steps.run_id, ",
    twin_columns!(),
    " FROM steps WHERE steps.project_id = asked.project_id \
     AND facts->>'response_id' = asked.response_id AND start_ns <= asked.end_ns AND steps.run_id <> asked.run_id \
     AND day BETWEEN asked.first_day - 1 AND asked.last_day + 1 AND day BETWEEN $7::date - 1 AND $8::date + 1 \
     ORDER BY start_ns DESC LIMIT $9) AS found \
     JOIN runs ON runs.project_id = asked.project_id AND runs.run_id = found.run_id"
);

const NEIGHBOURS: &str = concat!(
    "SELECT asked.project_id, asked.run_id AS asked_run_id, found.*, bare, latency_s \
     FROM UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::date[], $5::text[], $6::bigint[], $7::bigint[], $8::text[]) \
     AS asked (project_id, run_id, first_day, last_day, instance, latest_start_ns, earliest_end_ns, input) \
     CROSS JOIN LATERAL (SELECT * FROM (SELECT steps.run_id, ",
    twin_columns!(),
    ", COALESCE(steps.input = asked.input, FALSE) AS same_question FROM steps \
     WHERE steps.project_id = asked.project_id AND facts->>'instance' = asked.instance \
     AND start_ns <= asked.latest_start_ns AND type IN ('model_call', 'embedding', 'rerank') \
     AND facts->>'response_id' IS NULL AND facts->>'instance' IS NOT NULL \
     AND day BETWEEN asked.first_day - 1 AND asked.last_day + 1 AND day BETWEEN $9::date - 1 AND $10::date + 1 \
     ORDER BY start_ns DESC LIMIT $11) AS near \
     WHERE near.run_id <> asked.run_id AND COALESCE(near.end_ns, asked.earliest_end_ns) >= asked.earliest_end_ns \
     ORDER BY near.start_ns DESC LIMIT $12) AS found \
     JOIN runs ON runs.project_id = asked.project_id AND runs.run_id = found.run_id"
);

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
        let rows: Vec<RunRow> = sqlx::query_as(LOCK_RUNS)
            .bind(column(keys, |key| key.project.0))
            .bind(column(keys, |key| key.run_id))
            .fetch_all(self)
            .await?;
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
        let rows: Vec<RunRow> = sqlx::query_as(PARTS_OF_RUNS)
            .bind(column(keys, |key| key.project.0))
            .bind(column(keys, |key| key.run_id))
            .fetch_all(self)
            .await?;
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
        let Some((first_day, last_day)) = bounds(runs.iter().map(|run| (run.first_day, run.last_day))) else {
            return Ok(Vec::new());
        };
        let rows: Vec<StepRow> = sqlx::query_as(OLD_STEPS)
            .bind(column(runs, |run| run.key.project.0))
            .bind(column(runs, |run| run.key.run_id))
            .bind(column(runs, |run| run.first_day))
            .bind(column(runs, |run| run.last_day))
            .bind(first_day.max(since))
            .bind(last_day)
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
        let Some((first_day, last_day)) = bounds(keys.iter().map(|key| (key.day, key.day))) else {
            return Ok(Vec::new());
        };
        let rows: Vec<StepRow> = sqlx::query_as(STEPS_BY_KEY)
            .bind(column(keys, |key| key.run.project.0))
            .bind(column(keys, |key| key.run.run_id))
            .bind(column(keys, |key| key.id.as_str()))
            .bind(column(keys, |key| key.day))
            .bind(first_day)
            .bind(last_day)
            .fetch_all(self)
            .await?;
        decoded(rows)
    }

    async fn steps_of_runs(&mut self, runs: &[RunDays]) -> sqlx::Result<Vec<Step>> {
        let Some((first_day, last_day)) = bounds(runs.iter().map(|run| (run.first_day, run.last_day))) else {
            return Ok(Vec::new());
        };
        let rows: Vec<StepRow> = sqlx::query_as(STEPS_OF_RUNS)
            .bind(column(runs, |run| run.key.project.0))
            .bind(column(runs, |run| run.key.run_id))
            .bind(column(runs, |run| run.first_day))
            .bind(column(runs, |run| run.last_day))
            .bind(first_day)
            .bind(last_day)
            .fetch_all(self)
            .await?;
        decoded(rows)
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

    async fn logs_of_runs(&mut self, runs: &[RunDays]) -> sqlx::Result<Vec<LogRow>> {
        let Some((first_day, last_day)) = bounds(runs.iter().map(|run| (run.first_day, run.last_day))) else {
            return Ok(Vec::new());
        };
        let rows: Vec<LogColumns> = sqlx::query_as(LOGS_OF_RUNS)
            .bind(column(runs, |run| run.key.project.0))
            .bind(column(runs, |run| run.key.run_id))
            .bind(column(runs, |run| run.first_day))
            .bind(column(runs, |run| run.last_day))
            .bind(first_day)
            .bind(last_day)
            .bind(LOGS_MAX)
            .fetch_all(self)
            .await?;
        decoded(rows)
    }

    async fn delete_runs_of_logs(&mut self, runs: &[RunDays]) -> sqlx::Result<()> {
        let Some((first_day, last_day)) = bounds(runs.iter().map(|run| (run.first_day, run.last_day))) else {
            return Ok(());
        };
        sqlx::query(DELETE_LOGS)
            .bind(column(runs, |run| run.key.project.0))
            .bind(column(runs, |run| run.key.run_id))
            .bind(column(runs, |run| run.first_day))
            .bind(column(runs, |run| run.last_day))
            .bind(first_day)
            .bind(last_day)
            .execute(&mut *self)
            .await?;
        sqlx::query(DELETE_RUNS)
            .bind(column(runs, |run| run.key.project.0))
            .bind(column(runs, |run| run.key.run_id))
            .execute(self)
            .await?;
        Ok(())
    }

    async fn delete_loose_logs(&mut self, before: DateTime<Utc>, limit: i64) -> sqlx::Result<()> {
        sqlx::query(DELETE_LOOSE_LOGS).bind(before).bind(limit).execute(self).await?;
        Ok(())
    }

    async fn twins(&mut self, calls: &[AskedCall]) -> sqlx::Result<Vec<(RunKey, Twin)>> {
        let Some((first_day, last_day)) = bounds(calls.iter().map(|call| (call.run.first_day, call.run.last_day)))
        else {
            return Ok(Vec::new());
        };
        let rows: Vec<TwinRow> = sqlx::query_as(TWINS)
            .bind(column(calls, |call| call.run.key.project.0))
            .bind(column(calls, |call| call.run.key.run_id))
            .bind(column(calls, |call| call.run.first_day))
            .bind(column(calls, |call| call.run.last_day))
            .bind(column(calls, |call| call.response_id.as_str()))
            .bind(column(calls, |call| call.end_ns))
            .bind(first_day)
            .bind(last_day)
            .bind(TWINS_MAX)
            .fetch_all(self)
            .await?;
        Ok(rows.into_iter().filter_map(TwinRow::twin).collect())
    }

    async fn neighbours(&mut self, moments: &[AskedMoment]) -> sqlx::Result<Vec<(RunKey, Twin)>> {
        let Some((first_day, last_day)) = bounds(moments.iter().map(|it| (it.run.first_day, it.run.last_day))) else {
            return Ok(Vec::new());
        };
        let rows: Vec<TwinRow> = sqlx::query_as(NEIGHBOURS)
            .bind(column(moments, |moment| moment.run.key.project.0))
            .bind(column(moments, |moment| moment.run.key.run_id))
            .bind(column(moments, |moment| moment.run.first_day))
            .bind(column(moments, |moment| moment.run.last_day))
            .bind(column(moments, |moment| moment.instance.as_str()))
            .bind(column(moments, |moment| moment.latest_start_ns))
            .bind(column(moments, |moment| moment.earliest_end_ns))
            .bind(column(moments, |moment| moment.input.as_deref()))
            .bind(first_day)
            .bind(last_day)
            .bind(NEIGHBOURS_MAX)
            .bind(TWINS_MAX)
            .fetch_all(self)
            .await?;
        Ok(rows.into_iter().filter_map(TwinRow::twin).collect())
    }
}

/// The days from the first to the last of all; `None` when there are none.
fn bounds(days: impl Iterator<Item = (NaiveDate, NaiveDate)>) -> Option<(NaiveDate, NaiveDate)> {
    days.reduce(|(first, last), (from, to)| (first.min(from), last.max(to)))
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
