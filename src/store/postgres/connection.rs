//! A connection that is lent for one transaction at a time.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};

use super::servers::{Servers, within};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest that one statement of a transaction may take.
const STATEMENT_MAX: Duration = Duration::from_secs(15);

/// Connects when first used, and again after its connection was lost or left in the middle of a transaction.
pub(super) struct Lent {
    servers: Arc<Servers>,
    idle: Option<PgConnection>,
    patience: Patience,
    begun: Instant,
}

impl Lent {
    pub fn new(servers: Arc<Servers>, patience: Patience) -> Lent {
        Lent { servers, idle: None, patience, begun: Instant::now() }
    }

    /// A connection inside a transaction. It comes back by [`Lent::commit`] or not at all: dropped on the way, by an
    /// error or because the future that held it was, it is closed and the server rolls back.
    pub async fn begin(&mut self) -> sqlx::Result<PgConnection> {
        let mut connection = match self.idle.take() {
            Some(connection) => connection,
            None => self.servers.connect(CONNECT_MAX).await?,
        };
        self.begun = Instant::now();
        within(CONNECT_MAX, sqlx::raw_sql(AssertSqlSafe(begin(&self.patience))).execute(&mut connection)).await?;
        Ok(connection)
    }

    /// The statements of the transaction, as long as there is patience.
    pub async fn run<T>(&mut self, statements: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let done = within(self.patience.limit, statements).await;
        if done.as_ref().is_err_and(ran_out) {
            self.patience.ran_out();
        }
        done
    }

    /// A COMMIT that takes too long is never cancelled: a server that waits for its standby would then call it done. The
    /// socket is closed, and whether it was committed shows when the same is written again.
    pub async fn commit(&mut self, mut connection: PgConnection) -> sqlx::Result<()> {
        self.run(async { sqlx::raw_sql("COMMIT").execute(&mut connection).await }).await?;
        self.patience.committed(self.begun.elapsed());
        self.idle = Some(connection);
        Ok(())
    }
}

/// Everything is set for the transaction alone, so that a pooler between us and the server breaks nothing.
/// An OK means committed: a server told to answer before its log is on disk is told otherwise. A batch of some 2,000
/// steps is larger than the default `work_mem`, and spilling its arrays to a file costs 6 % of the rate. A server that
/// hears nothing more of us lets go of the rows by the time we have given it up.
fn begin(patience: &Patience) -> String {
    let (statement, idle) = (patience.statement().as_millis(), patience.limit.as_millis());
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; \
         SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = '5s'; \
         SET LOCAL idle_in_transaction_session_timeout = {idle}; SET LOCAL work_mem = '64MB'; \
         SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

/// A statement that the server gave up for its length (57014), or a server that said nothing.
fn ran_out(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code == "57014"),
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// How long a transaction may take, and then its COMMIT, before the connection is given up: soon, since a server that is
/// gone without a word looks the same as a slow one; longer after each time that it did not suffice, so that what a slow
/// server is asked again and again is done at last. Its sender may have gone with 503 by then, and comes back to copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    least: Duration,
    limit: Duration,
}

impl Patience {
    const MOST: Duration = Duration::from_secs(30);
    pub const WRITER: Patience = Patience { least: Duration::from_secs(8), limit: Duration::from_secs(8) };
    /// For who waits while nobody waits for him, and reads long runs.
    pub const UPKEEP: Patience = Patience { least: Patience::MOST, limit: Patience::MOST };

    /// Of one statement: shorter, so that a server that lives says so itself.
    fn statement(&self) -> Duration {
        (self.limit * 3 / 4).min(STATEMENT_MAX)
    }

    fn ran_out(&mut self) {
        self.limit = (self.limit * 2).min(Patience::MOST);
    }

    /// Twice what was needed is enough for the next.
    fn committed(&mut self, took: Duration) {
        self.limit = (took * 2).min(self.limit).max(self.least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_until_a_slow_server_is_done_and_no_further() {
        let seconds = Duration::from_secs;
        let mut patience = Patience::WRITER;
        for (limit, statement) in [(8, 6), (16, 12), (30, 15), (30, 15)] {
            assert_eq!((patience.limit, patience.statement()), (seconds(limit), seconds(statement)));
            patience.ran_out();
        }
        patience.committed(seconds(11));
        assert_eq!(patience.limit, seconds(22));
        patience.committed(seconds(20));
        assert_eq!(patience.limit, seconds(22));
        patience.committed(Duration::from_millis(3));
        assert_eq!(patience, Patience::WRITER);

        let mut upkeep = Patience::UPKEEP;
        upkeep.ran_out();
        upkeep.committed(Duration::ZERO);
        assert_eq!(upkeep, Patience::UPKEEP);
    }

    #[test]
    fn only_a_lack_of_time_asks_for_more_of_it() {
        assert!(ran_out(&io::Error::from(io::ErrorKind::TimedOut).into()));
        assert!(!ran_out(&io::Error::from(io::ErrorKind::ConnectionReset).into()));
        assert!(!ran_out(&sqlx::Error::PoolTimedOut));
        assert!(begin(&Patience::WRITER).contains("statement_timeout = 6000;"));
    }
}
