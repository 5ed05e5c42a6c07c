//! Overload, hints when to try again, time: OTLP-51 to OTLP-63.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::net::TcpStream;
use tonic::Code;

use super::client::{
    Answer, GrpcAnswer, Http1, JSON, PROTOBUF, TRACE_SERVICE, TRACES, allow_many_sockets, ask, call, export, framed,
    head_bytes, is_long, on_h2, post, request_bytes, runs_stored, within,
};
use super::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS, block, frame,
    grpc_block,
};
use super::refusals;
use super::trouble::Stall;
use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, request, run_id};

fn retry_after_s(answer: &Answer) -> u64 {
    let text = answer.header("retry-after");
    text.parse().unwrap_or_else(|_| panic!("{}: Retry-After {text:?} is no number of seconds", answer.status))
}

/// Asserts that the answer says "later", the same in every place where clients look, and gives the seconds.
fn said_later(answer: &GrpcAnswer) -> u64 {
    assert_eq!((answer.http, answer.code()), (200, Code::Unavailable as i32), "{answer:?}");
    let details = answer.details().expect("grpc-status-details-bin");
    assert_eq!(details.code, Code::Unavailable as i32);
    let seconds = details.retry_s.expect("RetryInfo in the details");
    assert_eq!(answer.retry_info_s(), Some(seconds), "google.rpc.retryinfo-bin");
    assert!((1..=4).contains(&seconds), "{seconds} s");
    seconds
}

async fn otlp_51_overload_is_503_with_retry_after(url: &str) {
    let settings = [
        ("VECTOROS_INGEST__HOLD", "300ms"),
        ("VECTOROS_LIMITS__BODY_BYTES", "64KiB"),
        ("VECTOROS_INGEST__QUEUE_BYTES", "64KiB"),
    ];
    let collector = Collector::start(url, &settings).await;
    let stall = Stall::begin(url).await;
    // The first takes all the room and waits for its commit, the others find none.
    let mut large = agent_trace(0);
    large[0].name = "x".repeat(50_000);
    let large = encoded(large);
    let answers = futures_util::future::join_all((0..4).map(|_| post(&collector, TRACES, PROTOBUF, &large))).await;
    for answer in answers {
        assert_eq!((answer.status, answer.rpc_status().code), (503, Code::Unavailable as i32));
        assert!((1..=4).contains(&retry_after_s(&answer)));
        assert_eq!(answer.rpc_status().retry_s, Some(retry_after_s(&answer)), "the body says the same");
    }
    stall.end().await;
    assert_eq!(post(&collector, TRACES, PROTOBUF, &large).await.status, 200, "as soon as it can");
}
on_both_stores!(otlp_51_overload_is_503_with_retry_after);

#[tokio::test]
async fn otlp_51_a_quota_is_503_or_429_as_set() {
    for (setting, status) in [("503", 503), ("429", 429)] {
        let collector = Collector::start(OWN_FILE, &[("VECTOROS_INGEST__THROTTLE_STATUS", setting)]).await;
        let key = format!("Bearer {}", collector.make_key("poor", &["--quota", "requests=1/min"]));
        let headers = [("authorization", key.as_str()), ("content-type", JSON)];
        assert_eq!(ask(collector.http, "POST", TRACES, &headers, b"{}").await.status, 200);
        let answer = ask(collector.http, "POST", TRACES, &headers, b"{}").await;
        assert_eq!((answer.status, answer.rpc_status().code), (status, Code::Unavailable as i32));
        assert!((1..=4).contains(&retry_after_s(&answer)));
    }
}

async fn otlp_52_overload_of_grpc_is_unavailable_with_the_delay_in_both_places(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_INGEST__HOLD", "300ms")]).await;
    let key = format!("Bearer {}", collector.make_key("poor", &["--quota", "requests=1/min"]));
    let metadata = [("authorization", key.as_str())];
    assert_eq!(call(collector.grpc, TRACE_SERVICE, &metadata, framed(0, b"")).await.code(), 0);
    said_later(&call(collector.grpc, TRACE_SERVICE, &metadata, framed(0, b"")).await);
    let stall = Stall::begin(url).await;
    said_later(&export(&collector, TRACE_SERVICE, &encoded(agent_trace(0))).await);
    stall.end().await;
}
on_both_stores!(otlp_52_overload_of_grpc_is_unavailable_with_the_delay_in_both_places);

async fn otlp_53_delays_are_one_to_four_whole_seconds(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_INGEST__HOLD", "50ms")]).await;
    let mut delays = Vec::new();
    for quota in ["requests=1/s", "requests=1/min", "requests=1/hour", "requests=1/day", "steps=3/day"] {
        let key = format!("Bearer {}", collector.make_key("poor", &["--quota", quota]));
        let headers = [("authorization", key.as_str()), ("content-type", PROTOBUF)];
        let mut refused = 0;
        for number in 0..4 {
            let answer = ask(collector.http, "POST", TRACES, &headers, &encoded(agent_trace(number))).await;
            if answer.status == 503 {
                refused += 1;
                delays.push(retry_after_s(&answer));
            }
        }
        assert!(refused > 0, "{quota}");
    }
    let stall = Stall::begin(url).await;
    let mut overload = Vec::new();
    for number in 0..10 {
        let answer = post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(number))).await;
        assert_eq!(answer.status, 503);
        overload.push(retry_after_s(&answer));
        overload.push(said_later(&export(&collector, TRACE_SERVICE, &encoded(agent_trace(number))).await));
    }
    stall.end().await;
    assert!(delays.iter().all(|delay| (1..=4).contains(delay)), "{delays:?}");
    assert!(overload.iter().all(|delay| (1..=2).contains(delay)), "{overload:?}");
    assert!(overload.contains(&1) && overload.contains(&2), "clients are spread: {overload:?}");
}
on_both_stores!(otlp_53_delays_are_one_to_four_whole_seconds);

async fn otlp_54_a_pause_of_three_seconds_is_not_noticed(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let stall = Stall::begin(url).await;
    let begin = Instant::now();
    let collector = &collector;
    let http: Vec<_> = (0..4)
        .map(|number| async move { post(collector, TRACES, PROTOBUF, &encoded(agent_trace(number))).await })
        .collect();
    let grpc = async |number| export(collector, TRACE_SERVICE, &encoded(agent_trace(number))).await;
    let pause = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stall.end().await;
    };
    let (http, first, second, ()) = tokio::join!(futures_util::future::join_all(http), grpc(4), grpc(5), pause);
    assert!(begin.elapsed() >= Duration::from_secs(3), "the pause was one");
    assert!(http.iter().all(|answer| answer.status == 200), "{http:?}");
    assert_eq!((first.code(), second.code()), (0, 0));
    assert_eq!(runs_stored(collector).await, 6);
}
on_both_stores!(otlp_54_a_pause_of_three_seconds_is_not_noticed);

async fn otlp_54_after_the_hold_it_refuses(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let stall = Stall::begin(url).await;
    let timed = async |timeout: &str| {
        let begin = Instant::now();
        let bearer = format!("Bearer {}", collector.key);
        let metadata = [("authorization", bearer.as_str()), ("grpc-timeout", timeout)];
        let answer = call(collector.grpc, TRACE_SERVICE, &metadata, framed(0, &encoded(agent_trace(0)))).await;
        (answer, begin.elapsed().as_millis())
    };
    // 0.7 of the caller's second, and not more than four seconds.
    let ((short, short_ms), (long, long_ms)) = tokio::join!(timed("1000m"), timed("20S"));
    stall.end().await;
    said_later(&short);
    said_later(&long);
    assert!((650..1000).contains(&short_ms), "{short_ms} ms");
    assert!((3900..5000).contains(&long_ms), "{long_ms} ms");
}
on_both_stores!(otlp_54_after_the_hold_it_refuses);

#[tokio::test]
async fn otlp_55_permanent_refusals_carry_no_hint() {
    let collector = Collector::start(OWN_FILE, &refusals::SETTINGS).await;
    for refused in refusals::over_http(&collector).await {
        let (what, answer) = (&refused.what, &refused.answer);
        assert_eq!(answer.has(RETRY_AFTER.as_str()), refused.is_transient, "{what}");
        assert_eq!(answer.rpc_status().retry_s.is_some(), refused.is_transient, "{what}");
    }
    for refused in refusals::over_grpc(&collector).await {
        let (what, answer) = (&refused.what, &refused.answer);
        assert_eq!(answer.retry_info_s().is_some(), refused.is_transient, "{what}");
        let hint = answer.details().and_then(|details| details.retry_s);
        assert_eq!(hint.is_some(), refused.is_transient, "{what}");
        assert!(answer.end().get(RETRY_AFTER).is_none(), "{what}");
    }
}

async fn otlp_56_a_client_that_leaves_cancels_no_commit(url: &str) {
    let collector = Arc::new(Collector::start(url, &[]).await);
    let calls: u64 = if is_long() { 1000 } else { 200 };
    for number in 0..calls {
        let collector = collector.clone();
        let bearer = format!("Bearer {}", collector.key);
        let sending = async move {
            if number % 2 == 0 {
                let metadata = [("authorization", bearer.as_str()), ("grpc-timeout", "1m")];
                call(collector.grpc, TRACE_SERVICE, &metadata, framed(0, &encoded(agent_trace(number)))).await;
            } else {
                post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(number))).await;
            }
        };
        // Between before the request is there and after its commit.
        let _ = tokio::time::timeout(Duration::from_micros(200 * (1 + number % 40)), sending).await;
    }
    // The pool is healthy: what comes now is stored, and waits for nobody.
    let begin = Instant::now();
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(calls))).await.status, 200);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let (mut whole, mut absent) = (0, 0);
    for number in 0..=calls {
        match collector.get(&format!("/runs/{}", run_id(number))).await {
            (200, run) => {
                assert_eq!(run["stats"]["total_steps"], 3, "{number}");
                whole += 1;
            }
            (404, _) => absent += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(whole > 1 && absent > 0, "{whole} whole, {absent} absent: both happened");
}
on_both_stores!(otlp_56_a_client_that_leaves_cancels_no_commit);

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
                let mut export = tonic::Request::new(request(agent_trace(number)));
                export.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
                client.export(export).await.expect("an answer to every call");
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
    let (sender, connection) = h2::client::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
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

#[tokio::test]
async fn otlp_63_every_refusal_is_as_the_decision_table_says() {
    let collector = Collector::start(OWN_FILE, &refusals::SETTINGS).await;
    for refused in refusals::over_http(&collector).await {
        assert_eq!(i32::from(refused.answer.status), refused.expected, "{}", refused.what);
        let challenge = if refused.answer.status == 401 { "Bearer" } else { "" };
        assert_eq!(refused.answer.header("www-authenticate"), challenge, "{}", refused.what);
    }
    for refused in refusals::over_grpc(&collector).await {
        assert_eq!(refused.answer.code(), refused.expected, "{}", refused.what);
    }
    assert_eq!(runs_stored(&collector).await, 0, "nothing of all this was stored");
}
