//! Connections that send as fast as they are acknowledged, and what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::collector::Collector;
use crate::payload::{SPANS_PER_REQUEST, Template};

/// A request that is refused this often in a row ends the benchmark.
const REFUSALS_MAX: u32 = 60;

#[derive(Clone, Copy, PartialEq)]
pub enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http/protobuf",
            Protocol::Grpc => "grpc",
        }
    }
}

pub struct Plan {
    pub connections: usize,
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What was measured between the end of the warm-up and the end of the plan.
pub struct Seen {
    pub spans_per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub cpu_seconds_per_million: f64,
    pub peak_rss_mib: f64,
    /// Spans acknowledged from first to last, the warm-up included: what the store must hold.
    pub acknowledged: u64,
    /// Answers that asked to come again later.
    pub refusals: u64,
}

struct Acknowledgement {
    at: Instant,
    latency: Duration,
}

pub async fn run(
    collector: &Collector,
    protocol: Protocol,
    template: Arc<Template>,
    plan: &Plan,
) -> anyhow::Result<Seen> {
    let begin = Instant::now();
    let (from, until) = (begin + plan.warm_up, begin + plan.warm_up + plan.measured);
    let (numbers, refusals) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..plan.connections {
        let mut connection = Connection::open(collector, protocol).await?;
        let (template, numbers, refusals) = (template.clone(), numbers.clone(), refusals.clone());
        tasks.push(tokio::spawn(async move {
            let mut acknowledgements = Vec::new();
            while Instant::now() < until {
                let body = connection.frame(template.fresh(numbers.fetch_add(1, Ordering::Relaxed)));
                let sent = Instant::now();
                refusals.fetch_add(connection.send(body).await?, Ordering::Relaxed);
                acknowledgements.push(Acknowledgement { at: Instant::now(), latency: sent.elapsed() });
            }
            anyhow::Ok(acknowledgements)
        }));
    }

    tokio::time::sleep_until(from.into()).await;
    let cpu_before = cpu_seconds(collector.pid()?)?;
    tokio::time::sleep_until(until.into()).await;
    let cpu_seconds = cpu_seconds(collector.pid()?)? - cpu_before;

    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    let mut latencies: Vec<_> =
        all.iter().filter(|ack| from <= ack.at && ack.at <= until).map(|ack| ack.latency).collect();
    latencies.sort_unstable();
    if latencies.is_empty() {
        bail!("nothing was acknowledged within {:?}", plan.measured);
    }
    let spans = (latencies.len() * SPANS_PER_REQUEST) as f64;
    Ok(Seen {
        spans_per_second: spans / plan.measured.as_secs_f64(),
        p50: latencies[latencies.len() / 2],
        p99: latencies[(latencies.len() * 99 / 100).min(latencies.len() - 1)],
        cpu_seconds_per_million: cpu_seconds / spans * 1e6,
        peak_rss_mib: collector.peak_rss_mib()?,
        acknowledged: (all.len() * SPANS_PER_REQUEST) as u64,
        refusals: refusals.load(Ordering::Relaxed),
    })
}

/// CPU time of all threads of the process so far, user and system.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    // USER_HZ, the unit of /proc/PID/stat, is 100 on every Linux architecture that Rust supports.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name in parentheses, may hold spaces; utime and stime are fields 14 and 15.
    let after_name = stat.rsplit_once(')').context("no name in /proc/PID/stat")?.1;
    let ticks = |field: usize| -> anyhow::Result<f64> {
        let word = after_name.split_whitespace().nth(field - 3).context("/proc/PID/stat is short")?;
        Ok(word.parse()?)
    };
    Ok((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
}

/// One TCP connection, as an exporter keeps it.
enum Connection {
    Http { sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>, key: String },
    Grpc { sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>, key: String, port: u16 },
}

impl Connection {
    async fn open(collector: &Collector, protocol: Protocol) -> anyhow::Result<Connection> {
        let key = format!("Bearer {}", collector.key);
        let port = collector.port;
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // A connection that breaks shows in the next request; its own future has nothing to add.
        match protocol {
            Protocol::Http => {
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
                tokio::spawn(connection);
                Ok(Connection::Http { sender, key })
            }
            Protocol::Grpc => {
                let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Ok(Connection::Grpc { sender, key, port })
            }
        }
    }

    /// gRPC puts five bytes before a message: not compressed, and its length.
    fn frame(&self, message: Vec<u8>) -> Bytes {
        match self {
            Connection::Http { .. } => message.into(),
            Connection::Grpc { .. } => {
                let mut framed = BytesMut::with_capacity(message.len() + 5);
                framed.put_u8(0);
                framed.put_u32(message.len() as u32);
                framed.put_slice(&message);
                framed.freeze()
            }
        }
    }

    /// Sends until it is acknowledged whole. How often it was refused before.
    async fn send(&mut self, body: Bytes) -> anyhow::Result<u64> {
        for refusals in 0..REFUSALS_MAX {
            let Some(wait) = self.send_once(body.clone()).await? else { return Ok(u64::from(refusals)) };
            tokio::time::sleep(wait).await;
        }
        bail!("refused {REFUSALS_MAX} times in a row")
    }

    /// `None` when acknowledged, or how long to wait before the next try.
    async fn send_once(&mut self, body: Bytes) -> anyhow::Result<Option<Duration>> {
        match self {
            Connection::Http { sender, key } => {
                let request = Request::post("/v1/traces")
                    .header("host", "localhost")
                    .header("content-type", "application/x-protobuf")
                    .header("authorization", key.as_str())
                    .body(Full::new(body))?;
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let (parts, body) = answer.into_parts();
                let text = body.collect().await?.to_bytes();
                match parts.status {
                    StatusCode::OK if text.is_empty() => Ok(None),
                    StatusCode::OK => bail!("acknowledged only in part: {}", String::from_utf8_lossy(&text)),
                    StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                        let seconds =
                            parts.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                        Ok(Some(Duration::from_secs(seconds.unwrap_or(1))))
                    }
                    other => bail!("answered {other}: {}", String::from_utf8_lossy(&text)),
                }
            }
            Connection::Grpc { sender, key, port } => {
                let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                let request = Request::post(format!("http://127.0.0.1:{port}{path}"))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .header("authorization", key.as_str())
                    .body(Full::new(body))?;
                sender.ready().await?;
                let (parts, body) = sender.send_request(request).await?.into_parts();
                let collected = body.collect().await?;
                // A refusal without a message carries its status in the headers.
                let trailers = collected.trailers().cloned().unwrap_or_default();
                let status = trailers.get("grpc-status").or(parts.headers.get("grpc-status"));
                let message = trailers.get("grpc-message").or(parts.headers.get("grpc-message"));
                let answer = collected.to_bytes();
                match status.context("a gRPC answer without grpc-status")?.as_bytes() {
                    b"0" if answer.len() <= 5 => Ok(None),
                    b"0" => bail!("acknowledged only in part: {}", String::from_utf8_lossy(&answer)),
                    b"14" => Ok(Some(Duration::from_secs(1))), // UNAVAILABLE
                    other => bail!("answered gRPC status {}: {message:?}", String::from_utf8_lossy(other)),
                }
            }
        }
    }
}
