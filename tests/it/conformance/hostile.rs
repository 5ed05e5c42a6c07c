//! Clients that mean harm, all at once and each with a key, while a good one sends: it waits for nobody, memory stays
//! bounded, and the program lives. VECTOROS_TEST_LONG=1 makes it ten times as many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::io::AsyncWriteExt;

use super::client::{
    Http1, JSON, PROTOBUF, TRACE_SERVICE, TRACES, allow_many_sockets, head_bytes, is_long, memory_of, post,
    request_bytes, within,
};
use super::http2::{CONTINUATION, END_HEADERS, HEADERS, Http2, RST_STREAM, block, frame, grpc_block};
use super::size::{around, bombs};
use crate::collector::{Collector, OWN_FILE};
use crate::spans::{agent_trace, encoded};

/// Where the hostile ones come from.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];
/// The default: the bound on memory is three times this.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// An attribute's value in arrays nested `levels` deep.
fn nested_protobuf(levels: usize) -> Vec<u8> {
    // From the inside out, in reverse: each level stands before what it holds.
    let mut reversed = Vec::new();
    let wrap = |reversed: &mut Vec<u8>, tag: u8| {
        let mut head = vec![tag];
        prost::encoding::encode_varint(reversed.len() as u64, &mut head);
        reversed.extend(head.iter().rev());
    };
    for _ in 0..levels {
        // ArrayValue.values, then AnyValue.array_value.
        wrap(&mut reversed, 0x0a);
        wrap(&mut reversed, 0x2a);
    }
    // KeyValue.value, then Span.attributes.
    wrap(&mut reversed, 0x12);
    wrap(&mut reversed, 0x4a);
    reversed.reverse();
    let span = agent_trace(0)[0].encode_to_vec();
    let mut spans = vec![0x12];
    prost::encoding::encode_varint((span.len() + reversed.len()) as u64, &mut spans);
    spans.extend_from_slice(&span);
    spans.extend_from_slice(&reversed);
    around(&spans)
}

/// Bodies that cost much when they are believed, with their content type and encoding.
fn heavy_bodies() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    // A debug build takes a second for each two million spans.
    let spans_bytes = if is_long() { BODY_BYTES_MAX as usize } else { 16 << 20 };
    let empty_spans: Vec<u8> = std::iter::repeat_n([0x12, 0], spans_bytes / 2 - 16).flatten().collect();
    let mut bodies: Vec<_> = bombs(10 << 10).into_iter().map(|(name, bomb)| (PROTOBUF, name, bomb)).collect();
    bodies.push((PROTOBUF, "identity", around(&empty_spans)));
    bodies.push((PROTOBUF, "identity", nested_protobuf(1_000_000)));
    for (open, close, levels) in [("[", "]", 1_000_000), (r#"{"a":"#, "1}", 1_000_000)] {
        let deep = format!(r#"{{"nothing":{}{}"#, open.repeat(levels), close.repeat(levels));
        bodies.push((JSON, "identity", deep.into_bytes()));
    }
    let array = r#"{"arrayValue":{"values":["#.repeat(400_000);
    let before = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"k","value":"#;
    bodies.push((JSON, "identity", format!("{before}{array}").into_bytes()));
    bodies
}

/// One body after another: each is refused or survived, and has an answer.
async fn send_heavy_bodies(collector: Arc<Collector>, key: String, bodies: Vec<(&'static str, &'static str, Vec<u8>)>) {
    for (content_type, encoding, body) in bodies {
        let headers = [("authorization", key.as_str()), ("content-type", content_type), ("content-encoding", encoding)];
        let mut connection = Http1::connect_from(ELSEWHERE, collector.http).await.unwrap();
        let answer = connection.ask(&request_bytes("POST", TRACES, &headers, &body)).await;
        assert!([200, 400, 413].contains(&answer.status), "{content_type} {encoding}: {answer:?}");
    }
}

/// Connections that say nothing, and some that say a byte now and then.
async fn linger(collector: Arc<Collector>, key: String, stop: Arc<AtomicBool>, count: usize) {
    let headers = [("authorization", key.as_str()), ("content-type", PROTOBUF)];
    let head = head_bytes("POST", TRACES, &headers, Some(4096));
    let mut held = Vec::new();
    for number in 0..count {
        let Ok(mut connection) = Http1::connect_from(ELSEWHERE, collector.http).await else { continue };
        if number % 10 == 0 {
            connection.send(&head).await;
        }
        held.push(connection);
    }
    while !stop.load(Ordering::Relaxed) {
        for connection in held.iter_mut().step_by(10) {
            // Ended already, perhaps.
            let _ = connection.stream.write_all(b"x").await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Calls that are opened and given up, and headers without an end, on one connection after another.
async fn flood(collector: Arc<Collector>, stop: Arc<AtomicBool>) {
    let call = grpc_block(TRACE_SERVICE, &[("authorization", "Bearer x")]);
    let filler = block(&[("x-filler", &"x".repeat(8_000))]);
    while !stop.load(Ordering::Relaxed) {
        let mut resets = Http2::connect(collector.grpc).await;
        for round in 0..20_u32 {
            let streams = (0..100).map(|number| (round * 100 + number) * 2 + 1);
            let frames = streams.flat_map(|stream| {
                [frame(HEADERS, END_HEADERS, stream, &call), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
                    .concat()
            });
            if resets.send_bytes(&frames.collect::<Vec<_>>()).await.is_err() {
                break;
            }
        }
        let mut endless = Http2::connect(collector.grpc).await;
        let mut is_open = endless.send(HEADERS, 0, 1, &call).await.is_ok();
        for _ in 0..200 {
            is_open = is_open && endless.send(CONTINUATION, 0, 1, &filler).await.is_ok();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_harm_nobody_else() {
    allow_many_sockets();
    let settings = [("VECTOROS_SERVER__CONNECTIONS_PER_ADDRESS", "20000"), ("VECTOROS_QUOTA__BYTES", "unlimited")];
    let collector = Arc::new(Collector::start(OWN_FILE, &settings).await);
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200);
    let bodies = tokio::task::spawn_blocking(heavy_bodies).await.unwrap();
    let (base, _) = memory_of(&collector);
    let hostile = format!("Bearer {}", collector.make_key("hostile", &[]));
    let stop = Arc::new(AtomicBool::new(false));

    let count = if is_long() { 10_000 } else { 1_000 };
    let others = [
        tokio::spawn(linger(collector.clone(), hostile.clone(), stop.clone(), count)),
        tokio::spawn(flood(collector.clone(), stop.clone())),
    ];
    let sent = Arc::new(AtomicU64::new(0));
    let good = tokio::spawn({
        let (collector, stop, sent) = (collector.clone(), stop.clone(), sent.clone());
        async move {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let answer = post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(number))).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                took.push(begin.elapsed());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            took.sort();
            took
        }
    });
    send_heavy_bodies(collector.clone(), hostile, bodies).await;
    stop.store(true, Ordering::Relaxed);
    for other in others {
        within(other).await.unwrap();
    }
    let took = good.await.unwrap();
    let p99 = took[took.len() * 99 / 100];
    assert!(took.len() > 50, "{} requests of the good client", took.len());
    assert!(p99 < Duration::from_secs(1), "the good client's 99th percentile is {p99:?}");
    let (_, peak) = memory_of(&collector);
    assert!(peak < base + 3 * BODY_BYTES_MAX, "{} MiB, {} before", peak >> 20, base >> 20);
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200, "it lives");
    assert!(!collector.log().contains("panicked"), "{}", collector.log());
}
