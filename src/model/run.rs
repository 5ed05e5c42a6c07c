//! A run: what assembly makes of its steps, and what a native sender declared.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::id::RunKey;
use crate::model::step::{Source, Status, Step, Usage};

/// One run as lists and filters need it: a row of the table `runs`, written by assembly only.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub key: RunKey,
    pub source: Source,
    /// False for a trace without a GenAI step: stored, but in no list.
    pub worthy: bool,
    /// It is nothing but calls of models, below and above steps that are not about GenAI: it may be a copy.
    pub bare: bool,
    /// The run that holds the same calls, recorded by another instrumentation in another trace. A copy is stored and
    /// can be read, but is in no list. Only a bare run has one; set by [`Run::set_original`].
    pub duplicate_of: Option<Uuid>,
    pub name: String,
    /// `"unknown"` when nothing tells it: the field is not nullable.
    pub model: String,
    pub agent: Option<String>,
    pub service: Option<String>,
    pub status: Status,
    /// Plain text view, empty when nothing was captured.
    pub input: String,
    pub output: Option<String>,
    /// Not empty exactly when `status` is error.
    pub error: Option<String>,
    pub usage: Usage,
    /// USD.
    pub cost: Option<f64>,
    pub latency_s: Option<f64>,
    pub session_id: Option<String>,
    pub user_id: Option<String>,
    pub tags: Vec<String>,
    /// Stored steps; inferred ones are not counted.
    pub step_count: i64,
    pub error_count: i64,
    pub trace_id: Option<String>,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// When it counts as final unless something more arrives, which re-opens it. `None` while it is running.
    pub final_at: Option<DateTime<Utc>>,
    pub metadata: Map<String, Value>,
    /// Days of the partitions that hold its steps.
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
    /// When the sweeper must look again although nothing arrives: at the end of an unfinished run, and for the original
    /// of a bare one. `None` once all is settled.
    pub due_at: Option<DateTime<Utc>>,
    pub kinship: Kinship,
    /// How often it changed after it had counted as final; set by [`Run::set_revision`].
    pub revision: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// When the newest step was received: silence is counted from here.
    pub received_at: DateTime<Utc>,
    /// Present for a native run.
    pub declared: Option<Declared>,
}

impl Run {
    /// Marks a bare run as a copy of `original`, which its metadata show as `duplicate_of_run`. A run that is more than
    /// calls is no copy.
    pub fn set_original(&mut self, original: Option<Uuid>) {
        self.duplicate_of = original.filter(|_| self.bare);
        if let Some(original) = self.duplicate_of {
            self.metadata.insert("duplicate_of_run".to_owned(), Value::from(original.to_string()));
        }
    }

    /// A trace that is no run is never final: it may still become one.
    pub fn is_final(&self, now: DateTime<Utc>) -> bool {
        self.worthy && self.final_at.is_some_and(|at| at <= now)
    }

    /// A run of spans shows its revision in its metadata from the first on. Those of a native run are its sender's.
    pub fn set_revision(&mut self, revision: i64) {
        self.revision = revision;
        if revision > 0 && self.source == Source::Otlp {
            self.metadata.insert("revision".to_owned(), Value::from(revision));
        }
    }
}

/// How a run belongs to others where a trace is not one run but one for each of its outermost GenAI steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kinship {
    /// The run of a trace that was taken apart.
    pub split: bool,
    /// Of a part: the run of its trace, under which its steps are stored.
    pub part_of: Option<Uuid>,
    /// Of an earlier part: the run that holds its steps now. It is in no list.
    pub merged_into: Option<Uuid>,
    /// Of a part: tells one content from another.
    pub contents: Option<Uuid>,
}

/// A run after assembly: its row, and its steps as they are shown.
#[derive(Clone, Debug)]
pub struct Assembled {
    pub run: Run,
    pub steps: Vec<ShownStep>,
}

/// A step with what only the whole run can tell: the totals of an agent, the mark of a copy, an inferred tool call.
#[derive(Clone, Debug)]
pub struct ShownStep {
    pub step: Step,
    /// Shown in the step's metadata: `counted`, `duplicate_of`, `inferred`, `reported_usage`, `output_source`, …
    pub marks: Map<String, Value>,
}

impl From<Step> for ShownStep {
    fn from(step: Step) -> ShownStep {
        ShownStep { step, marks: Map::new() }
    }
}

/// What a sender of `POST /runs` said about its run, after normalisation, without the steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    pub model: String,
    pub input: String,
    pub output: Option<String>,
    pub tokens: Option<i64>,
    pub cost: Option<f64>,
    /// Seconds.
    pub latency: Option<f64>,
    pub status: Status,
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Hash of the whole normalised submission, steps included: an equal resend changes nothing.
    pub hash: Uuid,
}
