//! Agent spans as an instrumentation sends them, built with the official protobuf types.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// 2026-11-01T00:00:00Z: a fixed day, so that a test does not depend on today.
pub const START_NS: u64 = 1_793_491_200_000_000_000;

/// A trace id of its own for each `number`.
pub fn trace_id(number: u64) -> Vec<u8> {
    [0x4bf9_2f35_77b3_4da6_u64.to_be_bytes(), (number + 1).to_be_bytes()].concat()
}

pub fn span_id(number: u64) -> Vec<u8> {
    (number + 1).to_be_bytes().to_vec()
}

/// `4bf92f35-77b3-4da6-…`: the run of [`trace_id`].
pub fn run_id(number: u64) -> String {
    uuid::Uuid::from_slice(&trace_id(number)).unwrap().to_string()
}

pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

pub fn int(key: &str, value: i64) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::IntValue(value)) }), ..KeyValue::default() }
}

/// An agent with one model call and one tool call: three spans, 12 + 3 tokens.
pub fn agent_trace(number: u64) -> Vec<Span> {
    let span = |id: u64, parent: Option<u64>, name: &str, from_ms: u64, to_ms: u64, attributes: Vec<KeyValue>| Span {
        trace_id: trace_id(number),
        span_id: span_id(id),
        parent_span_id: parent.map(span_id).unwrap_or_default(),
        name: name.into(),
        kind: 1,
        start_time_unix_nano: START_NS + from_ms * 1_000_000,
        end_time_unix_nano: START_NS + to_ms * 1_000_000,
        attributes,
        ..Span::default()
    };
    let question = r#"[{"role":"user","parts":[{"type":"text","content":"Weather in Paris?"}]}]"#;
    let answer =
        r#"[{"role":"assistant","parts":[{"type":"text","content":"18 C and sunny."}],"finish_reason":"stop"}]"#;
    vec![
        span(
            0,
            None,
            "invoke_agent weather_agent",
            0,
            143,
            vec![
                text("gen_ai.operation.name", "invoke_agent"),
                text("gen_ai.agent.name", "weather_agent"),
                text("gen_ai.input.messages", question),
                text("gen_ai.output.messages", answer),
            ],
        ),
        span(
            1,
            Some(0),
            "chat gpt-4o-mini",
            2,
            46,
            vec![
                text("gen_ai.operation.name", "chat"),
                text("gen_ai.provider.name", "openai"),
                text("gen_ai.request.model", "gpt-4o-mini"),
                text("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
                int("gen_ai.usage.input_tokens", 12),
                int("gen_ai.usage.output_tokens", 3),
            ],
        ),
        span(
            2,
            Some(0),
            "execute_tool get_weather",
            46,
            47,
            vec![
                text("gen_ai.operation.name", "execute_tool"),
                text("gen_ai.tool.name", "get_weather"),
                text("gen_ai.tool.call.id", "call_1"),
                text("gen_ai.tool.call.arguments", r#"{"city": "Paris"}"#),
                text("gen_ai.tool.call.result", "18 C and sunny"),
            ],
        ),
    ]
}

pub fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope =
        InstrumentationScope { name: "test.scope".into(), version: "1.2".into(), ..InstrumentationScope::default() };
    let resource = Resource { attributes: vec![text("service.name", "weather")], ..Resource::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

pub fn encoded(spans: Vec<Span>) -> Vec<u8> {
    request(spans).encode_to_vec()
}
