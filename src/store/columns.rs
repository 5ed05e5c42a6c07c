//! Columns and rows, the same in both databases.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::assembly::{Call, Columns, Rest, Said, Twin};
use crate::model::id::{ProjectId, RunKey};
use crate::model::key::{ApiKey, PreviousSecret, Scopes};
use crate::model::log::LogRow;
use crate::model::run::{Declared, Kinship, Run};
use crate::model::step::{Facts, Source, Status, Step, StepType, Usage};

/// In the order in which values are bound.
macro_rules! run_columns {
    () => {
        "project_id, run_id, source, worthy, bare, duplicate_of, split, part_of, merged_into, contents, name, model, agent, service, status, \
         input, output, error, tokens, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, \
         reasoning_tokens, cost, latency_s, session_id, user_id, tags, step_count, error_count, trace_id, started_at, \
         ended_at, final_at, metadata, first_day, last_day, due_at, revision, created_at, updated_at, received_at, \
         declared"
    };
}

/// What an UPDATE of a run may change; `created_at` stays.
macro_rules! run_changes {
    () => {
        "source = excluded.source, worthy = excluded.worthy, bare = excluded.bare, \
         duplicate_of = excluded.duplicate_of, split = excluded.split, part_of = excluded.part_of, \
         merged_into = excluded.merged_into, contents = excluded.contents, name = excluded.name, model = excluded.model, \
         agent = excluded.agent, service = excluded.service, status = excluded.status, input = excluded.input, \
         output = excluded.output, error = excluded.error, tokens = excluded.tokens, \
         input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
         cache_read_tokens = excluded.cache_read_tokens, cache_write_tokens = excluded.cache_write_tokens, \
         reasoning_tokens = excluded.reasoning_tokens, cost = excluded.cost, latency_s = excluded.latency_s, \
         session_id = excluded.session_id, user_id = excluded.user_id, tags = excluded.tags, \
         step_count = excluded.step_count, error_count = excluded.error_count, trace_id = excluded.trace_id, \
         started_at = excluded.started_at, ended_at = excluded.ended_at, final_at = excluded.final_at, \
         metadata = excluded.metadata, first_day = excluded.first_day, last_day = excluded.last_day, \
         due_at = excluded.due_at, revision = excluded.revision, updated_at = excluded.updated_at, received_at = excluded.received_at, \
         declared = excluded.declared"
    };
}

/// In the order in which values are bound. Behind them `mapping`, which is written and asked for, but no part of a step:
/// whatever this program writes was mapped by its own version.
macro_rules! step_columns {
    () => {
        step_columns!("detail")
    };
    // With something in place of the detail, which is most of a row and which assembly does not look at.
    ($detail:literal) => {
        concat!(
            "project_id, run_id, step_id, day, parent_id, source, position, type, name, status, error, \
             start_ns, end_ns, latency_ms, tokens, input_tokens, output_tokens, cache_read_tokens, \
             cache_write_tokens, reasoning_tokens, cost, model, provider, agent, input, output, facts, ",
            $detail,
            ", origin_id, content_hash"
        )
    };
}

macro_rules! step_changes {
    () => {
        "parent_id = excluded.parent_id, source = excluded.source, position = excluded.position, \
         type = excluded.type, name = excluded.name, status = excluded.status, error = excluded.error, \
         start_ns = excluded.start_ns, end_ns = excluded.end_ns, latency_ms = excluded.latency_ms, \
         tokens = excluded.tokens, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
         cache_read_tokens = excluded.cache_read_tokens, cache_write_tokens = excluded.cache_write_tokens, \
         reasoning_tokens = excluded.reasoning_tokens, cost = excluded.cost, model = excluded.model, \
         provider = excluded.provider, agent = excluded.agent, input = excluded.input, output = excluded.output, \
         facts = excluded.facts, detail = excluded.detail, origin_id = excluded.origin_id, \
         content_hash = excluded.content_hash, mapping = excluded.mapping"
    };
}

/// In the order in which values are bound.
macro_rules! log_columns {
    () => {
        "project_id, run_id, day, span_id, log_id, time_ns, position, origin_id, body, received_at"
    };
}

pub(super) use {log_columns, run_changes, run_columns, step_changes, step_columns};

#[derive(FromRow)]
pub(super) struct UsageRow {
    tokens: Option<i64>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_read_tokens: Option<i64>,
    cache_write_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
}

impl From<UsageRow> for Usage {
    fn from(row: UsageRow) -> Usage {
        Usage {
            total: row.tokens,
            input: row.input_tokens,
            output: row.output_tokens,
            cache_read: row.cache_read_tokens,
            cache_write: row.cache_write_tokens,
            reasoning: row.reasoning_tokens,
        }
    }
}

#[derive(FromRow)]
struct KinshipRow {
    split: bool,
    part_of: Option<Uuid>,
    merged_into: Option<Uuid>,
    contents: Option<Uuid>,
}

impl From<KinshipRow> for Kinship {
    fn from(row: KinshipRow) -> Kinship {
        Kinship { split: row.split, part_of: row.part_of, merged_into: row.merged_into, contents: row.contents }
    }
}

#[derive(FromRow)]
pub(super) struct RunRow {
    project_id: i64,
    run_id: Uuid,
    source: String,
    worthy: bool,
    bare: bool,
    duplicate_of: Option<Uuid>,
    #[sqlx(flatten)]
    kinship: KinshipRow,
    name: String,
    model: String,
    agent: Option<String>,
    service: Option<String>,
    status: String,
    input: String,
    output: Option<String>,
    error: Option<String>,
    #[sqlx(flatten)]
    usage: UsageRow,
    cost: Option<f64>,
    latency_s: Option<f64>,
    session_id: Option<String>,
    user_id: Option<String>,
    tags: Json<Vec<String>>,
    step_count: i64,
    error_count: i64,
    trace_id: Option<String>,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    final_at: Option<DateTime<Utc>>,
    metadata: Json<Map<String, Value>>,
    first_day: NaiveDate,
    last_day: NaiveDate,
    due_at: Option<DateTime<Utc>>,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    received_at: DateTime<Utc>,
    declared: Option<Json<Declared>>,
}

impl TryFrom<RunRow> for Run {
    type Error = sqlx::Error;

    fn try_from(row: RunRow) -> sqlx::Result<Run> {
        Ok(Run {
            key: RunKey { project: ProjectId(row.project_id), run_id: row.run_id },
            source: source(&row.source)?,
            worthy: row.worthy,
            bare: row.bare,
            duplicate_of: row.duplicate_of,
            name: row.name,
            model: row.model,
            agent: row.agent,
            service: row.service,
            status: status(&row.status)?,
            input: row.input,
            output: row.output,
            error: row.error,
            usage: row.usage.into(),
            cost: row.cost,
            latency_s: row.latency_s,
            session_id: row.session_id,
            user_id: row.user_id,
            tags: row.tags.0,
            step_count: row.step_count,
            error_count: row.error_count,
            trace_id: row.trace_id,
            started_at: row.started_at,
            ended_at: row.ended_at,
            final_at: row.final_at,
            metadata: row.metadata.0,
            first_day: row.first_day,
            last_day: row.last_day,
            due_at: row.due_at,
            kinship: row.kinship.into(),
            revision: row.revision,
            created_at: row.created_at,
            updated_at: row.updated_at,
            received_at: row.received_at,
            declared: row.declared.map(|json| json.0),
        })
    }
}

#[derive(FromRow)]
pub(super) struct StepRow {
    project_id: i64,
    run_id: Uuid,
    step_id: String,
    day: NaiveDate,
    parent_id: Option<String>,
    source: String,
    position: i32,
    #[sqlx(rename = "type")]
    kind: String,
    name: String,
    status: String,
    error: Option<String>,
    start_ns: Option<i64>,
    end_ns: Option<i64>,
    latency_ms: Option<f64>,
    #[sqlx(flatten)]
    usage: UsageRow,
    cost: Option<f64>,
    model: Option<String>,
    provider: Option<String>,
    agent: Option<String>,
    input: Option<String>,
    output: Option<String>,
    facts: Json<Facts>,
    detail: Json<Box<RawValue>>,
    origin_id: Option<Uuid>,
    content_hash: Uuid,
}

impl TryFrom<StepRow> for Step {
    type Error = sqlx::Error;

    fn try_from(row: StepRow) -> sqlx::Result<Step> {
        Ok(Step {
            run: RunKey { project: ProjectId(row.project_id), run_id: row.run_id },
            id: row.step_id,
            parent_id: row.parent_id,
            source: source(&row.source)?,
            position: row.position,
            kind: StepType::from_word(&row.kind),
            name: row.name,
            status: status(&row.status)?,
            error: row.error,
            start_ns: row.start_ns.map(i64::cast_unsigned),
            end_ns: row.end_ns.map(i64::cast_unsigned),
            latency_ms: row.latency_ms,
            usage: row.usage.into(),
            cost: row.cost,
            model: row.model,
            provider: row.provider,
            agent: row.agent,
            input: row.input,
            output: row.output,
            facts: row.facts.0,
            detail: row.detail.0.get().to_owned(),
            origin: row.origin_id,
            content_hash: row.content_hash,
            day: row.day,
        })
    }
}

#[derive(FromRow)]
pub(super) struct LogColumns {
    project_id: i64,
    run_id: Uuid,
    day: NaiveDate,
    span_id: String,
    log_id: Uuid,
    time_ns: i64,
    position: i32,
    origin_id: Uuid,
    body: Json<Box<RawValue>>,
    received_at: DateTime<Utc>,
}

impl TryFrom<LogColumns> for LogRow {
    type Error = sqlx::Error;

    fn try_from(row: LogColumns) -> sqlx::Result<LogRow> {
        Ok(LogRow {
            run: RunKey { project: ProjectId(row.project_id), run_id: row.run_id },
            span_id: row.span_id,
            day: row.day,
            id: row.log_id,
            time_ns: row.time_ns.cast_unsigned(),
            position: row.position,
            origin: row.origin_id,
            body: row.body.0.get().to_owned(),
            received_at: row.received_at,
        })
    }
}

/// Sums over the latest steps of a run.
#[derive(FromRow)]
pub(super) struct RestRow {
    steps: i64,
    errors: i64,
    model_calls: i64,
    tokens: Option<f64>,
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    cache_read_tokens: Option<f64>,
    cache_write_tokens: Option<f64>,
    reasoning_tokens: Option<f64>,
    cost: Option<f64>,
    latest_end_ns: Option<i64>,
    unfinished: i64,
}

impl From<RestRow> for Rest {
    fn from(row: RestRow) -> Rest {
        // Exact up to 2^53, and no more than an integer holds.
        let whole = |sum: Option<f64>| sum.map(|sum| sum as i64);
        Rest {
            steps: row.steps,
            errors: row.errors,
            model_calls: row.model_calls,
            usage: Usage {
                total: whole(row.tokens),
                input: whole(row.input_tokens),
                output: whole(row.output_tokens),
                cache_read: whole(row.cache_read_tokens),
                cache_write: whole(row.cache_write_tokens),
                reasoning: whole(row.reasoning_tokens),
            },
            cost: row.cost,
            latest_end_ns: row.latest_end_ns.map(i64::cast_unsigned),
            is_unfinished: row.unfinished > 0,
        }
    }
}

/// A call step of another run than the one that asked.
#[derive(FromRow)]
pub(super) struct TwinRow {
    project_id: i64,
    asked_run_id: Uuid,
    run_id: Uuid,
    bare: bool,
    latency_s: Option<f64>,
    #[sqlx(rename = "type")]
    kind: String,
    start_ns: Option<i64>,
    end_ns: Option<i64>,
    model: Option<String>,
    tokens: Option<i64>,
    status: String,
    has_content: bool,
    same_question: bool,
    facts: Json<Facts>,
}

/// What is told of a call of another run beside the run: in the order of [`TwinRow`].
macro_rules! twin_columns {
    () => {
        "type, start_ns, end_ns, model, tokens, status, input IS NOT NULL OR output IS NOT NULL AS has_content, facts"
    };
}
pub(super) use twin_columns;

impl TwinRow {
    /// The run that asked, and what was found for it. `None` when the step is no call.
    pub fn twin(self) -> Option<(RunKey, Twin)> {
        let columns = Columns {
            start_ns: self.start_ns.map(i64::cast_unsigned),
            end_ns: self.end_ns.map(i64::cast_unsigned),
            model: self.model,
            tokens: self.tokens,
            status: Status::from_word(&self.status).unwrap_or_default(),
            said: Said { any: self.has_content, same_question: self.same_question },
        };
        let call = Call::new(&StepType::from_word(&self.kind), &self.facts.0, columns)?;
        let asked = RunKey { project: ProjectId(self.project_id), run_id: self.asked_run_id };
        let (run_is_bare, run_latency_s) = (self.bare, self.latency_s);
        Some((asked, Twin { run_id: self.run_id, run_is_bare, run_latency_s, call }))
    }
}

/// A row of `api_keys` beside the name of its project.
#[derive(FromRow)]
pub(super) struct KeyRow {
    key_id: String,
    project_id: i64,
    project_name: String,
    name: Option<String>,
    scopes: String,
    quota: String,
    secret_hash: Vec<u8>,
    previous_hash: Option<Vec<u8>>,
    previous_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    last_user_agent: Option<String>,
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = sqlx::Error;

    fn try_from(row: KeyRow) -> sqlx::Result<ApiKey> {
        let previous = match (row.previous_hash, row.previous_until) {
            (Some(hash), Some(until)) => Some(PreviousSecret { hash: whole(hash)?, until }),
            _ => None,
        };
        let scopes = if row.scopes.is_empty() { Ok(Scopes::default()) } else { row.scopes.parse() };
        Ok(ApiKey {
            id: row.key_id,
            name: row.name,
            project: ProjectId(row.project_id),
            project_name: row.project_name,
            scopes: scopes.map_err(|problem: String| undecodable(problem))?,
            quota: serde_json::from_str(&row.quota).map_err(undecodable)?,
            secret_hash: whole(row.secret_hash)?,
            previous,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
            last_user_agent: row.last_user_agent,
        })
    }
}

fn whole(hash: Vec<u8>) -> sqlx::Result<[u8; 32]> {
    hash.try_into().map_err(|_| undecodable("a hash of a key has not 32 bytes"))
}

/// Rows of one kind as values of the model.
pub(super) fn decoded<Row, T: TryFrom<Row, Error = sqlx::Error>>(rows: Vec<Row>) -> sqlx::Result<Vec<T>> {
    rows.into_iter().map(T::try_from).collect()
}

fn status(word: &str) -> sqlx::Result<Status> {
    Status::from_word(word).ok_or_else(|| undecodable(format!("unknown status {word:?}")))
}

fn source(word: &str) -> sqlx::Result<Source> {
    match word {
        "otlp" => Ok(Source::Otlp),
        "native" => Ok(Source::Native),
        other => Err(undecodable(format!("unknown source {other:?}"))),
    }
}

fn undecodable(problem: impl Into<sqlx::error::BoxDynError>) -> sqlx::Error {
    sqlx::Error::Decode(problem.into())
}
