//! `vectoros migrate` and `vectoros check`.

use anyhow::Context;

use crate::app::open_store;
use crate::config::Config;

pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    open_store(config).await?.migrate().await.context("the schema cannot be brought up to date")?;
    println!("the schema is up to date");
    Ok(())
}

/// The configuration was checked when it was loaded; what is left is the database.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    println!("configuration: fine");
    open_store(config).await?.ping().await.context("database")?;
    println!("database: fine");
    Ok(())
}
