//! What the senders send: every step has a number of its own, and all it says follows from the seed and that number, so
//! that whoever reads it back can tell what it must say.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyOf;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use serde_json::{Value, json};
use uuid::Uuid;

/// Steps of one trace at most; the number of a step is that of its trace times this, and its place in it.
pub const STEPS_OF_TRACE_MAX: u64 = 16;
/// The place of a span that every collector must reject: its trace id is too short.
pub const BROKEN: u64 = STEPS_OF_TRACE_MAX - 1;
/// 2026-11-01T00:00:00Z.
const START_NS: u64 = 1_793_491_200_000_000_000;
const MODEL: &str = "gpt-4o-mini";
const WORDS: [&str; 16] = [
    "amber", "basalt", "cedar", "delta", "ember", "fjord", "grove", "harbour", "island", "jasmine", "kelp", "lagoon",
    "meadow", "nectar", "orchid", "pebble",
];

#[derive(Clone, Copy)]
pub struct Content {
    pub seed: u64,
}

/// What the row of a step must say.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub run_id: Uuid,
    pub output: String,
    /// Of model calls alone.
    pub tokens: Option<i64>,
}

impl Content {
    /// The step `number`, sent as a span or as part of a native run.
    pub fn said(self, number: u64, is_native: bool) -> Said {
        let trace = number / STEPS_OF_TRACE_MAX;
        let tokens = is_model_call(number).then(|| (self.input_tokens(number) + self.output_tokens(number)) as i64);
        let run_id = if is_native { native_run_id(trace) } else { Uuid::from_u64_pair(self.trace_high(), trace + 1) };
        Said { run_id, output: self.text(number), tokens }
    }

    /// 3 to 200 words.
    fn text(self, number: u64) -> String {
        let mut state = mixed(self.seed ^ mixed(number));
        let words = 3 + state % 198;
        let mut text = step_id(number);
        for _ in 0..words {
            state = mixed(state);
            text.push(' ');
            text.push_str(WORDS[(state % 16) as usize]);
        }
        text
    }

    fn input_tokens(self, number: u64) -> u64 {
        1 + mixed(self.seed ^ number) % 900
    }

    fn output_tokens(self, number: u64) -> u64 {
        1 + mixed(self.seed.rotate_left(7) ^ number) % 300
    }

    fn trace_high(self) -> u64 {
        mixed(self.seed) | 1
    }

    pub fn span(self, number: u64) -> Span {
        let (trace, place) = (number / STEPS_OF_TRACE_MAX, number % STEPS_OF_TRACE_MAX);
        let mut trace_id = [self.trace_high().to_be_bytes(), (trace + 1).to_be_bytes()].concat();
        if place == BROKEN {
            trace_id.pop();
        }
        let start = START_NS + trace % 1_000_000 * 1_000_000 + place * 1_000;
        let (name, attributes) = match place {
            0 => {
                let answer = json!([{"role": "assistant", "parts": [{"type": "text", "content": self.text(number)}]}]);
                let said = [text("gen_ai.agent.name", "ledger"), text("gen_ai.output.messages", &answer.to_string())];
                ("invoke_agent ledger".to_owned(), with(text("gen_ai.operation.name", "invoke_agent"), said))
            }
            _ if is_model_call(number) => {
                let answer = json!([{"role": "assistant", "parts": [{"type": "text", "content": self.text(number)}]}]);
                let said = [
                    text("gen_ai.provider.name", "openai"),
                    text("gen_ai.request.model", MODEL),
                    text("gen_ai.response.id", &format!("resp-{}", step_id(number))),
                    int("gen_ai.usage.input_tokens", self.input_tokens(number)),
                    int("gen_ai.usage.output_tokens", self.output_tokens(number)),
                    text("gen_ai.output.messages", &answer.to_string()),
                ];
                (format!("chat {MODEL}"), with(text("gen_ai.operation.name", "chat"), said))
            }
            _ => {
                let said = [text("gen_ai.tool.name", "look"), text("gen_ai.tool.call.result", &self.text(number))];
                ("execute_tool look".to_owned(), with(text("gen_ai.operation.name", "execute_tool"), said))
            }
        };
        Span {
            trace_id,
            span_id: number.to_be_bytes().to_vec(),
            parent_span_id: match place {
                0 => Vec::new(),
                _ => (number - place).to_be_bytes().to_vec(),
            },
            name,
            kind: 1,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 500_000,
            attributes,
            ..Span::default()
        }
    }

    pub fn export(self, numbers: &[u64]) -> ExportTraceServiceRequest {
        let spans = numbers.iter().map(|number| self.span(*number)).collect();
        request(spans)
    }

    /// All steps of one trace as a native run.
    pub fn native_run(self, numbers: &[u64]) -> Value {
        let steps: Vec<Value> = numbers.iter().map(|number| self.native_step(*number)).collect();
        let trace = numbers.first().map_or(0, |number| number / STEPS_OF_TRACE_MAX);
        let tokens: i64 = numbers.iter().filter_map(|number| self.said(*number, true).tokens).sum();
        json!({"run_id": native_run_id(trace), "model": MODEL, "input": "?", "output": "!", "status": "success",
            "tokens": tokens, "steps": steps})
    }

    fn native_step(self, number: u64) -> Value {
        let mut step = json!({"id": step_id(number), "name": "native", "output": self.text(number),
            "type": if is_model_call(number) { "model_call" } else { "tool_call" }});
        if let Some(tokens) = self.said(number, true).tokens {
            step["tokens"] = json!(tokens);
        }
        step
    }
}

/// A request of spans from one service.
pub fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope { name: "ledger".into(), ..InstrumentationScope::default() };
    let resource = Resource { attributes: vec![text("service.name", "ledger")], ..Resource::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

pub fn step_id(number: u64) -> String {
    format!("{number:016x}")
}

pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(AnyOf::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn int(key: &str, value: u64) -> KeyValue {
    let value = Some(AnyValue { value: Some(AnyOf::IntValue(value as i64)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn with<const N: usize>(first: KeyValue, others: [KeyValue; N]) -> Vec<KeyValue> {
    std::iter::once(first).chain(others).collect()
}

fn is_model_call(number: u64) -> bool {
    number % 2 == 1
}

fn native_run_id(trace: u64) -> Uuid {
    Uuid::from_u64_pair(0x6e61_7469_7665_4000, trace)
}

/// The finaliser of SplitMix64: neighbours come out far apart.
fn mixed(number: u64) -> u64 {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
