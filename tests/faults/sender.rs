//! Senders over every protocol, which do what the OTLP specification asks of exporters: the same body again after an
//! answer that allows it, with its hint, and after a broken connection; some seconds later they give up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::content::{BROKEN, STEPS_OF_TRACE_MAX};
use crate::ledger::Ledger;

/// Where and as whom.
#[derive(Clone)]
pub struct Target {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub key: String,
}

#[derive(Clone)]
pub struct Load {
    /// A quarter of them each over HTTP with protobuf, HTTP with JSON, gRPC, and `POST /runs`.
    pub senders: u64,
    pub pause: Duration,
    /// Steps of a trace; a request each if `is_piecemeal`, otherwise two requests a trace.
    pub steps_of_trace: u64,
    pub is_piecemeal: bool,
    /// What a sender waits for one answer, and for all tries of one request together. Exporters have 10 s.
    pub attempt_max: Duration,
    pub give_up: Duration,
    /// Told from the loads before it in the same database.
    pub round: u64,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            senders: 8,
            pause: Duration::from_millis(10),
            steps_of_trace: 4,
            is_piecemeal: false,
            attempt_max: Duration::from_secs(10),
            give_up: Duration::from_secs(10),
            round: 0,
        }
    }
}

/// Running senders.
pub struct Senders {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Senders {
    pub fn start(load: &Load, target: &Target, ledger: &Arc<Ledger>) -> Senders {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: u64| {
            let random = StdRng::seed_from_u64(ledger.content.seed ^ (number + 1).rotate_right(16) ^ load.round);
            let client = Client::new(Way::of(number), target, load.attempt_max);
            let sender = Sender { number, client, ledger: ledger.clone(), random, load: load.clone() };
            tokio::spawn(sender.run(stop.clone()))
        };
        Senders { tasks: (0..load.senders).map(start).collect(), stop }
    }

    /// Waits until each has finished, or given up, the request it is at.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Protobuf,
    Json,
    Grpc,
    Native,
}

impl Way {
    fn of(number: u64) -> Way {
        [Way::Protobuf, Way::Json, Way::Grpc, Way::Native][(number % 4) as usize]
    }
}

struct Sender {
    number: u64,
    client: Client,
    ledger: Arc<Ledger>,
    random: StdRng,
    load: Load,
}

impl Sender {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        let mut trace = (self.load.round << 40) | (self.number << 28);
        while !stop.load(Ordering::Relaxed) {
            trace += 1;
            for numbers in self.parts(trace) {
                self.deliver(&numbers).await;
                tokio::time::sleep(self.load.pause).await;
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }

    /// The requests of one trace, in any order; now and then a span is among them that must be rejected.
    fn parts(&mut self, trace: u64) -> Vec<Vec<u64>> {
        let first = trace * STEPS_OF_TRACE_MAX;
        let mut numbers: Vec<u64> = (first..first + self.load.steps_of_trace).collect();
        if self.client.way == Way::Native {
            return vec![numbers];
        }
        if self.load.is_piecemeal {
            return numbers.into_iter().map(|number| vec![number]).collect();
        }
        let rest = numbers.split_off(self.random.random_range(1..numbers.len()));
        let mut parts = vec![numbers, rest];
        if self.random.random_ratio(1, 30) {
            parts[0].push(first + BROKEN);
        }
        if self.random.random() {
            parts.reverse();
        }
        parts
    }

    async fn deliver(&mut self, numbers: &[u64]) {
        let is_native = self.client.way == Way::Native;
        let content = self.ledger.content;
        let body =
            if is_native { Body::Run(content.native_run(numbers)) } else { Body::Spans(content.export(numbers)) };
        let request = self.client.encode(body);
        let (broken, good): (Vec<u64>, Vec<u64>) =
            numbers.iter().partition(|number| **number % STEPS_OF_TRACE_MAX == BROKEN);
        self.ledger.sent(numbers, is_native);

        // A copy at the same time, or one after the answer: nothing may come of either.
        let (beside, behind) = (self.random.random_ratio(1, 12), self.random.random_ratio(1, 12));
        let begin = Instant::now();
        let mut wait = Duration::from_millis(100);
        loop {
            let tried = Instant::now();
            let answer = if beside {
                let (answer, copy) = tokio::join!(self.client.attempt(&request), self.client.attempt(&request));
                self.note(&copy);
                answer
            } else {
                self.client.attempt(&request).await
            };
            self.note(&answer);
            let hint = match answer {
                Answer::Yes { rejected } => {
                    if rejected == broken.len() as u64 {
                        self.ledger.acknowledged(&good, tried.elapsed());
                        self.ledger.rejected(&broken);
                    } else {
                        self.ledger.permanent(&format!("{rejected} spans rejected, {} are broken", broken.len()));
                        self.ledger.given_up(numbers);
                    }
                    break;
                }
                Answer::Permanent(_) => {
                    self.ledger.given_up(numbers);
                    return;
                }
                Answer::Later { hint, .. } => hint,
                Answer::Broken(_) => None,
            };
            // Half to one and a half of it, by chance.
            let pause = hint.unwrap_or(wait).mul_f64(self.random.random_range(0.5..1.5));
            wait = (wait * 2).min(Duration::from_secs(2));
            if begin.elapsed() + pause > self.load.give_up {
                self.ledger.given_up(numbers);
                return;
            }
            tokio::time::sleep(pause).await;
        }
        if behind {
            let answer = self.client.attempt(&request).await;
            self.note(&answer);
        }
    }

    fn note(&self, answer: &Answer) {
        match answer {
            Answer::Yes { .. } => {}
            Answer::Later { text, .. } => self.ledger.refused(text),
            Answer::Broken(text) => self.ledger.broken(text),
            Answer::Permanent(text) => self.ledger.permanent(text),
        }
    }
}

#[derive(Debug)]
pub enum Answer {
    Yes { rejected: u64 },
    Later { hint: Option<Duration>, text: String },
    Broken(String),
    Permanent(String),
}

pub enum Body {
    Spans(ExportTraceServiceRequest),
    Run(Value),
}

/// Encoded once: tries and copies are the same bytes.
pub enum Request {
    Http { path: &'static str, content_type: &'static str, body: Bytes },
    Grpc(ExportTraceServiceRequest),
}

/// One way to the collector.
pub struct Client {
    pub way: Way,
    target: Target,
    attempt_max: Duration,
    http: reqwest::Client,
    grpc: TraceServiceClient<Channel>,
}

impl Client {
    pub fn new(way: Way, target: &Target, attempt_max: Duration) -> Client {
        let limit = Duration::from_secs(1);
        let http = reqwest::Client::builder().connect_timeout(limit).timeout(attempt_max).no_proxy().build();
        let endpoint = Endpoint::from_shared(format!("http://{}", target.grpc)).expect("an address makes a URL");
        let channel = endpoint.connect_timeout(limit).timeout(attempt_max).connect_lazy();
        Client {
            way,
            target: target.clone(),
            attempt_max,
            http: http.expect("nothing in it depends on the machine"),
            grpc: TraceServiceClient::new(channel),
        }
    }

    pub fn encode(&self, body: Body) -> Request {
        let http = |path, content_type, body: Vec<u8>| Request::Http { path, content_type, body: body.into() };
        match (self.way, body) {
            (Way::Grpc, Body::Spans(export)) => Request::Grpc(export),
            (Way::Json, Body::Spans(export)) => {
                let body = serde_json::to_vec(&export).expect("spans are JSON");
                http("/v1/traces", "application/json", body)
            }
            (_, Body::Spans(export)) => http("/v1/traces", "application/x-protobuf", export.encode_to_vec()),
            (_, Body::Run(run)) => http("/runs", "application/json", run.to_string().into_bytes()),
        }
    }

    pub async fn attempt(&self, request: &Request) -> Answer {
        let answering = async {
            match request {
                Request::Grpc(export) => self.call(export).await,
                Request::Http { path, content_type, body } => self.post(path, content_type, body).await,
            }
        };
        let late = |_| Answer::Broken(format!("no answer within {:?}", self.attempt_max));
        tokio::time::timeout(self.attempt_max, answering).await.unwrap_or_else(late)
    }

    async fn call(&self, export: &ExportTraceServiceRequest) -> Answer {
        let mut call = tonic::Request::new(export.clone());
        let Ok(key) = format!("Bearer {}", self.target.key).parse() else {
            return Answer::Permanent("the key is no header value".to_owned());
        };
        call.metadata_mut().insert("authorization", key);
        match self.grpc.clone().export(call).await {
            Ok(answer) => Answer::Yes { rejected: rejected(&answer.into_inner()) },
            Err(status) => of_status(&status),
        }
    }

    async fn post(&self, path: &str, content_type: &str, body: &Bytes) -> Answer {
        let url = format!("http://{}{path}", self.target.http);
        let post = self.http.post(url).header("content-type", content_type).bearer_auth(&self.target.key);
        let answer = match post.body(body.clone()).send().await {
            Ok(answer) => answer,
            Err(error) => return Answer::Broken(chain(&error)),
        };
        let status = answer.status().as_u16();
        let hint = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        // An answer counts once its body is there, as an exporter reads it.
        let body = match answer.bytes().await {
            Ok(body) => body,
            Err(error) => return Answer::Broken(chain(&error)),
        };
        match status {
            // 202: kept by the outage spool.
            200..=202 if path == "/runs" => Answer::Yes { rejected: 0 },
            200 if content_type == "application/json" => Answer::Yes { rejected: rejected_json(&body) },
            200 => match ExportTraceServiceResponse::decode(body) {
                Ok(answer) => Answer::Yes { rejected: rejected(&answer) },
                Err(error) => Answer::Permanent(format!("200 with an unreadable body: {error}")),
            },
            429 | 502 | 503 | 504 => Answer::Later {
                hint: hint.map(Duration::from_secs),
                text: format!("{path} {status} {}", String::from_utf8_lossy(&body).escape_default()),
            },
            _ => Answer::Permanent(format!("{path} {status} {}", String::from_utf8_lossy(&body).escape_default())),
        }
    }
}

fn of_status(status: &Status) -> Answer {
    let text = format!("gRPC {:?} {}", status.code(), status.message());
    // What the connection did and not the server.
    if std::error::Error::source(status).is_some() {
        return Answer::Broken(text);
    }
    let hint = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Later { hint, text },
        Code::ResourceExhausted if hint.is_some() => Answer::Later { hint, text },
        // A stream that was reset, or an answer without its trailers.
        Code::Unknown | Code::Internal if !status.message().starts_with("grpc") => Answer::Broken(text),
        _ => Answer::Permanent(text),
    }
}

fn rejected(answer: &ExportTraceServiceResponse) -> u64 {
    answer.partial_success.as_ref().map_or(0, |partial| partial.rejected_spans.unsigned_abs())
}

fn rejected_json(body: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    rejected.as_str().map_or_else(|| rejected.as_u64(), |text| text.parse().ok()).unwrap_or_default()
}

/// The error with its causes, without the address.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "time-out".to_owned() } else { "connection".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
