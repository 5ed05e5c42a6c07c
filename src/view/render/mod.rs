//! Runs and steps as the JSON of the query API and of the answer to `POST /runs`. Times are RFC 3339 in UTC with
//! microseconds, ids lower case.

mod step;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::assembly::Node;
use crate::mapping::detail;
use crate::model::query::Page;
use crate::model::run::{Declared, Run};
use crate::model::step::{Source, Status, Step, Usage};
use crate::view::filter::encode_cursor;

pub use step::{
    EXPENSIVE_STEP_MIN_USD, EXPENSIVE_STEP_SHARE, NESTING_MAX, SLOW_STEP_MIN_MS, SLOW_STEP_SHARE, StepView,
};

use step::{Forest, RunTotals};

/// `input` and `output` of a run in a list are cut to this, on a character border.
pub const SUMMARY_TEXT_MAX_BYTES: usize = 2048;

/// One page of `GET /runs`.
pub fn run_page(page: &Page, now: DateTime<Utc>) -> impl Serialize + '_ {
    #[derive(Serialize)]
    struct RunPage<'a> {
        items: Vec<RunView<'a>>,
        next_cursor: Option<String>,
    }
    RunPage {
        items: page.runs.iter().map(|run| run_summary(run, now)).collect(),
        next_cursor: page.next.as_ref().map(encode_cursor),
    }
}

/// A run in a list: its texts are cut to [`SUMMARY_TEXT_MAX_BYTES`] and marked where they were.
pub fn run_summary(run: &Run, now: DateTime<Utc>) -> RunView<'_> {
    let whole = run_whole(run, now);
    let input = cut(whole.input);
    let output = whole.output.map(cut);
    RunView {
        input_truncated: input.len() < whole.input.len(),
        output_truncated: output.map(str::len) < whole.output.map(str::len),
        input,
        output,
        ..whole
    }
}

/// A run with whole texts. `now` tells whether it is final.
pub fn run_whole(run: &Run, now: DateTime<Utc>) -> RunView<'_> {
    RunView {
        run_id: run.key.run_id,
        name: &run.name,
        model: &run.model,
        agent: run.agent.as_deref(),
        service: run.service.as_deref(),
        status: run.status,
        input: &run.input,
        input_truncated: false,
        output: run.output.as_deref(),
        output_truncated: false,
        error: run.error.as_deref(),
        tokens: run.usage.into(),
        cost: run.cost,
        latency: run.latency_s,
        session_id: run.session_id.as_deref(),
        user_id: run.user_id.as_deref(),
        tags: &run.tags,
        step_count: run.step_count,
        error_count: run.error_count,
        trace_id: run.trace_id.as_deref(),
        source: run.source,
        started_at: time(run.started_at),
        ended_at: run.ended_at.map(time),
        created_at: time(run.created_at),
        updated_at: time(run.updated_at),
        is_final: run.final_at.is_some_and(|at| at <= now),
        metadata: &run.metadata,
    }
}

/// The answer of `GET /runs/{run_id}`. `origin_bodies` are the bodies of the origins that the steps refer to.
pub fn run_detail<'a>(
    run: &'a Run,
    tree: Vec<Node>,
    origin_bodies: &HashMap<Uuid, String>,
    now: DateTime<Utc>,
) -> RunDetail<'a> {
    detail_with(run, tree, now, &|step| stored_metadata(step, origin_bodies))
}

fn detail_with<'a>(
    run: &'a Run,
    tree: Vec<Node>,
    now: DateTime<Utc>,
    metadata_of: &dyn Fn(&Step) -> Map<String, Value>,
) -> RunDetail<'a> {
    let forest = Forest::of(tree, RunTotals { latency_s: run.latency_s, cost: run.cost }, metadata_of);
    let flags = RunFlags {
        has_error: run.status == Status::Error || forest.error_count > 0,
        has_slow_step: forest.has_slow_step,
        has_expensive_step: forest.has_expensive_step,
    };
    let stats = RunStats {
        total_steps: forest.total_steps,
        total_tokens: run.usage.total.unwrap_or(0),
        total_latency: forest.total_latency_ms,
        error_count: forest.error_count,
        max_depth: forest.max_depth,
        by_type: forest.by_type,
    };
    RunDetail { run: run_whole(run, now), tree: forest.steps, flags, stats }
}

/// The answer of `POST /runs`: the run as it was declared, after normalisation, with its steps nested.
pub fn posted_run<'a>(run: &'a Run, tree: Vec<Node>, origin_bodies: &HashMap<Uuid, String>) -> PostedRun<'a> {
    posted_with(run, tree, &|step| stored_metadata(step, origin_bodies))
}

fn posted_with<'a>(run: &'a Run, tree: Vec<Node>, metadata_of: &dyn Fn(&Step) -> Map<String, Value>) -> PostedRun<'a> {
    let forest = Forest::of(tree, RunTotals { latency_s: run.latency_s, cost: run.cost }, metadata_of);
    let whole = run_whole(run, run.updated_at);
    let mut posted = PostedRun {
        run_id: whole.run_id,
        model: whole.model,
        input: whole.input,
        output: whole.output,
        tokens: run.usage.total,
        cost: whole.cost,
        latency: whole.latency,
        status: whole.status,
        error: whole.error,
        name: Some(whole.name),
        agent: whole.agent,
        session_id: whole.session_id,
        user_id: whole.user_id,
        tags: whole.tags,
        metadata: whole.metadata,
        input_tokens: run.usage.input,
        output_tokens: run.usage.output,
        trace_id: whole.trace_id,
        created_at: whole.created_at,
        started_at: whole.started_at,
        steps: forest.steps,
    };
    if let Some(declared) = &run.declared {
        posted.say(declared);
    }
    posted
}

/// A run of the query API.
#[derive(Clone, Debug, Serialize)]
pub struct RunView<'a> {
    pub run_id: Uuid,
    pub name: &'a str,
    pub model: &'a str,
    pub agent: Option<&'a str>,
    pub service: Option<&'a str>,
    pub status: Status,
    pub input: &'a str,
    pub input_truncated: bool,
    pub output: Option<&'a str>,
    pub output_truncated: bool,
    pub error: Option<&'a str>,
    #[serde(flatten)]
    pub tokens: TokensView,
    /// USD.
    pub cost: Option<f64>,
    /// Seconds.
    pub latency: Option<f64>,
    pub session_id: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub tags: &'a [String],
    pub step_count: i64,
    pub error_count: i64,
    pub trace_id: Option<&'a str>,
    pub source: Source,
    pub started_at: String,
    pub ended_at: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    #[serde(rename = "final")]
    pub is_final: bool,
    pub metadata: &'a Map<String, Value>,
}

/// Token counts under the names of the API; null where unknown.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TokensView {
    pub tokens: Option<i64>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub cache_write_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
}

impl From<Usage> for TokensView {
    fn from(usage: Usage) -> TokensView {
        TokensView {
            tokens: usage.total,
            input_tokens: usage.input,
            output_tokens: usage.output,
            cache_read_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write,
            reasoning_tokens: usage.reasoning,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct RunDetail<'a> {
    pub run: RunView<'a>,
    pub tree: Vec<StepView>,
    pub flags: RunFlags,
    pub stats: RunStats,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct RunFlags {
    /// The run failed, or a step of it did, also one that the agent recovered from.
    pub has_error: bool,
    pub has_slow_step: bool,
    pub has_expensive_step: bool,
}

/// Counts over all steps shown, inferred ones included.
#[derive(Clone, Debug, Serialize)]
pub struct RunStats {
    pub total_steps: usize,
    /// The run's tokens, each call counted once; 0 when none are known.
    pub total_tokens: i64,
    /// Milliseconds, the sum over all steps: nested and parallel steps each count.
    pub total_latency: f64,
    pub error_count: usize,
    /// Levels of the tree: 1 when no step has a child, 0 without steps.
    pub max_depth: usize,
    pub by_type: BTreeMap<String, usize>,
}

/// A run as `POST /runs` answers it.
#[derive(Clone, Debug, Serialize)]
pub struct PostedRun<'a> {
    pub run_id: Uuid,
    pub model: &'a str,
    pub input: &'a str,
    pub output: Option<&'a str>,
    pub tokens: Option<i64>,
    pub cost: Option<f64>,
    /// Seconds.
    pub latency: Option<f64>,
    pub status: Status,
    pub error: Option<&'a str>,
    pub name: Option<&'a str>,
    pub agent: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub tags: &'a [String],
    pub metadata: &'a Map<String, Value>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub trace_id: Option<&'a str>,
    pub created_at: String,
    pub started_at: String,
    pub steps: Vec<StepView>,
}

impl<'a> PostedRun<'a> {
    /// The sender reads back its own words, not what assembly made of them and the steps.
    fn say(&mut self, declared: &'a Declared) {
        self.model = &declared.model;
        self.input = &declared.input;
        self.output = declared.output.as_deref();
        self.tokens = declared.tokens;
        self.cost = declared.cost;
        self.latency = declared.latency;
        self.status = declared.status;
        self.error = declared.error.as_deref();
        self.name = declared.name.as_deref();
        self.agent = declared.agent.as_deref();
        self.session_id = declared.session_id.as_deref();
        self.user_id = declared.user_id.as_deref();
        self.tags = &declared.tags;
        self.metadata = &declared.metadata;
        self.input_tokens = declared.input_tokens;
        self.output_tokens = declared.output_tokens;
        self.trace_id = declared.trace_id.as_deref();
    }
}

fn stored_metadata(step: &Step, origin_bodies: &HashMap<Uuid, String>) -> Map<String, Value> {
    let body = step.origin.and_then(|origin| origin_bodies.get(&origin));
    detail::metadata(step, body.map(String::as_str))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SUMMARY_TEXT_MAX_BYTES)]
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
