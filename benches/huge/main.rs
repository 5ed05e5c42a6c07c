//! What a huge run costs beside short ones: `benches/run`, or `cargo bench --bench huge`.
//!
//! For each store it starts the real binary on a fresh database and sends the same number of steps twice, in requests of
//! 500 over four connections: as runs of ten steps, then as one run, whose root comes in the last request. The clock
//! stops when everything is acknowledged, which is after COMMIT, and the rows of the runs say what the steps say. The
//! ratio of the two times per step is what counts. Then the huge run is asked for once.
//!
//! | environment | |
//! | --- | --- |
//! | `VECTOROS_BENCH_POSTGRES` | URL of a cluster on which databases may be created; without it only SQLite is measured |
//! | `VECTOROS_BENCH_STEPS` | 100000; 2000 when run by `cargo test` |
//!
//! Linux only: memory is read from /proc.

mod collector;
mod payload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use sqlx::{Connection, Executor, PgConnection};

use crate::collector::Collector;
use crate::payload::{SPANS_PER_REQUEST, TOKENS_PER_CALL, requests};

const CONNECTIONS: usize = 4;
const SHORT_RUN: usize = 10;
/// When the row of a run is still wrong after this, it will never be right.
const PATIENCE: Duration = Duration::from_secs(120);
/// A request that is refused this often in a row ends the benchmark.
const REFUSALS_MAX: u32 = 60;
const DATABASE: &str = "vectoros_bench_huge";

struct Row {
    store: &'static str,
    short: Seen,
    huge: Seen,
    /// After the huge run was asked for.
    rss_after_read_mib: f64,
    read: Duration,
}

struct Seen {
    acknowledged: Duration,
    right: Duration,
    peak_rss_mib: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo bench` passes --bench; `cargo test` does not, and gets a run just long enough to prove that it works.
    let default = if std::env::args().any(|word| word == "--bench") { 100_000 } else { 2_000 };
    let steps = match std::env::var("VECTOROS_BENCH_STEPS") {
        Ok(text) => text.parse().context("VECTOROS_BENCH_STEPS is not a number")?,
        Err(_) => default,
    };
    ensure!(steps >= SPANS_PER_REQUEST && steps % SPANS_PER_REQUEST == 0, "not a multiple of {SPANS_PER_REQUEST}");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = directory.path().join("huge.db");
    let mut rows = vec![measure("sqlite", &format!("sqlite://{}", file.display()), directory.path(), steps).await?];
    match std::env::var("VECTOROS_BENCH_POSTGRES") {
        Ok(cluster) => {
            let url = fresh_database(&cluster).await?;
            rows.push(measure("postgres", &url, directory.path(), steps).await?);
        }
        Err(_) => println!("VECTOROS_BENCH_POSTGRES is not set: SQLite only"),
    }
    print_table(&rows, steps);
    Ok(())
}

async fn measure(store: &'static str, url: &str, directory: &Path, steps: usize) -> anyhow::Result<Row> {
    let collector = Arc::new(Collector::start(url, directory).await?);
    let start_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    // The first requests prepare statements and fill caches: they belong to neither.
    send(&collector, requests(1, steps.min(20 * SPANS_PER_REQUEST), SHORT_RUN, start_ns), SHORT_RUN).await?;
    let short = send(&collector, requests(2, steps, SHORT_RUN, start_ns), SHORT_RUN).await?;
    let huge = send(&collector, requests(3, steps, steps, start_ns + 1_000_000_000), steps).await?;
    let begin = Instant::now();
    let run_id = collector.newest_run().await?["run_id"].as_str().context("a run has no id")?.to_owned();
    let bytes = collector.get(&format!("/runs/{run_id}")).await?.bytes().await?;
    let read = begin.elapsed();
    ensure!(bytes.len() > steps.min(10_000), "the answer is too short: {} bytes", bytes.len());
    Ok(Row { store, short, huge, read, rss_after_read_mib: collector.peak_rss_mib()? })
}

/// Sends all but the last request over several connections, then that one, and waits for the row of the newest run.
async fn send(collector: &Arc<Collector>, requests: Vec<Vec<u8>>, steps_per_run: usize) -> anyhow::Result<Seen> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (collector, requests, next) = (collector.clone(), requests.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number + 1 >= requests.len() {
                    return anyhow::Ok(());
                }
                post(&collector, requests[number].clone()).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    if let Some(last) = requests.last() {
        post(collector, last.clone()).await?;
    }
    let acknowledged = begin.elapsed();
    loop {
        let run = collector.newest_run().await?;
        let tokens = (steps_per_run as u64 - 1) * TOKENS_PER_CALL;
        if run["step_count"] == steps_per_run && run["tokens"] == tokens && run["status"] == "success" {
            break;
        }
        ensure!(begin.elapsed() < acknowledged + PATIENCE, "the row is still wrong: {run:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Seen { acknowledged, right: begin.elapsed(), peak_rss_mib: collector.peak_rss_mib()? })
}

async fn post(collector: &Collector, body: Vec<u8>) -> anyhow::Result<()> {
    for _ in 0..REFUSALS_MAX {
        match collector.post(body.clone()).await? {
            200 => return Ok(()),
            429 | 503 => tokio::time::sleep(Duration::from_secs(1)).await,
            status => bail!("answered {status}"),
        }
    }
    bail!("refused {REFUSALS_MAX} times in a row")
}

async fn fresh_database(cluster: &str) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect(cluster).await?;
    for statement in [format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"), format!("CREATE DATABASE {DATABASE}")]
    {
        connection.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    let (server, _) = cluster.rsplit_once('/').context("the URL names no database")?;
    Ok(format!("{server}/{DATABASE}"))
}

fn print_table(rows: &[Row], steps: usize) {
    println!("\n{steps} steps, {SPANS_PER_REQUEST} in a request; µs for a step until its run is right\n");
    println!(
        "| store | runs of {SHORT_RUN} | one run | ratio | of it acknowledged | peak RSS MiB | read it ms | peak RSS MiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let per_step = |time: Duration| time.as_secs_f64() * 1e6 / steps as f64;
    for Row { store, short, huge, rss_after_read_mib, read } in rows {
        println!(
            "| {store} | {:.1} | {:.1} | {:.2} | {:.1} | {:.0} | {:.0} | {rss_after_read_mib:.0} |",
            per_step(short.right),
            per_step(huge.right),
            huge.right.as_secs_f64() / short.right.as_secs_f64(),
            per_step(huge.acknowledged),
            huge.peak_rss_mib.max(short.peak_rss_mib),
            read.as_secs_f64() * 1e3,
        );
    }
}
