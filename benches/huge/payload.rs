//! Runs of one agent and its model calls, encoded as an exporter sends them: children as they end, the root at the end.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

pub const SPANS_PER_REQUEST: usize = 500;
const INPUT_TOKENS: i64 = 40;
const OUTPUT_TOKENS: i64 = 2;
pub const TOKENS_PER_CALL: u64 = (INPUT_TOKENS + OUTPUT_TOKENS) as u64;
/// About 3 kB for a span, as agents send them.
const TEXT_BYTES: usize = 1_200;

/// `steps` spans in runs of `steps_per_run`, of which the last one starts last. No `seed` gives an id of another.
pub fn requests(seed: u64, steps: usize, steps_per_run: usize, start_ns: u64) -> Vec<Vec<u8>> {
    let spans: Vec<Span> = (0..steps)
        .map(|number| {
            let (run, place) = (number / steps_per_run, number % steps_per_run);
            // The last of its run is the root.
            span(seed, run, (place + 1) % steps_per_run, start_ns + run as u64 * 1_000)
        })
        .collect();
    spans.chunks(SPANS_PER_REQUEST).map(|spans| request(spans.to_vec())).collect()
}

fn span(seed: u64, run: usize, place: usize, start_ns: u64) -> Span {
    let id = |place: usize| (place as u64 + 1).to_be_bytes().to_vec();
    let is_root = place == 0;
    let begin = start_ns + place as u64 * 1_000_000;
    Span {
        trace_id: [seed.to_be_bytes(), (run as u64 + 1).to_be_bytes()].concat(),
        span_id: id(place),
        parent_span_id: if is_root { Vec::new() } else { id(0) },
        name: if is_root { "invoke_agent worker".into() } else { "chat gpt-4o-mini".into() },
        kind: if is_root { 1 } else { 3 },
        start_time_unix_nano: begin,
        end_time_unix_nano: begin + if is_root { 1_000_000_000_000 } else { 900_000 },
        attributes: if is_root { agent() } else { call(place) },
        ..Span::default()
    }
}

fn agent() -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "invoke_agent".into()),
        text("gen_ai.agent.name", "worker".into()),
        text("gen_ai.input.messages", message("user", 0)),
        text("gen_ai.output.messages", message("assistant", 0)),
    ]
}

fn call(number: usize) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "chat".into()),
        text("gen_ai.provider.name", "openai".into()),
        text("gen_ai.request.model", "gpt-4o-mini".into()),
        text("gen_ai.response.model", "gpt-4o-mini-2024-07-18".into()),
        text("gen_ai.response.id", format!("chatcmpl-{number:016x}")),
        count("gen_ai.usage.input_tokens", INPUT_TOKENS),
        count("gen_ai.usage.output_tokens", OUTPUT_TOKENS),
        text("gen_ai.input.messages", message("user", number)),
        text("gen_ai.output.messages", message("assistant", number)),
        text("app.tenant", "acme".into()),
    ]
}

fn message(role: &str, number: usize) -> String {
    let words = format!("the morning flight number {number} from Berlin to Lisbon leaves at {} past ", number % 60);
    let prose: String = words.chars().cycle().take(TEXT_BYTES).collect();
    format!(r#"[{{"role":"{role}","parts":[{{"type":"text","content":"{prose}"}}]}}]"#)
}

fn request(spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource { attributes: vec![text("service.name", "travel-agent".into())], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    }
}

fn count(key: &str, value: i64) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::IntValue(value)) }), ..KeyValue::default() }
}
