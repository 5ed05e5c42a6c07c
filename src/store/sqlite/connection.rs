//! The one connection that writes, lent for one transaction at a time.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

use super::file;
use crate::telemetry::Sparse;

/// Before it a checkpoint beside a commit could corrupt the file (sqlite.org/wal.html, "the WAL-reset bug").
const OLDEST_VERSION: [u32; 3] = [3, 51, 3];

/// How long a connection waits for another process, as the command line beside a running server.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(5);
/// The log is cut to this after it could begin anew.
const LOG_KEPT_BYTES: &str = "67108864";

/// A write-ahead log that is synced at every commit: what was committed survives loss of power.
pub(crate) fn durable(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", LOG_KEPT_BYTES)
}

/// Does the library keep what it commits? Asked once, at open.
pub(crate) async fn assert_durable(connection: &mut SqliteConnection) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await?;
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    ensure!(parts.as_slice() >= OLDEST_VERSION.as_slice(), "SQLite {version} is too old: 3.51.3 or newer is needed");
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    if journal != "wal" {
        bail!("SQLite keeps no write-ahead log here (journal mode {journal}): put the file on a local disk");
    }
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
    ensure!(synchronous == 2, "SQLite does not sync its commits (synchronous is {synchronous}, 2 is needed)");
    Ok(())
}

/// The writing connection. Opened again after it was left in the middle of a transaction.
pub(super) struct Lent {
    options: SqliteConnectOptions,
    idle: Option<SqliteConnection>,
    /// Bytes of the write-ahead log above which nothing more is written.
    log_bytes_max: u64,
    lines: Sparse,
}

impl Lent {
    pub fn new(options: SqliteConnectOptions, connection: SqliteConnection, log_bytes_max: u64) -> Lent {
        Lent { options, idle: Some(connection), log_bytes_max, lines: Sparse::default() }
    }

    /// A connection inside a transaction that may write at once. It comes back by [`Lent::commit`] or not at all:
    /// dropped on the way, by an error or because the future that held it was, it is closed and rolled back.
    pub async fn begin(&mut self) -> sqlx::Result<SqliteConnection> {
        let mut connection = match self.idle.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        self.bound_log(&mut connection).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await?;
        Ok(connection)
    }

    pub async fn commit(&mut self, mut connection: SqliteConnection) -> sqlx::Result<()> {
        sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
        self.idle = Some(connection);
        Ok(())
    }

    /// Every commit goes to the write-ahead log, which cannot begin anew while somebody reads an old state of the file.
    async fn bound_log(&self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let bytes = file::log_bytes(self.options.get_filename());
        if bytes <= self.log_bytes_max / 2 {
            return Ok(());
        }
        let told = format!(
            "the write-ahead log of the SQLite file has {} MiB of at most {}, as something has been reading the file for \
             long: end it (a backup or a shell, perhaps), or raise database.sqlite_log_bytes",
            bytes >> 20,
            self.log_bytes_max >> 20
        );
        if let Some(left_out) = self.lines.due("log", Instant::now()) {
            tracing::warn!(left_out, "{told}");
        }
        if bytes <= self.log_bytes_max || cut_log(connection).await? {
            return Ok(());
        }
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::StorageFull, told)))
    }
}

/// Moves the log into the file and empties it, without waiting for anybody. Whether that could be done.
async fn cut_log(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    sqlx::raw_sql("PRAGMA busy_timeout = 0").execute(&mut *connection).await?;
    let (is_busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await?;
    let wait = sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {}", BUSY_MAX.as_millis()));
    sqlx::raw_sql(wait).execute(&mut *connection).await?;
    Ok(is_busy == 0)
}
