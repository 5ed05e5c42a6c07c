//! `GET /runs` and `GET /runs/{run_id}`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use chrono::Utc;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::api::{Api, store_failed};
use crate::model::key::Scope;
use crate::receiver::status::json_refusal;
use crate::view::{self, Turn};

pub async fn list(State(api): State<Arc<Api>>, head: Parts) -> Response {
    let key = match api.pipeline.authenticate(&head, Scope::Read).await {
        Ok(key) => key,
        Err(refusal) => return json_refusal(&refusal),
    };
    let filter = match view::filter::parse_run_filter(head.uri.query().unwrap_or_default()) {
        Ok(filter) => filter,
        Err(why) => return (StatusCode::BAD_REQUEST, axum::Json(json!({"detail": why}))).into_response(),
    };
    match api.store.runs(key.project, &filter).await {
        Ok(page) => axum::Json(view::render::run_page(&page, Utc::now())).into_response(),
        Err(error) => store_failed(&error),
    }
}

/// A run that another took in answers with the address of that one. A run of another project answers exactly as one that does not exist.
pub async fn show(State(api): State<Arc<Api>>, Path(run_id): Path<String>, head: Parts) -> Response {
    let key = match api.pipeline.authenticate(&head, Scope::Read).await {
        Ok(key) => key,
        Err(refusal) => return json_refusal(&refusal),
    };
    let Ok(run_id) = Uuid::parse_str(&run_id) else { return not_found() };
    match api.reader.run(key.project, run_id, Utc::now()).await {
        Ok(Some(run)) if let Some(holder) = run.moved_to() => moved(holder),
        Ok(Some(mut run)) => {
            let turn = run.take_turn();
            match run.detail_json() {
                Ok(detail) => sent(detail, turn),
                Err(error) => {
                    tracing::error!(%error, "a run cannot be shown as JSON");
                    (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(json!({"detail": "the run cannot be shown"})))
                        .into_response()
                }
            }
        }
        Ok(None) => not_found(),
        Err(error) => store_failed(&error),
    }
}

/// The answer, which keeps its turn until it is on its way.
fn sent(detail: Box<RawValue>, turn: Option<Turn>) -> Response {
    let text: Box<str> = detail.into();
    let json = Full::new(Bytes::from(String::from(text)));
    let held = json.map_err(move |never| {
        let _turn = &turn;
        never
    });
    ([(CONTENT_TYPE, "application/json")], Body::new(held)).into_response()
}

fn moved(holder: Uuid) -> Response {
    Redirect::temporary(&format!("/runs/{holder}")).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Run not found"}))).into_response()
}
