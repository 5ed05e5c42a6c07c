//! A connection that is lent for one transaction at a time.

use std::future::Future;
use std::io;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

/// Everything is set for the transaction alone, so that a pooler between us and the server breaks nothing.
/// An OK means committed: a server told to answer before its log is on disk is told otherwise. A batch of some 2,000
/// steps is larger than the default `work_mem`, and spilling its arrays to a file costs 6 % of the rate.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL statement_timeout = '15s'; SET LOCAL lock_timeout = '5s'; \
    SET LOCAL idle_in_transaction_session_timeout = '20s'; SET LOCAL work_mem = '64MB'; \
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a transaction may take before its connection is given up, as when the other side is gone without a word.
pub(super) const TRANSACTION_MAX: Duration = Duration::from_secs(30);

/// Connects when first used, and again after its connection was lost or left in the middle of a transaction.
pub(super) struct Lent {
    options: PgConnectOptions,
    idle: Option<PgConnection>,
}

impl Lent {
    pub fn new(options: PgConnectOptions) -> Lent {
        Lent { options, idle: None }
    }

    /// A connection inside a transaction. It comes back by [`Lent::commit`] or not at all: dropped on the way, by an
    /// error or because the future that held it was, it is closed and the server rolls back.
    pub async fn begin(&mut self) -> sqlx::Result<PgConnection> {
        let mut connection = match self.idle.take() {
            Some(connection) => connection,
            None => within(CONNECT_MAX, self.options.connect()).await?,
        };
        within(CONNECT_MAX, sqlx::raw_sql(BEGIN).execute(&mut connection)).await?;
        Ok(connection)
    }

    pub async fn commit(&mut self, mut connection: PgConnection) -> sqlx::Result<()> {
        within(TRANSACTION_MAX, sqlx::raw_sql("COMMIT").execute(&mut connection)).await?;
        self.idle = Some(connection);
        Ok(())
    }
}

/// What `work` gives, or an error that is worth another try when it takes longer than `limit`.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer from Postgres within {limit:?}"));
    tokio::time::timeout(limit, work).await.map_err(late)?
}
