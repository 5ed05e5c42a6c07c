//! The store on Postgres, 14 or newer: by URL alone, and by any number of collectors at once.
//!
//! Behind a pooler that gives each transaction another server connection (PgBouncer before 1.21, for example) add
//! `statement-cache-capacity=0` to the URL; nothing else is kept in a session.

mod connection;
mod leases;
mod ledger;
mod partitions;
mod receipts;
mod server;
mod statements;
mod tables;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::Mutex;
use uuid::Uuid;

use self::connection::{Lent, TRANSACTION_MAX, within};
use super::columns::{KeyRow, RunRow, decoded};
use super::{
    KEY_CONNECTIONS_MAX, NewKey, Remap, Remapped, Store, StoreError, StoreWriter, StoredRun, Tuning, queries, read,
    remap, storable, sweep, write,
};
use crate::assembly::LifeCycle;
use crate::model::batch::{Batch, Written};
use crate::model::id::{ProjectId, RunKey};
use crate::model::key::{ApiKey, KeyChanges};
use crate::model::query::{Page, RunFilter};
use crate::prices::Prices;
use crate::quota::{Ask, Grant};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

const ACQUIRE_MAX: Duration = Duration::from_secs(3);

/// Rows over which the receipts of one key and hour are spread at most.
const SHARDS: i16 = 256;

/// Binds ids, user agents and the time.
const TOUCH_KEYS: &str = "UPDATE api_keys SET last_used_at = $3, last_user_agent = used.agent \
    FROM UNNEST($1::text[], $2::text[]) AS used (id, agent) \
    WHERE key_id = used.id AND COALESCE(last_used_at < $3, TRUE)";

pub(super) struct PostgresStore {
    options: PgConnectOptions,
    /// Reads; a slow reader never holds up a writer, which has its own connection.
    pool: PgPool,
    /// Keys: however much is read, a revocation is seen in time.
    keys: PgPool,
    sweeper: Mutex<Lent>,
    tuning: Tuning,
    prices: Arc<Prices>,
}

impl PostgresStore {
    /// Connects on first use: the server may be away now.
    pub fn open(url: &str, tuning: Tuning, prices: Arc<Prices>) -> anyhow::Result<PostgresStore> {
        let options: PgConnectOptions = url.parse().context("the database URL is no valid postgres:// URL")?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("vectoros"),
        };
        let pool = |connections_max| {
            let pool = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_MAX);
            pool.connect_lazy_with(options.clone())
        };
        let (pool, keys) = (pool(tuning.readers_max), pool(KEY_CONNECTIONS_MAX));
        let sweeper = Mutex::new(Lent::new(options.clone()));
        Ok(PostgresStore { options, pool, keys, sweeper, tuning, prices })
    }

    /// A connection for work that is done once; closed when dropped, whatever it was doing.
    async fn connect(&self) -> sqlx::Result<PgConnection> {
        within(ACQUIRE_MAX, self.options.connect()).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await.map_err(StoreError::from)?;
        server::check(&mut connection).await?;
        // Not `run`, whose future the compiler cannot see to be `Send`.
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(super::migration_error)?;
        partitions::make_partitions(&mut connection, Utc::now().date_naive()).await.map_err(StoreError::from)?;
        Ok(connection.close().await.map_err(StoreError::from)?)
    }

    async fn make_partitions(&self, today: NaiveDate) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        partitions::make_partitions(&mut connection, today).await?;
        Ok(connection.close().await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // Also 25006 when the server takes no writes, without leaving anything behind.
        let can_write = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'";
        let asked = match sqlx::query_scalar::<_, bool>(can_write).fetch_one(&self.pool).await {
            // The pool does not say why it has no connection.
            Err(sqlx::Error::PoolTimedOut) => {
                let mut connection = self.connect().await?;
                sqlx::query_scalar::<_, bool>(can_write).fetch_one(&mut connection).await
            }
            asked => asked,
        };
        if asked? {
            return Ok(());
        }
        let read_only = std::io::Error::other("the server is read-only: it was demoted or is a standby");
        Err(StoreError::Unavailable(sqlx::Error::Io(read_only)))
    }

    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        Ok(Box::new(PostgresWriter {
            connection: Lent::new(self.options.clone()),
            tuning: self.tuning,
            prices: self.prices.clone(),
            shard: rand::random_range(0..SHARDS),
        }))
    }

    async fn run_within(
        &self,
        project: ProjectId,
        run_id: Uuid,
        bytes_max: usize,
    ) -> Result<Option<StoredRun>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let key = RunKey { project, run_id };
        Ok(read::run(&mut *connection, key, bytes_max, &self.tuning, &self.prices).await?)
    }

    async fn runs(&self, project: ProjectId, filter: &RunFilter) -> Result<Page, StoreError> {
        let mut query = queries::list_runs::<sqlx::Postgres>(project, filter);
        let rows: Vec<RunRow> = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(queries::page(decoded(rows)?, filter))
    }

    async fn sweep(&self, life: &LifeCycle, now: DateTime<Utc>, limit: u32) -> Result<u32, StoreError> {
        let mut sweeper = self.sweeper.lock().await;
        let mut connection = sweeper.begin().await?;
        let swept =
            within(TRANSACTION_MAX, sweep::sweep(&mut connection, life, now, limit, &self.prices, &self.tuning))
                .await?;
        sweeper.commit(connection).await?;
        Ok(swept)
    }

    async fn remap(
        &self,
        which: &Remap,
        after: Option<RunKey>,
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> Result<Remapped, StoreError> {
        let mut lent = self.sweeper.lock().await;
        let mut connection = lent.begin().await?;
        let part = remap::remap(&mut connection, which, after, &self.prices, &self.tuning, life, now);
        let remapped = within(TRANSACTION_MAX, part).await?;
        lent.commit(connection).await?;
        Ok(remapped)
    }

    async fn add_key(&self, key: NewKey, now: DateTime<Utc>) -> Result<ApiKey, StoreError> {
        sqlx::query(queries::ADD_KEY)
            .bind(&key.id)
            .bind(key.project.0)
            .bind(key.name.as_deref().map(storable::text))
            .bind(key.scopes.words().join(","))
            .bind(storable::to_json(&key.quota)?)
            .bind(key.secret_hash.as_slice())
            .bind(now)
            .bind(key.expires_at)
            .execute(&self.keys)
            .await?;
        let query = sqlx::query_as(queries::PROJECT_KEY).bind(key.project.0).bind(&key.id);
        let row: KeyRow = query.fetch_one(&self.keys).await?;
        Ok(row.try_into()?)
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::KEY).bind(storable::text(id)).fetch_optional(&self.keys);
        // Also when the server is gone without a word.
        let row: Option<KeyRow> = within(ACQUIRE_MAX, query).await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn project_key(&self, project: ProjectId, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::PROJECT_KEY).bind(project.0).bind(storable::text(id));
        let row: Option<KeyRow> = query.fetch_optional(&self.keys).await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn keys(&self, project: Option<ProjectId>) -> Result<Vec<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::KEYS).bind(project.map(|project| project.0));
        let rows: Vec<KeyRow> = query.fetch_all(&self.pool).await?;
        Ok(decoded(rows)?)
    }

    async fn revoke_key(&self, project: ProjectId, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let query = sqlx::query(queries::REVOKE_KEY).bind(project.0).bind(storable::text(id)).bind(now);
        Ok(query.execute(&self.keys).await?.rows_affected() > 0)
    }

    async fn rotate_key(
        &self,
        project: ProjectId,
        id: &str,
        secret_hash: [u8; 32],
        previous_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(queries::ROTATE_KEY).bind(project.0).bind(storable::text(id));
        let query = query.bind(secret_hash.to_vec()).bind(previous_until).bind(now);
        Ok(query.execute(&self.keys).await?.rows_affected() > 0)
    }

    async fn change_key(&self, project: ProjectId, id: &str, changes: &KeyChanges) -> Result<bool, StoreError> {
        let query = sqlx::query(queries::CHANGE_KEY)
            .bind(project.0)
            .bind(storable::text(id))
            .bind(changes.name.is_some())
            .bind(changes.name.as_ref().and_then(Option::as_deref).map(storable::text))
            .bind(changes.quota.is_some())
            .bind(changes.quota.as_ref().map(storable::to_json).transpose()?)
            .bind(changes.expires_at.is_some())
            .bind(changes.expires_at.flatten());
        Ok(query.execute(&self.keys).await?.rows_affected() > 0)
    }

    async fn touch_keys(&self, used: &HashMap<String, String>, now: DateTime<Utc>) -> Result<(), StoreError> {
        let (ids, agents): (Vec<&String>, Vec<&String>) = used.iter().unzip();
        sqlx::query(TOUCH_KEYS).bind(ids).bind(agents).bind(now).execute(&self.keys).await?;
        Ok(())
    }

    async fn lease(&self, project: ProjectId, key_id: &str, asks: &[Ask]) -> Result<Vec<Grant>, StoreError> {
        let mut transaction = self.pool.begin_with(leases::BEGIN).await?;
        let grants = leases::lease(&mut transaction, project, key_id, asks).await?;
        transaction.commit().await?;
        Ok(grants)
    }

    async fn project(&self, name: &str, now: DateTime<Utc>) -> Result<ProjectId, StoreError> {
        sqlx::query(queries::ADD_PROJECT).bind(name).bind(now).execute(&self.keys).await?;
        let id = sqlx::query_scalar(queries::PROJECT).bind(name).fetch_one(&self.keys).await?;
        Ok(ProjectId(id))
    }
}

struct PostgresWriter {
    connection: Lent,
    tuning: Tuning,
    prices: Arc<Prices>,
    /// Of the receipts: two writers seldom draw the same and then wait for each other's COMMIT.
    shard: i16,
}

#[async_trait]
impl StoreWriter for PostgresWriter {
    async fn write(
        &mut self,
        batches: &[&Batch],
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> Result<Vec<Written>, StoreError> {
        let asked = Instant::now();
        let mut connection = self.connection.begin().await?;
        let statements =
            write::write(&mut connection, batches, life, (now, asked), &self.tuning, &self.prices, self.shard);
        let written = within(TRANSACTION_MAX, statements).await?;
        self.connection.commit(connection).await?;
        Ok(written)
    }
}
