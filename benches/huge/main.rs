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

mod client;
#[path = "../cluster.rs"]
mod cluster;
#[path = "../collector.rs"]
mod collector;
mod payload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};

use crate::client::Client;
use crate::cluster::Cluster;
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
    peak_rss_mib: f64,
    /// After the huge run was asked for.
    rss_after_read_mib: f64,
    read: Duration,
}

struct Seen {
    acknowledged: Duration,
    right: Duration,
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
    if let Some(cluster) = Cluster::of_environment()? {
        let url = cluster.fresh_database(DATABASE).await?;
        rows.push(measure("postgres", &url, directory.path(), steps).await?);
        cluster.drop_database(DATABASE).await?;
    }
    print_table(&rows, steps);
    Ok(())
}

async fn measure(store: &'static str, url: &str, directory: &Path, steps: usize) -> anyhow::Result<Row> {
    let collector = Collector::start(url, directory).await?;
    let client = Arc::new(Client::of(&collector));
    let start_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    // The first requests prepare statements and fill caches: they belong to neither.
    send(&client, requests(1, steps.min(20 * SPANS_PER_REQUEST), SHORT_RUN, start_ns), SHORT_RUN).await?;
    let short = send(&client, requests(2, steps, SHORT_RUN, start_ns), SHORT_RUN).await?;
    let huge = send(&client, requests(3, steps, steps, start_ns + 1_000_000_000), steps).await?;
    let peak_rss_mib = collector.peak_rss_mib()?;
    let begin = Instant::now();
    let run_id = client.newest_run().await?["run_id"].as_str().context("a run has no id")?.to_owned();
    let bytes = client.get(&format!("/runs/{run_id}")).await?.bytes().await?;
    let read = begin.elapsed();
    ensure!(bytes.len() > steps.min(10_000), "the answer is too short: {} bytes", bytes.len());
    let rss_after_read_mib = collector.peak_rss_mib()?;
    collector.stop().await?;
    Ok(Row { store, short, huge, peak_rss_mib, rss_after_read_mib, read })
}

/// Sends all but the last request over several connections, then that one, and waits for the row of the newest run.
async fn send(client: &Arc<Client>, requests: Vec<Vec<u8>>, steps_per_run: usize) -> anyhow::Result<Seen> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (client, requests, next) = (client.clone(), requests.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number + 1 >= requests.len() {
                    return anyhow::Ok(());
                }
                post(&client, requests[number].clone()).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    if let Some(last) = requests.last() {
        post(client, last.clone()).await?;
    }
    let acknowledged = begin.elapsed();
    loop {
        let run = client.newest_run().await?;
        let tokens = (steps_per_run as u64 - 1) * TOKENS_PER_CALL;
        if run["step_count"] == steps_per_run && run["tokens"] == tokens && run["status"] == "success" {
            break;
        }
        ensure!(begin.elapsed() < acknowledged + PATIENCE, "the row is still wrong: {run:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Seen { acknowledged, right: begin.elapsed() })
}

async fn post(client: &Client, body: Vec<u8>) -> anyhow::Result<()> {
    for _ in 0..REFUSALS_MAX {
        match client.post(body.clone()).await? {
            200 => return Ok(()),
            429 | 503 => tokio::time::sleep(Duration::from_secs(1)).await,
            status => bail!("answered {status}"),
        }
    }
    bail!("refused {REFUSALS_MAX} times in a row")
}

fn print_table(rows: &[Row], steps: usize) {
    println!("\n{steps} steps, {SPANS_PER_REQUEST} in a request; µs for a step until its run is right\n");
    println!(
        "| store | runs of {SHORT_RUN} | one run | ratio | of it acknowledged | peak RSS MiB | read it ms | peak RSS MiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let per_step = |time: Duration| time.as_secs_f64() * 1e6 / steps as f64;
    for Row { store, short, huge, peak_rss_mib, rss_after_read_mib, read } in rows {
        println!(
            "| {store} | {:.1} | {:.1} | {:.2} | {:.1} | {peak_rss_mib:.0} | {:.0} | {rss_after_read_mib:.0} |",
            per_step(short.right),
            per_step(huge.right),
            huge.right.as_secs_f64() / short.right.as_secs_f64(),
            per_step(huge.acknowledged),
            read.as_secs_f64() * 1e3,
        );
    }
}
