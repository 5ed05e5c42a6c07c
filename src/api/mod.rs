//! What goes out: the query API, receipts, keys, health and metrics. Everything but health needs a key and stays in its
//! project.

mod health;
mod receipts;
mod key_bodies;
mod keys;
mod runs;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::json;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use crate::pipeline::{Pipeline, Refusal};
use crate::receiver::otlp_http;
use crate::receiver::status::json_refusal;
use crate::store::{Store, StoreError};
use crate::view::Reader;

/// Answers that are smaller than this gain nothing from gzip.
const COMPRESS_BYTES_MIN: u64 = 1024;

pub struct Api {
    pipeline: Arc<Pipeline>,
    store: Arc<dyn Store>,
    reader: Arc<Reader>,
    /// Why no more data shall be sent here; empty when nothing is known to be wrong.
    blame: Mutex<String>,
}

impl Api {
    pub fn new(pipeline: Arc<Pipeline>, store: Arc<dyn Store>, reader: Arc<Reader>) -> Api {
        Api { pipeline, store, reader, blame: Mutex::new("the database was not reached yet".into()) }
    }

    /// Sets what `/readyz` answers while data is not taken.
    pub fn blame(&self, why: String) {
        *self.blame.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// `/readyz` says from now on that data shall go elsewhere, although it is still taken for a while.
    pub fn stop(&self) {
        self.blame("stopping".to_owned());
    }
}

/// A path that exists, asked in a way that it does not answer; `Allow` is set by the router.
pub async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(json!({"detail": "Method not allowed"}))).into_response()
}

/// The store cannot be asked now: come again.
fn store_failed(error: &StoreError) -> Response {
    match error {
        StoreError::Unavailable(_) => tracing::warn!(%error, "a query has to wait"),
        StoreError::Data(_) | StoreError::Broken(_) => tracing::error!(%error, "a query failed"),
    }
    json_refusal(&Refusal::Busy)
}

pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/runs", get(runs::list))
        .route("/", get(health::welcome).fallback(otlp_http::unknown_path))
        .route("/runs/{run_id}", get(runs::show))
        .route("/receipts", get(receipts::list))
        .route("/receipts/dead-letters", get(receipts::dead_letters))
        .route("/receipts/dead-letters/{id}", get(receipts::dead_letter))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}", get(keys::show).patch(keys::change).delete(keys::revoke))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .layer(CompressionLayer::new().gzip(true).compress_when(SizeAbove::new(COMPRESS_BYTES_MIN)))
        .with_state(api)
}
