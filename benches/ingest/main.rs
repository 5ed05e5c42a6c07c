//! Stored spans per second over OTLP, beside what the database itself can take: `benches/run`.
//!
//! For each store and protocol it starts the real binary on a fresh database, sends requests of 512 agent spans of
//! about 3 kB over eight connections, and counts what is acknowledged, which is after COMMIT. Then it looks into the
//! database: every acknowledged span must be there exactly once. The floor is written in the same run from the very
//! rows that were stored, into a second database with the same schema: two connections with COPY on Postgres, one with
//! prepared INSERTs on SQLite, 2,000 rows a transaction. Machines are noisy; the ratio of the two is what counts.
//!
//! | environment | |
//! | --- | --- |
//! | `VECTOROS_BENCH_POSTGRES` | URL of a cluster on which databases may be created; without it only SQLite is measured |
//! | `VECTOROS_BENCH_SECONDS` | length of one measurement, 20; 1 when run by `cargo test` |
//! | `VECTOROS_BENCH_CONNECTIONS` | 8 |
//!
//! Linux only: CPU time and memory are read from /proc.

#[path = "../cluster.rs"]
mod cluster;
#[path = "../collector.rs"]
mod collector;
mod load;
mod payload;
mod postgres;
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};

use crate::cluster::Cluster;
use crate::collector::Collector;
use crate::load::{Plan, Protocol, Seen};
use crate::payload::{SPANS_PER_REQUEST, SPANS_PER_TRACE, TRACES_PER_REQUEST, Template};

/// Rows of one transaction of the floor.
const ROWS_PER_TRANSACTION: usize = 2_000;
/// The floor writes this many of the stored rows in one round: they are held in memory.
const FLOOR_ROWS_MAX: usize = 100_000;

/// What a store holds after a measurement.
struct Stored {
    rows: u64,
    distinct: u64,
}

struct Row {
    store: &'static str,
    protocol: Protocol,
    seen: Seen,
    floor_rows_per_second: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo bench` passes --bench; `cargo test` does not, and gets a run just long enough to prove that it works.
    let seconds: f64 =
        setting("VECTOROS_BENCH_SECONDS", if std::env::args().any(|word| word == "--bench") { 20.0 } else { 1.0 })?;
    let plan = Plan {
        connections: setting("VECTOROS_BENCH_CONNECTIONS", 8)?,
        warm_up: Duration::from_secs_f64((seconds / 4.0).min(5.0)),
        measured: Duration::from_secs_f64(seconds),
    };
    let start_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    let template = Arc::new(Template::new(TRACES_PER_REQUEST, 1, start_ns));
    println!(
        "{} connections, {SPANS_PER_REQUEST} spans a request in traces of {SPANS_PER_TRACE}, {} bytes a span, {:?} each after {:?}",
        plan.connections,
        template.bytes_per_span(),
        plan.measured,
        plan.warm_up,
    );

    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut rows = sqlite_rows(directory.path(), &template, &plan).await?;
    if let Some(cluster) = Cluster::of_environment()? {
        rows.extend(postgres_rows(&cluster, directory.path(), &template, &plan).await?);
    }
    print_table(&rows);
    Ok(())
}

async fn sqlite_rows(directory: &Path, template: &Arc<Template>, plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let url = |file: &Path| format!("sqlite://{}", file.display());
    let mut measured = Vec::new();
    for (protocol, name) in [(Protocol::Http, "http.db"), (Protocol::Grpc, "grpc.db")] {
        let file = directory.join(name);
        let collector = Collector::start(&url(&file), directory).await?;
        let seen = load::run(&collector, protocol, template.clone(), plan).await?;
        collector.stop().await?;
        stored_exactly_once(&seen, &sqlite::stored(&file).await?)?;
        measured.push((protocol, seen));
    }
    let floor_file = directory.join("floor.db");
    collector::migrate(&url(&floor_file), directory).await?;
    let floor = sqlite::insert_floor(&directory.join("http.db"), &floor_file, plan.measured).await?;
    Ok(rows_of("sqlite", measured, floor))
}

async fn postgres_rows(
    cluster: &Cluster,
    directory: &Path,
    template: &Arc<Template>,
    plan: &Plan,
) -> anyhow::Result<Vec<Row>> {
    let mut measured = Vec::new();
    for (protocol, name) in [(Protocol::Http, "vectoros_bench_http"), (Protocol::Grpc, "vectoros_bench_grpc")] {
        let url = cluster.fresh_database(name).await?;
        let collector = Collector::start(&url, directory).await?;
        let seen = load::run(&collector, protocol, template.clone(), plan).await?;
        collector.stop().await?;
        stored_exactly_once(&seen, &postgres::stored(&url).await?)?;
        measured.push((protocol, seen));
    }
    let floor_url = cluster.fresh_database("vectoros_bench_floor").await?;
    collector::migrate(&floor_url, directory).await?;
    let floor = postgres::copy_floor(&cluster.url("vectoros_bench_http"), &floor_url, plan.measured).await?;
    for name in ["vectoros_bench_http", "vectoros_bench_grpc", "vectoros_bench_floor"] {
        cluster.drop_database(name).await?;
    }
    Ok(rows_of("postgres", measured, floor))
}

fn rows_of(store: &'static str, measured: Vec<(Protocol, Seen)>, floor_rows_per_second: f64) -> Vec<Row> {
    measured.into_iter().map(|(protocol, seen)| Row { store, protocol, seen, floor_rows_per_second }).collect()
}

fn stored_exactly_once(seen: &Seen, stored: &Stored) -> anyhow::Result<()> {
    ensure!(
        stored.rows == seen.acknowledged && stored.distinct == seen.acknowledged,
        "{} spans acknowledged, {} rows stored, {} of them distinct",
        seen.acknowledged,
        stored.rows,
        stored.distinct,
    );
    Ok(())
}

fn print_table(rows: &[Row]) {
    println!();
    println!(
        "| store | protocol | spans/s | floor rows/s | ratio | p50 ms | p99 ms | CPU s per M spans | peak RSS MiB | refused |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for Row { store, protocol, seen, floor_rows_per_second: floor } in rows {
        println!(
            "| {store} | {} | {:.0} | {floor:.0} | {:.2} | {:.0} | {:.0} | {:.1} | {:.0} | {} |",
            protocol.name(),
            seen.spans_per_second,
            seen.spans_per_second / floor,
            seen.p50.as_secs_f64() * 1e3,
            seen.p99.as_secs_f64() * 1e3,
            seen.cpu_seconds_per_million,
            seen.peak_rss_mib,
            seen.refusals,
        );
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is not a number: {text:?}")),
        Err(_) => Ok(default),
    }
}
