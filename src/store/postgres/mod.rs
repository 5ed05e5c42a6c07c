//! The store on Postgres, 14 or newer: by URL alone, and by any number of collectors at once.
//!
//! Several servers may be named, of which one takes writes. Nothing but prepared statements is kept in a session, so a
//! pooler that knows those (PgBouncer since 1.21) may give each transaction another one.

mod connection;
mod leases;
mod ledger;
mod partitions;
mod receipts;
mod server;
mod servers;
mod statements;
mod tables;
mod url;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use uuid::Uuid;

use self::connection::{Lent, Patience};
use self::servers::{ACQUIRE_MAX, Servers, takes_writes, within};
use super::columns::{KeyRow, RunRow, decoded};
use super::error::is_session_spoilt;
use super::{
    LATEST_MIGRATION, NewKey, Remap, Remapped, Store, StoreError, StoreWriter, StoredRun, Tuning, Writable, lenient,
    queries, read, remap, storable, sweep, tell_of_later, write,
};
use crate::assembly::LifeCycle;
use crate::model::batch::{Batch, Written};
use crate::model::id::{ProjectId, RunKey};
use crate::model::key::{ApiKey, KeyChanges};
use crate::model::query::{Page, RunFilter};
use crate::prices::Prices;
use crate::quota::{Ask, Grant};

/// A query outside of a transaction of a writer: longer than any should take, shorter than for ever.
const QUERY_MAX: Duration = Duration::from_secs(30);
/// With several servers the one in use has so long to say that it takes writes; then another one may.
const FIRST_WORD_MAX: Duration = Duration::from_millis(500);
/// Rows of days without a partition may have to move.
const PARTITIONS_MAX: Duration = Duration::from_secs(300);

/// The lock under which collectors migrate one after the other: a number as good as any.
const LOCK_MIGRATIONS: &str = "SELECT pg_advisory_xact_lock(4715829312204719)";
/// Whoever waits for all of a table has everybody else wait behind him, as long as somebody reads it: in the middle of an
/// upgrade that is the replicas that work. Better to come again.
const WAIT_SHORTLY: &str = "SET LOCAL lock_timeout = '500ms'";

/// Rows over which the receipts of one key and hour are spread at most.
const SHARDS: i16 = 256;

/// Binds ids, user agents and the time.
const TOUCH_KEYS: &str = "UPDATE api_keys SET last_used_at = $3, last_user_agent = used.agent \
    FROM UNNEST($1::text[], $2::text[]) AS used (id, agent) \
    WHERE key_id = used.id AND COALESCE(last_used_at < $3, TRUE)";

pub(super) struct PostgresStore {
    servers: Arc<Servers>,
    sweeper: Mutex<Lent>,
    tuning: Tuning,
    prices: Arc<Prices>,
}

impl PostgresStore {
    /// Connects on first use: the server may be away now.
    pub fn open(url: &str, tuning: Tuning, prices: Arc<Prices>) -> anyhow::Result<PostgresStore> {
        let servers = Arc::new(Servers::open(url, tuning.readers_max)?);
        let sweeper = Mutex::new(Lent::new(servers.clone(), Patience::UPKEEP));
        Ok(PostgresStore { servers, sweeper, tuning, prices })
    }

    /// A connection for work that is done once; closed when dropped, whatever it was doing.
    async fn connect(&self) -> sqlx::Result<PgConnection> {
        self.servers.connect(ACQUIRE_MAX).await
    }

    /// What the query gives. One that finds its server away makes the next ones ask another.
    async fn ask<T>(&self, query: impl Future<Output = sqlx::Result<T>>) -> Result<T, StoreError> {
        self.ask_within(QUERY_MAX, query).await
    }

    async fn ask_within<T>(
        &self,
        limit: Duration,
        query: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, StoreError> {
        let asked = within(limit, query).await;
        if asked.as_ref().is_err_and(is_session_spoilt) {
            self.servers.renew();
        }
        let asked = asked.map_err(StoreError::from);
        if let Err(StoreError::Unavailable(_)) = asked {
            self.servers.look().await;
        }
        asked
    }
}

#[async_trait]
impl Writable for PostgresStore {
    async fn ping(&self) -> Result<(), StoreError> {
        // Also 25006 when the server takes no writes, without leaving anything behind.
        let limit = if self.servers.are_several() { FIRST_WORD_MAX } else { QUERY_MAX };
        match within(limit, takes_writes(self.servers.readers())).await {
            Ok(()) => return Ok(()),
            Err(_) if self.servers.are_several() => {}
            // The pool does not say why it has no connection.
            Err(sqlx::Error::PoolTimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        let mut connection = self.connect().await?;
        Ok(within(ACQUIRE_MAX, takes_writes(&mut connection)).await?)
    }

    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        Ok(Box::new(PostgresWriter {
            connection: Lent::new(self.servers.clone(), Patience::WRITER),
            tuning: self.tuning,
            prices: self.prices.clone(),
            shard: rand::random_range(0..SHARDS),
        }))
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await.map_err(StoreError::from)?;
        server::check(&mut connection).await?;
        // All in one transaction, whose end frees the lock: a pooler may give the next one another session, where a lock
        // of the session would stay for ever.
        let mut transaction = connection.begin().await.map_err(StoreError::from)?;
        sqlx::raw_sql(LOCK_MIGRATIONS).execute(&mut *transaction).await.map_err(StoreError::from)?;
        sqlx::raw_sql(WAIT_SHORTLY).execute(&mut *transaction).await.map_err(StoreError::from)?;
        let mut migrations = lenient(sqlx::migrate!("migrations/postgres"));
        migrations.set_locking(false);
        // Not `run`, whose future the compiler cannot see to be `Send`.
        migrations.run_direct(None, &mut *transaction, false).await.map_err(super::migration_error)?;
        let applied = sqlx::query_scalar(LATEST_MIGRATION).fetch_one(&mut *transaction).await;
        tell_of_later(&migrations, applied.map_err(StoreError::from)?);
        transaction.commit().await.map_err(StoreError::from)?;
        partitions::make_partitions(&mut connection, Utc::now().date_naive()).await.map_err(StoreError::from)?;
        Ok(connection.close().await.map_err(StoreError::from)?)
    }

    async fn make_partitions(&self, today: NaiveDate) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        within(PARTITIONS_MAX, partitions::make_partitions(&mut connection, today)).await?;
        Ok(connection.close().await?)
    }

    async fn run_within(
        &self,
        project: ProjectId,
        run_id: Uuid,
        bytes_max: usize,
    ) -> Result<Option<StoredRun>, StoreError> {
        let mut connection = self.ask(self.servers.readers().acquire()).await?;
        let key = RunKey { project, run_id };
        self.ask(read::run(&mut *connection, key, bytes_max, &self.tuning, &self.prices)).await
    }

    async fn runs(&self, project: ProjectId, filter: &RunFilter) -> Result<Page, StoreError> {
        let mut query = queries::list_runs::<sqlx::Postgres>(project, filter);
        let rows: Vec<RunRow> = self.ask(query.build_query_as().fetch_all(self.servers.readers())).await?;
        Ok(queries::page(decoded(rows)?, filter))
    }

    async fn sweep(&self, life: &LifeCycle, now: DateTime<Utc>, limit: u32) -> Result<u32, StoreError> {
        let mut sweeper = self.sweeper.lock().await;
        let mut connection = sweeper.begin().await?;
        let swept = sweeper.run(sweep::sweep(&mut connection, life, now, limit, &self.prices, &self.tuning)).await?;
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
        let remapped = lent.run(part).await?;
        lent.commit(connection).await?;
        Ok(remapped)
    }

    async fn add_key(&self, key: NewKey, now: DateTime<Utc>) -> Result<ApiKey, StoreError> {
        let added = sqlx::query(queries::ADD_KEY)
            .bind(&key.id)
            .bind(key.project.0)
            .bind(key.name.as_deref().map(storable::text))
            .bind(key.scopes.words().join(","))
            .bind(storable::to_json(&key.quota)?)
            .bind(key.secret_hash.as_slice())
            .bind(now)
            .bind(key.expires_at)
            .execute(self.servers.keys());
        self.ask(added).await?;
        let query = sqlx::query_as(queries::PROJECT_KEY).bind(key.project.0).bind(&key.id);
        let row: KeyRow = self.ask(query.fetch_one(self.servers.keys())).await?;
        Ok(row.try_into()?)
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::KEY).bind(storable::text(id)).fetch_optional(self.servers.keys());
        // Also when the server is gone without a word.
        let row: Option<KeyRow> = self.ask_within(ACQUIRE_MAX, query).await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn project_key(&self, project: ProjectId, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::PROJECT_KEY).bind(project.0).bind(storable::text(id));
        let row: Option<KeyRow> = self.ask(query.fetch_optional(self.servers.keys())).await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn keys(&self, project: Option<ProjectId>) -> Result<Vec<ApiKey>, StoreError> {
        let query = sqlx::query_as(queries::KEYS).bind(project.map(|project| project.0));
        let rows: Vec<KeyRow> = self.ask(query.fetch_all(self.servers.readers())).await?;
        Ok(decoded(rows)?)
    }

    async fn revoke_key(&self, project: ProjectId, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let query = sqlx::query(queries::REVOKE_KEY).bind(project.0).bind(storable::text(id)).bind(now);
        Ok(self.ask(query.execute(self.servers.keys())).await?.rows_affected() > 0)
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
        Ok(self.ask(query.execute(self.servers.keys())).await?.rows_affected() > 0)
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
        Ok(self.ask(query.execute(self.servers.keys())).await?.rows_affected() > 0)
    }

    async fn touch_keys(&self, used: &HashMap<String, String>, now: DateTime<Utc>) -> Result<(), StoreError> {
        let (ids, agents): (Vec<&String>, Vec<&String>) = used.iter().unzip();
        let query = sqlx::query(TOUCH_KEYS).bind(ids).bind(agents).bind(now);
        self.ask(query.execute(self.servers.keys())).await?;
        Ok(())
    }

    async fn lease(&self, project: ProjectId, key_id: &str, asks: &[Ask]) -> Result<Vec<Grant>, StoreError> {
        let leased = async {
            let mut transaction = self.servers.readers().begin_with(leases::BEGIN).await?;
            let grants = leases::lease(&mut transaction, project, key_id, asks).await?;
            transaction.commit().await?;
            Ok(grants)
        };
        self.ask(leased).await
    }

    async fn project(&self, name: &str, now: DateTime<Utc>) -> Result<ProjectId, StoreError> {
        self.ask(sqlx::query(queries::ADD_PROJECT).bind(name).bind(now).execute(self.servers.keys())).await?;
        let query = sqlx::query_scalar(queries::PROJECT).bind(name);
        Ok(ProjectId(self.ask(query.fetch_one(self.servers.keys())).await?))
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
        let written = self.connection.run(statements).await?;
        self.connection.commit(connection).await?;
        Ok(written)
    }
}
