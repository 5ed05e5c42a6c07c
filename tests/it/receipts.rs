//! Where is my trace? Receipts over sockets: every item that was sent is accounted for, whatever became of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::collector::{Collector, PATIENCE};
use crate::database::{on_both_stores, sql};
use crate::spans::{START_NS, agent_trace, encoded, request, run_id, text, trace_id};

const UNLIMITED: [&str; 2] = ["--quota", "requests=unlimited,steps=unlimited,bytes=unlimited"];
const BODY_BYTES_MAX: usize = 64 * 1024;

/// From now on the database takes no step of the name `poison`.
async fn refuse_poison(url: &str) {
    let refusal = if url.starts_with("postgres") {
        "ALTER TABLE steps ADD CONSTRAINT no_poison CHECK (name <> 'poison')"
    } else {
        "CREATE TRIGGER no_poison BEFORE INSERT ON steps WHEN NEW.name = 'poison' \
         BEGIN SELECT RAISE(ABORT, 'poison'); END"
    };
    sql(url, refusal).await;
}

async fn number(url: &str, statement: &str) -> i64 {
    let statement = AssertSqlSafe(statement.to_owned());
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap()
    } else {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap()
    }
}

/// Asks until `is_there` finds what it looks for among the refusals, which are stored every second.
async fn refusals(collector: &Collector, key: &str, is_there: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    for _ in 0..100 {
        let (status, body) = collector.get_with(key, "/receipts").await;
        assert_eq!(status, 200, "{body}");
        let refused = body["refused"].as_array().unwrap().clone();
        if is_there(&refused) {
            return refused;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not there: {:#}\n{}", collector.get_with(key, "/receipts").await.1, collector.log())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Grpc,
    Http,
    Json,
    Native,
}

impl Way {
    fn user_agent(self) -> &'static str {
        match self {
            Way::Grpc => "mixed-grpc",
            Way::Http => "mixed-http",
            Way::Json => "mixed-json",
            Way::Native => "mixed-native",
        }
    }
}

/// Sends good, bad, repeated, oversized and unauthorised requests in turn, and counts the items that were acknowledged.
struct Sender {
    way: Way,
    base: String,
    client: reqwest::Client,
    grpc: TraceServiceClient<Channel>,
    key: String,
    revoked: String,
    acknowledged: Arc<AtomicU64>,
}

impl Sender {
    fn new(way: Way, collector: &Collector, key: &str, revoked: &str, acknowledged: Arc<AtomicU64>) -> Sender {
        let endpoint = Endpoint::from_shared(format!("http://{}", collector.grpc)).unwrap();
        let endpoint = endpoint.user_agent(way.user_agent()).unwrap().connect_timeout(Duration::from_secs(1));
        Sender {
            way,
            base: collector.url(""),
            client: reqwest::Client::builder().user_agent(way.user_agent()).build().unwrap(),
            grpc: TraceServiceClient::new(endpoint.connect_lazy()),
            key: key.to_owned(),
            revoked: revoked.to_owned(),
            acknowledged,
        }
    }

    async fn run(mut self, first: u64, stop: Arc<AtomicBool>) {
        let mut turn = first;
        while !stop.load(Ordering::Relaxed) {
            let key = self.key.clone();
            match turn % 8 {
                0..3 => self.good(turn, &key).await,
                3 => self.good(turn - 1, &key).await,
                4 => self.bad(turn).await,
                5 => self.oversized().await,
                6 => {
                    let stranger = ["", "vos_notakey", self.revoked.as_str()][(turn / 8 % 3) as usize].to_owned();
                    self.good(turn, &stranger).await;
                }
                _ => self.odd(turn).await,
            }
            turn += 1;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Three items: the spans of a trace, or a run and its two steps.
    async fn good(&mut self, turn: u64, key: &str) {
        match self.way {
            Way::Native => self.post("/runs", "application/json", run(turn, "18 C").to_string().into(), key, 3).await,
            _ => self.traces(agent_trace(turn), key).await,
        }
    }

    /// One item of three, or of four, is not taken.
    async fn bad(&mut self, turn: u64) {
        let key = self.key.clone();
        if self.way == Way::Native {
            let batch = json!({"runs": [run(turn, "18 C"), {"model": 5}]}).to_string();
            return self.post("/runs/batch", "application/json", batch.into(), &key, 4).await;
        }
        let mut spans = agent_trace(turn);
        spans[1].trace_id = vec![0; 16];
        self.traces(spans, &key).await;
    }

    async fn oversized(&mut self) {
        let key = self.key.clone();
        match self.way {
            Way::Grpc => {
                let mut spans = agent_trace(0);
                spans[0].attributes.push(text("large", &"x".repeat(BODY_BYTES_MAX)));
                self.traces(spans, &key).await;
            }
            Way::Http => self.post("/v1/traces", PROTOBUF, vec![b' '; BODY_BYTES_MAX + 1], &key, 0).await,
            Way::Json => self.post("/v1/traces", "application/json", vec![b' '; BODY_BYTES_MAX + 1], &key, 0).await,
            Way::Native => self.post("/runs", "application/json", vec![b' '; BODY_BYTES_MAX + 1], &key, 0).await,
        }
    }

    /// What only one way has: log records, half a body, a run that changes after it ended.
    async fn odd(&mut self, turn: u64) {
        let key = self.key.clone();
        match self.way {
            Way::Grpc => self.traces(vec![], &key).await,
            Way::Http => self.post("/v1/logs", PROTOBUF, logs(turn), &key, 2).await,
            Way::Json => self.post("/v1/traces", "application/json", b"{\"resourceSpans\":[".to_vec(), &key, 0).await,
            Way::Native => {
                self.post("/runs", "application/json", run(turn - 3, "19 C").to_string().into(), &key, 0).await;
            }
        }
    }

    async fn traces(&mut self, spans: Vec<Span>, key: &str) {
        let items = spans.len() as u64;
        match self.way {
            Way::Grpc => {
                let mut export = tonic::Request::new(request(spans));
                if !key.is_empty() {
                    export.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
                }
                if self.grpc.export(export).await.is_ok() {
                    self.acknowledged.fetch_add(items, Ordering::Relaxed);
                }
            }
            Way::Json => {
                let body = serde_json::to_vec(&request(spans)).unwrap();
                self.post("/v1/traces", "application/json", body, key, items).await;
            }
            Way::Http | Way::Native => self.post("/v1/traces", PROTOBUF, encoded(spans), key, items).await,
        }
    }

    async fn post(&self, path: &str, content_type: &str, body: Vec<u8>, key: &str, items: u64) {
        let mut post = self.client.post(format!("{}{path}", self.base)).header("content-type", content_type).body(body);
        if !key.is_empty() {
            post = post.bearer_auth(key);
        }
        let Ok(answer) = post.send().await else { return };
        if answer.status() == 200 && answer.bytes().await.is_ok() {
            self.acknowledged.fetch_add(items, Ordering::Relaxed);
        }
    }
}

const PROTOBUF: &str = "application/x-protobuf";

fn run(number: u64, output: &str) -> Value {
    json!({
        "run_id": Uuid::from_u64_pair(0x6e61_7469_7665_4000, number),
        "model": "gpt-4o-mini", "input": "Weather in Paris?", "output": output, "status": "success",
        "steps": [{"id": "plan", "type": "model_call"}, {"id": "look", "type": "tool_call"}],
    })
}

/// Two records, one of them of no trace.
fn logs(number: u64) -> Vec<u8> {
    let record = |trace_id| LogRecord {
        time_unix_nano: START_NS + number,
        event_name: format!("event {number}"),
        trace_id,
        ..LogRecord::default()
    };
    let scope_logs =
        vec![ScopeLogs { log_records: vec![record(trace_id(number)), record(vec![])], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// Requests that were refused, by whom and why.
const WANTED: [(&str, u16, &str); 12] = [
    ("no_key", 401, "mixed-grpc"),
    ("no_key", 401, "mixed-http"),
    ("no_key", 401, "mixed-json"),
    ("no_key", 401, "mixed-native"),
    ("invalid_key", 401, "mixed-grpc"),
    ("invalid_key", 401, "mixed-http"),
    ("invalid_key", 403, "mixed-native"),
    ("too_large", 413, "mixed-grpc"),
    ("too_large", 413, "mixed-http"),
    ("too_large", 413, "mixed-native"),
    ("malformed", 400, "mixed-json"),
    ("conflict", 409, "mixed-native"),
];

fn is_of(row: &Value, (reason, status, agent): (&str, u16, &str)) -> bool {
    row["reason"] == reason
        && row["status"] == status
        && row["user_agent"].as_str().is_some_and(|shown| shown.starts_with(agent))
}

/// What the operator sees, once it is as `wanted`.
async fn all_refusals(collector: &Collector, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let all: Value = serde_json::from_str(&collector.command(&["receipts", "--json"])).unwrap();
        let rows = all["refused"].as_array().unwrap();
        if wanted(rows) {
            return rows.clone();
        }
        assert!(Instant::now() < end, "{all:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn every_item_of_mixed_traffic_is_accounted_for_across_a_kill_9(url: &str) {
    let limit = BODY_BYTES_MAX.to_string();
    let mut collector = Collector::start(url, &[("VECTOROS_LIMITS__BODY_BYTES", &limit)]).await;
    let key = collector.make_key("default", &UNLIMITED);
    let revoked = collector.make_key("default", &[]);
    let revoked_id = revoked.split('_').nth(1).unwrap().to_owned();
    collector.command(&["keys", "revoke", &revoked_id]);

    let acknowledged = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let ways = [Way::Grpc, Way::Http, Way::Json, Way::Native];
    let senders: Vec<_> = (0..8_u64)
        .map(|place| {
            let sender = Sender::new(ways[place as usize % 4], &collector, &key, &revoked, acknowledged.clone());
            tokio::spawn(sender.run(place << 32, stop.clone()))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    collector.kill();
    collector.restart().await;
    // Every kind of stranger has had its turn.
    let all =
        all_refusals(&collector, |rows| WANTED.iter().all(|wanted| rows.iter().any(|row| is_of(row, *wanted)))).await;
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }

    let (_, body) = collector.get("/receipts").await;
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    let count = |of: &Value, name: &str| of[name].as_u64().unwrap_or_else(|| panic!("{name}: {of}"));
    for row in body["items"].as_array().unwrap().iter().chain([&body["totals"]]) {
        let sum = count(row, "stored") + count(row, "duplicate") + count(row, "rejected");
        assert_eq!(count(row, "received"), sum, "{row:#}");
    }
    let recount = number(
        url,
        "SELECT (SELECT COUNT(*) FROM steps) + (SELECT COUNT(*) FROM logs) \
         + (SELECT COUNT(*) FROM runs WHERE declared IS NOT NULL)",
    )
    .await;
    let totals = &body["totals"];
    assert_eq!(count(totals, "stored"), recount as u64, "{body:#}");
    assert!(count(totals, "received") >= acknowledged && acknowledged > 100, "{acknowledged} of {totals}");
    assert!(count(totals, "duplicate") > 0 && count(totals, "requests") > 50, "{totals}");
    let rows = body["items"].as_array().unwrap();
    let reasons: BTreeSet<_> = rows
        .iter()
        .flat_map(|row| row["rejections"].as_array().unwrap())
        .map(|rejected| rejected["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, BTreeSet::from(["bad_trace_id", "conflict", "invalid_run"]));

    let of_revoked = all.iter().find(|row| row["key_id"] == revoked_id.as_str()).unwrap_or_else(|| panic!("{all:#?}"));
    assert_eq!(of_revoked["reason"], "invalid_key", "its project is told, its sender is not");
    assert!(all.iter().any(|row| row["reason"] == "invalid_key" && row["key_id"].is_null()), "{all:#?}");
    assert!(all.iter().all(|row| row["mend"].as_str().unwrap().len() > 10 && row["count"].as_u64() > Some(0)));
    // A key learns nothing of strangers but how many there were.
    let shown = refusals(&collector, &collector.key, |_| true).await;
    let of_nobody: Vec<_> = shown.iter().filter(|row| row["key_id"].is_null()).collect();
    assert!(
        !of_nobody.is_empty() && of_nobody.iter().all(|row| row["user_agent"].is_null() && row["detail"].is_null())
    );

    let other = collector.make_key("other", &[]);
    let (_, foreign) = collector.get_with(&other, "/receipts").await;
    assert_eq!((&foreign["items"], &foreign["totals"]["received"]), (&json!([]), &json!(0)));
    assert!(foreign["refused"].as_array().unwrap().iter().all(|row| row["key_id"].is_null()), "{foreign:#}");
    let told = collector.command(&["receipts", "--project", "default"]);
    assert!(told.contains("bad_trace_id") && told.contains("too_large") && told.contains("mixed-native"), "{told}");
    let all: Value = serde_json::from_str(&collector.command(&["receipts", "--json"])).unwrap();
    assert_eq!(all["totals"], body["totals"]);
    assert_eq!(all["items"][0]["project"], "default");
}
on_both_stores!(every_item_of_mixed_traffic_is_accounted_for_across_a_kill_9);

async fn what_the_database_refuses_becomes_a_dead_letter(url: &str) {
    let collector = Collector::start(url, &[]).await;
    refuse_poison(url).await;
    let mut spans = agent_trace(1);
    spans[1].name = "poison".into();
    let poisoned = spans[1].span_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (status, answer) = collector.post_otlp("application/json", serde_json::to_vec(&request(spans)).unwrap()).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &json!("1")), "{answer}");
    assert!(answer["partialSuccess"]["errorMessage"].as_str().unwrap().contains(&poisoned), "{answer}");
    let (_, run) = collector.get(&format!("/runs/{}", run_id(1))).await;
    assert_eq!(run["run"]["step_count"], 2, "its neighbours are stored");
    // A run is stored whole or not at all.
    let (status, answer) = collector
        .post("/runs", &json!({"model": "m", "input": "q", "status": "success", "steps": [{"name": "poison"}, {}]}))
        .await;
    assert_eq!(status, 400, "{answer}");

    let (_, page) = collector.get("/receipts/dead-letters?limit=1").await;
    assert_eq!((&page["items"][0]["signal"], &page["items"][0].get("content")), (&json!("runs"), &None));
    let next = format!("/receipts/dead-letters?cursor={}", page["next_cursor"].as_str().unwrap());
    let (_, page) = collector.get(&next).await;
    let letter = &page["items"][0];
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next_cursor"]), (1, &Value::Null));
    let code = if url.starts_with("postgres") { "23514" } else { "1811" };
    assert_eq!((&letter["step_id"], &letter["code"]), (&json!(poisoned), &json!(code)), "{letter}");
    let path = format!("/receipts/dead-letters/{}", letter["id"].as_str().unwrap());
    let (_, whole) = collector.get(&path).await;
    assert_eq!((&whole["content"]["name"], &whole["run_id"]), (&json!("poison"), &json!(run_id(1))));
    assert!(whole["content"]["detail"].to_string().contains("gpt-4o-mini"), "{whole:#}");

    let other = collector.make_key("other", &[]);
    let foreign = collector.get_with(&other, &path).await;
    assert_eq!(foreign, (404, json!({"detail": "Dead letter not found"})));
    for unknown in [format!("/receipts/dead-letters/{}", Uuid::nil()), "/receipts/dead-letters/x".into()] {
        assert_eq!(collector.get_with(&other, &unknown).await, foreign);
    }
    assert_eq!(collector.get_with(&other, "/receipts/dead-letters").await.1["items"], json!([]));
    let listed = collector.command(&["receipts", "dead-letters"]);
    assert!(listed.contains(letter["id"].as_str().unwrap()) && listed.contains(code), "{listed}");
    let shown = collector.command(&["receipts", "dead-letters", letter["id"].as_str().unwrap()]);
    assert!(shown.contains("poison") && shown.contains("\"project\": \"default\""), "{shown}");

    let (_, body) = collector.get("/receipts").await;
    let row = &body["items"][0];
    let shown = ["received", "stored", "rejected"].map(|name| row[name].as_u64().unwrap());
    assert_eq!(shown, [6, 2, 4], "three spans, and a run of two steps: {row:#}");
    assert_eq!((&row["rejections"][0]["reason"], &row["rejections"][0]["count"]), (&json!("database"), &json!(4)));
    let metrics = collector.client().get(collector.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for line in ["vectoros_dead_letters_total 2", "otelcol_receiver_refused_spans_total{transport=\"http\"} 1"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
on_both_stores!(what_the_database_refuses_becomes_a_dead_letter);

async fn requests_without_items_are_accounted_for(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let bodies = [
        ("/v1/traces", "application/json", "{}".to_owned()),
        ("/v1/metrics", "application/json", METRICS.to_owned()),
        ("/runs/batch", "application/json", r#"{"runs":[]}"#.to_owned()),
        ("/runs/batch", "application/x-ndjson", format!("{{}}\n{}\n{{oops\n{}", run(1, "a"), run(2, "a"))),
    ];
    let mut bytes = 0;
    for (path, content_type, body) in bodies {
        bytes += body.len();
        assert_eq!(collector.post_to(path, content_type, body.into()).await.0, 200, "{path}");
    }
    let (_, body) = collector.get("/receipts").await;
    let totals = json!({
        "received": 8, "stored": 6, "duplicate": 0, "rejected": 2,
        "requests": 4, "bytes": bytes, "metric_points": 2,
    });
    assert_eq!(body["totals"], totals, "{body:#}");
    assert_eq!(body["items"][0]["rejections"][0]["examples"][0]["place"], "runs[0]");
    assert_eq!(body["next_cursor"], Value::Null);
    for (query, named) in [("hour=1", "hour"), ("since=now", "since"), ("limit=0", "limit"), ("cursor=x", "cursor")] {
        let (status, body) = collector.get(&format!("/receipts?{query}")).await;
        assert!(status == 400 && body["detail"].as_str().unwrap().contains(named), "{query}: {status} {body}");
    }
    let (_, empty) = collector.get("/receipts?since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z").await;
    assert_eq!((&empty["items"], &empty["totals"]["requests"]), (&json!([]), &json!(0)));
}
on_both_stores!(requests_without_items_are_accounted_for);

const METRICS: &str = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
    {"name":"m","gauge":{"dataPoints":[{"asInt":"1","timeUnixNano":"1"},{"asInt":"2","timeUnixNano":"2"}]}}]}]}]}"#;

#[tokio::test]
async fn a_sender_of_basic_without_a_key_is_told_what_to_send() {
    let collector = Collector::start(crate::collector::OWN_FILE, &[]).await;
    // Nothing, and what Langfuse has for a name and a password.
    for (credentials, told) in [("Og==", "sent Basic without a key"), ("cGstbGYtMTpzay1sZi0y", "invalid API key")] {
        let post = collector.client().post(collector.url("/v1/traces")).header("content-type", "application/json");
        let answer = post.header("authorization", format!("Basic {credentials}")).body("{}").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["www-authenticate"].as_bytes()), (401, &b"Bearer"[..]));
        let body = answer.text().await.unwrap();
        assert!(body.contains(told), "{body}");
    }
    let found = all_refusals(&collector, |rows| rows.iter().any(|row| row["count"] == 2)).await;
    assert_eq!((found.len(), &found[0]["reason"]), (1, &json!("basic_without_key")), "{found:#?}");
    assert_eq!(found[0]["mend"], "sent Basic without a key; send `Authorization: Bearer vos_…`");
}

#[tokio::test]
async fn what_was_refused_last_is_stored_before_the_program_ends() {
    let mut collector = Collector::start(crate::collector::OWN_FILE, &[]).await;
    let post = collector.client().post(collector.url("/runs")).header("user-agent", "the last one");
    assert_eq!(post.body("{}").send().await.unwrap().status(), 401);
    assert!(collector.stop().success());
    let told = collector.command(&["receipts"]);
    assert!(told.contains("no_key") && told.contains("the last one"), "{told}");
}
