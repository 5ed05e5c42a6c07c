//! Runs with more text than may be held in memory.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::collector::{Collector, OWN_FILE, PATIENCE};
use crate::conformance::client::{Http1, ask, memory_of, request_bytes};
use crate::spans::{START_NS, agent_trace, encoded, run_id, span_id, text, trace_id};

const STEPS: u64 = 4_000;
const TEXT_BYTES: usize = 24 << 10;
/// All texts have 94 MiB. A third of that may be held whole, and there is the rest of the program.
const MORE_MEMORY_MAX: u64 = 90 << 20;

/// Model calls that each answer something long, under one root.
fn calls(from: u64, to: u64) -> Vec<Span> {
    let call = |number: u64| Span {
        trace_id: trace_id(7),
        span_id: span_id(number),
        parent_span_id: if number == 0 { Vec::new() } else { span_id(0) },
        name: if number == 0 { "invoke_agent long".into() } else { "chat gpt-4o-mini".into() },
        kind: 1,
        start_time_unix_nano: START_NS + number * 1_000_000,
        end_time_unix_nano: START_NS + (if number == 0 { STEPS } else { number + 1 }) * 1_000_000,
        attributes: vec![
            text("gen_ai.operation.name", if number == 0 { "invoke_agent" } else { "chat" }),
            text("gen_ai.provider.name", "openai"),
            text("gen_ai.output.messages", &format!("answer {number} {}", "x".repeat(TEXT_BYTES))),
        ],
        ..Span::default()
    };
    (from..to).map(call).collect()
}

#[tokio::test]
async fn a_long_run_is_assembled_and_read_in_bounded_memory() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let authorized = [("authorization", bearer.as_str())];
    let sent = [("authorization", bearer.as_str()), ("content-type", "application/x-protobuf")];
    let short = ask(collector.http, "POST", "/v1/traces", &sent, &encoded(agent_trace(0))).await;
    assert_eq!(short.status, 200, "{short:?}");
    let (before, _) = memory_of(&collector);
    for first in (0..STEPS).step_by(50) {
        let body = encoded(calls(first, first + 50));
        let answer = ask(collector.http, "POST", "/v1/traces", &sent, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let begin = Instant::now();
    let listed = loop {
        let (_, page) = collector.get("/runs?limit=10").await;
        let items = page["items"].as_array().unwrap().clone();
        let long = items.into_iter().find(|run| run["run_id"] == run_id(7).as_str());
        match long {
            Some(run) if run["step_count"] == STEPS => break run,
            _ => assert!(begin.elapsed() < PATIENCE, "{page}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(listed["output"].as_str().unwrap().starts_with("answer"), "{}", listed["output"].to_string().len());
    let (_, most) = memory_of(&collector);
    let more = most - before;
    assert!(more < MORE_MEMORY_MAX, "{} MiB more than before", more >> 20);

    // Two who do not read what they asked for hold all turns of long runs.
    let path = format!("/runs/{}", run_id(7));
    let request = request_bytes("GET", &path, &authorized, b"");
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut reader = Http1::connect(collector.http).await;
        reader.send(&request).await;
        stuck.push(reader);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = ask(collector.http, "GET", &path, &authorized, b"").await;
    assert_eq!((refused.status, refused.has("retry-after")), (503, true), "{refused:?}");
    let short = ask(collector.http, "GET", &format!("/runs/{}", run_id(0)), &authorized, b"").await;
    assert_eq!(short.status, 200, "a short run has other turns");
    drop(stuck);
    let begin = Instant::now();
    while ask(collector.http, "GET", &path, &authorized, b"").await.status != 200 {
        assert!(begin.elapsed() < PATIENCE, "its turn never comes");
    }
}
