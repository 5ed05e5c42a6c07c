//! The receipts of a write in SQLite: a row at a time, since one transaction brings few.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::model::receipt::{Counts, DeadLetter};
use crate::store::receipts::{ReceiptKey, Rejected, int};
use crate::store::storable;
use crate::store::tables::ReceiptTables;

/// Binds project, key, hour, shard and the counts.
const ADD_RECEIPTS: &str = "INSERT INTO receipts (project_id, key_id, hour, shard, requests, bytes, received, stored, \
    duplicate, rejected, metric_points) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (project_id, key_id, hour, shard) DO UPDATE SET \
    requests = receipts.requests + excluded.requests, bytes = receipts.bytes + excluded.bytes, \
    received = receipts.received + excluded.received, stored = receipts.stored + excluded.stored, \
    duplicate = receipts.duplicate + excluded.duplicate, rejected = receipts.rejected + excluded.rejected, \
    metric_points = receipts.metric_points + excluded.metric_points";

/// Binds project, key, hour, reason, shard, count and examples. Five examples are kept.
const ADD_REJECTIONS: &str = "INSERT INTO receipt_rejections (project_id, key_id, hour, reason, shard, count, examples) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project_id, key_id, hour, reason, shard) DO UPDATE SET \
    count = receipt_rejections.count + excluded.count, \
    examples = (SELECT json_group_array(json(value)) FROM (\
    SELECT 0 AS age, key, value FROM json_each(excluded.examples) UNION ALL \
    SELECT 1, key, value FROM json_each(receipt_rejections.examples) ORDER BY age, key LIMIT 5))";

const INSERT_DEAD_LETTER: &str = "INSERT INTO dead_letters (project_id, letter_id, key_id, received_at, signal, place, \
    reason, code, run_id, step_id, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT DO NOTHING";

#[async_trait]
impl ReceiptTables for SqliteConnection {
    async fn add_receipts(&mut self, counts: &BTreeMap<ReceiptKey, Counts>, shard: i16) -> sqlx::Result<()> {
        for (key, counts) in counts {
            sqlx::query(ADD_RECEIPTS)
                .bind(key.project.0)
                .bind(&key.key_id)
                .bind(key.hour)
                .bind(shard)
                .bind(int(counts.requests))
                .bind(int(counts.bytes))
                .bind(int(counts.received))
                .bind(int(counts.stored))
                .bind(int(counts.duplicate))
                .bind(int(counts.rejected))
                .bind(int(counts.metric_points))
                .execute(&mut *self)
                .await?;
        }
        Ok(())
    }

    async fn add_rejections(
        &mut self,
        rejected: &BTreeMap<(ReceiptKey, &'static str), Rejected>,
        shard: i16,
    ) -> sqlx::Result<()> {
        for ((key, class), rejected) in rejected {
            sqlx::query(ADD_REJECTIONS)
                .bind(key.project.0)
                .bind(&key.key_id)
                .bind(key.hour)
                .bind(*class)
                .bind(shard)
                .bind(int(rejected.count))
                .bind(storable::to_json(&rejected.examples)?)
                .execute(&mut *self)
                .await?;
        }
        Ok(())
    }

    async fn insert_dead_letters(&mut self, letters: &[(ReceiptKey, &DeadLetter)]) -> sqlx::Result<()> {
        for (key, letter) in letters {
            sqlx::query(INSERT_DEAD_LETTER)
                .bind(key.project.0)
                .bind(letter.id)
                .bind(&key.key_id)
                .bind(storable::time(letter.received_at))
                .bind(letter.signal)
                .bind(storable::text(&letter.place).into_owned())
                .bind(storable::text(&letter.reason).into_owned())
                .bind(storable::text(&letter.code).into_owned())
                .bind(letter.run_id)
                .bind(letter.step_id.as_deref().map(|id| storable::text(id).into_owned()))
                .bind(letter.content.as_slice())
                .execute(&mut *self)
                .await?;
        }
        Ok(())
    }
}
