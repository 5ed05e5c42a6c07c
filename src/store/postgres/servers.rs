//! The servers that the URL names, one as a rule, and which of them is used now: the one that worked last, until it is
//! away or takes no writes and another one does.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::task::JoinSet;

use super::url::{self, Role};
use crate::store::KEY_CONNECTIONS_MAX;

pub(super) const ACQUIRE_MAX: Duration = Duration::from_secs(3);
/// How long a server may be silent before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// A connection comes back to its pool when its server answers once more. One that was left by its reader in the middle
/// of a query, or whose server is gone without a word, would keep its place in the pool for a long time otherwise.
const RELEASE_MAX: Duration = Duration::from_secs(5);

const TAKES_WRITES: &str =
    "SELECT NOT pg_is_in_recovery() AND (NOT $1 OR current_setting('transaction_read_only') = 'off')";

pub(super) struct Servers {
    hosts: Vec<Host>,
    role: Role,
    current: AtomicUsize,
    /// Held by the one who looks for a server because a reader met none.
    looking: tokio::sync::Mutex<()>,
}

struct Host {
    options: PgConnectOptions,
    /// Reads; a slow reader never holds up a writer, which has its own connection.
    readers: PgPool,
    /// Keys: however much is read, a revocation is seen in time.
    keys: PgPool,
    stale: Stale,
}

/// Connections of the pools that were made before this moment are not used again.
#[derive(Clone, Default)]
struct Stale(Arc<Mutex<Option<Instant>>>);

impl Servers {
    /// Connects to nothing yet.
    pub fn open(url: &str, readers_max: u32) -> anyhow::Result<Servers> {
        let named = url::read(url)?;
        let hosts = named.urls.iter().map(|url| Host::open(url, readers_max)).collect::<anyhow::Result<_>>()?;
        Ok(Servers { hosts, role: named.role, current: AtomicUsize::new(0), looking: tokio::sync::Mutex::new(()) })
    }

    pub fn are_several(&self) -> bool {
        self.hosts.len() > 1
    }

    pub fn readers(&self) -> &PgPool {
        &self.current().readers
    }

    pub fn keys(&self) -> &PgPool {
        &self.current().keys
    }

    /// A connection to the server in use, or to another one if that is away or has not the wanted role. With several
    /// each may be silent for [`HEAD_START`] before the next is asked too, and the first that will do is taken.
    pub async fn connect(&self, limit: Duration) -> sqlx::Result<PgConnection> {
        if let ([only], Role::Any) = (&*self.hosts, self.role) {
            return within(limit, only.options.connect()).await;
        }
        within(limit, self.search()).await
    }

    /// Looks for the server to be used now, unless somebody does already.
    pub async fn look(&self) {
        if self.are_several()
            && let Ok(_guard) = self.looking.try_lock()
        {
            // What is found is noted; who finds none will say so.
            let _ = self.connect(ACQUIRE_MAX).await;
        }
    }

    /// Readers get new connections from now on.
    pub fn renew(&self) {
        self.current().stale.set();
    }

    fn current(&self) -> &Host {
        &self.hosts[self.current.load(Ordering::Relaxed)]
    }

    async fn search(&self) -> sqlx::Result<PgConnection> {
        let (first, count) = (self.current.load(Ordering::Relaxed), self.hosts.len());
        let mut left = (first..first + count).map(|place| place % count).peekable();
        let (mut tries, mut told) = (JoinSet::new(), Vec::new());
        loop {
            if let Some(place) = left.next() {
                let (options, role) = (self.hosts[place].options.clone(), self.role);
                tries.spawn(async move { (place, connect_as(&options, role).await) });
            }
            let is_last = left.peek().is_none();
            tokio::select! {
                Some(tried) = tries.join_next() => match tried.map_err(io::Error::other)? {
                    (place, Ok(connection)) => {
                        self.use_from_now(place);
                        return Ok(connection);
                    }
                    (place, Err(error)) => told.push(format!("{}: {error}", self.hosts[place].name())),
                },
                () = tokio::time::sleep(HEAD_START), if !is_last => {}
            }
            if is_last && tries.is_empty() {
                return Err(io::Error::other(format!("no server takes writes ({})", told.join("; "))).into());
            }
        }
    }

    fn use_from_now(&self, place: usize) {
        if self.current.swap(place, Ordering::Relaxed) != place {
            tracing::info!(server = self.hosts[place].name(), "another server of the database is used now");
        }
    }
}

impl Host {
    fn open(url: &str, readers_max: u32) -> anyhow::Result<Host> {
        let options: PgConnectOptions = url.parse().context("the database URL is no valid postgres:// URL")?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("vectoros"),
        };
        // Not a session's to keep, for a pooler; floats are read as bytes.
        let options = options.extra_float_digits(None);
        let stale = Stale::default();
        let pool = |connections_max| {
            let pool = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_MAX);
            let stale = stale.clone();
            let pool = pool.before_acquire(move |_, known| {
                let is_good = !stale.is_older(known.age);
                Box::pin(async move { Ok(is_good) })
            });
            let pool = pool.after_release(|connection, _| {
                Box::pin(async move { within(RELEASE_MAX, sqlx::Connection::ping(connection)).await.map(|()| true) })
            });
            pool.connect_lazy_with(options.clone())
        };
        let (readers, keys) = (pool(readers_max), pool(KEY_CONNECTIONS_MAX));
        Ok(Host { options, readers, keys, stale })
    }

    fn name(&self) -> String {
        format!("{}:{}", self.options.get_host(), self.options.get_port())
    }
}

impl Stale {
    fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether something of this age was there before the moment.
    fn is_older(&self, age: Duration) -> bool {
        let set = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.is_some_and(|at| age >= at.elapsed())
    }
}

async fn connect_as(options: &PgConnectOptions, role: Role) -> sqlx::Result<PgConnection> {
    let mut connection = options.connect().await?;
    if role != Role::Any {
        let asked = sqlx::query_scalar::<_, bool>(TAKES_WRITES).bind(role == Role::ReadWrite);
        if !asked.fetch_one(&mut connection).await? {
            return Err(read_only());
        }
    }
    Ok(connection)
}

/// Whether the server behind the connection or pool takes writes.
pub(super) async fn takes_writes(asked: impl sqlx::PgExecutor<'_>) -> sqlx::Result<()> {
    let takes_writes = sqlx::query_scalar::<_, bool>(TAKES_WRITES).bind(true).fetch_one(asked).await?;
    if takes_writes { Ok(()) } else { Err(read_only()) }
}

fn read_only() -> sqlx::Error {
    io::Error::other("the server is read-only: it was demoted or is a standby").into()
}

/// What `work` gives, or an error that is worth another try when it takes longer than `limit`.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer from Postgres within {limit:?}"));
    tokio::time::timeout(limit, work).await.map_err(late)?
}
