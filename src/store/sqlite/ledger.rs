//! Receipts, refusals and dead letters in SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Sqlite;
use uuid::Uuid;

use super::SqliteStore;
use crate::model::id::ProjectId;
use crate::model::quota::Amounts;
use crate::model::receipt::{Counts, RefusalKey, RefusalTally, hour_of};
use crate::store::ledger::{self, CountsRow, ReceiptColumns, RejectedColumns, WholeLetter};
use crate::store::receipts::int;
use crate::store::{AfterReceipt, Asked, Ledger, LetterRow, Receipts, RefusedRow, StoreError, queries, storable};

/// Binds all columns.
const ADD_REFUSALS: &str = "INSERT INTO refusals (project_id, key_id, hour, status, reason, user_agent, count, last_at, \
    last_transport, last_detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (project_id, key_id, hour, status, reason, user_agent) \
    DO UPDATE SET count = refusals.count + excluded.count, \
    last_at = MAX(refusals.last_at, excluded.last_at), \
    last_transport = excluded.last_transport, last_detail = excluded.last_detail";

#[async_trait]
impl Ledger for SqliteStore {
    async fn usage_since(&self, project: ProjectId, key_id: &str, since: DateTime<Utc>) -> Result<Amounts, StoreError> {
        let sums = sqlx::query_as(ledger::USAGE_SINCE)
            .bind(project.0)
            .bind(storable::text(key_id).into_owned())
            .bind(hour_of(since))
            .fetch_one(&self.readers)
            .await?;
        Ok(ledger::used(sums))
    }

    async fn add_refusals(&self, refusals: &BTreeMap<RefusalKey, RefusalTally>) -> Result<(), StoreError> {
        if refusals.is_empty() {
            return Ok(());
        }
        let mut lent = self.connection.lock().await;
        let mut connection = lent.begin().await?;
        for (key, tally) in refusals {
            sqlx::query(ADD_REFUSALS)
                .bind(key.project.0)
                .bind(storable::text(&key.key_id).into_owned())
                .bind(key.hour)
                .bind(key.status)
                .bind(key.reason)
                .bind(storable::text(&key.user_agent).into_owned())
                .bind(int(tally.count))
                .bind(storable::time(tally.last_at))
                .bind(tally.last_transport)
                .bind(storable::text(&tally.last_detail).into_owned())
                .execute(&mut connection)
                .await?;
        }
        Ok(lent.commit(connection).await?)
    }

    async fn receipts(&self, asked: &Asked, after: Option<&AfterReceipt>, limit: u32) -> Result<Receipts, StoreError> {
        let mut query = ledger::list_receipts::<Sqlite>(asked, after, limit);
        let rows: Vec<ReceiptColumns> = query.build_query_as().fetch_all(&self.readers).await?;
        let (mut page, rejected) = ledger::page(rows, asked, limit);
        if let Some(asked) = rejected {
            let mut query = ledger::list_rejections::<Sqlite>(&asked);
            let rows: Vec<RejectedColumns> = query.build_query_as().fetch_all(&self.readers).await?;
            ledger::join(&mut page, rows);
        }
        Ok(page)
    }

    async fn receipt_totals(&self, asked: &Asked) -> Result<Counts, StoreError> {
        let mut query = ledger::total_receipts::<Sqlite>(asked);
        let row: CountsRow = query.build_query_as().fetch_one(&self.readers).await?;
        Ok(row.into())
    }

    async fn refusals(&self, asked: &Asked, details: bool, limit: u32) -> Result<Vec<RefusedRow>, StoreError> {
        let mut query = ledger::list_refusals::<Sqlite>(asked, details, limit);
        Ok(query.build_query_as().fetch_all(&self.readers).await?)
    }

    async fn dead_letters(
        &self,
        project: Option<ProjectId>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let mut query = ledger::list_letters::<Sqlite>(project, after, limit);
        Ok(query.build_query_as().fetch_all(&self.readers).await?)
    }

    async fn dead_letter(
        &self,
        project: Option<ProjectId>,
        id: Uuid,
    ) -> Result<Option<(LetterRow, Vec<u8>)>, StoreError> {
        let mut query = ledger::letter::<Sqlite>(project, id);
        let letter: Option<WholeLetter> = query.build_query_as().fetch_optional(&self.readers).await?;
        Ok(letter.map(|letter| (letter.row, letter.content)))
    }

    async fn project_named(&self, name: &str) -> Result<Option<ProjectId>, StoreError> {
        let query = sqlx::query_scalar(queries::PROJECT).bind(storable::text(name).into_owned());
        Ok(query.fetch_optional(&self.readers).await?.map(ProjectId))
    }
}
