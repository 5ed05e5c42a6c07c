//! Two stores behind one trait: SQLite, the embedded default, and Postgres. Same migrations, same behaviour,
//! one contract suite.

mod columns;
mod contents;
mod error;
mod ledger;
mod parts;
mod plan;
mod postgres;
mod queries;
mod read;
mod receipts;
mod remap;
mod reveal;
mod rows;
mod sqlite;
mod storable;
mod sweep;
mod tables;
mod write;

pub(crate) use sqlite::connection::{assert_durable, durable};

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::migrate::{MigrateError, Migrator};
use uuid::Uuid;

use crate::assembly::{LifeCycle, RunLogs};
use crate::model::batch::{Batch, Written};
use crate::model::id::{ProjectId, RunKey};
use crate::model::key::{ApiKey, KeyChanges, Scopes};
use crate::model::query::{Page, RunFilter};
use crate::model::quota::Quota;
use crate::model::run::Run;
use crate::model::step::Step;
use crate::prices::Prices;
use crate::quota::{Ask, Grant};

pub use ledger::{AfterReceipt, Asked, Ledger, LetterRow, ReceiptRow, Receipts, RefusedRow, RejectedRow};

/// What the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Try the same again: connection lost, lock, server starting, disk full.
    #[error("store unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// The data of the batch was refused: take it apart until the offender is alone.
    #[error("store refused the data (code {})", error::code(.0))]
    Data(sqlx::Error),
    /// Our statement or our schema is wrong: loud, and nothing is blamed on the data.
    #[error("store and program disagree: {}{}", .0, error::hint(.0))]
    Broken(sqlx::Error),
}

/// Connections for keys, opened as they are needed.
const KEY_CONNECTIONS_MAX: u32 = 4;

/// Bytes of the steps and log records of one run that are read when somebody asks for it.
pub const SHOWN_BYTES_MAX: usize = 32 << 20;

/// What a deployment may set about the store.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// A run with more stored steps than this is assembled by the sweeper, once for a burst of writes, and not by each
    /// write: a trace of 100,000 spans that comes in 200 requests must not be read 200 times.
    pub inline_steps_max: u32,
    /// Connections for reads; keys have their own.
    pub readers_max: u32,
    /// Steps that are read of one run when somebody asks for it, the earliest.
    pub shown_steps_max: u32,
    /// Bytes of a SQLite file's write-ahead log above which nothing more is written. It grows while somebody reads an old
    /// state of the file.
    pub sqlite_log_bytes_max: u64,
    /// Steps of one run that are assembled, the earliest; sums are made of the rest.
    pub assembled_steps_max: u32,
    /// Bytes of steps that are held with all their texts for assembly; of more there are seals of the texts.
    pub whole_bytes_max: usize,
}

impl Tuning {
    /// Of each connection that writes, and of the sweeper.
    pub const WHOLE_BYTES_MAX: usize = 32 << 20;
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            inline_steps_max: 256,
            readers_max: 8,
            shown_steps_max: 50_000,
            assembled_steps_max: 100_000,
            whole_bytes_max: Tuning::WHOLE_BYTES_MAX,
            sqlite_log_bytes_max: 1 << 30,
        }
    }
}

/// The store at `url`: `sqlite://path` or `postgres://user@host/database`. A SQLite file is created if it is missing;
/// a Postgres server may be away and is looked for on first use, and with `host1,host2` the one of them that takes writes.
/// `prices` price what is merged of several versions.
pub async fn open(url: &str, tuning: Tuning, prices: Arc<Prices>) -> anyhow::Result<Arc<dyn Store>> {
    match url.split_once("://") {
        Some(("sqlite", path)) => Ok(Arc::new(sqlite::SqliteStore::open(path, tuning, prices).await?)),
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(postgres::PostgresStore::open(url, tuning, prices)?)),
        // What stands behind the scheme may hold a password.
        Some((scheme, _)) => {
            anyhow::bail!("no database of the kind {scheme:?}: the URL must begin with sqlite:// or postgres://")
        }
        None => anyhow::bail!("the database URL must begin with sqlite:// or postgres://"),
    }
}

/// A run as read back: its row, its steps up to [`Tuning::shown_steps_max`] with their log records, and the bodies of the
/// origins they refer to. Of a part the steps are those of its whole trace.
#[derive(Clone, Debug)]
pub struct StoredRun {
    pub run: Run,
    pub steps: Vec<Step>,
    /// There are more steps than that, or more than was asked for in bytes.
    pub is_truncated: bool,
    /// More bytes would have been more of it.
    pub is_cut: bool,
    pub logs: RunLogs,
    pub origins: Vec<(Uuid, String)>,
}

/// Which steps are made anew by [`Store::remap`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Remap {
    /// The first day of steps, all when absent.
    pub since: Option<NaiveDate>,
    pub project: Option<ProjectId>,
}

/// What one part of it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remapped {
    /// Steps that carry the present version now, and how many of them are other than before.
    pub steps: u64,
    pub changed: u64,
    /// Runs that were assembled again.
    pub runs: u64,
    /// Where the next part goes on.
    pub after: Option<RunKey>,
    pub is_done: bool,
}

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub id: String,
    pub name: Option<String>,
    pub project: ProjectId,
    pub scopes: Scopes,
    pub quota: Quota,
    pub secret_hash: [u8; 32],
    pub expires_at: Option<DateTime<Utc>>,
}

/// What writers need of a store.
#[async_trait]
pub trait Writable: Send + Sync {
    /// Can the store commit now?
    async fn ping(&self) -> Result<(), StoreError>;
    /// A connection that one writer task owns.
    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError>;
}

#[async_trait]
pub trait Store: Ledger + Writable {
    /// Says that this process serves from the store, as long as it has it. An error when another one does and the store is
    /// for one alone: SQLite, whose quotas are counted in memory.
    fn claim(&self) -> anyhow::Result<()> {
        Ok(())
    }
    /// Applies what is missing of the schema and makes partitions ahead of time. Safe beside other replicas.
    async fn migrate(&self) -> anyhow::Result<()>;
    /// Makes the day partitions around `today` that are missing; to be called every few hours. Nothing to do on SQLite.
    async fn make_partitions(&self, _today: NaiveDate) -> Result<(), StoreError> {
        Ok(())
    }
    /// Moves what was committed from the log to its place; to be called often, so that it is little each time. Postgres
    /// does so by itself.
    async fn checkpoint(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// The run with steps of no more than `bytes_max`, the earliest.
    async fn run_within(
        &self,
        project: ProjectId,
        run_id: Uuid,
        bytes_max: usize,
    ) -> Result<Option<StoredRun>, StoreError>;
    /// The run with as many of its steps as are ever shown.
    async fn run(&self, project: ProjectId, run_id: Uuid) -> Result<Option<StoredRun>, StoreError> {
        self.run_within(project, run_id, SHOWN_BYTES_MAX).await
    }
    async fn runs(&self, project: ProjectId, filter: &RunFilter) -> Result<Page, StoreError>;
    /// Assembles again up to `limit` runs that are due at `now`, each by one replica only. How many there were.
    async fn sweep(&self, life: &LifeCycle, now: DateTime<Utc>, limit: u32) -> Result<u32, StoreError>;
    /// Makes steps anew that an older version of the mapping made, and assembles their runs again: one small transaction,
    /// after run `after`. Safe beside writers; what was done stays done whatever happens between two parts.
    async fn remap(
        &self,
        which: &Remap,
        after: Option<RunKey>,
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> Result<Remapped, StoreError>;
    async fn add_key(&self, key: NewKey, now: DateTime<Utc>) -> Result<ApiKey, StoreError>;
    /// The key with this id in whatever project: for authentication, and for who operates the database. Never waits for
    /// readers of runs.
    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError>;
    /// The same if it belongs to the project.
    async fn project_key(&self, project: ProjectId, id: &str) -> Result<Option<ApiKey>, StoreError>;
    /// Those of the project, or all; newest last.
    async fn keys(&self, project: Option<ProjectId>) -> Result<Vec<ApiKey>, StoreError>;
    /// False when the project has no such key.
    async fn revoke_key(&self, project: ProjectId, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError>;
    /// Gives the key another secret; the one it has works until `previous_until`, the one before it no more. False when the
    /// project has no such key that is live.
    async fn rotate_key(
        &self,
        project: ProjectId,
        id: &str,
        secret_hash: [u8; 32],
        previous_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError>;
    /// False when the project has no such key.
    async fn change_key(&self, project: ProjectId, id: &str, changes: &KeyChanges) -> Result<bool, StoreError>;
    /// Notes that the keys with these ids were used, each by the user agent beside it. An earlier use changes nothing.
    async fn touch_keys(&self, used: &HashMap<String, String>, now: DateTime<Utc>) -> Result<(), StoreError>;
    /// Takes parts of the rates of a key. Whoever uses the same database takes from the same amounts.
    async fn lease(&self, project: ProjectId, key_id: &str, asks: &[Ask]) -> Result<Vec<Grant>, StoreError>;
    /// The project by name, created if absent (for `API_KEY`, which belongs to `default`).
    async fn project(&self, name: &str, now: DateTime<Utc>) -> Result<ProjectId, StoreError>;
}

impl StoreError {
    /// All that may be read at once is being read: come again.
    pub fn busy() -> StoreError {
        StoreError::Unavailable(sqlx::Error::PoolTimedOut)
    }

    /// SQLSTATE or SQLite's code; says nothing of the data.
    pub fn code(&self) -> String {
        let (StoreError::Unavailable(error) | StoreError::Data(error) | StoreError::Broken(error)) = self;
        error::code(error)
    }
}

#[async_trait]
pub trait StoreWriter: Send {
    /// Writes all batches and their receipts in one transaction. Running the same batches again changes nothing but the
    /// receipts, which count it as copies.
    async fn write(
        &mut self,
        batches: &[&Batch],
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> Result<Vec<Written>, StoreError>;
}

/// A schema that a later release has brought up to date does no harm: migrations only add, and what is no longer needed
/// goes with the release after. So replicas can be upgraded one after the other, and put back.
fn lenient(mut migrations: Migrator) -> Migrator {
    migrations.set_ignore_missing(true);
    migrations
}

const LATEST_MIGRATION: &str = "SELECT MAX(version) FROM _sqlx_migrations";

fn tell_of_later(migrations: &Migrator, applied: i64) {
    let known = migrations.iter().map(|migration| migration.version).max().unwrap_or_default();
    if applied > known {
        tracing::warn!(applied, known, "the schema of the database is that of a later release, going on with it");
    }
}

/// A database that is away is told apart from a schema that does not fit: the first is worth waiting for.
fn migration_error(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => StoreError::from(error).into(),
        other => anyhow::Error::new(other).context("the schema of the database is not this program's"),
    }
}
