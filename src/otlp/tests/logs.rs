//! Log records and metrics in both encodings.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::{LogRecord as Sent, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric as SentMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use prost::Message;

use super::LIMITS;
use super::generate;
use super::protobuf::field;
use crate::model::log::LogRecord;
use crate::model::value::AnyValue;
use crate::otlp::{DecodeLimits, LogsRequest, Malformed, json, protobuf};

fn pair(key: &str, text: &str) -> KeyValue {
    generate::pair(key, Any::StringValue(text.to_owned()))
}

fn sent() -> Sent {
    Sent {
        time_unix_nano: 5,
        observed_time_unix_nano: 6,
        severity_number: 9,
        severity_text: "INFO".into(),
        event_name: "gen_ai.choice".into(),
        body: pair("", "said").value,
        attributes: vec![pair("k", "1"), pair("k", "2"), pair("a", "b")],
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
    }
}

fn request(records: Vec<Sent>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

fn from_protobuf(records: Vec<Sent>) -> LogsRequest {
    protobuf::decode_logs(&request(records).encode_to_vec(), LIMITS).unwrap()
}

fn records(request: &LogsRequest) -> Vec<&LogRecord> {
    request.groups.iter().flat_map(|group| &group.items).collect()
}

#[test]
fn both_encodings_of_a_record_are_one() {
    let sent_json = serde_json::to_string(&request(vec![sent()])).unwrap();
    let from_json = json::decode_logs(sent_json.as_bytes(), LIMITS).unwrap();
    let from_protobuf = from_protobuf(vec![sent()]);
    assert_eq!(from_json, from_protobuf);
    let text = |text: &str| AnyValue::Str(text.to_owned());
    let expected = LogRecord {
        time_ns: 5,
        observed_ns: 6,
        severity_number: 9,
        severity_text: "INFO".into(),
        event_name: "gen_ai.choice".into(),
        body: text("said"),
        attributes: vec![("a".into(), text("b")), ("k".into(), text("2"))],
        duplicate_attributes: vec![("k".into(), text("1"))],
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: Some([1; 16]),
        span_id: Some([2; 8]),
        unknown_fields: vec![],
        repairs: vec![],
    };
    assert_eq!(records(&from_protobuf), [&expected]);
}

#[test]
fn a_record_outlives_ids_that_cannot_be() {
    let with_ids = |trace_id: usize, span_id: usize, byte: u8| {
        let sent = Sent { trace_id: vec![byte; trace_id], span_id: vec![byte; span_id], ..sent() };
        let request = from_protobuf(vec![sent]);
        let record = records(&request)[0].clone();
        (record.trace_id.is_some(), record.span_id.is_some(), record.repairs)
    };
    assert_eq!(with_ids(0, 0, 1), (false, false, vec![]));
    assert_eq!(with_ids(16, 8, 0), (false, false, vec![]));
    assert_eq!(with_ids(15, 8, 1), (false, true, vec!["trace_id_length"]));
    assert_eq!(with_ids(16, 9, 1), (true, false, vec!["span_id_length"]));
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xyz","spanId":"01"}]}]}]}"#;
    let request = json::decode_logs(body.as_bytes(), LIMITS).unwrap();
    assert_eq!(records(&request)[0].repairs, ["span_id_length", "trace_id_length"]);
}

#[test]
fn a_bad_record_costs_itself() {
    let good = sent().encode_to_vec();
    let framed: Vec<u8> = [&good[..], &good[..good.len() - 1], &good].iter().flat_map(|log| field(2, log)).collect();
    let request = protobuf::decode_logs(&field(1, &field(2, &framed)), LIMITS).unwrap();
    assert_eq!((request.items(), request.rejections.count), (2, 1));
    assert_eq!(request.rejections.first[0].place, "resourceLogs[0].scopeLogs[0].logRecords[1]");
    let limits = DecodeLimits { spans_max: 1, ..LIMITS };
    let request = protobuf::decode_logs(&super::logs::request(vec![sent(), sent()]).encode_to_vec(), limits).unwrap();
    assert_eq!((request.items(), request.rejections.count), (1, 1));
}

#[test]
fn a_body_that_is_no_request_is_told_so() {
    let Malformed(message) = protobuf::decode_logs(&[0xff], LIMITS).unwrap_err();
    assert!(message.contains("logs request in protobuf"), "{message}");
    let Malformed(message) = json::decode_logs(br#"{"resourceLogs":5}"#, LIMITS).unwrap_err();
    assert!(message.contains("logs request in JSON"), "{message}");
}

#[test]
fn metrics_are_counted_by_their_points() {
    let gauge = Gauge { data_points: vec![NumberDataPoint::default(); 3] };
    let metric = SentMetric { name: "m".into(), data: Some(Data::Gauge(gauge)), ..SentMetric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric.clone(), metric], ..ScopeMetrics::default() }];
    let sent = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    };
    let text = serde_json::to_string(&sent).unwrap();
    for request in [
        protobuf::decode_metrics(&sent.encode_to_vec(), LIMITS).unwrap(),
        json::decode_metrics(text.as_bytes(), LIMITS).unwrap(),
    ] {
        let points: u64 = request.groups.iter().flat_map(|group| &group.items).map(|metric| metric.points).sum();
        assert_eq!((points, request.rejections.count), (6, 0));
    }
    let unknown = field(1, &field(2, &field(2, &field(99, b"x"))));
    assert_eq!(protobuf::decode_metrics(&unknown, LIMITS).unwrap().rejections.count, 1);
    assert!(protobuf::decode_metrics(b"\x0a", LIMITS).is_err());
}
