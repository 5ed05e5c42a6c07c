//! The shared count of rates: a row for each rate of a key, from which every collector on the database takes its parts.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::model::id::ProjectId;
use crate::quota::{Ask, Grant, Usage};
use crate::store::receipts::int;

/// What a crash of the server takes back was counted for nobody's data: a part of a rate, not worth a wait for the disk.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL synchronous_commit = 'off'; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '2s'";

/// Binds project, key, and the arrays of measures and windows. Rows are locked in the order of their keys.
const LOCK_LEASES: &str = "SELECT measure, span, opened_at, taken, taken_before, clock_timestamp() AS now \
    FROM quota_leases WHERE project_id = $1 AND key_id = $2 \
    AND (measure, span) IN (SELECT * FROM UNNEST($3::text[], $4::text[])) \
    ORDER BY project_id, key_id, measure, span FOR UPDATE";

const OPEN_LEASES: &str = "INSERT INTO quota_leases (project_id, key_id, measure, span, opened_at, taken, taken_before) \
    SELECT $1, $2, measure, span, clock_timestamp(), 0, 0 \
    FROM UNNEST($3::text[], $4::text[]) AS asked (measure, span) ORDER BY measure, span ON CONFLICT DO NOTHING";

const KEEP_LEASES: &str = "UPDATE quota_leases SET opened_at = row.opened_at, taken = row.taken, \
    taken_before = row.taken_before \
    FROM UNNEST($3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::bigint[]) \
    AS row (measure, span, opened_at, taken, taken_before) \
    WHERE project_id = $1 AND key_id = $2 AND quota_leases.measure = row.measure AND quota_leases.span = row.span";

#[derive(sqlx::FromRow)]
struct LeaseRow {
    measure: String,
    span: String,
    opened_at: DateTime<Utc>,
    taken: i64,
    taken_before: i64,
    now: DateTime<Utc>,
}

/// Inside the caller's transaction.
pub(super) async fn lease(
    connection: &mut PgConnection,
    project: ProjectId,
    key_id: &str,
    asks: &[Ask],
) -> sqlx::Result<Vec<Grant>> {
    let measures: Vec<&str> = asks.iter().map(|ask| ask.measure.word()).collect();
    let spans: Vec<&str> = asks.iter().map(|ask| ask.limit.window.word()).collect();
    let mut rows = lock(connection, project, key_id, &measures, &spans).await?;
    if rows.len() < asks.len() {
        let opened = sqlx::query(OPEN_LEASES).bind(project.0).bind(key_id).bind(&measures).bind(&spans);
        opened.execute(&mut *connection).await?;
        rows = lock(connection, project, key_id, &measures, &spans).await?;
    }
    let (mut grants, mut usages) = (Vec::with_capacity(asks.len()), Vec::with_capacity(asks.len()));
    for (ask, (measure, span)) in asks.iter().zip(measures.iter().zip(&spans)) {
        let row = rows.iter().find(|row| row.measure == **measure && row.span == **span);
        let row = row.ok_or(sqlx::Error::RowNotFound)?;
        let mut usage = Usage {
            opened_at: row.opened_at,
            taken: row.taken.unsigned_abs(),
            taken_before: row.taken_before.unsigned_abs(),
        };
        grants.push(usage.lease(ask, row.now));
        usages.push(usage);
    }
    let column = |of: fn(&Usage) -> u64| -> Vec<i64> { usages.iter().map(|usage| int(of(usage))).collect() };
    let opened_at: Vec<DateTime<Utc>> = usages.iter().map(|usage| usage.opened_at).collect();
    let (taken, taken_before) = (column(|usage| usage.taken), column(|usage| usage.taken_before));
    let kept = sqlx::query(KEEP_LEASES).bind(project.0).bind(key_id).bind(&measures).bind(&spans);
    kept.bind(opened_at).bind(taken).bind(taken_before).execute(connection).await?;
    Ok(grants)
}

async fn lock(
    connection: &mut PgConnection,
    project: ProjectId,
    key_id: &str,
    measures: &[&str],
    spans: &[&str],
) -> sqlx::Result<Vec<LeaseRow>> {
    let rows = sqlx::query_as(LOCK_LEASES).bind(project.0).bind(key_id).bind(measures).bind(spans);
    rows.fetch_all(connection).await
}
