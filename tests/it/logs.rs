//! Log records and metrics over sockets: by every transport, before and after their spans, with a restart between.

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use serde_json::{Value, json};
use tonic::Request;

use crate::collector::Collector;
use crate::database::on_both_stores;
use crate::spans::{START_NS, agent_trace, encoded, run_id, span_id, text, trace_id};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn list(pairs: Vec<KeyValue>) -> AnyValue {
    AnyValue { value: Some(Any::KvlistValue(KeyValueList { values: pairs })) }
}

/// What the model call of [`agent_trace`] was asked and answered.
pub fn messages(number: u64) -> Vec<LogRecord> {
    let record = |ms: u64, name: &str, body: AnyValue| LogRecord {
        observed_time_unix_nano: START_NS + ms * 1_000_000,
        event_name: name.into(),
        body: Some(body),
        trace_id: trace_id(number),
        span_id: span_id(1),
        ..LogRecord::default()
    };
    let answer = KeyValue {
        key: "message".into(),
        value: Some(list(vec![text("role", "assistant"), text("content", "It is 18 C.")])),
        ..KeyValue::default()
    };
    vec![
        record(3, "gen_ai.user.message", list(vec![text("content", "And in Paris?")])),
        record(40, "gen_ai.choice", list(vec![text("finish_reason", "stop"), answer])),
    ]
}

pub fn request(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope = Some(InstrumentationScope { name: "test.logs".into(), ..InstrumentationScope::default() });
    let scope_logs = vec![ScopeLogs { scope, log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

/// The model call as it is shown.
async fn call(collector: &Collector, number: u64) -> Value {
    let (status, run) = collector.get(&format!("/runs/{}", run_id(number))).await;
    assert_eq!(status, 200, "{run:#}");
    run["tree"][0]["children"][0].clone()
}

fn assert_joined(call: &Value) {
    let held = |field: &str, part: &str| call[field].as_str().is_some_and(|text| text.contains(part));
    assert!(held("input", "And in Paris?") && held("output", "It is 18 C."), "{call:#}");
    let logs = call["metadata"]["logs"].as_array().unwrap();
    assert_eq!((logs.len(), &logs[0]["scope"]), (2, &json!("test.logs")), "{call:#}");
    assert_eq!(call["metadata"]["finish_reason"], "stop");
}

async fn records_by_every_transport_join_their_span(url: &str) {
    let mut collector = Collector::start(url, &[]).await;
    let json = |number| serde_json::to_vec(&request(messages(number))).unwrap();
    // Before the spans: first in protobuf, then in JSON, then by gRPC on both ports.
    let protobuf = request(messages(0)).encode_to_vec();
    assert_eq!(collector.post_to("/v1/logs", PROTOBUF, protobuf).await, (200, vec![]));
    assert_eq!(collector.post_to("/v1/logs", JSON, json(1)).await, (200, b"{}".to_vec()));
    for (number, address) in [(2, collector.grpc), (3, collector.http)] {
        let mut client = LogsServiceClient::connect(format!("http://{address}")).await.unwrap();
        let answer = client.export(with_key(request(messages(number)), &collector.key)).await.unwrap();
        assert_eq!(answer.into_inner(), ExportLogsServiceResponse::default());
    }
    let (_, listed) = collector.get("/runs").await;
    assert_eq!(listed["items"], json!([]), "records alone are no run");
    collector.stop();
    collector.restart().await;
    for number in 0..4 {
        collector.post_otlp(PROTOBUF, encoded(agent_trace(number))).await;
        assert_joined(&call(&collector, number).await);
    }
    // After the spans, in two requests with a restart between, and once more.
    collector.post_otlp(PROTOBUF, encoded(agent_trace(4))).await;
    for record in messages(4).into_iter().rev() {
        collector.kill();
        collector.restart().await;
        collector.post_to("/v1/logs", PROTOBUF, request(vec![record]).encode_to_vec()).await;
    }
    assert_joined(&call(&collector, 4).await);
    let once = call(&collector, 4).await;
    assert_eq!(collector.post_to("/otlp/v1/logs/", JSON, json(4)).await, (200, b"{}".to_vec()));
    assert_eq!(call(&collector, 4).await, once, "a copy changes nothing");
    let (_, listed) = collector.get("/runs").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 5);
}
on_both_stores!(records_by_every_transport_join_their_span);

async fn a_bad_record_costs_only_itself(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_LIMITS__SPAN_ITEMS", "3")]).await;
    collector.post_otlp(PROTOBUF, encoded(vec![])).await;
    let mut records = messages(0);
    records[0].attributes = (0..4).map(|n| text(&format!("k{n}"), "v")).collect();
    let (status, body) = collector.post_to("/v1/logs", PROTOBUF, request(records.clone()).encode_to_vec()).await;
    let partial = ExportLogsServiceResponse::decode(&body[..]).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_log_records), (200, 1));
    assert!(partial.error_message.contains("logRecords[0]"), "{}", partial.error_message);
    let body = serde_json::to_vec(&request(records)).unwrap();
    let (status, body) = collector.post_to("/v1/logs", JSON, body).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["partialSuccess"]["rejectedLogRecords"]), (200, &json!("1")));
}
on_both_stores!(a_bad_record_costs_only_itself);

async fn records_count_for_the_quota_of_steps(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let limited = collector.make_key("small", &["--quota", "steps=3/hour"]);
    for (number, expected) in [(0, 200), (1, 503)] {
        let post = collector.client().post(collector.url("/v1/logs")).header("content-type", PROTOBUF);
        let body = request(messages(number)).encode_to_vec();
        assert_eq!(post.bearer_auth(&limited).body(body).send().await.unwrap().status(), expected);
    }
}
on_both_stores!(records_count_for_the_quota_of_steps);

async fn metrics_are_accepted_and_counted(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let body = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","sum":{"dataPoints":[{},{}]}}]}]}]}"#;
    assert_eq!(collector.post_to("/v1/metrics", JSON, body.into()).await, (200, b"{}".to_vec()));
    assert_eq!(collector.post_to("/v1/metrics", PROTOBUF, vec![]).await, (200, vec![]));
    assert_eq!(collector.post_to("/v1/metrics", PROTOBUF, vec![0xff]).await.0, 400);
    let mut client = MetricsServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let answer = client.export(with_key(ExportMetricsServiceRequest::default(), &collector.key)).await.unwrap();
    assert_eq!(answer.into_inner(), ExportMetricsServiceResponse::default());
    let shown = collector.client().get(collector.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains("otelcol_receiver_accepted_metric_points_total{transport=\"http\"} 2"), "{shown}");
}
on_both_stores!(metrics_are_accepted_and_counted);
