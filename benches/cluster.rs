//! The Postgres cluster on which a benchmark makes its databases.

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor};

/// A cluster on which databases may be created and dropped.
pub struct Cluster {
    options: PgConnectOptions,
}

impl Cluster {
    /// The one at the URL in `VECTOROS_BENCH_POSTGRES`; without it a benchmark measures SQLite only.
    pub fn of_environment() -> anyhow::Result<Option<Cluster>> {
        let Ok(url) = std::env::var("VECTOROS_BENCH_POSTGRES") else {
            println!("VECTOROS_BENCH_POSTGRES is not set: SQLite only");
            return Ok(None);
        };
        Ok(Some(Cluster { options: url.parse().context("VECTOROS_BENCH_POSTGRES is no Postgres URL")? }))
    }

    /// An empty database of that name, in place of an older one. Its URL.
    pub async fn fresh_database(&self, name: &str) -> anyhow::Result<String> {
        self.drop_database(name).await?;
        let mut connection = self.options.connect().await?;
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        Ok(self.url(name))
    }

    pub async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        let mut connection = self.options.connect().await?;
        connection.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
        Ok(())
    }

    pub fn url(&self, database: &str) -> String {
        self.options.clone().database(database).to_url_lossy().to_string()
    }
}
