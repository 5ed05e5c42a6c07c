//! Partitions of `steps` and `logs`, one for each UTC day, made ahead of time.

use chrono::{Days, NaiveDate};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const TABLES: [&str; 2] = ["steps", "logs"];

/// How far back, for spans that come late, and how far ahead partitions are made.
const DAYS_BEHIND: u64 = 7;
const DAYS_AHEAD: u64 = 3;

/// Makes the partitions around `today` that are missing. Safe beside other replicas and under traffic: it waits at
/// most `lock_timeout` for the locks, and fails as unavailable then.
pub(super) async fn make_partitions(connection: &mut PgConnection, today: NaiveDate) -> sqlx::Result<()> {
    let first = today.checked_sub_days(Days::new(DAYS_BEHIND)).unwrap_or(today);
    for day in first.iter_days().take((DAYS_BEHIND + 1 + DAYS_AHEAD) as usize) {
        for table in TABLES {
            make_partition(connection, table, day).await?;
        }
    }
    Ok(())
}

fn partition_name(table: &str, day: NaiveDate) -> String {
    format!("{table}_{}", day.format("%Y%m%d"))
}

/// Rows of that day which the default partition took before move along; attaching would be refused otherwise.
async fn make_partition(connection: &mut PgConnection, table: &str, day: NaiveDate) -> sqlx::Result<()> {
    let name = partition_name(table, day);
    let exists = "SELECT to_regclass($1) IS NOT NULL";
    if sqlx::query_scalar::<_, bool>(exists).bind(&name).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    let next = day.succ_opt().unwrap_or(day);
    let mut transaction = connection.begin().await?;
    // The first lock makes replicas come one after the other and lets writers pass; the second keeps writers of days
    // without a partition away while their rows move.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "SET LOCAL lock_timeout = '2s'; \
         LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE; \
         LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE"
    )))
    .execute(&mut *transaction)
    .await?;
    if !sqlx::query_scalar::<_, bool>(exists).bind(&name).fetch_one(&mut *transaction).await? {
        // Names and days are ours: letters, digits and hyphens only.
        sqlx::raw_sql(AssertSqlSafe(format!(
            "CREATE TABLE {name} (LIKE {table} INCLUDING ALL); \
             WITH moved AS (DELETE FROM {table}_default WHERE day = '{day}' RETURNING *) \
             INSERT INTO {name} SELECT * FROM moved; \
             ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{next}')"
        )))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}
