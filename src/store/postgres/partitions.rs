//! Partitions of `steps`, one for each UTC day, made ahead of time.

use chrono::{Days, NaiveDate};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How far back, for spans that come late, and how far ahead partitions are made.
const DAYS_BEHIND: u64 = 7;
const DAYS_AHEAD: u64 = 3;

/// Makes the partitions around `today` that are missing. Safe beside other replicas and under traffic: it waits at
/// most `lock_timeout` for the locks, and fails as unavailable then.
pub(super) async fn make_partitions(connection: &mut PgConnection, today: NaiveDate) -> sqlx::Result<()> {
    let first = today.checked_sub_days(Days::new(DAYS_BEHIND)).unwrap_or(today);
    for day in first.iter_days().take((DAYS_BEHIND + 1 + DAYS_AHEAD) as usize) {
        make_partition(connection, day).await?;
    }
    Ok(())
}

pub(super) fn partition_name(day: NaiveDate) -> String {
    format!("steps_{}", day.format("%Y%m%d"))
}

/// Rows of that day which the default partition took before move along; attaching would be refused otherwise.
async fn make_partition(connection: &mut PgConnection, day: NaiveDate) -> sqlx::Result<()> {
    let name = partition_name(day);
    let exists = "SELECT to_regclass($1) IS NOT NULL";
    if sqlx::query_scalar::<_, bool>(exists).bind(&name).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    let next = day.succ_opt().unwrap_or(day);
    let mut transaction = connection.begin().await?;
    // The first lock makes replicas come one after the other and lets writers pass; the second keeps writers of days
    // without a partition away while their rows move.
    sqlx::raw_sql(
        "SET LOCAL lock_timeout = '2s'; \
         LOCK TABLE ONLY steps IN SHARE UPDATE EXCLUSIVE MODE; \
         LOCK TABLE steps_default IN ACCESS EXCLUSIVE MODE",
    )
    .execute(&mut *transaction)
    .await?;
    if !sqlx::query_scalar::<_, bool>(exists).bind(&name).fetch_one(&mut *transaction).await? {
        // The name and the days are ours: digits and hyphens only.
        sqlx::raw_sql(AssertSqlSafe(format!(
            "CREATE TABLE {name} (LIKE steps INCLUDING ALL); \
             WITH moved AS (DELETE FROM steps_default WHERE day = '{day}' RETURNING *) \
             INSERT INTO {name} SELECT * FROM moved; \
             ALTER TABLE steps ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{next}')"
        )))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}
