//! `GET /receipts` and its dead letters: what became of everything that was sent.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http::StatusCode;
use http::request::Parts;
use serde_json::json;
use uuid::Uuid;

use crate::api::{Api, store_failed};
use crate::model::id::ProjectId;
use crate::model::key::Scope;
use crate::receiver::status::json_refusal;
use crate::store::{Asked, RefusedRow, StoreError};
use crate::view;
use crate::view::filter::ReceiptFilter;

/// Refusals in one answer, of the key's project and of nobody each: the newest.
const REFUSALS_MAX: u32 = 200;

pub async fn list(State(api): State<Arc<Api>>, head: Parts) -> Response {
    let key = match api.pipeline.authenticate(&head, Scope::Read).await {
        Ok(key) => key,
        Err(refusal) => return json_refusal(&refusal),
    };
    let query = head.uri.query().unwrap_or_default();
    let filter = match view::filter::parse_receipt_filter(query, key.project, Utc::now()) {
        Ok(filter) => filter,
        Err(why) => return bad_request(&why),
    };
    match answer(&api, &filter).await {
        Ok(response) => response,
        Err(error) => store_failed(&error),
    }
}

async fn answer(api: &Api, filter: &ReceiptFilter) -> Result<Response, StoreError> {
    let ReceiptFilter { asked, after, limit } = filter;
    let page = api.store.receipts(asked, after.as_ref(), *limit).await?;
    let totals = api.store.receipt_totals(asked).await?;
    // Those of the whole time stand on the first page.
    let refused = if after.is_none() { refusals(api, asked).await? } else { Vec::new() };
    Ok(axum::Json(view::receipts::receipts_page(&page, &refused, totals)).into_response())
}

/// Those of the project, and those that nothing tells whose they were, by reason alone: they may be anybody's, so that
/// only the operator sees who sent them, by `vectoros receipts`.
async fn refusals(api: &Api, asked: &Asked) -> Result<Vec<RefusedRow>, StoreError> {
    let mut refused = api.store.refusals(asked, true, REFUSALS_MAX).await?;
    if asked.key_id.is_none() {
        let of_nobody = Asked { project: Some(ProjectId::NOBODY), ..asked.clone() };
        refused.extend(api.store.refusals(&of_nobody, false, REFUSALS_MAX).await?);
    }
    Ok(refused)
}

pub async fn dead_letters(State(api): State<Arc<Api>>, head: Parts) -> Response {
    let key = match api.pipeline.authenticate(&head, Scope::Read).await {
        Ok(key) => key,
        Err(refusal) => return json_refusal(&refusal),
    };
    let (limit, after) = match view::filter::parse_letter_page(head.uri.query().unwrap_or_default()) {
        Ok(page) => page,
        Err(why) => return bad_request(&why),
    };
    match api.store.dead_letters(Some(key.project), after, limit + 1).await {
        Ok(rows) => axum::Json(view::receipts::letters_page(&rows, limit)).into_response(),
        Err(error) => store_failed(&error),
    }
}

/// A letter of another project answers exactly as one that does not exist.
pub async fn dead_letter(State(api): State<Arc<Api>>, Path(id): Path<String>, head: Parts) -> Response {
    let key = match api.pipeline.authenticate(&head, Scope::Read).await {
        Ok(key) => key,
        Err(refusal) => return json_refusal(&refusal),
    };
    let Ok(id) = Uuid::parse_str(&id) else { return not_found() };
    match api.store.dead_letter(Some(key.project), id).await {
        Ok(Some((row, content))) => axum::Json(view::receipts::letter(&row, Some(&content), false)).into_response(),
        Ok(None) => not_found(),
        Err(error) => store_failed(&error),
    }
}

fn bad_request(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, axum::Json(json!({"detail": why}))).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Dead letter not found"}))).into_response()
}
