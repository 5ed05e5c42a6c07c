//! Receipts, refusals and dead letters as they are read, and the statements for it that both databases understand.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{Database, Encode, FromRow, QueryBuilder, Type};
use uuid::Uuid;

use super::StoreError;
use crate::model::id::ProjectId;
use crate::model::quota::Amounts;
use crate::model::receipt::{Counts, EXAMPLES_KEPT, Example, RefusalKey, RefusalTally, hour_of};

/// What was sent and what became of it. A part of [`super::Store`].
#[async_trait]
pub trait Ledger: Send + Sync {
    /// What a key has used since the hour of `since`, by its receipts.
    async fn usage_since(&self, project: ProjectId, key_id: &str, since: DateTime<Utc>) -> Result<Amounts, StoreError>;
    /// Adds to what is counted already.
    async fn add_refusals(&self, refusals: &BTreeMap<RefusalKey, RefusalTally>) -> Result<(), StoreError>;
    /// Receipts by key and hour, the newest first.
    async fn receipts(&self, asked: &Asked, after: Option<&AfterReceipt>, limit: u32) -> Result<Receipts, StoreError>;
    /// The sum of all of them.
    async fn receipt_totals(&self, asked: &Asked) -> Result<Counts, StoreError>;
    /// The newest, at most `limit`. Those of nobody only when [`ProjectId::NOBODY`], or every project, is asked for.
    /// Without `details` user agents are not told apart.
    async fn refusals(&self, asked: &Asked, details: bool, limit: u32) -> Result<Vec<RefusedRow>, StoreError>;
    /// The newest first, those older than `after`; without their contents.
    async fn dead_letters(
        &self,
        project: Option<ProjectId>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError>;
    /// With its content.
    async fn dead_letter(
        &self,
        project: Option<ProjectId>,
        id: Uuid,
    ) -> Result<Option<(LetterRow, Vec<u8>)>, StoreError>;
    /// The project by its name, if it is there.
    async fn project_named(&self, name: &str) -> Result<Option<ProjectId>, StoreError>;
}

/// Which receipts and refusals are read: those of the hours that `since` to `until` touch.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// `None`: of all projects, for the operator alone.
    pub project: Option<ProjectId>,
    pub key_id: Option<String>,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// The last receipt of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct AfterReceipt {
    pub hour: DateTime<Utc>,
    pub project: ProjectId,
    pub key_id: String,
}

/// A page of receipts.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    pub rows: Vec<ReceiptRow>,
    pub next: Option<AfterReceipt>,
}

/// What one key sent in one hour.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiptRow {
    pub project: ProjectId,
    pub project_name: Option<String>,
    pub key_id: String,
    pub key_name: Option<String>,
    pub hour: DateTime<Utc>,
    pub counts: Counts,
    pub rejections: Vec<RejectedRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RejectedRow {
    pub reason: String,
    pub count: u64,
    /// The newest first.
    pub examples: Vec<Example>,
}

/// Requests that were refused, of one key and hour, for one reason.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct RefusedRow {
    pub project_id: i64,
    pub project_name: Option<String>,
    pub key_id: String,
    pub hour: DateTime<Utc>,
    pub status: i32,
    pub reason: String,
    pub user_agent: String,
    pub count: i64,
    pub last_at: DateTime<Utc>,
    pub last_transport: String,
    pub last_detail: String,
}

/// A dead letter without its content.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct LetterRow {
    pub project_id: i64,
    pub project_name: Option<String>,
    pub letter_id: Uuid,
    pub key_id: String,
    pub received_at: DateTime<Utc>,
    pub signal: String,
    pub place: String,
    pub reason: String,
    pub code: String,
    pub run_id: Option<Uuid>,
    pub step_id: Option<String>,
}

/// Binds project, key and hour.
pub(super) const USAGE_SINCE: &str = "SELECT CAST(COALESCE(SUM(requests), 0) AS bigint), \
    CAST(COALESCE(SUM(stored), 0) AS bigint), CAST(COALESCE(SUM(bytes), 0) AS bigint) \
    FROM receipts WHERE project_id = $1 AND key_id = $2 AND hour >= $3";

macro_rules! letter_columns {
    () => {
        "SELECT dead_letters.project_id, projects.name AS project_name, letter_id, key_id, received_at, signal, place, \
         reason, code, run_id, step_id"
    };
}

const FROM_LETTERS: &str = " FROM dead_letters LEFT JOIN projects ON projects.project_id = dead_letters.project_id";

/// Without their contents.
pub(super) fn list_letters<DB: Database>(
    project: Option<ProjectId>,
    after: Option<Uuid>,
    limit: u32,
) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
{
    let mut query = letters(letter_columns!(), project);
    query.push("letter_id < ").push_bind(after.unwrap_or(Uuid::max()));
    query.push(" ORDER BY letter_id DESC LIMIT ").push_bind(i64::from(limit));
    query
}

/// A [`WholeLetter`].
pub(super) fn letter<DB: Database>(project: Option<ProjectId>, id: Uuid) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
{
    let mut query = letters(concat!(letter_columns!(), ", content"), project);
    query.push("letter_id = ").push_bind(id);
    query
}

/// Up to the condition on the id.
fn letters<DB: Database>(columns: &'static str, project: Option<ProjectId>) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(columns);
    query.push(FROM_LETTERS).push(" WHERE ");
    if let Some(project) = project {
        query.push("dead_letters.project_id = ").push_bind(project.0).push(" AND ");
    }
    query
}

/// A letter as it is read with its content.
#[derive(FromRow)]
pub(super) struct WholeLetter {
    #[sqlx(flatten)]
    pub row: LetterRow,
    pub content: Vec<u8>,
}

pub(super) fn used((requests, steps, bytes): (i64, i64, i64)) -> Amounts {
    Amounts { requests: count(requests), steps: count(steps), bytes: count(bytes) }
}

#[derive(FromRow)]
pub(super) struct CountsRow {
    received: i64,
    stored: i64,
    duplicate: i64,
    rejected: i64,
    requests: i64,
    bytes: i64,
    metric_points: i64,
}

impl From<CountsRow> for Counts {
    fn from(row: CountsRow) -> Counts {
        Counts {
            received: count(row.received),
            stored: count(row.stored),
            duplicate: count(row.duplicate),
            rejected: count(row.rejected),
            requests: count(row.requests),
            bytes: count(row.bytes),
            metric_points: count(row.metric_points),
        }
    }
}

#[derive(FromRow)]
pub(super) struct ReceiptColumns {
    project_id: i64,
    project_name: Option<String>,
    key_id: String,
    key_name: Option<String>,
    hour: DateTime<Utc>,
    #[sqlx(flatten)]
    counts: CountsRow,
}

impl From<ReceiptColumns> for ReceiptRow {
    fn from(row: ReceiptColumns) -> ReceiptRow {
        ReceiptRow {
            project: ProjectId(row.project_id),
            project_name: row.project_name,
            key_id: row.key_id,
            key_name: row.key_name,
            hour: row.hour,
            counts: row.counts.into(),
            rejections: Vec::new(),
        }
    }
}

/// Rejections of one class and shard.
#[derive(FromRow)]
pub(super) struct RejectedColumns {
    project_id: i64,
    key_id: String,
    hour: DateTime<Utc>,
    reason: String,
    count: i64,
    examples: Json<Vec<Example>>,
}

fn count(column: i64) -> u64 {
    u64::try_from(column).unwrap_or_default()
}

/// Sums over shards.
macro_rules! sums {
    () => {
        "CAST(COALESCE(SUM(received), 0) AS bigint) AS received, CAST(COALESCE(SUM(stored), 0) AS bigint) AS stored, \
         CAST(COALESCE(SUM(duplicate), 0) AS bigint) AS duplicate, \
         CAST(COALESCE(SUM(rejected), 0) AS bigint) AS rejected, \
         CAST(COALESCE(SUM(requests), 0) AS bigint) AS requests, CAST(COALESCE(SUM(bytes), 0) AS bigint) AS bytes, \
         CAST(COALESCE(SUM(metric_points), 0) AS bigint) AS metric_points FROM receipts"
    };
}

/// One row more than asked for tells whether there is a next page.
pub(super) fn list_receipts<DB: Database>(asked: &Asked, after: Option<&AfterReceipt>, limit: u32) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> DateTime<Utc>: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(concat!(
        "SELECT summed.*, projects.name AS project_name, api_keys.name AS key_name FROM \
         (SELECT project_id, key_id, hour, ",
        sums!()
    ));
    narrow(&mut query, asked);
    if let Some(after) = after {
        query.push(" AND (hour < ").push_bind(after.hour).push(" OR (hour = ").push_bind(after.hour);
        query.push(" AND (project_id, key_id) > (").push_bind(after.project.0);
        query.push(", ").push_bind(after.key_id.clone()).push(")))");
    }
    query.push(" GROUP BY project_id, key_id, hour ORDER BY hour DESC, project_id, key_id LIMIT ");
    query.push_bind(i64::from(limit) + 1).push(
        ") AS summed LEFT JOIN projects ON projects.project_id = summed.project_id \
         LEFT JOIN api_keys ON api_keys.key_id = summed.key_id AND api_keys.project_id = summed.project_id \
         ORDER BY hour DESC, summed.project_id, summed.key_id",
    );
    query
}

pub(super) fn total_receipts<DB: Database>(asked: &Asked) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> DateTime<Utc>: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(concat!("SELECT ", sums!()));
    narrow(&mut query, asked);
    query
}

/// Of all shards, for the hours of a page.
pub(super) fn list_rejections<DB: Database>(asked: &Asked) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> DateTime<Utc>: Encode<'q, DB> + Type<DB>,
{
    let mut query =
        QueryBuilder::new("SELECT project_id, key_id, hour, reason, count, examples FROM receipt_rejections");
    narrow(&mut query, asked);
    query.push(" ORDER BY reason, shard");
    query
}

pub(super) fn list_refusals<DB: Database>(asked: &Asked, details: bool, limit: u32) -> QueryBuilder<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> DateTime<Utc>: Encode<'q, DB> + Type<DB>,
{
    let columns = match details {
        true => "project_id, key_id, hour, status, reason, user_agent, count, last_at, last_transport, last_detail",
        false => {
            "project_id, key_id, hour, status, reason, '' AS user_agent, CAST(SUM(count) AS bigint) AS count, \
             MAX(last_at) AS last_at, MAX(last_transport) AS last_transport, '' AS last_detail"
        }
    };
    let mut query = QueryBuilder::new("SELECT found.*, projects.name AS project_name FROM (SELECT ");
    query.push(columns).push(" FROM refusals");
    narrow(&mut query, asked);
    if !details {
        query.push(" GROUP BY project_id, key_id, hour, status, reason");
    }
    query.push(" ORDER BY hour DESC, count DESC, project_id, key_id, status, reason, user_agent LIMIT ");
    query.push_bind(i64::from(limit)).push(
        ") AS found LEFT JOIN projects ON projects.project_id = found.project_id \
         ORDER BY hour DESC, count DESC, found.project_id, key_id, status, reason, user_agent",
    );
    query
}

fn narrow<DB: Database>(query: &mut QueryBuilder<DB>, asked: &Asked)
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> DateTime<Utc>: Encode<'q, DB> + Type<DB>,
{
    query.push(" WHERE hour >= ").push_bind(hour_of(asked.since));
    query.push(" AND hour < ").push_bind(super::storable::time(asked.until));
    if let Some(project) = asked.project {
        query.push(" AND project_id = ").push_bind(project.0);
    }
    if let Some(key_id) = &asked.key_id {
        query.push(" AND key_id = ").push_bind(super::storable::text(key_id).into_owned());
    }
}

/// The page out of what was found, and the filter for its rejections.
pub(super) fn page(rows: Vec<ReceiptColumns>, asked: &Asked, limit: u32) -> (Receipts, Option<Asked>) {
    let mut rows: Vec<ReceiptRow> = rows.into_iter().map(ReceiptRow::from).collect();
    let is_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| is_more);
    let next = last.map(|row| AfterReceipt { hour: row.hour, project: row.project, key_id: row.key_id.clone() });
    let hours = rows.first().zip(rows.last());
    let of_page = hours.map(|(newest, oldest)| Asked {
        since: oldest.hour,
        until: newest.hour + chrono::TimeDelta::hours(1),
        ..asked.clone()
    });
    let is_rejected = rows.iter().any(|row| row.counts.rejected > 0);
    (Receipts { rows, next }, of_page.filter(|_| is_rejected))
}

/// Puts the rejections of all shards where they belong.
pub(super) fn join(receipts: &mut Receipts, rejected: Vec<RejectedColumns>) {
    for found in rejected {
        let of = |row: &&mut ReceiptRow| {
            (row.project.0, row.hour, row.key_id.as_str()) == (found.project_id, found.hour, found.key_id.as_str())
        };
        let Some(row) = receipts.rows.iter_mut().find(of) else { continue };
        let known = row.rejections.iter_mut().find(|known| known.reason == found.reason);
        match known {
            Some(known) => {
                known.count += count(found.count);
                known.examples.extend(found.examples.0);
                known.examples.sort_by_key(|example| std::cmp::Reverse(example.at));
                known.examples.truncate(EXAMPLES_KEPT);
            }
            None => row.rejections.push(RejectedRow {
                reason: found.reason,
                count: count(found.count),
                examples: found.examples.0,
            }),
        }
    }
    for row in &mut receipts.rows {
        row.rejections.sort_by_key(|rejected| std::cmp::Reverse(rejected.count));
    }
}
