//! Bounds, at their edge, and bodies made to hurt.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue as SentValue, ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use prost::Message;

use super::generate::{good_span, pair, request, some, to_json};
use super::protobuf::{field, frame};
use super::{LIMITS, from_json, from_protobuf, spans, total};
use crate::model::batch::Rejections;
use crate::model::value::AnyValue;
use crate::otlp::{DecodeLimits, TraceRequest, json, protobuf};

/// Decodes both encodings of one request and holds them against each other.
fn both(spans: Vec<Sent>, limits: DecodeLimits) -> TraceRequest {
    let request = request(spans);
    let protobuf = protobuf::decode_traces(&request.encode_to_vec(), limits).unwrap();
    let json = json::decode_traces(to_json(&request).to_string().as_bytes(), limits).unwrap();
    assert_eq!(protobuf, json);
    protobuf
}

#[test]
fn spans_beyond_the_limit_are_counted() {
    let limits = DecodeLimits { spans_max: 3, ..LIMITS };
    assert!(both(vec![good_span(1); 3], limits).rejections.is_empty());
    let over = both(vec![good_span(1); 12], limits);
    assert_eq!((spans(&over).len(), over.rejections.count), (3, 9));
    assert_eq!(over.rejections.first.len(), Rejections::EXAMPLES_MAX);
    assert!(over.rejections.first[0].reason.contains("more than 3 spans"));
}

#[test]
fn a_span_of_too_many_items_is_rejected() {
    let limits = DecodeLimits { span_items_max: 4, ..LIMITS };
    let span = |count| {
        let event = opentelemetry_proto::tonic::trace::v1::span::Event {
            attributes: vec![pair("k", Any::BoolValue(true))],
            ..Default::default()
        };
        let attributes = (0..count).map(|n| pair(&format!("k{n}"), Any::BoolValue(true))).collect();
        Sent { attributes, events: vec![event], ..good_span(1) }
    };
    let request = both(vec![span(2), span(3), span(2)], limits);
    assert_eq!((spans(&request).len(), request.rejections.count), (2, 1));
    assert!(request.rejections.first[0].reason.contains("more than 4 attributes"));
}

fn nested(levels: usize) -> SentValue {
    let wrap = |inner, _| some(Any::ArrayValue(ArrayValue { values: vec![inner] }));
    (0..levels).fold(some(Any::IntValue(1)), wrap)
}

#[test]
fn nesting_is_read_to_the_limit_and_marked_below_it() {
    let limits = DecodeLimits { depth_max: 4, ..LIMITS };
    let read = |levels| {
        let span = Sent { attributes: vec![pair("k", nested(levels).value.unwrap())], ..good_span(1) };
        let request = both(vec![span], limits);
        (format!("{:?}", spans(&request)[0].attributes[0].1), spans(&request)[0].repairs.clone())
    };
    assert_eq!(read(4), ("Array([Array([Array([Array([Int(1)])])])])".into(), vec![]));
    let marked = r#"Array([Array([Array([Array([Str("(nested deeper than 4 levels)")])])])])"#;
    assert_eq!(read(5), (marked.into(), vec!["too_deep"]));
    assert_eq!(read(9), (marked.into(), vec!["too_deep"]));
}

#[test]
fn endless_nesting_costs_one_value() {
    let mut value = Vec::new();
    for _ in 0..3000 {
        value = field(5, &field(1, &value));
    }
    let span = [good_span(1).encode_to_vec(), field(9, &[field(1, b"k"), field(2, &value)].concat())].concat();
    let good = good_span(2).encode_to_vec();
    let request = protobuf::decode_traces(&frame(&[&span, &good]), LIMITS).unwrap();
    assert_eq!(spans(&request).len(), 2);
    assert_eq!(spans(&request)[0].repairs, ["too_deep"]);

    let levels = 100_000;
    let value = r#"{"arrayValue":{"values":["#.repeat(levels) + &"]}}".repeat(levels);
    let ids = r#""traceId":"01020304050607080910111213141516","spanId":"0102030405060708""#;
    let text = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids},"attributes":[{{"key":"k","value":{value}}}]}}]}}]}}]}}"#
    );
    assert_eq!(spans(&from_json(&text))[0].repairs, ["too_deep"]);
}

#[test]
fn lists_that_nest_deeper_when_stored_are_marked() {
    let read = |levels| {
        let wrap = |inner: SentValue, _| {
            some(Any::KvlistValue(KeyValueList { values: vec![pair("$k", inner.value.unwrap())] }))
        };
        let value = (0..levels).fold(some(Any::IntValue(1)), wrap);
        let request = both(vec![Sent { attributes: vec![pair("k", value.value.unwrap())], ..good_span(1) }], LIMITS);
        let span = spans(&request)[0];
        let stored = span.attributes[0].1.to_json().to_string();
        assert!(serde_json::from_str::<serde_json::Value>(&stored).is_ok());
        span.repairs.clone()
    };
    assert!(read(33).is_empty());
    assert_eq!(read(34), ["too_deep"]);
    assert_eq!(read(64), ["too_deep"]);
}

#[test]
fn millions_of_empty_spans_are_only_counted() {
    let scope = [0x12, 0x00].repeat(1 << 20);
    let request = protobuf::decode_traces(&field(1, &field(2, &scope)), DecodeLimits { spans_max: 100_000, ..LIMITS });
    let request = request.unwrap();
    assert_eq!((total(&request), request.rejections.first.len()), (1 << 20, Rejections::EXAMPLES_MAX));
    assert!(request.groups.is_empty());
}

#[test]
fn a_body_of_empty_values_is_rejected_before_it_is_built() {
    let list = |element: &[u8]| {
        let array = element.repeat((1 << 20) / element.len());
        [good_span(1).encode_to_vec(), field(9, &field(2, &field(5, &array)))].concat()
    };
    let good = good_span(2).encode_to_vec();
    let bomb = protobuf::decode_traces(&frame(&[&list(&[0x0a, 0x00]), &good]), LIMITS).unwrap();
    assert_eq!((spans(&bomb).len(), bomb.rejections.count), (1, 1));
    assert!(bomb.rejections.first[0].reason.contains("tiny or empty values"));
    // The smallest values that mean something pass, however many.
    let booleans = protobuf::decode_traces(&frame(&[&list(&[0x0a, 0x02, 0x10, 0x01]), &good]), LIMITS).unwrap();
    assert_eq!((spans(&booleans).len(), booleans.rejections.count), (2, 0));
}

#[test]
fn one_large_resource_is_not_copied_without_end() {
    let attribute = field(1, &pair("k", Any::StringValue("x".repeat(100_000))).encode_to_vec());
    let scopes = field(2, &field(2, &good_span(1).encode_to_vec())).repeat(1000);
    let body = field(1, &[field(1, &attribute), scopes].concat());
    let request = protobuf::decode_traces(&body, LIMITS).unwrap();
    assert_eq!(total(&request), 1000);
    assert!((1..20).contains(&request.groups.len()), "{} copies", request.groups.len());
}

#[test]
fn scopes_without_spans_cost_nothing() {
    let attribute = field(1, &pair("k", Any::StringValue("x".repeat(100_000))).encode_to_vec());
    let scopes = [field(2, &[]).repeat(1000), field(2, &field(2, &good_span(1).encode_to_vec()))].concat();
    let request = protobuf::decode_traces(&field(1, &[field(1, &attribute), scopes].concat()), LIMITS).unwrap();
    assert_eq!((spans(&request).len(), request.rejections.count), (1, 0));
}

#[test]
fn extreme_numbers_survive_both_encodings() {
    let attributes = vec![
        pair("a", Any::IntValue(i64::MIN)),
        pair("b", Any::IntValue(i64::MAX)),
        pair("c", Any::DoubleValue(-0.0)),
        pair("d", Any::DoubleValue(f64::INFINITY)),
        pair("e", Any::DoubleValue(f64::MIN_POSITIVE)),
        pair("f", Any::StringValue("a\0b".into())),
    ];
    let span = Sent { start_time_unix_nano: u64::MAX, attributes, ..good_span(1) };
    let request = both(vec![span.clone()], LIMITS);
    let AnyValue::Double(zero) = spans(&request)[0].attributes[2].1 else { panic!("not a double") };
    assert!(zero.is_sign_negative());
    assert_eq!(from_protobuf(&super::generate::request(vec![span])), request);
}
