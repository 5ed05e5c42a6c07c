//! What only protobuf can get wrong, and the rules for one span.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use prost::Message;

use super::generate::{good_span, pair, request};
use super::{LIMITS, from_protobuf, spans};
use crate::model::value::AnyValue;
use crate::otlp::protobuf::decode_traces;
use crate::otlp::{Malformed, TraceRequest};

/// A field with bytes in it, as on the wire.
pub fn field(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}

/// A request of one resource and scope around spans that are given as bytes.
pub fn frame(spans: &[&[u8]]) -> Vec<u8> {
    let spans: Vec<u8> = spans.iter().flat_map(|span| field(2, span)).collect();
    field(1, &field(2, &spans))
}

fn decode(body: &[u8]) -> TraceRequest {
    decode_traces(body, LIMITS).unwrap()
}

/// One span with `extra` bytes behind it.
fn with(extra: &[u8]) -> TraceRequest {
    decode(&frame(&[&[&good_span(1).encode_to_vec(), extra].concat()]))
}

#[test]
fn nothing_is_an_empty_request() {
    assert_eq!(decode(&[]), TraceRequest::default());
    assert_eq!(decode(&field(1, &[])), TraceRequest::default());
    assert_eq!(decode(&field(1, &field(2, &[]))), TraceRequest::default());
}

#[test]
fn a_bad_span_is_named_and_its_neighbours_stay() {
    let good = good_span(1).encode_to_vec();
    let check = |bad: &[u8], reason: &str| {
        let request = decode(&frame(&[&good, bad, &good]));
        assert_eq!(spans(&request).len(), 2);
        assert_eq!(request.rejections.count, 1);
        let rejection = &request.rejections.first[0];
        assert_eq!(rejection.place, "resourceSpans[0].scopeSpans[0].spans[1]");
        assert!(rejection.reason.contains(reason), "{}", rejection.reason);
    };
    check(&[], "spanId must have 8 bytes but has 0");
    check(&good[..good.len() - 1], "ends inside a field");
    check(&Sent { trace_id: vec![1; 15], ..good_span(1) }.encode_to_vec(), "traceId must have 16 bytes but has 15");
    check(&Sent { trace_id: vec![0; 16], ..good_span(1) }.encode_to_vec(), "traceId must not be all zeros");
    check(&Sent { span_id: vec![1; 16], ..good_span(1) }.encode_to_vec(), "spanId must have 8 bytes but has 16");
    check(&[&good[..], &[0x28, 1]].concat(), "name has the wrong protobuf wire type");
    check(&[&good[..], &field(9, &[0x0a, 9, b'k'])].concat(), "ends inside a field");
}

#[test]
fn broken_framing_is_malformed_and_says_where() {
    let check = |body: &[u8], place: &str| {
        let Err(Malformed(message)) = decode_traces(body, LIMITS) else { panic!("{place} decoded") };
        assert!(message.contains(place), "{message}");
    };
    check(&[0x0a, 0x05], "in ExportTraceServiceRequest");
    check(&[0x08, 0x05], "in ExportTraceServiceRequest");
    check(&field(1, &[0x12, 0x05]), "in ResourceSpans");
    check(&field(1, &field(2, &[0x12, 0x05])), "in ScopeSpans");
    check(&field(1, &field(2, &[0x10, 0x05])), "in ScopeSpans");
}

#[test]
fn a_damaged_resource_costs_its_own_spans_only() {
    let spans_of = |resource: &[u8]| [field(2, &field(2, &good_span(1).encode_to_vec())), field(1, resource)].concat();
    let body = [field(1, &spans_of(&[0x0a, 9])), field(1, &spans_of(&[]))].concat();
    let request = decode(&body);
    assert_eq!((spans(&request).len(), request.rejections.count), (1, 1));
    assert!(request.rejections.first[0].reason.contains("resource cannot be read"));
}

#[test]
fn the_resource_may_stand_behind_its_spans() {
    let scope = field(2, &field(2, &good_span(1).encode_to_vec()));
    let attribute = field(1, &pair("service.name", Any::StringValue("s".into())).encode_to_vec());
    let request = decode(&field(1, &[scope, field(1, &attribute)].concat()));
    assert_eq!(request.groups[0].origin.resource, [("service.name".into(), AnyValue::Str("s".into()))]);
}

#[test]
fn unknown_fields_and_groups_of_a_span_are_kept_as_received() {
    let unknown = [&field(99, b"later")[..], &[0xa3, 0x06, 0x08, 0x01, 0xa4, 0x06]].concat();
    let request = with(&unknown);
    assert_eq!(spans(&request)[0].unknown_fields, unknown);
}

#[test]
fn of_a_repeated_field_the_last_counts() {
    assert_eq!(spans(&with(&field(5, b"renamed")))[0].name, "renamed");
    assert_eq!(spans(&with(&field(2, &[5; 8])))[0].span_id, [5; 8]);
}

#[test]
fn unknown_enum_numbers_are_kept() {
    let span = Sent { kind: -99, ..good_span(1) };
    assert_eq!(spans(&from_protobuf(&request(vec![span])))[0].kind, -99);
}

#[test]
fn text_that_is_not_utf8_is_mended() {
    let request = with(
        &[field(5, b"a\xff"), field(9, &[field(1, b"k"), field(2, &field(1, b"\xed\xa0\x80"))].concat())].concat(),
    );
    let span = spans(&request)[0];
    assert_eq!(span.name, "a\u{fffd}");
    assert_eq!(span.attributes[0].1, AnyValue::Str("\u{fffd}\u{fffd}\u{fffd}".into()));
    assert_eq!(span.repairs, ["invalid_utf8"]);
}

#[test]
fn a_link_to_nowhere_is_dropped() {
    let good = Link { trace_id: vec![1; 16], span_id: vec![2; 8], ..Link::default() };
    let links = vec![Link { span_id: vec![2; 3], ..good.clone() }, good];
    let request = from_protobuf(&request(vec![Sent { links, ..good_span(1) }]));
    let span = spans(&request)[0];
    assert_eq!((span.links.len(), &span.repairs[..]), (1, &["link_dropped"][..]));
}

#[test]
fn duplicate_attributes_are_set_aside() {
    let attributes = vec![pair("k", Any::IntValue(1)), pair("a", Any::IntValue(2)), pair("k", Any::IntValue(3))];
    let request = from_protobuf(&request(vec![Sent { attributes, ..good_span(1) }]));
    let span = spans(&request)[0];
    assert_eq!(span.attributes, [("a".into(), AnyValue::Int(2)), ("k".into(), AnyValue::Int(3))]);
    assert_eq!(span.duplicate_attributes, [("k".into(), AnyValue::Int(1))]);
}
