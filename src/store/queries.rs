//! Statements that read the same in both databases.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::query::QueryAs;
use sqlx::{Database, Encode, FromRow, QueryBuilder, Type};
use uuid::Uuid;

use super::columns::{log_columns, run_columns, step_columns};
use super::tables::{Place, RunDays};
use crate::model::id::ProjectId;
use crate::model::query::{Cursor, Page, RunFilter};
use crate::model::run::Run;

/// Binds project and run.
pub(super) const RUN: &str = concat!("SELECT ", run_columns!(), " FROM runs WHERE project_id = $1 AND run_id = $2");

/// Binds project, run, the first and last day of the run, and how many steps are read, the earliest.
pub(super) const STEPS: &str = concat!(
    "SELECT ",
    step_columns!(),
    " FROM steps WHERE project_id = $1 AND run_id = $2 AND day BETWEEN $3 AND $4 \
     ORDER BY position, start_ns NULLS LAST, step_id, day LIMIT $5"
);

/// When a step began or, where that is unknown, ended.
macro_rules! instant {
    () => {
        "COALESCE(start_ns, end_ns, 9223372036854775807)"
    };
}

/// Binds project, run, the first and last day of the run, and the number of steps before the one that is asked for.
pub(super) const PLACE_OF_STEP: &str = concat!(
    "SELECT position, ",
    instant!(),
    " AS instant_ns, step_id FROM steps WHERE project_id = $1 AND run_id = $2 AND day BETWEEN $3 AND $4 \
     ORDER BY 1, 2, 3 LIMIT 1 OFFSET $5"
);

/// Binds project, run, the first and last day of the run, and a place: position, instant and step.
macro_rules! steps_up_to {
    ($detail:literal) => {
        concat!(
            "SELECT ",
            step_columns!($detail),
            " FROM steps WHERE project_id = $1 AND run_id = $2 AND day BETWEEN $3 AND $4 AND (position, ",
            crate::store::queries::instant!(),
            ", step_id) <= ($5, $6, $7)"
        )
    };
}
pub(super) use {instant, steps_up_to};

/// A sum over the calls, which no count of tokens can overflow.
macro_rules! of_calls {
    ($value:literal) => {
        concat!("SUM(", $value, ") FILTER (WHERE type IN ('model_call', 'embedding', 'rerank'))")
    };
}

/// Binds what `steps_up_to!` does: the steps behind the place.
pub(super) const REST_OF_RUN: &str = concat!(
    "SELECT COUNT(DISTINCT step_id) AS steps, COUNT(*) FILTER (WHERE status = 'error') AS errors, \
     COUNT(*) FILTER (WHERE type = 'model_call') AS model_calls, ",
    of_calls!(
        "COALESCE(CAST(tokens AS double precision), CAST(input_tokens AS double precision) \
         + CAST(output_tokens AS double precision), CAST(input_tokens AS double precision), \
         CAST(output_tokens AS double precision))"
    ),
    " AS tokens, ",
    of_calls!("CAST(input_tokens AS double precision)"),
    " AS input_tokens, ",
    of_calls!("CAST(output_tokens AS double precision)"),
    " AS output_tokens, ",
    of_calls!("CAST(cache_read_tokens AS double precision)"),
    " AS cache_read_tokens, ",
    of_calls!("CAST(cache_write_tokens AS double precision)"),
    " AS cache_write_tokens, ",
    of_calls!("CAST(reasoning_tokens AS double precision)"),
    " AS reasoning_tokens, ",
    of_calls!("cost"),
    " AS cost, MAX(end_ns) AS latest_end_ns, \
     COUNT(*) FILTER (WHERE end_ns IS NULL AND type IN ('agent', 'model_call', 'tool_call', 'retrieval', 'embedding', \
     'rerank', 'guardrail', 'evaluator', 'memory', 'handoff')) AS unfinished \
     FROM steps WHERE project_id = $1 AND run_id = $2 AND day BETWEEN $3 AND $4 AND (position, ",
    instant!(),
    ", step_id) > ($5, $6, $7)"
);

/// Binds project, run, the first and last day of the run, and the bound.
pub(super) const LOGS: &str = concat!(
    "SELECT ",
    log_columns!(),
    " FROM logs WHERE project_id = $1 AND run_id = $2 AND day BETWEEN $3 AND $4 ORDER BY day, span_id, log_id LIMIT $5"
);

/// Binds the time before which records were received, and the bound. The nil run stands in the text, because only then a
/// database knows that its index for these records serves.
macro_rules! delete_loose_logs {
    ($nil_run:literal) => {
        concat!(
            "DELETE FROM logs WHERE (project_id, run_id, day, span_id, log_id) IN \
             (SELECT project_id, run_id, day, span_id, log_id FROM logs WHERE run_id = ",
            $nil_run,
            " AND received_at < $1 LIMIT $2)"
        )
    };
}
pub(super) use delete_loose_logs;

/// A page of the runs of spans in the order of their keys, each with whether an older version of the mapping made any of
/// its steps. Binds project and run that the page comes after, first day, project or nothing, version and bound.
pub(super) const RUNS_AFTER: &str = "SELECT project_id, run_id, step_count, EXISTS (SELECT 1 FROM steps \
    WHERE steps.project_id = page.project_id AND steps.run_id = page.run_id AND steps.mapping < $5 \
    AND steps.source = 'otlp' AND steps.day >= $3 AND steps.day BETWEEN page.first_day AND page.last_day) AS is_old \
    FROM (SELECT project_id, run_id, step_count, first_day, last_day FROM runs WHERE (project_id, run_id) > ($1, $2) \
    AND source = 'otlp' AND last_day >= $3 AND project_id = COALESCE($4, project_id) \
    ORDER BY project_id, run_id LIMIT $6) AS page ORDER BY project_id, run_id";

macro_rules! select_keys {
    () => {
        "SELECT key_id, project_id, projects.name AS project_name, api_keys.name, scopes, quota, secret_hash, \
         previous_hash, previous_until, api_keys.created_at, expires_at, revoked_at, last_used_at, last_user_agent \
         FROM api_keys JOIN projects USING (project_id)"
    };
}
/// By id alone: which project a key belongs to is what is asked.
pub(super) const KEY: &str = concat!(select_keys!(), " WHERE key_id = $1");
/// Binds project and id.
pub(super) const PROJECT_KEY: &str = concat!(select_keys!(), " WHERE project_id = $1 AND key_id = $2");
/// Binds the project, or nothing for the keys of all.
pub(super) const KEYS: &str =
    concat!(select_keys!(), " WHERE project_id = COALESCE($1, project_id) ORDER BY api_keys.created_at, key_id");
/// Binds id, project, name, scopes, quota, hash, creation and expiry.
pub(super) const ADD_KEY: &str = "INSERT INTO api_keys \
    (key_id, project_id, name, scopes, quota, secret_hash, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
/// Binds project, id and time. A key that is revoked keeps the time of the first revocation.
pub(super) const REVOKE_KEY: &str =
    "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $3) WHERE project_id = $1 AND key_id = $2";
/// Binds project, id, the new hash, until when the old one works, and the time.
pub(super) const ROTATE_KEY: &str = "UPDATE api_keys SET previous_hash = secret_hash, previous_until = $4, \
    secret_hash = $3 WHERE project_id = $1 AND key_id = $2 AND revoked_at IS NULL \
    AND (expires_at IS NULL OR expires_at > $5)";
/// Binds project, id, and for name, quota and expiry each whether it changes, and to what.
pub(super) const CHANGE_KEY: &str = "UPDATE api_keys SET name = CASE WHEN $3 THEN $4 ELSE name END, \
    quota = CASE WHEN $5 THEN $6 ELSE quota END, expires_at = CASE WHEN $7 THEN $8 ELSE expires_at END \
    WHERE project_id = $1 AND key_id = $2";

pub(super) const ADD_PROJECT: &str = "INSERT INTO projects (name, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
pub(super) const PROJECT: &str = "SELECT project_id FROM projects WHERE name = $1";

/// `statement` with project, run, its first and its last day.
pub(super) fn of_run<'q, DB: Database, Row>(
    statement: &'static str,
    run: RunDays,
) -> QueryAs<'q, DB, Row, DB::Arguments>
where
    Row: for<'r> FromRow<'r, DB::Row>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> Uuid: Encode<'e, DB> + Type<DB>,
    for<'e> NaiveDate: Encode<'e, DB> + Type<DB>,
{
    sqlx::query_as(statement).bind(run.key.project.0).bind(run.key.run_id).bind(run.first_day).bind(run.last_day)
}

/// The same with a place among its steps.
pub(super) fn of_run_at<'q, DB: Database, Row>(
    statement: &'static str,
    run: RunDays,
    place: &'q Place,
) -> QueryAs<'q, DB, Row, DB::Arguments>
where
    Row: for<'r> FromRow<'r, DB::Row>,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> &'e str: Encode<'e, DB> + Type<DB>,
    for<'e> Uuid: Encode<'e, DB> + Type<DB>,
    for<'e> NaiveDate: Encode<'e, DB> + Type<DB>,
{
    of_run(statement, run).bind(place.position).bind(place.instant_ns).bind(&*place.step_id)
}

/// The listing: one row more than asked for, which tells whether there is a next page.
pub(super) fn list_runs<DB: Database>(project: ProjectId, filter: &RunFilter) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'q> DateTime<Utc>: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        run_columns!(),
        " FROM runs WHERE worthy AND duplicate_of IS NULL AND project_id = "
    ));
    query.push_bind(project.0);
    if let Some(after) = filter.after {
        query.push(" AND (started_at, run_id) < (").push_bind(after.started_at);
        query.push(", ").push_bind(after.run_id).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(model) = &filter.model {
        query.push(" AND model = ").push_bind(super::storable::text(model).into_owned());
    }
    query.push(" ORDER BY started_at DESC, run_id DESC LIMIT ").push_bind(i64::from(filter.limit) + 1);
    query
}

/// The page out of what `list_runs` found.
pub(super) fn page(mut runs: Vec<Run>, filter: &RunFilter) -> Page {
    let limit = filter.limit as usize;
    let is_more = runs.len() > limit;
    runs.truncate(limit);
    let last = runs.last().filter(|_| is_more);
    let next = last.map(|run| Cursor { started_at: run.started_at, run_id: run.key.run_id });
    Page { runs, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::step::Status;

    #[test]
    fn each_filter_adds_its_own_condition() {
        let mut filter = RunFilter { limit: 20, after: None, status: None, model: None };
        let sql = |filter: &RunFilter| list_runs::<sqlx::Postgres>(ProjectId(1), filter).into_string();
        let after_from = |sql: String| sql.split_once(" FROM ").unwrap().1.to_owned();
        assert_eq!(
            after_from(sql(&filter)),
            "runs WHERE worthy AND duplicate_of IS NULL AND project_id = $1 \
             ORDER BY started_at DESC, run_id DESC LIMIT $2"
        );
        filter.status = Some(Status::Error);
        filter.model = Some("m".into());
        filter.after = Some(Cursor { started_at: DateTime::UNIX_EPOCH, run_id: Uuid::nil() });
        assert_eq!(
            after_from(sql(&filter)),
            "runs WHERE worthy AND duplicate_of IS NULL AND project_id = $1 AND (started_at, run_id) < ($2, $3) \
             AND status = $4 AND model = $5 ORDER BY started_at DESC, run_id DESC LIMIT $6"
        );
    }
}
