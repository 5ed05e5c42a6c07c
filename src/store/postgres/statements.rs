//! The texts of the statements of a write in Postgres. Rows and keys are given as whole columns: arrays of one length.

use crate::store::columns::{log_columns, run_changes, run_columns, step_changes, step_columns, twin_columns};
use crate::store::queries::{delete_loose_logs, steps_up_to};

/// The given runs with their days as rows. Binds the arrays of project, run, first and last day as $1 to $4, and as $5 and
/// $6 the first and the last day of all, which let the planner leave out every other partition.
macro_rules! asked_runs {
    () => {
        asked_runs!("", "")
    };
    // With further arrays and the names of their columns.
    ($arrays:literal, $names:literal) => {
        concat!(
            "UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::date[]",
            $arrays,
            ") AS asked (project_id, run_id, first_day, last_day",
            $names,
            ")"
        )
    };
}

/// The rows of an asked run.
macro_rules! of_asked_run {
    ($table:literal) => {
        concat!(
            $table,
            ".project_id = asked.project_id AND ",
            $table,
            ".run_id = asked.run_id AND ",
            $table,
            ".day BETWEEN asked.first_day AND asked.last_day AND ",
            $table,
            ".day BETWEEN $5 AND $6"
        )
    };
}

/// Binds the arrays of project and run.
macro_rules! given_keys {
    () => {
        "(SELECT * FROM UNNEST($1::bigint[], $2::uuid[]))"
    };
}

pub(super) const INSERT_ORIGINS: &str = "INSERT INTO origins (project_id, origin_id, body) \
    SELECT project_id, origin_id, body::jsonb FROM UNNEST($1::bigint[], $2::uuid[], $3::text[]) \
    AS row (project_id, origin_id, body) ON CONFLICT DO NOTHING";

pub(super) const ORIGIN_BODIES: &str = "SELECT DISTINCT origin_id, body FROM UNNEST($1::bigint[], $2::uuid[]) \
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

pub(super) const INSERT_RUNS: &str = concat!(given_runs!(), " ON CONFLICT DO NOTHING RETURNING project_id, run_id");
pub(super) const UPDATE_RUNS: &str =
    concat!(given_runs!(), " ON CONFLICT (project_id, run_id) DO UPDATE SET ", run_changes!());

/// Rows are locked after they are sorted, so in the order of their keys.
pub(super) const LOCK_RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs WHERE (project_id, run_id) IN ",
    given_keys!(),
    " ORDER BY project_id, run_id FOR UPDATE"
);

pub(super) const PARTS_OF_RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs WHERE part_of IS NOT NULL AND (project_id, part_of) IN ",
    given_keys!()
);

pub(super) const LOCK_DUE_RUNS: &str =
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

pub(super) const INSERT_STEPS: &str =
    concat!(given_steps!(), " ON CONFLICT DO NOTHING RETURNING project_id, run_id, step_id, day");
pub(super) const UPDATE_STEPS: &str =
    concat!(given_steps!(), " ON CONFLICT (project_id, run_id, step_id, day) DO UPDATE SET ", step_changes!());

/// `OFFSET 0` keeps the inner query apart, so that each given row is one look into the index; the bounds on `day` that
/// hold for all rows let the planner leave out every other partition.
pub(super) const STEPS_BY_KEY: &str = concat!(
    "SELECT found.* FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::date[]) \
     AS asked (project_id, run_id, step_id, day) CROSS JOIN LATERAL (SELECT ",
    step_columns!(),
    " FROM steps WHERE steps.project_id = asked.project_id AND steps.run_id = asked.run_id \
     AND steps.step_id = asked.step_id AND steps.day = asked.day AND steps.day BETWEEN $5 AND $6 OFFSET 0) AS found"
);

pub(super) const STEPS_OF_RUNS: &str = concat!(
    "SELECT found.* FROM ",
    asked_runs!(),
    " CROSS JOIN LATERAL (SELECT ",
    step_columns!("'{}'::jsonb AS detail"),
    " FROM steps WHERE ",
    of_asked_run!("steps"),
    " OFFSET 0) AS found"
);

pub(super) const STEPS_UP_TO: &str = steps_up_to!("'{}'::jsonb AS detail");

pub(super) const STEP_COUNTS: &str = concat!(
    "SELECT asked.project_id, asked.run_id, (SELECT COUNT(*) FROM steps WHERE ",
    of_asked_run!("steps"),
    ") AS steps FROM ",
    asked_runs!()
);

pub(super) const INSERT_LOGS: &str = concat!(
    "INSERT INTO logs (",
    log_columns!(),
    ") SELECT project_id, run_id, day, span_id, log_id, time_ns, position, origin_id, body::jsonb, received_at \
     FROM UNNEST($1::bigint[], $2::uuid[], $3::date[], $4::text[], $5::uuid[], $6::bigint[], $7::integer[], $8::uuid[], \
     $9::text[], $10::timestamptz[]) AS row (",
    log_columns!(),
    ") ON CONFLICT DO NOTHING RETURNING project_id, run_id, day, span_id, log_id"
);

pub(super) const LOGS_OF_RUNS: &str = concat!(
    "SELECT found.* FROM ",
    asked_runs!(),
    " CROSS JOIN LATERAL (SELECT ",
    log_columns!(),
    " FROM logs WHERE ",
    of_asked_run!("logs"),
    " ORDER BY day, span_id, log_id LIMIT $7) AS found"
);

pub(super) const DELETE_LOGS: &str =
    concat!("DELETE FROM logs USING ", asked_runs!(), " WHERE ", of_asked_run!("logs"));

pub(super) const DELETE_RUNS: &str = concat!("DELETE FROM runs WHERE (project_id, run_id) IN ", given_keys!());

pub(super) const DELETE_LOOSE_LOGS: &str = delete_loose_logs!("'00000000-0000-0000-0000-000000000000'");

pub(super) const OLD_STEPS: &str = concat!(
    "SELECT found.* FROM ",
    asked_runs!(),
    " CROSS JOIN LATERAL (SELECT ",
    step_columns!(),
    " FROM steps WHERE ",
    of_asked_run!("steps"),
    " AND mapping < $7 AND source = 'otlp' OFFSET 0) AS found LIMIT $8"
);

/// A call that overlaps another starts on the same day or on one beside it.
pub(super) const TWINS: &str = concat!(
    "SELECT asked.project_id, asked.run_id AS asked_run_id, found.*, bare, latency_s, FALSE AS same_question FROM ",
    asked_runs!(", $7::text[], $8::bigint[]", ", response_id, end_ns"),
    " CROSS JOIN LATERAL (SELECT steps.run_id, ",
    twin_columns!(),
    " FROM steps WHERE steps.project_id = asked.project_id \
     AND facts->>'response_id' = asked.response_id AND start_ns <= asked.end_ns AND steps.run_id <> asked.run_id \
     AND day BETWEEN asked.first_day - 1 AND asked.last_day + 1 AND day BETWEEN $5::date - 1 AND $6::date + 1 \
     ORDER BY start_ns DESC LIMIT $9) AS found \
     JOIN runs ON runs.project_id = asked.project_id AND runs.run_id = found.run_id"
);

pub(super) const NEIGHBOURS: &str = concat!(
    "SELECT asked.project_id, asked.run_id AS asked_run_id, found.*, bare, latency_s FROM ",
    asked_runs!(
        ", $7::text[], $8::bigint[], $9::bigint[], $10::text[]",
        ", instance, latest_start_ns, earliest_end_ns, input"
    ),
    " CROSS JOIN LATERAL (SELECT * FROM (SELECT steps.run_id, ",
    twin_columns!(),
    ", COALESCE(steps.input = asked.input, FALSE) AS same_question FROM steps \
     WHERE steps.project_id = asked.project_id AND facts->>'instance' = asked.instance \
     AND start_ns <= asked.latest_start_ns AND type IN ('model_call', 'embedding', 'rerank') \
     AND facts->>'response_id' IS NULL AND facts->>'instance' IS NOT NULL \
     AND day BETWEEN asked.first_day - 1 AND asked.last_day + 1 AND day BETWEEN $5::date - 1 AND $6::date + 1 \
     ORDER BY start_ns DESC LIMIT $11) AS near \
     WHERE near.run_id <> asked.run_id AND COALESCE(near.end_ns, asked.earliest_end_ns) >= asked.earliest_end_ns \
     ORDER BY near.start_ns DESC LIMIT $12) AS found \
     JOIN runs ON runs.project_id = asked.project_id AND runs.run_id = found.run_id"
);
