//! `vectoros migrate` and `vectoros check`.

use anyhow::Context;

use crate::config::Config;
use crate::store::{self, Store};

pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    store::open(config)?.migrate().await.context("the schema cannot be brought up to date")?;
    println!("the schema is up to date");
    Ok(())
}

/// The configuration was checked when it was loaded; what is left is the database.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    println!("configuration: fine");
    store::open(config)?.ping().await.context("database")?;
    println!("database: fine");
    Ok(())
}
