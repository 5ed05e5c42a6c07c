//! Overload and hints when to try again: OTLP-51 to OTLP-56, and OTLP-63.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use tonic::Code;

use super::client::{
    Answer, GrpcAnswer, JSON, PROTOBUF, TRACE_SERVICE, TRACES, ask, call, export, framed, is_long, post, runs_stored,
};
use super::refusals;
use super::trouble::Stall;
use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, run_id};

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
    for quota in ["requests=1/s", "requests=1/min", "requests=1/hour", "steps=3/hour"] {
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
        // From before the request is there, 0.1 ms, to after its commit, 100 ms.
        let patience = Duration::from_micros(100).mul_f64(1.15_f64.powf((number % 50) as f64));
        let _ = tokio::time::timeout(patience, sending).await;
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
