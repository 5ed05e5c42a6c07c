//! `/healthz`: the process lives. `/readyz`: it takes data, or why not. `/metrics`: its counters.

use std::sync::Arc;
use std::sync::PoisonError;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::api::Api;
use crate::store::StoreError;

const DEGRADED: &str = "degraded: the database is away, requests are kept in the spool\n";

/// For people who open the address in a browser.
pub async fn welcome() -> &'static str {
    "VectorOS Collector. OTLP goes to /v1/traces, /v1/logs and /v1/metrics, runs to POST /runs; GET /runs lists them.\n"
}

pub async fn alive() -> &'static str {
    "ok\n"
}

pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    let why = api.blame.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !why.is_empty() || !api.pipeline.is_open() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response();
    }
    let spool = api.pipeline.spool.as_ref().filter(|spool| spool.is_taking());
    if spool.is_some() && api.pipeline.circuit.is_open() {
        return DEGRADED.into_response();
    }
    match api.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        // Requests wake the circuit; without any it does not know yet.
        Err(StoreError::Unavailable(_)) if spool.is_some() => DEGRADED.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n")).into_response(),
    }
}

pub async fn metrics(State(api): State<Arc<Api>>) -> Response {
    if let Some(spool) = &api.pipeline.spool {
        spool.note_age();
    }
    match api.pipeline.counters.render() {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n")).into_response()
        }
    }
}
