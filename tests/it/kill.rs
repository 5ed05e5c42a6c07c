//! kill -9 under load, again and again, with a ledger outside the killed process: what was acknowledged is stored,
//! once, and every run says what its stored steps say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::Span;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

use crate::collector::Collector;
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, request};

const SENDERS_PER_WAY: u64 = 2;
/// Between two requests of a sender: enough load to have commits under way at any moment, and runs few enough to read
/// every one of them back.
const PAUSE: Duration = Duration::from_millis(5);
/// A sender whose request failed tries this often, then gives it up: whether it was stored is then unknown.
const TRIES_MAX: u32 = 3;

/// A step by run and id.
type StepName = (String, String);

/// What was sent and what was acknowledged.
#[derive(Default)]
struct Ledger {
    sent: BTreeSet<StepName>,
    acknowledged: BTreeSet<StepName>,
}

async fn otlp_97_kill_9_under_load_loses_and_doubles_nothing(url: &str) {
    let cycles = number_from("VECTOROS_KILL_CYCLES", 20);
    let seed = number_from("VECTOROS_KILL_SEED", 1);
    let mut random = StdRng::seed_from_u64(seed);
    let mut collector = Collector::start(url, &[]).await;
    collector.key = collector.make_key("default", &["--quota", "requests=unlimited,steps=unlimited,bytes=unlimited"]);

    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for number in 0..3 * SENDERS_PER_WAY {
        let way = match number % 3 {
            0 => Way::Http(collector.client().clone(), collector.url("/v1/traces")),
            1 => Way::Grpc(grpc_client(collector.grpc)),
            _ => Way::Native(collector.client().clone(), collector.url("/runs")),
        };
        let sender = Sender {
            number,
            way,
            key: collector.key.clone(),
            random: StdRng::seed_from_u64(seed ^ ((number + 1) << 32)),
        };
        senders.push(tokio::spawn(sender.run(ledger.clone(), stop.clone())));
    }
    for _ in 0..cycles {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..600))).await;
        collector.kill();
        collector.restart().await;
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }

    let Ledger { sent, acknowledged } = std::mem::take(&mut *ledger.lock().unwrap());
    let stored = read_all_runs(&collector).await;
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    let invented: Vec<_> = stored.difference(&sent).collect();
    assert!(lost.is_empty(), "seed {seed}: {} acknowledged steps are lost: {lost:.5?}", lost.len());
    assert!(invented.is_empty(), "seed {seed}: {} steps were never sent: {invented:.5?}", invented.len());
    assert!(acknowledged.len() as u64 > cycles, "seed {seed}: no load: {} acknowledged", acknowledged.len());
}
on_both_stores!(otlp_97_kill_9_under_load_loses_and_doubles_nothing);

/// Every step of every run of the project. Checks on the way that no step is there twice and that the row of each run
/// equals a recount of its steps.
async fn read_all_runs(collector: &Collector) -> BTreeSet<StepName> {
    let mut stored = BTreeSet::new();
    let mut path = "/runs?limit=100".to_owned();
    loop {
        let (status, page) = collector.get(&path).await;
        assert_eq!(status, 200, "{path}: {page}");
        for listed in page["items"].as_array().unwrap() {
            let run_id = listed["run_id"].as_str().unwrap();
            let (status, detail) = collector.get(&format!("/runs/{run_id}")).await;
            assert_eq!(status, 200, "{run_id}: {detail}");
            let mut recount = Recount::default();
            recount.walk(&detail["tree"]);
            assert_eq!(listed["step_count"], json!(recount.steps.len()), "{run_id}: {detail:#}");
            assert_eq!(listed["tokens"].as_i64(), recount.tokens, "{run_id}: {detail:#}");
            for (step, times) in recount.steps {
                assert_eq!(times, 1, "{run_id}: step {step} is stored {times} times");
                assert!(stored.insert((run_id.to_owned(), step)), "{run_id} is listed twice");
            }
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/runs?limit=100&cursor={cursor}"),
            None => return stored,
        }
    }
}

#[derive(Default)]
struct Recount {
    steps: BTreeMap<String, u32>,
    /// Of the model calls: only they spend tokens.
    tokens: Option<i64>,
}

impl Recount {
    fn walk(&mut self, steps: &Value) {
        for step in steps.as_array().unwrap() {
            *self.steps.entry(step["id"].as_str().unwrap().to_owned()).or_default() += 1;
            if step["type"] == "model_call"
                && let Some(tokens) = step["tokens"].as_i64()
            {
                *self.tokens.get_or_insert_default() += tokens;
            }
            self.walk(&step["children"]);
        }
    }
}

enum Way {
    Http(reqwest::Client, String),
    Grpc(TraceServiceClient<Channel>),
    Native(reqwest::Client, String),
}

struct Sender {
    number: u64,
    way: Way,
    key: String,
    random: StdRng,
}

impl Sender {
    async fn run(mut self, ledger: Arc<Mutex<Ledger>>, stop: Arc<AtomicBool>) {
        let mut next = self.number << 32;
        while !stop.load(Ordering::Relaxed) {
            next += 1;
            for part in self.parts(next) {
                self.send(&part, &ledger).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// What is sent of run `number`, a request each: a trace in two pieces, in any order, or one native run.
    fn parts(&mut self, number: u64) -> Vec<Part> {
        if matches!(self.way, Way::Native(..)) {
            return vec![Part::Run(native_run(number))];
        }
        let mut spans = agent_trace(number);
        let rest = spans.split_off(self.random.random_range(1..spans.len()));
        let mut parts = vec![Part::Spans(spans), Part::Spans(rest)];
        if self.random.random() {
            parts.reverse();
        }
        parts
    }

    async fn send(&mut self, part: &Part, ledger: &Mutex<Ledger>) {
        ledger.lock().unwrap().sent.extend(part.steps());
        for _ in 0..TRIES_MAX {
            if self.is_acknowledged(part).await {
                ledger.lock().unwrap().acknowledged.extend(part.steps());
                return;
            }
            let wait_ms = self.random.random_range(20..200);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    async fn is_acknowledged(&mut self, part: &Part) -> bool {
        let post = match (&mut self.way, part) {
            (Way::Http(client, url), Part::Spans(spans)) => {
                client.post(url.as_str()).header("content-type", "application/x-protobuf").body(encoded(spans.clone()))
            }
            (Way::Native(client, url), Part::Run(run)) => client.post(url.as_str()).json(run),
            (Way::Grpc(client), Part::Spans(spans)) => {
                let mut export = tonic::Request::new(request(spans.clone()));
                export.metadata_mut().insert("authorization", format!("Bearer {}", self.key).parse().unwrap());
                let Ok(answer) = client.export(export).await else { return false };
                assert_eq!(answer.into_inner().partial_success, None, "every span is good");
                return true;
            }
            _ => unreachable!("parts() fits the way"),
        };
        // An answer counts once its body is there, as an exporter reads it.
        match post.bearer_auth(&self.key).send().await {
            Ok(answer) if answer.status() == 200 => {
                let Ok(body) = answer.bytes().await else { return false };
                assert!(body.is_empty() || matches!(part, Part::Run(_)), "every span is good: {body:?}");
                true
            }
            Ok(answer) => {
                let status = answer.status();
                assert!(status.is_server_error(), "{status}: {}", answer.text().await.unwrap_or_default());
                false
            }
            Err(_) => false,
        }
    }
}

enum Part {
    Spans(Vec<Span>),
    Run(Value),
}

impl Part {
    fn steps(&self) -> Vec<StepName> {
        match self {
            Part::Spans(spans) => spans.iter().map(|span| (run_of(&span.trace_id), hex(&span.span_id))).collect(),
            Part::Run(run) => {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let steps = run["steps"].as_array().unwrap();
                steps.iter().map(|step| (text(&run["run_id"]), text(&step["id"]))).collect()
            }
        }
    }
}

fn native_run(number: u64) -> Value {
    json!({
        "run_id": uuid::Uuid::from_u64_pair(0x6e61_7469_7665_4000, number),
        "model": "gpt-4o-mini", "input": "Weather in Paris?", "output": "18 C and sunny.", "status": "success",
        "tokens": 15,
        "steps": [
            {"id": "plan", "type": "model_call", "tokens": 15},
            {"id": "look", "type": "tool_call", "parent_id": "plan", "name": "get_weather"},
        ],
    })
}

fn run_of(trace_id: &[u8]) -> String {
    uuid::Uuid::from_slice(trace_id).unwrap().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Connects when it is first used, and again after each kill.
fn grpc_client(address: SocketAddr) -> TraceServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_timeout(Duration::from_secs(1));
    TraceServiceClient::new(endpoint.connect_lazy())
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?}")))
}
