//! Receipts, refusals and dead letters as JSON.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::model::receipt::{Counts, Example};
use crate::store::{AfterReceipt, LetterRow, ReceiptRow, Receipts, RefusedRow};
use crate::view::filter::encode_receipt_cursor;
use crate::view::mend::mend;

/// The body of `GET /receipts`.
#[derive(Serialize)]
pub struct ReceiptsPage<'a> {
    items: Vec<Item<'a>>,
    refused: Vec<Refused<'a>>,
    totals: Counts,
    next_cursor: Option<String>,
}

/// What one key sent in one hour.
#[derive(Serialize)]
pub struct Item<'a> {
    hour: DateTime<Utc>,
    /// For the operator alone, as everywhere below.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    key_id: &'a str,
    key_name: Option<&'a str>,
    #[serde(flatten)]
    counts: Counts,
    rejections: Vec<Rejected<'a>>,
}

#[derive(Serialize)]
struct Rejected<'a> {
    reason: &'a str,
    count: u64,
    mend: &'static str,
    examples: &'a [Example],
}

/// Requests that were refused as a whole. One of nobody's key tells no details unless they are asked for.
#[derive(Serialize)]
pub struct Refused<'a> {
    hour: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    key_id: Option<&'a str>,
    status: i32,
    reason: &'a str,
    count: i64,
    mend: &'static str,
    user_agent: Option<&'a str>,
    last_at: DateTime<Utc>,
    transport: &'a str,
    detail: Option<&'a str>,
}

pub fn receipts_page<'a>(page: &'a Receipts, refused: &'a [RefusedRow], totals: Counts) -> ReceiptsPage<'a> {
    ReceiptsPage {
        items: page.rows.iter().map(|row| item(row, false)).collect(),
        refused: refused.iter().map(|row| refusal(row, false)).collect(),
        totals,
        next_cursor: page.next.as_ref().map(|AfterReceipt { hour, key_id, .. }| encode_receipt_cursor(*hour, key_id)),
    }
}

/// `is_operator`: with the project.
pub fn item(row: &ReceiptRow, is_operator: bool) -> Item<'_> {
    let rejected = row.rejections.iter().map(|rejected| Rejected {
        reason: &rejected.reason,
        count: rejected.count,
        mend: mend(&rejected.reason),
        examples: &rejected.examples,
    });
    Item {
        hour: row.hour,
        project: row.project_name.as_deref().filter(|_| is_operator),
        key_id: &row.key_id,
        key_name: row.key_name.as_deref(),
        counts: row.counts,
        rejections: rejected.collect(),
    }
}

pub fn refusal(row: &RefusedRow, is_operator: bool) -> Refused<'_> {
    Refused {
        hour: row.hour,
        project: row.project_name.as_deref().filter(|_| is_operator),
        key_id: some(&row.key_id),
        status: row.status,
        reason: &row.reason,
        count: row.count,
        mend: mend(&row.reason),
        user_agent: some(&row.user_agent),
        last_at: row.last_at,
        transport: &row.last_transport,
        detail: some(&row.last_detail),
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The body of `GET /receipts/dead-letters`.
#[derive(Serialize)]
pub struct LettersPage<'a> {
    items: Vec<Letter<'a>>,
    next_cursor: Option<Uuid>,
}

/// A dead letter; with its content when it was asked for alone.
#[derive(Serialize)]
pub struct Letter<'a> {
    id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    key_id: &'a str,
    received_at: DateTime<Utc>,
    signal: &'a str,
    place: &'a str,
    reason: &'a str,
    code: &'a str,
    run_id: Option<Uuid>,
    step_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Box<RawValue>>,
}

/// Of `rows` there may be one more than `limit`, which tells that there is a next page.
pub fn letters_page(rows: &[LetterRow], limit: u32) -> LettersPage<'_> {
    let shown = &rows[..rows.len().min(limit as usize)];
    let is_more = rows.len() > shown.len();
    LettersPage {
        items: shown.iter().map(|row| letter(row, None, false)).collect(),
        next_cursor: shown.last().filter(|_| is_more).map(|row| row.letter_id),
    }
}

pub fn letter<'a>(row: &'a LetterRow, content: Option<&[u8]>, is_operator: bool) -> Letter<'a> {
    Letter {
        id: row.letter_id,
        project: row.project_name.as_deref().filter(|_| is_operator),
        key_id: &row.key_id,
        received_at: row.received_at,
        signal: &row.signal,
        place: &row.place,
        reason: &row.reason,
        code: &row.code,
        run_id: row.run_id,
        step_id: row.step_id.as_deref(),
        content: content.map(raw),
    }
}

/// JSON as it was kept; anything else as a string.
fn raw(content: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(content).into_owned();
    match RawValue::from_string(text) {
        Ok(raw) => raw,
        // A string can always be written.
        Err(_) => serde_json::value::to_raw_value(&String::from_utf8_lossy(content)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_of_letters_names_the_next_one() {
        let row = |number: u128| LetterRow {
            project_id: 1,
            project_name: Some("ours".into()),
            letter_id: Uuid::from_u128(number),
            key_id: "k".into(),
            received_at: DateTime::UNIX_EPOCH,
            signal: "traces".into(),
            place: "step 0a".into(),
            reason: "no".into(),
            code: "22P05".into(),
            run_id: None,
            step_id: None,
        };
        let rows = [row(3), row(2), row(1)];
        let shown = serde_json::to_value(letters_page(&rows, 2)).unwrap();
        assert_eq!((shown["items"].as_array().unwrap().len(), &shown["next_cursor"]), (2, &json!(Uuid::from_u128(2))));
        assert_eq!(shown["items"][0].get("project"), None);
        assert_eq!(serde_json::to_value(letters_page(&rows, 3)).unwrap()["next_cursor"], json!(null));
        for (content, expected) in [(&b"{\"a\":1}"[..], json!({"a": 1})), (b"\xff{", json!("\u{FFFD}{"))] {
            assert_eq!(serde_json::to_value(letter(&rows[0], Some(content), true)).unwrap()["content"], expected);
        }
    }
}
