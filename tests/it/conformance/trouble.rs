//! A database that stands still or is away, as the collector sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Holds a lock that no commit gets past, until it is dropped or ended.
pub enum Stall {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Stall {
    /// On the database of the collector; its writers wait from now on, its readers do not.
    pub async fn begin(url: &str) -> Stall {
        let locked = "LOCK TABLE runs IN EXCLUSIVE MODE; LOCK TABLE steps IN EXCLUSIVE MODE";
        if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url).await.unwrap();
            sqlx::raw_sql("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            return Stall::Sqlite(connection);
        }
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {locked}"))).execute(&mut connection).await.unwrap();
        Stall::Postgres(connection)
    }

    pub async fn end(self) {
        match self {
            Stall::Sqlite(mut connection) => {
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Stall::Postgres(mut connection) => {
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }
}

/// A wire to the Postgres server that can be cut and mended.
pub struct Wire {
    pub address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Wire {
    pub async fn to(server: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        let (cuts, cutting) = watch::channel(0);
        let closed = is_cut.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                if closed.load(Ordering::SeqCst) {
                    continue;
                }
                let (server, mut cutting) = (server.clone(), cutting.clone());
                cutting.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cutting.changed() => {}
                    }
                });
            }
        });
        Wire { address, is_cut, cuts, accepting }
    }

    /// `url` of a Postgres database, and the same by way of a new wire.
    pub async fn around(url: &str) -> (Wire, String) {
        let (before, after) = url.split_once('@').unwrap();
        let (server, database) = after.split_once('/').unwrap();
        let wire = Wire::to(server.to_owned()).await;
        let url = format!("{before}@{}/{database}", wire.address);
        (wire, url)
    }

    /// Ends every connection; new ones are accepted and ended.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
