use super::*;
use crate::mapping::{detail, merge};
use crate::model::step::{Status, StepType};

/// What Logfire sends when the agent's span `[1; 8]` starts.
fn announcement(parent: &str) -> Span {
    let pairs = [
        ("logfire.span_type", "pending_span"),
        ("logfire.pending_parent_id", parent),
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.agent.name", "planner"),
    ];
    let mut span = span("agent run", &pairs);
    span.attributes.iter_mut().filter(|(key, _)| key == "logfire.pending_parent_id").for_each(|(_, value)| {
        *value = AnyValue::Str(parent.to_owned());
    });
    (span.span_id, span.parent_span_id, span.end_ns) = ([9; 8], Some([1; 8]), START_NS);
    span
}

fn real() -> Span {
    let pairs = [
        ("logfire.span_type", "span"),
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.agent.name", "planner"),
        ("final_result", "done"),
    ];
    Span { parent_span_id: None, ..span("agent run", &pairs) }
}

#[test]
fn an_announcement_is_the_span_that_it_announces_while_it_runs() {
    let step = map(announcement("0000000000000000"));
    assert_eq!((step.id.as_str(), step.parent_id.as_deref()), ("0101010101010101", None));
    assert_eq!((&step.kind, step.status, step.end_ns), (&StepType::Agent, Status::Running, None));
    assert_eq!(step.latency_ms, None);
    let below = map(announcement("00000000000000aa"));
    assert_eq!(below.parent_id.as_deref(), Some("00000000000000aa"));
    for odd in ["", "xyz", "0101010101010101", "+00000000000000a", "00000000000000aa00"] {
        assert_eq!(map(announcement(odd)).parent_id, None, "{odd:?}");
    }
    let of_nothing = map(Span { parent_span_id: None, ..announcement("0000000000000000") });
    assert_eq!((of_nothing.id.as_str(), of_nothing.status), ("0909090909090909", Status::Success));
}

#[test]
fn the_ended_span_takes_its_place_in_either_order_and_nothing_is_lost() {
    let (pending, ended) = (map(announcement("0000000000000000")), map(real()));
    let none = |_| None;
    let one = merge(pending.clone(), ended.clone(), &crate::prices::Prices::none(), &none);
    assert_eq!(one, merge(ended.clone(), pending.clone(), &crate::prices::Prices::none(), &none));
    assert_eq!(one, merge(one.clone(), pending, &crate::prices::Prices::none(), &none), "sent again");
    assert_eq!((one.status, one.end_ns), (Status::Success, ended.end_ns));
    assert_eq!(detail::span(&one), Some(real()), "as it was sent");
    for kept in ["0909090909090909", &START_NS.to_string(), "pending_span"] {
        assert!(one.detail.contains(kept), "{kept}: {}", one.detail);
    }
}
