//! What a key may send, seen from outside: exact at its edge, shared by collectors, and cheap for copies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::collector::{Collector, OWN_FILE, PATIENCE};
use crate::database::{Database, on_both_stores};
use crate::otlp::{PROTOBUF, with_key};
use crate::spans::{agent_trace, encoded, request};

/// Clients on one key, as many of each way in.
const CLIENTS: u64 = 64;
/// Steps of a trace that a client sends.
const STEPS: u64 = 3;
/// How long they go on after the quota is used up.
const BEYOND: Duration = Duration::from_secs(2);
/// Pause of a client that was refused.
const PAUSE: Duration = Duration::from_millis(50);

/// Requests that were accepted, by everybody.
#[derive(Default)]
struct Load {
    accepted: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// `clients` on one collector that send traces of their own as fast as they are answered.
    fn start(self: &Arc<Self>, collector: &Collector, key: &str, clients: std::ops::Range<u64>) -> Vec<Client> {
        clients
            .map(|number| {
                let (load, key) = (self.clone(), key.to_owned());
                let (http, grpc, client) = (collector.url(""), collector.grpc, reqwest::Client::new());
                tokio::spawn(async move {
                    let mut traces = number << 32..;
                    let channel = tonic::transport::Endpoint::new(format!("http://{grpc}")).unwrap().connect_lazy();
                    let mut exporter = TraceServiceClient::new(channel);
                    while !load.stop.load(Ordering::Relaxed) {
                        let trace = traces.next().unwrap();
                        // A collector that was killed answers nothing.
                        let is_accepted = match number % 4 {
                            0 => exporter.export(with_key(request(agent_trace(trace)), &key)).await.is_ok(),
                            1 => {
                                // The run itself counts as one.
                                let steps: Vec<Value> = (1..STEPS).map(|_| json!({"type": "tool_call"})).collect();
                                let run = json!({"model": "m", "input": "", "status": "success", "steps": steps});
                                let post = client.post(format!("{http}/runs")).json(&run).bearer_auth(&key);
                                post.send().await.is_ok_and(|answer| answer.status() == 200)
                            }
                            _ => {
                                let post = client.post(format!("{http}/v1/traces")).header("content-type", PROTOBUF);
                                let post = post.bearer_auth(&key).body(encoded(agent_trace(trace)));
                                post.send().await.is_ok_and(|answer| answer.status() == 200)
                            }
                        };
                        match is_accepted {
                            true => _ = load.accepted.fetch_add(1, Ordering::Relaxed),
                            false => tokio::time::sleep(PAUSE).await,
                        }
                    }
                })
            })
            .collect()
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    async fn wait_for(&self, accepted: u64) {
        let end = Instant::now() + PATIENCE;
        while self.accepted() < accepted {
            assert!(Instant::now() < end, "{} of {accepted}", self.accepted());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(&self, clients: Vec<Client>) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        self.accepted()
    }
}

type Client = tokio::task::JoinHandle<()>;

/// How long clients go on, from the start: a whole minute in the long form.
async fn rest_of_the_minute(start: Instant) {
    let minute = start + Duration::from_secs(57);
    match std::env::var_os("VECTOROS_TEST_LONG") {
        Some(_) => tokio::time::sleep_until(minute.into()).await,
        None => tokio::time::sleep(BEYOND).await,
    }
}

async fn sixty_four_clients_get_what_their_key_may_have(url: &str) {
    let collector = Collector::start(url, &[]).await;
    for (project, quota, requests_max) in
        [("one", "requests=900/min,steps=unlimited", 900), ("two", "steps=3000/min", 1000)]
    {
        let key = collector.make_key(project, &["--quota", quota]);
        let (load, start) = (Arc::<Load>::default(), Instant::now());
        let clients = load.start(&collector, &key, 0..CLIENTS);
        load.wait_for(requests_max * 99 / 100).await;
        rest_of_the_minute(start).await;
        let accepted = load.end(clients).await;
        assert!(start.elapsed() < Duration::from_secs(60), "{quota}: too slow to tell: {:?}", start.elapsed());
        println!("{quota}: {accepted} accepted in {:?}", start.elapsed());
        assert!((requests_max * 99 / 100..=requests_max * 101 / 100).contains(&accepted), "{quota}: {accepted}");
    }
}
on_both_stores!(sixty_four_clients_get_what_their_key_may_have);

#[tokio::test(flavor = "multi_thread")]
async fn three_collectors_share_a_quota_also_when_one_is_killed() {
    const REQUESTS_MAX: u64 = 1500;
    let database = Database::postgres().await;
    let mut first = Collector::start(&database.url, &[]).await;
    let others = [Collector::start(&database.url, &[]).await, Collector::start(&database.url, &[]).await];
    let key = first.make_key("busy", &["--quota", &format!("requests={REQUESTS_MAX}/min")]);
    let (load, start) = (Arc::<Load>::default(), Instant::now());
    let mut clients = load.start(&first, &key, 0..21);
    clients.extend(load.start(&others[0], &key, 21..42));
    clients.extend(load.start(&others[1], &key, 42..CLIENTS));
    load.wait_for(REQUESTS_MAX / 3).await;
    first.kill();
    load.wait_for(REQUESTS_MAX * 95 / 100).await;
    rest_of_the_minute(start).await;
    let accepted = load.end(clients).await;
    assert!(start.elapsed() < Duration::from_secs(60), "too slow to tell: {:?}", start.elapsed());
    println!("{accepted} of {REQUESTS_MAX} accepted in {:?}", start.elapsed());
    assert!((REQUESTS_MAX * 95 / 100..=REQUESTS_MAX * 105 / 100).contains(&accepted), "{accepted}");
}

/// One request of OTLP: status, and how long the answer took.
async fn send(collector: &Collector, key: &str, trace: u64) -> (reqwest::Response, Duration) {
    let start = Instant::now();
    let post = collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF).bearer_auth(key);
    let answer = post.body(encoded(agent_trace(trace))).send().await.unwrap();
    (answer, start.elapsed())
}

async fn otlp_waits_a_little_for_its_quota_and_runs_are_told_at_once(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let key = collector.make_key("busy", &["--quota", "steps=30/s"]);
    let (mut slowest, start) = (Duration::ZERO, Instant::now());
    for trace in 0..25 {
        let (answer, took) = send(&collector, &key, trace).await;
        assert_eq!(answer.status(), 200);
        slowest = slowest.max(took);
    }
    // 75 steps: thirty at once, and the rest at their pace from the second second on.
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(slowest > Duration::from_millis(100) && slowest < Duration::from_secs(2), "{slowest:?}");
    // A second without a pause is more than /runs waits for.
    let steps: Vec<Value> = (0..29).map(|_| json!({"type": "tool_call"})).collect();
    let run = json!({"model": "m", "input": "", "status": "success", "steps": steps});
    let start = Instant::now();
    let post = collector.client().post(collector.url("/runs")).json(&run).bearer_auth(&key);
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(answer.headers()["ratelimit-policy"].to_str().unwrap().split(", ").next(), Some("\"steps\";q=30;w=1"));
    assert!(answer.headers().contains_key("retry-after"));
}
on_both_stores!(otlp_waits_a_little_for_its_quota_and_runs_are_told_at_once);

async fn a_budget_is_used_by_what_is_stored_and_its_end_is_told_for_good(url: &str) {
    let mut collector = Collector::start(url, &[]).await;
    let key = collector.make_key("thrifty", &["--quota", "steps=6/day,steps=1000/min,requests=1000/month"]);
    for trace in [0, 0, 0, 0, 1] {
        assert_eq!(send(&collector, &key, trace).await.0.status(), 200, "copies cost nothing");
    }
    for _ in 0..2 {
        let (answer, _) = send(&collector, &key, 2).await;
        assert_eq!(answer.status(), 403);
        assert!(!answer.headers().contains_key("retry-after"), "nobody shall come again for hours");
        let said = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        assert!(said.contains("6 steps per day"), "{said}");
        let mut exporter = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
        let refused = exporter.export(with_key(request(agent_trace(2)), &key)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("6 steps per day"), "{refused:?}");
        let run = json!({"model": "m", "input": "", "status": "success", "steps": [{"type": "tool_call"}]});
        let post = collector.client().post(collector.url("/runs")).json(&run).bearer_auth(&key);
        let answer = post.send().await.unwrap();
        assert_eq!(answer.status(), 403);
        let detail = answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("6 steps per day"), "{detail}");
        // A budget is not a matter of one process.
        collector.kill();
        collector.restart().await;
    }
    collector.command(&["keys", "quota", &key[4..12], "steps=9/day"]);
    let (changed, end) = (Instant::now(), Instant::now() + Duration::from_secs(5));
    while send(&collector, &key, 2).await.0.status() != 200 {
        assert!(Instant::now() < end, "a changed quota holds within 5 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("the changed quota held after {:?}", changed.elapsed());
    assert_eq!(send(&collector, &key, 3).await.0.status(), 403);
}
on_both_stores!(a_budget_is_used_by_what_is_stored_and_its_end_is_told_for_good);

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_rejected_spans_cost_no_steps() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let key = collector.make_key("thrifty", &["--quota", "steps=6/hour"]);
    for trace in [0, 0, 0, 0, 1] {
        assert_eq!(send(&collector, &key, trace).await.0.status(), 200);
    }
    assert_eq!(send(&collector, &key, 2).await.0.status(), 503);
    // Larger than all that may come in an hour: for good.
    let large = [agent_trace(3), agent_trace(4), agent_trace(5)].concat();
    let post = collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF).bearer_auth(&key);
    let answer = post.body(encoded(large)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (413, false));
}

async fn answers_to_runs_tell_what_is_left(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let quota = "requests=10/min,steps=100/min,steps=1000/day,bytes=unlimited";
    let key = collector.make_key("curious", &["--quota", quota]);
    let run = json!({"model": "m", "input": "", "status": "success", "steps": [{"type": "a"}, {"type": "b"}]});
    let post = collector.client().post(collector.url("/runs")).json(&run).bearer_auth(&key);
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let field = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(field("ratelimit-policy"), r#""requests";q=10;w=60, "steps";q=100;w=60, "steps-day";q=1000;w=86400"#);
    let left = field("ratelimit");
    let parts: Vec<&str> = left.split(", ").collect();
    assert!(parts[0].starts_with("\"requests\";r=9;t="), "{left}");
    assert!(parts[1].starts_with("\"steps\";r=9") && parts[2].starts_with("\"steps-day\";r=99"), "{left}");
}
on_both_stores!(answers_to_runs_tell_what_is_left);
