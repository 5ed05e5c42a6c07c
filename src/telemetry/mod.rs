//! What the program says of itself: log lines on standard error and counters for `GET /metrics`.

mod pen;

use std::io::IsTerminal;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

pub use self::pen::Logging;
use self::pen::Pen;
use crate::config::{Log, LogFormat};

/// Starts logging for the whole process, as long as what it returns lives. Fails when `log.level` is no filter or logging was started before.
pub fn start_logging(log: &Log) -> anyhow::Result<Logging> {
    let filter = EnvFilter::try_new(&log.level).map_err(|e| anyhow::anyhow!("log.level: {e}"))?;
    let is_terminal = std::io::stderr().is_terminal();
    let (pen, logging) = Pen::start(std::io::stderr())?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(pen).with_ansi(is_terminal);
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))?;
    Ok(logging)
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Grpc,
    Http,
    Native,
}

impl Transport {
    /// In the OpenTelemetry Collector's spelling.
    pub fn word(self) -> &'static str {
        match self {
            Transport::Grpc => "grpc",
            Transport::Http => "http",
            Transport::Native => "native",
        }
    }
}

impl EncodeLabelValue for Transport {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.word(), encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByTransport {
    pub transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    pub transport: Transport,
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByWhat {
    pub what: &'static str,
}

/// Lines of the log about what can come in floods: for each thing at most one in ten seconds, which counts the others.
#[derive(Default)]
pub struct Sparse(DashMap<&'static str, Written>);

#[derive(Clone, Copy)]
struct Written {
    at: Instant,
    left_out: u64,
}

/// Pause between two lines of the same thing.
const SPARSE_EVERY: Duration = Duration::from_secs(10);

impl Sparse {
    /// When a line about `what` is due: how many were left out since the last one.
    pub fn due(&self, what: &'static str, now: Instant) -> Option<u64> {
        let Some(mut written) = self.0.get_mut(what) else {
            self.0.insert(what, Written { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(written.at) < SPARSE_EVERY {
            written.left_out += 1;
            return None;
        }
        Some(std::mem::replace(&mut *written, Written { at: now, left_out: 0 }).left_out)
    }
}

/// Counters since the start. Names are the OpenTelemetry Collector's where it has the same thing.
pub struct Counters {
    registry: Registry,
    /// Steps that are stored, copies included.
    pub accepted: Family<ByTransport, Counter>,
    /// Log records that are stored, copies included.
    pub accepted_logs: Family<ByTransport, Counter>,
    /// Data points of metrics that were well formed; they are not stored.
    pub accepted_points: Family<ByTransport, Counter>,
    /// Single spans, or steps of native runs, that were rejected while their neighbours were taken.
    pub rejected: Family<ByTransport, Counter>,
    pub rejected_logs: Family<ByTransport, Counter>,
    /// Metrics.
    pub rejected_points: Family<ByTransport, Counter>,
    /// Requests that were refused as a whole.
    pub refused: Family<ByReason, Counter>,
    /// Requests in which something was mended, ignored or not as OTLP has it, although nothing was rejected for it.
    pub warnings: Family<ByWhat, Counter>,
    pub queue_bytes: Gauge,
    pub inserted: Counter,
    pub duplicates: Counter,
    /// Items that the database refused for their data, kept as dead letters.
    pub dead_letters: Counter,
    pub commits: Counter,
    pub commit_failures: Counter,
    pub commit_seconds: Histogram,
    pub ready: Gauge<i64, std::sync::atomic::AtomicI64>,
    pub swept: Counter<u64, AtomicU64>,
    /// What the spool holds: its bytes, requests, and the age of the oldest when it was last asked for.
    pub spool_bytes: Gauge,
    pub spool_requests: Gauge,
    pub spool_oldest_seconds: Gauge,
    /// Requests that went from the spool to the database.
    pub spool_replayed: Counter,
    pub spool_damaged: Counter,
    /// Lines about what may come in floods: refusals, and a database that is away.
    pub lines: Sparse,
}

impl Default for Counters {
    fn default() -> Counters {
        // 0.5 ms to 8 s, each bucket twice the one before.
        let buckets = (0..15).map(|power| 0.0005 * f64::from(1 << power));
        let mut counters = Counters {
            registry: Registry::default(),
            accepted: Family::default(),
            accepted_logs: Family::default(),
            accepted_points: Family::default(),
            rejected: Family::default(),
            rejected_logs: Family::default(),
            rejected_points: Family::default(),
            refused: Family::default(),
            warnings: Family::default(),
            queue_bytes: Gauge::default(),
            inserted: Counter::default(),
            duplicates: Counter::default(),
            dead_letters: Counter::default(),
            commits: Counter::default(),
            commit_failures: Counter::default(),
            commit_seconds: Histogram::new(buckets),
            ready: Gauge::default(),
            swept: Counter::default(),
            spool_bytes: Gauge::default(),
            spool_requests: Gauge::default(),
            spool_oldest_seconds: Gauge::default(),
            spool_replayed: Counter::default(),
            spool_damaged: Counter::default(),
            lines: Sparse::default(),
        };
        let r = &mut counters.registry;
        r.register("otelcol_receiver_accepted_spans", "Steps stored, copies included", counters.accepted.clone());
        r.register(
            "otelcol_receiver_accepted_log_records",
            "Log records stored, copies included",
            counters.accepted_logs.clone(),
        );
        r.register(
            "otelcol_receiver_accepted_metric_points",
            "Data points that were well formed; metrics are not stored",
            counters.accepted_points.clone(),
        );
        r.register(
            "otelcol_receiver_refused_spans",
            "Steps rejected while their neighbours were taken",
            counters.rejected.clone(),
        );
        r.register(
            "otelcol_receiver_refused_log_records",
            "Log records rejected while their neighbours were taken",
            counters.rejected_logs.clone(),
        );
        r.register(
            "otelcol_receiver_refused_metric_points",
            "Metrics rejected while their neighbours were taken",
            counters.rejected_points.clone(),
        );
        r.register("vectoros_refused_requests", "Requests refused as a whole", counters.refused.clone());
        r.register(
            "vectoros_ingest_warnings",
            "Requests in which something was mended or ignored, by what",
            counters.warnings.clone(),
        );
        r.register_with_unit("vectoros_queue", "Requests in memory", Unit::Bytes, counters.queue_bytes.clone());
        r.register("vectoros_inserted_steps", "Steps and log records really inserted", counters.inserted.clone());
        r.register("vectoros_duplicate_steps", "Copies of stored steps and log records", counters.duplicates.clone());
        r.register(
            "vectoros_dead_letters",
            "Items that the database refused for their data",
            counters.dead_letters.clone(),
        );
        r.register("vectoros_commits", "Transactions committed", counters.commits.clone());
        r.register(
            "vectoros_commit_failures",
            "Transactions that failed and were tried again or refused",
            counters.commit_failures.clone(),
        );
        r.register_with_unit(
            "vectoros_commit",
            "Time of one transaction",
            Unit::Seconds,
            counters.commit_seconds.clone(),
        );
        r.register("vectoros_ready", "1 when data is taken", counters.ready.clone());
        r.register_with_unit("vectoros_spool", "Kept in the spool", Unit::Bytes, counters.spool_bytes.clone());
        r.register("vectoros_spool_requests", "Requests kept in the spool", counters.spool_requests.clone());
        r.register_with_unit(
            "vectoros_spool_oldest",
            "Age of the oldest request in the spool",
            Unit::Seconds,
            counters.spool_oldest_seconds.clone(),
        );
        r.register(
            "vectoros_spool_replayed",
            "Requests that went from the spool to the database",
            counters.spool_replayed.clone(),
        );
        r.register(
            "vectoros_spool_damaged",
            "Requests in the spool that were found damaged and set aside",
            counters.spool_damaged.clone(),
        );
        r.register("vectoros_swept_runs", "Runs assembled again because they were due", counters.swept.clone());
        counters
    }
}

impl Counters {
    /// The text of `GET /metrics`, in the OpenMetrics format that Prometheus reads.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_thing_makes_one_line_that_counts() {
        let (sparse, start) = (Sparse::default(), Instant::now());
        assert_eq!(sparse.due("a", start), Some(0));
        assert_eq!(sparse.due("b", start), Some(0));
        for _ in 0..1000 {
            assert_eq!(sparse.due("a", start + SPARSE_EVERY - Duration::from_millis(1)), None);
        }
        assert_eq!(sparse.due("a", start + SPARSE_EVERY), Some(1000));
        assert_eq!(sparse.due("a", start + SPARSE_EVERY), None);
    }

    #[test]
    fn counters_show_up_under_the_collectors_names() {
        let counters = Counters::default();
        counters.accepted.get_or_create(&ByTransport { transport: Transport::Grpc }).inc_by(3);
        counters.refused.get_or_create(&ByReason { transport: Transport::Http, reason: "too_large" }).inc();
        let text = counters.render().unwrap();
        assert!(text.contains("otelcol_receiver_accepted_spans_total{transport=\"grpc\"} 3"), "{text}");
        assert!(text.contains("vectoros_refused_requests_total{transport=\"http\",reason=\"too_large\"} 1"), "{text}");
    }
}
