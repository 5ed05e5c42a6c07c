use super::builder::*;
use crate::model::step::{Facts, Step};

fn record(id: &str, at_ms: u64, took_ms: f64) -> Step {
    call(id, Some("a"), at_ms, at_ms)
        .says("q", "Hello")
        .tokens(9, 2)
        .facts(|facts: &mut Facts| facts.stream_took_ms = Some(took_ms))
}

#[test]
fn the_record_of_a_stream_completes_the_call_before_it() {
    let assembled = run_of(vec![
        agent("a", None, 0, 100),
        call("c1", Some("a"), 1, 10).says("q", ""),
        record("r1", 40, 30.0),
        call("c2", Some("a"), 50, 60).says("q", ""),
        record("r2", 90, 29.0),
    ]);
    for (call, record, end_ms) in [("c1", "r1", 39.0), ("c2", "r2", 40.0)] {
        let shown = &assembled.shown(call).step;
        assert_eq!(
            (shown.output.as_deref(), shown.usage.total, shown.latency_ms),
            (Some("Hello"), Some(11), Some(end_ms))
        );
        assert_eq!(assembled.mark(record, "duplicate_of"), Some(&call.into()));
    }
    assert_eq!((assembled.run.usage.total, assembled.run.output.as_deref()), (Some(22), Some("Hello")));
}

#[test]
fn streams_at_the_same_time_find_their_own_calls() {
    let assembled = run_of(vec![
        agent("a", None, 0, 100),
        call("c1", Some("a"), 1, 10),
        call("c2", Some("a"), 2, 30),
        record("r2", 60, 30.0),
        record("r1", 70, 60.0),
    ]);
    assert_eq!(assembled.mark("r2", "duplicate_of"), Some(&"c2".into()));
    assert_eq!(assembled.mark("r1", "duplicate_of"), Some(&"c1".into()));
}

#[test]
fn a_record_without_its_call_is_a_call() {
    let other = call("c1", Some("a"), 1, 10).says("another question", "");
    let assembled = run_of(vec![agent("a", None, 0, 100), other, record("r1", 40, 30.0)]);
    assert_eq!(assembled.mark("r1", "duplicate_of"), None);
    assert_eq!(assembled.run.usage.total, Some(11));
}
