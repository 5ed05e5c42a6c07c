//! The texts of the statements of a write in SQLite; values are added to them by portions of rows.

use crate::store::columns::{log_columns, run_changes, run_columns, step_changes, step_columns, twin_columns};
use crate::store::queries::{delete_loose_logs, steps_up_to};

pub(super) const INSERT_ORIGINS: &str = "INSERT INTO origins (project_id, origin_id, body) ";
pub(super) const INSERT_RUNS: &str = concat!("INSERT INTO runs (", run_columns!(), ") ");
pub(super) const INSERT_STEPS: &str = concat!("INSERT INTO steps (", step_columns!(), ", mapping) ");
pub(super) const INSERT_LOGS: &str = concat!("INSERT INTO logs (", log_columns!(), ") ");
pub(super) const DELETE_LOOSE_LOGS: &str = delete_loose_logs!("x'00000000000000000000000000000000'");
pub(super) const UPDATE_RUN: &str = concat!(" ON CONFLICT (project_id, run_id) DO UPDATE SET ", run_changes!());
pub(super) const UPDATE_STEP: &str =
    concat!(" ON CONFLICT (project_id, run_id, step_id, day) DO UPDATE SET ", step_changes!());

/// Binds project, run, first day, version and bound.
pub(super) const OLD_STEPS: &str = concat!(
    "SELECT ",
    step_columns!(),
    " FROM steps WHERE project_id = $1 AND run_id = $2 AND day >= $3 AND mapping < $4 AND source = 'otlp' LIMIT $5"
);

pub(super) const RUNS_BY_KEY: &str = concat!("SELECT ", run_columns!(), " FROM runs WHERE (project_id, run_id) IN (");
pub(super) const PARTS_OF_RUNS: &str =
    concat!("SELECT ", run_columns!(), " FROM runs WHERE part_of IS NOT NULL AND (project_id, part_of) IN (");
pub(super) const STEPS_BY_KEY: &str =
    concat!("SELECT ", step_columns!(), " FROM steps WHERE (project_id, run_id, step_id, day) IN (");
pub(super) const STEPS_OF_RUNS: &str =
    concat!("SELECT ", step_columns!("'{}' AS detail"), " FROM steps WHERE (project_id, run_id) IN (");

pub(super) const STEPS_UP_TO: &str = steps_up_to!("'{}' AS detail");
pub(super) const STEP_COUNT: &str = "SELECT COUNT(*) FROM steps WHERE project_id = $1 AND run_id = $2";

/// The condition of the index `steps_unidentified`, word for word.
macro_rules! unidentified_calls {
    () => {
        "type IN ('model_call', 'embedding', 'rerank') AND json_extract(facts, '$.response_id') IS NULL \
         AND json_extract(facts, '$.instance') IS NOT NULL"
    };
}

pub(super) const DUE_RUNS: &str =
    concat!("SELECT ", run_columns!(), " FROM runs WHERE due_at <= $1 ORDER BY due_at LIMIT $2");

/// Binds project, run, response id, end and bound.
pub(super) const TWINS: &str = concat!(
    "SELECT found.*, $2 AS asked_run_id, bare, latency_s, FALSE AS same_question FROM (SELECT project_id, run_id, ",
    twin_columns!(),
    " FROM steps WHERE project_id = $1 AND json_extract(facts, '$.response_id') = $3 \
     AND json_extract(facts, '$.response_id') IS NOT NULL AND start_ns <= $4 AND run_id <> $2 \
     ORDER BY start_ns DESC LIMIT $5) AS found \
     JOIN runs ON runs.project_id = found.project_id AND runs.run_id = found.run_id"
);

/// Binds project, run, instance, latest start, earliest end, input, and two bounds.
pub(super) const NEIGHBOURS: &str = concat!(
    "SELECT found.*, $2 AS asked_run_id, bare, latency_s FROM (SELECT project_id, run_id, ",
    twin_columns!(),
    ", COALESCE(input = $6, FALSE) AS same_question FROM steps WHERE project_id = $1 \
     AND json_extract(facts, '$.instance') = $3 AND start_ns <= $4 AND ",
    unidentified_calls!(),
    " ORDER BY start_ns DESC LIMIT $7) AS found \
     JOIN runs ON runs.project_id = found.project_id AND runs.run_id = found.run_id \
     WHERE found.run_id <> $2 AND COALESCE(end_ns, $5) >= $5 ORDER BY start_ns DESC LIMIT $8"
);
