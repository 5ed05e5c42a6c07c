//! Both decoders against the types that opentelemetry-proto generates, and against damage.

mod generate;
mod hostile;
mod json;
mod logs;
mod protobuf;
mod slices;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;

use crate::model::span::Span;
use crate::otlp::{DecodeLimits, TraceRequest};

const LIMITS: DecodeLimits = DecodeLimits { spans_max: 1000, span_items_max: 1000, depth_max: 64 };

fn from_protobuf(request: &ExportTraceServiceRequest) -> TraceRequest {
    super::protobuf::decode_traces(&request.encode_to_vec(), LIMITS).unwrap()
}

fn from_json(text: &str) -> TraceRequest {
    super::json::decode_traces(text.as_bytes(), LIMITS).unwrap()
}

fn spans(request: &TraceRequest) -> Vec<&Span> {
    request.groups.iter().flat_map(|group| &group.items).collect()
}

fn total(request: &TraceRequest) -> u64 {
    spans(request).len() as u64 + request.rejections.count
}

fn sent(request: &ExportTraceServiceRequest) -> u64 {
    request.resource_spans.iter().flat_map(|group| &group.scope_spans).map(|group| group.spans.len() as u64).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Compared as text, because NaN is not equal to itself.
    #[test]
    fn both_encodings_of_a_request_are_one(request in generate::any_request()) {
        let protobuf = from_protobuf(&request);
        let json = from_json(&generate::to_json(&request).to_string());
        prop_assert_eq!(total(&protobuf), sent(&request));
        prop_assert_eq!(format!("{protobuf:?}"), format!("{json:?}"));
    }

    #[test]
    fn every_cut_of_a_request_is_survived(request in generate::any_request()) {
        let body = request.encode_to_vec();
        let step = body.len() / 512 + 1;
        for end in (0..body.len()).step_by(step) {
            let _ = super::protobuf::decode_traces(&body[..end], LIMITS);
        }
        let text = generate::to_json(&request).to_string();
        let step = text.len() / 512 + 1;
        for end in (0..text.len()).step_by(step) {
            prop_assert!(super::json::decode_traces(&text.as_bytes()[..end], LIMITS).is_err());
        }
    }

    #[test]
    fn any_bytes_are_survived(body in any::<Vec<u8>>()) {
        let _ = super::protobuf::decode_traces(&body, LIMITS);
        let _ = super::json::decode_traces(&body, LIMITS);
    }

    /// Damage of one byte anywhere: either the framing is broken, or every span that was sent is accounted for.
    #[test]
    fn a_flipped_byte_is_survived(request in generate::any_request(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = request.encode_to_vec();
        prop_assume!(!body.is_empty());
        let at = at.index(body.len());
        body[at] = byte;
        let _ = super::protobuf::decode_traces(&body, LIMITS);
        let mut text = generate::to_json(&request).to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        let _ = super::json::decode_traces(&text, LIMITS);
    }

    /// Bytes of a span alone may be anything: the framing holds, so each is counted and its neighbours stay.
    #[test]
    fn a_damaged_span_costs_itself(damaged in any::<Vec<u8>>()) {
        let good = generate::good_span(1).encode_to_vec();
        let body = protobuf::frame(&[&good, &damaged, &good]);
        let request = super::protobuf::decode_traces(&body, LIMITS).unwrap();
        prop_assert_eq!(total(&request), 3);
        prop_assert!(spans(&request).len() >= 2);
    }
}
