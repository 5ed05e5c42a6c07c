//! A fresh, migrated database for each test: a file for SQLite, a schema of its own on the server for Postgres.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;
use vectoros::store::{Store, Tuning, open};

pub struct Database {
    pub url: String,
    /// Removed with the value.
    _folder: Option<TempDir>,
}

impl Database {
    pub async fn sqlite() -> Database {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite://{}", folder.path().join("vectoros.db").display());
        Database { url, _folder: Some(folder) }
    }

    /// The schema stays behind: the server is a temporary one.
    pub async fn postgres() -> Database {
        let server = std::env::var("VECTOROS_TEST_POSTGRES")
            .expect("VECTOROS_TEST_POSTGRES names no Postgres server: start the tests by tests/run, which brings one");
        let schema = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let joint = if server.contains('?') { '&' } else { '?' };
        Database { url: format!("{server}{joint}options=-c%20search_path%3D{schema}"), _folder: None }
    }

    /// A database that another value keeps.
    pub fn at(url: &str) -> Database {
        Database { url: url.to_owned(), _folder: None }
    }

    pub async fn store(&self, tuning: Tuning) -> Arc<dyn Store> {
        let store = open(&self.url, tuning, Arc::default()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }
}

/// Runs SQL behind the store's back.
pub async fn sql(url: &str, statement: &'static str) {
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe("PRAGMA busy_timeout = 20000".to_owned())).execute(&mut connection).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
}

/// `async fn name(url: &str)` as two tests: `name::sqlite` and `name::postgres`, each on a fresh database.
macro_rules! on_both_stores {
    ($name:ident) => {
        mod $name {
            use crate::database::Database;

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$name(&Database::sqlite().await.url).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$name(&Database::postgres().await.url).await;
            }
        }
    };
}
pub(crate) use on_both_stores;
