//! The file of the spool: SQLite with a write-ahead log that is synced at every commit, one connection.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use uuid::Uuid;

use super::kept::{Content, Kept, room_bytes, transport_of};
use crate::model::id::ProjectId;
use crate::store::{assert_durable, durable};

/// `seq` is never used twice, so that what is deleted later is what was read. What is damaged is kept to be looked at.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS spool (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL, key_id TEXT NOT NULL, content TEXT NOT NULL,
        run_id BLOB, transport TEXT NOT NULL, received_at INTEGER NOT NULL, sent_bytes INTEGER NOT NULL,
        body BLOB NOT NULL, hash BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS damaged (
        seq INTEGER, project INTEGER, key_id TEXT, content TEXT, run_id BLOB, transport TEXT, received_at INTEGER,
        sent_bytes INTEGER, body BLOB, hash BLOB);";

const INSERT: &str = "INSERT INTO spool \
    (project, key_id, content, run_id, transport, received_at, sent_bytes, body, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
const SET_ASIDE: &str = "INSERT INTO damaged SELECT seq, project, key_id, content, run_id, transport, received_at, \
    sent_bytes, body, hash FROM spool WHERE seq = ?";
pub(super) const SELECT: &str = "SELECT project, key_id, content, run_id, transport, received_at, sent_bytes, body, hash \
    FROM spool WHERE seq = ?";

/// The columns of [`SELECT`].
pub(super) type Columns = (i64, String, String, Option<Vec<u8>>, String, i64, i64, Vec<u8>, Vec<u8>);

pub(super) struct SpoolFile {
    connection: SqliteConnection,
}

/// A request in the file.
#[derive(Clone, Debug)]
pub struct Row {
    pub seq: i64,
    pub kept: Kept,
}

/// Some rows in their order, and what was found damaged among them, which is set aside already.
#[derive(Debug, Default)]
pub struct Portion {
    pub rows: Vec<Row>,
    pub damaged: u64,
    /// The last row that was looked at.
    pub last: i64,
}

/// What the file holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holding {
    pub requests: u64,
    /// Of the room, those that are set aside too.
    pub bytes: u64,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("{0:#}")]
    Other(anyhow::Error),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> OpenError {
        if is_damage(&error) { OpenError::Damaged(error.to_string()) } else { OpenError::Other(error.into()) }
    }
}

/// Whether the file itself is wrong: primary result codes ERROR (another schema), IOERR, CORRUPT and NOTADB
/// (sqlite.org/rescode.html). A full disk, say, is not.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 1 | 10 | 11 | 26))
}

impl SpoolFile {
    /// Opens the file, which exists and may be empty. `is_checked`: all of its pages are looked at.
    pub async fn open(path: &Path, is_checked: bool) -> Result<SpoolFile, OpenError> {
        let options = durable(SqliteConnectOptions::new().filename(path).auto_vacuum(SqliteAutoVacuum::Incremental));
        let mut connection = options.connect().await?;
        if is_checked {
            let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
            if found != "ok" {
                return Err(OpenError::Damaged(found));
            }
        }
        assert_durable(&mut connection).await.map_err(OpenError::Other)?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        Ok(SpoolFile { connection })
    }

    /// All of them or none, on the disk when it returns.
    pub async fn append(&mut self, requests: Vec<Kept>) -> sqlx::Result<()> {
        self.begin().await?;
        for kept in requests {
            sqlx::query(INSERT)
                .bind(kept.project.0)
                .bind(&kept.key_id)
                .bind(kept.content.word())
                .bind(kept.content.run_id().map(|run_id| run_id.as_bytes().to_vec()))
                .bind(kept.transport.word())
                .bind(kept.received_at.timestamp_micros())
                .bind(i64::try_from(kept.sent_bytes).unwrap_or(i64::MAX))
                .bind(&kept.body[..])
                .bind(&kept.hash()[..])
                .execute(&mut self.connection)
                .await?;
        }
        self.commit().await
    }

    /// The rows behind `after`, at least one if there is any, at most so many and so many bytes.
    pub async fn read(&mut self, after: i64, rows_max: i64, bytes_max: u64) -> sqlx::Result<Portion> {
        let sizes: Vec<(i64, i64)> =
            sqlx::query_as("SELECT seq, COALESCE(length(body), 0) FROM spool WHERE seq > ? ORDER BY seq LIMIT ?")
                .bind(after)
                .bind(rows_max)
                .fetch_all(&mut self.connection)
                .await?;
        let (mut portion, mut bytes) = (Portion { last: after, ..Portion::default() }, 0);
        for (seq, size) in sizes {
            bytes += size.unsigned_abs();
            if portion.last > after && bytes > bytes_max {
                break;
            }
            portion.last = seq;
            match read_row(&mut self.connection, seq).await? {
                Some(Read::Good(kept)) => portion.rows.push(Row { seq, kept }),
                Some(Read::Damaged) => {
                    self.set_aside(seq).await?;
                    portion.damaged += 1;
                }
                None => {}
            }
        }
        Ok(portion)
    }

    async fn set_aside(&mut self, seq: i64) -> sqlx::Result<()> {
        self.begin().await?;
        sqlx::query(SET_ASIDE).bind(seq).execute(&mut self.connection).await?;
        self.delete_row(seq).await?;
        self.commit().await
    }

    pub async fn delete(&mut self, seqs: Vec<i64>) -> sqlx::Result<()> {
        self.begin().await?;
        for seq in seqs {
            self.delete_row(seq).await?;
        }
        self.commit().await
    }

    async fn delete_row(&mut self, seq: i64) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM spool WHERE seq = ?").bind(seq).execute(&mut self.connection).await.map(drop)
    }

    /// Counts everything.
    pub async fn holding(&mut self) -> sqlx::Result<Holding> {
        let counted = "SELECT COUNT(*), COALESCE(SUM(length(body)), 0) FROM spool";
        let (requests, bodies): (i64, i64) = sqlx::query_as(counted).fetch_one(&mut self.connection).await?;
        let counted = "SELECT COUNT(*), COALESCE(SUM(length(body)), 0) FROM damaged";
        let (damaged, damaged_bodies): (i64, i64) = sqlx::query_as(counted).fetch_one(&mut self.connection).await?;
        let rows = requests.unsigned_abs() + damaged.unsigned_abs();
        let bytes = bodies.unsigned_abs() + damaged_bodies.unsigned_abs() + rows * room_bytes(0);
        Ok(Holding { requests: requests.unsigned_abs(), bytes })
    }

    /// When the first of the requests was received.
    pub async fn oldest(&mut self) -> sqlx::Result<Option<DateTime<Utc>>> {
        let first = "SELECT received_at FROM spool ORDER BY seq LIMIT 1";
        let micros: Option<i64> = sqlx::query_scalar(first).fetch_optional(&mut self.connection).await?;
        Ok(micros.and_then(DateTime::from_timestamp_micros))
    }

    /// Gives the room of deleted rows back to the disk.
    pub async fn shrink(&mut self) -> sqlx::Result<()> {
        let shrink = "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)";
        sqlx::raw_sql(shrink).execute(&mut self.connection).await.map(drop)
    }

    pub async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }

    async fn begin(&mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await.map(drop)
    }

    async fn commit(&mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await.map(drop)
    }
}

pub(super) enum Read {
    Good(Kept),
    /// It is not what was written.
    Damaged,
}

pub(super) async fn read_row(connection: &mut SqliteConnection, seq: i64) -> sqlx::Result<Option<Read>> {
    match sqlx::query_as::<_, Columns>(SELECT).bind(seq).fetch_optional(connection).await {
        Ok(None) => Ok(None),
        Ok(Some(columns)) => Ok(Some(read_columns(columns).map_or(Read::Damaged, Read::Good))),
        // A value of another type than its column.
        Err(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => Ok(Some(Read::Damaged)),
        Err(error) => Err(error),
    }
}

/// `None` unless it is what was written.
fn read_columns(columns: Columns) -> Option<Kept> {
    let (project, key_id, content, run_id, transport, received_at, sent_bytes, body, hash) = columns;
    let run_id = match run_id {
        Some(bytes) => Some(Uuid::from_slice(&bytes).ok()?),
        None => None,
    };
    let kept = Kept {
        project: ProjectId(project),
        key_id,
        content: Content::read(&content, run_id)?,
        transport: transport_of(&transport)?,
        received_at: DateTime::from_timestamp_micros(received_at)?,
        sent_bytes: u64::try_from(sent_bytes).ok()?,
        body: Bytes::from(body),
    };
    (hash == kept.hash()).then_some(kept)
}

/// The files beside it that SQLite makes.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
