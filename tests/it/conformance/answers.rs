//! Success, partial success and errors: OTLP-29 to OTLP-40. OTLP-41 is tested where a panic can be caused.

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;

use super::client::{GrpcAnswer, JSON, PROTOBUF, TRACE_SERVICE, TRACES, call, export, framed, post, runs_stored};
use super::http2::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Http2, grpc_block};
use super::refusals;
use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;
use crate::spans::{START_NS, agent_trace, encoded, request, run_id, span_id, text, trace_id};

/// What an answer in protobuf says was rejected.
fn partial(body: &[u8]) -> ExportTracePartialSuccess {
    ExportTraceServiceResponse::decode(body).unwrap().partial_success.expect("a partial success")
}

/// The message of an OK of gRPC.
fn message(answer: &GrpcAnswer) -> &[u8] {
    assert_eq!((answer.http, answer.code()), (200, 0), "{answer:?}");
    let body = answer.body.as_slice();
    assert_eq!(framed(0, &body[5..]), body, "one message, not compressed");
    &body[5..]
}

/// `count` spans of one trace, each with a marker in its name.
fn spans(count: u64) -> Vec<Span> {
    let span = |number| Span {
        trace_id: trace_id(0),
        span_id: span_id(number),
        name: format!("secret-{number}"),
        start_time_unix_nano: START_NS,
        end_time_unix_nano: START_NS + 1,
        attributes: vec![text("token", "secret-value")],
        ..Span::default()
    };
    (0..count).map(span).collect()
}

async fn otlp_29_an_empty_request_is_a_success(url: &str) {
    let collector = Collector::start(url, &[]).await;
    // Nothing; an empty resource_spans; an empty scope_spans in one; a resource alone; schema URLs alone.
    for body in [&b""[..], &[0x0a, 0], &[0x0a, 2, 0x12, 0], &[0x0a, 2, 0x0a, 0], &[0x0a, 3, 0x1a, 1, b's']] {
        for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
            let answer = post(&collector, path, PROTOBUF, body).await;
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]), "{path} {body:?}");
        }
        assert_eq!(message(&export(&collector, TRACE_SERVICE, body).await), b"", "{body:?}");
    }
    for (path, resources, scopes, items) in [
        ("/v1/traces", "resourceSpans", "scopeSpans", "spans"),
        ("/v1/logs", "resourceLogs", "scopeLogs", "logRecords"),
        ("/v1/metrics", "resourceMetrics", "scopeMetrics", "metrics"),
    ] {
        for body in [
            json!({}),
            json!({resources: []}),
            json!({resources: [{}]}),
            json!({resources: [{scopes: []}]}),
            json!({resources: [{scopes: [{items: []}]}]}),
        ] {
            let answer = post(&collector, path, JSON, body.to_string().as_bytes()).await;
            assert_eq!((answer.status, answer.text()), (200, "{}"), "{path} {body}");
        }
        for no_json in [&b""[..], b" ", b"\n"] {
            let answer = post(&collector, path, JSON, no_json).await;
            assert_eq!((answer.status, answer.rpc_status().code), (400, Code::InvalidArgument as i32), "{no_json:?}");
        }
    }
    assert_eq!(runs_stored(&collector).await, 0);
}
on_both_stores!(otlp_29_an_empty_request_is_a_success);

async fn otlp_30_bad_items_are_counted_and_the_others_stored(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let mut all = spans(100);
    all[7].trace_id = vec![1; 8];
    all[50].span_id = vec![0; 8];
    all[99].span_id = vec![];
    let with_trace = |number: u64| {
        let mut all = all.clone();
        all.iter_mut().filter(|span| span.trace_id.len() == 16).for_each(|span| span.trace_id = trace_id(number));
        all
    };
    let answer = post(&collector, TRACES, PROTOBUF, &encoded(with_trace(0))).await;
    assert_eq!((answer.status, partial(&answer.body).rejected_spans), (200, 3));
    let answer = export(&collector, TRACE_SERVICE, &encoded(with_trace(1))).await;
    assert_eq!(partial(message(&answer)).rejected_spans, 3);
    let body = serde_json::to_vec(&request(with_trace(2))).unwrap();
    let answer = post(&collector, TRACES, JSON, &body).await;
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &said["partialSuccess"]["rejectedSpans"]), (200, &json!("3")));
    for number in 0..3 {
        let (_, run) = collector.get(&format!("/runs/{}", run_id(number))).await;
        assert_eq!(run["stats"]["total_steps"], 97, "{number}");
    }
}
on_both_stores!(otlp_30_bad_items_are_counted_and_the_others_stored);

#[tokio::test]
async fn otlp_31_full_success_leaves_partial_success_unset() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let answer = post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let body = serde_json::to_vec(&request(agent_trace(1))).unwrap();
    let answer = post(&collector, TRACES, JSON, &body).await;
    assert_eq!((answer.status, answer.text()), (200, "{}"));
    assert_eq!(message(&export(&collector, TRACE_SERVICE, &encoded(agent_trace(2))).await), b"");
    // Copies are a full success too.
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.body, b"");
}

#[tokio::test]
async fn otlp_32_the_message_of_a_partial_success_is_short_and_useful() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let mut bad = spans(10_000);
    bad.iter_mut().for_each(|span| span.trace_id = b"secret-id".to_vec());
    let check = |rejected: i64, text: &str| {
        assert_eq!(rejected, 10_000);
        assert!(text.len() <= 1024, "{} bytes: {text}", text.len());
        assert!(!text.contains("secret") && !text.contains("c2VjcmV0") && !text.contains("7365637265"), "{text}");
        for index in 0..5 {
            assert!(text.contains(&format!("spans[{index}]")), "the first five with their path: {text}");
        }
        assert!(!text.contains("spans[5]"), "only the first five: {text}");
        assert!(text.contains("traceId") && text.contains("16"), "what is wrong and what is right: {text}");
    };
    let answer = post(&collector, TRACES, PROTOBUF, &encoded(bad.clone())).await;
    assert!(answer.status == 200 && answer.body.len() < 4096, "{} bytes", answer.body.len());
    let said = partial(&answer.body);
    check(said.rejected_spans, &said.error_message);
    let answer = post(&collector, TRACES, JSON, &serde_json::to_vec(&request(bad.clone())).unwrap()).await;
    assert!(answer.body.len() < 4096, "{} bytes", answer.body.len());
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    let said = &said["partialSuccess"];
    check(said["rejectedSpans"].as_str().unwrap().parse().unwrap(), said["errorMessage"].as_str().unwrap());
    let said = partial(message(&export(&collector, TRACE_SERVICE, &encoded(bad)).await));
    check(said.rejected_spans, &said.error_message);
}

#[tokio::test]
async fn otlp_33_warnings_are_said_only_when_wanted() {
    let mut flagged = agent_trace(0);
    flagged[0].parent_span_id = flagged[0].span_id.clone();
    flagged[1].links =
        vec![opentelemetry_proto::tonic::trace::v1::span::Link { trace_id: vec![1; 3], ..Default::default() }];
    let quiet = Collector::start(OWN_FILE, &[]).await;
    let answer = post(&quiet, TRACES, PROTOBUF, &encoded(flagged.clone())).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]));
    let body = serde_json::to_vec(&request(flagged.clone())).unwrap();
    assert_eq!(post(&quiet, TRACES, JSON, &body).await.text(), "{}");

    let warning = Collector::start(OWN_FILE, &[("VECTOROS_INGEST__WARNINGS", "true")]).await;
    let said = partial(&post(&warning, TRACES, PROTOBUF, &encoded(flagged.clone())).await.body);
    assert!(said.rejected_spans == 0 && !said.error_message.is_empty(), "{said:?}");
    let said = partial(message(&export(&warning, TRACE_SERVICE, &encoded(flagged)).await));
    assert!(said.rejected_spans == 0 && !said.error_message.is_empty(), "{said:?}");
    let said: Value = serde_json::from_slice(&post(&warning, TRACES, JSON, &body).await.body).unwrap();
    let said = &said["partialSuccess"];
    assert!(said["errorMessage"].as_str().is_some_and(|text| !text.is_empty()), "{said}");
    assert!(said.get("rejectedSpans").is_none_or(|rejected| rejected == "0"), "{said}");
    let clean = post(&warning, TRACES, PROTOBUF, &encoded(agent_trace(1))).await;
    assert_eq!(clean.body, b"", "nothing to warn of");
}

#[tokio::test]
async fn otlp_34_a_request_of_bad_items_alone_is_still_a_success() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let mut bad = spans(10);
    bad.iter_mut().for_each(|span| (span.trace_id, span.span_id) = (vec![0; 16], vec![0; 8]));
    let answer = post(&collector, TRACES, PROTOBUF, &encoded(bad.clone())).await;
    assert_eq!((answer.status, partial(&answer.body).rejected_spans), (200, 10));
    let answer = post(&collector, TRACES, JSON, &serde_json::to_vec(&request(bad.clone())).unwrap()).await;
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &said["partialSuccess"]["rejectedSpans"]), (200, &json!("10")));
    assert_eq!(partial(message(&export(&collector, TRACE_SERVICE, &encoded(bad)).await)).rejected_spans, 10);
    assert_eq!(post(&collector, TRACES, PROTOBUF, &[0xff; 10]).await.status, 400);
    assert_eq!(runs_stored(&collector).await, 0);
}

#[tokio::test]
async fn otlp_35_errors_are_a_status_with_the_code_that_fits() {
    let collector = Collector::start(OWN_FILE, &refusals::SETTINGS).await;
    for refused in refusals::over_http(&collector).await {
        let status = refused.answer.rpc_status();
        let code = match refused.answer.status {
            400 => Code::InvalidArgument,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 | 405 | 415 => Code::Unimplemented,
            413 => Code::ResourceExhausted,
            503 => Code::Unavailable,
            other => panic!("{}: {other}", refused.what),
        };
        assert!([0, code as i32].contains(&status.code), "{}: {status:?}", refused.what);
        assert!(!status.message.is_empty(), "{}", refused.what);
    }
}

#[tokio::test]
async fn otlp_36_undecodable_bodies_are_400_with_a_violation() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let good = encoded(agent_trace(0));
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        let answer = post(&collector, path, PROTOBUF, &good[..good.len() - 1]).await;
        let status = answer.rpc_status();
        assert_eq!((answer.status, status.code), (400, Code::InvalidArgument as i32), "{path}");
        assert!(status.violations.len() == 1 && !status.violations[0].is_empty(), "{path}: {status:?}");
        for body in ["{", "[]", "{\"resourceSpans\":[", "nothing", "{}{}"] {
            let answer = post(&collector, path, JSON, body.as_bytes()).await;
            assert_eq!((answer.status, answer.rpc_status().violations.len()), (400, 1), "{path} {body}");
        }
    }
    assert_eq!(runs_stored(&collector).await, 0);
}

#[tokio::test]
async fn otlp_37_undecodable_messages_are_invalid_argument() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let good = encoded(agent_trace(0));
    for garbage in [&[0xff; 9][..], &good[..good.len() - 1], &[0x0a, 0x7f]] {
        let answer = export(&collector, TRACE_SERVICE, garbage).await;
        assert_eq!((answer.http, answer.code()), (200, Code::InvalidArgument as i32), "{garbage:?}");
        let details = answer.details().expect("grpc-status-details-bin");
        assert_eq!((details.code, details.violations.len()), (Code::InvalidArgument as i32, 1));
        assert_eq!(details.message, answer.message());
    }
}

#[tokio::test]
async fn otlp_38_errors_of_grpc_ride_on_200_in_small_and_clean_headers() {
    let collector = Collector::start(OWN_FILE, &refusals::SETTINGS).await;
    for refused in refusals::over_grpc(&collector).await {
        let answer = &refused.answer;
        assert_eq!(answer.http, 200, "{}", refused.what);
        let block = [Some(&answer.headers), answer.trailers.as_ref()].into_iter().flatten().flat_map(|map| map.iter());
        // As HTTP/2 counts them: 32 bytes for each besides its texts.
        let bytes: usize = block.map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes <= 2048, "{}: {bytes} bytes", refused.what);
        let sent = answer.end()["grpc-message"].as_bytes();
        assert!(sent.iter().all(|byte| (b' '..=b'~').contains(byte)), "{}: {sent:?}", refused.what);
        assert!(!answer.message().is_empty(), "{}", refused.what);
    }
    // Its text has a percent sign, a dash beyond ASCII and a line of its own to be encoded.
    let answer = call(collector.grpc, TRACE_SERVICE, &[], framed(0, b"")).await;
    let details = answer.details();
    assert!(answer.message().contains("%20") && !answer.message().is_ascii(), "{}", answer.message());
    assert!(details.is_none_or(|details| details.message == answer.message()));
    let sent = answer.end()["grpc-message"].to_str().unwrap().to_owned();
    assert!(sent.contains("%2520vos"), "{sent}");
}

/// The frames of one call's answer.
async fn frames_of(collector: &Collector, metadata: &[(&str, &str)], body: &[u8]) -> Vec<Frame> {
    let mut http2 = Http2::connect(collector.grpc).await;
    http2.send(HEADERS, END_HEADERS, 1, &grpc_block(TRACE_SERVICE, metadata)).await.unwrap();
    http2.send(DATA, END_STREAM, 1, body).await.unwrap();
    let mut frames =
        http2.read_until(|frame| frame.stream == 1 && frame.kind <= HEADERS && frame.flags & END_STREAM != 0).await;
    frames.retain(|frame| frame.stream == 1 && frame.kind <= HEADERS);
    frames
}

#[tokio::test]
async fn otlp_39_errors_of_grpc_are_one_frame_of_headers() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let used_up = format!("Bearer {}", collector.make_key("poor", &["--quota", "steps=1/day"]));
    let good = format!("Bearer {}", collector.key);
    let message = framed(0, &encoded(agent_trace(0)));
    for (what, key, body) in [
        ("a wrong key", "Bearer wrong", message.clone()),
        ("a damaged message", good.as_str(), framed(0, &[0xff; 9])),
        ("no message", good.as_str(), vec![]),
        ("a quota", used_up.as_str(), message),
    ] {
        let frames = frames_of(&collector, &[("authorization", key)], &body).await;
        assert_eq!(frames.len(), 1, "{what}: {frames:?}");
        assert_eq!((frames[0].kind, frames[0].flags & (END_STREAM | END_HEADERS)), (HEADERS, END_STREAM | END_HEADERS));
    }
}

#[tokio::test]
async fn otlp_40_ok_of_grpc_carries_a_message_though_it_is_empty() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    for body in [framed(0, b""), framed(0, &encoded(agent_trace(0)))] {
        let frames = frames_of(&collector, &[("authorization", &bearer)], &body).await;
        let data: Vec<u8> = frames.iter().filter(|frame| frame.kind == DATA).flat_map(|f| f.payload.clone()).collect();
        assert_eq!(data, [0, 0, 0, 0, 0], "{frames:?}");
        assert_eq!((frames.first().unwrap().kind, frames.last().unwrap().kind), (HEADERS, HEADERS), "{frames:?}");
    }
}
