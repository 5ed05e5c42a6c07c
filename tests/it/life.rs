//! Start, stop, restart, and a database that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use vectoros::model::id::{hex, run_id_of_root};

use crate::collector::{Collector, OWN_FILE, PATIENCE, program};
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, run_id, span_id, text, trace_id};

#[tokio::test]
async fn the_first_start_prints_a_key_once_that_works_as_pasted() {
    let mut collector = Collector::launch(OWN_FILE, &[]);
    collector.wait_until_up().await;
    let log = collector.log();
    let pasted = |name: &str| {
        let line = log
            .lines()
            .find(|line| line.starts_with(&format!("export {name}=")))
            .unwrap_or_else(|| panic!("no {name} in {log}"));
        line.split_once('=').unwrap().1.to_owned()
    };
    assert_eq!(pasted("OTEL_EXPORTER_OTLP_ENDPOINT"), collector.url(""));
    let header = pasted("OTEL_EXPORTER_OTLP_HEADERS");
    let (name, value) = header.split_once('=').unwrap();
    let post =
        collector.client().post(format!("{}/v1/traces", pasted("OTEL_EXPORTER_OTLP_ENDPOINT"))).header(name, value);
    let answer =
        post.header("content-type", "application/x-protobuf").body(encoded(agent_trace(0))).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let curl = log.lines().find(|line| line.starts_with("curl ")).unwrap();
    let ran = std::process::Command::new("sh").args(["-c", &format!("{curl} -sf")]).output().unwrap();
    assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("run_id"), "{ran:?}");

    collector.stop();
    collector.restart().await;
    assert_eq!(collector.log().matches("export OTEL_EXPORTER_OTLP_HEADERS").count(), 1, "only once");
}

async fn what_was_acknowledged_survives_a_stop_under_load(url: &str) {
    let mut collector = Collector::start(url, &[]).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (client, url, key) = (collector.client().clone(), collector.url("/v1/traces"), collector.key.clone());
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                for number in 0..10_000 {
                    let body = encoded(agent_trace(sender * 1_000_000 + number));
                    let post =
                        client.post(&url).bearer_auth(&key).header("content-type", "application/x-protobuf").body(body);
                    match post.send().await {
                        Ok(answer) if answer.status() == 200 => acknowledged.fetch_add(1, Ordering::Relaxed),
                        _ => return,
                    };
                }
            })
        })
        .collect();
    let end = Instant::now() + PATIENCE;
    while acknowledged.load(Ordering::Relaxed) <= 10 {
        assert!(Instant::now() < end, "there is load");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = tokio::task::block_in_place(|| collector.stop());
    assert!(status.success(), "{status}: {}", collector.log());
    for sender in senders {
        sender.await.unwrap();
    }
    collector.restart().await;
    let mut stored = 0;
    let mut path = "/runs?limit=100".to_owned();
    loop {
        let (_, page) = collector.get(&path).await;
        stored += page["items"].as_array().unwrap().iter().filter(|run| run["step_count"] == 3).count() as u64;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/runs?limit=100&cursor={cursor}"),
            None => break,
        }
    }
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    assert!(stored >= acknowledged, "{acknowledged} acknowledged, {stored} stored");
}
on_both_stores!(what_was_acknowledged_survives_a_stop_under_load);

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_and_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut collector = Collector::launch(&format!("postgres://x@{nobody}/x"), &[]);
    let end = Instant::now() + PATIENCE;
    let text = loop {
        if let Ok(answer) = collector.client().get(collector.url("/readyz")).send().await {
            assert_eq!(answer.status(), 503);
            let text = answer.text().await.unwrap();
            if text.contains("database is away") {
                break text;
            }
        }
        assert!(Instant::now() < end, "{}", collector.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!text.contains('@'), "no part of the URL: {text}");
    assert_eq!(collector.client().get(collector.url("/healthz")).send().await.unwrap().status(), 200);
    let post = collector
        .client()
        .post(collector.url("/v1/traces"))
        .bearer_auth("K")
        .header("content-type", "application/json");
    let refused = post.body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 503, "never 401 while the keys cannot be checked");
    assert!(refused.headers().contains_key("retry-after"));
    assert!(collector.log().contains("waiting for the database"));
    assert!(collector.stop().success());
}

#[tokio::test]
async fn wrong_settings_end_with_code_2_and_name_the_setting() {
    for (name, value, named) in [
        ("VECTOROS_SERVER__HTTP", "nowhere", "server.http"),
        ("VECTOROS_RUNS__SETTEL", "1s", "settel"),
        ("DATABASE_URL", "mysql://x", "database.url"),
        ("VECTOROS_CONFIG", "/does/not/exist.toml", "/does/not/exist.toml"),
    ] {
        let done = program().arg("check").env(name, value).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr).to_lowercase();
        assert_eq!(done.status.code(), Some(2), "{name}: {error}");
        assert!(error.contains(named) && error.trim().lines().count() == 1, "{name}: {error}");
    }
    assert_eq!(program().arg("juggle").output().unwrap().status.code(), Some(2));
    let done = program().args(["keys", "create", "--project", "p", "--quota", "steps=many"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
}

async fn keys_are_listed_without_their_secret(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let key = collector.make_key("shop", &["--name", "till 3", "--expires", "90d", "--quota", "requests=600/min"]);
    let listed = collector.command(&["keys", "list", "--json"]);
    assert!(!listed.contains(&key[13..45]), "{listed}");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let entry = listed.as_array().unwrap().iter().find(|entry| entry["id"] == key[4..12]).unwrap();
    assert_eq!((&entry["project"], &entry["name"]), (&json!("shop"), &json!("till 3")));
    assert_eq!(entry["quota"], json!({"requests": "600/min"}));
    assert!(entry["expires_at"].is_string());
    assert!(collector.command(&["keys", "list"]).contains("till 3"));
    assert!(collector.command(&["check"]).contains("fine"));
    let remapped = collector.command(&["remap", "--since", "2026-11-01", "--project", "shop"]);
    assert_eq!(remapped, "done: 0 steps mapped again, 0 changed, 0 runs assembled\n");
    collector.command(&["keys", "quota", &key[4..12], "steps=5/s"]);
    let listed: serde_json::Value = serde_json::from_str(&collector.command(&["keys", "list", "--json"])).unwrap();
    let entry = listed.as_array().unwrap().iter().find(|entry| entry["id"] == key[4..12]).unwrap();
    assert_eq!(entry["quota"], json!({"requests": "600/min", "steps": "5/s"}), "what is not named stays");
}
on_both_stores!(keys_are_listed_without_their_secret);

async fn a_call_that_another_trace_shows_leaves_the_list_and_can_be_read(url: &str) {
    let settings = [("VECTOROS_RUNS__SETTLE", "100ms"), ("VECTOROS_RUNS__ORPHAN_IDLE", "1s")];
    let collector = Collector::start(url, &settings).await;
    let mut agent = agent_trace(0);
    agent[1].attributes.push(text("gen_ai.response.id", "chatcmpl-1"));
    // The client library's own span of the same call, in a trace of its own.
    let mut client = Span { parent_span_id: vec![], trace_id: trace_id(1), ..agent[1].clone() };
    client.start_time_unix_nano += 1_000_000;
    assert_eq!(collector.post_otlp("application/x-protobuf", encoded(vec![client])).await.0, 200);
    assert_eq!(collector.post_otlp("application/x-protobuf", encoded(agent)).await.0, 200);
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, page) = collector.get("/runs").await;
        let runs = page["items"].as_array().unwrap();
        if runs.len() == 1 {
            assert_eq!(runs[0]["run_id"], run_id(0));
            break;
        }
        assert!(Instant::now() < end, "{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, copy) = collector.get(&format!("/runs/{}", run_id(1))).await;
    assert_eq!((status, &copy["run"]["metadata"]["duplicate_of_run"]), (200, &json!(run_id(0))));
    assert_eq!(copy["run"]["tokens"], 15);
    let (_, original) = collector.get(&format!("/runs/{}", run_id(0))).await;
    assert_eq!(original["run"]["metadata"].get("duplicate_of_run"), None);
}
on_both_stores!(a_call_that_another_trace_shows_leaves_the_list_and_can_be_read);

async fn a_service_may_have_a_run_for_each_invocation(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_RUNS__GENAI_ROOT_SERVICES", r#"["wea*"]"#)]).await;
    let mut spans = agent_trace(0);
    let session = Span { name: "session".into(), span_id: span_id(7), attributes: vec![], ..spans[0].clone() };
    spans[0].parent_span_id = span_id(7);
    let late = spans.remove(0);
    spans.push(session);
    let root = |number| run_id_of_root(run_id(0).parse().unwrap(), &hex(&span_id(number))).to_string();
    // Without their agent the two steps wait for it, each a run.
    assert_eq!(collector.post_otlp("application/x-protobuf", encoded(spans)).await.0, 200);
    let (_, page) = collector.get("/runs").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
    assert_eq!(collector.post_otlp("application/x-protobuf", encoded(vec![late])).await.0, 200);
    let (_, page) = collector.get("/runs").await;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["run_id"]), (1, &json!(root(0))), "{page}");
    let (status, shown) = collector.get(&format!("/runs/{}", root(0))).await;
    assert_eq!((status, &shown["run"]["run_id"]), (200, &json!(root(0))));
    assert_eq!((&shown["run"]["step_count"], &shown["run"]["tokens"]), (&json!(3), &json!(15)));
    assert_eq!(shown["tree"][0]["children"].as_array().unwrap().len(), 2);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let old =
        client.get(collector.url(&format!("/runs/{}", root(1)))).bearer_auth(&collector.key).send().await.unwrap();
    assert_eq!(
        (old.status().as_u16(), old.headers()["location"].to_str().unwrap()),
        (307, &*format!("/runs/{}", root(0)))
    );
    let (_, trace) = collector.get(&format!("/runs/{}", run_id(0))).await;
    assert_eq!(trace["run"]["step_count"], 4, "the whole trace can be read");
}
on_both_stores!(a_service_may_have_a_run_for_each_invocation);

async fn metrics_count_what_happened(url: &str) {
    let collector = Collector::start(url, &[]).await;
    collector.post_otlp("application/x-protobuf", encoded(agent_trace(0))).await;
    collector.post_otlp("application/x-protobuf", encoded(agent_trace(0))).await;
    collector.post_otlp("text/plain", vec![]).await;
    let text = collector.client().get(collector.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for line in [
        "otelcol_receiver_accepted_spans_total{transport=\"http\"} 6",
        "vectoros_inserted_steps_total 3",
        "vectoros_duplicate_steps_total 3",
        "vectoros_refused_requests_total{transport=\"http\",reason=\"unsupported\"} 1",
        "vectoros_ready 1",
        "vectoros_queue_bytes 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}
on_both_stores!(metrics_count_what_happened);
