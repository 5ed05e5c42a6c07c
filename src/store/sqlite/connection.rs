//! The one connection that writes, lent for one transaction at a time.

use anyhow::{bail, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

/// Before it a checkpoint beside a commit could corrupt the file (sqlite.org/wal.html, "the WAL-reset bug").
const OLDEST_VERSION: [u32; 3] = [3, 51, 3];

/// A write-ahead log that is synced at every commit: what was committed survives loss of power.
pub(crate) fn durable(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
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
}

impl Lent {
    pub fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Lent {
        Lent { options, idle: Some(connection) }
    }

    /// A connection inside a transaction that may write at once. It comes back by [`Lent::commit`] or not at all:
    /// dropped on the way, by an error or because the future that held it was, it is closed and rolled back.
    pub async fn begin(&mut self) -> sqlx::Result<SqliteConnection> {
        let mut connection = match self.idle.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await?;
        Ok(connection)
    }

    pub async fn commit(&mut self, mut connection: SqliteConnection) -> sqlx::Result<()> {
        sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
        self.idle = Some(connection);
        Ok(())
    }
}
