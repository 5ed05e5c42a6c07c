//! Requests of agent spans, encoded once and given fresh ids for each sending, so that the client costs little.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const TRACES_PER_REQUEST: usize = 64;
pub const SPANS_PER_TRACE: usize = 8;
pub const SPANS_PER_REQUEST: usize = TRACES_PER_REQUEST * SPANS_PER_TRACE;

/// Encoded ids start with these while a template is built; no text of a span contains them.
const TRACE_MARK: &[u8; 8] = b"\0TRACE\0\0";
const SPAN_MARK: &[u8; 4] = b"\0SP\0";

/// One encoded request, and where its ids stand.
pub struct Template {
    bytes: Vec<u8>,
    span_count: usize,
    /// Offset of 16 bytes, number of the trace in the request.
    trace_ids: Vec<(usize, u32)>,
    /// Offset of 8 bytes, number of the span in the request. Holds span ids and parent ids.
    span_ids: Vec<(usize, u32)>,
}

impl Template {
    /// Traces of one agent, four model calls and three tool calls each, that started at `start_ns`.
    pub fn new(traces: usize, seed: u64, start_ns: u64) -> Template {
        let mut random = StdRng::seed_from_u64(seed);
        let spans = (0..traces as u32).flat_map(|trace| trace_spans(&mut random, trace, start_ns)).collect();
        let span_count = traces * SPANS_PER_TRACE;
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![
                        text("service.name", "travel-agent"),
                        text("service.version", "2.8.1"),
                        text("telemetry.sdk.language", "python"),
                        text("telemetry.sdk.version", "1.45.2"),
                    ],
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "bench".into(),
                        version: "1".into(),
                        ..Default::default()
                    }),
                    spans,
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        };
        let bytes = request.encode_to_vec();
        let (mut trace_ids, mut span_ids) = (Vec::new(), Vec::new());
        for at in 0..bytes.len().saturating_sub(8) {
            if bytes[at..].starts_with(TRACE_MARK) {
                trace_ids.push((at, big_endian(&bytes[at + 12..at + 16])));
            } else if bytes[at..].starts_with(SPAN_MARK) {
                span_ids.push((at, big_endian(&bytes[at + 4..at + 8])));
            }
        }
        assert_eq!(trace_ids.len(), span_count, "every span names its trace");
        assert_eq!(span_ids.len(), 2 * span_count - traces, "every span has an id, all but roots a parent");
        Template { bytes, span_count, trace_ids, span_ids }
    }

    pub fn bytes_per_span(&self) -> usize {
        self.bytes.len() / self.span_count
    }

    /// The request with ids that no other `number` gives.
    pub fn fresh(&self, number: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let id = |part: u64, index: u32| mix(mix(number ^ (part << 56)).wrapping_add(u64::from(index)));
        for &(at, trace) in &self.trace_ids {
            bytes[at..at + 8].copy_from_slice(&id(1, trace).to_be_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&id(2, trace).to_be_bytes());
        }
        for &(at, span) in &self.span_ids {
            bytes[at..at + 8].copy_from_slice(&id(3, span).to_be_bytes());
        }
        bytes
    }
}

/// SplitMix64's finalizer: a bijection, so that different numbers stay different.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn trace_spans(random: &mut StdRng, trace: u32, start_ns: u64) -> Vec<Span> {
    let first = trace * SPANS_PER_TRACE as u32;
    let conversation = format!("conv-{:016x}", random.random::<u64>());
    (0..SPANS_PER_TRACE as u32)
        .map(|place| {
            let (name, kind, attributes) = match place {
                0 => ("invoke_agent travel_agent", 1, agent(random, &conversation)),
                odd if odd % 2 == 1 => ("chat gpt-4o-mini", 3, model_call(random, &conversation)),
                _ => ("execute_tool search_flights", 1, tool_call(random, &conversation)),
            };
            let (begin, end) = if place == 0 { (0, 9_000) } else { (place * 1_000, place * 1_000 + 800) };
            Span {
                trace_id: [TRACE_MARK.as_slice(), &[0; 4], &trace.to_be_bytes()].concat(),
                span_id: span_id(first + place),
                parent_span_id: if place == 0 { Vec::new() } else { span_id(first) },
                name: name.into(),
                kind,
                start_time_unix_nano: start_ns + u64::from(begin) * 1_000_000,
                end_time_unix_nano: start_ns + u64::from(end) * 1_000_000,
                attributes,
                ..Span::default()
            }
        })
        .collect()
}

fn span_id(number: u32) -> Vec<u8> {
    [SPAN_MARK.as_slice(), &number.to_be_bytes()].concat()
}

fn agent(random: &mut StdRng, conversation: &str) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.agent.name", "travel_agent"),
        text("gen_ai.agent.id", "asst_5j66UpCpwteGg4YSxUnt7lPY"),
        text("gen_ai.agent.description", "Plans trips and books what they need"),
        text("gen_ai.conversation.id", conversation),
        text("gen_ai.request.model", "gpt-4o-mini"),
        text("gen_ai.output.type", "text"),
        text("gen_ai.input.messages", &message("user", &prose(random, 1_000))),
        text("gen_ai.output.messages", &message("assistant", &prose(random, 1_200))),
        text("server.address", "api.openai.com"),
        count("server.port", 443),
        text("app.tenant", "acme"),
        text("app.release", "2026-11-02"),
        text("app.region", "eu-west-1"),
        count("app.turn", random.random_range(1..20)),
    ]
}

fn model_call(random: &mut StdRng, conversation: &str) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o-mini"),
        text("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
        text("gen_ai.response.id", &format!("chatcmpl-{:016x}", random.random::<u64>())),
        text("gen_ai.conversation.id", conversation),
        count("gen_ai.request.max_tokens", 1024),
        count("gen_ai.usage.input_tokens", random.random_range(300..900)),
        count("gen_ai.usage.output_tokens", random.random_range(20..300)),
        count("gen_ai.usage.cache_read.input_tokens", random.random_range(0..300)),
        text("gen_ai.output.type", "text"),
        text("gen_ai.input.messages", &message("user", &prose(random, 1_800))),
        text("gen_ai.output.messages", &message("assistant", &prose(random, 500))),
        text("server.address", "api.openai.com"),
        count("server.port", 443),
        text("app.tenant", "acme"),
    ]
}

fn tool_call(random: &mut StdRng, conversation: &str) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "execute_tool"),
        text("gen_ai.tool.name", "search_flights"),
        text("gen_ai.tool.type", "function"),
        text("gen_ai.tool.description", "Searches flights between two airports on a day"),
        text("gen_ai.tool.call.id", &format!("call_{:016x}", random.random::<u64>())),
        text("gen_ai.tool.call.arguments", r#"{"from":"BER","to":"LIS","day":"2026-12-04","adults":2}"#),
        text("gen_ai.tool.call.result", &format!("{{\"flights\":\"{}\"}}", prose(random, 2_100))),
        text("gen_ai.conversation.id", conversation),
        text("app.tenant", "acme"),
        text("app.release", "2026-11-02"),
        text("app.region", "eu-west-1"),
        text("app.cache", "miss"),
        count("app.retries", 0),
        count("app.results", random.random_range(1..40)),
        text("code.function.name", "tools.flights.search"),
        text("thread.name", "worker-3"),
    ]
}

/// About `bytes` of words: text that compresses as prose does, not as zeros or noise.
fn prose(random: &mut StdRng, bytes: usize) -> String {
    const WORDS: [&str; 48] = [
        "the",
        "of",
        "to",
        "and",
        "flight",
        "hotel",
        "ticket",
        "from",
        "Lisbon",
        "Berlin",
        "morning",
        "evening",
        "traveller",
        "prefers",
        "window",
        "seat",
        "with",
        "breakfast",
        "included",
        "cheapest",
        "option",
        "leaves",
        "arrives",
        "before",
        "after",
        "luggage",
        "allowed",
        "change",
        "fee",
        "refund",
        "possible",
        "within",
        "hours",
        "price",
        "euros",
        "per",
        "night",
        "station",
        "walking",
        "distance",
        "museum",
        "river",
        "weather",
        "sunny",
        "light",
        "rain",
        "expected",
        "weekend",
    ];
    let mut prose = String::with_capacity(bytes + 16);
    while prose.len() < bytes {
        prose.push_str(WORDS[random.random_range(0..WORDS.len())]);
        prose.push(if random.random_range(0..12) == 0 { ',' } else { ' ' });
        if random.random_range(0..9) == 0 {
            prose.push_str(&format!("{} ", random.random_range(0..100_000)));
        }
    }
    prose
}

fn message(role: &str, content: &str) -> String {
    format!(r#"[{{"role":"{role}","parts":[{{"type":"text","content":"{content}"}}]}}]"#)
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn count(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
