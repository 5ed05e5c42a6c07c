//! Agents whose process was killed: what they had sent is there, their run is running until its time is over, and a
//! root that comes late after all makes it the run that it would have been.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::{Value, json};

use crate::collector::{Collector, PATIENCE};
use crate::database::on_both_stores;
use crate::spans::{START_NS, agent_trace, encoded, run_id, span_id, text, trace_id};

/// Orphans count as finished after one second, started runs as given up after two.
const LIMITS: [(&str, &str); 3] =
    [("VECTOROS_RUNS__SETTLE", "200ms"), ("VECTOROS_RUNS__ORPHAN_IDLE", "1s"), ("VECTOROS_RUNS__IDLE_LIMIT", "2s")];

/// Nanoseconds since 1970: a run that was never ended and began long ago is given up at once.
fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// The spans of trace `number`, which begins at `begin`, without its root, the root, and Logfire's announcement of it.
fn spans_of(number: u64, begin: u64) -> (Vec<Span>, Span, Span) {
    let mut spans = agent_trace(number);
    for span in &mut spans {
        span.start_time_unix_nano = span.start_time_unix_nano - START_NS + begin;
        span.end_time_unix_nano = span.end_time_unix_nano - START_NS + begin;
    }
    let mut root = spans.remove(0);
    let second = |span: &Span, id: u64, later_ms: u64| Span {
        span_id: span_id(id),
        start_time_unix_nano: span.start_time_unix_nano + later_ms * 1_000_000,
        end_time_unix_nano: span.end_time_unix_nano + later_ms * 1_000_000,
        ..span.clone()
    };
    let again = [second(&spans[0], 3, 50), second(&spans[0], 4, 96)];
    spans.extend(again);
    let mut announced = Span {
        span_id: span_id(900),
        parent_span_id: root.span_id.clone(),
        end_time_unix_nano: root.start_time_unix_nano,
        ..root.clone()
    };
    let pending = [text("logfire.span_type", "pending_span"), text("logfire.pending_parent_id", "0000000000000000")];
    announced.attributes.retain(|attribute| attribute.key != "gen_ai.output.messages");
    announced.attributes.extend(pending);
    root.attributes.push(text("logfire.span_type", "span"));
    (spans, root, announced)
}

async fn send(collector: &Collector, spans: &[Span]) {
    assert_eq!(collector.post_otlp("application/x-protobuf", encoded(spans.to_vec())).await.0, 200);
}

/// The detail of a run without what only tells when it was received.
async fn detail(collector: &Collector, number: u64) -> Value {
    let (status, mut detail) = collector.get(&format!("/runs/{}", run_id(number))).await;
    assert_eq!(status, 200, "{detail}");
    let run = detail["run"].as_object_mut().unwrap();
    for field in ["created_at", "updated_at", "run_id", "trace_id", "final"] {
        run.remove(field);
    }
    detail
}

/// Step ids at any depth.
fn ids(nodes: &Value, found: &mut Vec<String>) {
    for node in nodes.as_array().into_iter().flatten() {
        found.push(node["id"].as_str().or(node["step_id"].as_str()).unwrap().to_owned());
        ids(&node["children"], found);
    }
}

async fn example_8_a_run_that_was_announced_and_never_ended(url: &str) {
    let collector = Collector::start(url, &LIMITS).await;
    let (children, mut root, announced) = spans_of(0, now());
    send(&collector, &[announced, children[0].clone()]).await;
    let path = format!("/runs/{}", run_id(0));
    let (_, running) = collector.get(&path).await;
    let run = &running["run"];
    assert_eq!((&run["status"], &run["tokens"], &run["latency"]), (&json!("running"), &json!(15), &Value::Null));
    assert_eq!((&run["name"], &run["step_count"]), (&json!("weather_agent"), &json!(2)), "{running:#}");
    let agent = &running["tree"][0];
    assert_eq!(
        (&agent["type"], &agent["status"], &agent["ended_at"]),
        (&json!("agent"), &json!("running"), &Value::Null)
    );

    let given_up = collector.wait_for(&path, |detail| detail["run"]["status"] == "timeout").await;
    assert_eq!(given_up["run"]["error"], Value::Null);
    assert_eq!(given_up["run"]["metadata"]["timeout_reason"], "no activity for 2 s");
    assert_eq!(given_up["run"]["step_count"], 2);
    // Lists say the same: the sweeper has turned the row.
    collector.wait_for("/runs?status=timeout", |page| page["items"].as_array().unwrap().len() == 1).await;

    root.status = Some(Status { code: 2, message: "killed by its owner".to_owned() });
    send(&collector, &[root]).await;
    let (_, ended) = collector.get(&path).await;
    assert_eq!(ended["run"]["status"], "error");
    assert_eq!(ended["run"]["error"], "killed by its owner");
    assert_eq!((&ended["run"]["tokens"], &ended["run"]["step_count"]), (&json!(15), &json!(2)));
    let (_, page) = collector.get("/runs?status=timeout").await;
    assert_eq!(page["items"], json!([]));
}
on_both_stores!(example_8_a_run_that_was_announced_and_never_ended);

/// One run for each moment at which the sender may die, with and without an announcement of the root.
async fn a_killed_agent_leaves_its_ended_steps_and_a_late_root_makes_it_whole(url: &str) {
    let collector = Collector::start(url, &LIMITS).await;
    let begin = now();
    let moments = spans_of(0, begin).0.len() as u64;
    let number = |moment: u64, is_announced: bool| moment * 2 + u64::from(is_announced);
    for moment in 1..=moments {
        for is_announced in [false, true] {
            let (children, _, announced) = spans_of(number(moment, is_announced), begin);
            if is_announced {
                send(&collector, &[announced]).await;
            }
            for span in &children[..moment as usize] {
                send(&collector, std::slice::from_ref(span)).await;
            }
        }
    }
    for moment in 1..=moments {
        let orphans = detail(&collector, number(moment, false)).await;
        let announced = detail(&collector, number(moment, true)).await;
        assert_eq!(orphans["run"]["step_count"], moment);
        assert_eq!(announced["run"]["step_count"], moment + 1);
    }
    for moment in 1..=moments {
        for (is_announced, status) in [(false, "success"), (true, "timeout")] {
            let number = number(moment, is_announced);
            let path = format!("/runs/{}", run_id(number));
            let end = Instant::now() + PATIENCE;
            let given_up = loop {
                let (_, given_up) = collector.get(&path).await;
                match given_up["run"]["status"].as_str().unwrap() {
                    "running" => assert!(Instant::now() < end, "{given_up:#}"),
                    _ => break given_up,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            let run = &given_up["run"];
            assert_eq!((&run["status"], &run["error"]), (&json!(status), &Value::Null), "{number}");
            assert_eq!(run["metadata"].get("root_missing").is_some(), !is_announced);
            let (mut steps, (children, ..)) = (Vec::new(), spans_of(number, begin));
            ids(&given_up["tree"], &mut steps);
            for span in &children[..moment as usize] {
                let id: String = span.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
                assert!(steps.contains(&id), "{id} ended and is not in {steps:?}");
            }
        }
    }
    for moment in 1..=moments {
        for is_announced in [false, true] {
            let late = number(moment, is_announced);
            let (children, root, announced) = spans_of(late, begin);
            send(&collector, std::slice::from_ref(&root)).await;
            let after = detail(&collector, late).await;
            assert_eq!(after["run"]["status"], "success");

            // The same spans at once, in a trace of its own.
            let whole = 1_000 + late;
            let mut spans = children[..moment as usize].to_vec();
            spans.push(root);
            spans.extend(is_announced.then_some(announced));
            spans.iter_mut().for_each(|span| span.trace_id = trace_id(whole));
            send(&collector, &spans).await;
            let mut expected = detail(&collector, whole).await;
            expected["run"]["metadata"]["revision"] = after["run"]["metadata"]["revision"].clone();
            let mut after = after;
            after["run"]["metadata"]["revision"] = expected["run"]["metadata"]["revision"].clone();
            assert_eq!(after, expected, "{moment} {is_announced}");
        }
    }
}
on_both_stores!(a_killed_agent_leaves_its_ended_steps_and_a_late_root_makes_it_whole);
