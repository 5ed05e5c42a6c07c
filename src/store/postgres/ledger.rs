//! Receipts, refusals and dead letters in Postgres.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Postgres;
use uuid::Uuid;

use super::PostgresStore;
use crate::model::id::ProjectId;
use crate::model::quota::Amounts;
use crate::model::receipt::{Counts, RefusalKey, RefusalTally, hour_of};
use crate::store::ledger::{self, CountsRow, ReceiptColumns, RejectedColumns, WholeLetter};
use crate::store::receipts::int;
use crate::store::{AfterReceipt, Asked, Ledger, LetterRow, Receipts, RefusedRow, StoreError, queries, storable};

/// Binds the arrays of all columns.
const ADD_REFUSALS: &str = "INSERT INTO refusals (project_id, key_id, hour, status, reason, user_agent, count, last_at, \
    last_transport, last_detail) SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::timestamptz[], $4::integer[], \
    $5::text[], $6::text[], $7::bigint[], $8::timestamptz[], $9::text[], $10::text[]) ON CONFLICT (project_id, key_id, hour, status, reason, user_agent) \
    DO UPDATE SET count = refusals.count + excluded.count, \
    last_at = GREATEST(refusals.last_at, excluded.last_at), \
    last_transport = excluded.last_transport, last_detail = excluded.last_detail";

#[async_trait]
impl Ledger for PostgresStore {
    async fn usage_since(&self, project: ProjectId, key_id: &str, since: DateTime<Utc>) -> Result<Amounts, StoreError> {
        let sums = sqlx::query_as(ledger::USAGE_SINCE)
            .bind(project.0)
            .bind(storable::text(key_id).into_owned())
            .bind(hour_of(since))
            .fetch_one(self.servers.readers());
        Ok(ledger::used(self.ask(sums).await?))
    }

    async fn add_refusals(&self, refusals: &BTreeMap<RefusalKey, RefusalTally>) -> Result<(), StoreError> {
        if refusals.is_empty() {
            return Ok(());
        }
        let texts =
            |text: fn(&RefusalKey) -> &str| refusals.keys().map(|key| storable::text(text(key)).into_owned()).collect();
        let (agents, reasons): (Vec<String>, Vec<String>) = (texts(|key| &key.user_agent), texts(|key| key.reason));
        let key_ids: Vec<String> = texts(|key| &key.key_id);
        let detail = |tally: &RefusalTally| storable::text(&tally.last_detail).into_owned();
        let added = sqlx::query(ADD_REFUSALS)
            .bind(refusals.keys().map(|key| key.project.0).collect::<Vec<_>>())
            .bind(key_ids)
            .bind(refusals.keys().map(|key| key.hour).collect::<Vec<_>>())
            .bind(refusals.keys().map(|key| i32::from(key.status)).collect::<Vec<_>>())
            .bind(reasons)
            .bind(agents)
            .bind(refusals.values().map(|tally| int(tally.count)).collect::<Vec<_>>())
            .bind(refusals.values().map(|tally| tally.last_at).collect::<Vec<_>>())
            .bind(refusals.values().map(|tally| tally.last_transport).collect::<Vec<_>>())
            .bind(refusals.values().map(detail).collect::<Vec<_>>())
            .execute(self.servers.readers());
        self.ask(added).await?;
        Ok(())
    }

    async fn receipts(&self, asked: &Asked, after: Option<&AfterReceipt>, limit: u32) -> Result<Receipts, StoreError> {
        let mut query = ledger::list_receipts::<Postgres>(asked, after, limit);
        let rows: Vec<ReceiptColumns> = self.ask(query.build_query_as().fetch_all(self.servers.readers())).await?;
        let (mut page, rejected) = ledger::page(rows, asked, limit);
        if let Some(asked) = rejected {
            let mut query = ledger::list_rejections::<Postgres>(&asked);
            let rows: Vec<RejectedColumns> = self.ask(query.build_query_as().fetch_all(self.servers.readers())).await?;
            ledger::join(&mut page, rows);
        }
        Ok(page)
    }

    async fn receipt_totals(&self, asked: &Asked) -> Result<Counts, StoreError> {
        let mut query = ledger::total_receipts::<Postgres>(asked);
        let row: CountsRow = self.ask(query.build_query_as().fetch_one(self.servers.readers())).await?;
        Ok(row.into())
    }

    async fn refusals(&self, asked: &Asked, details: bool, limit: u32) -> Result<Vec<RefusedRow>, StoreError> {
        let mut query = ledger::list_refusals::<Postgres>(asked, details, limit);
        Ok(self.ask(query.build_query_as().fetch_all(self.servers.readers())).await?)
    }

    async fn dead_letters(
        &self,
        project: Option<ProjectId>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let mut query = ledger::list_letters::<Postgres>(project, after, limit);
        Ok(self.ask(query.build_query_as().fetch_all(self.servers.readers())).await?)
    }

    async fn dead_letter(
        &self,
        project: Option<ProjectId>,
        id: Uuid,
    ) -> Result<Option<(LetterRow, Vec<u8>)>, StoreError> {
        let mut query = ledger::letter::<Postgres>(project, id);
        let letter: Option<WholeLetter> =
            self.ask(query.build_query_as().fetch_optional(self.servers.readers())).await?;
        Ok(letter.map(|letter| (letter.row, letter.content)))
    }

    async fn project_named(&self, name: &str) -> Result<Option<ProjectId>, StoreError> {
        let query = sqlx::query_scalar(queries::PROJECT).bind(storable::text(name).into_owned());
        Ok(self.ask(query.fetch_optional(self.servers.readers())).await?.map(ProjectId))
    }
}
