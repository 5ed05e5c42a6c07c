//! What comes in: OTLP over gRPC and HTTP, and native runs. Both ports serve both protocols.

mod activity;
mod socket;
mod speech;
mod unread;
mod path;
pub mod tls;
pub mod client;
pub mod inflate;
pub mod body;
pub mod status;
pub mod otlp_http;
pub mod otlp_grpc;
pub mod grpc_services;
pub mod runs;
pub mod connection;
pub mod listen;
pub mod activation;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use chrono::Utc;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tower_http::cors::CorsLayer;

use crate::auth::credentials::{is_foreign_basic, user_agent};
use crate::pipeline::{Pipeline, Refusal, Signal};
use crate::receiver::client::Client;
use crate::tally::Note;
use crate::telemetry::{ByReason, Transport};

/// The last parts of the paths of OTLP/HTTP, and the gRPC methods, of each signal.
const SIGNALS: [(Signal, &str, &str); 3] = [
    (Signal::Traces, "traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    (Signal::Logs, "logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
    (Signal::Metrics, "metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
];

/// A browser may keep the answer to a preflight this long.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7200);

/// The paths that take data, in the one spelling that `path` gives them.
pub fn router(pipeline: Arc<Pipeline>) -> Router {
    let mut router = Router::new()
        .route("/runs", post(runs::submit))
        .route("/runs/batch", post(runs::submit_batch))
        .route("/runs/{run_id}/steps", post(runs::append_steps));
    for (signal, name, method) in SIGNALS {
        let grpc = move |State(pipeline), request| otlp_grpc::export(pipeline, signal, request);
        let http = move |State(pipeline), request| otlp_http::export(pipeline, signal, request);
        router = router
            .route(method, post(grpc))
            .route(&format!("/v1/{name}"), post(http).fallback(otlp_http::wrong_method));
    }
    router.with_state(pipeline)
}

/// What lets pages of these origins send from a browser: preflights are answered without a key, and every answer,
/// errors too, can be read by the page. No credentials: a page shows its key in a header or not at all.
pub fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let plain_key = ["x-api-key", "api-key"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::POST, Method::GET])
        .allow_headers([CONTENT_TYPE, CONTENT_ENCODING, AUTHORIZATION].into_iter().chain(plain_key).collect::<Vec<_>>())
        .expose_headers([RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Counts a refusal, and writes a line about the first of its kind: a sender that is refused for good drops its data and
/// may say nothing about it.
fn refused(pipeline: &Pipeline, transport: Transport, refusal: &Refusal, head: &Parts) {
    let verdict = status::verdict(refusal, pipeline.throttle_status);
    let status = match transport {
        Transport::Native => status::json_detail(refusal).0,
        Transport::Grpc | Transport::Http => verdict.http,
    };
    let reason = count_refused(pipeline, transport, status, verdict.reason, &refusal.to_string(), head);
    if let Some(left_out) = pipeline.counters.lines.due(reason, Instant::now()) {
        let client = head.extensions.get::<Client>();
        let address = client.and_then(|client| client.address).map(tracing::field::display);
        let request_id = client.and_then(|client| client.request_id.to_str().ok());
        let user_agent = user_agent(&head.headers);
        tracing::warn!(reason, address, user_agent, request_id, left_out, "refused a request: {refusal}");
    }
}

/// Counts a request that was refused, also for what is no refusal of the pipeline. `detail` is what the sender is told.
/// Returns the reason by which it is counted.
fn count_refused(
    pipeline: &Pipeline,
    transport: Transport,
    status: StatusCode,
    reason: &'static str,
    detail: &str,
    head: &Parts,
) -> &'static str {
    let owner = pipeline.owner(head);
    // What other tools have in Basic is no key that was mistyped.
    let is_foreign = reason == "invalid_key" && owner.is_none() && is_foreign_basic(&head.headers);
    let reason = if is_foreign { "basic_without_key" } else { reason };
    pipeline.tally.note(Note {
        owner: owner.as_ref().map(|key| (key.project, key.id.as_str())),
        status: status.as_u16(),
        reason,
        transport: transport.word(),
        user_agent: user_agent(&head.headers),
        detail,
        at: Utc::now(),
    });
    pipeline.counters.refused.get_or_create(&ByReason { transport, reason }).inc();
    reason
}
