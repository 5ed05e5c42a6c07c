//! `vectoros remap`: steps that an older version of the mapping made, made anew by the present rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{NaiveDate, Utc};

use crate::app::{life_cycle, load_prices, open_store};
use crate::config::Config;
use crate::store::{Remap, StoreError};

#[derive(clap::Args)]
pub struct RemapArguments {
    /// Only steps of this day (UTC) and later, such as 2026-11-01
    #[arg(long, value_name = "DATE")]
    since: Option<NaiveDate>,
    /// Only steps of this project
    #[arg(long)]
    project: Option<String>,
}

const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// Between two parts the collectors have the database to themselves as long as the part before took, at most this long.
const REST_MAX: Duration = Duration::from_secs(1);
/// How often one part is tried again, and the pause before, while the database is busy or away.
const TRIES_MAX: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

pub async fn run(config: &Config, arguments: RemapArguments) -> anyhow::Result<()> {
    let store = open_store(config, Arc::new(load_prices(&config.prices)?)).await?;
    store.migrate().await.context("the schema cannot be brought up to date")?;
    let project = match &arguments.project {
        Some(name) => Some(store.project(name, Utc::now()).await?),
        None => None,
    };
    let which = Remap { since: arguments.since, project };
    let life = life_cycle(config);
    let (mut after, mut steps, mut changed, mut runs) = (None, 0, 0, 0);
    let (mut told, mut tries) = (Instant::now(), 0);
    loop {
        let begin = Instant::now();
        let part = match store.remap(&which, after, &life, Utc::now()).await {
            Err(error @ StoreError::Unavailable(_)) if tries < TRIES_MAX => {
                tries += 1;
                eprintln!("vectoros: {error}; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            part => part.context("what is done stays done: the same command goes on where this one stopped")?,
        };
        (after, tries) = (part.after, 0);
        steps += part.steps;
        changed += part.changed;
        runs += part.runs;
        if part.is_done {
            break;
        }
        tokio::time::sleep(begin.elapsed().min(REST_MAX)).await;
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            println!("{steps} steps mapped again so far, {changed} changed, {runs} runs assembled");
        }
    }
    println!("done: {steps} steps mapped again, {changed} changed, {runs} runs assembled");
    Ok(())
}
