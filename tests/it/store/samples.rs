//! Steps, batches and clocks for the tests of the store.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use vectoros::assembly::{LifeCycle, Scopes};
use vectoros::mapping::map_traces;
use vectoros::model::batch::{Batch, Native, OriginRow, Written};
use vectoros::model::id::{ProjectId, RunKey};
use vectoros::model::run::{Declared, Run};
use vectoros::model::span::{Origin, Span};
use vectoros::model::step::{Facts, Source, Status, Step, StepType, Usage};
use vectoros::model::value::AnyValue;
use vectoros::otlp::SpanGroup;
use vectoros::prices::Prices;
use vectoros::store::{Store, StoredRun, Tuning};

/// Small, so that a few dozen steps make a large run.
pub const TUNING: Tuning = Tuning {
    inline_steps_max: 20,
    readers_max: 4,
    shown_steps_max: 5_000,
    assembled_steps_max: 5_000,
    whole_bytes_max: Tuning::WHOLE_BYTES_MAX,
    sqlite_log_bytes_max: 1 << 30,
};

pub const LIFE: LifeCycle = LifeCycle {
    settle: Duration::from_secs(5),
    orphan_idle: Duration::from_secs(120),
    idle_limit: Duration::from_secs(900),
    max_duration: Duration::from_secs(86_400),
    unmatched_logs: Duration::from_secs(3_600),
    scopes: Scopes { genai_root: false, genai_root_services: Vec::new() },
};

/// Seconds after a fixed noon.
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

pub fn ns(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_nanos_opt().unwrap()).unwrap()
}

pub async fn project(store: &dyn Store, name: &str) -> ProjectId {
    store.project(name, at(0)).await.unwrap()
}

pub fn run_key(project: ProjectId, trace: u128) -> RunKey {
    RunKey { project, run_id: Uuid::from_u128(trace) }
}

/// A model call of one second that used 10 tokens; span 1 is the agent above all others.
pub fn span(project: ProjectId, trace: u128, number: u64) -> Step {
    mapped(project, sample(trace, number))
}

/// The same span before it ended.
pub fn unended(project: ProjectId, trace: u128, number: u64) -> Step {
    mapped(project, Span { end_ns: 0, ..sample(trace, number) })
}

fn sample(trace: u128, number: u64) -> Span {
    let is_root = number == 1;
    let start_ns = ns(at(i64::try_from(number).unwrap()));
    let text = |text: &str| AnyValue::Str(text.to_owned());
    let mut attributes = vec![
        ("gen_ai.operation.name".to_owned(), text(if is_root { "invoke_agent" } else { "chat" })),
        ("gen_ai.provider.name".to_owned(), text("openai")),
    ];
    if !is_root {
        attributes.push(("gen_ai.request.model".to_owned(), text("gpt-5")));
        attributes.push(("gen_ai.usage.input_tokens".to_owned(), AnyValue::Int(6)));
        attributes.push(("gen_ai.usage.output_tokens".to_owned(), AnyValue::Int(4)));
    }
    Span {
        trace_id: trace.to_be_bytes(),
        span_id: number.to_be_bytes(),
        parent_span_id: (!is_root).then(|| 1_u64.to_be_bytes()),
        name: format!("step {number}"),
        kind: 1,
        start_ns,
        end_ns: start_ns + 1_000_000_000,
        attributes,
        ..Span::default()
    }
}

fn groups(spans: Vec<Span>) -> Vec<SpanGroup> {
    vec![SpanGroup { position: 0, origin: Origin::default(), items: spans }]
}

fn mapped(project: ProjectId, span: Span) -> Step {
    map_traces(project, groups(vec![span]), at(100), &Prices::none()).0.remove(0)
}

/// Brings the origin that all sample spans share.
pub fn batch(project: ProjectId, steps: Vec<Step>) -> Batch {
    let (_, origins) = map_traces(project, groups(vec![sample(1, 1)]), at(100), &Prices::none());
    Batch { project, received_at: at(100), origins, steps, logs: vec![], native: None, receipt: Default::default() }
}

pub fn with_origin(mut batch: Batch, body: &str) -> Batch {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, body.as_bytes());
    batch.steps.iter_mut().for_each(|step| step.origin = Some(id));
    batch.origins = vec![OriginRow { id, body: body.to_owned() }];
    batch
}

pub fn declared(status: Status, version: u128) -> Declared {
    Declared {
        model: "claude-4".to_owned(),
        input: format!("input {version}"),
        status,
        hash: Uuid::from_u128(version),
        ..Declared::default()
    }
}

pub fn native_step(project: ProjectId, run: u128, id: &str, version: u128) -> Step {
    Step {
        id: id.to_owned(),
        parent_id: None,
        source: Source::Native,
        kind: StepType::Other("search".to_owned()),
        name: format!("version {version}"),
        start_ns: None,
        end_ns: None,
        usage: Usage::default(),
        facts: Facts::default(),
        detail: "{}".to_owned(),
        origin: None,
        content_hash: Uuid::from_u128(version),
        ..span(project, run, 2)
    }
}

pub fn submit(project: ProjectId, run: u128, declared: Declared, steps: Vec<Step>) -> Batch {
    let native = Native::Submit { run_id: Uuid::from_u128(run), declared: Box::new(declared) };
    Batch { native: Some(native), origins: vec![], ..batch(project, steps) }
}

pub fn append(project: ProjectId, run: u128, steps: Vec<Step>) -> Batch {
    let native = Native::Append { run_id: Uuid::from_u128(run) };
    Batch { native: Some(native), origins: vec![], ..batch(project, steps) }
}

/// Writes by a writer of its own, at a time when all of `span`'s runs are settled or not, as the test wants.
pub async fn write_at(store: &dyn Store, now: DateTime<Utc>, batches: &[Batch]) -> Vec<Written> {
    let mut writer = store.writer().await.unwrap();
    writer.write(&batches.iter().collect::<Vec<_>>(), &LIFE, now).await.unwrap()
}

pub async fn write(store: &dyn Store, batches: &[Batch]) -> Vec<Written> {
    write_at(store, at(100), batches).await
}

pub async fn stored(store: &dyn Store, project: ProjectId, trace: u128) -> StoredRun {
    store.run(project, Uuid::from_u128(trace)).await.unwrap().expect("the run is stored")
}

pub async fn row(store: &dyn Store, project: ProjectId, trace: u128) -> Run {
    stored(store, project, trace).await.run
}

pub fn counts(written: &Written) -> (u64, u64) {
    (written.inserted, written.duplicates)
}
