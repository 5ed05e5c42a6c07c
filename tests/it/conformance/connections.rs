//! Connections, shutdown and headers: OTLP-98 to OTLP-104. OTLP-97 is in `kill.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Code;

use super::client::{
    GrpcAnswer, Http1, JSON, PROTOBUF, TRACE_SERVICE, TRACES, ask, call, export, framed, gzip, head_bytes, is_long,
    on_h2, over_h2, post, post_with, request_bytes, runs_stored, within,
};
use super::http2::{GOAWAY, Http2};
use super::refusals;
use super::trouble::Stall;
use crate::collector::{Collector, OWN_FILE, PATIENCE};
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, run_id, span_id};

/// Sends like an exporter, again after every answer that says later and every connection that breaks, until it is
/// acknowledged. Permanent refusals are failures.
async fn deliver(client: &reqwest::Client, url: &str, key: &str, number: u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let post =
            client.post(url).bearer_auth(key).header("content-type", PROTOBUF).body(encoded(agent_trace(number)));
        match post.send().await {
            Ok(answer) if answer.status() == 200 => return,
            Ok(answer) => {
                assert_eq!(answer.status(), 503, "an exporter would drop it");
                assert!(answer.headers().contains_key("retry-after"));
            }
            Err(_) => {}
        }
        assert!(Instant::now() < end, "{number} is not taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn otlp_98_a_restart_under_load_loses_nothing(url: &str) {
    let mut collector = Collector::start(url, &[("VECTOROS_SERVER__SHUTDOWN_DELAY", "1s")]).await;
    collector.key = collector.make_key("default", &["--quota", "requests=unlimited"]);
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (client, url, key) = (collector.client().clone(), collector.url(TRACES), collector.key.clone());
            let (stop, next) = (stop.clone(), next.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    deliver(&client, &url, &key, next.fetch_add(1, Ordering::Relaxed)).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut watching = Http2::connect(collector.grpc).await;
    let begin = Instant::now();
    collector.terminate();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ready = ask(collector.http, "GET", "/readyz", &[], b"").await;
    assert_eq!(ready.status, 503, "load balancers are told");
    let taken = post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(1_000_000))).await;
    assert_eq!(taken.status, 200, "while data is still taken");
    let frames = watching.read_until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(frames.last().unwrap().goaway_code(), 0);
    // It would wait for this client, as long as the grace is.
    drop(watching);
    assert!(begin.elapsed() >= Duration::from_millis(900), "connections were ended after {:?}", begin.elapsed());
    let status = tokio::task::block_in_place(|| collector.stop());
    assert!(status.success() && begin.elapsed() < Duration::from_secs(25), "{status} after {:?}", begin.elapsed());
    collector.restart().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    let sent = next.load(Ordering::Relaxed);
    assert!(sent > 20, "there was load: {sent}");
    for number in 0..sent {
        let (status, run) = collector.get(&format!("/runs/{}", run_id(number))).await;
        assert_eq!((status, &run["stats"]["total_steps"]), (200, &serde_json::json!(3)), "{number} of {sent}");
    }
}
on_both_stores!(otlp_98_a_restart_under_load_loses_nothing);

#[tokio::test(flavor = "multi_thread")]
async fn otlp_98_requests_that_come_late_are_told_later() {
    let settings = [("VECTOROS_SERVER__SHUTDOWN_DELAY", "0s"), ("VECTOROS_SERVER__SHUTDOWN_GRACE", "5s")];
    let mut collector = Collector::start(OWN_FILE, &settings).await;
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    let body = encoded(agent_trace(0));
    // Two are half sent when the stop comes; they keep their connections, and the program, until they have an answer.
    let mut half = Http1::connect(collector.http).await;
    half.send(&head_bytes("POST", TRACES, &headers, Some(body.len() as u64))).await;
    half.send(&body[..50]).await;
    let mut other = Http1::connect(collector.http).await;
    other.send(&head_bytes("POST", TRACES, &headers, Some(body.len() as u64))).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    collector.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Who comes now is told to come again, and not met by a closed port, which some exporters do not retry.
    let late = ask(collector.http, "POST", TRACES, &headers, &body).await;
    assert_eq!((late.status, late.rpc_status().code), (503, Code::Unavailable as i32), "{late:?}");
    assert!(late.has("retry-after") && late.header("connection") == "close", "{late:?}");
    let answer = call(collector.http, TRACE_SERVICE, &headers[..1], framed(0, &body)).await;
    assert_eq!(answer.code(), Code::Unavailable as i32);
    assert!(answer.retry_info_s().is_some(), "{answer:?}");
    half.send(&body[50..]).await;
    let answer = half.answer().await;
    assert!([200, 503].contains(&answer.status), "{answer:?}");
    if answer.status == 503 {
        assert!(answer.has("retry-after") && answer.rpc_status().code == Code::Unavailable as i32, "{answer:?}");
    }
    assert_eq!(answer.header("connection"), "close");
    other.send(&body).await;
    assert!([200, 503].contains(&other.answer().await.status));
    assert!(tokio::task::block_in_place(|| collector.stop()).success());
}

#[tokio::test]
async fn otlp_99_one_slow_request_holds_no_other() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let stream = TcpStream::connect(collector.grpc).await.unwrap();
    let (sender, connection) = h2::client::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let bearer = format!("Bearer {}", collector.key);
    let metadata = [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", bearer.as_str())];
    // One call whose message does not come.
    let mut held = http::Request::post(format!("http://collector{TRACE_SERVICE}"));
    for (name, value) in metadata {
        held = held.header(name, value);
    }
    let (held, mut message) =
        sender.clone().ready().await.unwrap().send_request(held.body(()).unwrap(), false).unwrap();
    let calls = (0..100)
        .map(|number| on_h2(sender.clone(), TRACE_SERVICE, &metadata, framed(0, &encoded(agent_trace(number)))));
    let begin = Instant::now();
    for answer in within(futures_util::future::join_all(calls)).await {
        assert_eq!(answer.unwrap().code(), 0);
    }
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    message.send_data(framed(0, &encoded(agent_trace(100))).into(), true).unwrap();
    let (head, mut body) = within(held).await.unwrap().into_parts();
    while let Some(data) = body.data().await {
        data.unwrap();
    }
    let trailers = body.trailers().await.unwrap();
    let held = GrpcAnswer { http: head.status.as_u16(), headers: head.headers, body: vec![], trailers };
    assert_eq!(held.code(), 0);
    driver.abort();

    // HTTP/1.1, both requests in one write: both answers, in their order.
    let headers = [("authorization", bearer.as_str()), ("content-type", JSON)];
    let both = [request_bytes("POST", TRACES, &headers, b"{}"), request_bytes("POST", TRACES, &headers, b"{")].concat();
    let mut connection = Http1::connect(collector.http).await;
    connection.send(&both).await;
    assert_eq!((connection.answer().await.status, connection.answer().await.status), (200, 400));
    for number in 0..=100 {
        assert_eq!(collector.get(&format!("/runs/{}", run_id(number))).await.0, 200, "{number}");
    }
}

/// However small the batches are, a request is one transaction and has one answer.
async fn otlp_100_a_request_is_answered_once_for_all_its_parts(url: &str) {
    let settings = [
        ("VECTOROS_INGEST__BATCH_STEPS", "2"),
        ("VECTOROS_INGEST__BATCH_BYTES", "1KiB"),
        ("VECTOROS_INGEST__HOLD", "500ms"),
    ];
    let collector = Collector::start(url, &settings).await;
    let mut spans = agent_trace(0);
    for number in 10..210 {
        let mut step = spans[2].clone();
        step.span_id = span_id(number);
        spans.push(step);
    }
    let body = encoded(spans);
    let stall = Stall::begin(url).await;
    let answer = post(&collector, TRACES, PROTOBUF, &body).await;
    assert_eq!((answer.status, answer.rpc_status().code), (503, Code::Unavailable as i32));
    stall.end().await;
    let end = Instant::now() + PATIENCE;
    while post(&collector, TRACES, PROTOBUF, &body).await.status != 200 {
        assert!(Instant::now() < end, "{}", collector.log());
    }
    let (_, run) = collector.get(&format!("/runs/{}", run_id(0))).await;
    assert_eq!(run["stats"]["total_steps"], 203, "all of it, once");
}
on_both_stores!(otlp_100_a_request_is_answered_once_for_all_its_parts);

#[tokio::test]
async fn otlp_101_clients_that_break_off_leave_nothing_and_fill_no_log() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let body = encoded(agent_trace(0));
    let lines = |collector: &Collector| collector.log().lines().count();
    let before = lines(&collector);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    let head = head_bytes("POST", TRACES, &headers, Some(body.len() as u64));
    for number in 0..if is_long() { 10_000 } else { 1_000 } {
        let mut connection = Http1::connect(collector.http).await;
        connection.send(&head).await;
        connection.send(&body[..body.len() - 1]).await;
        if number % 2 == 0 {
            // A reset in place of an orderly end.
            connection.stream.set_zero_linger().unwrap();
        }
    }
    assert_eq!(post(&collector, TRACES, PROTOBUF, b"").await.status, 200);
    assert_eq!(runs_stored(&collector).await, 0);
    let more = lines(&collector) - before;
    assert!(more <= 10, "{more} lines: {}", collector.log());
    let end = Instant::now() + PATIENCE;
    loop {
        let counted = ask(collector.http, "GET", "/metrics", &[], b"").await;
        let counter = "vectoros_refused_requests_total{transport=\"http\",reason=\"malformed\"} ";
        let refused = counted.text().lines().find_map(|line| line.strip_prefix(counter)?.parse::<u64>().ok());
        // What is reset in the middle of its head or before it was accepted is no request yet.
        if refused.is_some_and(|refused| refused >= 450) {
            break;
        }
        assert!(Instant::now() < end, "{refused:?}: {}", counted.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn otlp_102_malformed_calls_are_told_what_is_wrong() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let key = [("authorization", bearer.as_str())];
    let message = encoded(agent_trace(0));
    let good = framed(0, &message);
    for method in ["/opentelemetry.proto.collector.trace.v1.TraceService/Nothing", "/some.Service/Export", "/x"] {
        let answer = call(collector.grpc, method, &key, good.clone()).await;
        assert_eq!((answer.http, answer.code()), (200, Code::Unimplemented as i32), "{method}");
        assert_eq!(answer.headers["content-type"], "application/grpc");
    }
    for content_type in ["application/json", "text/plain", "application/x-protobuf"] {
        let headers = [key[0], ("content-type", content_type)];
        let answer = over_h2(collector.grpc, TRACE_SERVICE, &headers, good.clone()).await.unwrap();
        assert_eq!(answer.http, 415, "{content_type}");
    }
    let zipped = [key[0], ("grpc-encoding", "gzip")];
    let whole = gzip(&message);
    for (what, metadata, body, code) in [
        ("two messages", &key[..], [good.as_slice(), &good].concat(), Code::InvalidArgument),
        ("no message", &key, vec![], Code::InvalidArgument),
        ("half a prefix", &key, vec![0, 0, 0], Code::InvalidArgument),
        ("a message that is cut", &key, good[..good.len() - 1].to_vec(), Code::InvalidArgument),
        ("a flag that is neither 0 nor 1", &key, framed(2, &message), Code::InvalidArgument),
        ("plain under the flag of gzip", &zipped, framed(1, &message), Code::InvalidArgument),
        ("gzip without its flag", &zipped, framed(0, &whole), Code::InvalidArgument),
    ] {
        let answer = call(collector.grpc, TRACE_SERVICE, metadata, body).await;
        assert_eq!((answer.http, answer.code()), (200, code as i32), "{what}: {}", answer.message());
    }
    // The flag of a compression that nobody named.
    let unnamed = call(collector.grpc, TRACE_SERVICE, &key, framed(1, &whole)).await;
    assert!([3, 12, 13].contains(&unnamed.code()), "{unnamed:?}");
    // Named, and this message is not compressed: that is allowed.
    assert_eq!(call(collector.grpc, TRACE_SERVICE, &zipped, good).await.code(), 0);
    assert_eq!(runs_stored(&collector).await, 1);
    assert!(!collector.log().contains("panicked"), "{}", collector.log());
}

#[tokio::test]
async fn otlp_103_the_user_agent_of_a_key_is_shown() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let shown = || {
        let listed: serde_json::Value = serde_json::from_str(&collector.command(&["keys", "list", "--json"])).unwrap();
        let id = &collector.key[4..12];
        listed.as_array().unwrap().iter().find(|key| key["id"] == id).unwrap()["last_user_agent"].clone()
    };
    let long = format!("OTel-OTLP-Exporter-Python/1.44.0 {}", "x".repeat(4_000));
    assert_eq!(post_with(&collector, TRACES, JSON, &[("user-agent", &long)], b"{}").await.status, 200);
    let end = Instant::now() + PATIENCE;
    let shown = loop {
        match shown().as_str() {
            Some(shown) if !shown.is_empty() => break shown.to_owned(),
            other => assert!(Instant::now() < end, "{other:?} is shown"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(long.starts_with(&shown) && (100..=256).contains(&shown.len()), "{shown:?}");
}

#[tokio::test]
async fn otlp_104_answers_have_date_and_length_and_an_id_of_our_own() {
    let collector = Collector::start(OWN_FILE, &refusals::SETTINGS).await;
    let mut ids = std::collections::BTreeSet::new();
    let mut check = |what: &str, headers: &http::HeaderMap, body_bytes: Option<usize>| {
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
        assert!(header("date").ends_with(" GMT"), "{what}: {headers:?}");
        if let Some(bytes) = body_bytes {
            assert_eq!(header("content-length"), bytes.to_string(), "{what}");
        }
        assert!(!headers.contains_key("server") && !headers.contains_key("x-powered-by"), "{what}: {headers:?}");
        assert!(header("x-request-id").len() >= 8, "{what}: {headers:?}");
        assert!(ids.insert(header("x-request-id").to_owned()), "{what}: an id was used twice");
    };
    for refused in refusals::over_http(&collector).await {
        check(&refused.what, &refused.answer.headers, Some(refused.answer.body.len()));
    }
    for refused in refusals::over_grpc(&collector).await {
        check(&refused.what, &refused.answer.headers, None);
    }
    let taken = export(&collector, TRACE_SERVICE, &encoded(agent_trace(0))).await;
    check("a call that is taken", &taken.headers, None);
    for inbound in ["made-by-the-client", "x\tset-cookie:a=b", "%0d%0aset-cookie: a=b", "\u{e9}"] {
        let answer = post_with(&collector, TRACES, JSON, &[("x-request-id", inbound)], b"{}").await;
        assert_eq!(answer.status, 200, "{inbound:?}");
        check(inbound, &answer.headers, Some(2));
        let sent = answer.headers.values().any(|value| value.as_bytes() == inbound.as_bytes());
        assert!(!sent && !answer.has("set-cookie"), "{answer:?}");
    }
    // A line break inside a header ends the header, or the connection; it is never sent back.
    let mut connection = Http1::connect(collector.http).await;
    let split = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         x-request-id: a\rset-cookie: a=b\r\ncontent-length: 2\r\n\r\n{{}}",
        collector.key
    );
    within(connection.stream.write_all(split.as_bytes())).await.unwrap();
    if let Ok(answer) = within(connection.try_answer()).await {
        assert!(!answer.has("set-cookie") && !answer.header("x-request-id").contains("a\r"), "{answer:?}");
    }
}
