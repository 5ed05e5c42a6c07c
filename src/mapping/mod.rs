//! Span to step: pure, by the rules of the dialects in order of trust.
//!
//! [`DIALECTS`] is the list: a dialect is a file that tells whether a span speaks it, what type the span has, and which
//! values it supplies. Values are offered with ranks ([`precedence`]), so dialects do not know of each other; the best
//! usable offer wins and everything else stays in the attributes, which are kept whole ([`detail`]).

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::mapping::content_hash::SpanHasher;
use crate::mapping::draft::{Draft, KindChoice};
use crate::mapping::sent::Sent;
use crate::mapping::step::Making;
use crate::model::batch::OriginRow;
use crate::model::id::ProjectId;
use crate::model::log::LogRow;
use crate::model::span::{Origin, Span};
use crate::model::step::{Step, StepType};
use crate::otlp::{LogGroup, SpanGroup};
use crate::prices::Prices;

pub mod detail;

mod usable;
mod normal_form;
mod precedence;
mod indexed;
mod python_literal;
mod tags;
mod canonical;
mod sent;
mod draft;
mod tokens;
mod content_json;
mod langchain;
mod association;
mod gen_ai_legacy;
mod gen_ai;
mod openinference;
mod anthropic_sdk;
mod event_list;
mod pydantic_ai;
mod logfire;
mod openai_agents;
mod claude_code;
mod gemini_cli;
mod google_adk;
mod semantic_kernel;
mod ag2;
mod mastra;
mod sentry;
mod voltagent;
mod genkit;
mod livekit;
mod flue;
mod ai_sdk;
mod ai_sdk_7;
mod langfuse;
mod langsmith;
mod mlflow;
mod familiar;
mod unflatten;
mod any_content;
mod any_prefix;
mod any_event;
mod indexed_prompts;
mod vector_db;
mod openllmetry;
mod crewai;
mod strands;
mod agent_framework;
mod mcp;
mod spring_ai;
mod minor;
mod litellm;
mod laminar;
mod agentops;
mod openlit;
mod braintrust;
mod langwatch;
mod haystack;
mod openinference_frameworks;
mod generic;
mod status;
mod content_hash;
mod log_events;
mod log_runs;
mod logs;
mod origin;
mod cost;
mod step;
mod merge;
mod pending;

/// The version of the rules as a whole, stored with every step that they made. Whoever changes what a span that is stored
/// already would be mapped to raises it by one, with the change: `vectoros remap` then makes the older steps anew.
pub const VERSION: i32 = 2;

/// How the spans of one instrumentation or convention are read.
struct Dialect {
    /// Whether any of its keys is there: a span may speak several dialects at once, or none.
    speaks: fn(&Sent<'_>) -> bool,
    /// Offers a type.
    kind: fn(&Sent<'_>, &mut KindChoice),
    /// Offers values, knowing the type.
    fields: for<'a> fn(&Sent<'a>, &StepType, &mut Draft<'a>),
}

macro_rules! dialects {
    ($($module:ident;)*) => {
        &[$(Dialect { speaks: $module::speaks, kind: $module::kind, fields: $module::fields }),*]
    };
}

/// Every dialect. Order decides between offers of equal rank only; `langchain` refines what those before it found.
const DIALECTS: &[Dialect] = dialects! {
    langfuse;
    openinference;
    gen_ai;
    gen_ai_legacy;
    anthropic_sdk;
    claude_code;
    gemini_cli;
    google_adk;
    semantic_kernel;
    ai_sdk;
    ai_sdk_7;
    langsmith;
    mlflow;
    indexed_prompts;
    openllmetry;
    crewai;
    pydantic_ai;
    logfire;
    openai_agents;
    strands;
    agent_framework;
    mcp;
    spring_ai;
    minor;
    litellm;
    laminar;
    agentops;
    openlit;
    braintrust;
    langwatch;
    haystack;
    openinference_frameworks;
    ag2;
    mastra;
    sentry;
    voltagent;
    genkit;
    livekit;
    flue;
    langchain;
    any_prefix;
    any_event;
    generic;
};

/// Maps every span; never fails, never loses an attribute. `received_at` only stands in for an unusable start time
/// when the partition day is chosen. Calls are priced by `prices`.
pub fn map_traces(
    project: ProjectId,
    groups: Vec<SpanGroup>,
    received_at: DateTime<Utc>,
    prices: &Prices,
) -> (Vec<Step>, Vec<OriginRow>) {
    let mut steps = Vec::with_capacity(groups.iter().map(|group| group.items.len()).sum());
    let mut origins = Vec::new();
    let mut known = HashSet::new();
    let mut hasher = SpanHasher::default();
    for group in groups.iter().filter(|group| !group.items.is_empty()) {
        let row = origin::row(&group.origin);
        let making = Making {
            project,
            origin: &group.origin,
            origin_id: Some(row.id),
            day_of_receipt: received_at.date_naive(),
            added: &[],
            versions: &[],
            prices: Some(prices),
        };
        steps.extend(group.items.iter().map(|span| step::step(&pending::announced(span), &making, &mut hasher)));
        if known.insert(row.id) {
            origins.push(row);
        }
    }
    (steps, origins)
}

/// Rows for every log record; never fails, never loses an attribute.
pub fn map_logs(
    project: ProjectId,
    groups: Vec<LogGroup>,
    received_at: DateTime<Utc>,
) -> (Vec<LogRow>, Vec<OriginRow>) {
    logs::rows(project, groups, received_at)
}

/// The steps of one run with its log records folded in, in whatever order both came, and the records that belong to
/// none of the steps. Never to be stored: a step is stored as its span alone makes it.
pub fn with_logs(
    steps: Vec<Step>,
    logs: Vec<LogRow>,
    prices: &Prices,
    origin_of: &dyn Fn(Uuid) -> Option<String>,
) -> (Vec<Step>, Vec<LogRow>) {
    if logs.is_empty() { (steps, logs) } else { logs::join(steps, logs, prices, origin_of) }
}

/// May the record be about another step than the one it names? Which, only all of them tell.
pub fn is_about_others(log: &LogRow) -> bool {
    claude_code::is_about_others(&log.body)
}

/// Field of a step or of its run → the key that supplies it by the rules as they are now.
pub fn sources(span: &Span, origin: &Origin) -> BTreeMap<&'static str, &'static str> {
    let making = Making {
        project: ProjectId(0),
        origin,
        origin_id: None,
        day_of_receipt: NaiveDate::default(),
        added: &[],
        versions: &[],
        prices: None,
    };
    step::sources(span, &making)
}

/// One step out of two versions of it: commutative, associative, idempotent, so that neither order nor number of
/// copies matters. Ended beats unended, then the later end, more attributes, the larger content hash. Attributes that
/// only the other version has are added; the other version itself is kept in `metadata.otel.versions`, up to a bound.
/// `origin_of` gives the stored body of an [`OriginRow`].
pub fn merge(one: Step, other: Step, prices: &Prices, origin_of: &dyn Fn(Uuid) -> Option<String>) -> Step {
    merge::merge(one, other, prices, origin_of)
}

/// A stored step by the rules as they are now, with all versions that are kept of its span; its key stays. `None` for a
/// step that came from no span.
pub fn remap(step: &Step, prices: &Prices, origin_of: &dyn Fn(Uuid) -> Option<String>) -> Option<Step> {
    merge::remap(step, prices, origin_of)
}

/// The origins that [`remap`] may ask for.
pub fn origins_of(step: &Step) -> Vec<Uuid> {
    merge::origins_of(step)
}

#[cfg(test)]
mod tests;
