//! Odd and bad telemetry, OTLP-81 to OTLP-96: what is rejected, what is mended, and what must come back as it was sent.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use super::exchange::{Answer, JSON, PROTOBUF, bare, in_both_encodings, run, send, step};
use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;
use crate::spans::{START_NS, agent_trace, encoded, request, run_id, span_id, text};

fn some(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(some(value)), ..KeyValue::default() }
}

/// A field with bytes in it, as on the wire.
fn field(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}

/// A request around spans that are given as bytes.
fn frame(spans: &[Vec<u8>]) -> Vec<u8> {
    field(1, &field(2, &spans.iter().flat_map(|span| field(2, span)).collect::<Vec<u8>>()))
}

fn repairs(step: &Value) -> &Value {
    &step["metadata"]["otel"]["repairs"]
}

/// Bad spans that `of` makes for a trace, each between two good ones; in both encodings all of the bad are rejected and
/// all of the good are stored.
async fn each_costs_itself(url: &str, of: impl Fn(u64) -> Vec<Span>, reason: &str) {
    let collector = Collector::start(url, &[]).await;
    let bad = of(0).len() as i64;
    let spans = |trace: u64| {
        let mut spans = vec![bare(trace, 0)];
        for (n, bad) in (1..).zip(of(trace)) {
            spans.extend([bad, bare(trace, n)]);
        }
        spans
    };
    for (answer, run) in in_both_encodings(&collector, spans).await {
        assert_eq!((answer.status, answer.rejected), (200, bad), "{answer:?}");
        assert!(answer.message.contains("spans[1]: ") && answer.message.contains(reason), "{answer:?}");
        assert_eq!(run["stats"]["total_steps"], bad + 1, "{run:#}");
    }
}

async fn otlp_81_a_bad_trace_id_costs_its_span(url: &str) {
    let bad = |_| {
        let lengths = [0, 1, 8, 15, 17, 32].map(|length| vec![7; length]);
        lengths.into_iter().chain([vec![0; 16]]).map(|trace_id| Span { trace_id, ..bare(0, 90) }).collect()
    };
    each_costs_itself(url, bad, "traceId must have 16 bytes").await;
}
on_both_stores!(otlp_81_a_bad_trace_id_costs_its_span);

async fn otlp_82_a_bad_span_id_costs_its_span(url: &str) {
    let bad = |trace| {
        let lengths = [0, 1, 7, 9, 16].map(|length| vec![7; length]);
        lengths.into_iter().chain([vec![0; 8]]).map(|span_id| Span { span_id, ..bare(trace, 90) }).collect()
    };
    each_costs_itself(url, bad, "spanId must have 8 bytes").await;
}
on_both_stores!(otlp_82_a_bad_span_id_costs_its_span);

#[tokio::test]
async fn otlp_83_a_parent_that_cannot_be_makes_a_root() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let parents = [vec![], vec![0; 8], vec![1; 7], span_id(3)];
    let spans = |trace: u64| {
        (0..).zip(parents.clone()).map(|(n, parent_span_id)| Span { parent_span_id, ..bare(trace, n) }).collect()
    };
    for (answer, run) in in_both_encodings(&collector, spans).await {
        assert!(answer.is_full_success(), "{answer:?}");
        let noted = [Value::Null, Value::Null, json!(["parent_id_length"]), json!(["self_parent"])];
        for (n, noted) in (0..).zip(noted) {
            let step = step(&run, n);
            assert_eq!((&step["parent_id"], repairs(&step)), (&Value::Null, &noted), "{step:#}");
        }
    }
}

#[tokio::test]
async fn otlp_84_a_link_to_nowhere_is_dropped() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let link = |trace_id: Vec<u8>, span_id: Vec<u8>| Link { trace_id, span_id, ..Link::default() };
    let links = vec![link(vec![1; 16], vec![2; 3]), link(vec![1; 16], vec![2; 8]), link(vec![0; 16], vec![2; 8])];
    let spans = |trace| vec![Span { links: links.clone(), ..bare(trace, 0) }];
    for (answer, run) in in_both_encodings(&collector, spans).await {
        assert!(answer.is_full_success(), "{answer:?}");
        let step = step(&run, 0);
        let kept = step["metadata"]["links"].as_array().unwrap();
        assert_eq!((kept.len(), &kept[0]["span_id"]), (1, &json!("0202020202020202")));
        assert_eq!(repairs(&step), &json!(["link_dropped"]));
    }
}

async fn otlp_85_an_end_before_the_start_is_kept(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let times = |trace, start: u64, end: u64| Span {
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..bare(trace, u64::from(end == 0))
    };
    let spans = |trace| vec![times(trace, START_NS + 5_000_000, START_NS), times(trace, START_NS, 0)];
    for (answer, run) in in_both_encodings(&collector, spans).await {
        assert!(answer.is_full_success(), "{answer:?}");
        let inverted = step(&run, 0);
        assert_eq!((&inverted["latency_ms"], repairs(&inverted)), (&json!(0.0), &json!(["time_inverted"])));
        assert_eq!(inverted["started_at"], "2026-11-01T00:00:00.005000Z");
        assert_eq!(inverted["ended_at"], "2026-11-01T00:00:00.000000Z");
        let unended = step(&run, 1);
        assert_eq!((&unended["status"], &unended["ended_at"]), (&json!("running"), &Value::Null), "{unended:#}");
        assert!(run["run"]["latency"].as_f64().is_none_or(|latency| latency >= 0.0), "{run:#}");
    }
}
on_both_stores!(otlp_85_an_end_before_the_start_is_kept);

async fn otlp_86_times_of_any_size_are_stored_and_listed(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let times = [0, 1, START_NS + (365 * 86_400) * 1_000_000_000, 1 << 63, u64::MAX];
    for (trace, time) in (0..).zip(times) {
        let span = |trace| Span { start_time_unix_nano: time, end_time_unix_nano: time, ..bare(trace, 0) };
        let protobuf = send(&collector, PROTOBUF, encoded(vec![span(2 * trace)])).await;
        let json = send(&collector, JSON, serde_json::to_vec(&request(vec![span(2 * trace + 1)])).unwrap()).await;
        for (answer, trace) in [(protobuf, 2 * trace), (json, 2 * trace + 1)] {
            assert!(answer.is_full_success(), "{time}: {answer:?}");
            let run = run(&collector, trace).await;
            let step = step(&run, 0);
            assert_eq!(step["id"], "0000000000000001", "{time}");
            // What no column can hold stands as it was sent.
            let raw = if time > i64::MAX as u64 { json!(time.to_string()) } else { Value::Null };
            assert_eq!(step["metadata"]["otel"]["start_ns"], raw, "{step:#}");
        }
    }
    let (_, listed) = collector.get("/runs?limit=100").await;
    let listed: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect();
    let seen = (0..10).filter(|trace| listed.contains(&run_id(*trace).as_str())).count();
    assert!(seen == 10 || listed.is_empty(), "all are listed, or none is worth listing: {listed:?}");
}
on_both_stores!(otlp_86_times_of_any_size_are_stored_and_listed);

/// The run without what tells this copy of it from another.
fn comparable(mut detail: Value) -> Value {
    for field in ["created_at", "updated_at"] {
        detail["run"].as_object_mut().unwrap().remove(field);
    }
    detail
}

async fn otlp_87_copies_in_any_order_change_nothing(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_RUNS__SETTLE", "0s")]).await;
    let mut random = rand::rng();
    let first = send(&collector, PROTOBUF, encoded(agent_trace(0))).await;
    assert!(first.is_full_success());
    let before = comparable(run(&collector, 0).await);
    for _ in 0..3 {
        let mut copies = [agent_trace(0), agent_trace(0), agent_trace(0)].concat();
        copies.shuffle(&mut random);
        assert!(send(&collector, PROTOBUF, encoded(copies)).await.is_full_success());
        assert_eq!(comparable(run(&collector, 0).await), before);
    }
    // A span that is sent when it starts and again when it has ended, both ways round.
    for (trace, is_reversed) in [(1, false), (2, true)] {
        let ended = agent_trace(trace)[1].clone();
        let started = Span { end_time_unix_nano: 0, attributes: vec![text("early", "yes")], ..ended.clone() };
        let mut versions = vec![started, ended];
        if is_reversed {
            versions.reverse();
        }
        for version in versions {
            assert!(send(&collector, PROTOBUF, encoded(vec![version])).await.is_full_success());
        }
    }
    let [one, other] = [run(&collector, 1).await, run(&collector, 2).await].map(|run| step(&run, 1));
    assert_eq!(one, other);
    assert_eq!((&one["latency_ms"], &one["metadata"]["attributes"]["early"]), (&json!(44.0), &json!("yes")), "{one:#}");
}
on_both_stores!(otlp_87_copies_in_any_order_change_nothing);

#[tokio::test]
async fn otlp_88_attributes_of_every_kind() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let mixed = vec![some(Any::IntValue(1)), some(Any::StringValue("a".into())), AnyValue::default()];
    let attributes = vec![
        pair("twice", Any::IntValue(1)),
        pair("", Any::StringValue("no key".into())),
        KeyValue { key: "nothing".into(), ..KeyValue::default() },
        KeyValue { key: "empty".into(), value: Some(AnyValue::default()), ..KeyValue::default() },
        pair("mixed", Any::ArrayValue(ArrayValue { values: mixed })),
        pair(
            "list",
            Any::KvlistValue(KeyValueList {
                values: vec![pair("b", Any::BoolValue(true)), pair("a", Any::DoubleValue(1.5))],
            }),
        ),
        pair("bytes", Any::BytesValue(vec![0, 255])),
        pair("twice", Any::IntValue(2)),
    ];
    let spans = |trace| vec![Span { attributes: attributes.clone(), ..bare(trace, 0) }];
    for (answer, run) in in_both_encodings(&collector, spans).await {
        assert!(answer.is_full_success(), "{answer:?}");
        let metadata = &step(&run, 0)["metadata"];
        let expected = json!({
            "": "no key", "nothing": null, "empty": null, "mixed": [1, "a", null], "list": {"a": 1.5, "b": true},
            "bytes": {"$bytes": "AP8="}, "twice": 2
        });
        assert_eq!(metadata["attributes"], expected);
        assert_eq!(metadata["otel"]["duplicate_attributes"], json!([["twice", 1]]));
    }
}

async fn otlp_89_extreme_numbers_survive(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let attributes = vec![
        pair("min", Any::IntValue(i64::MIN)),
        pair("max", Any::IntValue(i64::MAX)),
        pair("safe", Any::IntValue((1 << 53) - 1)),
        pair("nan", Any::DoubleValue(f64::NAN)),
        pair("up", Any::DoubleValue(f64::INFINITY)),
        pair("down", Any::DoubleValue(f64::NEG_INFINITY)),
        pair("zero", Any::DoubleValue(-0.0)),
        pair("large", Any::DoubleValue(f64::MAX)),
        pair("small", Any::DoubleValue(f64::MIN_POSITIVE)),
    ];
    let expected = json!({
        "min": {"$int": "-9223372036854775808"}, "max": {"$int": "9223372036854775807"}, "safe": 9_007_199_254_740_991_u64,
        "nan": {"$double": "NaN"}, "up": {"$double": "Infinity"}, "down": {"$double": "-Infinity"},
        "zero": {"$double": "-0e0"}, "large": {"$double": "1.7976931348623157e308"},
        "small": {"$double": "2.2250738585072014e-308"}
    });
    assert!(send(&collector, PROTOBUF, encoded(vec![Span { attributes, ..bare(0, 0) }])).await.is_full_success());
    assert_eq!(step(&run(&collector, 0).await, 0)["metadata"]["attributes"], expected);
    let value = |name: &str, value: &str| format!(r#"{{"key":"{name}","value":{{{value}}}}}"#);
    let written = [
        value("min", r#""intValue":"-9223372036854775808""#),
        value("max", r#""intValue":9223372036854775807"#),
        value("safe", r#""intValue":9007199254740991.0"#),
        value("nan", r#""doubleValue":"NaN""#),
        value("up", r#""doubleValue":"Infinity""#),
        value("down", r#""doubleValue":"-Infinity""#),
        value("zero", r#""doubleValue":-0.0"#),
        value("large", r#""doubleValue":1.7976931348623157e308"#),
        value("small", r#""doubleValue":"2.2250738585072014E-308""#),
    ];
    let ids =
        format!(r#""traceId":"{}","spanId":"0000000000000001""#, uuid::Uuid::parse_str(&run_id(1)).unwrap().simple());
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids},"attributes":[{}]}}]}}]}}]}}"#,
        written.join(",")
    );
    assert!(send(&collector, JSON, body.into()).await.is_full_success());
    assert_eq!(step(&run(&collector, 1).await, 0)["metadata"]["attributes"], expected);
}
on_both_stores!(otlp_89_extreme_numbers_survive);

async fn otlp_90_odd_strings_cost_nothing(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let attribute = |key: &[u8], value: &[u8]| field(9, &[field(1, key), field(2, &field(1, value))].concat());
    let span = [
        bare(0, 0).encode_to_vec(),
        field(5, b"a\0b"),
        attribute(b"surrogate", b"\xed\xa0\x80"),
        attribute(b"byte", b"x\xff"),
        attribute(b"nul", b"a\0b"),
        attribute(b"k\0ey", b"v"),
    ]
    .concat();
    let answer = send(&collector, PROTOBUF, frame(&[span, bare(0, 1).encode_to_vec()])).await;
    assert!(answer.is_full_success(), "{answer:?}");
    let run_0 = run(&collector, 0).await;
    assert_eq!(run_0["stats"]["total_steps"], 2);
    let mended = step(&run_0, 0);
    assert_eq!(repairs(&mended), &json!(["invalid_utf8"]));
    let text = mended["metadata"]["attributes"].to_string();
    assert!(text.contains("\u{fffd}\u{fffd}\u{fffd}") && text.contains("x\u{fffd}") && text.contains("YQBi"), "{text}");
    let ids =
        format!(r#""traceId":"{}","spanId":"0000000000000001""#, uuid::Uuid::parse_str(&run_id(1)).unwrap().simple());
    let members = r#""name":"a\u0000b\ud800","attributes":[{"key":"nul","value":{"stringValue":"a\u0000b"}}]"#;
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids},{members}}}]}}]}}]}}"#);
    assert!(send(&collector, JSON, body.into()).await.is_full_success());
    let step = step(&run(&collector, 1).await, 0);
    assert_eq!(
        (repairs(&step), &step["metadata"]["attributes"]["nul"]),
        (&json!(["invalid_utf8"]), &json!({"$text": "YQBi"}))
    );
}
on_both_stores!(otlp_90_odd_strings_cost_nothing);

async fn otlp_91_nesting_is_followed_and_then_marked(url: &str) {
    let collector = Collector::start(url, &[]).await;
    for (trace, levels) in (0..).zip([30_usize, 64, 65, 10_000]) {
        let mut value = Vec::new();
        for _ in 0..levels {
            value = field(5, &field(1, &value));
        }
        let span = [bare(trace, 0).encode_to_vec(), field(9, &[field(1, b"k"), field(2, &value)].concat())].concat();
        let protobuf = frame(&[span, bare(trace, 1).encode_to_vec()]);
        let json_trace = trace + 10;
        let id = uuid::Uuid::parse_str(&run_id(json_trace)).unwrap().simple();
        let value = r#"{"arrayValue":{"values":["#.repeat(levels) + "{}" + &"]}}".repeat(levels);
        let json = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{id}","spanId":"0000000000000001","attributes":[{{"key":"k","value":{value}}}]}},{{"traceId":"{id}","spanId":"0000000000000002"}}]}}]}}]}}"#
        );
        for (content_type, body, trace) in [(PROTOBUF, protobuf, trace), (JSON, json.into_bytes(), json_trace)] {
            let answer = send(&collector, content_type, body).await;
            assert!(answer.is_full_success(), "{levels}: {answer:?}");
            let run = run(&collector, trace).await;
            assert_eq!(run["stats"]["total_steps"], 2, "{levels} levels: the neighbour is stored");
            let step = step(&run, 0);
            let is_marked = step["metadata"]["attributes"]["k"].to_string().contains("nested deeper than 64 levels");
            assert_eq!(is_marked, levels > 64, "{levels} levels");
            assert_eq!(repairs(&step), &if levels > 64 { json!(["too_deep"]) } else { Value::Null });
        }
    }
}
on_both_stores!(otlp_91_nesting_is_followed_and_then_marked);

async fn otlp_92_a_prompt_of_five_megabytes_is_kept_whole(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let prompt = "Wörter ".repeat((5 << 20) / 8 + 1);
    let spans = |trace| {
        let attributes = vec![text("gen_ai.operation.name", "chat"), text("my.prompt", &prompt)];
        vec![Span { attributes, ..bare(trace, 0) }]
    };
    for (answer, run) in in_both_encodings(&collector, spans).await {
        assert!(answer.is_full_success(), "{answer:?}");
        assert!(step(&run, 0)["metadata"]["attributes"]["my.prompt"] == prompt.as_str(), "it came back otherwise");
    }
}
on_both_stores!(otlp_92_a_prompt_of_five_megabytes_is_kept_whole);

#[tokio::test]
async fn otlp_93_unknown_fields_of_protobuf_cost_nothing() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    // A message, a varint, fixed numbers, a group with a group in it; none of them known anywhere.
    let unknown = [
        &field(99, b"later")[..],
        &[0xc0, 0x3e, 5],
        &[0xc9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xd5, 0x3e, 1, 2, 3, 4],
        &[0xdb, 0x3e, 0xe3, 0x3e, 8, 1, 0xe4, 0x3e, 0xdc, 0x3e],
    ]
    .concat();
    let body = |trace: u64, unknown: &[u8]| {
        let with = |message: Vec<u8>| [&message[..], unknown].concat();
        let value = with(field(1, b"v"));
        let attribute = with([field(1, b"k"), field(2, &value)].concat());
        let event = with([field(2, b"happened"), field(3, &attribute)].concat());
        let link = with([field(1, &[9; 16]), field(2, &[9; 8])].concat());
        let status = with(field(2, b"said"));
        let flags = [0x85, 0x01, 0xff, 0xff, 0xff, 0xff];
        let ids = bare(trace, 0).encode_to_vec();
        let kind = [0x30, 99];
        let span = [
            &ids[..],
            &kind,
            &field(9, &attribute),
            &field(11, &event),
            &field(13, &link),
            &field(15, &status),
            &flags,
        ]
        .concat();
        let resource = with(field(1, &attribute));
        let scope = with([field(1, b"scope"), field(3, &attribute)].concat());
        let scope_spans = with([field(1, &scope), field(2, &span)].concat());
        with(field(1, &with([field(1, &resource), field(2, &scope_spans)].concat())))
    };
    for (trace, unknown) in [(0, &[][..]), (1, &unknown)] {
        let answer = send(&collector, PROTOBUF, body(trace, unknown)).await;
        assert!(answer.is_full_success(), "{answer:?}");
    }
    let [plain, with_unknown] = [run(&collector, 0).await, run(&collector, 1).await].map(|run| step(&run, 0));
    assert_eq!(plain, with_unknown);
    assert_eq!(
        (&plain["metadata"]["otel"]["kind"], &plain["metadata"]["otel"]["flags"]),
        (&json!(99), &json!(u32::MAX))
    );
    // Of a span itself they are kept; an index into a table that traces do not have is no value.
    let attribute = [field(1, b"k"), field(2, &[0x40, 7]), vec![0x18, 7]].concat();
    let span = [bare(2, 0).encode_to_vec(), field(99, b"later"), field(9, &attribute)].concat();
    assert!(send(&collector, PROTOBUF, frame(&[span])).await.is_full_success());
    let step = step(&run(&collector, 2).await, 0);
    assert_eq!(step["metadata"]["otel"]["unknown_fields"], "mgYFbGF0ZXI=");
    assert_eq!((repairs(&step), &step["metadata"]["attributes"]["k"]), (&json!(["string_index"]), &Value::Null));
}

#[tokio::test]
async fn otlp_94_what_is_missing_is_empty_and_what_is_there_is_kept() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let minimal = frame(&[bare(0, 0).encode_to_vec()]);
    assert!(send(&collector, PROTOBUF, minimal).await.is_full_success());
    assert!(step(&run(&collector, 0).await, 0).is_object());
    let mut whole = request(vec![Span {
        dropped_attributes_count: 1,
        dropped_events_count: 2,
        dropped_links_count: 3,
        events: vec![Event { name: "e".into(), dropped_attributes_count: 4, ..Event::default() }],
        links: vec![Link {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            dropped_attributes_count: 5,
            ..Link::default()
        }],
        ..bare(1, 0)
    }]);
    let ResourceSpans { resource, scope_spans, schema_url } = &mut whole.resource_spans[0];
    resource.as_mut().unwrap().dropped_attributes_count = 6;
    *schema_url = "https://a.example/resource".into();
    scope_spans[0].scope.as_mut().unwrap().dropped_attributes_count = 7;
    scope_spans[0].schema_url = "https://a.example/scope".into();
    assert!(send(&collector, PROTOBUF, whole.encode_to_vec()).await.is_full_success());
    let metadata = &step(&run(&collector, 1).await, 0)["metadata"];
    assert_eq!(metadata["otel"]["dropped"], json!({"attributes": 1, "events": 2, "links": 3}));
    assert_eq!(metadata["events"][0]["dropped_attributes_count"], 4);
    assert_eq!(metadata["links"][0]["dropped_attributes_count"], 5);
    assert_eq!(metadata["resource"]["dropped_attributes_count"], 6, "{metadata:#}");
    assert_eq!(metadata["scope"]["dropped_attributes_count"], 7);
    let text = metadata.to_string();
    assert!(text.contains("https://a.example/resource") && text.contains("https://a.example/scope"), "{text}");
}

async fn otlp_95_records_outlive_wrong_ids_and_metrics_are_counted(url: &str) {
    let collector = Collector::start(url, &[]).await;
    assert!(send(&collector, PROTOBUF, encoded(vec![bare(0, 0)])).await.is_full_success());
    let id = uuid::Uuid::parse_str(&run_id(0)).unwrap().simple();
    let records = [
        "{}".to_owned(),
        r#"{"traceId":"","spanId":""}"#.to_owned(),
        r#"{"traceId":"0102","spanId":"0000000000000001","severityNumber":1}"#.to_owned(),
        r#"{"traceId":"xyz","severityNumber":2}"#.to_owned(),
        format!(
            r#"{{"traceId":"{id}","spanId":"0000000000000001","severityNumber":9,"body":{{"stringValue":"mine"}}}}"#
        ),
    ];
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records.join(","));
    assert_eq!(collector.post_to("/v1/logs", JSON, body.into()).await, (200, b"{}".to_vec()), "all are taken");
    let mut run_0 = run(&collector, 0).await;
    assert_eq!(step(&run_0, 0)["metadata"]["logs"].as_array().map(Vec::len), Some(1), "{run_0:#}");
    run_0["tree"].take();
    let metric = |data: &[u8]| field(1, &field(2, &field(2, data)));
    let no_points = metric(&[field(1, b"name"), field(5, &[])].concat());
    assert_eq!(collector.post_to("/v1/metrics", PROTOBUF, no_points).await, (200, vec![]));
    let unknown = metric(&[field(1, b"name"), field(99, &field(1, &[]))].concat());
    let (status, body) = collector.post_to("/v1/metrics", PROTOBUF, unknown).await;
    let answer = Answer::of(PROTOBUF, (status, body));
    assert_eq!((answer.status, answer.rejected), (200, 1), "{answer:?}");
    assert!(answer.message.contains("metrics[0]"), "{answer:?}");
}
on_both_stores!(otlp_95_records_outlive_wrong_ids_and_metrics_are_counted);

/// The long form by `VECTOROS_TEST_LONG=1`: 200,000 spans.
async fn otlp_96_a_trace_of_very_many_spans_in_any_order(url: &str) {
    let spans_count: u64 = if std::env::var_os("VECTOROS_TEST_LONG").is_some() { 200_000 } else { 20_000 };
    // A debug build on a busy machine may need long for one commit; how long requests wait is tested elsewhere.
    let collector = Collector::start(url, &[("VECTOROS_INGEST__HOLD", "60s")]).await;
    let key = collector.make_key("default", &["--quota", "steps=unlimited"]);
    // Each has one of the spans before it as its parent; the root is the first of all.
    let mut spans: Vec<Span> = (0..spans_count)
        .map(|n| Span {
            parent_span_id: if n == 0 { vec![] } else { span_id(n / 10) },
            name: format!("span {n}"),
            start_time_unix_nano: START_NS + n * 1000,
            end_time_unix_nano: START_NS + spans_count * 1000 - n,
            ..bare(0, n)
        })
        .collect();
    spans.shuffle(&mut rand::rng());
    for part in spans.chunks(spans_count as usize / 7 + 1) {
        let post = collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF);
        let answer = post.bearer_auth(&key).body(encoded(part.to_vec())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", collector.log());
        assert_eq!(answer.bytes().await.unwrap().len(), 0);
    }
    let run = collector.wait_for(&format!("/runs/{}", run_id(0)), |run| run["run"]["step_count"] == spans_count).await;
    assert_eq!((&run["run"]["name"], run["tree"].as_array().map(Vec::len)), (&json!("span 0"), Some(1)));
}
on_both_stores!(otlp_96_a_trace_of_very_many_spans_in_any_order);
