//! The receipts of a write in Postgres: whole columns as arrays, one statement for any number of rows.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::PgConnection;

use crate::model::receipt::{Counts, DeadLetter};
use crate::store::receipts::{ReceiptKey, Rejected, int};
use crate::store::storable;
use crate::store::tables::ReceiptTables;

/// Binds the arrays of project, key, hour and the counts, and the shard.
const ADD_RECEIPTS: &str = "INSERT INTO receipts (project_id, key_id, hour, shard, requests, bytes, received, stored, \
    duplicate, rejected, metric_points) \
    SELECT project_id, key_id, hour, $11, requests, bytes, received, stored, duplicate, rejected, metric_points \
    FROM UNNEST($1::bigint[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
    $8::bigint[], $9::bigint[], $10::bigint[]) AS row (project_id, key_id, hour, requests, bytes, received, stored, \
    duplicate, rejected, metric_points) \
    ON CONFLICT (project_id, key_id, hour, shard) DO UPDATE SET \
    requests = receipts.requests + excluded.requests, bytes = receipts.bytes + excluded.bytes, \
    received = receipts.received + excluded.received, stored = receipts.stored + excluded.stored, \
    duplicate = receipts.duplicate + excluded.duplicate, rejected = receipts.rejected + excluded.rejected, \
    metric_points = receipts.metric_points + excluded.metric_points";

/// Binds the arrays of project, key, hour, reason, count and examples, and the shard. Five examples are kept.
const ADD_REJECTIONS: &str = "INSERT INTO receipt_rejections (project_id, key_id, hour, reason, shard, count, examples) \
    SELECT project_id, key_id, hour, reason, $7, count, examples::jsonb \
    FROM UNNEST($1::bigint[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[], $6::text[]) \
    AS row (project_id, key_id, hour, reason, count, examples) \
    ON CONFLICT (project_id, key_id, hour, reason, shard) DO UPDATE SET \
    count = receipt_rejections.count + excluded.count, \
    examples = jsonb_path_query_array(excluded.examples || receipt_rejections.examples, '$[0 to 4]')";

const INSERT_DEAD_LETTERS: &str = "INSERT INTO dead_letters (project_id, letter_id, key_id, received_at, signal, place, \
    reason, code, run_id, step_id, content) \
    SELECT * FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], \
    $8::text[], $9::uuid[], $10::text[], $11::bytea[]) ON CONFLICT DO NOTHING";

#[async_trait]
impl ReceiptTables for PgConnection {
    async fn add_receipts(&mut self, counts: &BTreeMap<ReceiptKey, Counts>, shard: i16) -> sqlx::Result<()> {
        if counts.is_empty() {
            return Ok(());
        }
        let column = |value: fn(&Counts) -> u64| counts.values().map(|counts| int(value(counts))).collect::<Vec<i64>>();
        sqlx::query(ADD_RECEIPTS)
            .bind(counts.keys().map(|key| key.project.0).collect::<Vec<_>>())
            .bind(counts.keys().map(|key| key.key_id.as_str()).collect::<Vec<_>>())
            .bind(counts.keys().map(|key| key.hour).collect::<Vec<_>>())
            .bind(column(|counts| counts.requests))
            .bind(column(|counts| counts.bytes))
            .bind(column(|counts| counts.received))
            .bind(column(|counts| counts.stored))
            .bind(column(|counts| counts.duplicate))
            .bind(column(|counts| counts.rejected))
            .bind(column(|counts| counts.metric_points))
            .bind(shard)
            .execute(self)
            .await?;
        Ok(())
    }

    async fn add_rejections(
        &mut self,
        rejected: &BTreeMap<(ReceiptKey, &'static str), Rejected>,
        shard: i16,
    ) -> sqlx::Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let examples: Vec<String> =
            rejected.values().map(|rejected| storable::to_json(&rejected.examples)).collect::<sqlx::Result<_>>()?;
        sqlx::query(ADD_REJECTIONS)
            .bind(rejected.keys().map(|(key, _)| key.project.0).collect::<Vec<_>>())
            .bind(rejected.keys().map(|(key, _)| key.key_id.as_str()).collect::<Vec<_>>())
            .bind(rejected.keys().map(|(key, _)| key.hour).collect::<Vec<_>>())
            .bind(rejected.keys().map(|(_, class)| *class).collect::<Vec<_>>())
            .bind(rejected.values().map(|rejected| int(rejected.count)).collect::<Vec<_>>())
            .bind(examples)
            .bind(shard)
            .execute(self)
            .await?;
        Ok(())
    }

    async fn insert_dead_letters(&mut self, letters: &[(ReceiptKey, &DeadLetter)]) -> sqlx::Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let texts = |text: fn(&DeadLetter) -> &str| {
            letters.iter().map(|(_, letter)| storable::text(text(letter)).into_owned()).collect::<Vec<String>>()
        };
        let step_id = |letter: &DeadLetter| letter.step_id.as_deref().map(|id| storable::text(id).into_owned());
        sqlx::query(INSERT_DEAD_LETTERS)
            .bind(letters.iter().map(|(key, _)| key.project.0).collect::<Vec<_>>())
            .bind(letters.iter().map(|(_, letter)| letter.id).collect::<Vec<_>>())
            .bind(letters.iter().map(|(key, _)| key.key_id.as_str()).collect::<Vec<_>>())
            .bind(letters.iter().map(|(_, letter)| letter.received_at).collect::<Vec<_>>())
            .bind(texts(|letter| letter.signal))
            .bind(texts(|letter| &letter.place))
            .bind(texts(|letter| &letter.reason))
            .bind(texts(|letter| &letter.code))
            .bind(letters.iter().map(|(_, letter)| letter.run_id).collect::<Vec<_>>())
            .bind(letters.iter().map(|(_, letter)| step_id(letter)).collect::<Vec<_>>())
            .bind(letters.iter().map(|(_, letter)| letter.content.as_slice()).collect::<Vec<_>>())
            .execute(self)
            .await?;
        Ok(())
    }
}
