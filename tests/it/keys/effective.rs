//! A change of a key is effective within 5 s on every collector, over every protocol, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::collector::{Collector, OWN_FILE};
use crate::conformance::client::{JSON, PROTOBUF, TRACE_SERVICE, call, framed};
use crate::database::Database;
use crate::spans::{agent_trace, encoded};

/// How long a change may take until it holds everywhere.
const EFFECTIVE_MAX: Duration = Duration::from_secs(5);
/// How long is watched after the last change.
const WATCHED: Duration = Duration::from_millis(6_500);
/// Pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(40);

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http,
    Grpc,
    Runs,
}

/// When each request of a client, one at least, was sent, and whether it was accepted.
type Log = Vec<(Instant, bool)>;

struct Clients {
    stop: Arc<AtomicBool>,
    running: Vec<(String, JoinHandle<Log>)>,
}

impl Clients {
    /// One client for each protocol at each collector.
    fn start(key: &str, collectors: &[&Collector]) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = Vec::new();
        for (number, collector) in collectors.iter().enumerate() {
            for protocol in [Protocol::Http, Protocol::Grpc, Protocol::Runs] {
                let client = Client {
                    key: format!("Bearer {key}"),
                    protocol,
                    traces: collector.url("/v1/traces"),
                    runs: collector.url("/runs"),
                    grpc: collector.grpc,
                    http: reqwest::Client::new(),
                };
                running.push((format!("{protocol:?} at {number}"), tokio::spawn(client.run(stop.clone()))));
            }
        }
        Clients { stop, running }
    }

    async fn stop(self) -> Vec<(String, Log)> {
        self.stop.store(true, Ordering::Release);
        let mut logs = Vec::new();
        for (who, running) in self.running {
            logs.push((who, running.await.unwrap()));
        }
        logs
    }
}

struct Client {
    key: String,
    protocol: Protocol,
    traces: String,
    runs: String,
    grpc: std::net::SocketAddr,
    http: reqwest::Client,
}

impl Client {
    async fn run(self, stop: Arc<AtomicBool>) -> Log {
        let mut log = Log::new();
        loop {
            let sent = Instant::now();
            log.push((sent, self.send().await));
            if stop.load(Ordering::Acquire) {
                return log;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn send(&self) -> bool {
        match self.protocol {
            Protocol::Http => {
                let request = self.http.post(&self.traces).header("content-type", PROTOBUF);
                let request = request.header("authorization", &self.key).body(encoded(agent_trace(0)));
                request.send().await.unwrap().status() == 200
            }
            Protocol::Grpc => {
                let message = framed(0, &encoded(agent_trace(0)));
                call(self.grpc, TRACE_SERVICE, &[("authorization", &self.key)], message).await.code() == 0
            }
            Protocol::Runs => {
                let run = json!({"run_id": "0193a0e4-0000-7000-8000-0000000000ab", "model": "m", "input": "q", "status": "success"});
                let request =
                    self.http.post(&self.runs).header("content-type", JSON).header("authorization", &self.key);
                request.body(run.to_string()).send().await.unwrap().status() == 200
            }
        }
    }
}

/// A key whose own quota never ends.
fn key(collector: &Collector, scope: &str) -> String {
    collector.make_key("default", &["--scope", scope, "--quota", "requests=unlimited,steps=unlimited,bytes=unlimited"])
}

/// How the keys are changed.
enum By<'a> {
    Command,
    Endpoint(&'a str),
}

impl By<'_> {
    /// Does it, and gives the key again that a rotation made.
    async fn change(&self, collector: &Collector, id: &str, change: &str) -> Option<String> {
        let own = format!("/keys/{id}");
        let (arguments, method, path, body) = match change {
            "revoked" => (vec!["revoke", id], Method::DELETE, own, Value::Null),
            "expired" => {
                let now = chrono::Utc::now();
                (vec!["expire", id, "--in", "0s"], Method::PATCH, own, json!({"expires_at": now}))
            }
            "rotated" | "rotated in advance" => {
                let path = format!("{own}/rotate");
                (vec!["rotate", id, "--overlap", "0s", "--json"], Method::POST, path, json!({"overlap": "0s"}))
            }
            "quota" => {
                (vec!["quota", id, "requests=1/hour"], Method::PATCH, own, json!({"quota": {"requests": "1/hour"}}))
            }
            other => panic!("{other}"),
        };
        let said: Value = match self {
            By::Command => {
                let said = collector.command(&[&["keys"], &arguments[..]].concat());
                serde_json::from_str(&said).unwrap_or_default()
            }
            By::Endpoint(admin) => {
                let request = collector.client().request(method, collector.url(&path)).bearer_auth(admin);
                let request = if body.is_null() { request } else { request.json(&body) };
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 200, "{change}");
                response.json().await.unwrap()
            }
        };
        said["key"].as_str().map(str::to_owned)
    }
}

async fn changes_hold_within_five_seconds(collectors: &[&Collector], by: By<'_>) {
    let first = collectors[0];
    let steady = Clients::start(&key(first, "ingest,read"), collectors);
    // In advance: nobody has the new secret yet, whose use would tell a collector.
    let changes = ["revoked", "expired", "rotated", "rotated in advance", "quota"];
    let keys = changes.map(|_| key(first, "ingest"));
    let clients = keys.each_ref().map(|key| Clients::start(key, collectors));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut changed_at = Vec::new();
    for (change, key) in changes.iter().zip(&keys) {
        let new = by.change(first, &key[4..12], change).await;
        changed_at.push(Instant::now());
        if *change == "rotated" {
            let new = new.expect("a rotation shows the new key");
            for (who, log) in Clients::start(&new, collectors).stop().await {
                assert!(log[0].1, "the new secret works at once: {who}");
            }
        }
    }
    tokio::time::sleep(WATCHED).await;
    let watched_until = Instant::now();
    for ((change, clients), changed_at) in changes.iter().zip(clients).zip(changed_at) {
        let logs = clients.stop().await;
        let mut latest = Duration::ZERO;
        for (who, log) in logs {
            let before = log.iter().filter(|(sent, _)| *sent < changed_at);
            assert!(
                before.clone().count() > 3 && before.filter(|(_, accepted)| *accepted).count() > 3,
                "{change}, {who}"
            );
            let last = log.iter().filter(|(_, accepted)| *accepted).map(|(sent, _)| *sent).max().unwrap();
            let after = last.saturating_duration_since(changed_at);
            assert!(after <= EFFECTIVE_MAX, "{change}, {who}: accepted {after:?} after the change");
            let is_still_sent =
                log.iter().any(|(sent, _)| watched_until.duration_since(*sent) < Duration::from_secs(3));
            assert!(is_still_sent, "{change}, {who}: the client still sends");
            latest = latest.max(after);
        }
        println!("{change}: last accepted {latest:?} after the change, {} collectors", collectors.len());
    }
    for (who, log) in steady.stop().await {
        assert!(log.iter().all(|(_, accepted)| *accepted), "nothing happened to the other key: {who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_two_collectors_on_one_postgres() {
    let database = Database::postgres().await;
    let one = Collector::start(&database.url, &[]).await;
    let two = Collector::start(&database.url, &[]).await;
    let admin = one.make_key("default", &["--scope", "admin"]);
    changes_hold_within_five_seconds(&[&one, &two], By::Endpoint(&admin)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_with_the_command_line_beside() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    changes_hold_within_five_seconds(&[&collector], By::Command).await;
}
