//! `/healthz`: the process lives. `/readyz`: it takes data, or why not. `/metrics`: its counters.

use std::sync::Arc;
use std::sync::PoisonError;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::api::Api;
use crate::circuit::Disagreement;
use crate::spool::Spool;
use crate::store::StoreError;

const AWAY: &str = "the database is away";

/// For people who open the address in a browser.
pub async fn welcome() -> &'static str {
    "VectorOS Collector. OTLP goes to /v1/traces, /v1/logs and /v1/metrics, runs to POST /runs; GET /runs lists them.\n"
}

pub async fn alive() -> &'static str {
    "ok\n"
}

pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    match api.standing().await {
        Ok(Standing::Ready) => "ready\n".into_response(),
        Ok(Standing::Degraded(why)) => format!("degraded: {why}, requests are kept in the spool\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

/// How data is taken.
pub enum Standing {
    Ready,
    /// Into the spool, and why.
    Degraded(String),
}

impl Api {
    /// What every probe is told. An error: data is not taken, and why.
    pub async fn standing(&self) -> Result<Standing, String> {
        let why = self.blame.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !why.is_empty() || !self.pipeline.gate.is_open() {
            return Err(why);
        }
        let (circuit, is_kept) = (&self.pipeline.circuit, self.pipeline.spool.as_ref().is_some_and(Spool::is_taking));
        match circuit.disagreement() {
            Some(disagreement) if is_kept => return Ok(Standing::Degraded(disagreement.to_string())),
            Some(disagreement) => return Err(disagreement.to_string()),
            None if is_kept && circuit.is_open() => return Ok(Standing::Degraded(AWAY.to_owned())),
            None => {}
        }
        match self.store.ping().await {
            Ok(()) => Ok(Standing::Ready),
            // Requests wake the circuit; without any it does not know yet.
            Err(StoreError::Unavailable(_)) if is_kept => Ok(Standing::Degraded(AWAY.to_owned())),
            Err(error @ StoreError::Unavailable(_)) => Err(error.to_string()),
            Err(error) => Err(Disagreement { code: error.code() }.to_string()),
        }
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
