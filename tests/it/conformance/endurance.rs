//! Connections that last, that are old, that stand still or flood: OTLP-57 to OTLP-62.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::net::TcpStream;
use tonic::Code;

use super::client::{
    Http1, JSON, PROTOBUF, TRACE_SERVICE, TRACES, allow_many_sockets, framed, head_bytes, is_long, on_h2, post,
    request_bytes, runs_stored, within,
};
use super::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS, block, frame,
    grpc_block,
};
use crate::collector::{Collector, OWN_FILE};
use crate::spans::{agent_trace, encoded, request};

#[tokio::test]
async fn otlp_57_pings_are_answered_and_not_punished() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let mut http2 = Http2::connect(collector.grpc).await;
    let (pause, count) = if is_long() { (Duration::from_secs(10), 30_u64) } else { (Duration::from_millis(20), 100) };
    for number in 0..count {
        http2.send(PING, 0, 0, &number.to_be_bytes()).await.unwrap();
        let frames = http2.read_until(|frame| frame.kind == PING && frame.flags & ACK != 0).await;
        assert!(frames.iter().all(|frame| frame.kind != GOAWAY), "{frames:?}");
        assert_eq!(frames.last().unwrap().payload, number.to_be_bytes());
        tokio::time::sleep(pause).await;
    }
    let bearer = format!("Bearer {}", collector.key);
    let headers = grpc_block(TRACE_SERVICE, &[("authorization", &bearer)]);
    http2.send(HEADERS, END_HEADERS, 1, &headers).await.unwrap();
    http2.send(DATA, END_STREAM, 1, &framed(0, &encoded(agent_trace(0)))).await.unwrap();
    http2.read_until(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0).await;
    assert_eq!(runs_stored(&collector).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_58_old_connections_end_without_an_error_at_their_clients() {
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_SERVER__CONNECTION_AGE", "1s")]).await;
    let sent = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(4);
    let http = (0..2).map(|sender| {
        let (client, url, key) = (collector.client().clone(), collector.url(TRACES), collector.key.clone());
        let sent = sent.clone();
        tokio::spawn(async move {
            while Instant::now() < end {
                let number = sent.fetch_add(1, Ordering::Relaxed) + sender;
                let post = client.post(&url).bearer_auth(&key).header("content-type", PROTOBUF);
                let answer = post.body(encoded(agent_trace(number))).send().await;
                assert_eq!(answer.expect("an answer to every request").status(), 200);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    });
    let http: Vec<_> = http.collect();
    let client = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let grpc = (0..2).map(|sender| {
        let (mut client, key, sent) = (client.clone(), collector.key.clone(), sent.clone());
        tokio::spawn(async move {
            while Instant::now() < end {
                let number = sent.fetch_add(1, Ordering::Relaxed) + sender;
                let mut export = async || {
                    let mut export = tonic::Request::new(request(agent_trace(number)));
                    export.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
                    client.export(export).await
                };
                let mut answer = export().await;
                // A call that this client had not sent yet when its connection ended. Other clients of gRPC send it on
                // the next connection by themselves.
                if answer.as_ref().is_err_and(|status| status.code() == Code::Cancelled) {
                    answer = export().await;
                }
                answer.expect("an answer to every call");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    });
    let grpc: Vec<_> = grpc.collect();

    // What the server says to end a connection: HTTP/1.1 on an answer, HTTP/2 by a GOAWAY without an error.
    let mut old = Http1::connect(collector.http).await;
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", JSON)];
    let last = loop {
        let answer = old.ask(&request_bytes("POST", TRACES, &headers, b"{}")).await;
        assert_eq!(answer.status, 200);
        if answer.header("connection") == "close" {
            break Instant::now();
        }
        assert!(Instant::now() < end, "the connection is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(last < end);
    assert!(old.is_closed_within(Duration::from_secs(1)).await);
    let mut http2 = Http2::connect(collector.grpc).await;
    let frames = http2.read_until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(frames.last().unwrap().goaway_code(), 0, "NO_ERROR");

    for task in http.into_iter().chain(grpc) {
        task.await.unwrap();
    }
    assert!(sent.load(Ordering::Relaxed) > 100, "there was load");
}

#[tokio::test]
async fn otlp_59_an_idle_connection_is_kept() {
    // The short form is longer than the deadline of headers, which must not count from the last answer.
    let idle = Duration::from_secs(if is_long() { 170 } else { 12 });
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    let mut connection = Http1::connect(collector.http).await;
    for number in 0..2 {
        let answer = connection.ask(&request_bytes("POST", TRACES, &headers, &encoded(agent_trace(number)))).await;
        assert_eq!((answer.status, answer.header("connection")), (200, ""));
        if number == 0 {
            assert!(!connection.is_closed_within(idle).await, "closed while idle");
        }
    }
}

#[tokio::test]
async fn otlp_60_256_streams_at_a_time_and_all_of_thousands_answered() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let mut http2 = Http2::connect(collector.grpc).await;
    let frames = http2.read_until(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).await;
    let settings = &frames.last().unwrap().payload;
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("MAX_CONCURRENT_STREAMS");
    assert_eq!(streams[2..], 256_u32.to_be_bytes());

    let count = if is_long() { 10_000 } else { 1_000 };
    let stream = TcpStream::connect(collector.grpc).await.unwrap();
    // As client libraries do: few streams until the server has said how many there may be.
    let mut builder = h2::client::Builder::new();
    builder.initial_max_send_streams(100).initial_connection_window_size(4 << 20);
    let handshake = builder.handshake::<_, Bytes>(stream);
    let (sender, connection) = handshake.await.unwrap();
    let driver = tokio::spawn(connection);
    let bearer = format!("Bearer {}", collector.make_key("default", &["--quota", "requests=unlimited"]));
    let metadata = [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", bearer.as_str())];
    let calls = (0..count).map(|_| {
        let sender = sender.clone();
        async { on_h2(sender, TRACE_SERVICE, &metadata, framed(0, b"")).await.unwrap().code() }
    });
    let codes = within(futures_util::future::join_all(calls)).await;
    assert!(codes.iter().all(|code| *code == 0), "{} of {count}", codes.iter().filter(|code| **code == 0).count());
    driver.abort();
}

#[tokio::test]
async fn otlp_60_floods_end_their_connection_and_nothing_else() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    // Rapid reset: a call is opened and given up at once, thousands of times.
    let mut http2 = Http2::connect(collector.grpc).await;
    let headers = grpc_block(TRACE_SERVICE, &[("authorization", "Bearer x")]);
    let mut is_closed = false;
    'flood: for round in 0..200_u32 {
        let mut frames = Vec::new();
        for number in 0..100 {
            let stream = (round * 100 + number) * 2 + 1;
            frames.extend(frame(HEADERS, END_HEADERS, stream, &headers));
            frames.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        if http2.send_bytes(&frames).await.is_err() {
            is_closed = true;
            break 'flood;
        }
    }
    let mut last = None;
    while let Some(frame) = http2.read().await {
        last = Some(frame);
    }
    let goaway = last.filter(|frame| frame.kind == GOAWAY);
    assert!(is_closed || goaway.is_some_and(|frame| frame.goaway_code() != 0), "rapid reset was borne");

    // CONTINUATION: headers that never end.
    let mut http2 = Http2::connect(collector.grpc).await;
    let filler = block(&[("x-filler", &"x".repeat(8_000))]);
    http2.send(HEADERS, 0, 1, &grpc_block(TRACE_SERVICE, &[])).await.unwrap();
    let mut is_refused = false;
    for _ in 0..5_000 {
        if http2.send(CONTINUATION, 0, 1, &filler).await.is_err() {
            is_refused = true;
            break;
        }
    }
    if !is_refused {
        while let Some(frame) = http2.read().await {
            is_refused |= frame.kind == GOAWAY;
        }
    }
    assert!(is_refused, "headers without an end were borne");

    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200, "it lives");
    assert!(!collector.log().contains("panicked"), "{}", collector.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_61_slow_senders_disturb_nobody_and_are_ended() {
    allow_many_sockets();
    let collector = Collector::start(OWN_FILE, &[]).await;
    let count = if is_long() { 5_000 } else { 300 };
    let bearer = format!("Bearer {}", collector.key);
    let begin = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut slow = Vec::new();
    for number in 0..count {
        let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
        let (mut connection, head) = match number % 3 {
            // A head of which a byte comes now and then.
            0 => (Http1::connect(collector.http).await, b"POST /v1/traces HTTP/1.1\r\nhost: a\r\nx: ".to_vec()),
            // A body of which a byte comes now and then.
            1 => (Http1::connect(collector.http).await, head_bytes("POST", TRACES, &headers, Some(100_000))),
            // Nothing at all.
            _ => (Http1::connect(collector.grpc).await, Vec::new()),
        };
        connection.send(&head).await;
        let stop = stop.clone();
        slow.push(tokio::spawn(async move {
            let begin = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                if connection.is_closed_within(Duration::from_secs(1)).await {
                    return Some((number % 3, begin.elapsed()));
                }
                if number % 3 != 2 && tokio::io::AsyncWriteExt::write_all(&mut connection.stream, b"x").await.is_err() {
                    return Some((number % 3, begin.elapsed()));
                }
            }
            None
        }));
    }
    let mut slowest = Duration::ZERO;
    let mut number = 0;
    while begin.elapsed() < Duration::from_secs(16) {
        let asked = Instant::now();
        assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(number))).await.status, 200);
        slowest = slowest.max(asked.elapsed());
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(slowest < Duration::from_secs(1), "a good client waited {slowest:?}");
    stop.store(true, Ordering::Relaxed);
    let mut kinds = [0; 3];
    for task in slow {
        let (kind, after) = task.await.unwrap().expect("a slow connection was not ended");
        assert!(after >= Duration::from_secs(8), "kind {kind} was ended after {after:?}");
        kinds[kind] += 1;
    }
    assert!(kinds.iter().all(|ended| *ended == count / 3), "{kinds:?}");
}

#[tokio::test]
async fn otlp_61_connections_are_bounded_in_all_and_for_an_address() {
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_SERVER__CONNECTIONS_PER_ADDRESS", "4")]).await;
    let ask_health = request_bytes("GET", "/healthz", &[], b"");
    let is_served = async |from: [u8; 4], held: &mut Vec<Http1>| {
        let Ok(mut connection) = Http1::connect_from(from, collector.http).await else { return false };
        if tokio::io::AsyncWriteExt::write_all(&mut connection.stream, &ask_health).await.is_err() {
            return false;
        }
        let answer = tokio::time::timeout(Duration::from_millis(700), connection.try_answer()).await;
        held.push(connection);
        matches!(answer, Ok(Ok(answer)) if answer.status == 200)
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        assert!(is_served([127, 0, 0, 2], &mut held).await);
    }
    assert!(!is_served([127, 0, 0, 2], &mut Vec::new()).await, "a fifth from one address");
    assert!(is_served([127, 0, 0, 3], &mut Vec::new()).await, "another address is not concerned");
    drop(held);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(is_served([127, 0, 0, 2], &mut Vec::new()).await, "room again");

    let collector = Collector::start(OWN_FILE, &[("VECTOROS_SERVER__CONNECTIONS", "8")]).await;
    let mut held = Vec::new();
    // The one that asked whether it is ready may still be open.
    for _ in 0..8 {
        held.push(Http1::connect_from([127, 0, 0, 2], collector.grpc).await.unwrap());
    }
    let mut waiting = Http1::connect_from([127, 0, 0, 3], collector.grpc).await.unwrap();
    waiting.send(&ask_health).await;
    let early = tokio::time::timeout(Duration::from_millis(500), waiting.try_answer()).await;
    assert!(!matches!(early, Ok(Ok(_))), "beyond the bound");
    drop(held);
    let answer = match early {
        // Accepted only now that there is room, or turned away: then it asks again.
        Err(_) => waiting.answer().await,
        Ok(_) => Http1::connect(collector.grpc).await.ask(&ask_health).await,
    };
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn otlp_62_running_out_of_descriptors_ends_nothing() {
    allow_many_sockets();
    let collector = Collector::start(OWN_FILE, &[]).await;
    let pid = collector.pid().to_string();
    let limited = std::process::Command::new("prlimit").args(["--pid", &pid, "--nofile=64:64"]).status().unwrap();
    assert!(limited.success());
    let mut crowd = Vec::new();
    for _ in 0..500 {
        if let Ok(Ok(client)) = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(collector.http)).await {
            crowd.push(client);
        }
    }
    assert!(crowd.len() > 64, "{}", crowd.len());
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(crowd);
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200, "serving again");
    let lines = collector.log().lines().filter(|line| line.contains("could not be accepted")).count();
    assert!((1..=50).contains(&lines), "told, and no flood: {lines} lines");
}
