//! Paths, methods and ports: OTLP-01 to OTLP-13.

use figment::Figment;
use figment::providers::{Format, Toml};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;

use super::client::{
    JSON, LOGS_SERVICE, METRICS_SERVICE, PROTOBUF, TRACE_SERVICE, TRACES, ask, call, export, framed, is_long, over_h2,
    post, post_with, runs_stored,
};
use super::refusals;
use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, request, run_id};

/// One item of each signal with every level filled, in the form of the specification's examples.
fn examples() -> [(&'static str, Value); 3] {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]});
    let scope = json!({"name": "my.library", "version": "1.0.0", "attributes": [
        {"key": "my.scope.attribute", "value": {"stringValue": "some scope attribute"}}]});
    let attributes = json!([
        {"key": "text", "value": {"stringValue": "a"}}, {"key": "truth", "value": {"boolValue": true}},
        {"key": "count", "value": {"intValue": "10"}}, {"key": "share", "value": {"doubleValue": 637.704}},
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "many"}, {"stringValue": "values"}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [
            {"key": "some.map.key", "value": {"stringValue": "some value"}}]}}},
    ]);
    let (trace_id, span_id) = ("5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174");
    let time = "1793491200000000000";
    let span = json!({"traceId": trace_id, "spanId": span_id, "parentSpanId": "EEE19B7EC3C1B173", "name": "I'm a server span",
        "startTimeUnixNano": time, "endTimeUnixNano": "1793491201000000000", "kind": 2, "attributes": attributes});
    let record = json!({"timeUnixNano": time, "observedTimeUnixNano": time, "severityNumber": 10, "severityText": "Information",
        "traceId": trace_id, "spanId": span_id, "body": {"stringValue": "Example log record"}, "attributes": attributes});
    let point = json!({"asDouble": 5, "startTimeUnixNano": time, "timeUnixNano": time, "attributes": attributes});
    let sum = json!({"name": "my.counter", "unit": "1", "description": "I am a Counter",
        "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point]}});
    [
        (
            "/v1/traces",
            json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [span]}]}]}),
        ),
        (
            "/v1/logs",
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [record]}]}]}),
        ),
        (
            "/v1/metrics",
            json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": [sum]}]}]}),
        ),
    ]
}

async fn otlp_01_the_three_paths_take_the_examples(url: &str) {
    let collector = Collector::start(url, &[]).await;
    for (path, example) in examples() {
        let answer = post(&collector, path, JSON, example.to_string().as_bytes()).await;
        assert_eq!((answer.status, answer.text()), (200, "{}"), "{path}");
    }
    let (status, run) = collector.get("/runs/5b8efff7-9803-8103-d269-b633813fc60c").await;
    assert_eq!((status, &run["tree"][0]["name"]), (200, &json!("I'm a server span")), "{run:#}");
    assert_eq!(run["tree"][0]["metadata"]["logs"].as_array().map(Vec::len), Some(1), "{run:#}");
}
on_both_stores!(otlp_01_the_three_paths_take_the_examples);

#[tokio::test]
async fn otlp_02_the_three_services_export() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let log = opentelemetry_proto::tonic::logs::v1::LogRecord::default();
    let scope_logs = opentelemetry_proto::tonic::logs::v1::ScopeLogs { log_records: vec![log], ..Default::default() };
    let logs = opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest {
        resource_logs: vec![opentelemetry_proto::tonic::logs::v1::ResourceLogs {
            scope_logs: vec![scope_logs],
            ..Default::default()
        }],
    };
    // resource_metrics { scope_metrics { metrics { name: "m" sum { data_points {} } } } }
    let metrics = [0x0a, 0x0b, 0x12, 0x09, 0x12, 0x07, 0x0a, 0x01, b'm', 0x3a, 0x02, 0x0a, 0x00];
    for (method, message) in [
        (TRACE_SERVICE, encoded(agent_trace(0))),
        (LOGS_SERVICE, logs.encode_to_vec()),
        (METRICS_SERVICE, metrics.to_vec()),
    ] {
        let answer = export(&collector, method, &message).await;
        assert_eq!((answer.http, answer.code()), (200, 0), "{method}: {answer:?}");
        assert_eq!(answer.body, framed(0, &[]), "{method}");
    }
    assert_eq!(runs_stored(&collector).await, 1);
    // All three answers are the same message: nothing.
    assert!(ExportTraceServiceResponse::default().encode_to_vec().is_empty());
    assert!(ExportLogsServiceResponse::default().encode_to_vec().is_empty());
    assert!(ExportMetricsServiceResponse::default().encode_to_vec().is_empty());
}

/// Another program of this machine may hold the ports; then they are compared in the settings alone.
#[tokio::test]
async fn otlp_03_the_default_ports_are_4317_and_4318() {
    let defaults = Figment::from(Toml::string(vectoros::config::DEFAULT_TOML));
    let address = |setting: &str| defaults.extract_inner::<String>(setting).unwrap();
    assert_eq!((address("server.http"), address("server.grpc")), ("127.0.0.1:4318".into(), "127.0.0.1:4317".into()));
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    if !(is_free(4317) && is_free(4318)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::from(crate::collector::program())
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + crate::collector::PATIENCE;
    while tokio::net::TcpStream::connect("127.0.0.1:4317").await.is_err()
        || tokio::net::TcpStream::connect("127.0.0.1:4318").await.is_err()
    {
        assert!(child.try_wait().unwrap().is_none(), "it ended: is somebody else faster at the ports?");
        assert!(std::time::Instant::now() < end, "the default ports do not answer");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let answer = ask("127.0.0.1:4318".parse().unwrap(), "GET", "/healthz", &[], b"").await;
    assert_eq!(answer.status, 200);
    let refused = call("127.0.0.1:4317".parse().unwrap(), TRACE_SERVICE, &[], framed(0, &[])).await;
    assert!([Code::Unauthenticated as i32, Code::Unavailable as i32].contains(&refused.code()), "{refused:?}");
    child.kill().await.unwrap();
}

async fn otlp_04_both_encodings_on_one_path_give_the_same_rows(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let other = collector.make_key("other", &[]);
    let protobuf = post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await;
    assert_eq!((protobuf.status, protobuf.body.as_slice()), (200, &b""[..]));
    let bearer = format!("Bearer {other}");
    let headers = [("authorization", bearer.as_str()), ("content-type", JSON)];
    let body = serde_json::to_vec(&request(agent_trace(0))).unwrap();
    assert_eq!(ask(collector.http, "POST", TRACES, &headers, &body).await.status, 200);
    let path = format!("/runs/{}", run_id(0));
    let (mut first, mut second) = (collector.get(&path).await.1, collector.get_with(&other, &path).await.1);
    for detail in [&mut first, &mut second] {
        for field in ["created_at", "updated_at"] {
            assert!(detail["run"].as_object_mut().unwrap().remove(field).is_some());
        }
    }
    assert_eq!(first["stats"]["total_steps"], 3);
    assert_eq!(first, second);
}
on_both_stores!(otlp_04_both_encodings_on_one_path_give_the_same_rows);

#[tokio::test]
async fn otlp_05_either_port_speaks_both_protocols() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    for (number, port) in [(0, collector.http), (1, collector.grpc)] {
        let message = framed(0, &encoded(agent_trace(number)));
        let answer = call(port, TRACE_SERVICE, &[("authorization", &bearer)], message).await;
        assert_eq!(answer.code(), 0, "gRPC on {port}");
        let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
        let answer = ask(port, "POST", TRACES, &headers, &encoded(agent_trace(2 + number))).await;
        assert_eq!(answer.status, 200, "HTTP on {port}");
    }
    assert_eq!(runs_stored(&collector).await, 4);
}

#[tokio::test]
async fn otlp_06_one_port_speaks_http_1_and_2() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200);
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    for (number, port) in [(1, collector.http), (2, collector.grpc)] {
        let answer = over_h2(port, TRACES, &headers, encoded(agent_trace(number))).await.unwrap();
        assert_eq!((answer.http, answer.body.len()), (200, 0), "HTTP/2 with prior knowledge on {port}");
    }
    assert_eq!(runs_stored(&collector).await, 3);
}

#[tokio::test]
async fn otlp_07_signals_that_are_not_taken_are_refused_visibly() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    for path in ["/v1development/profiles", "/v1/profiles", "/v2/traces", "/v1/trace", "/otlp/v1development/profiles"] {
        for content_type in [PROTOBUF, JSON] {
            let answer = post(&collector, path, content_type, &encoded(agent_trace(0))).await;
            assert_eq!((answer.status, answer.header("content-type")), (404, content_type), "{path}");
            assert!(!answer.rpc_status().message.is_empty(), "{path}");
        }
    }
    for method in [
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
    ] {
        let answer = export(&collector, method, &encoded(agent_trace(0))).await;
        assert_eq!((answer.http, answer.code()), (200, Code::Unimplemented as i32), "{method}");
    }
    assert_eq!(runs_stored(&collector).await, 0);
}

#[tokio::test]
async fn otlp_08_slashes_too_many_are_taken_without_a_redirect() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let paths =
        ["/v1/traces/", "//v1/traces", "//v1/traces/", "/otlp/v1/traces/", "//otlp//v1/traces", "///v1//traces"];
    for (number, path) in paths.iter().enumerate() {
        let answer = post(&collector, path, PROTOBUF, &encoded(agent_trace(number as u64))).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
    assert_eq!(runs_stored(&collector).await, paths.len());
}

#[tokio::test]
async fn otlp_10_other_prefixes_are_taken_and_one_may_be_set() {
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_SERVER__PATH_PREFIX", "/team/collector")]).await;
    let prefixes = ["", "/otel", "/api/public/otel", "/otlp", "/v1/private/otel", "/team/collector"];
    for prefix in prefixes {
        for (path, example) in examples() {
            let answer = post(&collector, &format!("{prefix}{path}"), JSON, example.to_string().as_bytes()).await;
            assert_eq!(answer.status, 200, "{prefix}{path}");
        }
    }
    assert_eq!(post(&collector, "/team/v1/traces", JSON, b"{}").await.status, 404);
    let (status, run) = collector.get("/team/collector/runs/5b8efff7-9803-8103-d269-b633813fc60c").await;
    assert_eq!((status, &run["stats"]["total_steps"]), (200, &json!(1)), "{run:#}");
}

#[tokio::test]
async fn otlp_11_a_post_to_the_root_is_told_the_path() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    for content_type in [PROTOBUF, JSON] {
        let answer = post(&collector, "/", content_type, &encoded(agent_trace(0))).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, content_type));
        assert!(answer.rpc_status().message.contains("/v1/traces"), "{answer:?}");
    }
}

#[tokio::test]
async fn otlp_12_a_browser_is_told_what_this_is() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let root = ask(collector.http, "GET", "/", &[], b"").await;
    assert_eq!(root.status, 200, "{root:?}");
    assert!(root.header("content-type").starts_with("text/plain") && !root.body.is_empty(), "{root:?}");
    let version = env!("CARGO_PKG_VERSION");
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics", "/otlp/v1/traces", "/v1/traces/"] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = ask(collector.http, method, path, &[], b"").await;
            assert_eq!((answer.status, answer.header("allow")), (405, "POST, OPTIONS"), "{method} {path}");
            assert!(!answer.rpc_status().message.is_empty());
            assert!(!answer.text().contains(version), "{}", answer.text());
        }
    }
    assert!(!root.text().contains(version), "no version: {}", root.text());
}

#[tokio::test]
async fn otlp_09_no_ingest_path_redirects() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let methods: &[&str] = if is_long() { &["GET", "POST", "PUT", "HEAD", "PATCH"] } else { &["GET", "POST", "PUT"] };
    let mut asked = 0;
    for prefix in ["", "/", "/otel", "/api/public/otel", "/otlp", "/v1/private/otel"] {
        for path in ["/v1/traces", "/v1/logs/", "/v1/metrics", "/v1//traces", "/v1/traces//", "/v1/nothing", "/v1", "/"]
        {
            for method in methods {
                let bearer = format!("Bearer {}", collector.key);
                let headers = [("authorization", bearer.as_str()), ("content-type", JSON)];
                let path = format!("{prefix}{path}");
                let answer = ask(collector.http, method, &path, &headers, if *method == "POST" { b"{}" } else { b"" });
                let answer = answer.await;
                assert!(!(300..400).contains(&answer.status), "{method} {path}: {}", answer.status);
                assert!(!answer.has("location"), "{method} {path}");
                asked += 1;
            }
        }
    }
    for path in ["/runs", "/runs/", "/runs//", "//runs"] {
        let answer = post_with(&collector, path, JSON, &[], br#"{"model":"m","input":"i","status":"success"}"#).await;
        assert!(!(300..400).contains(&answer.status), "POST {path}: {}", answer.status);
    }
    assert!(asked >= 144);
}

#[tokio::test]
async fn otlp_09_no_refusal_redirects() {
    let collector = Collector::start(OWN_FILE, &refusals::SETTINGS).await;
    for refused in refusals::over_http(&collector).await {
        assert!(!(300..400).contains(&refused.answer.status), "{}: {}", refused.what, refused.answer.status);
    }
}

#[tokio::test]
async fn otlp_13_every_client_error_is_a_status_in_an_encoding_of_otlp() {
    let collector = Collector::start(OWN_FILE, &refusals::SETTINGS).await;
    let mut seen = std::collections::BTreeSet::new();
    for refused in refusals::over_http(&collector).await {
        let status = refused.answer.rpc_status();
        assert!(!status.message.is_empty(), "{}", refused.what);
        assert_eq!(refused.answer.header("content-type"), refused.asked_in, "{}", refused.what);
        seen.insert(refused.answer.status);
    }
    let client_errors: Vec<_> = seen.into_iter().filter(|status| (400..500).contains(status)).collect();
    assert_eq!(client_errors, [400, 401, 403, 404, 405, 413, 415]);
}
