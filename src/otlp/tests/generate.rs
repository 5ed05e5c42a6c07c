//! Requests to decode: random ones, and the two ways to write each.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

pub fn some(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(some(value)), ..KeyValue::default() }
}

pub fn good_span(n: u8) -> Span {
    Span { trace_id: vec![7; 16], span_id: vec![n.max(1); 8], name: format!("span {n}"), ..Span::default() }
}

pub fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

/// Few keys, so that some are repeated.
fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-d]", "[a-z.]{1,12}", any::<String>()]
}

pub fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(AnyValue::default()),
        any::<String>().prop_map(|s| some(Any::StringValue(s))),
        any::<bool>().prop_map(|b| some(Any::BoolValue(b))),
        any::<i64>().prop_map(|n| some(Any::IntValue(n))),
        prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)]
            .prop_map(|d| some(Any::DoubleValue(d))),
        any::<Vec<u8>>().prop_map(|b| some(Any::BytesValue(b))),
    ];
    leaf.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| some(Any::ArrayValue(ArrayValue { values }))),
            vec((key(), option::of(inner)), 0..4).prop_map(|pairs| {
                let pair = |(key, value)| KeyValue { key, value, ..KeyValue::default() };
                some(Any::KvlistValue(KeyValueList { values: pairs.into_iter().map(pair).collect() }))
            }),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((key(), option::of(any_value())), 0..5).prop_map(|pairs| {
        pairs.into_iter().map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }).collect()
    })
}

/// Mostly an id, sometimes what is none.
fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), length), 1 => Just(vec![0; length]), 1 => vec(any::<u8>(), 0..20)]
}

prop_compose! {
    fn event()(
        time_unix_nano in any::<u64>(),
        name in any::<String>(),
        attributes in attributes(),
        dropped_attributes_count in any::<u32>(),
    ) -> Event {
        Event { time_unix_nano, name, attributes, dropped_attributes_count }
    }
}

prop_compose! {
    fn link()(
        trace_id in id(16),
        span_id in id(8),
        trace_state in any::<String>(),
        attributes in attributes(),
        dropped_attributes_count in any::<u32>(),
        flags in any::<u32>(),
    ) -> Link {
        Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
    }
}

prop_compose! {
    fn span()(
        (trace_id, span_id, parent_span_id) in (id(16), id(8), id(8)),
        (trace_state, name) in any::<(String, String)>(),
        (flags, kind, start_time_unix_nano, end_time_unix_nano) in any::<(u32, i32, u64, u64)>(),
        attributes in attributes(),
        (dropped_attributes_count, dropped_events_count, dropped_links_count) in any::<(u32, u32, u32)>(),
        events in vec(event(), 0..3),
        links in vec(link(), 0..3),
        status in option::of(any::<(String, i32)>().prop_map(|(message, code)| Status { message, code })),
    ) -> Span {
        Span {
            trace_id, span_id, parent_span_id, trace_state, name, flags, kind, start_time_unix_nano,
            end_time_unix_nano, attributes, dropped_attributes_count, events, dropped_events_count, links,
            dropped_links_count, status,
        }
    }
}

prop_compose! {
    fn scope_spans()(
        scope in option::of((any::<(String, String, u32)>(), attributes())),
        spans in vec(span(), 0..4),
        schema_url in any::<String>(),
    ) -> ScopeSpans {
        let scope = scope.map(|((name, version, dropped_attributes_count), attributes)| {
            InstrumentationScope { name, version, attributes, dropped_attributes_count }
        });
        ScopeSpans { scope, spans, schema_url }
    }
}

prop_compose! {
    fn resource_spans()(
        resource in option::of((any::<u32>(), attributes())),
        scope_spans in vec(scope_spans(), 0..3),
        schema_url in any::<String>(),
    ) -> ResourceSpans {
        let resource = resource.map(|(dropped_attributes_count, attributes)| {
            Resource { attributes, dropped_attributes_count, ..Resource::default() }
        });
        ResourceSpans { resource, scope_spans, schema_url }
    }
}

pub fn any_request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    vec(resource_spans(), 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

/// The request in OTLP/JSON.
pub fn to_json(request: &ExportTraceServiceRequest) -> Value {
    json!({"resourceSpans": request.resource_spans.iter().map(|group| json!({
        "scopeSpans": group.scope_spans.iter().map(scope_to_json).collect::<Vec<_>>(),
        "resource": group.resource.as_ref().map(|resource| json!({
            "attributes": pairs(&resource.attributes),
            "droppedAttributesCount": resource.dropped_attributes_count,
        })),
        "schemaUrl": group.schema_url,
    })).collect::<Vec<_>>()})
}

fn scope_to_json(group: &ScopeSpans) -> Value {
    json!({
        "scope": group.scope.as_ref().map(|scope| json!({
            "name": scope.name,
            "version": scope.version,
            "attributes": pairs(&scope.attributes),
            "droppedAttributesCount": scope.dropped_attributes_count,
        })),
        "spans": group.spans.iter().map(span_to_json).collect::<Vec<_>>(),
        "schemaUrl": group.schema_url,
    })
}

fn span_to_json(span: &Span) -> Value {
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "parentSpanId": hex(&span.parent_span_id),
        "traceState": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano,
        "attributes": pairs(&span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": span.events.iter().map(|event| json!({
            "timeUnixNano": event.time_unix_nano.to_string(),
            "name": event.name,
            "attributes": pairs(&event.attributes),
            "droppedAttributesCount": event.dropped_attributes_count,
        })).collect::<Vec<_>>(),
        "droppedEventsCount": span.dropped_events_count,
        "links": span.links.iter().map(|link| json!({
            "traceId": hex(&link.trace_id),
            "spanId": hex(&link.span_id),
            "traceState": link.trace_state,
            "attributes": pairs(&link.attributes),
            "droppedAttributesCount": link.dropped_attributes_count,
            "flags": link.flags,
        })).collect::<Vec<_>>(),
        "droppedLinksCount": span.dropped_links_count,
        "status": span.status.as_ref().map(|status| json!({"message": status.message, "code": status.code})),
    })
}

fn pairs(attributes: &[KeyValue]) -> Vec<Value> {
    let value = |pair: &KeyValue| pair.value.as_ref().map(value_to_json);
    attributes.iter().map(|pair| json!({"key": pair.key, "value": value(pair)})).collect()
}

fn value_to_json(value: &AnyValue) -> Value {
    use base64::{Engine, prelude::BASE64_STANDARD};
    match &value.value {
        None => json!({}),
        Some(Any::StringValue(text)) => json!({"stringValue": text}),
        Some(Any::BoolValue(b)) => json!({"boolValue": b}),
        Some(Any::IntValue(n)) => json!({"intValue": n.to_string()}),
        Some(Any::DoubleValue(d)) if d.is_nan() => json!({"doubleValue": "NaN"}),
        Some(Any::DoubleValue(d)) if d.is_infinite() && *d > 0.0 => json!({"doubleValue": "Infinity"}),
        Some(Any::DoubleValue(d)) if d.is_infinite() => json!({"doubleValue": "-Infinity"}),
        Some(Any::DoubleValue(d)) => json!({"doubleValue": d}),
        Some(Any::BytesValue(bytes)) => json!({"bytesValue": BASE64_STANDARD.encode(bytes)}),
        Some(Any::ArrayValue(array)) => {
            json!({"arrayValue": {"values": array.values.iter().map(value_to_json).collect::<Vec<_>>()}})
        }
        Some(Any::KvlistValue(list)) => json!({"kvlistValue": {"values": pairs(&list.values)}}),
        Some(Any::StringValueStrindex(_)) => json!({}),
    }
}

fn hex(bytes: &[u8]) -> String {
    crate::model::id::hex(bytes)
}
