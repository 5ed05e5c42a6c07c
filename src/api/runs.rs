//! `GET /runs` and `GET /runs/{run_id}`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use chrono::Utc;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use hyper::body::{Frame, SizeHint};
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

/// The JSON of a run on its way.
struct Sent {
    rest: Bytes,
    /// Kept until all but the last piece is taken.
    _turn: Option<Turn>,
}

/// Of an answer, handed over at once.
const PIECE_BYTES: usize = 64 << 10;

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

fn sent(detail: Box<RawValue>, turn: Option<Turn>) -> Response {
    let json: Box<str> = detail.into();
    let body = Body::new(Sent { rest: Bytes::from(String::from(json)), _turn: turn });
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn moved(holder: Uuid) -> Response {
    Redirect::temporary(&format!("/runs/{holder}")).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Run not found"}))).into_response()
}
