//! What comes in: OTLP over gRPC and HTTP, and native runs. Both ports serve both protocols.

pub mod body;
pub mod status;
pub mod otlp_http;
pub mod otlp_grpc;
pub mod runs;
pub mod listen;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use crate::pipeline::Pipeline;

/// Path prefixes under which other backends taught users to send OTLP/HTTP; the first is OTLP's own.
const TRACE_PREFIXES: [&str; 5] = ["", "/otel", "/otlp", "/api/public/otel", "/v1/private/otel"];

/// The paths that take data. `POST /runs/` answers like `POST /runs`, without a redirect.
pub fn router(pipeline: Arc<Pipeline>) -> Router {
    let mut router = Router::new()
        .route(otlp_grpc::TRACES_PATH, post(otlp_grpc::export_traces))
        .route("/runs", post(runs::submit))
        .route("/runs/", post(runs::submit))
        .route("/runs/batch", post(runs::submit_batch))
        .route("/runs/{run_id}/steps", post(runs::append_steps));
    for prefix in TRACE_PREFIXES {
        for slash in ["", "/"] {
            router = router
                .route(
                    &format!("{prefix}/v1/traces{slash}"),
                    post(otlp_http::export_traces).fallback(otlp_http::wrong_method),
                )
                .route(&format!("{prefix}/v1/logs{slash}"), post(otlp_http::signal_not_taken))
                .route(&format!("{prefix}/v1/metrics{slash}"), post(otlp_http::signal_not_taken));
        }
    }
    router.with_state(pipeline)
}
