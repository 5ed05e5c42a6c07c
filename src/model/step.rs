//! A step: one span, or one entry of a native run, in the product's terms.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::id::RunKey;

/// What a step is. A native run may use any word of its own; OTLP spans get one of the named types.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum StepType {
    Agent,
    Workflow,
    ModelCall,
    ToolCall,
    Retrieval,
    Embedding,
    Rerank,
    Guardrail,
    Evaluator,
    Memory,
    Handoff,
    HttpRequest,
    DbQuery,
    Rpc,
    Messaging,
    Function,
    Event,
    #[default]
    Unknown,
    Other(String),
}

const STEP_TYPES: [(StepType, &str); 18] = [
    (StepType::Agent, "agent"),
    (StepType::Workflow, "workflow"),
    (StepType::ModelCall, "model_call"),
    (StepType::ToolCall, "tool_call"),
    (StepType::Retrieval, "retrieval"),
    (StepType::Embedding, "embedding"),
    (StepType::Rerank, "rerank"),
    (StepType::Guardrail, "guardrail"),
    (StepType::Evaluator, "evaluator"),
    (StepType::Memory, "memory"),
    (StepType::Handoff, "handoff"),
    (StepType::HttpRequest, "http_request"),
    (StepType::DbQuery, "db_query"),
    (StepType::Rpc, "rpc"),
    (StepType::Messaging, "messaging"),
    (StepType::Function, "function"),
    (StepType::Event, "event"),
    (StepType::Unknown, "unknown"),
];

impl StepType {
    pub fn as_str(&self) -> &str {
        match self {
            StepType::Other(word) => word,
            known => STEP_TYPES.iter().find(|(kind, _)| kind == known).map_or("unknown", |(_, word)| word),
        }
    }

    /// Every word has a type: one that is not named becomes [`StepType::Other`].
    pub fn from_word(word: &str) -> StepType {
        let named = STEP_TYPES.iter().find(|(_, known)| *known == word);
        named.map_or_else(|| StepType::Other(word.to_owned()), |(kind, _)| kind.clone())
    }

    /// Call steps are the only ones that spend tokens: what others report sums these up.
    pub fn is_call(&self) -> bool {
        matches!(self, StepType::ModelCall | StepType::Embedding | StepType::Rerank)
    }

    /// GenAI steps make a trace a run. A workflow is one only when a GenAI dialect typed it,
    /// which [`Facts::genai`] tells.
    pub fn is_genai(&self) -> bool {
        use StepType::*;
        matches!(
            self,
            Agent | ModelCall | ToolCall | Retrieval | Embedding | Rerank | Guardrail | Evaluator | Memory | Handoff
        )
    }
}

/// Status of a step and of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Success,
    Error,
    Running,
    Timeout,
}

impl Status {
    pub const WORDS: [&'static str; 4] = ["success", "error", "running", "timeout"];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Error => "error",
            Status::Running => "running",
            Status::Timeout => "timeout",
        }
    }

    /// Reads a status in any case, as `POST /runs` and the filters of `GET /runs` allow.
    pub fn from_word(word: &str) -> Option<Status> {
        [Status::Success, Status::Error, Status::Running, Status::Timeout]
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(word))
    }
}

/// Where a step or a run came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    #[default]
    Otlp,
    Native,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Otlp => "otlp",
            Source::Native => "native",
        }
    }
}

/// Token counts. `None` means unknown, which is not 0. Cache parts are inside `input`, reasoning is inside `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub total: Option<i64>,
    pub input: Option<i64>,
    pub output: Option<i64>,
    pub cache_read: Option<i64>,
    pub cache_write: Option<i64>,
    pub reasoning: Option<i64>,
}

impl Usage {
    pub fn is_empty(&self) -> bool {
        *self == Usage::default()
    }
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// The sender said so.
    Reported,
    /// From tokens and the prices that the step's metadata tells.
    Computed,
}

impl CostSource {
    pub fn as_str(self) -> &'static str {
        match self {
            CostSource::Reported => "reported",
            CostSource::Computed => "computed",
        }
    }
}

/// One step as it is stored. Assembly may show it differently (marks of copies, totals of an agent), never change it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub run: RunKey,
    /// 16 hexadecimal digits of the span id, or the id of a native step.
    pub id: String,
    /// May name a step that has not come yet.
    pub parent_id: Option<String>,
    pub source: Source,
    /// Order among the steps of a native run, depth first from 0. Spans are ordered by time: always 0.
    pub position: i32,
    pub kind: StepType,
    pub name: String,
    pub status: Status,
    /// Not empty exactly when `status` is error.
    pub error: Option<String>,
    /// Nanoseconds since 1970 as sent; `None` when unknown.
    pub start_ns: Option<u64>,
    /// `None` while the step has not ended.
    pub end_ns: Option<u64>,
    pub latency_ms: Option<f64>,
    pub usage: Usage,
    /// USD.
    pub cost: Option<f64>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub agent: Option<String>,
    /// As sent: the same string, or the JSON text of what was structured.
    pub input: Option<String>,
    pub output: Option<String>,
    pub facts: Facts,
    /// JSON object, as text. OTLP: what of the span has no column of its own (`mapping::detail` writes and reads it).
    /// Native: the step's `metadata`.
    pub detail: String,
    /// Key of the [`crate::model::batch::OriginRow`] that tells resource and scope. `None` for native steps.
    pub origin: Option<Uuid>,
    /// Hash of all that was sent: two copies of one step are equal exactly when these are.
    pub content_hash: Uuid,
    /// UTC day of the step's own start: the partition. A native step takes the day its run was created.
    pub day: NaiveDate,
}

/// A kind of call for which an SDK opens a step of its own around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrapped {
    ModelCall,
    Embedding,
    /// Every turn of a model: the call itself, as long as no step below shows each of them.
    Turns,
}

/// What mapping learned about a step beyond its columns and assembly needs: small, typed, stored as one JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// A GenAI dialect typed this step (it counts for being a run, also as a workflow).
    #[serde(skip_serializing_if = "is_false")]
    pub genai: bool,
    /// Creation of an agent or of a memory store: stored, but does not make a trace a run.
    #[serde(skip_serializing_if = "is_false")]
    pub setup: bool,
    /// The parent lives in another process (span flags 0x100 and 0x200, or an old SDK's SERVER or CONSUMER span).
    #[serde(skip_serializing_if = "is_false")]
    pub remote_parent: bool,
    /// The sender marked this step as the boundary of a run.
    #[serde(skip_serializing_if = "is_false")]
    pub run_root: bool,
    /// The usage of the step is the sum of all calls below, also of those that no step shows.
    #[serde(skip_serializing_if = "is_false")]
    pub claim_is_sum: bool,
    /// The span has an exception event of a kind that is no cancellation.
    #[serde(skip_serializing_if = "is_false")]
    pub exception: bool,
    /// The call that a workflow of an SDK was opened for: what it is in the end depends on the steps below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wraps: Option<Wrapped>,
    /// Status code ERROR came without `error.type` or an exception event: it may be a child's error.
    #[serde(skip_serializing_if = "is_false")]
    pub error_may_be_childs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_name: Option<String>,
    /// What the sender calls the input and the output of the whole run, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What the sender meant for the run as a whole.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub run_metadata: Map<String, Value>,
    /// `service.name` of the resource, without the SDKs' `unknown_service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `service.instance.id` of the resource: copies of one call come from one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Where the step's cost comes from; `None` where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostSource>,
    /// This step only records the end of a stream that took so long: the call itself is another step.
    pub stream_took_ms: Option<f64>,
    /// Further findings by name, shown in the step's metadata as they stand (`cancelled`, `control_flow`, `truncated`,
    /// `redacted`, `clock_skew`, `mapping_warnings`, …).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub more: Map<String, Value>,
}

fn is_false(b: &bool) -> bool {
    !b
}
