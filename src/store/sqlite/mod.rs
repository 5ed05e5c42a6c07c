//! The store in a file: SQLite with a write-ahead log, synced at every commit. One connection writes, others read.

pub(super) mod connection;
mod file;
mod leases;
mod ledger;
mod receipts;
mod statements;
mod tables;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;
use uuid::Uuid;

use self::connection::{BUSY_MAX, Lent, assert_durable, durable};
use self::file::Claim;
use self::leases::Leases;
use super::columns::{KeyRow, RunRow, decoded};
use super::{
    KEY_CONNECTIONS_MAX, LATEST_MIGRATION, NewKey, Remap, Remapped, Store, StoreError, StoreWriter, StoredRun, Tuning,
    Writable, lenient, queries, read, remap, storable, sweep, tell_of_later, write,
};
use crate::assembly::LifeCycle;
use crate::model::batch::{Batch, Written};
use crate::model::id::{ProjectId, RunKey};
use crate::model::key::{ApiKey, KeyChanges};
use crate::model::query::{Page, RunFilter};
use crate::prices::Prices;
use crate::quota::{Ask, Grant};

const ACQUIRE_MAX: Duration = Duration::from_secs(3);

/// So many pages of 4 KiB in the log make a commit wait for a checkpoint: when those beside it, which nobody waits for, are
/// too slow.
const CHECKPOINT_PAGES: &str = "8192";

/// Due runs that are assembled in one transaction: writers wait for it.
const SWEPT_MAX: u32 = 3;

/// Of the receipts: writers of a file take turns anyway.
const SHARD: i16 = 0;

pub(super) struct SqliteStore {
    options: SqliteConnectOptions,
    readers: SqlitePool,
    /// Keys: however much is read, a revocation is seen in time.
    keys: SqlitePool,
    /// Writers, the sweeper and keys take turns.
    connection: Arc<Mutex<Lent>>,
    /// Checkpoints beside the writer, once it was needed.
    checkpointer: Mutex<Option<SqliteConnection>>,
    leases: Leases,
    claim: OnceLock<Claim>,
    tuning: Tuning,
    prices: Arc<Prices>,
}

impl SqliteStore {
    /// Creates the file if it is missing.
    pub async fn open(path: &str, tuning: Tuning, prices: Arc<Prices>) -> anyhow::Result<SqliteStore> {
        ensure!(!path.is_empty() && !path.contains(":memory:"), "a SQLite store needs a file: sqlite://path");
        file::own(Path::new(path)).with_context(|| format!("cannot create the SQLite file {path:?}"))?;
        let file = SqliteConnectOptions::new().filename(Path::new(path)).busy_timeout(BUSY_MAX);
        let options = durable(file.clone()).pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
        let mut connection = options.connect().await.map_err(|error| unopened(path, error))?;
        assert_durable(&mut connection).await?;
        let readers = |connections_max| {
            let pool = SqlitePoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_MAX);
            pool.connect_lazy_with(file.clone().pragma("query_only", "1"))
        };
        let (readers, keys) = (readers(tuning.readers_max), readers(KEY_CONNECTIONS_MAX));
        let lent = Lent::new(options.clone(), connection, tuning.sqlite_log_bytes_max);
        let (connection, leases, claim) = (Arc::new(Mutex::new(lent)), Leases::default(), OnceLock::new());
        let checkpointer = Mutex::default();
        Ok(SqliteStore { options, readers, keys, connection, checkpointer, leases, claim, tuning, prices })
    }
}

/// Why a file cannot be opened, and what helps when it is damaged: result codes CORRUPT and NOTADB.
fn unopened(path: &str, error: sqlx::Error) -> anyhow::Error {
    let help = match &*super::error::code(&error) {
        "11" | "26" => {
            ": it is damaged, or was never one; put a backup in its place, or save what can be read of it by \
             `sqlite3 FILE .recover`"
        }
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot open the SQLite file {path:?}{help}"))
}

/// One statement as a transaction of its own on the writing connection.
macro_rules! execute {
    ($store:expr, $statement:expr $(, $value:expr)*) => {{
        let mut lent = $store.connection.lock().await;
        let mut connection = lent.begin().await?;
        let done = sqlx::query($statement)$(.bind($value))*.execute(&mut connection).await?;
        lent.commit(connection).await?;
        done
    }};
}

#[async_trait]
impl Writable for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        let mut lent = self.connection.lock().await;
        let connection = lent.begin().await?;
        Ok(lent.commit(connection).await?)
    }

    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        Ok(Box::new(SqliteWriter {
            connection: self.connection.clone(),
            tuning: self.tuning,
            prices: self.prices.clone(),
        }))
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn claim(&self) -> anyhow::Result<()> {
        if self.claim.get().is_none() {
            // Somebody else here may have been faster, and then it is theirs.
            let _ = self.claim.set(Claim::take(self.options.get_filename())?);
        }
        Ok(())
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        let mut connection = self.options.connect().await.map_err(StoreError::from)?;
        let migrations = lenient(sqlx::migrate!("migrations/sqlite"));
        // Not `run`, whose future the compiler cannot see to be `Send`.
        migrations.run_direct(None, &mut connection, false).await.map_err(super::migration_error)?;
        let applied = sqlx::query_scalar(LATEST_MIGRATION).fetch_one(&mut connection).await;
        tell_of_later(&migrations, applied.map_err(StoreError::from)?);
        Ok(connection.close().await.map_err(StoreError::from)?)
    }

    async fn checkpoint(&self) -> Result<(), StoreError> {
        let mut checkpointer = self.checkpointer.lock().await;
        let mut connection = match checkpointer.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await?;
        *checkpointer = Some(connection);
        Ok(())
    }

    async fn run_within(
        &self,
        project: ProjectId,
        run_id: Uuid,
        bytes_max: usize,
    ) -> Result<Option<StoredRun>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let key = RunKey { project, run_id };
        Ok(read::run(&mut *connection, key, bytes_max, &self.tuning, &self.prices).await?)
    }

    async fn runs(&self, project: ProjectId, filter: &RunFilter) -> Result<Page, StoreError> {
        let mut query = queries::list_runs::<Sqlite>(project, filter);
        let rows: Vec<RunRow> = query.build_query_as().fetch_all(&self.readers).await?;
        Ok(queries::page(decoded(rows)?, filter))
    }

    async fn sweep(&self, life: &LifeCycle, now: DateTime<Utc>, limit: u32) -> Result<u32, StoreError> {
        let mut all = 0;
        while all < limit {
            let mut lent = self.connection.lock().await;
            let mut connection = lent.begin().await?;
            let few = SWEPT_MAX.min(limit - all);
            let swept = sweep::sweep(&mut connection, life, now, few, &self.prices, &self.tuning).await?;
            lent.commit(connection).await?;
            all += swept;
            if swept == 0 {
                break;
            }
        }
        Ok(all)
    }

    async fn remap(
        &self,
        which: &Remap,
        after: Option<RunKey>,
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> Result<Remapped, StoreError> {
        let mut lent = self.connection.lock().await;
        let mut connection = lent.begin().await?;
        let remapped = remap::remap(&mut connection, which, after, &self.prices, &self.tuning, life, now).await?;
        lent.commit(connection).await?;
        Ok(remapped)
    }

    async fn add_key(&self, key: NewKey, now: DateTime<Utc>) -> Result<ApiKey, StoreError> {
        execute!(
            self,
            queries::ADD_KEY,
            &key.id,
            key.project.0,
            key.name.as_deref().map(storable::text),
            key.scopes.words().join(","),
            storable::to_json(&key.quota)?,
            key.secret_hash.as_slice(),
            storable::time(now),
            key.expires_at.map(storable::time)
        );
        let query = sqlx::query_as(queries::PROJECT_KEY).bind(key.project.0).bind(&key.id);
        let row: KeyRow = query.fetch_one(&self.keys).await?;
        Ok(row.try_into()?)
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<KeyRow> = sqlx::query_as(queries::KEY).bind(id).fetch_optional(&self.keys).await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn project_key(&self, project: ProjectId, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::PROJECT_KEY).bind(project.0).bind(id);
        let row: Option<KeyRow> = query.fetch_optional(&self.keys).await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn keys(&self, project: Option<ProjectId>) -> Result<Vec<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::KEYS).bind(project.map(|project| project.0));
        let rows: Vec<KeyRow> = query.fetch_all(&self.readers).await?;
        Ok(decoded(rows)?)
    }

    async fn revoke_key(&self, project: ProjectId, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(execute!(self, queries::REVOKE_KEY, project.0, id, storable::time(now)).rows_affected() > 0)
    }

    async fn rotate_key(
        &self,
        project: ProjectId,
        id: &str,
        secret_hash: [u8; 32],
        previous_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (until, now) = (storable::time(previous_until), storable::time(now));
        let done = execute!(self, queries::ROTATE_KEY, project.0, id, secret_hash.as_slice(), until, now);
        Ok(done.rows_affected() > 0)
    }

    async fn change_key(&self, project: ProjectId, id: &str, changes: &KeyChanges) -> Result<bool, StoreError> {
        let done = execute!(
            self,
            queries::CHANGE_KEY,
            project.0,
            id,
            changes.name.is_some(),
            changes.name.as_ref().and_then(Option::as_deref).map(storable::text),
            changes.quota.is_some(),
            changes.quota.as_ref().map(storable::to_json).transpose()?,
            changes.expires_at.is_some(),
            changes.expires_at.flatten().map(storable::time)
        );
        Ok(done.rows_affected() > 0)
    }

    async fn touch_keys(&self, used: &HashMap<String, String>, now: DateTime<Utc>) -> Result<(), StoreError> {
        const TOUCH_KEYS: &str = "UPDATE api_keys SET last_used_at = $2, last_user_agent = used.value \
            FROM json_each($1) AS used WHERE key_id = used.key AND COALESCE(last_used_at < $2, TRUE)";
        execute!(self, TOUCH_KEYS, storable::to_json(used)?, storable::time(now));
        Ok(())
    }

    async fn lease(&self, project: ProjectId, key_id: &str, asks: &[Ask]) -> Result<Vec<Grant>, StoreError> {
        Ok(self.leases.lease(project, key_id, asks, Utc::now()))
    }

    async fn project(&self, name: &str, now: DateTime<Utc>) -> Result<ProjectId, StoreError> {
        execute!(self, queries::ADD_PROJECT, name, storable::time(now));
        let id = sqlx::query_scalar(queries::PROJECT).bind(name).fetch_one(&self.keys).await?;
        Ok(ProjectId(id))
    }
}

struct SqliteWriter {
    connection: Arc<Mutex<Lent>>,
    tuning: Tuning,
    prices: Arc<Prices>,
}

#[async_trait]
impl StoreWriter for SqliteWriter {
    async fn write(
        &mut self,
        batches: &[&Batch],
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> Result<Vec<Written>, StoreError> {
        let asked = Instant::now();
        let mut lent = self.connection.lock().await;
        let mut connection = lent.begin().await?;
        let written =
            write::write(&mut connection, batches, life, (now, asked), &self.tuning, &self.prices, SHARD).await?;
        lent.commit(connection).await?;
        Ok(written)
    }
}
