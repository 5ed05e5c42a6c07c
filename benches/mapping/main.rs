//! What reading a span costs, by instrumentation: `cargo bench --bench mapping`.
//!
//! One thread maps the payloads of `tests/fixtures/otlp` over and over, and then maps and assembles them, each trace as
//! one run. Decoding and the database are not in it. Spans differ in size by a factor of fifty between instrumentations,
//! so that the rate in MB says more about the code, and the rate in spans more about the machine that is needed.
//!
//! `VECTOROS_BENCH_SECONDS`: time for each instrumentation and column, 0.5; 0.02 when run by `cargo test`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use uuid::Uuid;
use vectoros::assembly::{LifeCycle, Receipt, Scopes, assemble};
use vectoros::mapping::map_traces;
use vectoros::model::id::{ProjectId, RunKey};
use vectoros::model::step::Step;
use vectoros::otlp::{DecodeLimits, SpanGroup, json, protobuf};
use vectoros::prices::Prices;

const LIMITS: DecodeLimits = DecodeLimits { spans_max: 100_000, span_items_max: 100_000, depth_max: 64 };
const PROJECT: ProjectId = ProjectId(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The requests of one instrumentation.
#[derive(Default)]
struct Payloads {
    requests: Vec<Vec<SpanGroup>>,
    spans: usize,
    bytes: usize,
}

fn main() -> anyhow::Result<()> {
    let is_bench = std::env::args().any(|word| word == "--bench");
    let seconds = match std::env::var("VECTOROS_BENCH_SECONDS") {
        Ok(text) => text.parse().with_context(|| format!("VECTOROS_BENCH_SECONDS={text} is no number"))?,
        Err(_) if is_bench => 0.5,
        Err(_) => 0.02,
    };
    let enough = Duration::from_secs_f64(seconds);
    let prices = Prices::shipped();
    let payloads = payloads()?;
    println!("| instrumentation | spans | bytes a span | mapping: spans/s | MB/s | mapping + assembly: spans/s |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let (mut spans, mut mapped_s, mut assembled_s) = (0.0, 0.0, 0.0);
    for (name, payloads) in &payloads {
        let mapping =
            seconds_a_span(payloads, enough, |groups| map_traces(PROJECT, groups, Utc::now(), &prices).0.len());
        let both =
            seconds_a_span(payloads, enough, |groups| runs_of(map_traces(PROJECT, groups, Utc::now(), &prices).0));
        let bytes = payloads.bytes as f64 / payloads.spans as f64;
        println!(
            "| {name} | {} | {bytes:.0} | {:.0} | {:.0} | {:.0} |",
            payloads.spans,
            1.0 / mapping,
            bytes / mapping / 1e6,
            1.0 / both
        );
        spans += 1.0;
        mapped_s += mapping;
        assembled_s += both;
    }
    ensure!(spans > 0.0, "no payloads were found");
    println!("| **mean** | | | {:.0} | | {:.0} |", spans / mapped_s, spans / assembled_s);
    Ok(())
}

fn payloads() -> anyhow::Result<BTreeMap<String, Payloads>> {
    let mut all: BTreeMap<String, Payloads> = BTreeMap::new();
    for folder in fs::read_dir("tests/fixtures/otlp")? {
        let folder = folder?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let payloads = all.entry(name.split("__").next().unwrap_or(&name).to_owned()).or_default();
        let mut files =
            fs::read_dir(&folder)?.map(|file| Ok(file?.path())).collect::<anyhow::Result<Vec<PathBuf>>>()?;
        files.sort();
        for file in files {
            let body = fs::read(&file)?;
            let request = match file.to_string_lossy() {
                name if name.ends_with(".traces.pb") => protobuf::decode_traces(&body, LIMITS),
                name if name.ends_with(".traces.raw.json") => json::decode_traces(&body, LIMITS),
                _ => continue,
            };
            let groups = request.map_err(|malformed| anyhow::anyhow!("{}: {malformed}", file.display()))?.groups;
            payloads.spans += groups.iter().map(|group| group.items.len()).sum::<usize>();
            payloads.bytes += body.len();
            payloads.requests.push(groups);
        }
    }
    all.retain(|_, payloads| payloads.spans > 0);
    Ok(all)
}

/// The clone that each round consumes is made outside of what is measured.
fn seconds_a_span(payloads: &Payloads, enough: Duration, work: impl Fn(Vec<SpanGroup>) -> usize) -> f64 {
    let (mut spent, mut rounds) = (Duration::ZERO, 0_u32);
    while spent < enough || rounds == 0 {
        for request in &payloads.requests {
            let groups = request.clone();
            let started = Instant::now();
            std::hint::black_box(work(groups));
            spent += started.elapsed();
        }
        rounds += 1;
    }
    spent.as_secs_f64() / f64::from(rounds) / payloads.spans as f64
}

fn runs_of(steps: Vec<Step>) -> usize {
    let life = LifeCycle {
        settle: HOUR,
        orphan_idle: HOUR,
        idle_limit: HOUR,
        max_duration: HOUR,
        unmatched_logs: HOUR,
        scopes: Scopes::default(),
    };
    let mut runs: BTreeMap<Uuid, Vec<Step>> = BTreeMap::new();
    for step in steps {
        runs.entry(step.run.run_id).or_default().push(step);
    }
    let now: DateTime<Utc> = Utc::now();
    let receipt = Receipt { created_at: now, updated_at: now, received_at: now };
    let assembled =
        |(run_id, steps)| assemble(RunKey { project: PROJECT, run_id }, steps, None, receipt, &life, now).steps.len();
    runs.into_iter().map(assembled).sum()
}
