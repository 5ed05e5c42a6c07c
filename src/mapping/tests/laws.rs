use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::mapping::content_hash::SpanHasher;
use crate::mapping::detail::{self, REPAIRS, metadata};
use crate::mapping::merge;
use crate::mapping::merge::VERSIONS_MAX;
use crate::model::span::{Attributes, Link};

/// Keys that mapping reads, reserved ones, and any others.
const KEYS: [&str; 22] = [
    "openinference.span.kind",
    "gen_ai.operation.name",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.usage.input_tokens",
    "gen_ai.response.finish_reasons",
    "gen_ai.provider.name",
    "input.value",
    "output.value",
    "metadata",
    "tag.tags",
    "llm.input_messages.0.message.content",
    "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments",
    "llm.token_count.prompt",
    "http.request.method",
    "url.full",
    "error.type",
    "$int",
    "$kvlist",
    "nul\0key",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("LLM".to_owned()),
        Just("chat".to_owned()),
        Just(r#"[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]"#.to_owned()),
        Just(r#"{"a":{"b":[1,2,null]},"tool_call_id":"x","usage":{"input_tokens":1}}"#.to_owned()),
        Just("with\0nul".to_owned()),
        any::<String>(),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![3 => prop::sample::select(&KEYS[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(AnyValue::Null),
        any::<bool>().prop_map(AnyValue::Bool),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -9i64..9].prop_map(AnyValue::Int),
        any::<f64>().prop_map(AnyValue::Double),
        prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(f64::NAN), Just(f64::NEG_INFINITY)]
            .prop_map(AnyValue::Double),
        text().prop_map(AnyValue::Str),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(AnyValue::Bytes),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(AnyValue::Array),
            prop::collection::vec((key(), inner), 0..4).prop_map(AnyValue::Kvlist),
        ]
    })
}

fn any_attributes(len_max: usize) -> impl Strategy<Value = Attributes> {
    prop::collection::btree_map(key(), any_value(), 0..len_max).prop_map(|map| map.into_iter().collect())
}

prop_compose! {
    fn any_event()(name in text(), time_ns in any::<u64>(), attributes in any_attributes(3), dropped in 0u32..2) -> Event {
        Event { name, time_ns, attributes, dropped_attributes_count: dropped }
    }
}

prop_compose! {
    fn any_link()(trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), trace_state in text(),
                  flags in any::<u32>(), attributes in any_attributes(3)) -> Link {
        Link { trace_id, span_id, trace_state, flags, attributes, dropped_attributes_count: 0 }
    }
}

prop_compose! {
    fn any_span()(
        ids in (prop::option::of(any::<[u8; 8]>()), any::<u32>(), -2i32..8, 0i32..4),
        texts in (text(), text(), text()),
        times in (prop_oneof![Just(0), Just(START_NS), any::<u64>()], prop_oneof![Just(0), Just(START_NS), any::<u64>()]),
        attributes in any_attributes(8),
        duplicates in prop::collection::vec((key(), any_value()), 0..2),
        events in prop::collection::vec(any_event(), 0..3),
        links in prop::collection::vec(any_link(), 0..2),
        dropped in (0u32..2, 0u32..2, 0u32..2),
        unknown_fields in prop::collection::vec(any::<u8>(), 0..3),
        repairs in prop::sample::subsequence(&REPAIRS[..], 0..3),
    ) -> Span {
        Span {
            logs: Vec::new(),
            trace_id: [7; 16],
            span_id: [1; 8],
            parent_span_id: ids.0,
            flags: ids.1,
            kind: ids.2,
            status: Status { code: ids.3, message: texts.0 },
            name: texts.1,
            trace_state: texts.2,
            start_ns: times.0,
            end_ns: times.1,
            attributes,
            duplicate_attributes: duplicates,
            events,
            links,
            dropped_attributes_count: dropped.0,
            dropped_events_count: dropped.1,
            dropped_links_count: dropped.2,
            unknown_fields,
            repairs,
        }
    }
}

/// Lists of key and value have no order worth keeping, unless a key stands twice.
fn in_order(value: &AnyValue) -> AnyValue {
    match value {
        AnyValue::Array(items) => AnyValue::Array(items.iter().map(in_order).collect()),
        AnyValue::Kvlist(pairs) => AnyValue::Kvlist(pairs_in_order(pairs)),
        other => other.clone(),
    }
}

fn pairs_in_order(pairs: &[(String, AnyValue)]) -> Vec<(String, AnyValue)> {
    let mut pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.clone(), in_order(value))).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

/// As text, because NaN is not equal to itself.
fn comparable(span: &Span) -> String {
    let mut span = span.clone();
    span.attributes = pairs_in_order(&span.attributes);
    span.duplicate_attributes =
        span.duplicate_attributes.iter().map(|(key, value)| (key.clone(), in_order(value))).collect();
    for event in &mut span.events {
        event.attributes = pairs_in_order(&event.attributes);
    }
    for link in &mut span.links {
        link.attributes = pairs_in_order(&link.attributes);
    }
    format!("{span:?}")
}

/// As a database gives it back: another order of keys.
fn through_a_database(step: &Step) -> Step {
    let parsed: Value = serde_json::from_str(&step.detail).unwrap();
    Step { detail: parsed.to_string(), ..step.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_span_comes_back_from_its_step_without_loss(sent in any_span()) {
        let step = map(sent.clone());
        prop_assert!(!holds_nul(&step.detail));
        prop_assert!(!holds_nul(&serde_json::to_string(&step.facts).unwrap()));
        for text in [Some(&step.name), step.input.as_ref(), step.output.as_ref(), step.error.as_ref(), step.model.as_ref()] {
            prop_assert!(!text.is_some_and(|text| text.contains('\0')));
        }
        prop_assert_eq!(step.error.is_some(), step.status == crate::model::step::Status::Error);
        let back = detail::span(&through_a_database(&step)).unwrap();
        prop_assert_eq!(comparable(&back), comparable(&sent));
        // The hash knows the span again.
        prop_assert_eq!(SpanHasher::default().hash(&back, step.origin), step.content_hash);

        let shown = metadata(&step, None);
        let attributes = detail::read::attributes_of(shown.get("attributes").cloned());
        prop_assert_eq!(format!("{:?}", pairs_in_order(&attributes)), format!("{:?}", pairs_in_order(&sent.attributes)));
        prop_assert!(!shown.contains_key("in_columns"));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn versions_merge_to_the_same_step_in_any_order(
        sent in prop::collection::vec((any_span(), 0usize..2), 3..5),
        seed in any::<u64>(),
    ) {
        let (versions, origins) = versions_of(sent);
        let origin_of = |id: Uuid| origins.get(&id).cloned();
        let merged = |order: &[usize]| {
            order.iter().map(|index| versions[*index].clone()).reduce(|a, b| merge(a, b, &Prices::none(), &origin_of)).unwrap()
        };
        let straight: Vec<usize> = (0..versions.len()).collect();
        let expected = merged(&straight);
        for order in permutations(&straight) {
            prop_assert_eq!(&merged(&order), &expected);
        }
        // Copies change nothing, nor does any grouping.
        for version in &versions {
            prop_assert_eq!(&merge(expected.clone(), version.clone(), &Prices::none(), &origin_of), &expected);
            prop_assert_eq!(&merge(version.clone(), through_a_database(&expected), &Prices::none(), &origin_of), &expected);
        }
        let split = 1 + (seed as usize) % (versions.len() - 1);
        let (left, right) = (merged(&straight[..split]), merged(&straight[split..]));
        prop_assert_eq!(&merge(right, left, &Prices::none(), &origin_of), &expected);
    }
}

fn versions_of(sent: Vec<(Span, usize)>) -> (Vec<Step>, HashMap<Uuid, String>) {
    let mut origins = HashMap::new();
    let versions = sent.into_iter().map(|(mut span, producer)| {
        // One partition: the start decides the day.
        span.start_ns = START_NS;
        let origin = Origin { scope_name: format!("producer {producer}"), ..Origin::default() };
        let (step, row) = map_from(span, origin);
        origins.insert(row.id, row.body);
        step
    });
    (versions.collect(), origins)
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    if items.len() <= 1 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for (place, first) in items.iter().enumerate() {
        let rest: Vec<usize> = items.iter().enumerate().filter(|(i, _)| *i != place).map(|(_, item)| *item).collect();
        all.extend(permutations(&rest).into_iter().map(|tail| [&[*first][..], &tail].concat()));
    }
    all
}

#[test]
fn the_better_version_wins_and_takes_what_it_lacks() {
    let mut started = span("chat m", &[("gen_ai.operation.name", "chat"), ("session.id", "s1"), ("step", "1")]);
    started.end_ns = 0;
    let ended = span("chat m", &[("gen_ai.operation.name", "chat"), ("step", "2"), ("gen_ai.usage.input_tokens", "5")]);
    let merged = merge(map(started), map(ended.clone()), &Prices::none(), &|_| None);
    assert_eq!(merged.status, crate::model::step::Status::Success);
    assert_eq!(merged.facts.session_id.as_deref(), Some("s1"));
    assert_eq!(merged.usage.input, Some(5));
    let shown = metadata(&merged, None);
    assert_eq!(shown["attributes"]["step"], Value::from(2));
    assert_eq!(shown["otel"]["versions"][0]["detail"]["attributes"]["step"], Value::from(1));
    // What was added is not mistaken for the winner's own.
    assert_eq!(detail::span(&merged), Some(ended));
}

#[test]
fn versions_are_bounded_by_rank() {
    let versions: Vec<Step> = (0..12)
        .map(|n| {
            let mut sent = span("x", &[]);
            sent.end_ns = START_NS + n;
            map(sent)
        })
        .collect();
    let forward = versions.iter().cloned().reduce(|a, b| merge(a, b, &Prices::none(), &|_| None)).unwrap();
    let backward = versions.iter().rev().cloned().reduce(|a, b| merge(a, b, &Prices::none(), &|_| None)).unwrap();
    assert_eq!(forward, backward);
    assert_eq!(forward.end_ns, Some(START_NS + 11));
    let shown = metadata(&forward, None);
    assert_eq!(shown["otel"]["versions"].as_array().map(Vec::len), Some(VERSIONS_MAX - 1));
}

#[test]
fn the_hash_sees_every_part_but_not_the_order_of_keys() {
    let base = span("x", &[("a", "1")]);
    let mut hasher = SpanHasher::default();
    let plain = hasher.hash(&base, None);
    let mut changes: Vec<Span> = vec![base.clone(); 6];
    changes[0].name.push('y');
    changes[1].parent_span_id = Some([2; 8]);
    changes[2].attributes[0].1 = AnyValue::Double(1.0);
    changes[3].events.push(event("e", &[]));
    changes[4].links.push(Link::default());
    changes[5].unknown_fields.push(0);
    for changed in changes {
        assert_ne!(hasher.hash(&changed, None), plain);
    }
    assert_ne!(hasher.hash(&base, Some(Uuid::from_u128(1))), plain);
    let list = |pairs: Vec<(String, AnyValue)>| {
        let mut span = base.clone();
        span.attributes[0].1 = AnyValue::Kvlist(pairs);
        SpanHasher::default().hash(&span, None)
    };
    let (a, b) = (("a".to_owned(), AnyValue::Int(1)), ("b".to_owned(), AnyValue::Int(2)));
    assert_eq!(list(vec![a.clone(), b.clone()]), list(vec![b, a]));
}
