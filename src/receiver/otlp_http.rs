//! OTLP/HTTP: `POST /v1/traces`, `/v1/logs` and `/v1/metrics`, protobuf and JSON.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use tonic::Code;

use crate::model::key::Scope;
use crate::pipeline::{Encoding, Outcome, Pipeline, Refusal, Signal};
use crate::receiver::body::{compression_of, encoding_of, read};
use crate::receiver::otlp_grpc;
use crate::receiver::refused;
use crate::receiver::status::{http_refusal, http_status, http_success};
use crate::telemetry::Transport;

pub async fn export(pipeline: Arc<Pipeline>, signal: Signal, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let encoding = encoding_of(&head.headers);
    let answer_in = *encoding.as_ref().unwrap_or(&Encoding::Json);
    match take(&pipeline, signal, &head, encoding, body).await {
        Ok(outcome) => http_success(answer_in, signal, &outcome),
        Err(refusal) => {
            refused(&pipeline, Transport::Http, &refusal, &head);
            http_refusal(answer_in, &refusal, pipeline.throttle_status)
        }
    }
}

/// Headers first: whoever has no key is told before a byte of the body is read.
async fn take(
    pipeline: &Pipeline,
    signal: Signal,
    head: &Parts,
    encoding: Result<Encoding, Refusal>,
    body: Body,
) -> Result<Outcome, Refusal> {
    let deadline = Instant::now() + pipeline.hold;
    let key = pipeline.authenticate(head, Scope::Ingest).await?;
    let encoding = encoding?;
    let compression = compression_of(&head.headers)?;
    let charge = pipeline.admit_otlp(key, signal, deadline).await?;
    let body = read(pipeline, &head.headers, body, compression, deadline).await?;
    // The wait for a commit starts when the sender has sent everything.
    let deadline = Instant::now() + pipeline.hold;
    pipeline.consume_otlp(charge, signal, encoding, body, Transport::Http, deadline).await
}

pub async fn wrong_method(headers: HeaderMap) -> Response {
    let encoding = encoding_of(&headers).unwrap_or(Encoding::Json);
    let message = "OTLP is sent with POST";
    let mut response = http_status(encoding, StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, message, None, false);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    response
}

/// Any other path, told in a form that an exporter can read.
pub async fn unknown_path(headers: HeaderMap) -> Response {
    if otlp_grpc::is_grpc(&headers) {
        return otlp_grpc::unknown_method();
    }
    let encoding = encoding_of(&headers).unwrap_or(Encoding::Json);
    let message = "nothing is here: OTLP goes to /v1/traces, /v1/logs and /v1/metrics (set OTEL_EXPORTER_OTLP_ENDPOINT to the address without a path), runs to /runs";
    http_status(encoding, StatusCode::NOT_FOUND, Code::Unimplemented, message, None, false)
}
