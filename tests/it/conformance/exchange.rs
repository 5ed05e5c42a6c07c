//! A request of spans in both encodings, its answer and the rows that came of it.

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;

use crate::collector::Collector;
use crate::spans::{request, run_id, span_id, trace_id};

pub const PROTOBUF: &str = "application/x-protobuf";
pub const JSON: &str = "application/json";

/// An answer to OTLP/HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub rejected: i64,
    pub message: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn of(content_type: &str, (status, body): (u16, Vec<u8>)) -> Answer {
        let partial = match content_type {
            PROTOBUF => ExportTraceServiceResponse::decode(&body[..]).ok().and_then(|answer| answer.partial_success),
            _ => None,
        };
        let (mut rejected, mut message) = partial.map(|p| (p.rejected_spans, p.error_message)).unwrap_or_default();
        if content_type == JSON {
            let json: Value = serde_json::from_slice(&body).unwrap();
            let partial = &json["partialSuccess"];
            rejected = partial["rejectedSpans"].as_str().map_or(0, |count| count.parse().unwrap());
            message = partial["errorMessage"].as_str().unwrap_or_default().to_owned();
        }
        Answer { status, rejected, message, body }
    }

    pub fn is_full_success(&self) -> bool {
        self.status == 200 && (self.body.is_empty() || self.body == b"{}")
    }
}

/// Sends a request and reads the answer in its encoding.
pub async fn send(collector: &Collector, content_type: &str, body: Vec<u8>) -> Answer {
    Answer::of(content_type, collector.post_otlp(content_type, body).await)
}

/// A span that has nothing but its two ids.
pub fn bare(trace: u64, span: u64) -> Span {
    Span { trace_id: trace_id(trace), span_id: span_id(span), ..Span::default() }
}

/// Sends the spans that `of` makes for trace 0 in protobuf and those for trace 1 in JSON; each answer with its run.
pub async fn in_both_encodings(collector: &Collector, of: impl Fn(u64) -> Vec<Span>) -> [(Answer, Value); 2] {
    let json = |request: &ExportTraceServiceRequest| serde_json::to_vec(request).unwrap();
    let protobuf = send(collector, PROTOBUF, request(of(0)).encode_to_vec()).await;
    let json = send(collector, JSON, json(&request(of(1)))).await;
    [(protobuf, run(collector, 0).await), (json, run(collector, 1).await)]
}

/// The run of a trace, whole, `null` when there is none.
pub async fn run(collector: &Collector, trace: u64) -> Value {
    let (status, run) = collector.get(&format!("/runs/{}", run_id(trace))).await;
    if status == 200 { run } else { Value::Null }
}

/// The step of [`span_id`] wherever it stands in the tree, `null` when there is none.
pub fn step(run: &Value, span: u64) -> Value {
    let id: String = span_id(span).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut open: Vec<&Value> = run["tree"].as_array().into_iter().flatten().collect();
    while let Some(step) = open.pop() {
        if step["id"] == id.as_str() {
            return step.clone();
        }
        open.extend(step["children"].as_array().into_iter().flatten());
    }
    Value::Null
}
