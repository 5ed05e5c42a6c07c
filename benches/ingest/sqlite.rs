//! SQLite: a fresh file for each measurement, what it holds afterwards, and the floor under it.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Row, TypeInfo, ValueRef};

use crate::{FLOOR_ROWS_MAX, ROWS_PER_TRANSACTION, Stored};

pub async fn stored(file: &Path) -> anyhow::Result<Stored> {
    let mut connection = connect(file).await?;
    let sql = "SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT run_id, step_id FROM steps)) FROM steps";
    let (rows, distinct): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut connection).await?;
    Ok(Stored { rows: rows as u64, distinct: distinct as u64 })
}

/// Rows a second that one connection reaches with plain prepared INSERTs of the steps in file `from` into the empty
/// table of file `to`, over and over for at least `measured`.
pub async fn insert_floor(from: &Path, to: &Path, measured: Duration) -> anyhow::Result<f64> {
    let (columns, rows) = read(from).await?;
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT INTO steps ({}) VALUES ({marks})", columns.join(", "));
    let mut connection = connect(to).await?;

    let (mut written, mut spent) = (0, Duration::ZERO);
    while spent < measured {
        sqlx::query("DELETE FROM steps").execute(&mut connection).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        let begin = Instant::now();
        for chunk in rows.chunks(ROWS_PER_TRANSACTION) {
            let mut transaction = connection.begin().await?;
            for row in chunk {
                let mut query = sqlx::query(sqlx::AssertSqlSafe(insert.as_str()));
                for value in row {
                    query = match value {
                        Value::Null => query.bind(None::<i64>),
                        Value::Integer(number) => query.bind(*number),
                        Value::Real(number) => query.bind(*number),
                        Value::Text(text) => query.bind(text.as_str()),
                        Value::Blob(bytes) => query.bind(bytes.as_slice()),
                    };
                }
                query.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            written += chunk.len();
        }
        spent += begin.elapsed();
    }
    Ok(written as f64 / spent.as_secs_f64())
}

/// The five storage classes of SQLite.
enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

async fn read(file: &Path) -> anyhow::Result<(Vec<String>, Vec<Vec<Value>>)> {
    let mut connection = connect(file).await?;
    let columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info('steps')").fetch_all(&mut connection).await?;
    let sql = format!("SELECT {} FROM steps LIMIT {FLOOR_ROWS_MAX}", columns.join(", "));
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
    let values = |row| (0..columns.len()).map(|column| value(row, column)).collect();
    let rows = rows.iter().map(values).collect::<anyhow::Result<_>>()?;
    Ok((columns, rows))
}

fn value(row: &SqliteRow, column: usize) -> anyhow::Result<Value> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" => Value::Integer(row.try_get(column)?),
        "REAL" => Value::Real(row.try_get(column)?),
        "BLOB" => Value::Blob(row.try_get(column)?),
        _ => Value::Text(row.try_get(column)?),
    })
}

/// As durable as the store itself: write-ahead log, every commit synced.
async fn connect(file: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false);
    Ok(SqliteConnection::connect_with(&options).await?)
}
