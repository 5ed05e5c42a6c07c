//! What quotas cost, and whether they protect: `benches/run`.
//!
//! First the check alone, in this process: one request with its bytes and its steps, let in and settled. Then two tenants
//! on one collector: a quiet one that sends a trace of eight spans twenty times a second, by itself and then beside one
//! that offers ten times its quota of 60,000 steps a minute over sixteen connections, whatever it is answered. The quiet
//! one must hardly notice.
//!
//! `VECTOROS_BENCH_POSTGRES` names a cluster on which databases may be created; without it SQLite alone is measured.
//! `VECTOROS_BENCH_SECONDS` is the length of one measurement, 20; 1 when run by `cargo test`.

#[path = "../cluster.rs"]
mod cluster;
#[path = "../collector.rs"]
mod collector;
#[path = "../ingest/payload.rs"]
mod payload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use vectoros::admission::Admission;
use vectoros::circuit::{Circuit, STALL_MAX};
use vectoros::store;

use crate::cluster::Cluster;
use crate::collector::{Collector, make_key};
use crate::payload::{SPANS_PER_REQUEST, SPANS_PER_TRACE, TRACES_PER_REQUEST, Template};

const CHECKS: u32 = 200_000;
const QUIET_PAUSE: Duration = Duration::from_millis(50);
const NOISY_CONNECTIONS: u32 = 16;
const NOISY_QUOTA: &str = "steps=60000/min";
/// Steps a second that the noisy tenant offers: ten times what its quota allows.
const NOISY_OFFER: u32 = 10_000;
/// What its quota lets in at once is over after this.
const BURST: Duration = Duration::from_secs(10);
/// From here on its quota comes back evenly.
const PACED: Duration = Duration::from_secs(62);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let is_bench = std::env::args().any(|word| word == "--bench");
    let seconds = match std::env::var("VECTOROS_BENCH_SECONDS") {
        Ok(text) => text.parse().context("VECTOROS_BENCH_SECONDS is no number")?,
        Err(_) if is_bench => 20.0,
        Err(_) => 1.0,
    };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let check = check_cost(directory.path()).await?;
    println!("one check of requests, bytes and steps: {:.2} µs", check.as_secs_f64() * 1e6);

    let bytes = Template::new(TRACES_PER_REQUEST, 2, 0).bytes_per_span();
    println!("a noisy request has {SPANS_PER_REQUEST} spans of {bytes} bytes, a quiet one {SPANS_PER_TRACE}");
    let (measured, burst) = (Duration::from_secs_f64(seconds), if is_bench { BURST } else { Duration::ZERO });
    println!(
        "\n| store | tenant alone: p50 ms | p99 ms | beside a noisy one, its first {burst:?}: p50 ms | p99 ms | after a minute: p50 ms | p99 ms | noisy offered | let in |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let file = directory.path().join("quota.db");
    fair_share("sqlite", &format!("sqlite://{}", file.display()), directory.path(), measured, burst).await?;
    if let Some(cluster) = Cluster::of_environment()? {
        let url = cluster.fresh_database("vectoros_bench_quota").await?;
        fair_share("postgres", &url, directory.path(), measured, burst).await?;
        cluster.drop_database("vectoros_bench_quota").await?;
    }
    Ok(())
}

/// The mean of many, on one thread.
async fn check_cost(directory: &Path) -> anyhow::Result<Duration> {
    let url = format!("sqlite://{}", directory.join("check.db").display());
    collector::migrate(&url, directory).await?;
    let key =
        make_key(&url, directory, "checked", "requests=1000000000/min,steps=1000000000/min,bytes=1TiB/min").await?;
    let store = store::open(&url, store::Tuning::default(), Arc::default()).await?;
    let key = Arc::new(store.key(&key[4..12]).await?.context("the key that was just made")?);
    let defaults = vectoros::config::Config::load(None, &Default::default())?.quota;
    let admission = Admission::new(store, Arc::default(), Arc::new(Circuit::new(STALL_MAX)), defaults);
    let start = Instant::now();
    for _ in 0..CHECKS {
        let until = Instant::now() + Duration::from_secs(1);
        let denied = |denied| anyhow::anyhow!("{denied:?}");
        let mut charge = admission.request(key.clone(), &[], until).await.map_err(denied)?;
        charge.bytes(1000, until).await.map_err(denied)?;
        charge.steps(10, until).await.map_err(denied)?;
        charge.note_stored(10);
        charge.settle();
    }
    Ok(start.elapsed() / CHECKS)
}

async fn fair_share(
    store: &str,
    url: &str,
    directory: &Path,
    measured: Duration,
    burst: Duration,
) -> anyhow::Result<()> {
    let collector = Collector::start(url, directory).await?;
    let noisy_key = make_key(url, directory, "noisy", NOISY_QUOTA).await?;
    let start_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    let quiet = Quiet {
        url: format!("http://127.0.0.1:{}/v1/traces", collector.port),
        key: collector.key.clone(),
        client: reqwest::Client::new(),
        template: Template::new(1, 1, start_ns),
        numbers: AtomicU64::new(1 << 40),
    };
    quiet.latencies(measured / 4).await?;
    let alone = quiet.latencies(measured).await?;

    let noisy = Arc::new(Noisy {
        url: quiet.url.clone(),
        key: noisy_key,
        template: Template::new(TRACES_PER_REQUEST, 2, start_ns),
        numbers: AtomicU64::new(0),
        let_in: AtomicU64::new(0),
    });

    let connections: Vec<_> = (0..NOISY_CONNECTIONS).map(|_| tokio::spawn(noisy.clone().offer())).collect();
    let noisy_since = Instant::now();
    let first = quiet.latencies(burst.max(measured / 4)).await?;
    if !burst.is_zero() {
        // It goes on sending meanwhile.
        quiet.latencies(PACED.saturating_sub(noisy_since.elapsed())).await?;
    }
    let beside = quiet.latencies(measured).await?;
    for connection in connections {
        connection.abort();
    }
    let peak_rss_mib = collector.peak_rss_mib()?;
    collector.stop().await?;
    let (offered, let_in) = (noisy.numbers.load(Ordering::Relaxed), noisy.let_in.load(Ordering::Relaxed));
    ensure!(let_in > 0 && let_in < offered, "the noisy tenant was not over its quota");
    let steps = |requests: u64| requests * SPANS_PER_REQUEST as u64;
    println!(
        "| {store} | {} | {} | {} | {} | {} | {peak_rss_mib:.0} |",
        figures(&alone),
        figures(&first),
        figures(&beside),
        steps(offered),
        steps(let_in)
    );
    Ok(())
}

/// p50 and p99, in milliseconds, as two cells.
fn figures(latencies: &[Duration]) -> String {
    let of = |share: usize| latencies[(latencies.len() * share / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3;
    format!("{:.1} | {:.1}", of(50), of(99))
}

struct Quiet {
    url: String,
    key: String,
    client: reqwest::Client,
    template: Template,
    numbers: AtomicU64,
}

impl Quiet {
    /// Sorted. Every request must be taken.
    async fn latencies(&self, duration: Duration) -> anyhow::Result<Vec<Duration>> {
        let (end, mut latencies) = (Instant::now() + duration, Vec::new());
        while Instant::now() < end {
            let body = self.template.fresh(self.numbers.fetch_add(1, Ordering::Relaxed));
            let start = Instant::now();
            let status = send(&self.client, &self.url, &self.key, body).await?;
            ensure!(status == 200, "the quiet tenant was answered {status}");
            latencies.push(start.elapsed());
            tokio::time::sleep(QUIET_PAUSE.saturating_sub(start.elapsed())).await;
        }
        latencies.sort_unstable();
        ensure!(!latencies.is_empty(), "nothing was measured of traces of {SPANS_PER_TRACE} spans");
        Ok(latencies)
    }
}

struct Noisy {
    url: String,
    key: String,
    template: Template,
    numbers: AtomicU64,
    let_in: AtomicU64,
}

impl Noisy {
    /// One connection's part of the offer: it waits for its answer, but for nothing else.
    async fn offer(self: Arc<Self>) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let pause =
            Duration::from_secs_f64(f64::from(NOISY_CONNECTIONS) * SPANS_PER_REQUEST as f64 / f64::from(NOISY_OFFER));
        let mut turn = tokio::time::interval(pause);
        loop {
            turn.tick().await;
            let body = self.template.fresh(self.numbers.fetch_add(1, Ordering::Relaxed));
            if send(&client, &self.url, &self.key, body).await? == 200 {
                self.let_in.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn send(client: &reqwest::Client, url: &str, key: &str, body: Vec<u8>) -> anyhow::Result<u16> {
    let post = client.post(url).header("content-type", "application/x-protobuf").bearer_auth(key).body(body);
    let answer = post.send().await?;
    let status = answer.status().as_u16();
    answer.bytes().await?;
    Ok(status)
}
