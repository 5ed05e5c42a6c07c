//! A request in slices is the request.

use std::fmt::Debug;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;

use super::generate::{good_span, pair, to_json};
use super::protobuf::field;
use super::{LIMITS, spans};
use crate::model::span::Span;
use crate::otlp::{DecodeLimits, Encoding, Group, Malformed, Request, Slices, json, protobuf};

const MANY: DecodeLimits = DecodeLimits { spans_max: 100_000, ..LIMITS };

fn slices(body: &[u8], encoding: Encoding) -> Vec<Request<Span>> {
    let mut slices = Slices::of_traces(Bytes::copy_from_slice(body), encoding, MANY);
    let mut all = Vec::new();
    while !slices.is_done() {
        all.push(slices.next_slice().unwrap());
        assert!(all.len() < 1000, "it does not end");
    }
    all
}

/// The slices put together again.
fn joined<T: Debug>(slices: Vec<Request<T>>) -> Request<T> {
    let mut whole = Request::default();
    for slice in slices {
        for group in slice.groups {
            match whole.groups.last_mut() {
                Some(last) if group.position > 0 => {
                    assert_eq!((last.items.len(), &last.origin), (group.position, &group.origin));
                    last.items.extend(group.items);
                }
                _ => whole.groups.push(Group { position: 0, ..group }),
            }
        }
        whole.rejections.append(slice.rejections);
        whole.notes.append(slice.notes);
    }
    whole
}

/// Three resources with three scopes each, the good spans with bad ones between.
fn large() -> ExportTraceServiceRequest {
    let span = |n: usize| match n % 10 {
        3 => Default::default(),
        _ => opentelemetry_proto::tonic::trace::v1::Span { start_time_unix_nano: n as u64, ..good_span(1) },
    };
    let scope = |n: usize| ScopeSpans {
        spans: (0..700).map(span).collect(),
        schema_url: format!("s{n}"),
        ..ScopeSpans::default()
    };
    let resource = |n: usize| ResourceSpans {
        scope_spans: (0..3).map(scope).collect(),
        schema_url: format!("r{n}"),
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: (0..3).map(resource).collect() }
}

#[test]
fn slices_are_bounded_and_together_the_whole() {
    let request = large();
    let (body, text) = (request.encode_to_vec(), to_json(&request).to_string());
    let whole = protobuf::decode_traces(&body, MANY).unwrap();
    assert_eq!((whole.items(), whole.rejections.count, whole.groups.len()), (5670, 630, 9));
    for (body, encoding) in [(&body[..], Encoding::Protobuf), (text.as_bytes(), Encoding::Json)] {
        let slices = slices(body, encoding);
        assert_eq!(slices.iter().map(Request::items).collect::<Vec<_>>(), [2000, 2000, 1670]);
        assert_eq!(joined(slices), whole);
        let counted = Slices::of_traces(Bytes::copy_from_slice(body), encoding, MANY).count();
        assert_eq!(counted, Ok(6300));
    }
}

#[test]
fn a_request_that_fits_is_one_slice() {
    for count in [0, 1, 1999, 2000] {
        let body = super::generate::request(vec![good_span(1); count]).encode_to_vec();
        assert_eq!(slices(&body, Encoding::Protobuf).len(), 1, "{count}");
    }
    assert_eq!(
        slices(&super::generate::request(vec![good_span(1); 2001]).encode_to_vec(), Encoding::Protobuf).len(),
        2
    );
}

#[test]
fn bytes_and_structures_bound_a_slice_too() {
    let text = |bytes: usize| {
        let attribute =
            pair("k", opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue("x".repeat(bytes)));
        opentelemetry_proto::tonic::trace::v1::Span { attributes: vec![attribute], ..good_span(1) }
    };
    let of = |spans: Vec<_>| {
        let body = super::generate::request(spans).encode_to_vec();
        slices(&body, Encoding::Protobuf).iter().map(|slice| slice.items()).collect::<Vec<_>>()
    };
    assert_eq!(of(vec![text(3 << 19); 5]), [2, 2, 1]);
    assert_eq!(of(vec![good_span(1), text(5 << 20), good_span(1)]), [1, 1, 1], "larger than a slice, but alone");
    let empty_values = [good_span(1).encode_to_vec(), field(9, &[]).repeat(1000)].concat();
    let body = super::protobuf::frame(&vec![&empty_values[..]; 1000]);
    let slices = slices(&body, Encoding::Protobuf);
    assert_eq!(slices.iter().map(|slice| spans(slice).len()).sum::<usize>(), 1000);
    assert!(
        slices.iter().all(|slice| slice.items() < 400),
        "{:?}",
        slices.iter().map(Request::items).collect::<Vec<_>>()
    );
}

/// What comes after the first slice may not turn out to be no request when the first is stored.
#[test]
fn damage_behind_the_first_slice_is_found_by_counting() {
    let good = large().encode_to_vec();
    for behind in [&[0x0a, 5][..], &field(1, &[0x12, 5]), &field(1, &field(2, &[0x10, 5]))] {
        let body = [&good, behind].concat();
        let mut slices = Slices::of_traces(body.into(), Encoding::Protobuf, MANY);
        assert_eq!(slices.next_slice().unwrap().items(), 2000);
        assert!(matches!(slices.count(), Err(Malformed(_))));
    }
    let text = to_json(&large()).to_string();
    for behind in ["5", "{\"scopeSpans\":{}}", "{\"scopeSpans\":[{\"spans\":5}]}"] {
        let text = text.replacen("{\"resourceSpans\":[", "{\"resourceSpans\":[{},", 1);
        let text = format!("{},{behind}]}}", text.strip_suffix("]}").unwrap());
        let mut slices = Slices::of_traces(text.clone().into(), Encoding::Json, MANY);
        assert_eq!(slices.next_slice().unwrap().items(), 2000);
        assert!(matches!(slices.count(), Err(Malformed(_))), "{behind}");
        assert!(json::decode_traces(text.as_bytes(), MANY).is_err());
    }
}
