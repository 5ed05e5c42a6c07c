//! `vectoros migrate` and `vectoros check`.

use std::sync::Arc;

use anyhow::Context;

use crate::app::{load_prices, open_store};
use crate::config::Config;
use crate::prices::Prices;

pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    open_store(config, Arc::new(Prices::none()))
        .await?
        .migrate()
        .await
        .context("the schema cannot be brought up to date")?;
    println!("the schema is up to date");
    Ok(())
}

/// The settings were checked when they were loaded; what is left is the file of prices and the database.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    let prices = Arc::new(load_prices(&config.prices)?);
    println!("configuration: fine");
    open_store(config, prices).await?.ping().await.context("database")?;
    println!("database: fine");
    Ok(())
}
