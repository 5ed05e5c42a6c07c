//! What comes in: OTLP over gRPC and HTTP, and native runs. Both ports serve both protocols.

pub mod body;
pub mod status;
pub mod otlp_http;
pub mod otlp_grpc;
pub mod runs;
pub mod listen;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use crate::pipeline::{Pipeline, Signal};

/// The last parts of the paths of OTLP/HTTP, and the gRPC methods, of each signal.
const SIGNALS: [(Signal, &str, &str); 3] = [
    (Signal::Traces, "traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    (Signal::Logs, "logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
    (Signal::Metrics, "metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
];

/// Path prefixes under which other backends taught users to send OTLP/HTTP; the first is OTLP's own.
const OTLP_PREFIXES: [&str; 5] = ["", "/otel", "/otlp", "/api/public/otel", "/v1/private/otel"];

/// The paths that take data. `POST /runs/` answers like `POST /runs`, without a redirect.
pub fn router(pipeline: Arc<Pipeline>) -> Router {
    let mut router = Router::new()
        .route("/runs", post(runs::submit))
        .route("/runs/", post(runs::submit))
        .route("/runs/batch", post(runs::submit_batch))
        .route("/runs/{run_id}/steps", post(runs::append_steps));
    for (signal, name, method) in SIGNALS {
        let grpc = move |State(pipeline), request| otlp_grpc::export(pipeline, signal, request);
        router = router.route(method, post(grpc));
        for prefix in OTLP_PREFIXES {
            for slash in ["", "/"] {
                let http = move |State(pipeline), request| otlp_http::export(pipeline, signal, request);
                let path = format!("{prefix}/v1/{name}{slash}");
                router = router.route(&path, post(http).fallback(otlp_http::wrong_method));
            }
        }
    }
    router.with_state(pipeline)
}
